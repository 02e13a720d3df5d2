//! Restores of PostgreSQL servers, on real servers.

mod broken;
mod kit;
mod lines;
mod targets;
mod whole;
