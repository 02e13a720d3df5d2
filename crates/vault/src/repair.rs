//! Mending the index from the packs' own headers.
//!
//! Packs that no index object names are added, entries of packs that are missing are dropped, and
//! so are index objects that are damaged, once others stand in for them. Packs that were marked
//! for deletion are listed again too: what is needed of them is not known here, and the next pruning
//! marks the rest anew. No pack is removed, and no snapshot.
//!
//! *What could be read before can be read after.* Readers need no pack header, only the index: where
//! a pack's header is gone, its entry in the index is all that tells where its blobs lie. What of
//! them is proven by its hash is stored again in new packs, and those are listed in its place. (To
//! leave the entry as it is would keep the blobs as well; but such a pack has another size than the
//! entry says, so that pruning would refuse for ever, and restic's check complain.) An index object
//! or a pack that the store cannot read *now* may be whole: the former ends the repair before
//! anything was changed, the entry of the latter stays.

mod plan;
mod salvage;

use self::plan::{Plan, plan};
use crate::error::Result;
use crate::id::Id;
use crate::index::{IndexFile, IndexPack};
use crate::maintenance::Maintenance;
use crate::prune::{PACK_BYTES, Writer};
use crate::vault::{Folder, Vault};

/// How to mend.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairOptions {
    /// Read every pack's header, not only those that the index does not know or has wrong.
    pub read_all: bool,
}

/// A listed pack whose header cannot be read, so that what is intact of it is stored again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// The pack, which is no longer listed.
    pub pack: Id,
    /// What is wrong with it.
    pub why: String,
    /// Blobs that were proven by their hash and stored again.
    pub saved: u64,
    /// Blobs that are damaged or cut off and lie in no other listed pack.
    pub lost: u64,
}

/// What was mended, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Packs in the place.
    pub packs: u64,
    /// Packs that no index object named: added.
    pub added: Vec<Id>,
    /// Packs that were marked for deletion: listed again.
    pub unmarked: Vec<Id>,
    /// Packs that are missing: their entries were dropped.
    pub missing: Vec<Id>,
    /// Packs whose header says something else than the index did: the header counts.
    pub corrected: Vec<Id>,
    /// Listed packs whose header is damaged: what is intact of them was stored again.
    pub salvaged: Vec<Salvaged>,
    /// Listed packs that the store cannot read now, and why: their entries stay as they are.
    pub kept: Vec<(Id, String)>,
    /// Packs in no index whose header cannot be read, and why: left as they are.
    pub unreadable: Vec<(Id, String)>,
    /// Index objects that are damaged, and how: removed.
    pub damaged: Vec<(Id, String)>,
    /// Index objects written and removed.
    pub index_written: u64,
    /// See above.
    pub index_removed: u64,
}

impl RepairReport {
    /// True if there was nothing to mend.
    pub fn was_whole(&self) -> bool {
        self.added.is_empty()
            && self.unmarked.is_empty()
            && self.missing.is_empty()
            && self.corrected.is_empty()
            && self.salvaged.is_empty()
            && self.kept.is_empty()
            && self.unreadable.is_empty()
            && self.damaged.is_empty()
    }

    /// True if something may be lost that no index can bring back.
    pub fn lost_something(&self) -> bool {
        !self.missing.is_empty()
            || !self.unreadable.is_empty()
            || !self.kept.is_empty()
            || self.salvaged.iter().any(|pack| pack.lost > 0)
    }
}

impl Vault {
    /// What a repair would do; changes nothing, under a shared lock.
    pub fn plan_repair(&self, options: &RepairOptions) -> Result<RepairReport> {
        let lock = self.lock_for_reading()?;
        let plan = plan(self, options, &mut |_, _| Ok(()))?;
        lock.verify()?;
        Ok(plan.report)
    }
}

impl Maintenance {
    /// Mends the index: what is salvaged into new packs, then new objects, then the old ones away.
    pub fn repair_index(&self, options: &RepairOptions) -> Result<RepairReport> {
        let mut writer = Writer::new(&self.vault, PACK_BYTES);
        let save = &mut |blob: &_, sealed: &[u8]| writer.add(blob, sealed);
        let Plan { touched, mut packs, mut report } = plan(&self.vault, options, save)?;
        packs.extend(writer.finish()?);
        self.lock.confirm()?;
        let mut file = IndexFile::default();
        let (mut blobs, last) = (0, packs.len());
        for (at, (pack, content)) in packs.iter().enumerate() {
            file.packs.push(IndexPack::new(*pack, content));
            blobs += content.len();
            if blobs >= crate::prune::BLOBS_AN_INDEX || at + 1 == last {
                self.vault.save_document(Folder::Index, &std::mem::take(&mut file))?;
                report.index_written += 1;
                blobs = 0;
            }
        }
        if !touched.is_empty() {
            self.lock.confirm()?;
        }
        for id in &touched {
            self.delete(Folder::Index, id)?;
            report.index_removed += 1;
        }
        self.vault.forget_index();
        Ok(report)
    }
}
