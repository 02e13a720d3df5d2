//! PostgreSQL, 13 and later: the wire, a base of the whole cluster, dumps, and its log as it is
//! written.
//!
//! - [`PostgresSource`]: captures a cluster, physically or logically.
//! - [`PostgresLog`]: streams its log from a slot of Lifeboat's own.
//! - [`PostgresEngine`]: a restored copy is only ever started as a throw-away server: on a private
//!   socket, without TCP, as an unprivileged user, without archiving, replication, scheduled work or
//!   any setting of the copy's own configuration. A base is brought to a point by that server's
//!   replay, which gets its log from this process alone; every recovery has a target, and the place
//!   that it reached is compared with it.
//! - Nothing here writes to the live server but the slot, which `stream --detach` removes.

mod account;
mod ahead;
pub mod archive;
mod auth;
mod backup_manifest;
mod base;
mod begin;
mod compared;
mod config;
mod content;
mod control;
mod dsn;
mod engine;
mod error;
mod facts;
mod feed;
mod fingerprint;
mod fork;
mod goal;
mod in_place;
pub mod install;
mod instance;
mod join;
mod layout;
mod listing;
mod loaded;
mod local;
mod log;
mod logical;
pub mod lsn;
mod options;
mod page;
mod passfile;
mod queue;
mod records;
pub mod recover;
mod remote;
mod replication;
mod secret;
mod serve;
mod slot;
mod socket;
mod source;
mod sql;
mod stage;
mod standby;
mod structure;
mod tablespaces;
mod tail;
mod tar;
mod tool;
mod tree;
mod watch;
mod way;
mod wire;

use std::io;

use lifeboat_recovery::ports::EngineError;

pub use dsn::{Address, Dsn, TlsMode};
pub use engine::{PostgresEngine, QUESTION_LIMIT};
pub use error::{PgError, ServerError};
pub use facts::Facts;
pub use fingerprint::fingerprint;
pub use in_place::PostgresInPlace;
pub use layout::server_around;
pub use log::PostgresLog;
pub use options::{CaptureMode, PostgresOptions};
pub use replication::System;
pub use secret::Secret;
pub use source::PostgresSource;
pub use wire::{Connection, Login, Purpose, Rows};

/// Makes an error of a system call out of what was tried, an infinitive.
fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> EngineError {
    let what = format!("cannot {}", what.into());
    |source| EngineError::Failed { what, source: Some(source.into()) }
}

/// A failure without a cause of its own.
fn broken(what: impl Into<String>) -> EngineError {
    EngineError::Failed { what: what.into(), source: None }
}

/// A refusal.
fn refused(what: impl Into<String>, hint: impl Into<String>) -> EngineError {
    EngineError::Refused { what: what.into(), hint: hint.into() }
}
