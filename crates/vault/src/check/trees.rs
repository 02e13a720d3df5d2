//! Walking the trees of all snapshots, each distinct tree once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::bits::Bits;
use super::{Check, Wrong};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{NodeKind, Tree};
use crate::pack::{BlobKind, PackedBlob};
use crate::parallel;
use crate::snapshot::Snapshot;
use crate::vault::{IndexState, Vault};

/// What the walk saw. Positions are those of the index that it was made with.
pub(super) struct Walk {
    trees: Bits,
    data: Bits,
    /// Packs that hold what the snapshots need, by their number in the index.
    packs: Bits,
    /// Needed blobs that no pack is known to hold.
    pub missing: BTreeSet<(BlobKind, Id)>,
}

impl Walk {
    pub fn needs_pack(&self, number: usize) -> bool {
        self.packs.is_set(number)
    }

    /// Needed packs that no index object names.
    pub fn needed_unlisted<'a>(&self, state: &'a IndexState) -> impl Iterator<Item = &'a Id> {
        let packs = state.index.packs().iter().enumerate();
        packs
            .filter(|(number, pack)| self.needs_pack(*number) && state.unlisted.contains(pack))
            .map(|(_, pack)| pack)
    }
}

/// What one tree needs.
#[derive(Default)]
pub(crate) struct Needs {
    /// Folders in it.
    pub trees: Vec<Id>,
    /// Content of its files.
    pub data: Vec<Id>,
}

/// A tree, and what it needs or why it cannot be read.
pub(crate) type Loaded = (Id, std::result::Result<Needs, String>);

impl Check<'_> {
    pub(super) fn walk_trees(
        &mut self,
        index: &Index,
        snapshots: &[(Id, Snapshot)],
    ) -> Result<Walk> {
        let mut walk = Walk {
            trees: Bits::new(index.loaded_count(BlobKind::Tree)),
            data: Bits::new(index.loaded_count(BlobKind::Data)),
            packs: Bits::new(index.packs().len()),
            missing: BTreeSet::new(),
        };
        let mut frontier: Vec<Id> = Vec::new();
        for (_, snapshot) in snapshots {
            self.reach_tree(index, &mut walk, &mut frontier, snapshot.tree);
        }
        while !frontier.is_empty() {
            let level = std::mem::take(&mut frontier);
            for (id, loaded) in load_level(self.vault, index, &level)? {
                match loaded {
                    Ok(needs) => {
                        for tree in needs.trees {
                            self.reach_tree(index, &mut walk, &mut frontier, tree);
                        }
                        for blob in needs.data {
                            self.reach_data(index, &mut walk, blob);
                        }
                    }
                    Err(why) => self.blame_packs(index, id, why),
                }
            }
        }
        self.counts.trees = walk.trees.count();
        self.counts.data_blobs = walk.data.count();
        Ok(walk)
    }

    /// No pack gave this tree: each that should hold it is damaged.
    fn blame_packs(&mut self, index: &Index, id: Id, why: String) {
        for location in index.locations(BlobKind::Tree, &id) {
            let flaw = self.packs.entry(location.pack).or_default();
            if flaw.blobs.insert((BlobKind::Tree, id)) {
                flaw.add(Wrong::Changed, why.clone());
            }
        }
    }

    fn reach_tree(&self, index: &Index, walk: &mut Walk, frontier: &mut Vec<Id>, id: Id) {
        match index.position(BlobKind::Tree, &id) {
            None => drop(walk.missing.insert((BlobKind::Tree, id))),
            Some(at) if walk.trees.set(at) => {
                walk.packs.set(index.best_pack(BlobKind::Tree, at));
                frontier.push(id);
            }
            Some(_) => {}
        }
    }

    fn reach_data(&self, index: &Index, walk: &mut Walk, id: Id) {
        match index.position(BlobKind::Data, &id) {
            None => drop(walk.missing.insert((BlobKind::Data, id))),
            Some(at) => {
                if walk.data.set(at) {
                    walk.packs.set(index.best_pack(BlobKind::Data, at));
                }
            }
        }
    }
}

/// Loads the trees of one level, pack by pack, on several threads. A tree that cannot be read
/// from any pack comes back with the reason.
pub(crate) fn load_level(vault: &Vault, index: &Index, level: &[Id]) -> Result<Vec<Loaded>> {
    let mut by_pack: BTreeMap<Id, Vec<PackedBlob>> = BTreeMap::new();
    for id in level {
        if let Some(place) = index.lookup(BlobKind::Tree, id) {
            by_pack.entry(place.pack).or_default().push(PackedBlob {
                kind: BlobKind::Tree,
                id: *id,
                offset: place.offset,
                length: place.length,
                uncompressed_length: place.uncompressed_length,
            });
        }
    }
    // Small portions, so that one large pack does not keep a single thread busy.
    let portions: Vec<(Id, &[PackedBlob])> = by_pack
        .iter()
        .flat_map(|(pack, blobs)| blobs.chunks(256).map(|portion| (*pack, portion)))
        .collect();
    let loaded = parallel::map(&portions, parallel::io_threads(), |(pack, blobs)| {
        let mut results = Vec::with_capacity(blobs.len());
        vault.load_blobs_of_pack(pack, blobs, |blob, content| {
            let needs = match content {
                Ok(json) => parse(&json),
                Err(Error::Damaged { why, .. }) => Err(why),
                Err(error) => return Err(error),
            };
            let needs = needs.map_err(|why| format!("tree blob {}: {why}", blob.id.short()));
            results.push((blob.id, needs));
            Ok(())
        })?;
        Ok(results)
    })?;
    Ok(loaded.into_iter().flatten().collect())
}
fn parse(json: &Bytes) -> std::result::Result<Needs, String> {
    let tree = Tree::from_json(json).map_err(|error| format!("not a tree: {error}"))?;
    let mut needs = Needs::default();
    for node in tree.nodes {
        match (node.kind, node.subtree) {
            (NodeKind::Dir, Some(subtree)) => needs.trees.push(subtree),
            (NodeKind::Dir, None) => {
                return Err(format!("the folder {:?} has no tree", node.name));
            }
            _ => needs.data.extend(node.content.into_iter().flatten()),
        }
    }
    Ok(needs)
}
