//! Rollback-journal mode, where a reader's lock makes writers wait.
//!
//! Three tries read in short pieces: each piece holds a shared lock for some milliseconds, and
//! finds by `data_version` whether anybody committed since the try began; if so the try is void.
//! Bytes leave for the sink between the pieces, so that a slow store holds up nobody. Should all
//! three be void, one last pass holds the lock from beginning to end. Its length is predicted from
//! what the tries measured; above `max_block` it is refused, and it is given up should it last
//! longer after all.

use std::io::{self, Read};
use std::time::Duration;

use rusqlite::Connection;

use super::CaptureError;
use super::capture::{Copied, Halt, Sink, Surroundings, extent, is_wal, stream};
use super::open::{self, Live};
use super::pages;
use super::survey::{Gate, Step, Survey};

/// Tries in pieces.
const TRIES: u32 = 3;
/// The longest that one piece should hold the lock.
const HOLD: Duration = Duration::from_millis(15);
/// Pause between two pieces that nothing else separates.
const GAP: Duration = Duration::from_millis(2);
/// The most bytes read in one piece.
const PIECE: usize = 4 << 20;

/// Copies the database in pieces, or under one lock.
pub(super) fn copy(
    live: &Live,
    connection: Connection,
    around: &Surroundings<'_>,
    sink: &mut Sink<'_>,
) -> Result<Copied, Halt> {
    let mut pace = Pace::default();
    for number in 1..=TRIES {
        let mut attempt = Attempt::new(live, &connection, around);
        let outcome = attempt.run(sink, &mut pace);
        match outcome {
            Err(Void::Changed) => around.monitor.note(&format!(
                "{} changed while it was read in pieces (try {number} of {TRIES})",
                live.named.display()
            )),
            Err(Void::Mode) => return Err(Halt::Changed),
            Err(Void::Failed(error)) => return Err(Halt::Failed(error)),
            Ok(copied) => return Ok(copied),
        }
    }
    held(live, &connection, around, sink, &pace)
}

/// Why a try in pieces came to nothing.
enum Void {
    Changed,
    /// The database is in WAL mode by now.
    Mode,
    Failed(CaptureError),
}

/// Measured times, for the prediction: those of reading and storing, not of waiting for locks.
#[derive(Debug, Default)]
struct Pace {
    streamed: (u64, Duration),
    surveyed: (u64, Duration),
}

impl Pace {
    /// How long a pass over `bytes` will take, fingerprints included.
    fn predict(&self, bytes: u64) -> Duration {
        let span = |(done, took): (u64, Duration)| match done {
            0 => Duration::ZERO,
            done => took.mul_f64(bytes as f64 / done as f64),
        };
        span(self.streamed) + span(self.surveyed)
    }
}

/// One try in pieces.
struct Attempt<'a> {
    live: &'a Live,
    connection: &'a Connection,
    around: &'a Surroundings<'a>,
    version: Option<i64>,
    longest: Duration,
    /// Time spent waiting for the lock.
    waited: Duration,
}

impl<'a> Attempt<'a> {
    fn new(live: &'a Live, connection: &'a Connection, around: &'a Surroundings<'a>) -> Self {
        let (version, longest, waited) = (None, Duration::ZERO, Duration::ZERO);
        Attempt { live, connection, around, version, longest, waited }
    }

    fn run(&mut self, sink: &mut Sink<'_>, pace: &mut Pace) -> Result<Copied, Void> {
        let began = self.around.clock.wall();
        let mut survey = Survey::new(self.around.options.newest_change.clone());
        let (extent, mode) =
            self.hold(|connection, _| Ok((extent(connection)?, is_wal(connection)?)))?;
        if mode {
            return Err(Void::Mode);
        }
        // A first look at the rows, so that their pace is known even if the pages never succeed.
        let mut done = self.survey(&mut survey, pace)?;
        self.pages(extent, sink, pace)?;
        while done != Step::Done {
            self.around.clock.sleep(GAP);
            done = self.survey(&mut survey, pace)?;
        }
        let findings = survey.finish();
        Ok(Copied { findings, began, method: "batched", blocked: Some(self.longest) })
    }

    /// Reads rows for the length of one piece.
    fn survey(&mut self, survey: &mut Survey, pace: &mut Pace) -> Result<Step, Void> {
        let cancel = self.around.cancel;
        let limit = self.around.options.max_block;
        let (before, start) = (survey.bytes(), self.worked());
        let step = self.hold(|connection, held| {
            survey.step(connection, &mut || match held() {
                _ if cancel.is_cancelled() => Gate::Stop,
                span if span > limit => Gate::Stop,
                span if span > HOLD => Gate::Pause,
                _ => Gate::Go,
            })
        })?;
        pace.surveyed.0 += survey.bytes() - before;
        pace.surveyed.1 += self.worked().saturating_sub(start);
        match step {
            Step::Stopped if cancel.is_cancelled() => Err(Void::Failed(CaptureError::Cancelled)),
            Step::Stopped => Err(Void::Failed(too_long(self.live, limit, None))),
            other => Ok(other),
        }
    }

    fn pages(
        &mut self,
        (page_size, last): (u32, u32),
        sink: &mut Sink<'_>,
        pace: &mut Pace,
    ) -> Result<(), Void> {
        let start = self.worked();
        let mut pieces =
            Pieces { attempt: self, next: 1, last, buffer: Vec::new(), given: 0, void: None };
        let taken = sink(&mut pieces);
        let (next, finished, void) = (pieces.next, pieces.is_finished(), pieces.void.take());
        pace.streamed.0 += u64::from(next - 1) * u64::from(page_size);
        pace.streamed.1 += self.worked().saturating_sub(start);
        if let Some(void) = void {
            return Err(void);
        }
        let failed = |error| Void::Failed(CaptureError::Sink(error));
        taken.map_err(failed)?;
        if !finished {
            return Err(failed(io::Error::other("the copy was not taken to its end")));
        }
        Ok(())
    }

    /// A clock that stands still while the lock is waited for.
    fn worked(&self) -> Duration {
        self.around.clock.monotonic().saturating_sub(self.waited)
    }

    /// Does `work` under a short shared lock, if the database is still the one the try began with.
    /// `work` may ask how long the lock is held.
    fn hold<T>(
        &mut self,
        work: impl FnOnce(&Connection, &dyn Fn() -> Duration) -> rusqlite::Result<T>,
    ) -> Result<T, Void> {
        if self.around.cancel.is_cancelled() {
            return Err(Void::Failed(CaptureError::Cancelled));
        }
        let explain = |error| Void::Failed(open::explain(self.live, error));
        let start = self.around.clock.monotonic();
        let version = self.around.begin(self.connection).map_err(explain)?;
        self.waited += self.around.clock.monotonic().saturating_sub(start);
        let outcome = self.locked(version, work);
        let ended = self.connection.execute_batch("ROLLBACK");
        let outcome = outcome.map_err(explain)?;
        ended.map_err(explain)?;
        outcome.ok_or(Void::Changed)
    }

    fn locked<T>(
        &mut self,
        version: i64,
        work: impl FnOnce(&Connection, &dyn Fn() -> Duration) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let clock = self.around.clock;
        let start = clock.monotonic();
        let held = || clock.monotonic().saturating_sub(start);
        if *self.version.get_or_insert(version) != version {
            return Ok(None);
        }
        let done = work(self.connection, &held)?;
        self.longest = self.longest.max(held());
        Ok(Some(done))
    }
}

/// The pages in pieces; ends early, with the reason in `void`, when the database changed.
struct Pieces<'t, 'a> {
    attempt: &'t mut Attempt<'a>,
    next: u32,
    last: u32,
    buffer: Vec<u8>,
    given: usize,
    void: Option<Void>,
}

impl Pieces<'_, '_> {
    fn is_finished(&self) -> bool {
        self.next > self.last && self.given == self.buffer.len()
    }

    fn fill(&mut self) -> Result<(), Void> {
        self.buffer.clear();
        self.given = 0;
        let (range, buffer) = ((self.next, self.last), &mut self.buffer);
        self.next = self.attempt.hold(|connection, held| {
            pages::batch(connection, range, PIECE, buffer, &mut || held() > HOLD)
        })?;
        Ok(())
    }
}

impl Read for Pieces<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let due = self.given == self.buffer.len() && self.next <= self.last && self.void.is_none();
        if due && let Err(void) = self.fill() {
            self.void = Some(void);
            self.buffer.clear();
        }
        let ready = &self.buffer[self.given..];
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.given += count;
        Ok(count)
    }
}

/// The last pass: one shared lock from beginning to end.
fn held(
    live: &Live,
    connection: &Connection,
    around: &Surroundings<'_>,
    sink: &mut Sink<'_>,
    pace: &Pace,
) -> Result<Copied, Halt> {
    let limit = around.options.max_block;
    let predicted = pace.predict(live.size);
    if predicted > limit {
        return Err(too_long(live, limit, Some(predicted)).into());
    }
    around.monitor.note(&format!(
        "{} is written to all the time: reading it under one lock, about {} ms",
        live.named.display(),
        predicted.as_millis()
    ));
    let explain = |error| Halt::Failed(open::explain(live, error));
    let began = around.clock.wall();
    around.begin(connection).map_err(explain)?;
    let start = around.clock.monotonic();
    let span = || around.clock.monotonic().saturating_sub(start);
    let copied = under_lock(live, connection, around, sink, &span);
    let blocked = span();
    connection.execute_batch("ROLLBACK").map_err(explain)?;
    let findings = copied?.finish();
    Ok(Copied { findings, began, method: "shared-lock", blocked: Some(blocked) })
}

fn under_lock(
    live: &Live,
    connection: &Connection,
    around: &Surroundings<'_>,
    sink: &mut Sink<'_>,
    held: &dyn Fn() -> Duration,
) -> Result<Survey, Halt> {
    let explain = |error| open::explain(live, error);
    if is_wal(connection).map_err(explain)? {
        return Err(Halt::Changed);
    }
    let limit = around.options.max_block;
    let stopped = || match around.cancel.is_cancelled() {
        true => CaptureError::Cancelled,
        false => too_long(live, limit, None),
    };
    let go_on = || !around.cancel.is_cancelled() && held() <= limit;
    if !stream(live, connection, &mut { go_on }, sink)? {
        return Err(stopped().into());
    }
    let mut survey = Survey::new(around.options.newest_change.clone());
    let mut gate = || if go_on() { Gate::Go } else { Gate::Stop };
    match survey.step(connection, &mut gate).map_err(explain)? {
        Step::Done => Ok(survey),
        Step::Paused | Step::Stopped => Err(stopped().into()),
    }
}

fn too_long(live: &Live, limit: Duration, predicted: Option<Duration>) -> CaptureError {
    let name = live.named.display();
    let limit = limit.as_secs_f64();
    let what = match predicted {
        Some(span) => format!(
            "{name} is written to all the time, and reading it under one lock would hold up its \
             writers for about {:.1} s, more than max_block ({limit:.1} s)",
            span.as_secs_f64()
        ),
        None => {
            format!("reading {name} held up its writers for max_block ({limit:.1} s), given up")
        }
    };
    CaptureError::Busy {
        what,
        hint:
            "switch the database to WAL (`PRAGMA journal_mode=WAL`), raise max_block, or back up \
               at a quieter time"
                .to_owned(),
    }
}
