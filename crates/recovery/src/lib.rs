//! Floor 2: ports and flows. A flow decides as data, executes, then judges, inside the ledger.

pub mod catalog;
mod error;
pub mod facts;
pub mod flows;
pub mod ports;
mod random;
pub mod read_only;
pub mod report;
pub mod seal;
pub mod staging;
pub mod state;

pub use error::{Error, Result};
