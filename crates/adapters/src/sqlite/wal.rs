//! WAL mode: one read transaction for the whole copy; writers go on and never wait. The log cannot
//! start over meanwhile, so it grows by what is written during the copy.
//!
//! The manifest is read at the same time over a second connection that is proven to see the same
//! state: `data_version`, read there before the first transaction began and inside its own, is the
//! same, so nobody committed in between. Where writers are too quick for that, the manifest is
//! read after the pages inside the first transaction.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rusqlite::Connection;

use super::CaptureError;
use super::capture::{Copied, Halt, Sink, Surroundings, data_version, is_wal, stream};
use super::open::{self, Live};
use super::survey::{Findings, Gate, Step, Survey};

/// How the manifest calls this way.
pub(super) const METHOD: &str = "wal-snapshot";
/// Tries to see the same state twice.
const TWINS: u32 = 50;

/// Copies the database inside one read transaction.
pub(super) fn copy(
    live: &Live,
    connection: Connection,
    around: &Surroundings<'_>,
    sink: &mut Sink<'_>,
) -> Result<Copied, Halt> {
    let explain = |error| open::explain(live, error);
    let twin = open::open(live, around.clock, around.options.patience)?;
    let (began, same) = begin(&connection, &twin, around).map_err(explain)?;
    if !is_wal(&connection).map_err(explain)? {
        return Err(Halt::Changed);
    }
    let stop = AtomicBool::new(false);
    let mut go_on = || !stop.load(Ordering::Relaxed) && !around.cancel.is_cancelled();
    let findings = if same {
        let (streamed, surveyed) = std::thread::scope(|scope| {
            let halt = &stop;
            let surveyor = scope.spawn(move || survey(&twin, around, halt));
            let streamed = stream(live, &connection, &mut go_on, sink);
            stop.fetch_or(!matches!(streamed, Ok(true)), Ordering::SeqCst);
            let surveyed = surveyor.join();
            (streamed, surveyed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let surveyed = surveyed.map_err(explain)?;
        streamed?.then_some(surveyed).flatten()
    } else {
        drop(twin);
        if stream(live, &connection, &mut go_on, sink)? {
            survey(&connection, around, &stop).map_err(explain)?
        } else {
            None
        }
    };
    let findings = findings.ok_or(CaptureError::Cancelled)?;
    Ok(Copied { findings, began, method: METHOD, blocked: None })
}

/// Begins a read transaction, and a second one on the twin; true if both see the same state.
fn begin(
    connection: &Connection,
    twin: &Connection,
    around: &Surroundings<'_>,
) -> rusqlite::Result<(Timestamp, bool)> {
    let mut tries = 0;
    loop {
        let before = open::patiently(around.clock, around.options.patience, || data_version(twin))?;
        let began = around.clock.wall();
        around.begin(connection)?;
        let same = around.begin(twin)? == before;
        tries += 1;
        if same || tries == TWINS {
            return Ok((began, same));
        }
        connection.execute_batch("ROLLBACK")?;
        twin.execute_batch("ROLLBACK")?;
    }
}

/// Reads the manifest to its end; `None` if it was told to stop.
fn survey(
    connection: &Connection,
    around: &Surroundings<'_>,
    stop: &AtomicBool,
) -> rusqlite::Result<Option<Findings>> {
    let mut survey = Survey::new(around.options.newest_change.clone());
    let mut gate = || {
        let halt = stop.load(Ordering::Relaxed) || around.cancel.is_cancelled();
        if halt { Gate::Stop } else { Gate::Go }
    };
    match survey.step(connection, &mut gate) {
        Ok(Step::Done) => Ok(Some(survey.finish())),
        Ok(Step::Paused | Step::Stopped) => Ok(None),
        Err(error) => {
            stop.store(true, Ordering::SeqCst);
            Err(error)
        }
    }
}
