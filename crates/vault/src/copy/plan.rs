//! What a snapshot needs, and what of it the destination does not have.
//!
//! One bit a blob says what was looked at and what is wanted; a tree is read once for all
//! snapshots. A tree that the destination has is walked all the same: it may be left from a copy
//! that was broken off before what stands below it arrived.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{LOST_LISTED, LostBlob};
use crate::check::bits::Bits;
use crate::check::trees::load_level;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::NodeKind;
use crate::pack::{BlobKind, PackedBlob};
use crate::snapshot::Snapshot;
use crate::vault::{IndexState, Vault};

/// A bit for each blob of the source, by kind.
struct Marks {
    data: Bits,
    trees: Bits,
}

impl Marks {
    fn new(index: &Index) -> Self {
        let bits = |kind| Bits::new(index.loaded_count(kind));
        Marks { data: bits(BlobKind::Data), trees: bits(BlobKind::Tree) }
    }

    fn of(&self, kind: BlobKind) -> &Bits {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }
}

/// Some snapshots that go over together.
pub(super) struct Portion {
    pub snapshots: Vec<(Id, Snapshot)>,
    wanted: Marks,
    /// Numbers of the source's packs that hold what is wanted.
    pub packs: BTreeSet<usize>,
    pub blobs: u64,
    pub bytes: u64,
}

impl Portion {
    /// Of a pack's blobs those that are wanted from it, each once.
    pub fn wanted(&self, index: &Index, pack: usize, blobs: &[PackedBlob]) -> Vec<PackedBlob> {
        let mut once = HashSet::new();
        let wanted = |blob: &PackedBlob| {
            let at = index.position(blob.kind, &blob.id);
            at.is_some_and(|at| {
                self.wanted.of(blob.kind).is_set(at) && index.best_pack(blob.kind, at) == pack
            })
        };
        let mut blobs = blobs.to_vec();
        blobs.retain(|blob| wanted(blob) && once.insert((blob.kind, blob.id)));
        blobs
    }
}

/// Walks the source's trees.
pub(super) struct Planner {
    source: Vault,
    pub state: Arc<IndexState>,
    destination: Option<Arc<Index>>,
    seen: Marks,
    /// What cannot be read, and why.
    lost: BTreeMap<(BlobKind, Id), String>,
    /// Trees below which nothing is lost, as far as was looked after something was.
    whole: HashSet<Id>,
}

impl Planner {
    /// Snapshots must have been listed before: what they need is then in the index.
    pub fn new(source: &Vault, destination: Option<Arc<Index>>) -> Result<Self> {
        // With the packs that no index object names: one may have been lost.
        let state = source.load_index_anew(true)?;
        let seen = Marks::new(&state.index);
        let (lost, whole) = (BTreeMap::new(), HashSet::new());
        Ok(Planner { source: source.clone(), state, destination, seen, lost, whole })
    }

    pub fn portion(&self) -> Portion {
        let wanted = Marks::new(&self.state.index);
        Portion { snapshots: Vec::new(), wanted, packs: BTreeSet::new(), blobs: 0, bytes: 0 }
    }

    /// Adds a snapshot and what has to go over for it.
    pub fn add(&mut self, portion: &mut Portion, id: Id, snapshot: Snapshot) -> Result<()> {
        self.walk(portion, &snapshot)?;
        portion.snapshots.push((id, snapshot));
        Ok(())
    }

    /// Adds a blob, if the source has it and the destination does not.
    pub fn want(&self, portion: &mut Portion, kind: BlobKind, id: &Id) {
        if let Some(at) = self.state.index.position(kind, id) {
            self.mark(portion, kind, id, at);
        }
    }

    /// Adds what has to go over for a snapshot.
    pub fn walk(&mut self, portion: &mut Portion, snapshot: &Snapshot) -> Result<()> {
        let mut level = Vec::new();
        self.reach_tree(portion, &mut level, snapshot.tree);
        while !level.is_empty() {
            self.source.stop_if_cancelled()?;
            let mut next = Vec::new();
            for (tree, loaded) in load_level(&self.source, &self.state.index, &level)? {
                match loaded {
                    Ok(needs) => {
                        for tree in needs.trees {
                            self.reach_tree(portion, &mut next, tree);
                        }
                        for blob in needs.data {
                            self.reach(portion, BlobKind::Data, blob);
                        }
                    }
                    Err(why) => self.lose(BlobKind::Tree, tree, why),
                }
            }
            level = next;
        }
        Ok(())
    }

    fn reach_tree(&mut self, portion: &mut Portion, level: &mut Vec<Id>, id: Id) {
        if self.reach(portion, BlobKind::Tree, id) {
            level.push(id);
        }
    }

    /// True if the blob was not looked at before and can be.
    fn reach(&mut self, portion: &mut Portion, kind: BlobKind, id: Id) -> bool {
        let index = &self.state.index;
        let Some(at) = index.position(kind, &id) else {
            self.lose(kind, id, "no pack is known to hold it".to_owned());
            return false;
        };
        if !self.seen.of(kind).set(at) {
            return false;
        }
        self.mark(portion, kind, &id, at);
        // Whether it is there or not: what stands below it may not be.
        true
    }

    fn mark(&self, portion: &mut Portion, kind: BlobKind, id: &Id, at: usize) {
        let index = &self.state.index;
        let there = self.destination.as_ref().is_some_and(|there| there.contains(kind, id));
        if !there && portion.wanted.of(kind).set(at) {
            portion.packs.insert(index.best_pack(kind, at));
            portion.blobs += 1;
            portion.bytes += index.lookup(kind, id).map_or(0, |place| u64::from(place.length));
        }
    }

    /// Notes a blob that cannot be read.
    pub fn lose(&mut self, kind: BlobKind, id: Id, why: String) {
        if self.lost.insert((kind, id), why).is_none() {
            // What was whole so far may not be any more.
            self.whole.clear();
        }
    }

    /// What a snapshot needs of what is lost. A snapshot may be copied only if that is nothing.
    pub fn lost_by(&mut self, snapshot: &Snapshot) -> Result<Vec<LostBlob>> {
        let mut found = BTreeSet::new();
        if !self.lost.is_empty() {
            self.search(&snapshot.tree, &mut found)?;
        }
        let named = |(kind, id): &(BlobKind, Id)| LostBlob {
            kind: *kind,
            id: *id,
            why: self.lost.get(&(*kind, *id)).cloned().unwrap_or_default(),
        };
        Ok(found.iter().take(LOST_LISTED).map(named).collect())
    }

    fn search(&mut self, tree: &Id, found: &mut BTreeSet<(BlobKind, Id)>) -> Result<()> {
        self.source.stop_if_cancelled()?;
        if self.whole.contains(tree) {
            return Ok(());
        }
        let key = (BlobKind::Tree, *tree);
        if self.lost.contains_key(&key) {
            found.insert(key);
            return Ok(());
        }
        let nodes = match self.source.tree(tree) {
            Ok(tree) => tree.nodes,
            Err(error @ Error::Damaged { .. }) => {
                self.lose(BlobKind::Tree, *tree, error.to_string());
                found.insert(key);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut below = BTreeSet::new();
        for node in &nodes {
            match (node.kind, &node.subtree) {
                (NodeKind::Dir, Some(subtree)) => self.search(subtree, &mut below)?,
                _ => {
                    let content = node.content.iter().flatten().map(|id| (BlobKind::Data, *id));
                    below.extend(content.filter(|blob| self.lost.contains_key(blob)));
                }
            }
        }
        if below.is_empty() {
            self.whole.insert(*tree);
        }
        found.extend(below);
        Ok(())
    }
}
