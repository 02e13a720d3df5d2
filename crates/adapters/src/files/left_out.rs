//! What lies below a live root and is in no copy of it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::exchange::{Entry, inode, is_mount_point};
use super::journal;
use super::rules::{Rules, is_unfinished};

/// What was found below a root.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// What the rules leave out, relative to the root; nothing below a folder that is named.
    pub entries: Vec<Entry>,
    /// Where other file systems are mounted.
    pub mounts: Vec<PathBuf>,
}

/// Looks below `root`; a missing one has nothing.
pub(super) fn look(root: &Path, rules: &Rules) -> io::Result<LeftOut> {
    let mut found = LeftOut::default();
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop().filter(|folder| folder != root || is_folder(folder)) {
        for entry in fs::read_dir(&folder)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            if is_our_own(&name) {
                continue;
            }
            if is_mount_point(&path) {
                found.mounts.push(path);
                continue;
            }
            let is_dir = is_folder(&path);
            if rules.keeps(&path, is_dir) {
                open.extend(is_dir.then_some(path));
            } else if let (Ok(below), Some(inode)) = (path.strip_prefix(root), inode(&path)?) {
                found.entries.push(Entry { path: below.to_owned(), inode });
            }
        }
    }
    Ok(found)
}

/// Unfinished restores and journals belong to no state.
fn is_our_own(name: &OsStr) -> bool {
    is_unfinished(name) || journal::is_journal(name)
}
