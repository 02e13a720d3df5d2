//! A stream that runs: looks, gathers, and makes ranges.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::ports::{LogContext, LogEvent, LogRange};
use rusqlite::Connection;

use super::changes::Extent;
use super::difference::{Difference, Step, Target};
use super::facts::{self, Facts};
use super::failure::Failure;
use super::follow::Beacon;
use super::gather::Gather;
use super::map::Map;
use super::pins::{Pins, is_busy};
use super::sum::Sum;
use super::tail::{Found, Room, Tail};
use super::{Limits, room};
use crate::sqlite::capture::{data_version, is_wal};
use crate::sqlite::open::{self, Live, beside};
use crate::sqlite::{CaptureError, SqliteOptions};

/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks at a change counter, which take a lock.
const LOOK_ROLLBACK: Duration = Duration::from_millis(200);

/// How the database is followed.
pub(super) enum Mode {
    /// By its write-ahead log.
    Wal(Box<Tail>),
    /// By its change counter; the number that the map is as of.
    Rollback { connection: Connection, version: Option<i64> },
}

/// What is to be shipped.
enum Work {
    Frames(Gather),
    Difference(Difference),
}

/// A batch of commits on its way.
struct Batch {
    work: Work,
    part: u64,
    time: Timestamp,
}

/// See the module.
pub(super) struct Session {
    pub options: SqliteOptions,
    pub live: Live,
    pub mode: Mode,
    pub map: Map,
    pub beacon: Beacon,
    pub limits: Limits,
    /// As the journal calls it.
    pub lineage: String,
    pub notices: VecDeque<String>,
    /// Why the pages are to be compared next.
    pub doubt: Option<String>,
    pub room: room::Plan,
    batch: Option<Batch>,
    /// Where the last range ended.
    position: u64,
    /// The ends of batches that are not known to be durable.
    ends: VecDeque<u64>,
    looked: Timestamp,
}

/// Opens the database in the mode that it has.
pub(super) fn open_mode(
    live: &Live,
    options: &SqliteOptions,
    context: &LogContext<'_>,
) -> Result<Mode, CaptureError> {
    let (clock, patience) = (context.clock, options.patience);
    let connection = open::open(live, clock, patience)?;
    let wal = open::patiently(clock, patience, || is_wal(&connection));
    if !wal.map_err(|error| open::explain(live, error))? {
        return Ok(Mode::Rollback { connection, version: None });
    }
    open::refuse_unwritable(live)?;
    let pins = Pins::open(live, clock, patience)?;
    Ok(Mode::Wal(Box::new(Tail::new(pins, beside(&live.real, "-wal")))))
}

impl Session {
    pub fn new(
        options: SqliteOptions,
        (live, mode): (Live, Mode),
        (map, beacon): (Map, Beacon),
        limits: Limits,
    ) -> Session {
        let (lineage, position) = (map.state().lineage.clone(), map.state().txid);
        Session {
            options,
            live,
            mode,
            map,
            beacon,
            limits,
            lineage,
            notices: VecDeque::new(),
            doubt: None,
            room: room::Plan::default(),
            batch: None,
            position,
            ends: VecDeque::new(),
            looked: Timestamp::UNIX_EPOCH,
        }
    }

    /// Where the stream is.
    pub fn at(&self) -> Position {
        Position::new(0, self.position)
    }

    /// The journal has everything up to `to`. A base is told of whole batches only.
    pub fn durable(&mut self, to: u64) -> std::io::Result<()> {
        let mut whole = None;
        while let Some(end) = self.ends.pop_front_if(|end| *end <= to) {
            whole = Some(end);
        }
        if let Some(whole) = whole {
            let position = Position::new(0, whole);
            self.beacon.durable(LogPosition { lineage: self.lineage.clone(), position })?;
        }
        self.map.durable(to)
    }

    /// Makes the map of a new lineage: reads everything and ships nothing.
    pub fn survey(&mut self, context: &LogContext<'_>) -> Result<(), Failure> {
        let mut difference = self.begin_difference(context)?;
        loop {
            match self.compare(&mut difference, None, context)? {
                Step::Done => break,
                Step::More => {}
                Step::Void => self.map.abandon()?,
                Step::Hopeless => return Err(Failure::Log(HOPELESS)),
            }
        }
        self.finish_difference(&difference);
        self.map.commit(0, difference.extent)?;
        Ok(self.map.fold()?)
    }

    /// The next event.
    pub fn next(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<LogEvent, Failure> {
        if let Some(notice) = self.notices.pop_front() {
            return Ok(LogEvent::Notice(notice));
        }
        let start = context.clock.monotonic();
        while self.batch.is_none() {
            let left = wait.saturating_sub(context.clock.monotonic().saturating_sub(start));
            let due = left.is_zero() || context.cancel.is_cancelled();
            self.look(context)?;
            if let Some(why) = self.doubt.take() {
                if matches!(self.mode, Mode::Wal(_)) {
                    let name = self.live.named.display();
                    context.monitor.note(&format!("{name}: its pages are compared ({why})"));
                }
                let time = context.clock.wall();
                let difference = self.begin_difference(context)?;
                self.batch = Some(Batch { work: Work::Difference(difference), part: 0, time });
            } else if let Some(gather) = self.take_gathered(due) {
                let work = Work::Frames(gather);
                self.batch = Some(Batch { work, part: 0, time: self.looked });
            } else if due {
                return Ok(LogEvent::Idle { at: self.at(), time: self.looked });
            } else {
                self.make_room(context)?;
                let pause = match self.mode {
                    Mode::Wal(_) => LOOK,
                    Mode::Rollback { .. } => LOOK_ROLLBACK,
                };
                context.clock.sleep(pause.min(left));
            }
        }
        self.emit(context)
    }

    /// One look at the database.
    fn look(&mut self, context: &LogContext<'_>) -> Result<(), Failure> {
        if self.doubt.is_some() || self.reopened(context)? {
            return Ok(());
        }
        let now = context.clock.wall();
        let doubt = match &mut self.mode {
            Mode::Wal(tail) => match tail.step(&self.limits)? {
                Found::Doubt(why) => Some(why),
                Found::Nothing | Found::News => None,
                // Nothing is complete up to an instant at which nothing was seen.
                Found::Unseen => return Ok(()),
            },
            Mode::Rollback { connection, version } => {
                match open::patiently(context.clock, self.options.patience, || {
                    data_version(connection)
                }) {
                    Ok(found) if *version == Some(found) => None,
                    Ok(_) => Some("the database was written to"),
                    Err(error) => return Err(Failure::Sqlite(error)),
                }
            }
        };
        match doubt {
            Some(why) => self.doubt = Some(why.to_owned()),
            None => {
                self.looked = now;
                self.beacon.beat(context.clock)?;
            }
        }
        Ok(())
    }

    /// True if another file stands under the database's name, which is then followed.
    fn reopened(&mut self, context: &LogContext<'_>) -> Result<bool, Failure> {
        use std::os::unix::fs::MetadataExt;
        let there = std::fs::metadata(&self.live.named)?;
        if (there.dev(), there.ino()) == self.live.identity {
            return Ok(false);
        }
        self.reopen(context)?;
        let what = format!("another file stands at {} since now", self.live.named.display());
        self.beacon.doubt()?;
        self.notices.push_back(what.clone());
        self.doubt = Some(what);
        Ok(true)
    }

    fn reopen(&mut self, context: &LogContext<'_>) -> Result<(), Failure> {
        self.live = open::examine(&self.options.path).map_err(Failure::Open)?;
        self.mode = open_mode(&self.live, &self.options, context).map_err(Failure::Open)?;
        Ok(())
    }

    /// Fixes the state that is compared.
    fn begin_difference(&mut self, context: &LogContext<'_>) -> Result<Difference, Failure> {
        let switched = match &mut self.mode {
            Mode::Wal(tail) => tail.pins.look().map_err(Failure::Sqlite)?.is_none(),
            Mode::Rollback { connection, .. } => {
                open::patiently(context.clock, self.options.patience, || is_wal(connection))
                    .map_err(Failure::Sqlite)?
            }
        };
        if switched {
            self.reopen(context)?;
        }
        if let Mode::Wal(tail) = &mut self.mode {
            self.beacon.doubt()?;
            tail.anchor(context.clock)?;
        }
        Ok(Difference::default())
    }

    fn compare(
        &mut self,
        difference: &mut Difference,
        payload: Option<&mut Vec<u8>>,
        context: &LogContext<'_>,
    ) -> Result<Step, Failure> {
        let mut target = Target { map: &mut self.map, payload, budget: self.limits.part };
        match &self.mode {
            Mode::Wal(tail) => difference.held(tail.pins.held(), &mut target, context),
            Mode::Rollback { connection, .. } => {
                difference.pieces(connection, &mut target, context)
            }
        }
    }

    fn finish_difference(&mut self, difference: &Difference) {
        if let Mode::Rollback { version, .. } = &mut self.mode {
            *version = difference.version();
        }
    }

    /// What was gathered, if it is time to ship it.
    fn take_gathered(&mut self, due: bool) -> Option<Gather> {
        let Mode::Wal(tail) = &mut self.mode else { return None };
        let full = tail.gather.is_spilled();
        if tail.gather.is_empty() || !(due || full) {
            return None;
        }
        let mut gather = std::mem::take(&mut tail.gather);
        gather.settle(tail.page_size());
        Some(gather)
    }

    /// The next range of the batch on its way.
    fn emit(&mut self, context: &LogContext<'_>) -> Result<LogEvent, Failure> {
        let Some(mut batch) = self.batch.take() else {
            return Err(Failure::Log("there is no batch to ship"));
        };
        let (from, before) = (self.at(), self.map.state().sum);
        let mut payload = Vec::new();
        let (way, extent, done) = match &mut batch.work {
            Work::Frames(gather) => {
                let extent = self.fill(gather, &mut payload)?;
                ("log", extent, gather.is_done())
            }
            Work::Difference(difference) => {
                let step = loop {
                    match self.compare(difference, Some(&mut payload), context)? {
                        Step::Void => {
                            self.map.abandon()?;
                            payload.clear();
                            (batch.part, batch.time) = (0, context.clock.wall());
                        }
                        other => break other,
                    }
                };
                if step == Step::Hopeless {
                    return self.hopeless();
                }
                ("difference", difference.extent, step == Step::Done)
            }
        };
        if done {
            if let Work::Difference(difference) = &batch.work {
                self.finish_difference(difference);
                self.looked = self.looked.max(batch.time);
            }
            if batch.part == 0 && payload.is_empty() && extent == self.map.state().extent {
                self.map.abandon()?;
                return Ok(LogEvent::Idle { at: from, time: batch.time });
            }
            self.map.commit(from.offset + 1, extent)?;
            self.ends.push_back(from.offset + 1);
        }
        self.position = from.offset + 1;
        let after = done.then(|| self.map.state().sum);
        let Extent { page_size, page_count } = extent;
        let facts =
            Facts { page_size, page_count, part: batch.part, before, after, way: way.into() };
        let (to, time) = (self.at(), batch.time);
        if !done {
            batch.part += 1;
            self.batch = Some(batch);
        }
        Ok(LogEvent::Range(LogRange {
            from,
            to,
            time,
            bytes: payload.into(),
            facts: facts.write(),
        }))
    }

    /// Takes pages that were gathered until the payload is full.
    fn fill(&mut self, gather: &mut Gather, payload: &mut Vec<u8>) -> Result<Extent, Failure> {
        let Mode::Wal(tail) = &self.mode else {
            return Err(Failure::Log("frames of a database that has no write-ahead log"));
        };
        let page_size = tail.page_size();
        let mut image = Vec::new();
        while payload.len() < self.limits.part {
            let Some(page) = gather.pop(tail.file(), &mut image, page_size as usize)? else {
                break;
            };
            self.map.stage(page, Sum::of(page, &image))?;
            facts::push(payload, page, &image);
        }
        Ok(Extent { page_size, page_count: gather.page_count })
    }

    /// A database with a rollback journal that is written to all the time.
    fn hopeless(&mut self) -> Result<LogEvent, Failure> {
        self.map.abandon()?;
        self.doubt = Some("the database was written to".to_owned());
        Ok(LogEvent::Notice(HOPELESS.to_owned()))
    }

    fn make_room(&mut self, context: &LogContext<'_>) -> Result<(), Failure> {
        let Mode::Wal(tail) = &mut self.mode else { return Ok(()) };
        let Some(force) = self.room.due(tail, &self.limits, context.clock) else { return Ok(()) };
        let room = match tail.make_room(&self.limits, context.clock, force) {
            Err(Failure::Sqlite(error)) if is_busy(&error) => Room::Later,
            other => other?,
        };
        if let Room::Doubt(why) = room {
            self.doubt = Some(why.to_owned());
        }
        if let Some(notice) = self.room.note(room, tail, &self.limits, context.clock) {
            self.notices.push_back(notice);
        }
        Ok(())
    }
}

const HOPELESS: &str = "the database has no write-ahead log and is written to all the time: it \
    cannot be read without holding up its writers (`PRAGMA journal_mode=WAL` mends that)";
