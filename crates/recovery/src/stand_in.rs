//! A copy of the state folder for flows that run where it cannot be written: what is known of the
//! tier, the ledger and the keys that it is believed by; not the signing key, for nothing is signed.
//! Private, and removed at the end; what a killed process left, and what it staged, is removed at
//! the next start.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::random::random;
use crate::report::Failure;
use crate::staging::{self, remove_tree};
use crate::state::{FileLock, State};

/// How the name of its folder begins.
const STEM: &str = "lifeboat-unrecorded-";
/// Where it goes if the system's folder is full.
const MEMORY: &str = "/dev/shm";
/// How often a new folder may be taken for a dead one's before it is locked.
const TRIES: u32 = 10;

/// The copy.
#[derive(Debug)]
pub struct StandIn {
    state: State,
    /// For as long as its process lives.
    _lock: FileLock,
}

impl StandIn {
    /// A copy of `state` in the system's folder for temporary files.
    pub fn of(state: &State) -> Result<StandIn> {
        // The state's disk may be full, and the system's folder on it.
        StandIn::below(state, &std::env::temp_dir()).or_else(|error| {
            let memory = Path::new(MEMORY);
            match error.forbids_writing() && memory.is_dir() {
                true => StandIn::below(state, memory),
                false => Err(error),
            }
        })
    }

    fn below(state: &State, parent: &Path) -> Result<StandIn> {
        let (folder, lock) = make(parent)?;
        let stand_in = StandIn { state: state.stand_in(folder), _lock: lock };
        for name in ["tiers.json", "plan.json"] {
            copy(&state.path(name), &stand_in.state.path(name))?;
        }
        let ledger = stand_in.state.make("ledger")?;
        for path in files_in(&state.path("ledger"))? {
            if path.extension().is_none_or(|kind| kind != "lock") {
                copy(&path, &ledger.join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(stand_in)
    }

    /// The state to work with.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Removes the copy.
    pub fn remove(self) -> Result<()> {
        let removed = remove_tree(self.state.folder());
        std::mem::forget(self);
        removed
    }
}

impl Drop for StandIn {
    /// The way out of an early return: there is nobody left to tell.
    fn drop(&mut self) {
        let _ = remove_tree(self.state.folder());
    }
}

/// A new folder and its lock.
fn make(parent: &Path) -> Result<(PathBuf, FileLock)> {
    for _ in 0..TRIES {
        let tail = hex::encode(random::<8>()?);
        let folder = parent.join(format!("{STEM}{tail}"));
        DirBuilder::new().mode(0o700).create(&folder).map_err(Error::io("create", &folder))?;
        // A sweep may have come between the two; then there is another name.
        match FileLock::try_folder(&folder) {
            Ok(Some(lock)) if folder.is_dir() => return Ok((folder, lock)),
            Ok(_) => {}
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                remove_tree(&folder)?;
                return Err(error.into());
            }
        }
    }
    Err(Error::Busy { what: parent.display().to_string() })
}

/// Removes what killed processes of this user left; returns what was removed, and what could not
/// be, in words.
pub fn sweep() -> Vec<String> {
    sweep_below(&std::env::temp_dir()).into_iter().chain(sweep_below(Path::new(MEMORY))).collect()
}

fn sweep_below(parent: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let user = rustix::process::geteuid().as_raw();
    let mut said = Vec::new();
    for entry in entries.flatten().filter(|it| it.file_name().to_string_lossy().starts_with(STEM)) {
        let own = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user);
        if own {
            match sweep_one(&entry.path()) {
                Ok(lines) => said.extend(lines),
                Err(error) => said.push(Failure::of(&error).line()),
            }
        }
    }
    said
}

fn sweep_one(folder: &Path) -> Result<Vec<String>> {
    let Some(_lock) = FileLock::try_folder(folder)? else { return Ok(Vec::new()) };
    let state = State::new(folder);
    let mut said = staging::sweep(&state, None)?;
    // What it staged and could not be removed is known from here alone.
    let kept = files_in(&state.path("staging"))?;
    if !kept.iter().any(|path| path.extension().is_some_and(|kind| kind == "json")) {
        remove_tree(folder)?;
        said.push(format!("removed {}, left by a run that was stopped", folder.display()));
    }
    Ok(said)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", folder)(e)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> =
        paths.collect::<io::Result<_>>().map_err(Error::io("read", folder))?;
    Ok(paths.into_iter().filter(|path| path.is_file()).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    match fs::read(from) {
        Ok(body) => fs::write(to, body).map_err(Error::io("write", to)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("read", from)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_copy_is_not_swept_and_a_dead_ones_is() {
        let parent = tempfile::tempdir().unwrap();
        let state = State::new(parent.path().join("state"));
        let living = StandIn::below(&state, parent.path()).unwrap();
        let dead = parent.path().join(format!("{STEM}dead"));
        fs::create_dir(&dead).unwrap();
        let said = sweep_below(parent.path());
        assert!(said.len() == 1 && said[0].contains("dead"), "{said:?}");
        assert!(living.state().folder().is_dir() && !dead.exists());
    }
}
