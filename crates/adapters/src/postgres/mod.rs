//! PostgreSQL, 13 and later: the wire, a base of the whole cluster, dumps, and its log as it is
//! written.
//!
//! - [`PostgresSource`]: captures a cluster, physically or logically.
//! - [`PostgresLog`]: streams its log from a slot of Lifeboat's own.
//! - Nothing here writes to the server but the slot, which `stream --detach` removes.

mod ahead;
mod auth;
mod backup_manifest;
mod base;
mod begin;
mod config;
mod content;
mod dsn;
mod error;
mod facts;
mod feed;
mod fingerprint;
mod join;
mod listing;
mod local;
mod log;
mod logical;
pub mod lsn;
mod options;
mod page;
mod passfile;
mod queue;
mod remote;
mod replication;
mod secret;
mod slot;
mod socket;
mod source;
mod tar;
mod tree;
mod watch;
mod wire;

pub use dsn::{Address, Dsn, TlsMode};
pub use error::{PgError, ServerError};
pub use facts::Facts;
pub use fingerprint::fingerprint;
pub use log::PostgresLog;
pub use options::{CaptureMode, PostgresOptions};
pub use replication::System;
pub use secret::Secret;
pub use source::PostgresSource;
pub use wire::{Connection, Login, Purpose, Rows};
