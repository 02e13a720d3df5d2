//! A restore: a snapshot's tree into a fresh folder, or over what stands in one.
//!
//! Reads are planned by pack and joined where blobs adjoin; every blob is decrypted, decompressed
//! and hashed again before a byte of it is written (or in the target, by a caller who asks for
//! that, [`Rehash`]). In a fresh folder nothing that exists is
//! overwritten: each object is created anew, below folders that were created anew. Where something
//! may stand ([`Existing::Compared`]) it is hashed blob by blob, and only what differs is written;
//! what is not of the snapshot is set aside. A file with a blob that cannot be had is not left
//! behind half-written; it is named in [`RestoreReport::damaged`], and all others are restored.
//! Long runs of zeros become holes.

mod compare;
mod existing;
mod fetch;
mod files;
mod finish;
mod opener;
mod plan;
mod stream;
mod tar;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backup::{Filter, Problem};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::node::NodeKind;
use crate::pack::BlobKind;
use crate::parallel;
use crate::snapshot::Snapshot;
use crate::vault::Vault;

pub use stream::{StreamOptions, TarStream};

/// How a restore works.
#[derive(Clone)]
pub struct RestoreOptions {
    /// Restores only this path of the snapshot's tree, with the folders above it.
    pub subpath: Option<PathBuf>,
    /// Leaves out tree paths (`/media/a.jpg`) that it does not keep.
    pub filter: Option<Arc<dyn Filter>>,
    /// Threads that read, open and write; 0 means twice the cores, at most 8.
    pub threads: usize,
    /// Flush the target's file system at the end.
    pub sync: bool,
    /// What a target is to be in which something stands.
    pub existing: Existing,
    /// When each blob is hashed again.
    pub rehash: Rehash,
}

/// When each blob that is restored is hashed again and compared with its id. That its sealed bytes
/// are authentic is found out before, in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rehash {
    /// In memory, before a byte of it is written.
    #[default]
    BeforeWriting,
    /// By the caller, as it stands in the target: [`Vault::fingerprints`] reads and hashes all of
    /// it. Until then nothing in the target is proven; if it is not what it should be, a restore
    /// with [`Rehash::BeforeWriting`] finds out what of it is damaged.
    InTheTarget,
}

/// What becomes of a target in which something stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Existing {
    /// The restore is refused: the target must be absent or empty.
    #[default]
    Refused,
    /// Files are compared blob by blob and only what differs is written; the result is the snapshot
    /// with its metadata and nothing else. Links are not followed, and a file that has names outside
    /// is not changed through them. A restore that stops early leaves a mixture: the target must not
    /// look finished meanwhile, and nobody else may write in it.
    Compared {
        /// A folder on the target's file system, apart from it: what is not of the snapshot is moved
        /// there, at the same path.
        aside: PathBuf,
    },
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            subpath: None,
            filter: None,
            threads: 0,
            sync: true,
            existing: <_>::default(),
            rehash: <_>::default(),
        }
    }
}

impl std::fmt::Debug for RestoreOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RestoreOptions")
            .field("subpath", &self.subpath)
            .field("filtered", &self.filter.is_some())
            .field("threads", &self.threads)
            .field("sync", &self.sync)
            .field("existing", &self.existing)
            .field("rehash", &self.rehash)
            .finish()
    }
}

/// What a restore came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Regular files restored, each hard link counted.
    pub files: u64,
    /// Folders restored.
    pub folders: u64,
    /// Links and special files restored.
    pub others: u64,
    /// Sum of the restored files' sizes, bytes.
    pub bytes: u64,
    /// Bytes of them that stood there already and were not written.
    pub unchanged: u64,
    /// What stood in the target and is not of the snapshot, as paths below it: it was set aside.
    pub aside: Vec<PathBuf>,
    /// Paths in the target that could not be restored, and why. They do not exist there.
    pub damaged: Vec<Problem>,
    /// Paths in the target that were restored, but not in every respect.
    pub problems: Vec<Problem>,
}

impl RestoreReport {
    /// True if every entry was restored with its content.
    pub fn is_complete(&self) -> bool {
        self.damaged.is_empty()
    }
}

impl Vault {
    /// Restores a snapshot into `target`, which must be absent or an empty folder, unless the
    /// options say what becomes of what stands there.
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        options: &RestoreOptions,
        target: &Path,
    ) -> Result<RestoreReport> {
        let _lock = self.lock_for_reading()?;
        match options.existing {
            Existing::Refused => fresh(target)?,
            Existing::Compared { .. } => {
                std::fs::create_dir_all(target).map_err(|e| Error::io("make", target, e))?;
                if std::fs::symlink_metadata(target).is_ok_and(|found| found.is_symlink()) {
                    return Err(Error::Invalid(format!("{} is a link", target.display())));
                }
            }
        }
        let mut restore = plan::Restore::new(self, options, target);
        restore.run(snapshot)?;
        let report = restore.finish()?;
        if options.sync {
            sync(target)?;
        }
        Ok(report)
    }

    /// Writes the content of one file to `to`; returns its bytes.
    pub fn dump(
        &self,
        snapshot: &Snapshot,
        tree_path: impl AsRef<Path>,
        to: &mut dyn std::io::Write,
    ) -> Result<u64> {
        const AT_ONCE: usize = 8;
        let path = tree_path.as_ref();
        let node = self.node(snapshot, path)?;
        if node.kind != NodeKind::File {
            return Err(Error::NotFound { what: "file", name: path.display().to_string() });
        }
        let mut written = 0;
        for ids in node.content.unwrap_or_default().chunks(AT_ONCE) {
            let threads = parallel::io_threads().min(AT_ONCE);
            let blobs = parallel::map(ids, threads, |id: &Id| self.load_blob(BlobKind::Data, id))?;
            for blob in blobs {
                to.write_all(&blob).map_err(|error| Error::io("write", path, error))?;
                written += blob.len() as u64;
            }
        }
        if written != node.size {
            let why = format!("its blobs hold {written} bytes, its size is {}", node.size);
            return Err(Error::damaged(path.display().to_string(), why));
        }
        Ok(written)
    }
}

/// Makes the target, or refuses one with anything in it.
fn fresh(target: &Path) -> Result<()> {
    match std::fs::create_dir_all(target).and_then(|()| std::fs::read_dir(target)) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::Invalid(format!("{} is not empty", target.display()))),
        },
        Err(error) => Err(Error::io("make", target, error)),
    }
}

fn sync(target: &Path) -> Result<()> {
    let failed = |error| Error::io("flush", target, error);
    let folder = std::fs::File::open(target).map_err(failed)?;
    rustix::fs::syncfs(&folder).map_err(|error| failed(error.into()))
}
