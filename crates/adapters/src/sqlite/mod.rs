//! SQLite: captures a live database without stalling or changing it, checks a restored copy
//! against the manifest of its capture, and swaps a copy with the live database.
//!
//! - [`SqliteSource`] reads production. In WAL mode the whole copy is one read transaction and no
//!   writer waits; with a rollback journal it is read in short pieces between two transactions of
//!   others, and only after three tries under one shared lock, whose length is predicted and
//!   limited. Copy and manifest are of one and the same state of the database.
//! - [`SqliteEngine`] looks at a restored copy and changes no byte of it, but where it brings it along
//!   a journal.
//! - [`SqliteLog`] streams what is committed, so that a base is brought to any later second.
//! - [`SqliteInPlace`] replaces the live database in an order that leaves, wherever it is cut off,
//!   either the whole old state or the whole new one under the database's name.
//!
//! How fingerprints are computed stands in [`fingerprint`].

mod ahead;
mod capture;
mod engine;
mod exchange;
pub mod fingerprint;
mod holders;
mod in_place;
mod judge;
mod medium;
mod moves;
mod open;
mod pages;
mod query;
mod recover;
mod rollback;
mod source;
pub mod stream;
mod survey;
mod tables;
mod unchanged;
mod wal;

use std::path::PathBuf;
use std::time::Duration;

pub use capture::{Captured, Sink, capture};
pub use engine::{QUESTION_LIMIT, SqliteEngine};
pub use in_place::SqliteInPlace;
pub use moves::{FileSystem, Moves};
pub use source::SqliteSource;
pub use stream::SqliteLog;

/// Database files up to this size, in bytes, are cut into blobs of [`SMALL_CUT`], larger ones into
/// [`LARGE_CUT`].
pub const CUT_LIMIT: u64 = 64 << 30;
/// Blob size for databases up to [`CUT_LIMIT`], bytes.
pub const SMALL_CUT: u32 = 64 << 10;
/// Blob size for databases above [`CUT_LIMIT`], bytes.
pub const LARGE_CUT: u32 = 256 << 10;

/// The column whose largest value tells the newest change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestChange {
    /// Table.
    pub table: String,
    /// Column.
    pub column: String,
}

/// A live database and how it is captured.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database's path; may be a symbolic link.
    pub path: PathBuf,
    /// The column that tells the newest change, if the plan names one.
    pub newest_change: Option<NewestChange>,
    /// The longest that writers may be held up in rollback-journal mode.
    pub max_block: Duration,
    /// The longest wait for other processes' locks.
    pub patience: Duration,
    /// The folder where a stream of the same database keeps its state, so that a capture knows its
    /// position in the journal.
    pub stream: Option<PathBuf>,
}

impl SqliteOptions {
    /// The defaults: five seconds of blocking, ten of patience.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SqliteOptions {
            path: path.into(),
            newest_change: None,
            max_block: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            stream: None,
        }
    }
}

/// Why a database was not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The database is not there.
    #[error("{what} is missing")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// It is not what the plan says, or not in a state to be read.
    #[error("{what}")]
    Unfit {
        /// One sentence.
        what: String,
        /// What mends it.
        hint: String,
    },
    /// Other processes hold it, or it would have to be held, too long.
    #[error("{what}")]
    Busy {
        /// One sentence.
        what: String,
        /// What mends it.
        hint: String,
    },
    /// Reading failed.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The taker of the bytes failed.
    #[error("cannot store the copy")]
    Sink(#[source] std::io::Error),
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}
