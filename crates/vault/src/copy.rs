//! Copying snapshots into another vault: the same blobs, proved on the way, never cut anew.
//!
//! Blobs that the destination has are passed over. Where both vaults share a master key and a
//! whole pack is wanted, the pack goes over byte for byte; else each blob is decrypted and sealed
//! anew, compressed as it was. Every blob that goes over is opened and hashed first. A snapshot
//! that needs a blob which cannot be read is not copied and is named; the others are.
//!
//! A copy keeps the id of its first snapshot in `original`, as restic's copies do, so that a second
//! copy finds it and does nothing. Packs come first, then index objects, then snapshots, a portion
//! at a time: whatever moment a copy ends at, the next one goes on with what has arrived. Index
//! objects are written within a portion too, so that neither memory nor what is left unnamed grows
//! with a snapshot: of each new blob at most 64 bytes stay resident.
//!
//! Packs of the destination that are missing or damaged are made good, as far as the source can:
//! see `heal`.

mod heal;
mod plan;
mod select;
mod session;
mod ship;

pub use self::session::CopySession;
use crate::backup::register::BLOBS_AN_INDEX;
use crate::compress::Compression;
use crate::error::Result;
use crate::id::Id;
use crate::pack::BlobKind;
use crate::vault::Vault;

/// What to copy, and how.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Only these snapshots; all without. One that does not exist is an error.
    pub only: Option<Vec<Id>>,
    /// Of these the copies that are there are read again, all their data, and made good.
    pub doubted: Vec<Id>,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Packs that are uploaded at a time.
    pub uploads: usize,
    /// Bytes that may be resident in buffers and packs.
    pub budget_bytes: usize,
    /// Size that new packs are filled to, bytes.
    pub pack_bytes: usize,
    /// Sealed bytes after which what has arrived is made visible. Larger snapshots go whole; index
    /// objects name what has arrived of them.
    pub portion_bytes: u64,
    /// Blobs after which the next index object is written, though the portion is not full.
    pub index_blobs: usize,
    /// For blobs of a repository that had no compression.
    pub compression: Compression,
    /// Read each pack back from the destination and compare it.
    pub read_back: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        CopyOptions {
            only: None,
            doubted: Vec::new(),
            workers: 0,
            uploads: 2,
            budget_bytes: 192 << 20,
            pack_bytes: 16 << 20,
            portion_bytes: 512 << 20,
            index_blobs: BLOBS_AN_INDEX,
            compression: Compression::default(),
            read_back: true,
        }
    }
}

/// A snapshot and its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedSnapshot {
    /// Id in the source.
    pub source: Id,
    /// Id in the destination.
    pub copy: Id,
}

/// A blob that cannot be read from any pack of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBlob {
    /// Data or tree.
    pub kind: BlobKind,
    /// Its id.
    pub id: Id,
    /// What is wrong with it.
    pub why: String,
}

/// A snapshot that is not copied, because it is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its id in the source.
    pub snapshot: Id,
    /// What is wrong with the snapshot object itself.
    pub why: Option<String>,
    /// Blobs that it needs and that cannot be read, the first [`LOST_LISTED`] of them.
    pub lost: Vec<LostBlob>,
}

/// Blobs named in one [`LeftOut`].
pub const LOST_LISTED: usize = 100;

/// A pack of the destination that was missing, or did not hold what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedPack {
    /// Its name.
    pub pack: Id,
    /// It was missing and stands there again, the same bytes.
    pub restored: bool,
    /// Of the blobs that it should hold, those that no other pack has and that the source could not
    /// give. Where there are none, nobody needs the pack any more; else what can be read of it stays.
    pub lost: u64,
}

/// How much went over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyCounts {
    /// Blobs that the destination did not have.
    pub blobs: u64,
    /// Their sealed bytes in the source.
    pub bytes: u64,
    /// Packs written to the destination.
    pub packs: u64,
    /// Those of them that went over byte for byte.
    pub packs_whole: u64,
    /// Bytes of packs written to the destination.
    pub bytes_stored: u64,
}

/// What a copy came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Snapshots that were copied, oldest first.
    pub copied: Vec<CopiedSnapshot>,
    /// Snapshots that the destination had already.
    pub present: Vec<CopiedSnapshot>,
    /// Those of them whose data was read again, by their ids in the source.
    pub read_again: Vec<Id>,
    /// Damaged packs of the destination, and what became of them.
    pub damaged: Vec<DamagedPack>,
    /// Snapshots that are not whole in the source.
    pub left_out: Vec<LeftOut>,
    /// How much went over.
    pub counts: CopyCounts,
}

/// What a copy would do. Nothing was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyPlan {
    /// Snapshots that would be copied, oldest first, as far as their trees tell.
    pub snapshots: Vec<Id>,
    /// Snapshots that the destination has already.
    pub present: Vec<CopiedSnapshot>,
    /// Those of them whose data would be read again.
    pub read_again: Vec<Id>,
    /// Packs of the destination that are missing or cut.
    pub damaged: Vec<DamagedPack>,
    /// Snapshots that are not whole.
    pub left_out: Vec<LeftOut>,
    /// Blobs that would go over.
    pub blobs: u64,
    /// Their sealed bytes.
    pub bytes: u64,
}

impl Vault {
    /// Begins a copy into another vault, under a shared lock on both. [`CopySession::step`] carries
    /// it on.
    pub fn copy_to(&self, destination: &Vault, options: CopyOptions) -> Result<CopySession> {
        CopySession::start(self, destination, options)
    }

    /// What a copy would do; without a destination, what a copy into a new vault would. Trees are
    /// read, data is not: of packs that no index object names the headers are believed.
    pub fn plan_copy(
        &self,
        destination: Option<&Vault>,
        options: &CopyOptions,
    ) -> Result<CopyPlan> {
        session::look(self, destination, options)
    }
}
