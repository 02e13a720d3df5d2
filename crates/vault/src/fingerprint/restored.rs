//! The fingerprint of what stands on disk.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{FolderPrint, Found, LEFT_OUT, Prints, of_tree, write_line};
use crate::chunk;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::meta;
use crate::node::{Node, NodeKind, Tree};
use crate::pack::BlobKind;
use crate::parallel;
use crate::pieces::{self, Share, Zeros};
use crate::snapshot::Snapshot;
use crate::vault::Vault;

/// Folders that are opened together.
const FOLDERS_AT_ONCE: usize = 64;

pub(super) fn fingerprints(vault: &Vault, snapshot: &Snapshot, folder: &Path) -> Result<Prints> {
    let root = Folder { path: folder.to_owned(), tree: Some(snapshot.tree) };
    let skip = Some(OsStr::new(LEFT_OUT));
    let prints = print_folders(vault, &[root], skip, &Zeros::default())?;
    prints.into_iter().next().ok_or_else(|| Error::Invalid("no folder was looked at".to_owned()))
}

/// A folder on disk, and the tree that the snapshot has for it.
struct Folder {
    path: PathBuf,
    tree: Option<Id>,
}

/// A folder that was looked into.
struct Opened {
    tree: Tree,
    entries: Vec<Entry>,
}

/// An entry on disk, and the pieces that its content is cut into.
struct Entry {
    path: PathBuf,
    node: Node,
    lengths: Vec<u64>,
}

/// The fingerprints of folders, in their order. Many small ones share the threads.
fn print_folders(
    vault: &Vault,
    folders: &[Folder],
    skip: Option<&OsStr>,
    zeros: &Zeros,
) -> Result<Vec<Prints>> {
    let mut prints = Vec::with_capacity(folders.len());
    for some in folders.chunks(FOLDERS_AT_ONCE) {
        let mut opened =
            parallel::map(some, parallel::io_threads(), |folder| open(vault, folder, skip))?;
        let shares: Vec<Share<'_>> =
            opened.iter().flat_map(|one| &one.entries).flat_map(Entry::shares).collect();
        let hashed = pieces::hash(vault, &shares, parallel::threads(), zeros)?;
        let hashed = hashed
            .into_iter()
            .zip(&shares)
            .map(|(ids, share)| ids.map_err(|error| Error::io("read", share.path, error)));
        let hashed = hashed.collect::<Result<Vec<_>>>()?;
        let inner: Vec<Folder> =
            opened.iter().flat_map(|one| &one.entries).filter_map(Entry::folder).collect();
        let mut inner = print_folders(vault, &inner, None, zeros)?.into_iter();
        let mut ids = hashed.into_iter();
        for one in &mut opened {
            prints.push(one.print(vault, skip, &mut ids, &mut inner)?);
        }
    }
    Ok(prints)
}

fn open(vault: &Vault, folder: &Folder, skip: Option<&OsStr>) -> Result<Opened> {
    vault.stop_if_cancelled()?;
    // Nothing, if the snapshot knows no such folder.
    let tree = folder.tree.map_or_else(|| Ok(Tree::default()), |tree| vault.tree(&tree))?;
    let known: HashMap<_, _> = tree.nodes.iter().map(|node| (&*node.name, node)).collect();
    let mut entries = Vec::new();
    for name in names(&folder.path)?.into_iter().filter(|name| Some(name.as_os_str()) != skip) {
        let known = known.get(&*name).copied();
        entries.push(entry(vault, &folder.path, name, known)?);
    }
    Ok(Opened { tree, entries })
}

impl Opened {
    /// Both fingerprints, from what was found out about the entries: the ids of the files' pieces,
    /// and the fingerprints of the folders in it.
    fn print(
        &mut self,
        vault: &Vault,
        skip: Option<&OsStr>,
        ids: &mut impl Iterator<Item = Vec<Id>>,
        inner: &mut impl Iterator<Item = Prints>,
    ) -> Result<Prints> {
        let mut recorded_inside = HashMap::new();
        let mut restored = FolderPrint::new();
        let mut line = Vec::new();
        let mut found = Found::default();
        for entry in &mut self.entries {
            found.add(entry.counted());
            let shares = entry.shares().count();
            let mut inside = None;
            match entry.node.kind {
                NodeKind::File => {
                    entry.node.content = Some(ids.by_ref().take(shares).flatten().collect());
                }
                NodeKind::Dir => {
                    let prints = inner.next();
                    inside = prints.as_ref().map(|prints| prints.restored);
                    found.add(prints.as_ref().map(|prints| prints.found).unwrap_or_default());
                    if let (Some(prints), Some(tree)) = (prints, entry.node.subtree) {
                        recorded_inside.insert(tree, prints.recorded);
                    }
                }
                _ => {}
            }
            line.clear();
            write_line(&mut line, &entry.node, inside.as_ref());
            restored.lines(&line);
        }
        let mut recorded = FolderPrint::new();
        for node in self.tree.nodes.iter().filter(|node| Some(node.name.as_os_str()) != skip) {
            let inside = match node.subtree.filter(|_| node.kind == NodeKind::Dir) {
                Some(tree) => Some(match recorded_inside.get(&tree) {
                    Some(print) => *print,
                    // A folder that is not there.
                    None => of_tree(&vault.tree(&tree)?, None, &|id| vault.tree(id))?,
                }),
                None => None,
            };
            line.clear();
            write_line(&mut line, node, inside.as_ref());
            recorded.lines(&line);
        }
        Ok(Prints { recorded: recorded.finish(), restored: restored.finish(), found })
    }
}

fn names(folder: &Path) -> Result<Vec<OsString>> {
    let list = || -> std::io::Result<Vec<OsString>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    };
    let mut names = list().map_err(|error| Error::io("read", folder, error))?;
    names.sort();
    Ok(names)
}

fn entry(vault: &Vault, folder: &Path, name: OsString, known: Option<&Node>) -> Result<Entry> {
    let path = folder.join(&name);
    let failed = |error| Error::io("read", &path, error);
    let metadata = path.symlink_metadata().map_err(failed)?;
    let mut node = Node::new(&name, kind(&metadata));
    let mut lengths = Vec::new();
    match node.kind {
        NodeKind::File => {
            node.size = metadata.len();
            let content = known.and_then(|known| known.content.as_deref()).unwrap_or_default();
            lengths = cuts(vault, content, node.size)?;
        }
        NodeKind::Dir => node.subtree = known.and_then(|known| known.subtree),
        NodeKind::Symlink => {
            let target = std::fs::read_link(&path).map_err(failed)?;
            node.set_link_target(target.as_os_str().as_encoded_bytes());
        }
        NodeKind::Dev | NodeKind::Chardev => node.device = metadata.rdev(),
        NodeKind::Fifo | NodeKind::Socket | NodeKind::Irregular => {}
    }
    Ok(Entry { path, node, lengths })
}

/// The recorded lengths, as far as the file reaches; what is longer is one more piece, or several.
fn cuts(vault: &Vault, content: &[Id], size: u64) -> Result<Vec<u64>> {
    let mut rest = size;
    let mut lengths = Vec::new();
    for id in content {
        let location = vault.locate(BlobKind::Data, id)?.first().copied();
        let length = location.map_or(0, |location| u64::from(location.content_length()));
        if length == 0 || length > rest {
            break;
        }
        lengths.push(length);
        rest -= length;
    }
    while rest > 0 {
        lengths.push(rest.min(chunk::MAX as u64));
        rest -= rest.min(chunk::MAX as u64);
    }
    Ok(lengths)
}

fn kind(metadata: &Metadata) -> NodeKind {
    meta::kind_of_mode(metadata.mode()).unwrap_or(NodeKind::Irregular)
}

impl Entry {
    /// The folder, if it is one.
    fn folder(&self) -> Option<Folder> {
        let is_folder = self.node.kind == NodeKind::Dir;
        is_folder.then(|| Folder { path: self.path.clone(), tree: self.node.subtree })
    }

    /// The entry itself.
    fn counted(&self) -> Found {
        match self.node.kind {
            NodeKind::File => Found { files: 1, bytes: self.node.size, ..Found::default() },
            NodeKind::Dir => Found { folders: 1, ..Found::default() },
            _ => Found { others: 1, ..Found::default() },
        }
    }

    fn shares(&self) -> impl Iterator<Item = Share<'_>> {
        pieces::shares(&self.path, &self.lengths)
    }
}
