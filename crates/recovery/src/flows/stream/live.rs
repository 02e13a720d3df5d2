//! What a running stream writes down about itself for `status` and `doctor`, and the wish for a base
//! that outlives it.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::position::LogPosition;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::journal::local_folder;
use crate::report::seconds;
use crate::state::{State, StateError, create_new, read_optional, replace, sync_parent};

const LIVE: &str = "stream.json";
const WANTED: &str = "base-wanted";

/// How a stream stands, as it said last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Number of the format.
    pub format: u32,
    /// The process.
    pub pid: u32,
    /// When it began.
    pub since: Timestamp,
    /// When this was written.
    pub time: Timestamp,
    /// Up to where it has taken over the log.
    pub at: Option<LogPosition>,
    /// The source is joined.
    pub joined: bool,
    /// Bytes that the source has written and not yet delivered.
    pub behind: Option<u64>,
    /// How long the source (or the spool) keeps what no tier takes, seconds.
    pub room_seconds: Option<f64>,
    /// Objects that wait here for a tier.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// What must be said aloud.
    pub warnings: Vec<String>,
    /// Why it does not get on.
    pub problem: Option<String>,
}

impl Live {
    /// Writes it down.
    pub fn write(&self, state: &State, component: &str) -> Result<()> {
        let path = local_folder(state, component).join(LIVE);
        let body = serde_json::to_vec(self)
            .map_err(|source| Error::Encode { what: "how a stream stands", source })?;
        Ok(replace(&path, &body)?)
    }

    /// What the last stream of a component wrote.
    pub fn read(state: &State, component: &str) -> Result<Option<Live>> {
        let body = read_optional(&local_folder(state, component).join(LIVE))?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Room, as reports have it.
    pub fn room(span: Option<Duration>) -> Option<f64> {
        span.map(seconds)
    }
}

/// Notes that only a new base makes what is streamed from here on restorable.
pub fn want_base(state: &State, component: &str, why: &str) -> Result<()> {
    create_new(&local_folder(state, component).join(WANTED), why.as_bytes())?;
    Ok(())
}

/// Why a base is wanted, if one is.
pub fn wanted_base(state: &State, component: &str) -> Result<Option<String>> {
    let body = read_optional(&local_folder(state, component).join(WANTED))?;
    Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
}

/// There is one.
pub fn base_taken(state: &State, component: &str) -> Result<()> {
    let path = local_folder(state, component).join(WANTED);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(sync_parent(&path)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StateError { verb: "remove", path, source }.into()),
    }
}
