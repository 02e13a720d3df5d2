//! Blobs of this run: claimed by one writer, then placed in a pack.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Mutex, MutexGuard};

use super::Location;
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};

const SHARDS: usize = 64;

type Shard = HashMap<(BlobKind, Id), Option<Location>>;

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
        // A poisoned shard is still a map whose entries are whole.
        let shard = &self.shards[id.as_bytes()[31] as usize % SHARDS];
        shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        self.shard(id).contains_key(&(kind, *id))
    }

    pub fn claim(&self, kind: BlobKind, id: &Id) -> bool {
        match self.shard(id).entry((kind, *id)) {
            Slot::Occupied(_) => false,
            Slot::Vacant(slot) => {
                slot.insert(None);
                true
            }
        }
    }

    pub fn release(&self, kind: BlobKind, id: &Id) {
        let mut shard = self.shard(id);
        if shard.get(&(kind, *id)) == Some(&None) {
            shard.remove(&(kind, *id));
        }
    }

    pub fn insert(&self, pack: &Id, blobs: &[PackedBlob]) {
        for blob in blobs {
            let location = Location {
                pack: *pack,
                offset: blob.offset,
                length: blob.length,
                uncompressed_length: blob.uncompressed_length,
            };
            self.shard(&blob.id).insert((blob.kind, blob.id), Some(location));
        }
    }

    pub fn lookup(&self, kind: BlobKind, id: &Id) -> Option<Location> {
        self.shard(id).get(&(kind, *id)).copied().flatten()
    }
}
