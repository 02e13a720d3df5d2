//! Integration tests of the vault, in one binary.

mod damage;
mod foreign;
mod interop;
mod locks;
mod open;
mod parsing;
mod support;
mod trees;
