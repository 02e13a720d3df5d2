//! The report of a copy into another tier.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use serde::Serialize;

use super::{Head, TierRef};

/// A snapshot and its copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopiedSnapshot {
    /// The snapshot.
    pub snapshot: String,
    /// Its copy; nothing where nothing was copied yet.
    pub copy: Option<String>,
    /// Its component; nothing for one that another tool made.
    pub component: Option<String>,
    /// When it was taken.
    pub time: Option<Timestamp>,
    /// No ledger knows it: nor does one know its copy.
    pub foreign: bool,
}

/// A snapshot that was not copied, because it is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The snapshot.
    pub snapshot: String,
    /// Its component, if that is known.
    pub component: Option<String>,
    /// What is wrong with it.
    pub why: Vec<String>,
}

/// A pack of the other tier that was missing, or did not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedPack {
    /// Its name.
    pub pack: String,
    /// All that it held is there again, and nothing names the damaged one any more.
    pub healed: bool,
    /// Blobs that it should hold, that no other pack there has and that could not be read here
    /// either. What can be read of the pack stays.
    pub lost: u64,
}

/// The report of a copy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CopyReport {
    /// What every report begins with.
    #[serde(flatten)]
    pub head: Head,
    /// Where the snapshots are.
    pub from: TierRef,
    /// Where they go.
    pub to: TierRef,
    /// Nothing was changed: this is what would be done.
    pub dry_run: bool,
    /// There was no vault: one is made, with the same master key.
    pub makes_vault: bool,
    /// Snapshots that were copied, oldest first.
    pub copied: Vec<CopiedSnapshot>,
    /// Snapshots that were there already.
    pub present: u64,
    /// Those of them whose copies were read again, all their data: they were named by their ids, or
    /// their verification there has failed.
    pub read_again: Vec<String>,
    /// Packs there that were missing or damaged, and whether they are healed.
    pub damaged: Vec<DamagedPack>,
    /// Snapshots whose copies were removed from there on purpose.
    pub removed_there: u64,
    /// Snapshots that are not whole.
    pub left_out: Vec<LeftOut>,
    /// Blobs that went over.
    pub blobs: u64,
    /// Their stored bytes in the source.
    pub bytes: u64,
    /// Packs written.
    pub packs: u64,
    /// Those of them that are the same objects, byte for byte.
    pub packs_whole: u64,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl CopyReport {
    /// The exit code that the report means.
    pub fn exit(&self) -> Exit {
        let open = |one: &DamagedPack| one.lost > 0 || !(one.healed || self.dry_run);
        match self.left_out.is_empty() && !self.damaged.iter().any(open) {
            true => Exit::Done,
            false => Exit::Problems,
        }
    }
}
