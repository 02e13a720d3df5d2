//! Names what differs between a snapshot and its restored copy. Slow, for it opens the snapshot's
//! blobs once more: asked only when the fingerprints differ.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use lifeboat_vault::fingerprint::LEFT_OUT;
use lifeboat_vault::{BlobKind, Error, Node, NodeKind, Snapshot, Tree, Vault, meta};

/// How many differences are named.
const NAMED: usize = 20;

/// The first differences, in path order, as `path: what`.
pub(super) fn find(vault: &Vault, snapshot: &Snapshot, copy: &Path) -> Result<Vec<String>, Error> {
    let mut look = Look { vault, copy, found: Vec::new() };
    look.folder(copy, &vault.tree(&snapshot.tree)?)?;
    Ok(look.found)
}

struct Look<'a> {
    vault: &'a Vault,
    copy: &'a Path,
    found: Vec<String>,
}

impl Look<'_> {
    fn folder(&mut self, folder: &Path, tree: &Tree) -> Result<(), Error> {
        let there = names(folder).map_err(|error| read(folder, error))?;
        let known: HashMap<_, _> = tree.nodes.iter().map(|node| (&node.name, node)).collect();
        let both: BTreeSet<_> = known.keys().copied().chain(&there).collect();
        for name in both {
            if self.found.len() >= NAMED {
                return Ok(());
            }
            let path = folder.join(name);
            if path == self.copy.join(LEFT_OUT) {
                continue;
            }
            match (known.get(name), there.contains(name)) {
                (Some(node), true) => self.entry(&path, node)?,
                (Some(_), false) => self.note(&path, "is missing"),
                (None, _) => self.note(&path, "was not captured"),
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), Error> {
        let metadata = fs::symlink_metadata(path).map_err(|error| read(path, error))?;
        if meta::kind_of_mode(metadata.mode()) != Some(node.kind) {
            self.note(path, "is of another kind");
            return Ok(());
        }
        match node.kind {
            NodeKind::Dir => {
                let tree = match &node.subtree {
                    Some(subtree) => self.vault.tree(subtree)?,
                    None => Tree::default(),
                };
                return self.folder(path, &tree);
            }
            NodeKind::File => self.file(path, node, &metadata)?,
            NodeKind::Symlink => {
                let target = fs::read_link(path).map_err(|error| read(path, error))?;
                if target.as_os_str().as_bytes() != node.link_target() {
                    self.note(path, "leads elsewhere");
                }
            }
            NodeKind::Dev | NodeKind::Chardev if metadata.rdev() != node.device => {
                self.note(path, "is another device");
            }
            _ => {}
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, node: &Node, metadata: &Metadata) -> Result<(), Error> {
        if metadata.len() != node.size {
            let what = format!("has {} bytes, captured were {}", metadata.len(), node.size);
            self.note(path, &what);
            return Ok(());
        }
        let file = File::open(path).map_err(|error| read(path, error))?;
        let mut offset = 0;
        let mut bytes = Vec::new();
        for id in node.content.iter().flatten() {
            let blob = self.vault.load_blob(BlobKind::Data, id)?;
            bytes.resize(blob.len(), 0);
            let same = match file.read_exact_at(&mut bytes, offset) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => false,
                other => other.map_err(|error| read(path, error)).map(|()| bytes == blob)?,
            };
            if !same {
                let end = offset + blob.len() as u64;
                self.note(path, &format!("differs between bytes {offset} and {end}"));
                return Ok(());
            }
            offset += blob.len() as u64;
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, what: &str) {
        let shown = path.strip_prefix(self.copy).unwrap_or(path).display();
        self.found.push(format!("/{shown} {what}"));
    }
}

fn names(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn read(path: &Path, source: io::Error) -> Error {
    Error::io("read", path, source)
}
