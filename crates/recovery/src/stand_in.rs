//! A copy of the state folder for flows that run where it cannot be written: what is known of the
//! tier, the ledger and the keys that it is believed by; not the signing key, for nothing is signed.
//! Private, and removed at the end.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::random::random;
use crate::staging::remove_tree;
use crate::state::State;

/// The copy.
#[derive(Debug)]
pub struct StandIn {
    state: State,
}

impl StandIn {
    /// A copy of `state` in the system's folder for temporary files.
    pub fn of(state: &State) -> Result<StandIn> {
        let tail = hex::encode(random::<8>()?);
        let name = format!("lifeboat-unrecorded-{tail}");
        // The state's disk may be full, and the system's folder on it.
        StandIn::in_folder(state, &std::env::temp_dir().join(&name)).or_else(|error| {
            let memory = Path::new("/dev/shm");
            match error.forbids_writing() && memory.is_dir() {
                true => StandIn::in_folder(state, &memory.join(&name)),
                false => Err(error),
            }
        })
    }

    fn in_folder(state: &State, folder: &Path) -> Result<StandIn> {
        DirBuilder::new().mode(0o700).create(folder).map_err(Error::io("create", folder))?;
        let stand_in = StandIn { state: State::new(folder) };
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
