//! A snapshot as a tar stream, in the order of its trees.
//!
//! Every blob is proven before a byte of it is sent. What was sent cannot be taken back: a file that
//! fits into memory and cannot be had is left out and named; in the middle of a larger one the
//! stream ends there, without tar's end mark.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::plan::wanted_names;
use super::{RestoreReport, tar};
use crate::backup::Problem;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::monitor::Stage;
use crate::node::{Node, NodeKind, Tree};
use crate::pack::BlobKind;
use crate::parallel;
use crate::snapshot::Snapshot;
use crate::vault::Vault;

/// Bytes, and blobs, that are fetched together.
const BYTES_AT_ONCE: u64 = 32 << 20;
const BLOBS_AT_ONCE: usize = 1 << 10;

/// What of a snapshot goes into a stream, and where.
#[derive(Clone, Default)]
pub struct StreamOptions {
    /// Only this path of the snapshot's tree, with the folders above it.
    pub subpath: Option<PathBuf>,
    /// Leaves out tree paths (`/media/a.jpg`) that it does not keep.
    pub filter: Option<std::sync::Arc<dyn crate::Filter>>,
    /// A folder of the stream in which everything stands.
    pub prefix: PathBuf,
}

/// A tar stream under way.
pub struct TarStream<'a> {
    to: &'a mut dyn Write,
}

impl<'a> TarStream<'a> {
    /// Begins a stream.
    pub fn new(to: &'a mut dyn Write) -> Self {
        Self { to }
    }

    /// Ends it: only then a reader takes it for whole.
    pub fn finish(self) -> Result<()> {
        let end = self.to.write_all(&tar::END).and_then(|()| self.to.flush());
        end.map_err(|error| Error::io("write", "-", error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(|error| Error::io("write", "-", error))
    }
}

impl Vault {
    /// Sends a snapshot, or a part of it, into a tar stream (pax, with attributes).
    pub fn stream(
        &self,
        snapshot: &Snapshot,
        options: &StreamOptions,
        to: &mut TarStream<'_>,
    ) -> Result<RestoreReport> {
        let _lock = self.lock_for_reading()?;
        let mut walk = Walk {
            vault: self,
            options,
            to,
            report: RestoreReport::default(),
            wanted: wanted_names(options.subpath.as_deref())?,
            found: false,
            firsts: HashMap::new(),
            sent: HashSet::new(),
            batch: Vec::new(),
            batched: (0, 0),
        };
        walk.tree(&snapshot.tree, Path::new(""), 0)?;
        walk.send_batch()?;
        if !walk.found && !walk.wanted.is_empty() && walk.report.damaged.is_empty() {
            let name = options.subpath.as_ref().map(|path| path.display().to_string());
            let name = name.unwrap_or_default();
            return Err(Error::NotFound { what: "path in the snapshot", name });
        }
        Ok(walk.report)
    }
}

/// Device and inode of a file with several names.
type Inode = (u64, u64);

/// An entry that is to be sent.
struct Entry {
    /// Below the root of the snapshot.
    path: PathBuf,
    node: Node,
    /// The first name of the file, if this is a further one.
    first: Option<(Inode, PathBuf)>,
}

struct Walk<'a, 'b> {
    vault: &'a Vault,
    options: &'a StreamOptions,
    to: &'a mut TarStream<'b>,
    report: RestoreReport,
    wanted: Vec<OsString>,
    found: bool,
    /// The first name of each file with several, and its content.
    firsts: HashMap<Inode, (PathBuf, Option<Vec<Id>>)>,
    /// Those that were sent.
    sent: HashSet<Inode>,
    batch: Vec<Entry>,
    batched: (u64, usize),
}

impl Walk<'_, '_> {
    fn tree(&mut self, id: &Id, below: &Path, depth: usize) -> Result<()> {
        self.vault.stop_if_cancelled()?;
        let tree = match self.vault.tree(id) {
            Ok(tree) => tree,
            Err(error @ Error::Damaged { .. }) => {
                self.lost(below, format!("what is in it is lost: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.nodes(tree, below, depth)
    }

    fn nodes(&mut self, tree: Tree, below: &Path, depth: usize) -> Result<()> {
        for node in tree.nodes {
            if self.wanted.get(depth).is_some_and(|wanted| *wanted != node.name) {
                continue;
            }
            self.found |= depth + 1 >= self.wanted.len();
            let path = below.join(&node.name);
            let is_folder = node.kind == NodeKind::Dir;
            if let Some(filter) = &self.options.filter
                && !filter.keep(&Path::new("/").join(&path), is_folder)
            {
                continue;
            }
            let subtree = node.subtree.filter(|_| is_folder);
            if is_folder && subtree.is_none() {
                self.lost(&path, "it is a folder without a tree".to_owned());
                continue;
            }
            self.entry(path.clone(), node)?;
            if let Some(subtree) = subtree {
                self.tree(&subtree, &path, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Adds an entry to those that are sent together.
    fn entry(&mut self, path: PathBuf, node: Node) -> Result<()> {
        let mut first = None;
        if node.kind == NodeKind::File && node.links > 1 {
            let inode = (node.device_id, node.inode);
            match self.firsts.get(&inode) {
                // Inode numbers are used again; only the same content is the same file.
                Some((name, content)) if *content == node.content => {
                    first = Some((inode, name.clone()));
                }
                Some(_) => {}
                None => {
                    self.firsts.insert(inode, (path.clone(), node.content.clone()));
                }
            }
        }
        let size = if first.is_some() { 0 } else { node.size };
        let blobs = node.content.as_ref().map_or(0, Vec::len);
        if size > BYTES_AT_ONCE || blobs > BLOBS_AT_ONCE {
            self.send_batch()?;
            return self.large(&Entry { path, node, first });
        }
        self.batched = (self.batched.0 + size, self.batched.1 + blobs);
        self.batch.push(Entry { path, node, first });
        // Entries without content are kept in bounds as well.
        if self.batched.0 >= BYTES_AT_ONCE
            || self.batched.1 >= BLOBS_AT_ONCE
            || self.batch.len() >= 4 * BLOBS_AT_ONCE
        {
            self.send_batch()?;
        }
        Ok(())
    }

    /// Fetches what the gathered entries hold, and sends those that are whole.
    fn send_batch(&mut self) -> Result<()> {
        self.vault.stop_if_cancelled()?;
        self.batched = (0, 0);
        let batch = std::mem::take(&mut self.batch);
        let own = |entry: &Entry| match (&entry.first, entry.node.kind) {
            (None, NodeKind::File) => entry.node.content.clone().unwrap_or_default(),
            _ => Vec::new(),
        };
        let content: Vec<Vec<Id>> = batch.iter().map(own).collect();
        let ids: Vec<Id> = content.iter().flatten().copied().collect();
        let mut blobs = self.fetch(&ids)?.into_iter();
        for (entry, content) in batch.iter().zip(&content) {
            let blobs: Vec<_> = blobs.by_ref().take(content.len()).collect();
            match blobs.into_iter().collect::<Result<Vec<Bytes>, String>>() {
                Ok(blobs) => self.send(entry, &blobs)?,
                Err(why) => self.lost(&entry.path, why),
            }
        }
        Ok(())
    }

    /// Proven content of blobs, or why it cannot be had.
    fn fetch(&self, ids: &[Id]) -> Result<Vec<Result<Bytes, String>>> {
        parallel::map(ids, parallel::io_threads(), |id| {
            self.vault.stop_if_cancelled()?;
            match self.vault.load_blob(BlobKind::Data, id) {
                Ok(blob) => Ok(Ok(blob)),
                Err(error @ (Error::Damaged { .. } | Error::NotFound { .. })) => {
                    Ok(Err(error.to_string()))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn send(&mut self, entry: &Entry, blobs: &[Bytes]) -> Result<()> {
        let Entry { path, node, first } = entry;
        if let Some((inode, name)) = first {
            if !self.sent.contains(inode) {
                self.lost(path, format!("its other name {} is not there", name.display()));
                return Ok(());
            }
            let Some(header) = self.header(path, node, 0, Some(name)) else { return Ok(()) };
            self.count_file(node.size);
            return self.to.write(&header);
        }
        let size: u64 = blobs.iter().map(|blob| blob.len() as u64).sum();
        let Some(header) = self.header(path, node, size, None) else {
            self.problem(path, "is of a kind that a tar stream does not have");
            return Ok(());
        };
        self.to.write(&header)?;
        for blob in blobs {
            self.to.write(blob)?;
        }
        self.to.write(tar::padding(size))?;
        match node.kind {
            NodeKind::File => self.sent_file(path, node, size),
            NodeKind::Dir => self.report.folders += 1,
            _ => self.report.others += 1,
        }
        Ok(())
    }

    /// A file that does not fit into memory.
    fn large(&mut self, entry: &Entry) -> Result<()> {
        let Entry { path, node, .. } = entry;
        if entry.first.is_some() || node.kind != NodeKind::File {
            return self.send(entry, &[]);
        }
        let content = node.content.as_deref().unwrap_or_default();
        let mut lengths = Vec::with_capacity(content.len());
        for id in content {
            let Some(location) = self.vault.locate(BlobKind::Data, id)?.first().copied() else {
                self.lost(path, format!("its blob {} is in no pack", id.short()));
                return Ok(());
            };
            lengths.push(u64::from(location.content_length()));
        }
        let size: u64 = lengths.iter().sum();
        let Some(header) = self.header(path, node, size, None) else { return Ok(()) };
        self.to.write(&header)?;
        let (mut from, mut upto) = (0, 0);
        while from < content.len() {
            let mut bytes = 0;
            while upto < content.len() && (upto == from || bytes + lengths[upto] <= BYTES_AT_ONCE) {
                bytes += lengths[upto];
                upto += 1;
            }
            for (blob, length) in
                self.fetch(&content[from..upto])?.into_iter().zip(&lengths[from..])
            {
                let ends = |why| Error::damaged(path.display().to_string(), why);
                let blob = blob.map_err(|why| ends(format!("{why}; the stream ends in it")))?;
                if blob.len() as u64 != *length {
                    return Err(ends("a blob has another length than the index says".to_owned()));
                }
                self.to.write(&blob)?;
                self.vault.environment().monitor.advance(Stage::Restore, *length, 0);
            }
            from = upto;
        }
        self.to.write(tar::padding(size))?;
        self.sent_file(path, node, size);
        Ok(())
    }

    fn header(
        &self,
        path: &Path,
        node: &Node,
        size: u64,
        first: Option<&PathBuf>,
    ) -> Option<Vec<u8>> {
        let prefix = &self.options.prefix;
        let first = first.map(|first| prefix.join(first));
        tar::header(&prefix.join(path), node, size, first.as_deref())
    }

    fn sent_file(&mut self, path: &Path, node: &Node, size: u64) {
        if node.links > 1 {
            self.sent.insert((node.device_id, node.inode));
        }
        if size != node.size {
            let what = format!("has {size} bytes, although its size is {}", node.size);
            self.problem(path, &what);
        }
        self.count_file(size);
    }

    fn count_file(&mut self, size: u64) {
        self.report.files += 1;
        self.report.bytes += size;
        let bytes = if size > BYTES_AT_ONCE { 0 } else { size };
        self.vault.environment().monitor.advance(Stage::Restore, bytes, 1);
    }

    fn lost(&mut self, path: &Path, what: String) {
        self.report.damaged.push(Problem { path: Path::new("/").join(path), what });
    }

    fn problem(&mut self, path: &Path, what: &str) {
        let what = what.to_owned();
        self.report.problems.push(Problem { path: Path::new("/").join(path), what });
    }
}
