//! Compares a database with its page map: what is always right, whatever happened to the log.
//!
//! In WAL mode one held read transaction sees one state for as long as it takes, and nobody waits.
//! With a rollback journal the pages are read in short pieces between two transactions of others. A
//! commit in between voids the pass; after three such passes the database is read under one shared
//! lock, if that takes no longer than a writer may be held up.

use std::time::Duration;

use lifeboat_recovery::ports::LogContext;
use rusqlite::Connection;

use super::changes::Extent;
use super::facts;
use super::failure::Failure;
use super::map::Map;
use super::sum::{Sum, lock_page};
use crate::sqlite::capture::{data_version, extent};
use crate::sqlite::open;

const ONE_PAGE: &str = "SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1";
/// Pages between two looks at the clock.
const PAGES_A_LOOK: u32 = 32;
/// How long a piece may hold up writers.
const HOLD: Duration = Duration::from_millis(15);
/// How long writers may be held up in one go where nothing else helps.
const BLOCK: Duration = Duration::from_millis(50);
/// Passes that may be void.
const PASSES: u32 = 3;

/// A comparison under way.
#[derive(Default)]
pub(super) struct Difference {
    next: u32,
    /// The database's size.
    pub extent: Extent,
    /// The state that the pass reads, where it does so in pieces.
    version: Option<i64>,
    void: u32,
    spent: Duration,
    read: u32,
}

/// How a step of a comparison ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All pages are compared.
    Done,
    /// The payload is full, or the time is over.
    More,
    /// Somebody wrote: everything that was found is void.
    Void,
    /// Somebody writes all the time.
    Hopeless,
}

/// Where the pages that differ go.
pub(super) struct Target<'a> {
    /// The map, which is told their new hashes.
    pub map: &'a mut Map,
    /// The pages themselves, as many as fit; `None` if only the map is made.
    pub payload: Option<&'a mut Vec<u8>>,
    /// Bytes that fit.
    pub budget: usize,
}

impl Target<'_> {
    fn take(&mut self, page: u32, image: &[u8]) -> std::io::Result<()> {
        let hash = Sum::of(page, image);
        if self.map.get(page)? == hash {
            return Ok(());
        }
        self.map.stage(page, hash)?;
        if let Some(payload) = &mut self.payload {
            facts::push(payload, page, image);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.payload.as_ref().is_some_and(|payload| payload.len() >= self.budget)
    }
}

impl Difference {
    /// Compares on, in the transaction that `connection` is in, until the payload is full or
    /// `pause` says so; true at the end.
    fn compare(
        &mut self,
        connection: &Connection,
        target: &mut Target<'_>,
        pause: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Failure> {
        if self.next == 0 {
            let (page_size, page_count) = extent(connection).map_err(Failure::Sqlite)?;
            self.extent = Extent { page_size, page_count };
            self.next = 1;
        }
        let lock = lock_page(self.extent.page_size);
        let mut statement = connection.prepare_cached(ONE_PAGE).map_err(Failure::Sqlite)?;
        while self.next <= self.extent.page_count {
            if target.is_full() || (self.next.is_multiple_of(PAGES_A_LOOK) && pause()) {
                return Ok(false);
            }
            if self.next != lock {
                let mut rows = statement.query([self.next]).map_err(Failure::Sqlite)?;
                let row = rows.next().map_err(Failure::Sqlite)?;
                let row = row.ok_or(Failure::Sqlite(rusqlite::Error::QueryReturnedNoRows))?;
                let image = row.get_ref(0).and_then(|cell| Ok(cell.as_blob()?));
                target.take(self.next, image.map_err(Failure::Sqlite)?)?;
            }
            self.next += 1;
            self.read += 1;
        }
        Ok(true)
    }

    /// Compares under a transaction that is held as long as it takes.
    pub fn held(
        &mut self,
        connection: &Connection,
        target: &mut Target<'_>,
        context: &LogContext<'_>,
    ) -> Result<Step, Failure> {
        let mut stop = || context.cancel.is_cancelled();
        let done = self.compare(connection, target, &mut stop)?;
        if context.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        Ok(if done { Step::Done } else { Step::More })
    }

    /// Compares in pieces. Done means that `version` is the state that was read.
    pub fn pieces(
        &mut self,
        connection: &Connection,
        target: &mut Target<'_>,
        context: &LogContext<'_>,
    ) -> Result<Step, Failure> {
        loop {
            if context.cancel.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            let whole = self.void >= PASSES;
            if whole && self.predict() > BLOCK {
                return Ok(Step::Hopeless);
            }
            let start = context.clock.monotonic();
            let step = self.piece(connection, target, context, whole)?;
            self.spent += context.clock.monotonic().saturating_sub(start);
            match step {
                Step::More if !target.is_full() => {}
                Step::Void => {
                    let (void, spent, read) = (self.void + 1, self.spent, self.read);
                    *self = Difference { void, spent, read, ..Difference::default() };
                    return Ok(Step::Void);
                }
                other => return Ok(other),
            }
        }
    }

    /// One piece under a short shared lock, or all of it.
    fn piece(
        &mut self,
        connection: &Connection,
        target: &mut Target<'_>,
        context: &LogContext<'_>,
        whole: bool,
    ) -> Result<Step, Failure> {
        let version = open::patiently(context.clock, Duration::from_secs(1), || {
            connection.execute_batch("BEGIN")?;
            data_version(connection).inspect_err(|_| {
                // Nothing was read yet; should this fail too, the next BEGIN says so.
                let _ = connection.execute_batch("ROLLBACK");
            })
        })
        .map_err(Failure::Sqlite)?;
        let step = if *self.version.get_or_insert(version) == version {
            let start = context.clock.monotonic();
            let mut late = || {
                let held = context.clock.monotonic().saturating_sub(start);
                held > if whole { BLOCK } else { HOLD }
            };
            self.compare(connection, target, &mut late)
                .map(|done| if done { Step::Done } else { Step::More })
        } else {
            Ok(Step::Void)
        };
        connection.execute_batch("ROLLBACK").map_err(Failure::Sqlite)?;
        step
    }

    /// How long one pass takes, by those before it.
    fn predict(&self) -> Duration {
        // Unknown before anything was read.
        let pages = f64::from(self.extent.page_count.max(1));
        self.spent.mul_f64(pages / f64::from(self.read.max(1)))
    }

    /// The state that was read, as the connection's change number says it.
    pub fn version(&self) -> Option<i64> {
        self.version
    }
}
