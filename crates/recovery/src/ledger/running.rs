//! Which actions are running: each holds a lock on a file of its own, which is gone with its
//! process. A file that can be locked is what a dead process left.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::facts::Fact;
use crate::random::random;
use crate::state::{FileLock, State, read_optional, replace};

const FOLDER: &str = "running";

/// A running action.
#[derive(Debug)]
pub struct Running {
    /// Its random name.
    pub id: String,
    seq: Option<u64>,
    facts: Vec<Fact>,
    lock: PathBuf,
    record: PathBuf,
    _held: FileLock,
}

/// What a dead process left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its random name, which stands in its `started` entry.
    pub id: String,
    /// The sequence number of that entry, if it came so far.
    pub seq: Option<u64>,
    /// What was already true when it died.
    #[serde(default)]
    pub facts: Vec<Fact>,
}

impl Running {
    /// Begins, before the `started` entry is written.
    pub fn begin(state: &State) -> Result<Running> {
        let folder = state.make(FOLDER)?;
        let id = hex::encode(random::<8>()?);
        let (lock, record) = (folder.join(format!("{id}.lock")), folder.join(format!("{id}.json")));
        // Nobody may take the file for a dead one's between making and locking it.
        let _gate = FileLock::exclusive(&folder.join("gate"))?;
        let held = FileLock::try_exclusive(&lock)?.ok_or(Error::Busy { what: id.clone() })?;
        let running = Running { id, seq: None, facts: Vec::new(), lock, record, _held: held };
        running.write()?;
        Ok(running)
    }

    /// Notes the entry that says so.
    pub fn started(&mut self, seq: u64) -> Result<()> {
        self.seq = Some(seq);
        self.write()
    }

    /// Keeps facts until the action's end: the entry that closes it carries them, also if this
    /// process dies or the action fails later.
    pub fn keep(&mut self, facts: &[Fact]) -> Result<()> {
        self.facts.extend_from_slice(facts);
        self.write()
    }

    /// The facts kept so far.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    fn write(&self) -> Result<()> {
        let left = Left { id: self.id.clone(), seq: self.seq, facts: self.facts.clone() };
        let body = serde_json::to_vec(&left)
            .map_err(|source| Error::Encode { what: "a running action", source })?;
        Ok(replace(&self.record, &body)?)
    }

    /// Ends, after the `finished` entry is written.
    pub fn end(self) -> Result<()> {
        for path in [&self.record, &self.lock] {
            fs::remove_file(path).map_err(Error::io("remove", path))?;
        }
        Ok(())
    }
}

/// Calls `close` for what each dead process left, and forgets it.
pub fn sweep(state: &State, mut close: impl FnMut(&Left) -> Result<()>) -> Result<()> {
    let folder = state.path(FOLDER);
    if !folder.is_dir() {
        return Ok(());
    }
    let _gate = FileLock::exclusive(&folder.join("gate"))?;
    for (left, lock, record) in records(state)? {
        let Some(_held) = FileLock::try_exclusive(&lock)? else { continue };
        close(&left)?;
        for path in [&record, &lock] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path)(e));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Names of the actions whose process lives.
pub fn living(state: &State) -> Result<Vec<Left>> {
    let mut living = Vec::new();
    for (left, lock, _) in records(state)? {
        // Only looked at: the folder may be one that cannot be written.
        if lock.exists() && FileLock::try_folder(&lock)?.is_none() {
            living.push(left);
        }
    }
    Ok(living)
}

fn records(state: &State) -> Result<Vec<(Left, PathBuf, PathBuf)>> {
    let folder = state.path(FOLDER);
    let mut found = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(Error::io("read", &folder)(e)),
    };
    for entry in entries {
        let record = entry.map_err(Error::io("read", &folder))?.path();
        if record.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let Some(body) = read_optional(&record)? else { continue };
        // A record is replaced by rename: what cannot be read was never ours to judge.
        if let Ok(left) = serde_json::from_slice::<Left>(&body) {
            found.push((left, record.with_extension("lock"), record));
        }
    }
    Ok(found)
}
