//! How much room a place has.

use std::path::Path;

/// Tells free space, for the preflight of restores and drills.
pub trait Disk: Send + Sync {
    /// Bytes that this process may still write below `path`; nothing if it cannot be told.
    /// `path` need not exist: its nearest existing parent is asked.
    fn free(&self, path: &Path) -> Option<u64>;
}
