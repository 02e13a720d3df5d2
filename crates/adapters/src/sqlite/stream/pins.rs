//! Our own connections to a database in WAL mode: two that take turns in holding a read
//! transaction, and one for the write lock. None of them ever writes.
//!
//! **What a held read transaction is worth.** It holds one of SQLite's read marks.
//! - Mark 1 to 4: the log cannot start over while it is held, and nothing behind the mark is copied
//!   into the database.
//! - Mark 0, which a reader gets when the whole log is in the database: the log may start over,
//!   but nothing more is copied into the database while it is held. So what a new
//!   generation holds stays in the log from its first frame on, and the old generation ended with what
//!   the transaction sees: had anything been added to it, it could not have started over.
//!
//! Hence no frame is ever lost to a stream that holds a transaction all the time and lets go of one
//! only after it has read everything up to it: at most one new generation follows, and
//! it is whole. That needs no table in the database. The next transaction begins before
//! the last one ends.

use std::time::Duration;

use lifeboat_vault::Clock;
use rusqlite::{Connection, ErrorCode, ffi};

use crate::sqlite::CaptureError;
use crate::sqlite::capture::data_version;
use crate::sqlite::open::{self, Live};

/// How the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Look {
    /// Committed frames in it.
    pub frames: u32,
    /// How many of them are in the database.
    pub copied: u32,
}

/// See the module.
pub(super) struct Pins {
    holders: [Connection; 2],
    held: Option<usize>,
    writer: Connection,
    /// How the log stood when the present transaction began, if all of it was in the database then:
    /// only then may a new generation follow.
    pub rest: Option<u32>,
}

impl Pins {
    /// Opens the connections; nothing is held yet.
    pub fn open(live: &Live, clock: &dyn Clock, patience: Duration) -> Result<Pins, CaptureError> {
        let open = || open::open_beside(live, clock, patience);
        let (holders, writer) = ([open()?, open()?], open()?);
        // Only so that it may take the lock.
        writer
            .pragma_update(None, "query_only", false)
            .map_err(|error| open::explain(live, error))?;
        Ok(Pins { holders, held: None, writer, rest: None })
    }

    /// The connection that is in no transaction.
    fn free(&self) -> &Connection {
        &self.holders[self.next()]
    }

    fn next(&self) -> usize {
        self.held.map_or(0, |held| 1 - held)
    }

    /// The connection whose transaction is held; before the first one any.
    pub fn held(&self) -> &Connection {
        &self.holders[self.held.unwrap_or(0)]
    }

    /// Asks how the log stands; `None` if the database is not in WAL mode.
    pub fn look(&self) -> rusqlite::Result<Option<Look>> {
        ask(self.free(), "PRAGMA main.wal_checkpoint(NOOP)")
    }

    /// Copies into the database what no transaction needs otherwise. Waits for nobody.
    pub fn checkpoint(&self) -> rusqlite::Result<Option<Look>> {
        ask(self.free(), "PRAGMA main.wal_checkpoint(PASSIVE)")
    }

    /// Holds the newest state from now on instead of the one before. Everything up to `read` frames
    /// was read, and the one before sees no more than that.
    pub fn roll(&mut self, read: u32) -> rusqlite::Result<()> {
        let before = self.look()?;
        let next = self.next();
        begin(&self.holders[next])?;
        if let Some(held) = self.held.replace(next) {
            self.holders[held].execute_batch("ROLLBACK")?;
        }
        let after = self.look()?;
        let settled = before
            .filter(|look| before == after && look.frames == look.copied && look.frames == read);
        self.rest = settled.map(|look| look.frames);
        Ok(())
    }

    /// Takes the write lock, if it is free.
    pub fn lock(&self) -> rusqlite::Result<bool> {
        match self.writer.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => Ok(true),
            Err(error) if is_busy(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives it back.
    pub fn unlock(&self) -> rusqlite::Result<()> {
        self.writer.execute_batch("ROLLBACK")
    }

    /// Brings what was copied into the database to the disk, so that a checkpoint under the write lock
    /// has little left to wait for. By SQLite's own descriptor: to close another one would drop
    /// its locks. Only ever a help: the checkpoint itself syncs what counts.
    #[allow(unsafe_code)]
    pub fn sync(&self) {
        // SAFETY: SQLite's documented interface: the pointer it gives is that of an open file of
        // this connection, which nobody else uses while we have it borrowed.
        unsafe {
            let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
            let code = ffi::sqlite3_file_control(
                self.free().handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast(),
            );
            if code != ffi::SQLITE_OK || file.is_null() || (*file).pMethods.is_null() {
                return;
            }
            if let Some(sync) = (*(*file).pMethods).xSync {
                sync(file, ffi::SQLITE_SYNC_NORMAL);
            }
        }
    }
}

/// Begins a read transaction and reads, which fixes what it sees.
fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN")?;
    data_version(connection).map(|_| ()).inspect_err(|_| {
        // Nothing was read yet; should this fail too, the next BEGIN says so.
        let _ = connection.execute_batch("ROLLBACK");
    })
}

fn ask(connection: &Connection, sql: &str) -> rusqlite::Result<Option<Look>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row([], |row| {
        let (frames, copied) = (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
        let both = u32::try_from(frames).ok().zip(u32::try_from(copied).ok());
        Ok(both.map(|(frames, copied)| Look { frames, copied }))
    })
}

/// Others hold a lock at this moment.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}
