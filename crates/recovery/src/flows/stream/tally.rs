//! What a stream counts.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::position::{LogPosition, Position};
use serde_json::{Value, json};

use super::lag::Lag;
use crate::env::World;
use crate::journal::{Appended, Standing, Writer};
use crate::ports::{LogEvent, LogHealth};
use crate::report::{Failure, LostPart, StreamedComponent, seconds};
use crate::session::Start;

/// Notes that the report keeps.
const NOTES: usize = 20;
/// Sums go to the ledger so often.
const HOUR: i64 = 3600;

/// Sums since the last ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sums {
    since: Option<Timestamp>,
    from: Option<Position>,
    ranges: u64,
    bytes: u64,
    keepalives: u64,
}

/// See the module.
pub(super) struct Tally {
    pub(super) start: Start,
    /// The source is joined.
    pub(super) joined: bool,
    /// The end of what was taken over.
    pub(super) at: Option<LogPosition>,
    from: Option<Position>,
    pub(super) ranges: u64,
    bytes: u64,
    pub(super) keepalives: u64,
    pub(super) gaps: Vec<LostPart>,
    branches: u64,
    pub(super) reconnects: u64,
    pub(super) health: LogHealth,
    /// Why it does not get on.
    pub(super) problem: Option<String>,
    lag: Lag,
    tiers: Vec<Standing>,
    waiting: u64,
    notes: Vec<String>,
    sums: Sums,
}

impl Tally {
    pub(super) fn new(start: Start) -> Tally {
        Tally {
            start,
            joined: false,
            at: None,
            from: None,
            ranges: 0,
            bytes: 0,
            keepalives: 0,
            gaps: Vec::new(),
            branches: 0,
            reconnects: 0,
            health: LogHealth::default(),
            problem: None,
            lag: Lag::default(),
            tiers: Vec::new(),
            waiting: 0,
            notes: Vec::new(),
            sums: Sums { since: Some(start.wall), ..Sums::default() },
        }
    }

    pub(super) fn note(&mut self, line: &str) {
        if self.notes.len() == NOTES {
            self.notes.remove(0);
        }
        self.notes.push(line.to_owned());
    }

    pub(super) fn began(&mut self, at: Option<LogPosition>, from: Position) {
        self.joined = true;
        self.problem = None;
        self.at = at;
        self.from = self.from.or(Some(from));
        self.sums.from = self.sums.from.or(Some(from));
    }

    pub(super) fn count(&mut self, event: &LogEvent, appended: Appended, now: Timestamp) {
        let to = match event {
            LogEvent::Range(range) => {
                self.ranges += 1;
                self.bytes += range.bytes.len() as u64;
                self.sums.ranges += 1;
                self.sums.bytes += range.bytes.len() as u64;
                if appended == Appended::Stored {
                    let span = now.duration_since(range.time);
                    // A clock that was set back says nothing.
                    self.lag.add(if span.is_negative() {
                        Duration::ZERO
                    } else {
                        span.unsigned_abs()
                    });
                }
                range.to
            }
            LogEvent::Idle { at, .. } => {
                self.keepalives += 1;
                self.sums.keepalives += 1;
                *at
            }
            LogEvent::Branch { to, .. } => {
                self.branches += 1;
                *to
            }
            LogEvent::Gap { from, to, time, why } => {
                let (from, to, time, why) = (Some(*from), *to, *time, why.clone());
                self.gaps.push(LostPart { from, to, time, why });
                to
            }
            LogEvent::Notice(_) => return,
        };
        if let Some(at) = &mut self.at {
            at.position = to;
        }
    }

    /// Asks the writer how the tiers stand.
    pub(super) fn standing(&mut self, writer: &Writer) {
        self.tiers = writer.standing();
        self.waiting = writer.pending().objects as u64;
        self.at = writer.end().or(self.at.take());
    }

    fn proven(&self) -> Option<Timestamp> {
        self.tiers.iter().filter_map(|tier| tier.proven).max()
    }

    /// One line for people.
    pub(super) fn line(&self, now: Timestamp) -> String {
        let at = self.at.as_ref().map_or_else(|| "-".to_owned(), |at| at.position.to_string());
        let lose = match self.proven().map(|proven| now.duration_since(proven)) {
            Some(span) if !span.is_negative() => format!("{:.1} s", span.as_secs_f64()),
            _ => "not known".to_owned(),
        };
        let behind = match self.health.behind {
            Some(bytes) => format!(", source {bytes} bytes ahead"),
            None => String::new(),
        };
        format!("at {at}, could lose {lose}, {} ranges, {} bytes{behind}", self.ranges, self.bytes)
    }

    /// The sums of an hour, once it is over.
    pub(super) fn hour(&mut self, now: Timestamp) -> Option<Value> {
        let since = self.sums.since?;
        // A clock that was set back begins a new hour.
        let passed = now.as_second() - since.as_second();
        if (0..HOUR).contains(&passed) {
            return None;
        }
        self.last_hour(now)
    }

    /// The sums since the last ones, if there was anything.
    pub(super) fn last_hour(&mut self, now: Timestamp) -> Option<Value> {
        let to = self.at.as_ref().map(|at| at.position);
        let next = Sums { since: Some(now), from: to, ..Sums::default() };
        let sums = std::mem::replace(&mut self.sums, next);
        (sums.ranges + sums.keepalives > 0).then(|| {
            json!({
                "since": sums.since,
                "lineage": self.at.as_ref().map(|at| &at.lineage),
                "from": sums.from,
                "to": to,
                "ranges": sums.ranges,
                "bytes": sums.bytes,
                "keepalives": sums.keepalives,
            })
        })
    }

    pub(super) fn report(
        &self,
        world: &World,
        component: &str,
        error: Option<Failure>,
    ) -> StreamedComponent {
        StreamedComponent {
            component: component.to_owned(),
            lineage: self.at.as_ref().map(|at| at.lineage.clone()),
            from: self.from,
            to: self.at.as_ref().map(|at| at.position),
            complete_up_to: self.proven(),
            ranges: self.ranges,
            bytes: self.bytes,
            keepalives: self.keepalives,
            gaps: self.gaps.clone(),
            branches: self.branches,
            reconnects: self.reconnects,
            stored_after_p99_seconds: self.lag.within(990).map(seconds),
            stored_after_max_seconds: self.lag.max().map(seconds),
            waiting: self.waiting,
            tiers: self.tiers.clone(),
            bases: Vec::new(),
            seconds: seconds(world.since(self.start)),
            notes: self.notes.clone(),
            error,
        }
    }
}
