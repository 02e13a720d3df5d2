//! Tests of the test equipment itself.
#![allow(clippy::unwrap_used)] // In tests a panic is the report.

mod postgres;
