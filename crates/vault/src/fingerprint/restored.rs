//! The fingerprint of what stands on disk.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{FolderPrint, LEFT_OUT, write_line};
use crate::chunk;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::meta;
use crate::node::{Node, NodeKind, Tree};
use crate::pack::BlobKind;
use crate::parallel;
use crate::snapshot::Snapshot;
use crate::sync::lock;
use crate::vault::Vault;

/// Bytes that one thread hashes at a time, unless one piece is longer.
const SHARE: u64 = 16 << 20;

pub(super) fn fingerprint(vault: &Vault, snapshot: &Snapshot, folder: &Path) -> Result<Id> {
    let tree = vault.tree(&snapshot.tree)?;
    let skip = Some(OsStr::new(LEFT_OUT));
    print_folder(vault, folder, &tree, skip, &Zeros::default())
}

/// The ids of pieces of zeros, by length: each is computed once, however large the holes are.
#[derive(Default)]
struct Zeros(Mutex<HashMap<usize, Id>>);

impl Zeros {
    fn id(&self, length: usize) -> Id {
        if let Some(id) = lock(&self.0).get(&length) {
            return *id;
        }
        let id = Id::of(&vec![0; length]);
        lock(&self.0).insert(length, id);
        id
    }
}

/// An entry on disk, and the pieces that its content is cut into.
struct Entry {
    path: PathBuf,
    node: Node,
    lengths: Vec<u64>,
}

/// Some adjoining pieces of one file.
struct Share<'a> {
    path: &'a Path,
    offset: u64,
    lengths: &'a [u64],
}

fn print_folder(
    vault: &Vault,
    folder: &Path,
    tree: &Tree,
    skip: Option<&OsStr>,
    zeros: &Zeros,
) -> Result<Id> {
    vault.stop_if_cancelled()?;
    let mut entries = Vec::new();
    let known: HashMap<_, _> = tree.nodes.iter().map(|node| (&*node.name, node)).collect();
    for name in names(folder)?.into_iter().filter(|name| Some(name.as_os_str()) != skip) {
        let known = known.get(&*name).copied();
        entries.push(entry(vault, folder, name, known)?);
    }
    let shares: Vec<Share<'_>> = entries.iter().flat_map(Entry::shares).collect();
    let hashed = parallel::map(&shares, parallel::threads(), |share| {
        vault.stop_if_cancelled()?;
        share.hash(zeros)
    })?;
    let mut ids = hashed.into_iter();
    let mut print = FolderPrint::new();
    let mut line = Vec::new();
    for entry in &mut entries {
        let shares = entry.shares().count();
        if entry.node.kind == NodeKind::File {
            entry.node.content = Some(ids.by_ref().take(shares).flatten().collect());
        }
        let inner = match entry.node.kind {
            NodeKind::Dir => {
                Some(print_folder(vault, &entry.path, &inside(vault, entry)?, None, zeros)?)
            }
            _ => None,
        };
        line.clear();
        write_line(&mut line, &entry.node, inner.as_ref());
        print.lines(&line);
    }
    Ok(print.finish())
}

/// What the snapshot says is in a folder; nothing, if it knows no such folder.
fn inside(vault: &Vault, entry: &Entry) -> Result<Tree> {
    entry.node.subtree.as_ref().map_or_else(|| Ok(Tree::default()), |subtree| vault.tree(subtree))
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
    fn shares(&self) -> impl Iterator<Item = Share<'_>> {
        let mut rest = &self.lengths[..];
        let mut offset = 0;
        std::iter::from_fn(move || {
            let (mut count, mut bytes) = (0, 0);
            while count < rest.len() && (count == 0 || bytes + rest[count] <= SHARE) {
                bytes += rest[count];
                count += 1;
            }
            let (lengths, after) = rest.split_at(count);
            let share = Share { path: &self.path, offset, lengths };
            (rest, offset) = (after, offset + bytes);
            (count > 0).then_some(share)
        })
    }
}

impl Share<'_> {
    fn hash(&self, zeros: &Zeros) -> Result<Vec<Id>> {
        let failed = |error| Error::io("read", self.path, error);
        let file = File::open(self.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let has_holes = metadata.blocks().saturating_mul(512) < metadata.len();
        let mut offset = self.offset;
        let mut buffer = Vec::new();
        let mut ids = Vec::with_capacity(self.lengths.len());
        for length in self.lengths {
            let length = usize::try_from(*length)
                .map_err(|_| Error::Invalid("a piece is longer than the memory".to_owned()))?;
            if has_holes && is_hole(&file, offset, length as u64, metadata.len()) {
                ids.push(zeros.id(length));
                offset += length as u64;
                continue;
            }
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            file.read_exact_at(&mut buffer[..length], offset).map_err(failed)?;
            ids.push(Id::of(&buffer[..length]));
            offset += length as u64;
        }
        Ok(ids)
    }
}

/// True if the file system says that nothing is stored of a piece, which then reads as zeros.
fn is_hole(file: &File, offset: u64, length: u64, size: u64) -> bool {
    let end = offset.saturating_add(length);
    end <= size
        && match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data >= end,
            // Nothing but a hole up to the end of the file.
            Err(error) => error == Errno::NXIO,
        }
}
