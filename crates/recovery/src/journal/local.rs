//! What a host keeps of a component's journal: `.lifeboat/journal/COMPONENT/`.
//!
//! | file | what |
//! |---|---|
//! | `lock` | held by the one stream of this component on this host |
//! | `head.json` | the newest stored object, and the facts of the last range or gap |
//! | `queue/` | objects that are about to be stored, or wait for a tier ([`super::queue`]) |
//! | `index/LINEAGE.jsonl` | header, size and hash of each stored object that is in no pack yet |
//!
//! Losing it loses nothing that is in a tier: the head is read back from there.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lifeboat_model::chain::Hash;
use lifeboat_model::journal::{Head, Header};
use serde::{Deserialize, Serialize};

use super::{JournalError, Result};
use crate::ledger::remote::safe_name;
use crate::ports::LogFacts;
use crate::state::{FileLock, State, at, read_optional, replace};

/// The folder of a component's local state.
pub fn local_folder(state: &State, component: &str) -> PathBuf {
    state.path(below(component))
}

fn below(component: &str) -> String {
    format!("journal/{}", safe_name(component))
}

/// The end of the stored journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct End {
    /// Format number of the file.
    pub format: u32,
    /// The lineage of the newest chain.
    pub lineage: String,
    /// Its newest object.
    pub head: Head,
    /// The facts of its last range or gap.
    pub facts: LogFacts,
    /// The instant that its last range or keepalive proves.
    #[serde(default)]
    pub proven: Option<Timestamp>,
}

/// A line of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Indexed {
    /// Stored size, bytes.
    pub size: u64,
    /// SHA-256 of the stored bytes.
    pub sha256: Hash,
    /// The header.
    pub header: Header,
}

/// The open local state; nobody else on this host streams the component meanwhile.
#[derive(Debug)]
pub(super) struct Local {
    folder: PathBuf,
    /// Held while the index is written.
    pub index: Arc<Mutex<()>>,
    _lock: FileLock,
}

impl Local {
    /// Opens it, or says that it is locked.
    pub fn open(state: &State, component: &str) -> Result<Local> {
        let folder = state.make(&below(component))?;
        for name in ["queue", "index", "packing", "packed"] {
            state.make(&format!("{}/{name}", below(component)))?;
        }
        match FileLock::try_exclusive(&folder.join("lock"))? {
            Some(lock) => Ok(Local { folder, index: Arc::default(), _lock: lock }),
            None => Err(JournalError::Locked { component: component.to_owned() }),
        }
    }

    /// A file below.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// The end of what is stored; `Err` with a sentence if the file cannot be understood.
    pub fn end(&self) -> Result<Option<End>> {
        let path = self.path("head.json");
        let Some(body) = read_optional(&path)? else { return Ok(None) };
        match serde_json::from_slice::<End>(&body) {
            Ok(end) if end.format == 1 => Ok(Some(end)),
            Ok(end) => {
                Err(JournalError::LocalState(format!("head.json has format {}", end.format)))
            }
            Err(error) => Err(JournalError::LocalState(format!("head.json: {error}"))),
        }
    }

    /// Remembers it, durably.
    pub fn set_end(&self, end: &End) -> Result<()> {
        let body = serde_json::to_vec(end)
            .map_err(|source| JournalError::Encode { what: "the head", source })?;
        Ok(replace(&self.path("head.json"), &body)?)
    }

    /// Adds a stored object to the index, durably.
    pub fn add_to_index(&self, lineage: &str, entry: &Indexed) -> Result<()> {
        let path = self.path(format!("index/{lineage}.jsonl"));
        let mut line = serde_json::to_vec(entry)
            .map_err(|source| JournalError::Encode { what: "the index", source })?;
        line.push(b'\n');
        let _index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(at("open", &path))?;
        file.write_all(&line).and_then(|()| file.sync_data()).map_err(at("write", &path))?;
        Ok(())
    }
}

/// The lineages that the index of a component knows.
pub(super) fn indexed_lineages(folder: &Path) -> Result<Vec<String>> {
    let index = folder.join("index");
    let mut found = Vec::new();
    let entries = match fs::read_dir(&index) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(at("read", &index)(e).into()),
    };
    for entry in entries {
        let name = entry.map_err(at("read", &index))?.file_name();
        found.extend(name.to_str().and_then(|n| n.strip_suffix(".jsonl")).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

/// The objects of a lineage that the index knows, in the order of their numbers. A line that a crash
/// tore is passed over: its object is found in the tier.
pub(super) fn index_of(folder: &Path, lineage: &str) -> Result<Vec<Indexed>> {
    let path = folder.join(format!("index/{lineage}.jsonl"));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(at("read", &path)(e).into()),
    };
    let mut found: Vec<Indexed> = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(at("read", &path))?;
        if let Ok(entry) = serde_json::from_slice::<Indexed>(&line) {
            found.push(entry);
        }
    }
    found.sort_by_key(|entry| entry.header.seq);
    found.dedup_by_key(|entry| entry.header.seq);
    Ok(found)
}
