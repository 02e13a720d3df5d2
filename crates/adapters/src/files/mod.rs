//! File trees.

mod exists;
mod rules;

pub use exists::exists;
pub use rules::{BadPattern, Rules};
