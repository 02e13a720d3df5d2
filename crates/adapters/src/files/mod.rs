//! File trees.

mod exchange;
mod exists;
mod holders;
mod in_place;
mod lease;
mod renames;
mod rules;
mod writers;

pub use exists::exists;
pub use in_place::FilesInPlace;
pub use renames::{FileSystem, Renames};
pub use rules::{BadPattern, Rules};
