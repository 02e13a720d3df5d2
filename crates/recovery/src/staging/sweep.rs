//! What dead processes left.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::{Record, Resumable, remove_tree};
use crate::error::{Error, Result};
use crate::state::{FileLock, State, read_optional};

/// How long a restore that was stopped can be gone on with.
const WAITS: SignedDuration = SignedDuration::from_hours(72);

/// Removes what dead processes left, restores that can still be gone on with apart (all, without
/// `now`); returns what was removed, and what could not be, in words.
pub fn sweep(state: &State, now: Option<Timestamp>) -> Result<Vec<String>> {
    let records = state.path("staging");
    if !records.is_dir() {
        return Ok(Vec::new());
    }
    let _gate = FileLock::exclusive(&records.join("gate.lock"))?;
    let mut notes = Vec::new();
    for entry in fs::read_dir(&records).map_err(Error::io("read", &records))? {
        let path = entry.map_err(Error::io("read", &records))?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        notes.extend(sweep_one(&path, now)?);
    }
    Ok(notes)
}

fn sweep_one(record: &Path, now: Option<Timestamp>) -> Result<Option<String>> {
    let Some(body) = read_optional(record)? else { return Ok(None) };
    let forget = || fs::remove_file(record).map_err(Error::io("remove", record));
    let note: Record = match serde_json::from_slice(&body) {
        Ok(note) => note,
        Err(_) => return Ok(Some(format!("{} is not a staging record", record.display()))),
    };
    if fs::symlink_metadata(&note.folder).is_err() {
        forget()?;
        return Ok(None);
    }
    let Some(_lock) = FileLock::try_folder(&note.folder)? else { return Ok(None) };
    let (what, folder) = (&note.purpose, note.folder.display());
    match &note.restore {
        Some(Resumable { former: true, target, .. }) => {
            return Ok(match is_gone(&note.folder) {
                true => forget().map(|()| None)?,
                false => Some(format!(
                    "{folder} holds what stood in {} before a restore that was stopped; the same \
                     restore goes on with it",
                    target.display()
                )),
            });
        }
        // A clock that was set back makes it wait longer.
        Some(restore) if now.is_some_and(|now| now.duration_since(restore.begun) < WAITS) => {
            return Ok(None);
        }
        _ => {}
    }
    match remove_tree(&note.folder) {
        Ok(()) => {
            forget()?;
            Ok(Some(format!("removed {folder}, left by a {what} that was stopped")))
        }
        Err(error) => {
            let why = crate::report::Failure::of(&error).line();
            Ok(Some(format!("{folder}, left by a {what} that was stopped, stays: {why}")))
        }
    }
}

/// Removes a folder in which nothing is; true if that was so.
fn is_gone(folder: &Path) -> bool {
    for inner in ["data", "aside", "failed"] {
        // Full ones stay.
        let _ = fs::remove_dir(folder.join(inner));
    }
    fs::remove_dir(folder).is_ok()
}
