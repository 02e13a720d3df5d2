//! Blobs stored in this run, in at most 64 bytes each.
//!
//! Entries are appended in pieces of fixed size, so that nothing is copied or doubled as they
//! grow; beside them stands a hash table of their numbers, 5 to 11 bytes a blob. It is cut into
//! shards, so that threads seldom meet and never more than one shard is rebuilt at a time.

use std::sync::{Mutex, PoisonError, RwLock};

use super::table::Entry;
use super::{KINDS, Location, slot};
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};
use crate::sync::lock;

const SHARDS: usize = 64;
/// Entries in a piece: 12 KiB.
const PIECE: usize = 256;
const FREE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Added {
    /// Packs by number.
    packs: RwLock<Vec<Id>>,
    /// By kind.
    shards: [Vec<Mutex<Shard>>; KINDS.len()],
}

#[derive(Debug, Default)]
struct Shard {
    pieces: Vec<Vec<Entry>>,
    /// Numbers of entries, each at the first place from its hash on that was free; at least a
    /// quarter is. A power of two of places.
    places: Vec<u32>,
}

impl Default for Added {
    fn default() -> Self {
        let shards = || (0..SHARDS).map(|_| Mutex::default()).collect();
        Added { packs: RwLock::default(), shards: [shards(), shards()] }
    }
}

impl Added {
    fn shard(&self, kind: BlobKind, id: &Id) -> &Mutex<Shard> {
        &self.shards[slot(kind)][id.as_bytes()[31] as usize % SHARDS]
    }

    pub fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        lock(self.shard(kind, id)).find(id).is_some()
    }

    /// A blob that is there already is looked for in the new place from now on.
    pub fn insert(&self, pack: &Id, blobs: &[PackedBlob]) {
        let number = {
            let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
            packs.push(*pack);
            (packs.len() - 1) as u32
        };
        for blob in blobs {
            lock(self.shard(blob.kind, &blob.id)).insert(Entry {
                id: blob.id,
                pack: number,
                offset: blob.offset,
                length: blob.length,
                uncompressed_length: blob.uncompressed_length,
            });
        }
    }

    pub fn lookup(&self, kind: BlobKind, id: &Id) -> Option<Location> {
        let entry = *lock(self.shard(kind, id)).find(id)?;
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        Some(Location {
            pack: packs[entry.pack as usize],
            offset: entry.offset,
            length: entry.length,
            uncompressed_length: entry.uncompressed_length,
        })
    }
}

impl Shard {
    fn len(&self) -> usize {
        match self.pieces.split_last() {
            Some((last, full)) => full.len() * PIECE + last.len(),
            None => 0,
        }
    }

    fn entry(&self, number: u32) -> &Entry {
        &self.pieces[number as usize / PIECE][number as usize % PIECE]
    }

    /// The place of an id, or the free one where it belongs. There must be places.
    fn place(&self, id: &Id) -> usize {
        let mask = self.places.len() - 1;
        let mut at = hash(id) & mask;
        while self.places[at] != FREE && self.entry(self.places[at]).id != *id {
            at = (at + 1) & mask;
        }
        at
    }

    fn find(&self, id: &Id) -> Option<&Entry> {
        if self.places.is_empty() {
            return None;
        }
        let number = self.places[self.place(id)];
        (number != FREE).then(|| self.entry(number))
    }

    fn insert(&mut self, entry: Entry) {
        if (self.len() + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        let place = self.place(&entry.id);
        match self.places[place] {
            FREE => {
                self.places[place] = self.len() as u32;
                match self.pieces.last_mut().filter(|piece| piece.len() < PIECE) {
                    Some(piece) => piece.push(entry),
                    None => {
                        let mut piece = Vec::with_capacity(PIECE);
                        piece.push(entry);
                        self.pieces.push(piece);
                    }
                }
            }
            number => self.pieces[number as usize / PIECE][number as usize % PIECE] = entry,
        }
    }

    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(16);
        self.places = vec![FREE; places];
        for number in 0..self.len() as u32 {
            let place = self.place(&self.entry(number).id);
            self.places[place] = number;
        }
    }
}

/// Ids are hashes already. The last byte chose the shard.
fn hash(id: &Id) -> usize {
    let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) as usize
}
