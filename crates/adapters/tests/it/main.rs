//! Tests of the adapters on the real thing.
#![allow(clippy::unwrap_used)] // In tests a panic is the report.

mod clock;
mod cloud;
mod disk;
mod files;
mod files_in_place;
mod files_kit;
mod interleave;
mod mounted;
mod nobody;
mod postgres_base;
mod postgres_kit;
mod postgres_locked;
mod postgres_restore;
mod postgres_stream;
mod postgres_wire;
mod runner;
mod sqlite_capture;
mod sqlite_engine;
mod sqlite_in_place;
mod sqlite_kit;
mod sqlite_refused;
mod sqlite_speed;
mod sqlite_stream;
mod sqlite_unchanged;
mod sqlite_vault;
mod sqlite_writers;
mod store;
mod stream_kill;
mod stream_kit;
