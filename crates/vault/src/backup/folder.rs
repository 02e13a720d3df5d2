//! One folder on its way from names to a stored tree.
//!
//! Entries are finished in any order by any worker; whoever finishes the last one writes the tree
//! and hands the folder's own node to the folder above.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::engine::Engine;
use super::known::Known;
use super::listing::Listing;
use super::sealer::Sealer;
use crate::error::{Error, Result};
use crate::fingerprint::{FolderPrint, write_line};
use crate::id::Id;
use crate::node::{Node, write_node};
use crate::pack::BlobKind;
use crate::sync::lock;

/// A finished entry: its node, and a folder's fingerprint.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) node: Node,
    pub(crate) print: Option<Id>,
}

/// An open folder.
pub(crate) struct Folder {
    /// Absolute path, for messages and the filter.
    pub(crate) path: PathBuf,
    pub(crate) listing: Listing,
    /// What the parent snapshot knew of it.
    pub(crate) known: Option<Arc<Known>>,
    /// The device that the walk stays on, where it does.
    pub(crate) device: Option<u64>,
    fd: Option<OwnedFd>,
    role: Role,
    pending: AtomicUsize,
    pieces: Mutex<Vec<Piece>>,
}

/// What becomes of a folder when all its entries are done.
enum Role {
    /// It stands for a root: its only entry is the result, and this its name in the snapshot.
    Root(Option<OsString>, Mutex<Option<Done>>),
    /// It becomes the node at a position in the folder above.
    Inside { above: Arc<Folder>, position: u32, node: Node },
}

/// Finished entries with adjoining positions, as their bytes in the tree and in the fingerprint.
#[derive(Default)]
pub(crate) struct Piece {
    first: u32,
    count: u32,
    json: Vec<u8>,
    lines: Vec<u8>,
}

impl Folder {
    /// The folder around one root, whose only name is the root's path.
    pub(crate) fn around_root(
        listing: Listing,
        name: Option<OsString>,
        known: Option<Arc<Known>>,
    ) -> Arc<Self> {
        let role = Role::Root(name, Mutex::new(None));
        Arc::new(Self::new(PathBuf::new(), None, listing, known, None, role))
    }

    /// An open folder inside another one. `node` lacks the subtree only.
    pub(crate) fn inside(
        above: &Arc<Folder>,
        position: u32,
        node: Node,
        opened: (PathBuf, OwnedFd, Listing),
        known: Option<Arc<Known>>,
        device: Option<u64>,
    ) -> Arc<Self> {
        let (path, fd, listing) = opened;
        let role = Role::Inside { above: Arc::clone(above), position, node };
        Arc::new(Self::new(path, Some(fd), listing, known, device, role))
    }

    fn new(
        path: PathBuf,
        fd: Option<OwnedFd>,
        listing: Listing,
        known: Option<Arc<Known>>,
        device: Option<u64>,
        role: Role,
    ) -> Self {
        let pending = AtomicUsize::new(listing.len());
        Self { path, listing, known, device, fd, role, pending, pieces: Mutex::default() }
    }

    /// What names in the listing are relative to.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().map_or(rustix::fs::CWD, AsFd::as_fd)
    }

    /// What an entry is called in the snapshot.
    pub(crate) fn name(&self, position: u32) -> &OsStr {
        match &self.role {
            Role::Root(name, _) => name.as_deref().unwrap_or_default(),
            Role::Inside { .. } => self.listed(position),
        }
    }

    /// True for the folder around a root.
    pub(crate) fn is_root(&self) -> bool {
        matches!(self.role, Role::Root(..))
    }

    /// The absolute path of an entry.
    pub(crate) fn path_of(&self, position: u32) -> PathBuf {
        self.path.join(self.listed(position))
    }

    fn listed(&self, position: u32) -> &OsStr {
        OsStr::from_bytes(self.listing.name(position).to_bytes())
    }

    /// Takes the finished root.
    pub(crate) fn take_root(&self) -> Option<Done> {
        match &self.role {
            Role::Root(_, result) => lock(result).take(),
            Role::Inside { .. } => None,
        }
    }
}

/// Hands finished entries to a folder; the last ones complete it, and perhaps the folders above.
/// `omitted` entries have become problems.
pub(crate) fn complete(
    engine: &Engine,
    sealer: &mut Sealer,
    folder: &Arc<Folder>,
    batch: Batch,
) -> Result<()> {
    let mut folder = Arc::clone(folder);
    let mut batch = batch;
    loop {
        let count = batch.count;
        if let Role::Root(_, result) = &folder.role {
            if let Some(done) = batch.root.take() {
                *lock(result) = Some(done);
            }
        } else if !batch.pieces.is_empty() {
            lock(&folder.pieces).append(&mut batch.pieces);
        }
        // The pieces of all threads are seen by the one that counts down to zero.
        if folder.pending.fetch_sub(count, Ordering::AcqRel) != count {
            return Ok(());
        }
        let Role::Inside { above, position, node } = &folder.role else { return Ok(()) };
        let done = write_tree(engine, sealer, &folder, node)?;
        let mut next = Batch::new(above);
        next.push(*position, done)?;
        let above = Arc::clone(above);
        folder = above;
        batch = next;
    }
}

/// Completes a folder without entries at once.
pub(crate) fn complete_empty(
    engine: &Engine,
    sealer: &mut Sealer,
    folder: &Arc<Folder>,
) -> Result<()> {
    complete(engine, sealer, folder, Batch::new(folder))
}

fn write_tree(engine: &Engine, sealer: &mut Sealer, folder: &Folder, node: &Node) -> Result<Done> {
    let mut pieces = std::mem::take(&mut *lock(&folder.pieces));
    pieces.sort_unstable_by_key(|piece| piece.first);
    let length = pieces.iter().map(|piece| piece.json.len() + 1).sum::<usize>();
    let mut json = Vec::with_capacity(length + 16);
    let mut print = FolderPrint::new();
    json.extend_from_slice(b"{\"nodes\":[");
    for (at, piece) in pieces.into_iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend_from_slice(&piece.json);
        print.lines(&piece.lines);
    }
    json.extend_from_slice(b"]}\n");
    let mut node = node.clone();
    node.subtree = Some(engine.store(sealer, BlobKind::Tree, &json)?);
    Ok(Done { node, print: Some(print.finish()) })
}

/// Entries of one folder that one worker finished.
pub(crate) struct Batch {
    is_root: bool,
    count: usize,
    pieces: Vec<Piece>,
    root: Option<Done>,
}

impl Batch {
    pub(crate) fn new(folder: &Folder) -> Self {
        Self { is_root: folder.is_root(), count: 0, pieces: Vec::new(), root: None }
    }

    /// Counts an entry that is not in the backup.
    pub(crate) fn omit(&mut self) {
        self.count += 1;
    }

    /// Adds a finished entry.
    pub(crate) fn push(&mut self, position: u32, done: Done) -> Result<()> {
        self.count += 1;
        if self.is_root {
            self.root = Some(done);
            return Ok(());
        }
        let piece = match self.pieces.last_mut() {
            Some(last) if last.first + last.count == position => {
                last.json.push(b',');
                last
            }
            _ => {
                self.pieces.push(Piece { first: position, ..Piece::default() });
                let last = self.pieces.len() - 1;
                &mut self.pieces[last]
            }
        };
        piece.count += 1;
        write_node(&mut piece.json, &done.node)
            .map_err(|error| Error::Invalid(format!("a node cannot be written: {error}")))?;
        write_line(&mut piece.lines, &done.node, done.print.as_ref());
        Ok(())
    }

    /// How many entries are in it.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}
