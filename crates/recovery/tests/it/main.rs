//! One binary for the integration tests of this crate.
#![allow(missing_docs)]

mod catalog;
mod seal;
mod staging;
