//! What is to be mended: every index object and every doubtful pack is looked at.

use std::collections::{HashMap, HashSet};

use super::salvage::{Broken, salvage};
use super::{RepairOptions, RepairReport};
use crate::error::{Error, Gap, Result};
use crate::flaw::{Flaw, ReadFailure, Wrong};
use crate::id::Id;
use crate::index::{IndexFile, IndexPack};
use crate::pack::{self, PackedBlob};
use crate::parallel;
use crate::vault::{Folder, NamedPack, Stored, Vault};

/// One index object, reduced to what its packs are.
struct Object {
    id: Id,
    packs: Vec<Id>,
    is_mark: bool,
}

/// What is to be written and removed.
pub(super) struct Plan {
    /// Index objects that go.
    pub touched: Vec<Id>,
    /// What stands in for them; packs that salvaging fills come on top.
    pub packs: Vec<NamedPack>,
    pub report: RepairReport,
}

/// Takes a blob that was salvaged, sealed as it was stored.
pub(super) type Save<'a> = &'a mut dyn FnMut(&PackedBlob, &[u8]) -> Result<()>;

/// What index objects say, and what the packs say of themselves.
struct Findings {
    objects: Vec<Object>,
    /// Blobs of the listed packs, by offset.
    known: Known,
    /// The same of packs that are marked for deletion.
    marked: Known,
    /// Packs of which the index must say something else than it does.
    changed: HashSet<Id>,
    /// What it must say of them, and of packs that it did not know.
    new: Vec<NamedPack>,
    report: RepairReport,
}

pub(super) type Known = HashMap<Id, Vec<PackedBlob>>;

/// Looks at everything; what is intact of broken packs goes to `save`.
pub(super) fn plan(vault: &Vault, options: &RepairOptions, save: Save<'_>) -> Result<Plan> {
    let mut found = read_objects(vault)?;
    let stored = vault.list(Folder::Data)?;
    found.report.packs = stored.len() as u64;
    found.drop_missing(&stored);
    let broken = found.judge_packs(vault, options, &stored)?;
    found.salvage(vault, broken, save)?;
    Ok(found.conclude())
}

impl Findings {
    fn drop_missing(&mut self, stored: &[Stored]) {
        let there: HashSet<Id> = stored.iter().map(|pack| pack.id).collect();
        let gone = self.known.keys().filter(|pack| !there.contains(*pack));
        self.report.missing = gone.copied().collect();
        self.report.missing.sort_unstable();
        self.changed.extend(&self.report.missing);
    }

    /// Holds the headers of doubtful packs against the index. Returns the listed and marked ones
    /// whose header is damaged.
    fn judge_packs(
        &mut self,
        vault: &Vault,
        options: &RepairOptions,
        stored: &[Stored],
    ) -> Result<Vec<Broken>> {
        let wrong = |pack: &&Stored| {
            options.read_all
                || self.known.get(&pack.id).is_none_or(|blobs| pack::pack_size(blobs) != pack.size)
        };
        let doubtful: Vec<&Stored> = stored.iter().filter(wrong).collect();
        let headers = parallel::map(&doubtful, parallel::io_threads(), |pack| {
            vault.stop_if_cancelled()?;
            match vault.read_header(&pack.id, pack.size) {
                Ok(blobs) => Ok(Ok(blobs)),
                Err(ReadFailure::Damaged(flaw)) => Ok(Err(flaw)),
                Err(ReadFailure::Store(error)) => Err(error),
            }
        })?;
        let mut broken = Vec::new();
        for (pack, header) in doubtful.iter().zip(headers) {
            match header {
                Ok(blobs) => self.believe(pack.id, blobs),
                Err(flaw) => broken.extend(self.doubt(pack, flaw)),
            }
        }
        Ok(broken)
    }

    /// A header counts more than the index.
    fn believe(&mut self, pack: Id, blobs: Vec<PackedBlob>) {
        match self.known.get(&pack) {
            Some(before) if *before == blobs => return,
            Some(_) => self.report.corrected.push(pack),
            None if self.marked.contains_key(&pack) => self.report.unmarked.push(pack),
            None => self.report.added.push(pack),
        }
        self.changed.insert(pack);
        self.new.push((pack, blobs));
    }

    /// A pack whose header cannot be read. What an index object says of it is all that is known.
    fn doubt(&mut self, pack: &Stored, flaw: Flaw) -> Option<Broken> {
        let listed = self.known.get(&pack.id).or_else(|| self.marked.get(&pack.id));
        let Some(blobs) = listed.cloned() else {
            self.report.unreadable.push((pack.id, flaw.why));
            return None;
        };
        match flaw.wrong {
            Wrong::Unreadable | Wrong::Missing => {
                self.keep(pack.id, blobs, flaw.why);
                None
            }
            Wrong::Empty | Wrong::Truncated | Wrong::Changed => {
                Some(Broken { pack: pack.id, size: pack.size, blobs, why: flaw.why })
            }
        }
    }

    /// The entry of a pack that cannot be read now stays; one that was marked becomes one.
    fn keep(&mut self, pack: Id, blobs: Vec<PackedBlob>, why: String) {
        if !self.known.contains_key(&pack) {
            self.new.push((pack, blobs));
        }
        self.report.kept.push((pack, why));
    }

    fn salvage(&mut self, vault: &Vault, broken: Vec<Broken>, save: Save<'_>) -> Result<()> {
        self.changed.extend(broken.iter().map(|one| one.pack));
        let mut outcome = salvage(vault, broken, save)?;
        for (Broken { pack, blobs, .. }, why) in outcome.unread.drain(..) {
            self.changed.remove(&pack);
            self.keep(pack, blobs, why);
        }
        let stays = self.known.iter().filter(|(pack, _)| !self.changed.contains(*pack));
        let new = self.new.iter().map(|(_, blobs)| blobs);
        self.report.salvaged = outcome.count(stays.map(|(_, blobs)| blobs).chain(new));
        Ok(())
    }

    fn conclude(mut self) -> Plan {
        let damaged = self.report.damaged.iter().map(|(id, _)| *id);
        let concerned = |object: &&Object| {
            object.is_mark || object.packs.iter().any(|pack| self.changed.contains(pack))
        };
        let going: Vec<&Object> = self.objects.iter().filter(concerned).collect();
        let mut packs = self.new;
        for pack in going.iter().flat_map(|object| &object.packs) {
            if !self.changed.contains(pack)
                && let Some(blobs) = self.known.remove(pack)
            {
                packs.push((*pack, blobs));
            }
        }
        let touched = going.iter().map(|object| object.id).chain(damaged).collect();
        Plan { touched, packs, report: self.report }
    }
}

/// All index objects. One that is damaged is named; one that merely cannot be read, or that is not
/// there any more, is an error: others could not stand in for it.
fn read_objects(vault: &Vault) -> Result<Findings> {
    let stored = vault.list(Folder::Index)?;
    let files = parallel::map(&stored, parallel::threads(), |object| {
        vault.stop_if_cancelled()?;
        let read = vault
            .load_document(Folder::Index, &object.id, None)
            .and_then(|json| Ok(IndexFile::parse(&json).map_err(Flaw::changed)?));
        match read {
            Ok(file) => Ok(Ok((object.id, file))),
            Err(ReadFailure::Damaged(flaw)) => match flaw.wrong {
                Wrong::Unreadable | Wrong::Missing => Err(unread(object, &flaw)),
                Wrong::Empty | Wrong::Truncated | Wrong::Changed => Ok(Err((object.id, flaw.why))),
            },
            Err(ReadFailure::Store(error)) => Err(error),
        }
    })?;
    let (mut known, mut marked) = (Known::new(), Known::new());
    let (mut objects, mut report) = (Vec::new(), RepairReport::default());
    for file in files {
        match file {
            Ok((id, file)) => {
                let is_mark = !file.packs_to_delete.is_empty();
                let packs = file.packs.iter().map(|pack| pack.id).collect();
                objects.push(Object { id, packs, is_mark });
                note(&mut known, file.packs);
                note(&mut marked, file.packs_to_delete);
            }
            Err(damage) => report.damaged.push(damage),
        }
    }
    in_order(&mut known);
    in_order(&mut marked);
    let (changed, new) = (HashSet::new(), Vec::new());
    Ok(Findings { objects, known, marked, changed, new, report })
}

fn unread(object: &Stored, flaw: &Flaw) -> Error {
    let what = format!("index {} cannot be read: {flaw}", object.id.short());
    Error::incomplete(Gap::of(flaw.wrong, Gap::Index), what)
}

/// What several objects say of one pack is put together.
fn note(known: &mut Known, packs: Vec<IndexPack>) {
    for pack in packs {
        known.entry(pack.id).or_default().extend(pack.blobs.iter().map(PackedBlob::from));
    }
}

fn in_order(known: &mut Known) {
    for blobs in known.values_mut() {
        blobs.sort_unstable_by_key(|blob| (blob.offset, blob.length, blob.id));
        blobs.dedup();
    }
}
