//! Integration tests of the vault, in one binary.

mod locks;
mod open;
mod support;
