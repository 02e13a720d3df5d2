//! Finding and reading snapshots, trees and single files.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Component, Path};

use super::Vault;
use super::unpacked::Folder;
use crate::cache::Kept;
use crate::error::{Error, Result};
use crate::flaw::{Flaw, ReadFailure, Wrong};
use crate::id::Id;
use crate::node::{Node, NodeKind, Tree};
use crate::pack::BlobKind;
use crate::parallel;
use crate::snapshot::Snapshot;

/// A snapshot object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedSnapshot {
    /// Its name.
    pub id: Id,
    /// The sort of damage.
    pub wrong: Wrong,
    /// What is wrong with it.
    pub why: String,
}

/// All snapshot objects of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotList {
    /// Oldest first.
    pub readable: Vec<(Id, Snapshot)>,
    /// Those that cannot be read.
    pub damaged: Vec<DamagedSnapshot>,
}

impl Vault {
    /// All snapshots, oldest first. A damaged one is noted and left out: the others must stay
    /// reachable. [`Vault::check`] and [`Vault::list_snapshots`] name it.
    pub fn snapshots(&self) -> Result<Vec<(Id, Snapshot)>> {
        let list = self.list_snapshots()?;
        for snapshot in list.damaged {
            self.note(&format!("snapshot {} is damaged: {}", snapshot.id.short(), snapshot.why));
        }
        Ok(list.readable)
    }

    /// All snapshots, the damaged ones apart.
    pub fn list_snapshots(&self) -> Result<SnapshotList> {
        let stored = self.list(Folder::Snapshots)?;
        let results = parallel::map(&stored, parallel::io_threads(), |object| {
            self.stop_if_cancelled()?;
            match self.read_snapshot(&object.id, Some(object.size)) {
                Ok(snapshot) => Ok(Ok((object.id, snapshot))),
                Err(ReadFailure::Damaged(Flaw { wrong, why })) => {
                    Ok(Err(DamagedSnapshot { id: object.id, wrong, why }))
                }
                Err(ReadFailure::Store(error)) => Err(error),
            }
        })?;
        if let Some(cache) = self.cache() {
            let names: HashSet<Id> = stored.iter().map(|object| object.id).collect();
            cache.retain(Kept::Snapshots, |id| names.contains(id));
        }
        let (mut readable, mut damaged) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(snapshot) => readable.push(snapshot),
                Err(damage) => damaged.push(damage),
            }
        }
        readable.sort_by_key(|(id, snapshot): &(Id, Snapshot)| (snapshot.time, *id));
        Ok(SnapshotList { readable, damaged })
    }

    /// One snapshot by its full id, from the store: no listing said that it is there.
    pub fn snapshot(&self, id: &Id) -> Result<Snapshot> {
        self.read_snapshot(id, None).map_err(|failure| match failure {
            // Missing is not damage here: nobody but the caller says that it should exist.
            ReadFailure::Damaged(Flaw { wrong: Wrong::Missing, .. }) => not_found(&id.to_string()),
            failure => failure.into_error(format!("snapshot {}", id.short())),
        })
    }

    fn read_snapshot(&self, id: &Id, listed: Option<u64>) -> Result<Snapshot, ReadFailure> {
        let json = self.load_document(Folder::Snapshots, id, listed)?;
        serde_json::from_slice(&json)
            .map_err(|error| Flaw::changed(format!("not a snapshot: {error}")).into())
    }

    /// The one snapshot whose id begins with `prefix`.
    pub fn find(&self, prefix: &str) -> Result<(Id, Snapshot)> {
        let wanted = prefix.to_ascii_lowercase();
        if wanted.is_empty() {
            return Err(not_found(prefix));
        }
        let fits = |id: &Id| id.to_string().starts_with(&wanted);
        let stored = self.list(Folder::Snapshots)?;
        let ids: Vec<Id> = stored.into_iter().map(|object| object.id).filter(fits).collect();
        match ids[..] {
            [] => Err(not_found(prefix)),
            [id] => Ok((id, self.snapshot(&id)?)),
            _ => Err(Error::Ambiguous {
                prefix: prefix.to_owned(),
                ids: ids.iter().map(Id::to_string).collect(),
            }),
        }
    }

    /// A folder's entries.
    pub fn tree(&self, id: &Id) -> Result<Tree> {
        let json = self.load_blob(BlobKind::Tree, id)?;
        Tree::from_json(&json).map_err(|error| {
            Error::damaged(format!("tree blob {}", id.short()), format!("not a tree: {error}"))
        })
    }

    /// The node at a path in a snapshot; a slash at its start means nothing.
    pub fn node(&self, snapshot: &Snapshot, tree_path: impl AsRef<Path>) -> Result<Node> {
        let path = tree_path.as_ref();
        let missing =
            || Error::NotFound { what: "path in the snapshot", name: path.display().to_string() };
        let mut names: Vec<&OsStr> = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(missing()),
            }
        }
        let (last, folders) = names.split_last().ok_or_else(missing)?;
        let mut tree = self.tree(&snapshot.tree)?;
        for name in folders {
            let subtree = tree.find(name).and_then(|node| node.subtree).ok_or_else(missing)?;
            tree = self.tree(&subtree)?;
        }
        tree.find(last).cloned().ok_or_else(missing)
    }

    /// The content of one small file, whole in memory.
    pub fn read_file(&self, snapshot: &Snapshot, tree_path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = tree_path.as_ref();
        let node = self.node(snapshot, path)?;
        if node.kind != NodeKind::File {
            return Err(Error::NotFound { what: "file", name: path.display().to_string() });
        }
        let mut content = Vec::new();
        for id in node.content.iter().flatten() {
            self.stop_if_cancelled()?;
            content.extend_from_slice(&self.load_blob(BlobKind::Data, id)?);
        }
        if content.len() as u64 != node.size {
            let why = format!("its blobs hold {} bytes, its size is {}", content.len(), node.size);
            return Err(Error::damaged(path.display().to_string(), why));
        }
        Ok(content)
    }
}

fn not_found(name: &str) -> Error {
    Error::NotFound { what: "snapshot", name: name.to_owned() }
}
