//! One binary for the integration tests of this crate.
#![allow(missing_docs)]

mod backup;
mod bench;
mod catalog;
mod ledger;
mod seal;
mod staging;
