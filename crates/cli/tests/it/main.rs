//! The command line from outside: the binary, real files, real SQLite, the stock restic.

#![allow(clippy::unwrap_used)] // helpers of tests; a test that panics has failed

mod again;
mod bad_input;
mod bench;
mod cloud;
mod commands;
mod copy;
mod demo;
mod export;
mod in_place;
mod in_place_group;
mod journey;
mod keys;
mod kill;
mod kit;
mod ledgers;
mod machine_readable;
mod output;
mod pitfalls;
mod postgres;
mod programs;
mod prune;
mod readme;
mod repair;
mod rescue;
mod secrets;
mod signing;
mod site;
mod stream;
mod swapped;
mod wal;
