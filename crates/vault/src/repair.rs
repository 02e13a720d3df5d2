//! Mending the index from the packs' own headers.
//!
//! Packs that no index object names are added, entries of packs that are missing are dropped, and
//! so are index objects that cannot be read, once others stand in for them. Packs that were marked
//! for deletion are listed again too: what is needed of them is not known here, and the next pruning
//! marks the rest anew. No pack is removed, and no snapshot.

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::index::{IndexFile, IndexPack};
use crate::maintenance::Maintenance;
use crate::pack::{self, PackedBlob};
use crate::parallel;
use crate::vault::{Folder, Stored, Vault};

/// How to mend.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairOptions {
    /// Read every pack's header, not only those that the index does not know or has wrong.
    pub read_all: bool,
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
    /// Packs whose header cannot be read, and why: left out of the index.
    pub unreadable: Vec<(Id, String)>,
    /// Index objects that could not be read, and why: removed.
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
            && self.unreadable.is_empty()
            && self.damaged.is_empty()
    }

    /// True if something is lost that no index can bring back.
    pub fn lost_something(&self) -> bool {
        !self.missing.is_empty() || !self.unreadable.is_empty()
    }
}

/// One index object, reduced to what its packs are.
struct Object {
    id: Id,
    packs: Vec<Id>,
    marks: Vec<Id>,
}

/// What is to be written and removed.
struct Plan {
    /// Index objects that go.
    touched: Vec<Id>,
    /// What stands in for them.
    packs: Vec<(Id, Vec<PackedBlob>)>,
    report: RepairReport,
}

impl Vault {
    /// What a repair would do; changes nothing, under a shared lock.
    pub fn plan_repair(&self, options: &RepairOptions) -> Result<RepairReport> {
        let lock = self.lock_for_reading()?;
        let plan = plan(self, options)?;
        lock.verify()?;
        Ok(plan.report)
    }
}

impl Maintenance {
    /// Mends the index: new objects first, then the old ones away.
    pub fn repair_index(&self, options: &RepairOptions) -> Result<RepairReport> {
        let Plan { touched, packs, mut report } = plan(&self.vault, options)?;
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

fn plan(vault: &Vault, options: &RepairOptions) -> Result<Plan> {
    let mut report = RepairReport::default();
    let (objects, mut known) = read_objects(vault, &mut report)?;
    let stored = vault.list(Folder::Data)?;
    report.packs = stored.len() as u64;
    let marked: HashSet<Id> = objects.iter().flat_map(|object| object.marks.clone()).collect();
    let sizes: HashMap<Id, u64> = stored.iter().map(|pack| (pack.id, pack.size)).collect();
    report.missing = known.keys().filter(|pack| !sizes.contains_key(*pack)).copied().collect();
    report.missing.sort_unstable();
    let wrong = |pack: &&Stored| {
        options.read_all
            || known.get(&pack.id).is_none_or(|blobs| pack::pack_size(blobs) != pack.size)
    };
    let doubtful: Vec<&Stored> = stored.iter().filter(wrong).collect();
    let headers = parallel::map(&doubtful, parallel::io_threads(), |pack| {
        vault.stop_if_cancelled()?;
        match vault.read_header(&pack.id, pack.size) {
            Ok(blobs) => Ok(Ok(blobs)),
            Err(ReadFailure::Damaged(flaw)) => Ok(Err(flaw.why)),
            Err(ReadFailure::Store(error)) => Err(error),
        }
    })?;
    // Packs of which the index must say something else than it does.
    let mut changed: HashSet<Id> = report.missing.iter().copied().collect();
    let mut new = Vec::new();
    for (pack, header) in doubtful.iter().zip(headers) {
        let before = known.get(&pack.id);
        match header {
            Ok(blobs) if before == Some(&blobs) => continue,
            Ok(blobs) => {
                match (before.is_some(), marked.contains(&pack.id)) {
                    (true, _) => report.corrected.push(pack.id),
                    (false, true) => report.unmarked.push(pack.id),
                    (false, false) => report.added.push(pack.id),
                }
                new.push((pack.id, blobs));
            }
            Err(why) => report.unreadable.push((pack.id, why)),
        }
        changed.insert(pack.id);
    }
    let damaged: HashSet<Id> = report.damaged.iter().map(|(id, _)| *id).collect();
    let concerned = |object: &&Object| {
        !object.marks.is_empty() || object.packs.iter().any(|pack| changed.contains(pack))
    };
    let going: Vec<&Object> = objects.iter().filter(concerned).collect();
    let mut packs = new;
    for pack in going.iter().flat_map(|object| &object.packs) {
        if !changed.contains(pack)
            && let Some(blobs) = known.remove(pack)
        {
            packs.push((*pack, blobs));
        }
    }
    let touched = going.iter().map(|object| object.id).chain(damaged).collect();
    Ok(Plan { touched, packs, report })
}

type Known = HashMap<Id, Vec<PackedBlob>>;

fn read_objects(vault: &Vault, report: &mut RepairReport) -> Result<(Vec<Object>, Known)> {
    let stored = vault.list(Folder::Index)?;
    let files = parallel::map(&stored, parallel::threads(), |object| {
        vault.stop_if_cancelled()?;
        let read = vault
            .load_document(Folder::Index, &object.id, None)
            .and_then(|json| Ok(IndexFile::parse(&json).map_err(Flaw::changed)?));
        match read {
            Ok(file) => Ok(Ok((object.id, file))),
            Err(ReadFailure::Damaged(flaw)) => Ok(Err((object.id, flaw.why))),
            Err(ReadFailure::Store(error)) => Err(error),
        }
    })?;
    let mut known = Known::new();
    let mut objects = Vec::new();
    for file in files {
        let (id, file) = match file {
            Ok(file) => file,
            Err(damage) => {
                report.damaged.push(damage);
                continue;
            }
        };
        let marks = file.packs_to_delete.iter().map(|pack| pack.id).collect();
        objects.push(Object { id, packs: file.packs.iter().map(|p| p.id).collect(), marks });
        for pack in file.packs {
            let mut blobs: Vec<PackedBlob> = pack.blobs.iter().map(PackedBlob::from).collect();
            blobs.sort_unstable_by_key(|blob| blob.offset);
            known.insert(pack.id, blobs);
        }
    }
    Ok((objects, known))
}
