//! A Git repository, as a bundle of all its refs: one file that `git clone` opens.
//!
//! A mirror in the local state is brought up to date first, so that only what is new comes over the
//! network; the bundle is made of the mirror. What is not in a repository's objects (large files kept
//! elsewhere by LFS) is said. The credential reaches `git` through the environment alone.

mod engine;
mod program;
mod source;

pub use self::engine::GitEngine;
pub use self::source::{GitOptions, GitSource};
