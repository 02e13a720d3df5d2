//! Puts one restored root in the place of the live one, and back.
//!
//! A folder or file is exchanged by one rename where the file system can do that, so that its name
//! always leads to the whole old state or the whole new one; elsewhere it is missing between two
//! renames. A mount point cannot be renamed: its entries are moved one by one, into a folder in it
//! and out of the copy.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_vault::NodeKind;
use lifeboat_vault::meta::{Handle, Names, node_from_stat, read_xattrs, restore_metadata};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::renames::Renames;
use super::rules::is_unfinished;

/// One root and what takes its place.
pub(super) struct Step<'a> {
    /// The file system.
    pub renames: &'a dyn Renames,
    /// The live folder or file; may be missing.
    pub live: PathBuf,
    /// The restored one, on the same file system.
    pub staged: PathBuf,
    /// Where the old state goes: beside `live`, or in it if it is a mount point.
    pub kept: PathBuf,
}

impl Step<'_> {
    /// Carries the step out; on an error it has been taken back.
    pub fn forward(&self) -> io::Result<()> {
        if is_mount_point(&self.live) {
            return self.forward_within();
        }
        if exists(&self.live)? {
            return self.exchange(&self.staged, &self.kept);
        }
        fs::create_dir_all(folder(&self.live))?;
        self.renames.rename(&self.staged, &self.live)?;
        self.sync()
    }

    /// Takes [`Step::forward`] back: the old state is live, the copy is at `staged`.
    pub fn backward(&self) -> io::Result<()> {
        if is_mount_point(&self.live) {
            if !exists(&self.staged)? {
                fs::create_dir(&self.staged)?;
            }
            copy_metadata(&self.live, &self.staged)?;
            self.move_entries(&self.live, &self.staged)?;
            return self.return_entries();
        }
        if exists(&self.kept)? {
            return self.exchange(&self.kept, &self.staged);
        }
        self.renames.rename(&self.live, &self.staged)?;
        self.sync()
    }

    /// `next` becomes live, and what was live goes to `aside`.
    fn exchange(&self, next: &Path, aside: &Path) -> io::Result<()> {
        let (renames, live) = (self.renames, &self.live);
        if renames.exchange(next, live)? {
            if let Err(error) = renames.rename(next, aside) {
                renames.exchange(next, live)?;
                return Err(error);
            }
        } else {
            renames.rename(live, aside)?;
            if let Err(error) = renames.rename(next, live) {
                renames.rename(aside, live)?;
                return Err(error);
            }
        }
        self.sync()
    }

    fn forward_within(&self) -> io::Result<()> {
        fs::create_dir(&self.kept)?;
        let emptied = copy_metadata(&self.live, &self.kept)
            .and_then(|()| self.move_entries(&self.live, &self.kept));
        if let Err(error) = emptied {
            self.return_entries()?;
            return Err(error);
        }
        let filled = self
            .move_entries(&self.staged, &self.live)
            .and_then(|()| copy_metadata(&self.staged, &self.live))
            .and_then(|()| self.sync());
        if let Err(error) = filled {
            self.move_entries(&self.live, &self.staged)?;
            self.return_entries()?;
            return Err(error);
        }
        Ok(())
    }

    /// The old entries of a mount point back from where they are kept.
    fn return_entries(&self) -> io::Result<()> {
        self.move_entries(&self.kept, &self.live)?;
        copy_metadata(&self.kept, &self.live)?;
        fs::remove_dir(&self.kept)?;
        self.sync()
    }

    fn move_entries(&self, from: &Path, to: &Path) -> io::Result<()> {
        let names: Vec<OsString> =
            fs::read_dir(from)?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<_>>()?;
        for name in names.iter().filter(|name| !self.stays(&from.join(name), name)) {
            self.renames.rename(&from.join(name), &to.join(name))?;
        }
        Ok(())
    }

    /// In a mount point stand also the folders of the swap itself, and the file system's own.
    fn stays(&self, entry: &Path, name: &OsStr) -> bool {
        entry == self.kept
            || self.staged.starts_with(entry)
            || name == "lost+found"
            || is_unfinished(name)
    }

    fn sync(&self) -> io::Result<()> {
        for path in [&self.live, &self.staged, &self.kept] {
            match self.renames.sync(folder(path)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The folder that a path stands in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// True if something has this name.
pub(super) fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound) => Ok(false),
        Err(e) => Err(e),
    }
}

/// True for a folder on which something is mounted: no rename can replace it.
pub(super) fn is_mount_point(path: &Path) -> bool {
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Gives the folder `to` the owner, mode, times and attributes of `from`.
fn copy_metadata(from: &Path, to: &Path) -> io::Result<()> {
    let stat = rustix::fs::stat(from)?;
    let names = Names::of_system();
    let mut node = node_from_stat(OsStr::new(""), NodeKind::Dir, &stat, &names, false);
    node.extended_attributes = read_xattrs(Handle::Path(from))?;
    match restore_metadata(&node, Handle::Path(to)).into_iter().next() {
        None => Ok(()),
        Some((verb, error)) => {
            let source = io::Error::from(error);
            Err(io::Error::new(
                source.kind(),
                format!("cannot {verb} of {}: {source}", to.display()),
            ))
        }
    }
}
