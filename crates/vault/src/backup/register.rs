//! Which blobs a backup stores, and their way into index objects while it still runs. A copy's too,
//! which knows itself what is new.
//!
//! Each new blob is taken on by exactly one thread. Until an index object names it, its id stands
//! among the claims and its place in a list; with every [`BackupOptions::index_blobs`] blobs that
//! are stored the next index object is written, and the open vault's index, which needs the least
//! memory a blob, is all that remembers them. So the memory for new blobs does not depend on when a
//! backup ends, and a backup that is broken off leaves packs that the next one finds by their
//! index. An index object names only packs that are stored and read back, and is written only
//! while the lock is ours.
//!
//! [`BackupOptions::index_blobs`]: super::BackupOptions::index_blobs

use std::sync::{Arc, Mutex};

use super::claims::Claims;
use super::upload::StoredPack;
use crate::error::Result;
use crate::id::Id;
use crate::index::{Index, IndexFile};
use crate::lock::LockGuard;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::sync::lock;
use crate::vault::{Folder, Vault};

/// Blobs that one index object lists at least, if there are so many: restic's own measure.
pub(crate) const BLOBS_AN_INDEX: usize = 50_000;

/// The blobs of one backup.
pub(crate) struct Register {
    vault: Vault,
    /// What this backup looks blobs up in.
    index: Arc<Index>,
    lock: Arc<LockGuard>,
    pace: Pace,
    claims: Claims,
    waiting: Mutex<Waiting>,
}

/// When the next index object is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Blobs that one lists at least, but the last.
    pub blobs: usize,
    /// Bytes of packs after which it is written whatever their blobs.
    pub bytes: u64,
}

/// Packs that are stored and that no index object names yet.
#[derive(Default)]
struct Waiting {
    packs: Vec<StoredPack>,
    blobs: usize,
    bytes: u64,
}

impl Register {
    pub(crate) fn new(vault: &Vault, index: Arc<Index>, lock: Arc<LockGuard>, pace: Pace) -> Self {
        let (claims, waiting) = <_>::default();
        Self { vault: vault.clone(), index, lock, pace, claims, waiting }
    }

    /// True if this blob is not stored and the caller is the one who is to store it.
    pub(crate) fn claim(&self, kind: BlobKind, id: &Id) -> bool {
        if self.index.contains(kind, id) || !self.claims.claim(kind, id) {
            return false;
        }
        // Between the two looks an index object may have come to name it.
        let named = self.index.contains(kind, id);
        if named {
            self.claims.release(kind, id);
        }
        !named
    }

    /// Takes a pack that is in the store; names it in an index object if enough wait for one.
    pub(crate) fn add(&self, pack: StoredPack) -> Result<()> {
        let mut waiting = lock(&self.waiting);
        waiting.blobs += pack.1.len();
        waiting.bytes += pack::pack_size(&pack.1);
        waiting.packs.push(pack);
        if waiting.blobs < self.pace.blobs && waiting.bytes < self.pace.bytes {
            return Ok(());
        }
        let full = std::mem::take(&mut *waiting);
        drop(waiting);
        self.name(&full.packs)
    }

    /// Names what is left.
    pub(crate) fn finish(&self) -> Result<()> {
        let rest = std::mem::take(&mut *lock(&self.waiting));
        self.name(&rest.packs)
    }

    fn name(&self, packs: &[StoredPack]) -> Result<()> {
        self.lock.verify()?;
        save_index(&self.vault, &self.index, packs)?;
        for blob in packs.iter().flat_map(|(_, blobs)| blobs) {
            self.claims.release(blob.kind, &blob.id);
        }
        Ok(())
    }

    /// A blob that is stored and that no index object names yet.
    pub(crate) fn find(&self, kind: BlobKind, id: &Id) -> Option<(Id, PackedBlob)> {
        let waiting = lock(&self.waiting);
        waiting.packs.iter().find_map(|(pack, blobs)| {
            let found = blobs.iter().find(|blob| blob.kind == kind && blob.id == *id);
            found.map(|blob| (*pack, *blob))
        })
    }
}

/// Writes index objects for the packs and makes their blobs known to `index` and to the open
/// vault's, which may have been read anew since.
pub(crate) fn save_index(vault: &Vault, index: &Arc<Index>, packs: &[StoredPack]) -> Result<()> {
    let mut file = IndexFile::default();
    let mut blobs = 0;
    for (at, (pack, content)) in packs.iter().enumerate() {
        file.push(*pack, content);
        blobs += content.len();
        if blobs >= BLOBS_AN_INDEX || at + 1 == packs.len() {
            vault.save_document(Folder::Index, &std::mem::take(&mut file))?;
            blobs = 0;
        }
    }
    let current = vault.index()?;
    for (pack, content) in packs {
        index.insert(pack, content);
        if !Arc::ptr_eq(&current, index) {
            current.insert(pack, content);
        }
    }
    Ok(())
}
