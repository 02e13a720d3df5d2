//! Puts one restored root in the place of the live one, and back.
//!
//! The old state is always at the live name or at its final one, beside it: never in a staging
//! folder, which whoever comes next may remove. The copy is first brought to that final name, then
//! one exchange of the two names makes it live and keeps the old state. Where the file system
//! cannot exchange, the root is missing between two renames. A mount point cannot be renamed: its
//! entries are moved one by one, into a folder in it and out of the copy.
//!
//! What captures leave out (`*.tmp`, …) is in no copy: it is carried from the old tree to the new.
//!
//! Each thing that moves is known by its inode, so that the way back can be found from any state
//! between two calls, by another process too ([`journal`](super::journal)).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lifeboat_vault::NodeKind;
use lifeboat_vault::meta::{Handle, Names, node_from_stat, read_xattrs, restore_metadata};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::journal;
use super::renames::Renames;
use super::rules::is_unfinished;

/// Something that a swap moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// What it is known by.
    pub inode: u64,
}

/// One root and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The live folder or file; may be missing.
    pub live: PathBuf,
    /// Where the old state goes: beside `live`, or in it if it is a mount point.
    pub kept: PathBuf,
    /// Where the copy goes if it cannot be live: a name like `kept`.
    pub spare: PathBuf,
    /// The root is a mount point: its entries move, not itself.
    pub within: bool,
    /// The root, or its entries, before the swap; none if it was missing.
    pub old: Vec<Entry>,
    /// The same of the copy.
    pub new: Vec<Entry>,
    /// What no capture has: it goes from the old tree to the new one.
    pub carried: Vec<Entry>,
}

impl Step {
    /// The step that puts `staged`, on the same file system, in the place of `live`.
    pub fn swapping(mut self, staged: &Path) -> io::Result<Step> {
        self.old = self.find(&self.live, staged)?;
        self.new = self.find(staged, staged)?;
        Ok(self)
    }

    /// The step that was carried out, as it is found.
    pub fn undoing(mut self) -> io::Result<Step> {
        self.old = self.find(&self.kept, &self.spare)?;
        self.new = self.find(&self.live, &self.spare)?;
        Ok(self)
    }

    fn find(&self, tree: &Path, staged: &Path) -> io::Result<Vec<Entry>> {
        let entry = |path: PathBuf| {
            let inode = inode(&at(tree, &path))?;
            Ok(inode.map(|inode| Entry { path, inode }))
        };
        let mut names = vec![PathBuf::new()];
        if self.within {
            names = match fs::read_dir(tree) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                other => other?.map(|e| Ok(e?.file_name().into())).collect::<io::Result<_>>()?,
            };
            names.retain(|name| !self.stays(&tree.join(name), name.as_os_str(), staged));
        }
        names.into_iter().filter_map(|name| entry(name).transpose()).collect()
    }

    /// In a mount point stand also the folders of the swap itself, the file system's own, and what
    /// captures leave out.
    fn stays(&self, entry: &Path, name: &OsStr, staged: &Path) -> bool {
        [&self.kept, &self.spare].into_iter().any(|path| path == entry)
            || staged.starts_with(entry)
            || name == "lost+found"
            || is_unfinished(name)
            || journal::is_journal(name)
            || self.carried.iter().any(|carried| self.live.join(&carried.path) == entry)
    }

    /// Carries the step out. After an error, [`Step::backward`] is the way back.
    pub fn forward(&self, renames: &dyn Renames, staged: &Path) -> io::Result<()> {
        if self.within {
            self.forward_within(renames, staged)?;
        } else if self.old.is_empty() {
            renames.rename(staged, &self.live)?;
        } else {
            renames.rename(staged, &self.kept)?;
            self.sync(renames, staged)?;
            self.exchange(renames)?;
        }
        for entry in self.carried.iter().filter(|entry| !self.remains(entry)) {
            renames.rename(&self.kept.join(&entry.path), &self.live.join(&entry.path))?;
            renames.sync(folder(&self.live.join(&entry.path)))?;
        }
        self.sync(renames, staged)
    }

    /// The old state is live again and the copy, as far as it was taken from `aside`, is there. Not
    /// an error if that is so already.
    pub fn backward(&self, renames: &dyn Renames, aside: &Path) -> io::Result<()> {
        for entry in self.carried.iter().filter(|entry| !self.remains(entry)) {
            let (from, to) = (self.live.join(&entry.path), self.kept.join(&entry.path));
            if self.leads_into_new(&entry.path)? && inode(&from)? == Some(entry.inode) {
                renames.rename(&from, &to)?;
                renames.sync(folder(&to))?;
            }
        }
        if self.within {
            self.backward_within(renames, aside)?;
        } else {
            self.backward_root(renames, aside)?;
        }
        self.sync(renames, aside)
    }

    /// True if the new state is live and whole.
    pub fn is_done(&self) -> io::Result<bool> {
        Ok(all(&self.new, &self.live)?
            && all(&self.old, &self.kept)?
            && !any(self.carried.iter().filter(|entry| !self.remains(entry)), &self.kept)?)
    }

    /// True if the old state is live and whole.
    pub fn is_undone(&self) -> io::Result<bool> {
        let gone = self.within || !self.old.is_empty() || !exists(&self.live)?;
        Ok(gone && all(&self.old, &self.live)? && !any(&self.new, &self.live)?)
    }

    /// `kept` and `live` change places.
    fn exchange(&self, renames: &dyn Renames) -> io::Result<()> {
        if !renames.exchange(&self.kept, &self.live)? {
            renames.rename(&self.kept, &self.spare)?;
            renames.rename(&self.live, &self.kept)?;
            renames.rename(&self.spare, &self.live)?;
        }
        Ok(())
    }

    fn backward_root(&self, renames: &dyn Renames, aside: &Path) -> io::Result<()> {
        let (old, new) = (self.old.first(), self.new.first());
        let (old, new) = (old.map(|entry| entry.inode), new.map(|entry| entry.inode));
        let (live, kept) = (inode(&self.live)?, inode(&self.kept)?);
        if live == old {
            // Nothing happened yet, or it was taken back already.
        } else if live.is_none() && kept == old {
            renames.rename(&self.kept, &self.live)?;
        } else if live == new && old.is_none() {
            return renames.rename(&self.live, aside);
        } else if live == new && kept == old {
            // Without an exchange the old state goes straight back: cut off, it is where it was.
            if !renames.exchange(&self.kept, &self.live)? {
                renames.rename(&self.live, &self.spare)?;
                renames.rename(&self.kept, &self.live)?;
            }
        } else {
            return Err(io::Error::other(format!(
                "{} and {} are not what the swap left there",
                self.live.display(),
                self.kept.display()
            )));
        }
        for place in [&self.kept, &self.spare] {
            if place != aside && new.is_some() && inode(place)? == new {
                renames.rename(place, aside)?;
            }
        }
        Ok(())
    }

    fn forward_within(&self, renames: &dyn Renames, staged: &Path) -> io::Result<()> {
        // A folder that has the final name also has the live one's metadata.
        let made = self.unfinished();
        fs::create_dir(&made)?;
        copy_metadata(&self.live, &made)?;
        renames.rename(&made, &self.kept)?;
        for entry in &self.old {
            renames.rename(&self.live.join(&entry.path), &self.kept.join(&entry.path))?;
        }
        self.sync(renames, staged)?;
        renames.sync(&self.kept)?;
        copy_metadata(staged, &self.live)?;
        for entry in &self.new {
            renames.rename(&staged.join(&entry.path), &self.live.join(&entry.path))?;
        }
        copy_metadata(staged, &self.live)?;
        renames.sync(&self.live)
    }

    fn backward_within(&self, renames: &dyn Renames, aside: &Path) -> io::Result<()> {
        if any(&self.new, &self.live)? && !exists(aside)? {
            fs::create_dir(aside)?;
            copy_metadata(&self.live, aside)?;
        }
        for (entries, from, to) in
            [(&self.new, &*self.live, aside), (&self.old, &self.kept, &self.live)]
        {
            for entry in entries {
                if inode(&from.join(&entry.path))? == Some(entry.inode) {
                    renames.rename(&from.join(&entry.path), &to.join(&entry.path))?;
                }
            }
        }
        if exists(&self.unfinished())? {
            fs::remove_dir(self.unfinished())?;
        }
        if exists(&self.kept)? {
            copy_metadata(&self.kept, &self.live)?;
            fs::remove_dir(&self.kept)?;
        }
        renames.sync(&self.live)
    }

    /// The folder of the old entries before it has its metadata.
    fn unfinished(&self) -> PathBuf {
        let mut name = OsString::from(".lifeboat-partial-");
        name.push(self.kept.file_name().unwrap_or_default());
        self.live.join(name)
    }

    /// True for what is left out directly in a mount point: it does not move at all.
    fn remains(&self, entry: &Entry) -> bool {
        self.within && entry.path.components().count() == 1
    }

    /// True if a path below the live root is in the new state.
    fn leads_into_new(&self, path: &Path) -> io::Result<bool> {
        let top = match path.components().next() {
            Some(top) if self.within => PathBuf::from(top.as_os_str()),
            _ => PathBuf::new(),
        };
        any(self.new.iter().filter(|entry| entry.path == top), &self.live)
    }

    fn sync(&self, renames: &dyn Renames, staged: &Path) -> io::Result<()> {
        for path in [&self.live, staged, &self.kept] {
            match renames.sync(folder(path)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A path below a folder, or the folder itself for an empty one.
fn at(tree: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { tree.to_owned() } else { tree.join(path) }
}

fn all(entries: &[Entry], tree: &Path) -> io::Result<bool> {
    for entry in entries {
        if inode(&at(tree, &entry.path))? != Some(entry.inode) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any<'a>(entries: impl IntoIterator<Item = &'a Entry>, tree: &Path) -> io::Result<bool> {
    for entry in entries {
        if inode(&at(tree, &entry.path))? == Some(entry.inode) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folder that a path stands in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// True if something has this name.
pub(super) fn exists(path: &Path) -> io::Result<bool> {
    Ok(inode(path)?.is_some())
}

/// What a name leads to; `None` if nothing has it.
pub(super) fn inode(path: &Path) -> io::Result<Option<u64>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.ino())),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => Ok(None),
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
