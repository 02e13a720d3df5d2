//! [`SqliteLog`]: a live SQLite database as a stream of the pages that its commits change.
//!
//! - **WAL mode**: committed frames are read from the log about fifty times a second, and a read
//!   transaction of ours is held at all times, so that none of them is overwritten unread
//!   (`pins.rs` has the proof). Frames are believed by their salts and checksums, and only as far as SQLite's
//!   own index says that they are committed.
//! - **Room in the log**: because of that transaction nobody else can start the log over, so
//!   Lifeboat copies it into the database and lets the next writer do it: between two transactions
//!   of others, and where there is no moment between, under the write lock, with little left to copy.
//! - **Any doubt**: the pages are compared with the page map (`map.rs`) under a read
//!   transaction, and what differs is shipped. So at every start, after a log that somebody
//!   else started over, after another file under the same name, and all the time for databases with a
//!   rollback journal, whose change counter is asked instead.
//!
//! Nothing is written into the database, and no file of ours stands beside it. While a
//! stream runs the application cannot leave WAL mode. Of databases that a transaction spans with
//! ATTACH each is right by itself; they are streamed independently.

mod changes;
mod difference;
pub(super) mod facts;
mod failure;
pub(super) mod follow;
mod frames;
mod gather;
mod log;
mod map;
mod pins;
mod room;
mod session;
pub(super) mod sum;
mod tail;

use std::path::PathBuf;

use session::Session;

use super::SqliteOptions;

/// How much a stream keeps in memory, and how long it lets a log grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of pages in one range: about 64 MiB. A larger batch of commits is several ranges.
    pub part: usize,
    /// Frames in the log before room is made: 1000, as SQLite itself has it.
    pub frames: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { part: 64 << 20, frames: 1000 }
    }
}

/// A live SQLite database as a stream; see the module.
pub struct SqliteLog {
    options: SqliteOptions,
    folder: PathBuf,
    limits: Limits,
    session: Option<Session>,
}

impl SqliteLog {
    /// The database of `options`; what the stream has to remember is kept in `folder`, which is its
    /// own (`.lifeboat/journal/COMPONENT/sqlite`).
    pub fn new(options: SqliteOptions, folder: impl Into<PathBuf>) -> SqliteLog {
        SqliteLog { options, folder: folder.into(), limits: Limits::default(), session: None }
    }

    /// With other limits.
    pub fn limited(self, limits: Limits) -> SqliteLog {
        SqliteLog { limits, ..self }
    }
}
