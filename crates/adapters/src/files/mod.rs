//! File trees: capture, judgement of a restored copy, replacement in place.
//!
//! - [`FilesSource`] reads live trees; gitignore rules say what is left out.
//! - [`FilesEngine`] counts a restored copy and hashes it against the manifest.
//! - [`FilesInPlace`] exchanges a copy with the live trees, all roots or none.

mod bring;
mod differences;
mod engine;
mod exchange;
mod holders;
mod in_place;
mod journal;
mod left_out;
mod renames;
mod rules;
mod source;
mod writers;

pub use engine::FilesEngine;
pub use in_place::FilesInPlace;
pub use renames::{FileSystem, Renames};
pub use rules::{BadPattern, Rules};
pub use source::{FilesOptions, FilesSource};
