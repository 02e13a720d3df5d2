//! Restores of PostgreSQL servers, on real servers.

mod broken;
mod dumped;
mod in_place;
mod kit;
mod lines;
mod targets;
mod whole;
