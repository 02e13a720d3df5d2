//! What is wrong with the destination's packs, and what the source makes good of it.
//!
//! A missing or cut pack is seen by the listing, whatever is copied. A damaged one is seen only by
//! whoever reads it: that is done for the present snapshots that the caller doubts. Of either, each
//! blob that no other pack of the destination holds goes over once more, if the source has it. What
//! went over byte for byte stands where it stood; the other packs stay in the index until
//! [`Maintenance::discard`](crate::Maintenance::discard) takes them out of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::DamagedPack;
use crate::backup::upload::StoredPack;
use crate::check::{CheckOptions, ObjectKind};
use crate::error::Result;
use crate::id::Id;
use crate::index::Index;
use crate::pack::{BlobKind, PackedBlob};
use crate::parallel;
use crate::vault::{Footing, Vault};

/// Packs of the destination that do not hold what its index says.
#[derive(Default)]
pub(super) struct Wounds(HashMap<Id, Wound>);

struct Wound {
    /// In the destination's index.
    number: usize,
    blobs: Vec<PackedBlob>,
    restored: AtomicBool,
}

/// Reads all data of some snapshots; the packs that are not what they should be.
pub(super) fn read_again(destination: &Vault, copies: Vec<Id>) -> Result<HashSet<Id>> {
    if copies.is_empty() {
        return Ok(HashSet::new());
    }
    let check = |only| destination.check(&CheckOptions { only, ..CheckOptions::default() });
    let mut report = check(Some(copies))?;
    let mut lost = report.damage.iter().flat_map(|damage| &damage.lost_blobs);
    if lost.any(|(kind, _)| *kind == BlobKind::Tree) {
        // Nobody knows what stands below a tree that cannot be read.
        report = check(None)?;
    }
    let packs = report.damage.iter().filter(|damage| damage.kind == ObjectKind::Pack);
    Ok(packs.filter_map(|damage| damage.name.parse().ok()).collect())
}

impl Wounds {
    /// The packs that the listing found wrong and those that were `rotten` when they were read. The
    /// index does not trust them any more.
    pub fn of(destination: &Vault, footing: &Footing, rotten: &HashSet<Id>) -> Result<Wounds> {
        let mut wounds = Wounds::default();
        let mut bad: HashSet<Id> = footing.gone.iter().chain(rotten).copied().collect();
        let mut proven = HashSet::new();
        while !bad.is_empty() {
            wounds.add(&footing.index, &bad);
            bad = wounds.also_bad(destination, footing, &mut proven)?;
        }
        Ok(wounds)
    }

    /// What the listing found wrong: no data is read.
    pub fn seen(footing: &Footing) -> Wounds {
        let mut wounds = Wounds::default();
        if !footing.gone.is_empty() {
            wounds.add(&footing.index, &footing.gone.iter().copied().collect());
        }
        wounds
    }

    fn add(&mut self, index: &Index, bad: &HashSet<Id>) {
        let order = index.by_pack();
        for (number, pack) in index.packs().iter().enumerate().filter(|(_, p)| bad.contains(p)) {
            index.set_trusted(number, false);
            let (blobs, restored) = (order.blobs(number), AtomicBool::default());
            self.0.insert(*pack, Wound { number, blobs, restored });
        }
    }

    /// Packs that hold the same blobs and are not whole. A damaged pack may be read in part; before
    /// anybody does without it, the others were read.
    fn also_bad(
        &self,
        destination: &Vault,
        footing: &Footing,
        proven: &mut HashSet<usize>,
    ) -> Result<HashSet<Id>> {
        let index = &*footing.index;
        let mut doubtful = BTreeSet::new();
        let there = self.0.iter().filter(|(pack, _)| footing.sizes.contains_key(pack));
        for blob in there.flat_map(|(_, wound)| &wound.blobs) {
            let at = index.position(blob.kind, &blob.id);
            let others = at.into_iter().flat_map(|at| index.packs_with(blob.kind, at));
            doubtful.extend(others.filter(|one| index.is_trusted(*one) && proven.insert(*one)));
        }
        let doubtful: Vec<Id> = doubtful.into_iter().map(|number| index.packs()[number]).collect();
        let whole = parallel::map(&doubtful, parallel::threads(), |pack| {
            destination.stop_if_cancelled()?;
            match footing.sizes.get(pack) {
                Some(size) => destination.pack_is_whole(pack, *size),
                None => Ok(false),
            }
        })?;
        Ok(doubtful.into_iter().zip(whole).filter(|(_, whole)| !whole).map(|(id, _)| id).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the packs should hold.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobKind, Id)> {
        self.0.values().flat_map(|wound| &wound.blobs).map(|blob| (blob.kind, blob.id))
    }

    /// True if this pack was missing and is there again, just as the index has it: it needs no other
    /// index object.
    pub fn restored(&self, index: &Index, pack: &StoredPack) -> bool {
        let Some(wound) = self.0.get(&pack.0).filter(|wound| wound.blobs == pack.1) else {
            return false;
        };
        index.set_trusted(wound.number, true);
        wound.restored.store(true, Ordering::Relaxed);
        true
    }

    /// What has become of the packs, where `held` tells whether a blob is in the destination.
    pub fn outcome(&self, held: impl Fn(BlobKind, &Id) -> bool) -> Vec<DamagedPack> {
        let mut packs: Vec<DamagedPack> = self
            .0
            .iter()
            .map(|(pack, wound)| DamagedPack {
                pack: *pack,
                restored: wound.restored.load(Ordering::Relaxed),
                lost: wound.blobs.iter().filter(|blob| !held(blob.kind, &blob.id)).count() as u64,
            })
            .collect();
        packs.sort_unstable_by_key(|one| one.pack);
        packs
    }
}
