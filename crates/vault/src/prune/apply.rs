//! Carrying a decision out, in the order that the module above states.

use std::collections::{BTreeSet, HashSet};

use super::decide::{Decision, Fate};
use super::repack::{Source, repack};
use super::view::{Changes, Object, Standing, View};
use super::{PruneOptions, PruneReport};
use crate::backup::upload::StoredPack;
use crate::error::Result;
use crate::id::Id;
use crate::index::{IndexFile, IndexPack};
use crate::maintenance::Maintenance;
use crate::vault::Folder;

/// Blobs that one index object lists at least, if there are so many: restic's own measure.
pub(crate) const BLOBS_AN_INDEX: usize = 50_000;
/// Index objects with fewer blobs are merged when there are so many of them.
const SMALL: usize = BLOBS_AN_INDEX / 10;
const MANY_SMALL: usize = 16;

struct Work<'a> {
    hands: &'a Maintenance,
    view: &'a View,
    fates: &'a [Fate],
    /// What this run did to the lists.
    changes: Changes,
}

pub(super) fn apply(
    hands: &Maintenance,
    view: &View,
    decision: Decision,
    options: &PruneOptions,
) -> Result<PruneReport> {
    let Decision { fates, used, mut report } = decision;
    let mut work = Work { hands, view, fates: &fates, changes: Changes::default() };
    work.still_ours()?;
    work.forget()?;
    work.recover()?;
    work.delete_overdue()?;
    let sources = work.sources(&used);
    let stored = repack(&hands.vault, &sources, options.pack_bytes)?;
    for (_, blobs) in &stored {
        report.written.add(crate::pack::pack_size(blobs));
    }
    let touched = work.touched();
    if !stored.is_empty() || !touched.is_empty() {
        work.still_ours()?;
        work.write_index(&touched, &stored)?;
    }
    report.index_written = work.changes.written.len() as u64;
    if !options.grace.is_zero() {
        work.write_marks(&touched)?;
    }
    if !touched.is_empty() {
        work.still_ours()?;
    }
    for object in &touched {
        work.remove_object(&view.objects[*object])?;
    }
    if options.grace.is_zero() {
        work.delete(|fate| matches!(fate, Fate::Mark | Fate::Repack))?;
    }
    report.index_removed = work.changes.removed.len() as u64;
    Ok(report)
}

impl Work<'_> {
    /// The lock is ours, nobody else's is there, and the lists are what they were: else nothing more
    /// is removed.
    fn still_ours(&self) -> Result<()> {
        self.hands.lock.confirm()?;
        // An object that we removed must be gone from the list, one that we wrote must be in it.
        self.view.still_holds(&self.hands.vault, &self.changes)
    }

    fn packs(&self, fits: impl Fn(Fate) -> bool) -> impl Iterator<Item = (usize, Id)> {
        let packs = self.view.index.packs().iter().enumerate();
        packs.filter(move |(number, _)| fits(self.fates[*number])).map(|(n, pack)| (n, *pack))
    }

    /// The snapshots that were left out of the decision.
    fn forget(&mut self) -> Result<()> {
        if self.view.leaving.is_empty() {
            return Ok(());
        }
        for id in &self.view.leaving {
            self.hands.delete(Folder::Snapshots, id)?;
            self.changes.forgotten.insert(*id);
        }
        self.still_ours()
    }

    /// Packs that are needed and in no index go back into it. Their bytes are known to be right.
    fn recover(&mut self) -> Result<()> {
        let order = self.view.index.by_pack();
        let found: Vec<StoredPack> = self
            .packs(|fate| fate == Fate::Recover)
            .map(|(number, pack)| (pack, order.blobs(number)))
            .collect();
        if !found.is_empty() {
            let list: Vec<String> = found.iter().map(|(pack, _)| pack.short()).collect();
            self.hands.vault.note(&format!("needed again, put back: packs {}", list.join(", ")));
            self.write_packs(found.into_iter())?;
        }
        Ok(())
    }

    /// Phase 2: packs whose time has come, then the marks that speak of nothing else any more.
    fn delete_overdue(&mut self) -> Result<()> {
        self.delete(|fate| fate == Fate::Delete)?;
        let done: Vec<&Object> =
            self.view.objects.iter().filter(|object| self.is_spent(object)).collect();
        for object in done {
            self.remove_object(object)?;
        }
        Ok(())
    }

    fn delete(&self, fits: impl Fn(Fate) -> bool) -> Result<()> {
        for (_, pack) in self.packs(fits) {
            self.hands.delete(Folder::Data, &pack)?;
        }
        Ok(())
    }

    /// A mark of packs that are all gone.
    fn is_spent(&self, object: &Object) -> bool {
        let gone = |number: &u32| self.fates[*number as usize] == Fate::Delete;
        object.packs.is_empty() && object.is_mark && object.marks.iter().all(gone)
    }

    fn remove_object(&mut self, object: &Object) -> Result<()> {
        if self.changes.removed.insert(object.id) {
            self.hands.delete(Folder::Index, &object.id)?;
        }
        Ok(())
    }

    /// What must be stored again.
    fn sources(&self, used: &super::used::Used) -> Vec<Source> {
        let order = self.view.index.by_pack();
        let wasteful = self.view.wasteful(used);
        self.packs(|fate| fate == Fate::Repack)
            .map(|(number, pack)| {
                let mut blobs = order.blobs(number);
                blobs.retain(|blob| self.view.gives(used, number, blob, &wasteful));
                Source { pack, size: self.view.sizes[number], blobs }
            })
            .collect()
    }

    /// Index objects (by their place in the view) that must go: those that name a pack which leaves,
    /// marks that speak of packs which are in an index or go back into one, and many small ones.
    fn touched(&self) -> Vec<usize> {
        let fate = |number: &u32| self.fates[*number as usize];
        let leaves = |number: &u32| matches!(fate(number), Fate::Mark | Fate::Repack);
        let stale = |number: &u32| {
            fate(number) == Fate::Recover
                || self.view.standings[*number as usize] == Standing::Listed
        };
        let objects = || self.view.objects.iter().enumerate();
        let left = |object: &(usize, &Object)| !self.changes.removed.contains(&object.1.id);
        let mut touched: BTreeSet<usize> = objects()
            .filter(left)
            .filter(|(_, object)| object.packs.iter().any(leaves) || object.marks.iter().any(stale))
            .map(|(at, _)| at)
            .collect();
        let small: Vec<usize> = objects()
            .filter(left)
            .filter(|(_, object)| !object.is_mark && object.blobs < SMALL)
            .map(|(at, _)| at)
            .collect();
        if small.len() >= MANY_SMALL || (!touched.is_empty() && small.len() > 1) {
            touched.extend(small);
        }
        touched.into_iter().collect()
    }

    /// The packs that stay of the touched objects, and the new ones.
    fn write_index(&mut self, touched: &[usize], stored: &[StoredPack]) -> Result<()> {
        let order = self.view.index.by_pack();
        let stays: BTreeSet<u32> = touched
            .iter()
            .flat_map(|at| self.view.objects[*at].packs.iter().copied())
            .filter(|number| self.fates[*number as usize] == Fate::Keep)
            .collect();
        let packs = self.view.index.packs();
        let old = stays.iter().map(|at| (packs[*at as usize], order.blobs(*at as usize)));
        self.write_packs(old.chain(stored.iter().cloned()))
    }

    fn write_packs(&mut self, packs: impl Iterator<Item = StoredPack>) -> Result<()> {
        let mut file = IndexFile::default();
        let mut blobs = 0;
        for (pack, content) in packs {
            file.push(pack, &content);
            blobs += content.len();
            if blobs >= BLOBS_AN_INDEX {
                self.save(&mut file)?;
                blobs = 0;
            }
        }
        self.save(&mut file)
    }

    fn save(&mut self, file: &mut IndexFile) -> Result<()> {
        if file.packs.is_empty() && file.packs_to_delete.is_empty() {
            return Ok(());
        }
        let id = self.hands.vault.save_document(Folder::Index, &std::mem::take(file))?;
        self.changes.written.insert(id);
        Ok(())
    }

    /// Marks what leaves, and again what waits under a mark that goes.
    fn write_marks(&mut self, touched: &[usize]) -> Result<()> {
        let again: HashSet<u32> =
            touched.iter().flat_map(|at| self.view.objects[*at].marks.iter().copied()).collect();
        let order = self.view.index.by_pack();
        let now = self.hands.vault.environment().clock.wall();
        let mut file = IndexFile::default();
        let mut blobs = 0;
        for (number, pack) in self.view.index.packs().iter().enumerate() {
            let marked = match self.fates[number] {
                Fate::Mark | Fate::Repack => true,
                Fate::Wait => again.contains(&(number as u32)),
                Fate::Keep | Fate::Recover | Fate::Delete => false,
            };
            if !marked {
                continue;
            }
            let content = order.blobs(number);
            blobs += content.len();
            let entry = IndexPack { time: Some(now), ..IndexPack::new(*pack, &content) };
            file.packs_to_delete.push(entry);
            if blobs >= BLOBS_AN_INDEX {
                self.save(&mut file)?;
                blobs = 0;
            }
        }
        self.save(&mut file)
    }
}
