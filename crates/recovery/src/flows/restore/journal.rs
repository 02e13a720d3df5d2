//! What a restore in place is about to do, on stable storage before its first step and after each
//! swap. Components that go together cannot be swapped by one call: whoever finds this record after
//! a kill knows which of them are the restored copy ([`settle`](super::settle)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::manifest::Manifest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ports::{EngineError, InPlace};
use crate::state::{FileLock, State, read_optional, replace, sync_parent};

const FOLDER: &str = "in-place";

/// The record.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// The running action that it belongs to.
    action: String,
    /// What old states are kept as.
    keep_as: String,
    /// The services may be stopped, and are not started again yet.
    down: bool,
    /// Something failed after a swap: all go back.
    going_back: bool,
    members: Vec<Member>,
}

/// A component of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Member {
    pub component: String,
    /// Of the copy: it says what is swapped.
    pub manifest: Manifest,
    /// What was live before the swap; nothing until the swaps begin.
    pub before: Option<String>,
    /// Where its former state is, once it is swapped.
    pub kept: Option<Vec<PathBuf>>,
}

impl Member {
    /// Is the copy live, and not the former state? Whatever came between the swap and its record.
    pub(super) fn is_swapped(&self, swapper: &dyn InPlace) -> Result<bool, EngineError> {
        match &self.before {
            Some(before) => Ok(swapper.live()? != *before),
            None => Ok(false),
        }
    }
}

/// The record in its file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    record: Record,
}

impl Journal {
    /// Before the first step.
    pub(super) fn begin(
        state: &State,
        action: &str,
        keep_as: &str,
        members: Vec<(String, Manifest)>,
    ) -> Result<Journal> {
        let member =
            |(component, manifest)| Member { component, manifest, before: None, kept: None };
        let path = state.make(FOLDER)?.join(format!("{keep_as}.json"));
        let members = members.into_iter().map(member).collect();
        let (action, keep_as) = (action.to_owned(), keep_as.to_owned());
        let record = Record { format: 1, action, keep_as, down: true, going_back: false, members };
        let journal = Journal { path, record };
        journal.write()?;
        Ok(journal)
    }

    /// Before the first swap: what is live, of each component that is going to be swapped.
    pub(super) fn before(&mut self, live: &[(&str, String)]) -> Result<()> {
        for member in &mut self.record.members {
            let of = |(name, _): &&(&str, String)| *name == member.component;
            member.before = live.iter().find(of).map(|(_, live)| live.clone());
        }
        self.write()
    }

    /// After a swap.
    pub(super) fn swapped(&mut self, component: &str, kept: &[PathBuf]) -> Result<()> {
        let of = |member: &&mut Member| member.component == component;
        if let Some(member) = self.record.members.iter_mut().find(of) {
            member.kept = Some(kept.to_owned());
        }
        self.write()
    }

    /// Before the first step of the way back.
    pub(super) fn going_back(&mut self) -> Result<()> {
        (self.record.going_back, self.record.down) = (true, true);
        self.write()
    }

    /// After all services were started.
    pub(super) fn up(&mut self) -> Result<()> {
        self.record.down = false;
        self.write()
    }

    /// All components are in one state, and that is reported.
    pub(super) fn end(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
        Ok(sync_parent(&self.path)?)
    }

    /// The components.
    pub(super) fn members(&self) -> &[Member] {
        &self.record.members
    }

    /// Their names.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.members().iter().map(|it| it.component.as_str()).collect();
        names.join(", ")
    }

    /// The running action that it belongs to.
    pub(super) fn action(&self) -> &str {
        &self.record.action
    }

    /// What old states are kept as.
    pub(super) fn keep_as(&self) -> &str {
        &self.record.keep_as
    }

    /// The services may be stopped.
    pub(super) fn is_down(&self) -> bool {
        self.record.down
    }

    /// All go back.
    pub(super) fn goes_back(&self) -> bool {
        self.record.going_back
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self) -> Result<()> {
        let body = serde_json::to_vec_pretty(&self.record)
            .map_err(|source| Error::Encode { what: "the record of a restore in place", source })?;
        Ok(replace(&self.path, &body)?)
    }
}

/// A lock for whoever settles; nothing where there is nothing to settle.
pub(super) fn gate(state: &State) -> Result<Option<FileLock>> {
    let folder = state.path(FOLDER);
    if !folder.is_dir() {
        return Ok(None);
    }
    Ok(Some(FileLock::exclusive(&folder.join("gate"))?))
}

/// All records, also those of living restores.
pub(super) fn all(state: &State) -> Result<Vec<Journal>> {
    let folder = state.path(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", &folder)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", &folder))?.path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let Some(body) = read_optional(&path)? else { continue };
        let unread = || {
            Error::refused(
                format!("{} is not the record of a restore in place", path.display()),
                "see that the live data is of one time, then remove that file",
            )
        };
        let record: Record = serde_json::from_slice(&body).map_err(|_| unread())?;
        if record.format != 1 {
            return Err(unread());
        }
        found.push(Journal { path, record });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}
