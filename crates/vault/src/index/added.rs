//! Blobs stored in this run.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use super::Location;
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};
use crate::sync::lock;

const SHARDS: usize = 64;

type Shard = HashMap<(BlobKind, Id), Location>;

#[derive(Debug)]
pub(super) struct Added {
    shards: Vec<Mutex<Shard>>,
}

impl Default for Added {
    fn default() -> Self {
        Added { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Added {
    fn shard(&self, id: &Id) -> MutexGuard<'_, Shard> {
        lock(&self.shards[id.as_bytes()[31] as usize % SHARDS])
    }

    pub fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        self.shard(id).contains_key(&(kind, *id))
    }

    pub fn insert(&self, pack: &Id, blobs: &[PackedBlob]) {
        for blob in blobs {
            let location = Location {
                pack: *pack,
                offset: blob.offset,
                length: blob.length,
                uncompressed_length: blob.uncompressed_length,
            };
            self.shard(&blob.id).insert((blob.kind, blob.id), location);
        }
    }

    pub fn lookup(&self, kind: BlobKind, id: &Id) -> Option<Location> {
        self.shard(id).get(&(kind, *id)).copied()
    }
}
