//! One binary for the integration tests of this crate.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod audit;
mod backup;
mod bench;
mod cache;
mod catalog;
mod copy;
mod crash;
mod drill;
mod fake_log;
mod heal;
mod hold;
mod in_place;
mod journal_flow;
mod journal_formats;
mod journal_kit;
mod journal_lag;
mod journal_lines;
mod journal_pack;
mod journal_read;
mod journal_trust;
mod journal_write;
mod keys;
mod ledger;
mod manifests;
mod partial;
mod prune;
mod restore;
mod revision;
mod seal;
mod staging;
mod status;
mod stream;
mod stream_faults;
mod stream_restore;
mod trust;
mod verify;
