//! PostgreSQL, 13 and later: the wire, a base of the whole cluster, dumps, and its log as it is
//! written.
//!
//! - [`PostgresSource`]: captures a cluster, physically or logically.
//! - [`PostgresLog`]: streams its log from a slot of Lifeboat's own.
//! - Nothing here writes to the server but the slot, which `stream --detach` removes.

#![allow(dead_code)] // The parts that use the wire come next.

mod auth;
mod begin;
mod dsn;
mod error;
mod facts;
mod feed;
mod join;
mod log;
pub mod lsn;
mod options;
mod passfile;
mod queue;
mod replication;
mod secret;
mod slot;
mod socket;
mod watch;
mod wire;

pub use dsn::{Address, Dsn, TlsMode};
pub use error::{PgError, ServerError};
pub use facts::Facts;
pub use log::PostgresLog;
pub use options::{CaptureMode, PostgresOptions};
pub use replication::System;
pub use secret::Secret;
pub use wire::{Connection, Login, Purpose, Rows};
