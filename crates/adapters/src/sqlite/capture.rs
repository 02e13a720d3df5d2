//! One capture: looks at the live database, chooses the way by its journal mode, and tries again
//! where the database changed under a try.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::manifest::SqliteContent;
use lifeboat_vault::{Cancel, Clock, Monitor};
use rusqlite::Connection;

use super::open::{self, Live};
use super::pages::{ALL_PAGES, Snapshot};
use super::survey::Findings;
use super::{CaptureError, SqliteOptions, rollback, wal};

/// Takes the bytes of a copy. Called again, with the whole copy, when a try has to be repeated: the
/// last call is the one that counts.
pub type Sink<'a> = dyn FnMut(&mut dyn Read) -> std::io::Result<()> + 'a;

/// What the flow gives to a capture.
pub(super) struct Surroundings<'a> {
    pub clock: &'a dyn Clock,
    pub monitor: &'a dyn Monitor,
    pub cancel: &'a Cancel,
    pub options: &'a SqliteOptions,
}

impl Surroundings<'_> {
    /// Begins a read transaction and reads, which takes its lock and fixes the state that it sees;
    /// waits for other processes' locks. Returns the [`data_version`].
    pub fn begin(&self, connection: &Connection) -> rusqlite::Result<i64> {
        open::patiently(self.clock, self.options.patience, || {
            connection.execute_batch("BEGIN")?;
            data_version(connection).inspect_err(|_| {
                // Nothing was read yet; should this fail too, the next BEGIN says so.
                let _ = connection.execute_batch("ROLLBACK");
            })
        })
    }
}

/// A finished capture.
#[derive(Debug, Clone)]
pub struct Captured {
    /// What the source contained, read in the same state as the copy.
    pub content: SqliteContent,
    /// Wall time just before the transaction that the copy equals.
    pub complete_up_to: Timestamp,
    /// The longest that a lock was held in one piece; `None` in WAL mode, where nobody waits.
    pub blocked: Option<Duration>,
    /// The file that was read, symbolic links resolved.
    pub real_path: PathBuf,
}

/// A way's result.
pub(super) struct Copied {
    pub findings: Findings,
    pub began: Timestamp,
    pub method: &'static str,
    pub blocked: Option<Duration>,
}

/// Why a try ended without a copy.
pub(super) enum Halt {
    /// The database changed in between; another try may do.
    Changed,
    /// Final.
    Failed(CaptureError),
}

impl From<CaptureError> for Halt {
    fn from(error: CaptureError) -> Self {
        Halt::Failed(error)
    }
}

/// Times that the journal mode or the file itself may change before a capture gives up.
const UPHEAVALS: u32 = 5;

/// Captures a database: its pages go to `sink`, what it contained is returned.
pub fn capture(
    options: &SqliteOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
    cancel: &Cancel,
    sink: &mut Sink<'_>,
) -> Result<Captured, CaptureError> {
    let around = Surroundings { clock, monitor, cancel, options };
    for _ in 0..UPHEAVALS {
        let live = open::examine(&options.path)?;
        let connection = open::open(&live, clock, options.patience)?;
        let mode = open::patiently(clock, options.patience, || is_wal(&connection));
        let way = if mode.map_err(|error| open::explain(&live, error))? {
            wal::copy(&live, connection, &around, sink)
        } else {
            rollback::copy(&live, connection, &around, sink)
        };
        let copied = match way {
            Ok(copied) => copied,
            Err(Halt::Changed) => continue,
            Err(Halt::Failed(error)) => return Err(error),
        };
        if open::examine(&options.path)?.identity != live.identity {
            monitor.note(&format!("{} was replaced while it was read", live.named.display()));
            continue;
        }
        if copied.findings.page_count == 0 {
            monitor.note(&format!("{} is an empty database (0 bytes)", live.named.display()));
        }
        return Ok(finish(&live, copied));
    }
    Err(CaptureError::Busy {
        what: format!(
            "{} was replaced, or its journal mode changed, during every try",
            options.path.display()
        ),
        hint: "back up when the application is not being set up or migrated".to_owned(),
    })
}

fn finish(live: &Live, copied: Copied) -> Captured {
    let Copied { findings, began, method, blocked } = copied;
    let file = live.named.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let rest = SqliteContent {
        source: live.named.display().to_string(),
        file,
        journal_mode: if method == wal::METHOD { "wal" } else { "rollback" }.to_owned(),
        sqlite_version: rusqlite::version().to_owned(),
        method: method.to_owned(),
        blocked_ms: blocked.map_or(0, |span| span.as_millis() as u64),
        page_size: 0,
        page_count: 0,
        user_version: 0,
        application_id: 0,
        encoding: String::new(),
        schema_sha256: String::new(),
        tables: Default::default(),
        foreign_key_violations: None,
        newest_change: None,
        seen: None,
    };
    Captured {
        content: findings.into_content(rest),
        complete_up_to: began,
        blocked,
        real_path: live.real.clone(),
    }
}

/// Gives all pages of the present transaction to the sink; false if `go_on` ended it early.
pub(super) fn stream(
    live: &Live,
    connection: &Connection,
    go_on: &mut dyn FnMut() -> bool,
    sink: &mut Sink<'_>,
) -> Result<bool, CaptureError> {
    let explain = |error| open::explain(live, error);
    let (page_size, page_count) = extent(connection).map_err(explain)?;
    let mut statement = connection.prepare(ALL_PAGES).map_err(explain)?;
    let rows = statement.query([]).map_err(explain)?;
    let mut pages = Snapshot::new(rows, page_size, page_count, go_on);
    let taken = sink(&mut pages);
    if let Some(error) = pages.failure.take() {
        return Err(explain(error));
    }
    if pages.cut_short {
        return Ok(false);
    }
    taken.map_err(CaptureError::Sink)?;
    if !pages.is_finished() {
        return Err(CaptureError::Sink(std::io::Error::other("the copy was not taken to its end")));
    }
    Ok(true)
}

/// The journal mode by the database's own header (bytes 18 and 19), inside the present transaction.
pub(super) fn is_wal(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_dbpage('main') \
               WHERE pgno = 1 AND substr(data, 19, 2) = x'0202'";
    connection.query_row(sql, [], |row| Ok(row.get::<_, i64>(0)? == 1))
}

/// Pages and page size as the present transaction sees them.
pub(super) fn extent(connection: &Connection) -> rusqlite::Result<(u32, u32)> {
    let size = connection.query_row("PRAGMA main.page_size", [], |row| row.get(0))?;
    let count = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0))?;
    Ok((size, count))
}

/// A number that is another one after any commit by somebody else.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA main.data_version", [], |row| row.get(0))
}
