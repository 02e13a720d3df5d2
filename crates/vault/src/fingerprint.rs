//! What the manifest of a file tree vouches for: one hash over names, kinds, sizes and content.
//!
//! The fingerprint of a folder is the SHA-256 over `lifeboat folder 1\n` and then, for each entry in
//! byte order of the names (numbers are little-endian):
//!
//! ```text
//! kind    1 byte   f file, d folder, l symbolic link, b block device, c character device, p pipe,
//!                  s socket
//! name    u32 length, bytes
//! f       u64 size, u32 number of blobs, their ids (32 bytes each, SHA-256 of the content)
//! d       32 bytes, the folder's own fingerprint
//! l       u32 length, target
//! b, c    u64 device number
//! ```
//!
//! Owner, mode, times and attributes are not part of it, for a restore by somebody else cannot set
//! them all. It is bound to the cuts that the snapshot recorded: a restored tree is hashed by
//! reading its files and cutting them at the recorded lengths, so it proves the restored bytes, not
//! the index. `manifest.json` at the root is left out, for it holds the fingerprint itself.

mod restored;

use std::ffi::OsStr;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::id::Id;
use crate::node::{Node, NodeKind, Tree};
use crate::snapshot::Snapshot;
use crate::vault::Vault;

/// The entry of the root that the fingerprint leaves out.
pub const LEFT_OUT: &str = "manifest.json";

const DOMAIN: &[u8] = b"lifeboat folder 1\n";

/// A folder's fingerprint while its entries are added in name order.
pub(crate) struct FolderPrint(Sha256);

impl FolderPrint {
    pub(crate) fn new() -> Self {
        Self(Sha256::new_with_prefix(DOMAIN))
    }

    /// Adds lines that [`write_line`] made.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        self.0.update(lines);
    }

    pub(crate) fn finish(self) -> Id {
        Id::from_bytes(self.0.finalize().into())
    }
}

/// Appends the line of one entry. `folder` is a folder's own fingerprint.
pub(crate) fn write_line(lines: &mut Vec<u8>, node: &Node, folder: Option<&Id>) {
    lines.push(match node.kind {
        NodeKind::File => b'f',
        NodeKind::Dir => b'd',
        NodeKind::Symlink => b'l',
        NodeKind::Dev => b'b',
        NodeKind::Chardev => b'c',
        NodeKind::Fifo => b'p',
        NodeKind::Socket => b's',
        NodeKind::Irregular => b'?',
    });
    push_bytes(lines, node.name.as_encoded_bytes());
    match node.kind {
        NodeKind::File => {
            let content = node.content.as_deref().unwrap_or_default();
            lines.extend_from_slice(&node.size.to_le_bytes());
            lines.extend_from_slice(&(content.len() as u32).to_le_bytes());
            for id in content {
                lines.extend_from_slice(id.as_bytes());
            }
        }
        NodeKind::Dir => {
            lines.extend_from_slice(folder.map_or(&[0; 32], |print| print.as_bytes()));
        }
        NodeKind::Symlink => push_bytes(lines, node.link_target()),
        NodeKind::Dev | NodeKind::Chardev => lines.extend_from_slice(&node.device.to_le_bytes()),
        NodeKind::Fifo | NodeKind::Socket | NodeKind::Irregular => {}
    }
}

fn push_bytes(lines: &mut Vec<u8>, bytes: &[u8]) {
    lines.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    lines.extend_from_slice(bytes);
}

/// The fingerprint of a stored tree, `load` being the way to trees. `skip` is left out.
pub(crate) fn of_tree(
    tree: &Tree,
    skip: Option<&OsStr>,
    load: &dyn Fn(&Id) -> Result<Tree>,
) -> Result<Id> {
    let mut print = FolderPrint::new();
    let mut line = Vec::new();
    for node in tree.nodes.iter().filter(|node| Some(node.name.as_os_str()) != skip) {
        let folder = match &node.subtree {
            Some(subtree) if node.kind == NodeKind::Dir => {
                Some(of_tree(&load(subtree)?, None, load)?)
            }
            _ => None,
        };
        line.clear();
        write_line(&mut line, node, folder.as_ref());
        print.lines(&line);
    }
    Ok(print.finish())
}

/// What a snapshot says, and what stands on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prints {
    /// The fingerprint of the snapshot by its trees.
    pub recorded: Id,
    /// The fingerprint of the folder by the bytes in it.
    pub restored: Id,
    /// What stands in the folder.
    pub found: Found,
}

/// Entries below a folder, [`LEFT_OUT`] not among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Regular files, each hard link counted.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Links and special files.
    pub others: u64,
    /// Sum of the files' sizes, bytes.
    pub bytes: u64,
}

impl Found {
    fn add(&mut self, more: Found) {
        self.files += more.files;
        self.folders += more.folders;
        self.others += more.others;
        self.bytes += more.bytes;
    }
}

impl Vault {
    /// The fingerprint of a snapshot by its trees.
    pub fn fingerprint(&self, snapshot: &Snapshot) -> Result<Id> {
        let root = self.tree(&snapshot.tree)?;
        of_tree(&root, Some(OsStr::new(LEFT_OUT)), &|id| self.tree(id))
    }

    /// The fingerprint of a folder that the whole snapshot was restored to, from the bytes in it:
    /// equal to the one taken at capture if and only if every file is there, with its content, and
    /// no other. Files are cut where the snapshot says, and each piece is hashed.
    pub fn fingerprint_restored(&self, snapshot: &Snapshot, folder: &Path) -> Result<Id> {
        Ok(self.fingerprints(snapshot, folder)?.restored)
    }

    /// Both at once, for the price of one: each tree is read once.
    pub fn fingerprints(&self, snapshot: &Snapshot, folder: &Path) -> Result<Prints> {
        restored::fingerprints(self, snapshot, folder)
    }
}
