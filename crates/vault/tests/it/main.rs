//! Integration tests of the vault, in one binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod backup;
mod bulk;
mod cache;
mod copy;
mod copy_size;
mod corpus;
mod counting;
mod crash;
mod damage;
mod existing;
mod foreign;
mod frozen;
mod heal;
mod index;
mod interop;
mod keys;
mod locks;
mod model;
mod open;
mod parsing;
mod pipeline;
mod problems;
mod property;
mod prune;
mod repair;
mod restore;
mod support;
mod trees;
mod window;
