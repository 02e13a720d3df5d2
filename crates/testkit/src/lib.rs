//! Fault and crash stores, simulated clock, contract suites: a dev-dependency only.
//!
//! - [`MemoryStore`]: a store in memory, stricter than reality.
//! - [`FaultyStore`]: fails or lies when told to.
//! - [`CrashStore`]: a machine that dies after a given write, and its images after every write.
//! - [`ReadOnlyStore`]: what a drill receives.
//! - [`SimClock`]: time that moves only when told.
//! - [`parse`]: what a fuzzer does with its bytes.
//! - [`cloud`]: object stores, simulated and of our own.
//! - [`postgres`]: real PostgreSQL servers.
//! - [`contract`]: the duties of `Store`, `DeleteStore` and `LockStore` as a test suite.

mod clock;
#[allow(clippy::unwrap_used)] // Equipment of tests: a panic is the report.
pub mod cloud;
pub mod contract;
mod crash;
mod faulty;
mod memory;
pub mod parse;
#[allow(clippy::unwrap_used)] // Equipment of tests: a panic is the report.
pub mod postgres;
mod read_only;

pub use clock::SimClock;
pub use crash::CrashStore;
pub use faulty::{Fault, FaultyStore, Verb};
pub use memory::MemoryStore;
pub use read_only::ReadOnlyStore;

use std::sync::Arc;

use lifeboat_vault::{Cancel, Environment, NoMonitor, StoreError, StoreErrorKind};

/// An environment on a simulated clock, for a process that certainly lives.
pub fn environment(clock: Arc<SimClock>) -> Environment {
    Environment {
        clock,
        monitor: Arc::new(NoMonitor),
        cancel: Cancel::default(),
        host: "testhost".into(),
        user: "tester".into(),
        pid: std::process::id(),
    }
}

fn error(kind: StoreErrorKind, verb: &'static str, key: &str, place: &str) -> StoreError {
    StoreError { kind, verb, key: key.to_owned(), place: place.to_owned(), source: None }
}
