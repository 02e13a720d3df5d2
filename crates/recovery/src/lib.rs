//! Floor 2: ports and flows. A flow decides as data, executes, then judges, inside the ledger.

pub mod catalog;
pub mod env;
mod error;
pub mod facts;
pub mod flows;
pub mod journal;
pub mod kit;
pub mod ledger;
pub mod lookup;
pub mod ports;
pub mod prove;
mod random;
pub mod read_only;
pub mod recover;
pub mod report;
pub mod seal;
pub mod session;
pub mod staging;
mod stand_in;
pub mod state;
pub mod tier;

pub use error::{Error, Result};
