//! Integration tests of the vault, in one binary.

mod interop;
mod locks;
mod open;
mod support;
mod trees;
