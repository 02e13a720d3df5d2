//! Folders that a restore, verification or drill fills before anything may call them finished.
//!
//! A staging folder is private (0700), locked for as long as its process lives, recorded in the
//! state folder, and gone at the end on every path. What a killed process left is removed at the
//! next start; a living one is never touched. A restore's waits for some days, so that the same
//! restore goes on with it; and one that holds what stood at the target before is never removed.

mod sweep;
mod unfinished;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::random::random;
use crate::state::{FileLock, State, replace};

pub use sweep::sweep;
pub(crate) use unfinished::allocated;
pub use unfinished::{Restoring, waiting};

/// What stands between a target's name and the random tail of its staging folder.
pub const MARK: &str = ".lifeboat-partial-";

/// Stands in a mount point while it is filled.
const INCOMPLETE: &str = "RESTORE-INCOMPLETE.lifeboat";

/// What the state folder remembers of a staging folder.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    folder: PathBuf,
    purpose: String,
    /// Of a restore that can be gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restore: Option<Resumable>,
}

/// What a restore must be to go on with a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Resumable {
    /// Where it is to be put.
    target: PathBuf,
    /// What is restored, in words that say how the folder is laid out.
    what: String,
    /// When it began.
    begun: Timestamp,
    /// What stood at the target is in it.
    former: bool,
}

/// A staging folder with a `data` folder in it.
#[derive(Debug)]
pub struct Staging {
    outer: PathBuf,
    data: PathBuf,
    record: PathBuf,
    lock: Option<FileLock>,
    note: Record,
    /// Something may stand in the data folder.
    holds: bool,
}

impl Staging {
    /// A staging folder on the target's file system: beside it and named after it, or inside it
    /// where the target is a mount point.
    pub fn for_target(state: &State, target: &Path) -> Result<Staging> {
        Staging::beside(state, target, None)
    }

    fn beside(state: &State, target: &Path, restore: Option<Resumable>) -> Result<Staging> {
        let (parent, stem) = match is_mount_point(target) {
            true => (target, MARK.to_owned()),
            false => {
                let name = target.file_name().unwrap_or_default().to_string_lossy();
                (target.parent().unwrap_or(Path::new("/")), format!("{name}{MARK}"))
            }
        };
        Staging::recorded(state, parent, &stem, "restore", restore)
    }

    /// A staging folder in `parent`, whose name begins with `stem`.
    pub fn make(state: &State, parent: &Path, stem: &str, purpose: &str) -> Result<Staging> {
        Staging::recorded(state, parent, stem, purpose, None)
    }

    fn recorded(
        state: &State,
        parent: &Path,
        stem: &str,
        purpose: &str,
        restore: Option<Resumable>,
    ) -> Result<Staging> {
        let records = state.make("staging")?;
        let tail = hex::encode(random::<4>()?);
        let outer = parent.join(format!("{stem}{tail}"));
        let data = outer.join("data");
        let record = records.join(format!("{tail}.json"));
        // Between making the folder and locking it, a sweep must not take it for a dead one's.
        let _gate = FileLock::exclusive(&records.join("gate.lock"))?;
        let note =
            Record { format: 1, folder: outer.clone(), purpose: purpose.to_owned(), restore };
        let staging = Staging { outer, data, record, lock: None, note, holds: false };
        staging.write_record()?;
        staging.build()
    }

    fn build(mut self) -> Result<Staging> {
        let (outer, data) = (&self.outer, &self.data);
        DirBuilder::new().mode(0o700).create(outer).map_err(Error::io("create", outer))?;
        // Nor do others get at what is restored by an access list that new entries inherit.
        match rustix::fs::removexattr(outer, "system.posix_acl_default") {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(e) => return Err(Error::io("remove the access list of", outer)(e.into())),
        }
        self.lock = FileLock::try_folder(outer)?;
        fs::create_dir(data).map_err(Error::io("create", data))?;
        Ok(self)
    }

    fn write_record(&self) -> Result<()> {
        let body = serde_json::to_vec(&self.note)
            .map_err(|source| Error::Encode { what: "a staging record", source })?;
        Ok(replace(&self.record, &body)?)
    }

    /// Where the data goes.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A folder beside the data, for what works on it.
    pub fn scratch(&self) -> PathBuf {
        self.outer.join("scratch")
    }

    /// The staging folder itself.
    pub fn folder(&self) -> &Path {
        &self.outer
    }

    /// Takes one entry out of the data folder, so that it is not delivered with the rest; returns
    /// where it is now, if there was one.
    pub fn set_aside(&self, entry: &str) -> Result<Option<PathBuf>> {
        let from = self.data.join(entry);
        if fs::symlink_metadata(&from).is_err() {
            return Ok(None);
        }
        let failed = self.outer.join("failed");
        fs::create_dir_all(&failed).map_err(Error::io("create", &failed))?;
        let to = failed.join(entry);
        fs::rename(&from, &to).map_err(Error::io("set aside", &from))?;
        Ok(Some(to))
    }

    /// Moves the data folder to `target` by one rename: the last step of a restore. An empty folder
    /// at the target is replaced, and lends its owner and mode.
    pub fn deliver(&self, target: &Path) -> Result<()> {
        let from = self.data.clone();
        sync_tree_roots(&from)?;
        match fs::symlink_metadata(target) {
            Ok(_) if self.outer.parent() == Some(target) => fill_mount_point(&from, target),
            Ok(there) if there.is_dir() => deliver_over(&from, target, &there),
            _ => fs::rename(&from, target).map_err(Error::io("put in place", target)),
        }?;
        let parent = target.parent().unwrap_or(Path::new("/"));
        crate::state::sync_parent(target).map_err(|e| Error::io("sync", parent)(e.source))
    }

    /// Leaves the folder where it is, for a look; returns it.
    pub fn keep(mut self) -> Result<PathBuf> {
        self.lock = None;
        fs::remove_file(&self.record).map_err(Error::io("remove", &self.record))?;
        let kept = self.outer.clone();
        std::mem::forget(self);
        Ok(kept)
    }

    /// Removes the folder.
    pub fn remove(self) -> Result<()> {
        let result = self.clear();
        std::mem::forget(self);
        result
    }

    fn clear(&self) -> Result<()> {
        remove_tree(&self.outer)?;
        fs::remove_file(&self.record).map_err(Error::io("remove", &self.record))
    }
}

impl Drop for Staging {
    /// The way out of a panic or an early return; what it cannot remove, the next start's sweep
    /// removes, because the record stays. What can be gone on with waits.
    fn drop(&mut self) {
        if self.note.restore.is_none() {
            let _ = self.clear();
        }
    }
}

/// Makes the names directly below a restored folder durable before it is put in place.
fn sync_tree_roots(folder: &Path) -> Result<()> {
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))
}

/// Puts a folder over an empty one, with its owner and mode.
fn deliver_over(from: &Path, target: &Path, there: &fs::Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    match std::os::unix::fs::chown(from, Some(there.uid()), Some(there.gid())) {
        Err(e) if e.kind() != io::ErrorKind::PermissionDenied => {
            return Err(Error::io("give the owner of the target to", from)(e));
        }
        _ => {}
    }
    fs::set_permissions(from, there.permissions()).map_err(Error::io("set the mode of", from))?;
    fs::rename(from, target).map_err(Error::io("put in place", target))
}

/// True for a folder on which something is mounted, so that no rename can replace it.
fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(found) => found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        Err(_) => false,
    }
}

/// A mount point cannot be replaced: its entries are moved in one by one, and until the last is
/// there a marker file says that it is not finished.
fn fill_mount_point(from: &Path, target: &Path) -> Result<()> {
    let marker = mark_incomplete(target)?;
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        let to = target.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(Error::io("put in place", &to))?;
    }
    sync_tree_roots(target)?;
    fs::remove_file(&marker).map_err(Error::io("remove", &marker))
}

/// Says in a mount point that it is not finished.
fn mark_incomplete(target: &Path) -> Result<PathBuf> {
    let marker = target.join(INCOMPLETE);
    fs::write(&marker, b"a restore is putting its files here; they are not complete\n")
        .map_err(Error::io("write", &marker))?;
    Ok(marker)
}

/// Removes a tree, folders without write permission included. A missing one is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        Err(e) => return Err(Error::io("remove", path)(e)),
    }
    open_folders(path)?;
    fs::remove_dir_all(path).map_err(Error::io("remove", path))
}

fn open_folders(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(Error::io("set the mode of", path))?;
    for entry in fs::read_dir(path).map_err(Error::io("read", path))? {
        let entry = entry.map_err(Error::io("read", path))?;
        let kind = entry.file_type().map_err(Error::io("stat", path))?;
        if kind.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}
