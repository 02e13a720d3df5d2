//! The order of names by which a database and its log are replaced as one.
//!
//! A database is up to four files (`NAME`, `-wal`, `-shm`, `-journal`) and no call renames four
//! files at once. A new database beside an old `-wal` shows wrong rows, an old one without
//! its `-wal` has lost some, and a missing one is made anew by its application. So the old state
//! leaves in one step, through a symbolic link, which SQLite resolves before it looks for the log:
//!
//! 1. The old files get second names in `NAME.before-…/`: the same files, complete.
//! 2. A symbolic link to the database there is renamed over `NAME`. Whoever opens `NAME` still
//!    finds the old state, with its log, now in the folder.
//! 3. The old log's names beside `NAME` go. Nobody looks for them any more.
//! 4. The new database is renamed over `NAME`. It stands alone.
//!
//! Cut off anywhere, `NAME` leads to the whole old state (before 4) or the whole new one (from 4
//! on). [`put_back`] undoes 1 to 4 in an order with the same property, and [`settle`] does so for
//! what a killed process left behind.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::holders::identity;
use super::moves::Moves;
use super::open::beside;

/// What a log may consist of, in the order in which their names go.
pub(super) const COMPANIONS: [&str; 3] = ["-shm", "-wal", "-journal"];

/// Where the files of one live database are.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The live database.
    pub live: PathBuf,
}

impl Names {
    /// The folder of the live database.
    pub fn folder(&self) -> &Path {
        self.live.parent().unwrap_or(Path::new("/"))
    }

    fn file_name(&self) -> OsString {
        self.live.file_name().unwrap_or_default().to_owned()
    }

    /// A companion's place beside the live database.
    pub fn companion(&self, suffix: &str) -> PathBuf {
        beside(&self.live, suffix)
    }

    /// The same file's place in a folder where a state is kept.
    pub fn kept(&self, folder: &Path, suffix: &str) -> PathBuf {
        beside(&folder.join(self.file_name()), suffix)
    }

    /// The name at which a link is prepared before it is renamed over the live one.
    fn prepared(&self) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.file_name());
        name.push(".lifeboat-swap");
        self.folder().join(name)
    }

    /// A folder beside the live database: `NAME.WORD-TAIL`.
    pub fn named(&self, word: &str, tail: &str) -> PathBuf {
        beside(&self.live, &format!(".{word}-{tail}"))
    }

    /// The same, or with a number, so that it is not there yet.
    pub fn unused(&self, word: &str, tail: &str) -> PathBuf {
        let named = self.named(word, tail);
        let numbered = (2..).map(|number| beside(&named, &format!("-{number}")));
        let mut free = std::iter::once(named.clone())
            .chain(numbered)
            .filter(|path| path.symlink_metadata().is_err());
        free.next().unwrap_or(named)
    }

    /// The folder of a kept state to which `NAME` leads for the moment, if a swap is under way.
    pub fn diverted(&self) -> Option<PathBuf> {
        let target = std::fs::read_link(&self.live).ok()?;
        let folder = target.parent()?;
        let plain = folder.components().count() == 1 && target.file_name()? == self.file_name();
        (plain && self.is_kept(folder.file_name()?)).then(|| self.folder().join(folder))
    }

    /// True if a folder of this name keeps a state of this database.
    fn is_kept(&self, folder: &OsStr) -> bool {
        let tail = folder.as_bytes().strip_prefix(self.file_name().as_bytes());
        tail.is_some_and(|tail| tail.starts_with(b".before-") || tail.starts_with(b".undone-"))
    }
}

/// Steps 1 to 4: keeps the present state in `keep` and puts `staged` in its place.
pub(super) fn replace(
    moves: &dyn Moves,
    names: &Names,
    keep: &Path,
    staged: &Path,
) -> io::Result<()> {
    keep_all(moves, names, keep)?;
    if names.live.symlink_metadata().is_ok() {
        divert(moves, names, keep)?;
    }
    remove_companions(moves, names)?;
    moves.rename(staged, &names.live)?;
    moves.sync(names.folder())
}

/// Step 1.
pub(super) fn keep_all(moves: &dyn Moves, names: &Names, keep: &Path) -> io::Result<()> {
    moves.make_folder(keep)?;
    for suffix in [""].iter().chain(&COMPANIONS) {
        let file = names.companion(suffix);
        if file.symlink_metadata().is_ok() {
            moves.link(&file, &names.kept(keep, suffix))?;
        }
    }
    moves.sync(keep)?;
    moves.sync(names.folder())
}

/// Step 2.
pub(super) fn divert(moves: &dyn Moves, names: &Names, keep: &Path) -> io::Result<()> {
    let target = Path::new(keep.file_name().unwrap_or_default()).join(names.file_name());
    forget_prepared(moves, names)?;
    moves.symlink(&target, &names.prepared())?;
    moves.rename(&names.prepared(), &names.live)?;
    moves.sync(names.folder())
}

/// Step 3.
pub(super) fn remove_companions(moves: &dyn Moves, names: &Names) -> io::Result<()> {
    for suffix in COMPANIONS {
        let file = names.companion(suffix);
        if file.symlink_metadata().is_ok() {
            moves.remove(&file)?;
        }
    }
    moves.sync(names.folder())
}

/// Puts the state kept in `keep` back to its own names and removes the folder. `NAME` leads into
/// `keep`, or is that same file already.
pub(super) fn put_back(moves: &dyn Moves, names: &Names, keep: &Path) -> io::Result<()> {
    if names.diverted().is_some() {
        remove_companions(moves, names)?;
        for suffix in COMPANIONS {
            let file = names.kept(keep, suffix);
            if file.symlink_metadata().is_ok() {
                moves.link(&file, &names.companion(suffix))?;
            }
        }
        forget_prepared(moves, names)?;
        moves.link(&names.kept(keep, ""), &names.prepared())?;
        moves.sync(names.folder())?;
        moves.rename(&names.prepared(), &names.live)?;
        moves.sync(names.folder())?;
    }
    drop_kept(moves, names, keep)
}

/// Removes the second names in `keep`, and the folder if nothing else is in it.
fn drop_kept(moves: &dyn Moves, names: &Names, keep: &Path) -> io::Result<()> {
    for suffix in COMPANIONS.iter().chain(&[""]) {
        let file = names.kept(keep, suffix);
        if file.symlink_metadata().is_ok() {
            moves.remove(&file)?;
        }
    }
    moves.remove_folder(keep)?;
    moves.sync(names.folder())
}

/// Puts in order what a killed swap left: afterwards `NAME` is a file again, the whole old state or
/// the whole new one, and no folder holds second names of it. Returns what was found, in words.
pub(super) fn settle(moves: &dyn Moves, names: &Names) -> io::Result<Option<String>> {
    forget_prepared(moves, names)?;
    if let Some(keep) = names.diverted() {
        put_back(moves, names, &keep)?;
        return Ok(Some("a swap that was cut off was undone; the former state is in place".into()));
    }
    let mut found = None;
    for keep in second_names(names)? {
        drop_kept(moves, names, &keep)?;
        found = Some("what a swap that was cut off had prepared was removed".to_owned());
    }
    Ok(found)
}

/// What [`settle`] would put in order, in words. Changes nothing.
pub(super) fn unsettled(names: &Names) -> io::Result<Option<String>> {
    let live = names.live.display();
    if let Some(keep) = names.diverted() {
        return Ok(Some(format!(
            "a restore in place of {live} was cut off: the former state is whole, and {live} leads \
             to it in {}",
            keep.display()
        )));
    }
    let prepared = names.prepared().symlink_metadata().is_ok() || !second_names(names)?.is_empty();
    Ok(prepared.then(|| {
        format!("a restore in place of {live} was cut off: what it had prepared is still there")
    }))
}

/// Folders that hold nothing, or second names of the live state.
fn second_names(names: &Names) -> io::Result<Vec<PathBuf>> {
    let live = identity(&names.live);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(names.folder())? {
        let entry = entry?;
        if !names.is_kept(&entry.file_name()) || !entry.file_type()?.is_dir() {
            continue;
        }
        let kept = identity(&names.kept(&entry.path(), ""));
        let empty = std::fs::read_dir(entry.path())?.next().is_none();
        if empty || (live.is_some() && kept == live) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn forget_prepared(moves: &dyn Moves, names: &Names) -> io::Result<()> {
    match names.prepared().symlink_metadata() {
        Ok(_) => moves.remove(&names.prepared()),
        Err(_) => Ok(()),
    }
}
