//! A target in which something stands already: what is of the snapshot stays, what is not is set
//! aside, and nothing is written through a link.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{CWD, RenameFlags};

use super::plan::{Pending, Restore};
use crate::backup::Problem;
use crate::error::{Error, Result};
use crate::meta;
use crate::node::{Node, NodeKind, Tree};
use crate::sync::lock;

/// How many things of one name can be set aside.
const TRIES: u32 = 1000;

/// Where what is not of the snapshot goes, and what was decided about files with several names.
pub(super) struct Aside {
    target: PathBuf,
    folder: PathBuf,
    taken: Mutex<Vec<PathBuf>>,
    /// Files with several names whose content and metadata are right: each may be one file of the
    /// snapshot.
    pub(super) shared: Mutex<HashSet<(u64, u64)>>,
}

impl Aside {
    pub(super) fn new(target: &Path, folder: &Path) -> Self {
        Self {
            target: target.to_owned(),
            folder: folder.to_owned(),
            taken: Mutex::default(),
            shared: Mutex::default(),
        }
    }

    /// Moves what stands at `path` to its place below the folder.
    pub(super) fn take(&self, path: &Path) -> io::Result<()> {
        let below = path.strip_prefix(&self.target).map_err(io::Error::other)?;
        let place = self.folder.join(below);
        fs::create_dir_all(place.parent().unwrap_or(&self.folder))?;
        let mut to = place.clone();
        for number in 1..=TRIES {
            match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    lock(&self.taken).push(below.to_owned());
                    return Ok(());
                }
                Err(rustix::io::Errno::EXIST) => {
                    let mut name = place.as_os_str().to_owned();
                    name.push(format!(".{number}"));
                    to = PathBuf::from(name);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// What was moved, as paths below the target, in order.
    pub(super) fn taken(&self) -> Vec<PathBuf> {
        let mut taken = std::mem::take(&mut *lock(&self.taken));
        taken.sort();
        taken
    }
}

/// What stands there, if anything.
pub(super) fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names in a folder that stood there before this restore; none in one that it made.
pub(super) fn names(path: &Path, stood: bool) -> io::Result<HashSet<OsString>> {
    if !stood {
        return Ok(HashSet::new());
    }
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Is this the link, pipe, socket or device of the node, with no other name?
fn is_same(node: &Node, path: &Path, found: &Metadata) -> io::Result<bool> {
    if meta::kind_of_mode(found.mode()) != Some(node.kind) || found.nlink() > 1 {
        return Ok(false);
    }
    Ok(match node.kind {
        NodeKind::Symlink => fs::read_link(path)?.as_os_str().as_bytes() == node.link_target(),
        NodeKind::Dev | NodeKind::Chardev => found.rdev() == node.device,
        NodeKind::Fifo | NodeKind::Socket => true,
        NodeKind::File | NodeKind::Dir | NodeKind::Irregular => false,
    })
}

impl Restore<'_> {
    /// Makes a folder, or takes over the one that stands there. True if that stood there; `None` if
    /// there is none now.
    pub(super) fn make_folder(&mut self, path: &Path, stands: bool) -> Result<Option<bool>> {
        let made = if stands { self.take_over_folder(path) } else { Ok(false) };
        let made = match made {
            Ok(true) => return Ok(Some(true)),
            other => other.and_then(|_| fs::create_dir(path)),
        };
        match made {
            Ok(()) => Ok(Some(false)),
            Err(error) => self.failed_to_create(path, "make the folder", error).map(|()| None),
        }
    }

    /// False if there is nothing in the way any more.
    fn take_over_folder(&self, path: &Path) -> io::Result<bool> {
        match (look(path)?, &self.aside) {
            (Some(found), _) if found.is_dir() => {
                // Its own mode comes last.
                if found.mode() & 0o700 != 0o700 {
                    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
                }
                Ok(true)
            }
            (Some(_), Some(aside)) => aside.take(path).map(|()| false),
            _ => Ok(false),
        }
    }

    /// True if the special entry stands there as it should; else what stands there is set aside.
    pub(super) fn stands_right(&self, path: &Path, node: &Node) -> io::Result<bool> {
        match (look(path)?, &self.aside) {
            (Some(found), _) if is_same(node, path, &found)? => Ok(true),
            (Some(_), Some(aside)) => aside.take(path).map(|()| false),
            _ => Ok(false),
        }
    }

    /// Sets aside what stands in a folder and is not of the snapshot. What the caller's filter
    /// leaves out is not looked at.
    pub(super) fn set_extras_aside(
        &mut self,
        pending: &Pending,
        tree: &Tree,
        there: &HashSet<OsString>,
    ) -> Result<()> {
        let Some(aside) = &self.aside else { return Ok(()) };
        let known: HashSet<_> = tree.nodes.iter().map(|node| &node.name).collect();
        let mut failed = Vec::new();
        for name in there.iter().filter(|name| !known.contains(name)) {
            let below = pending.below.join(name);
            let path = self.target.join(&below);
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            let kept =
                |filter: &dyn crate::Filter| filter.keep(&Path::new("/").join(&below), is_folder);
            if !self.options.filter.as_deref().is_none_or(kept) {
                continue;
            }
            match aside.take(&path) {
                Ok(()) => {}
                Err(error) if super::plan::is_fatal(&error) => {
                    return Err(Error::io("set aside", path, error));
                }
                Err(error) => failed.push(Problem {
                    path,
                    what: format!("is not of the snapshot and cannot be set aside: {error}"),
                }),
            }
        }
        self.report.damaged.append(&mut failed);
        Ok(())
    }

    /// A further name of a file where something stands; true if it is that name already.
    pub(super) fn make_way_for_link(&self, first: &Path, path: &Path) -> io::Result<bool> {
        let Some(aside) = &self.aside else { return Ok(false) };
        let Some(found) = look(path)? else { return Ok(false) };
        let file = look(first)?.map(|file| (file.dev(), file.ino()));
        if file == Some((found.dev(), found.ino())) {
            return Ok(true);
        }
        match found.is_file() && file.is_some() {
            // The name goes over to the restored file.
            true => fs::remove_file(path)?,
            false => aside.take(path)?,
        }
        Ok(false)
    }
}
