//! Why a stream's own work failed, and how that is said.

use std::io;
use std::path::Path;

use lifeboat_recovery::ports::LogError;

use crate::sqlite::CaptureError;
use crate::sqlite::open::{self, Live};

/// Why.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite's word.
    Sqlite(rusqlite::Error),
    /// A file of the database, or of our own state.
    Io(io::Error),
    /// The database cannot be opened again.
    Open(CaptureError),
    /// One sentence.
    Log(&'static str),
    /// Somebody asked to stop.
    Cancelled,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<io::ErrorKind> for Failure {
    fn from(kind: io::ErrorKind) -> Failure {
        Failure::Io(kind.into())
    }
}

impl Failure {
    /// As the flow gets it.
    pub fn tell(self, live: &Live) -> LogError {
        match self {
            Failure::Sqlite(error) => capture(open::explain(live, error), true),
            Failure::Open(error) => capture(error, true),
            Failure::Io(error) => LogError::Lost {
                what: format!("cannot follow {}", live.named.display()),
                source: Some(error.into()),
            },
            Failure::Log(what) => LogError::Lost { what: what.to_owned(), source: None },
            Failure::Cancelled => {
                LogError::Lost { what: "stopped on request".to_owned(), source: None }
            }
        }
    }
}

/// A failed look at the database. Where it was streamed before, what is missing may come back.
pub(super) fn capture(error: CaptureError, streamed: bool) -> LogError {
    match error {
        CaptureError::Unfit { what, hint } => LogError::Unfit { what, hint },
        CaptureError::Missing { what } if !streamed => LogError::Unfit {
            what: format!("{what} is missing"),
            hint: "check `sqlite = { path = … }` in the plan".to_owned(),
        },
        CaptureError::Busy { what, hint } => {
            LogError::Lost { what: format!("{what} ({hint})"), source: None }
        }
        other => {
            let what = other.to_string();
            LogError::Lost { what, source: Some(other.into()) }
        }
    }
}

/// The state on disk cannot be kept.
pub(super) fn state(folder: &Path, error: io::Error) -> LogError {
    LogError::Lost {
        what: format!("cannot keep the stream's state in {}", folder.display()),
        source: Some(error.into()),
    }
}
