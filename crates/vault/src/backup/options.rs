//! What a caller says to a backup, and what it is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::io::Errno;

use super::register::BLOBS_AN_INDEX;
use crate::compress::Compression;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::meta::{self, Names};
use crate::node::{ExtendedAttribute, Node, NodeKind};

/// How a backup works.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The snapshot whose unchanged files are taken over without reading them.
    pub parent: Option<Id>,
    /// Worker threads; 0 means one a core.
    pub readers: usize,
    /// Packs that are uploaded at a time.
    pub uploads: usize,
    /// Bytes that may be resident in buffers and packs.
    pub budget_bytes: usize,
    /// Size that packs are filled to, bytes.
    pub pack_bytes: usize,
    /// Blobs that an index object lists at least, but the last one: as soon as so many new ones are
    /// stored, it is written.
    pub index_blobs: usize,
    /// How much work goes into making data smaller.
    pub compression: Compression,
    /// Read each pack back from the store and compare its SHA-256. Only a store that acknowledges
    /// writes with a checksum that it verified may go without.
    pub read_back: bool,
    /// Take a file over although its inode's time of change is another one.
    pub ignore_ctime: bool,
    /// Take a file over although its inode number is another one.
    pub ignore_inode: bool,
    /// Store access times; without, the time of change stands in for them, as in restic.
    pub with_atime: bool,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            parent: None,
            readers: 0,
            uploads: 2,
            budget_bytes: 192 << 20,
            pack_bytes: 16 << 20,
            index_blobs: BLOBS_AN_INDEX,
            compression: Compression::default(),
            read_back: true,
            ignore_ctime: false,
            ignore_inode: false,
            with_atime: false,
        }
    }
}

/// Says which paths below a root are captured. A root itself always is.
pub trait Filter: Send + Sync {
    /// False leaves the path out; a folder with all that is in it.
    fn keep(&self, absolute: &Path, is_folder: bool) -> bool;
}

/// A filter that keeps everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl Filter for KeepAll {
    fn keep(&self, _: &Path, _: bool) -> bool {
        true
    }
}

/// A folder or file to capture, and where it stands in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Absolute path on this machine.
    pub source: PathBuf,
    /// Path from the root of the snapshot's tree, with or without a leading slash.
    pub tree: PathBuf,
}

/// What one walk captures.
#[derive(Clone)]
pub struct WalkSpec {
    /// What to capture.
    pub roots: Vec<Root>,
    /// What to leave out.
    pub filter: Arc<dyn Filter>,
    /// Do not go into other file systems; where one is mounted an empty folder is kept.
    pub one_file_system: bool,
}

/// What one walk captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalkSummary {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links and special files.
    pub others: u64,
    /// Sum of the regular files' sizes, bytes.
    pub bytes: u64,
    /// What of it the source's file systems had allocated, bytes: less where files have holes.
    pub allocated: u64,
}

/// A path that is not in the backup as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Absolute path of the source.
    pub path: PathBuf,
    /// What happened, as the end of a sentence that begins with the path.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(path: &Path, what: &str) -> Self {
        Self { path: path.to_owned(), what: what.to_owned() }
    }

    pub(crate) fn failed(path: &Path, verb: &str, error: Errno) -> Self {
        let what = match error {
            Errno::NOENT => "vanished".to_owned(),
            Errno::LOOP => "was replaced by a link".to_owned(),
            _ => format!("cannot {verb}: {error}"),
        };
        Self { path: path.to_owned(), what }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.what)
    }
}

/// Metadata of a generated or streamed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Permission bits as `chmod` takes them.
    pub mode: u32,
    /// Time of the last change.
    pub mtime: Timestamp,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name, or "".
    pub user: String,
    /// Group's name, or "".
    pub group: String,
    /// Extended attributes.
    pub extended_attributes: Vec<ExtendedAttribute>,
}

impl FileMeta {
    /// A file of this process's user that nobody else may read.
    pub fn private(mtime: Timestamp) -> Self {
        let (uid, gid) = own_ids();
        let names = Names::of_system();
        Self {
            mode: 0o600,
            mtime,
            uid,
            gid,
            user: names.user(uid).to_owned(),
            group: names.group(gid).to_owned(),
            extended_attributes: Vec::new(),
        }
    }

    /// The metadata of an existing file, its attributes included.
    pub fn of(path: &Path) -> Result<Self> {
        let failed = |error: Errno| Error::io("read the metadata of", path, error.into());
        let stat = rustix::fs::stat(path).map_err(failed)?;
        let attributes = meta::read_xattrs(meta::Handle::Path(path)).map_err(failed)?;
        let names = Names::of_system();
        let node = meta::node_from_stat("".as_ref(), NodeKind::File, &stat, &names, false);
        Ok(Self {
            mode: node.unix_mode(),
            mtime: node.mtime,
            uid: node.uid,
            gid: node.gid,
            user: node.user,
            group: node.group,
            extended_attributes: attributes,
        })
    }

    pub(crate) fn into_node(self, kind: NodeKind) -> Node {
        let mut node = Node::new("".as_ref(), kind);
        node.set_unix_mode(self.mode);
        (node.mtime, node.atime, node.ctime) = (self.mtime, self.mtime, self.mtime);
        (node.uid, node.gid, node.user, node.group) = (self.uid, self.gid, self.user, self.group);
        node.extended_attributes = self.extended_attributes;
        if kind != NodeKind::Dir {
            node.links = 1;
        }
        node
    }
}

/// User and group that this process runs as.
pub(crate) fn own_ids() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

/// A stored stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamedFile {
    /// Bytes read from the stream.
    pub size: u64,
    /// Blobs that it was cut into.
    pub blobs: usize,
}

/// What the snapshot object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// When the capture began: files changed since are read again by the next backup.
    pub time: Timestamp,
    /// `component=NAME`, `run=RUNID`, `schedule=NAME`.
    pub tags: Vec<String>,
    /// What was asked to be captured, as absolute paths.
    pub paths: Vec<PathBuf>,
}

/// What a backup came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupSummary {
    /// The new snapshot.
    pub snapshot: Id,
    /// Root of its tree.
    pub tree: Id,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that are not as in the parent.
    pub files_changed: u64,
    /// Files taken over without reading them.
    pub files_unmodified: u64,
    /// Folders.
    pub folders: u64,
    /// Links and special files.
    pub others: u64,
    /// Size of all regular files and streams, bytes.
    pub bytes_processed: u64,
    /// Bytes read from files and streams; those read twice count twice, holes do not count.
    pub bytes_read: u64,
    /// Bytes of new sealed blobs.
    pub bytes_added: u64,
    /// New blobs.
    pub blobs_added: u64,
    /// Bytes of packs written to the store.
    pub bytes_stored: u64,
    /// Packs written to the store.
    pub packs: u64,
    /// Paths that are not in the snapshot as they are on disk.
    pub problems: u64,
}
