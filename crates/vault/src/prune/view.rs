//! All that must be known before anything is removed: every snapshot, every index object, every
//! pack. What is missing or unreadable is an error here, and nothing is removed.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

use super::PruneOptions;
use crate::error::{Error, Gap, Result};
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::index::{Index, IndexBuilder, IndexFile, IndexPack};
use crate::maintenance::{CLOCK_TOLERANCE, LAST_SNAPSHOT};
use crate::pack::{self, PackedBlob};
use crate::parallel;
use crate::snapshot::Snapshot;
use crate::sync::lock;
use crate::vault::{Folder, Stored, Vault};

/// How a pack stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// An index object names it.
    Listed,
    /// Nobody speaks of it: left by a backup or a pruning that was broken off.
    Orphan,
    /// Marked for deletion, at this time by the store's clock.
    Marked(Timestamp),
}

/// An index object and the numbers of the packs that it names.
pub(super) struct Object {
    pub id: Id,
    /// Packs that it names.
    pub packs: Vec<u32>,
    /// Packs that it marks, those that are gone left out.
    pub marks: Vec<u32>,
    /// True if it marks packs, be they gone.
    pub is_mark: bool,
    /// Blobs in the packs that it names.
    pub blobs: usize,
}

/// The vault as it is. Packs have the numbers that they have in the index.
pub(super) struct View {
    /// All blobs of all packs, whatever their standing; those of orphans and marked packs are not
    /// trusted.
    pub index: Index,
    pub standings: Vec<Standing>,
    /// Bytes of each pack.
    pub sizes: Vec<u64>,
    pub objects: Vec<Object>,
    /// Those that stay.
    pub snapshots: Vec<(Id, Snapshot)>,
    /// Those that are there and go with this pruning.
    pub leaving: Vec<Id>,
}

/// What a run did to the lists of snapshots and index objects.
#[derive(Default)]
pub(super) struct Changes {
    /// Index objects that it wrote.
    pub written: HashSet<Id>,
    /// Index objects that it removed.
    pub removed: HashSet<Id>,
    /// Snapshots that it removed.
    pub forgotten: HashSet<Id>,
}

/// One index object as it was read.
struct Part {
    id: Id,
    modified: Timestamp,
    packs: Vec<Id>,
    blobs: usize,
    doomed: Vec<IndexPack>,
}

impl View {
    /// Reads it all. Snapshots first, packs last: what somebody adds meanwhile in spite of the lock
    /// is then a pack too many, never one too few.
    pub fn read(vault: &Vault, options: &PruneOptions, now: Timestamp) -> Result<View> {
        // What was loaded before is of no use here and would be in memory twice.
        vault.forget_index();
        let (leaving, snapshots): (Vec<_>, Vec<_>) = vault
            .complete_snapshots(&options.expected)?
            .into_iter()
            .partition(|(id, _)| options.without.contains(id));
        let leaving: Vec<Id> = leaving.into_iter().map(|(id, _)| id).collect();
        if snapshots.is_empty() && !leaving.is_empty() {
            return Err(Error::Invalid(LAST_SNAPSHOT.to_owned()));
        }
        let (builder, parts) = read_parts(vault)?;
        let stored = vault.list(Folder::Data)?;
        if snapshots.is_empty() && !stored.is_empty() {
            return Err(Error::incomplete(Gap::Unlisted, "there are packs and no snapshot"));
        }
        let objects = parts.iter().map(|part| part.modified);
        plausible(now, objects.chain(stored.iter().map(|pack| pack.modified)))?;
        let mut view = View::assemble(vault, snapshots, builder, parts, &stored)?;
        view.leaving = leaving;
        Ok(view)
    }

    fn assemble(
        vault: &Vault,
        snapshots: Vec<(Id, Snapshot)>,
        mut builder: IndexBuilder,
        parts: Vec<Part>,
        stored: &[Stored],
    ) -> Result<View> {
        let sizes: HashMap<Id, u64> = stored.iter().map(|pack| (pack.id, pack.size)).collect();
        // The newest mark counts: an older one is of a time before the pack was used again.
        let mut marked: HashMap<Id, Timestamp> = HashMap::new();
        let mut objects = Vec::new();
        for Part { id, modified, packs, blobs, doomed } in parts {
            let (is_mark, mut marks) = (!doomed.is_empty(), Vec::new());
            for pack in doomed.into_iter().filter(|pack| sizes.contains_key(&pack.id)) {
                // By the store, unless the marker's own clock says that it was later.
                let at = pack.time.map_or(modified, |time| time.max(modified));
                if !builder.names(&pack.id) {
                    let blobs = pack.blobs.iter().map(PackedBlob::from);
                    builder.add_unlisted_pack(&pack.id, blobs);
                }
                let newest = marked.entry(pack.id).or_insert(at);
                *newest = at.max(*newest);
                marks.push(pack.id);
            }
            objects.push((id, packs, marks, is_mark, blobs));
        }
        let listed: HashSet<Id> =
            objects.iter().flat_map(|(_, packs, ..)| packs.iter().copied()).collect();
        add_orphans(vault, &mut builder, stored)?;
        let index = builder.finish(parallel::threads());
        let numbers: HashMap<Id, u32> =
            index.packs().iter().enumerate().map(|(n, pack)| (*pack, n as u32)).collect();
        let number = |packs: Vec<Id>| -> Vec<u32> {
            packs.iter().filter_map(|pack| numbers.get(pack).copied()).collect()
        };
        let standing = |pack: &Id| match (listed.contains(pack), marked.get(pack)) {
            (true, _) => Standing::Listed,
            (false, Some(at)) => Standing::Marked(*at),
            (false, None) => Standing::Orphan,
        };
        let view = View {
            standings: index.packs().iter().map(standing).collect(),
            sizes: index.packs().iter().map(|pack| sizes.get(pack).copied().unwrap_or(0)).collect(),
            objects: objects
                .into_iter()
                .map(|(id, packs, marks, is_mark, blobs)| Object {
                    id,
                    is_mark,
                    packs: number(packs),
                    marks: number(marks),
                    blobs,
                })
                .collect(),
            snapshots,
            leaving: Vec::new(),
            index,
        };
        view.every_listed_pack_is_there(&sizes)?;
        Ok(view)
    }

    /// The listing of packs is at least as large as what the index knows.
    fn every_listed_pack_is_there(&self, sizes: &HashMap<Id, u64>) -> Result<()> {
        let order = self.index.by_pack();
        for (number, pack) in self.index.packs().iter().enumerate() {
            if self.standings[number] != Standing::Listed {
                continue;
            }
            let what = match (sizes.get(pack), pack::pack_size(&order.blobs(number))) {
                (Some(found), wanted) if *found == wanted => continue,
                (Some(found), wanted) => {
                    format!("pack {} has {found} bytes and should have {wanted}", pack.short())
                }
                (None, _) => format!("pack {} is in the index and not listed", pack.short()),
            };
            return Err(Error::incomplete(Gap::Pack, what));
        }
        Ok(())
    }

    /// All snapshots that are to go are there.
    pub fn knows(&self, without: &[Id]) -> Result<()> {
        match without.iter().find(|id| !self.leaving.contains(id)) {
            None => Ok(()),
            Some(id) => Err(Error::NotFound { what: "snapshot", name: id.to_string() }),
        }
    }

    /// The lists of snapshots and index objects are what they were, apart from what we did ourselves.
    /// Somebody who does not honour locks, or a place whose listings come and go, is found by this.
    pub fn still_holds(&self, vault: &Vault, changes: &Changes) -> Result<()> {
        let changed = |what: &str| Error::incomplete(Gap::Changed, what);
        let ids = |list: Vec<Stored>| -> HashSet<Id> { list.iter().map(|one| one.id).collect() };
        let mut known: HashSet<Id> = self.snapshots.iter().map(|(id, _)| *id).collect();
        known.extend(self.leaving.iter().filter(|id| !changes.forgotten.contains(id)));
        if ids(vault.list(Folder::Snapshots)?) != known {
            return Err(changed("the list of snapshots changed while it was looked at"));
        }
        let mut known: HashSet<Id> = self.objects.iter().map(|object| object.id).collect();
        known.extend(&changes.written);
        known.retain(|id| !changes.removed.contains(id));
        if ids(vault.list(Folder::Index)?) != known {
            return Err(changed("the list of index objects changed while it was looked at"));
        }
        Ok(())
    }
}

/// No object lies in the store's own future.
fn plausible(now: Timestamp, mut times: impl Iterator<Item = Timestamp>) -> Result<()> {
    let ahead = |time: &Timestamp| time.duration_since(now) > CLOCK_TOLERANCE;
    match times.find(ahead) {
        None => Ok(()),
        Some(time) => Err(Error::ImplausibleClock {
            why: format!("an object was stored at {time}, and the place says that it is {now}"),
        }),
    }
}

/// How long ago, by the store's clock.
pub(super) fn age(now: Timestamp, then: Timestamp) -> SignedDuration {
    now.duration_since(then)
}

/// All index objects, also those that another one says it replaces: what is named is named. Their
/// entries go into one table as they come.
fn read_parts(vault: &Vault) -> Result<(IndexBuilder, Vec<Part>)> {
    let stored = vault.list(Folder::Index)?;
    let builder = Mutex::new(IndexBuilder::default());
    let parts = parallel::map(&stored, parallel::threads(), |object| {
        vault.stop_if_cancelled()?;
        let read = vault
            .load_document(Folder::Index, &object.id, None)
            .and_then(|json| Ok(IndexFile::parse(&json).map_err(Flaw::changed)?));
        let file = match read {
            Ok(file) => file,
            Err(ReadFailure::Damaged(flaw)) => {
                let what = format!("index {} cannot be read: {flaw}", object.id.short());
                return Err(Error::incomplete(Gap::of(flaw.wrong, Gap::Index), what));
            }
            Err(ReadFailure::Store(error)) => return Err(error),
        };
        lock(&builder).add_file(&file);
        Ok(Part {
            id: object.id,
            modified: object.modified,
            blobs: file.blob_count(),
            packs: file.packs.iter().map(|pack| pack.id).collect(),
            doomed: file.packs_to_delete,
        })
    })?;
    let builder = std::mem::take(&mut *lock(&builder));
    Ok((builder, parts))
}

/// Packs that nobody speaks of. One whose header cannot be read is the rest of a broken upload, or
/// damaged: it holds nothing that could be read.
fn add_orphans(vault: &Vault, builder: &mut IndexBuilder, stored: &[Stored]) -> Result<()> {
    let orphans: Vec<&Stored> = stored.iter().filter(|pack| !builder.names(&pack.id)).collect();
    let headers = parallel::map(&orphans, parallel::io_threads(), |pack| {
        vault.stop_if_cancelled()?;
        match vault.read_header(&pack.id, pack.size) {
            Ok(blobs) => Ok(blobs),
            Err(ReadFailure::Damaged(_)) => Ok(Vec::new()),
            Err(ReadFailure::Store(error)) => Err(error),
        }
    })?;
    for (pack, blobs) in orphans.iter().zip(headers) {
        builder.add_unlisted_pack(&pack.id, blobs);
    }
    Ok(())
}
