//! Blobs that this session stores and that no index object names yet: each is taken on by exactly
//! one thread.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::id::Id;
use crate::pack::BlobKind;
use crate::sync::lock;

const SHARDS: usize = 64;

/// A set of blobs, cut into shards so that threads seldom meet.
#[derive(Debug)]
pub(crate) struct Claims(Vec<Mutex<HashSet<(BlobKind, Id)>>>);

impl Default for Claims {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Claims {
    /// True for the first caller with this blob.
    pub(crate) fn claim(&self, kind: BlobKind, id: &Id) -> bool {
        let shard = usize::from(id.as_bytes()[31]) % SHARDS;
        lock(&self.0[shard]).insert((kind, *id))
    }

    /// Forgets a blob: something else knows it now.
    pub(crate) fn release(&self, kind: BlobKind, id: &Id) {
        let shard = usize::from(id.as_bytes()[31]) % SHARDS;
        lock(&self.0[shard]).remove(&(kind, *id));
    }
}
