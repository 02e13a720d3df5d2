//! What the snapshots need: one bit for each blob of the index.

use super::view::View;
use crate::check::bits::Bits;
use crate::check::trees::load_level;
use crate::error::{Error, Gap, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::vault::Vault;

/// The needed blobs, by their position in the view's index.
pub(super) struct Used {
    trees: Bits,
    data: Bits,
}

impl Used {
    /// Walks every tree of every snapshot, each once. A tree that cannot be read, or a blob that no
    /// pack holds, ends it: nobody knows then what else is needed.
    pub fn walk(vault: &Vault, view: &View) -> Result<Used> {
        let index = &view.index;
        let used = Used {
            trees: Bits::new(index.loaded_count(BlobKind::Tree)),
            data: Bits::new(index.loaded_count(BlobKind::Data)),
        };
        let mut frontier: Vec<Id> = Vec::new();
        for (id, snapshot) in &view.snapshots {
            let broken = |_| {
                let what = format!("the tree of snapshot {} is in no pack", id.short());
                Error::incomplete(Gap::Damage, what)
            };
            if used.reach(index, BlobKind::Tree, &snapshot.tree).map_err(broken)? {
                frontier.push(snapshot.tree);
            }
        }
        while !frontier.is_empty() {
            let level = std::mem::take(&mut frontier);
            for (id, loaded) in load_level(vault, index, &level)? {
                let needs = loaded.map_err(|why| {
                    let what = format!("tree {} cannot be read: {why}", id.short());
                    Error::incomplete(Gap::Damage, what)
                })?;
                for tree in needs.trees {
                    if used.reach(index, BlobKind::Tree, &tree)? {
                        frontier.push(tree);
                    }
                }
                for blob in needs.data {
                    used.reach(index, BlobKind::Data, &blob)?;
                }
            }
        }
        Ok(used)
    }

    /// True if the blob was not reached before.
    fn reach(&self, index: &Index, kind: BlobKind, id: &Id) -> Result<bool> {
        let at = index.position(kind, id).ok_or_else(|| {
            let what = format!("no pack is known to hold the {kind} blob {}", id.short());
            Error::incomplete(Gap::Damage, what)
        })?;
        Ok(self.bits(kind).set(at))
    }

    fn bits(&self, kind: BlobKind) -> &Bits {
        match kind {
            BlobKind::Tree => &self.trees,
            BlobKind::Data => &self.data,
        }
    }

    /// True if a snapshot needs the blob at this position.
    pub fn needs(&self, kind: BlobKind, position: usize) -> bool {
        self.bits(kind).is_set(position)
    }

    pub fn count(&self) -> u64 {
        self.trees.count() + self.data.count()
    }
}
