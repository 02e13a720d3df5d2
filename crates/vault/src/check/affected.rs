//! Which snapshots and files the damage concerns. Walked only if there is any.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{AFFECTED_FILES_LISTED, AffectedFile, Check};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::node::{Node, NodeKind};
use crate::pack::BlobKind;
use crate::snapshot::Snapshot;

/// Which entries of the list of damage made a blob unreadable.
type Lost = HashMap<(BlobKind, Id), Vec<usize>>;

impl Check<'_> {
    /// Fills in snapshots and files of each damage; returns the snapshots that are not whole.
    pub(super) fn attribute(&mut self, snapshots: &[(Id, Snapshot)]) -> Result<HashSet<Id>> {
        let mut lost: Lost = HashMap::new();
        for (number, damage) in self.damage.iter().enumerate() {
            for blob in &damage.lost_blobs {
                lost.entry(*blob).or_default().push(number);
            }
        }
        let mut touched = HashSet::new();
        if lost.is_empty() {
            return Ok(touched);
        }
        // Trees below which nothing is lost need not be looked at again.
        let mut whole = HashSet::new();
        for (id, snapshot) in snapshots {
            let mut found = Vec::new();
            self.search(&lost, &mut whole, &snapshot.tree, Path::new("/"), &mut found)?;
            for (number, path) in found {
                touched.insert(*id);
                let damage = &mut self.damage[number];
                damage.file_count += 1;
                if damage.snapshots.last() != Some(id) {
                    damage.snapshots.push(*id);
                }
                if damage.files.len() < AFFECTED_FILES_LISTED {
                    damage.files.push(AffectedFile { snapshot: *id, path });
                }
            }
        }
        Ok(touched)
    }

    /// Collects (number of the damage, path) of everything lost in and below a tree.
    fn search(
        &self,
        lost: &Lost,
        whole: &mut HashSet<Id>,
        tree: &Id,
        path: &Path,
        found: &mut Vec<(usize, PathBuf)>,
    ) -> Result<()> {
        self.vault.stop_if_cancelled()?;
        if whole.contains(tree) {
            return Ok(());
        }
        let before = found.len();
        if let Some(numbers) = lost.get(&(BlobKind::Tree, *tree)) {
            found.extend(numbers.iter().map(|number| (*number, path.to_owned())));
            return Ok(());
        }
        let nodes = match self.vault.tree(tree) {
            Ok(tree) => tree.nodes,
            // Every damaged tree is in `lost`; one that broke just now is found the next time.
            Err(Error::Damaged { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        for node in &nodes {
            let path = path.join(&node.name);
            match (node.kind, &node.subtree) {
                (NodeKind::Dir, Some(subtree)) => {
                    self.search(lost, whole, subtree, &path, found)?;
                }
                _ => {
                    let numbers = lost_content(lost, node);
                    found.extend(numbers.into_iter().map(|number| (number, path.clone())));
                }
            }
        }
        if found.len() == before {
            whole.insert(*tree);
        }
        Ok(())
    }
}

fn lost_content(lost: &Lost, node: &Node) -> BTreeSet<usize> {
    let content = node.content.iter().flatten();
    content.filter_map(|id| lost.get(&(BlobKind::Data, *id))).flatten().copied().collect()
}
