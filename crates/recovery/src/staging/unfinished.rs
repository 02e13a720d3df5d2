//! Restores that go on: with what an earlier run had staged, and with what stands at the target.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    INCOMPLETE, MARK, Record, Resumable, Staging, is_mount_point, mark_incomplete, remove_tree,
};
use crate::error::{Error, Result};
use crate::state::{FileLock, State, read_optional, sync_parent};

/// A restore that is to be staged.
#[derive(Debug, Clone)]
pub struct Restoring<'a> {
    /// Where it is to be put in the end, without symbolic links.
    pub target: &'a Path,
    /// What is restored, in words that say how the folder is laid out: only the same goes on.
    pub what: String,
    /// Now.
    pub now: Timestamp,
    /// What stands at the target is to be used.
    pub over: bool,
}

/// Bytes that earlier runs have staged for a target and that a restore would use.
pub fn waiting(state: &State, target: &Path) -> Result<u64> {
    let mut bytes = 0;
    for (_, note) in records(state)? {
        if note.restore.is_some_and(|restore| restore.target == target) {
            bytes += allocated(&note.folder);
        }
    }
    Ok(bytes)
}

/// Bytes that a tree takes on its disk, as far as it can be read.
pub(crate) fn allocated(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    let own = found.blocks().saturating_mul(512);
    let entries = if found.is_dir() { fs::read_dir(path).ok() } else { None };
    let below = entries.into_iter().flatten().flatten().map(|entry| allocated(&entry.path()));
    below.fold(own, u64::saturating_add)
}

fn records(state: &State) -> Result<Vec<(PathBuf, Record)>> {
    let folder = state.path("staging");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", &folder)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", &folder))?.path();
        if path.extension().is_some_and(|kind| kind == "json")
            && let Some(body) = read_optional(&path)?
            // The sweep speaks of those that cannot be read.
            && let Ok(note) = serde_json::from_slice(&body)
        {
            found.push((path, note));
        }
    }
    Ok(found)
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("look at", path)(e)),
    }
}

/// The entries of a target that are its own.
fn entries(target: &Path) -> Result<Vec<PathBuf>> {
    let list = match fs::read_dir(target) {
        Ok(list) => list,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", target)(e)),
    };
    let mut found = Vec::new();
    for entry in list {
        let entry = entry.map_err(Error::io("read", target))?;
        let name = entry.file_name();
        let ours = name == INCOMPLETE || name.to_string_lossy().starts_with(MARK);
        if !ours && name != "lost+found" {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Is this the private folder of this user that the record speaks of?
fn is_ours(folder: &Path) -> Result<bool> {
    let user = rustix::process::geteuid().as_raw();
    let private = |found: Metadata| {
        found.is_dir() && found.uid() == user && found.permissions().mode() & 0o077 == 0
    };
    Ok(look(folder)?.is_some_and(private))
}

impl Staging {
    /// The staging folder of a restore: one that an earlier run of the same has left, or a new one.
    /// The first may hold a part of the data.
    pub fn resumable(state: &State, restoring: &Restoring<'_>) -> Result<Staging> {
        let Restoring { target, what, now, over } = restoring;
        let stands = !entries(target)?.is_empty();
        for mut found in Staging::left(state, target)? {
            let Some(restore) = found.note.restore.clone() else { continue };
            if restore.former {
                found.goes_on_over(target, stands, *over)?;
                return Ok(found);
            }
            if restore.what != *what || (*over && stands) {
                found.clear()?;
                std::mem::forget(found);
                continue;
            }
            for rest in ["aside", "failed"] {
                remove_tree(&found.outer.join(rest))?;
            }
            found.holds = true;
            return Ok(found);
        }
        let (target, what) = (target.to_path_buf(), what.clone());
        let restore = Resumable { target: target.clone(), what, begun: *now, former: false };
        Staging::beside(state, &target, Some(restore))
    }

    /// What dead runs have left for a target, locked.
    fn left(state: &State, target: &Path) -> Result<Vec<Staging>> {
        let known = records(state)?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let _gate = FileLock::exclusive(&state.path("staging").join("gate.lock"))?;
        let mut found = Vec::new();
        for (record, note) in known {
            let of = |restore: &Resumable| restore.target == target;
            if !note.restore.as_ref().is_some_and(of) || !is_ours(&note.folder)? {
                continue;
            }
            let former = note.restore.as_ref().is_some_and(|restore| restore.former);
            match FileLock::try_folder(&note.folder)? {
                Some(lock) => {
                    let (outer, data) = (note.folder.clone(), note.folder.join("data"));
                    let lock = Some(lock);
                    found.push(Staging { outer, data, record, lock, note, holds: false });
                }
                None if former => {
                    return Err(Error::Busy { what: note.folder.display().to_string() });
                }
                None => {}
            }
        }
        // What stood at the target comes before what was only staged.
        found.sort_by_key(|one| one.note.restore.as_ref().is_some_and(|it| !it.former));
        Ok(found)
    }

    /// May a restore go on with what stood at the target?
    fn goes_on_over(&mut self, target: &Path, stands: bool, over: bool) -> Result<()> {
        let (folder, shown) = (self.outer.display(), target.display());
        let what =
            format!("{folder} holds what stood in {shown} before a restore that was stopped");
        if !over {
            let hint = "`--verify-existing` goes on with it; or move it away";
            return Err(Error::refused(what, hint));
        }
        let has_data = !entries(&self.data)?.is_empty();
        if has_data && stands && !is_mount_point(target) {
            let hint = "move one of them away: both cannot be the same folder";
            return Err(Error::refused(format!("{what}, and {shown} is there again"), hint));
        }
        self.holds = has_data;
        Ok(())
    }

    /// True if what stood at the target is in here.
    pub fn is_former(&self) -> bool {
        self.note.restore.as_ref().is_some_and(|restore| restore.former)
    }

    /// True if something may stand in the data folder.
    pub fn holds_something(&self) -> bool {
        self.holds
    }

    /// Where what is not of the snapshot is set aside.
    pub fn aside(&self) -> PathBuf {
        self.outer.join("aside")
    }

    /// Removes what an earlier run has left in the data folder and is none of these.
    pub fn keep_only(&self, names: &[&str]) -> Result<()> {
        for path in entries(&self.data)? {
            let name = path.file_name().unwrap_or_default();
            if names.iter().all(|kept| *kept != name) {
                remove_tree(&path)
                    .or_else(|_| fs::remove_file(&path).map_err(Error::io("remove", &path)))?;
            }
        }
        Ok(())
    }

    /// Moves what stands at the target into the data folder, so that nothing under the target's name
    /// is neither the one nor the other. On stable storage first: from here on it is never swept.
    pub fn take_in(&mut self, target: &Path) -> Result<()> {
        let own = entries(target)?;
        if own.is_empty() && !self.is_former() {
            return Ok(());
        }
        if let Some(restore) = &mut self.note.restore {
            restore.former = true;
        }
        self.write_record()?;
        if self.outer.parent() == Some(target) {
            mark_incomplete(target)?;
            make_folder(&self.data)?;
            for from in own {
                let to = self.data.join(from.file_name().unwrap_or_default());
                // Nothing that was taken in before is replaced.
                renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE)
                    .map_err(|e| Error::io("take in", &from)(e.into()))?;
            }
        } else if !own.is_empty() {
            if look(&self.data)?.is_some() {
                fs::remove_dir(&self.data).map_err(Error::io("remove", &self.data))?;
            }
            fs::rename(target, &self.data).map_err(Error::io("take in", target))?;
            sync_parent(target)?;
        }
        sync_parent(&self.data)?;
        self.holds = true;
        self.put_back(&[]).map(drop)
    }

    /// Moves what was set aside back to its place, these apart; returns the places, relative to the
    /// data folder. A folder in whose place the snapshot has something else gets another name.
    pub fn put_back(&self, apart: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut back = Vec::new();
        if look(&self.aside())?.is_some() {
            merge(&self.aside(), &self.data, Path::new(""), apart, &mut back)?;
        }
        back.sort();
        Ok(back)
    }

    /// Leaves everything for another run of the same; returns where.
    pub fn leave(self) -> PathBuf {
        self.outer.clone()
    }
}

fn make_folder(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("create", path)(e)),
        _ => Ok(()),
    }
}

/// Moves entries to where they were. A folder keeps the time that it had.
fn merge(
    from: &Path,
    to: &Path,
    below: &Path,
    apart: &[PathBuf],
    back: &mut Vec<PathBuf>,
) -> Result<()> {
    let modified = fs::metadata(to).and_then(|found| found.modified());
    let modified = modified.map_err(Error::io("look at", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        let (name, source) = (entry.file_name(), entry.path());
        let place = below.join(&name);
        if apart.contains(&place) {
            continue;
        }
        let target = to.join(&name);
        let is_folder = entry.file_type().map_err(Error::io("look at", &source))?.is_dir();
        match look(&target)? {
            Some(there) if there.is_dir() && is_folder => {
                merge(&source, &target, &place, apart, back)?;
            }
            // Written over, as another content would be.
            Some(_) if !is_folder => {}
            there => back.push(below.join(move_in(&source, to, &name, there.is_some())?)),
        }
    }
    let folder = fs::File::open(to).map_err(Error::io("open", to))?;
    folder.set_modified(modified).map_err(Error::io("set the times of", to))
}

/// Moves an entry into a folder, under another name if its own is taken.
fn move_in(
    source: &Path,
    to: &Path,
    name: &std::ffi::OsStr,
    taken: bool,
) -> Result<std::ffi::OsString> {
    let mut own = name.to_owned();
    if taken {
        own.push(".former");
    }
    let mut attempt = own.clone();
    for number in 1..1000 {
        match renameat_with(CWD, source, CWD, to.join(&attempt), RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(attempt),
            Err(rustix::io::Errno::EXIST) => {
                attempt = own.clone();
                attempt.push(format!(".{number}"));
            }
            Err(e) => return Err(Error::io("put back", source)(e.into())),
        }
    }
    Err(Error::io("put back", source)(io::ErrorKind::AlreadyExists.into()))
}
