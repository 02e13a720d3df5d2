//! What a recovery is told to reach, and what it must have reached.
//!
//! Every recovery has a target of its server's: one that ends before it is an error of the server's,
//! never a shorter copy that was promoted. "Newest" is the last whole record that the way holds. An
//! instant after which nothing was committed is resolved to that too, where the journal covers it: a
//! server that is told a time fails if it sees no later commit.
//!
//! | asked | told | reached |
//! |---|---|---|
//! | newest | `recovery_target_lsn`, the last whole record, inclusive | exactly its end |
//! | time | `recovery_target_time`, inclusive: what was committed at that instant is in | up to the first commit after it, by the server's clock |
//! | time, nothing committed later | as newest | as newest |
//! | position | `recovery_target_lsn`, the last record that ends at or before it | exactly that end |
//! | name, transaction | `recovery_target_name`, `recovery_target_xid` | between the base's end and the way's |
//! | base | `recovery_target = immediate` | the base's end or later |

use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{EngineError, RecoverTo};

use super::lsn::text as lsn_text;
use super::records::{Extent, Meaning, Walker};
use super::way::{Found, Way};
use super::{broken, refused};

/// How many segments a search for one record's beginning goes back.
const BACK: u64 = 8;

/// What a recovery is to come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Goal {
    /// The server's settings.
    pub settings: Vec<(String, String)>,
    /// The line that it is to follow.
    pub line: u32,
    /// What it must reach, if that is known beforehand.
    pub exact: Option<u64>,
    /// What it must reach at least, and what it cannot exceed.
    pub least: u64,
    pub most: u64,
    /// The instant up to which it then is complete, where the position does not tell.
    pub complete: Option<Timestamp>,
    /// What must be said of it.
    pub notes: Vec<String>,
}

/// What is known of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// Its line, and where its replay begins.
    pub start: Position,
    /// Where it is consistent at the earliest.
    pub stop: u64,
    /// When its capture began: all before is in it; and ended: nothing after is.
    pub started: Timestamp,
    pub finished: Timestamp,
}

impl Goal {
    /// The base itself.
    pub fn base(base: &Base) -> Goal {
        Goal {
            settings: vec![set("recovery_target", "immediate"), timeline(base.start.line)],
            line: base.start.line,
            exact: None,
            least: base.stop,
            most: u64::MAX,
            complete: Some(base.started),
            notes: Vec::new(),
        }
    }

    /// A point along the way.
    pub fn along(
        way: &Way<'_>,
        base: &Base,
        to: &RecoverTo,
        now: Timestamp,
    ) -> Result<Goal, EngineError> {
        let mut goal = match to {
            RecoverTo::Base => return Ok(Goal::base(base)),
            RecoverTo::Newest => newest(way)?,
            RecoverTo::Position(at) => position(way, base, *at)?,
            RecoverTo::Time(time) => instant(way, base, *time, now)?,
            RecoverTo::Name(name) => whole_way(way, vec![set("recovery_target_name", name)]),
            RecoverTo::Transaction(id) => {
                // The server compares 32 bits.
                whole_way(way, vec![set("recovery_target_xid", &(id & 0xFFFF_FFFF).to_string())])
            }
        };
        goal.least = goal.least.max(base.stop);
        if let Some(exact) = goal.exact.filter(|exact| *exact < base.stop) {
            return Err(before_base(base, &format!("{} is", lsn_text(exact))));
        }
        if goal.line < base.start.line {
            return Err(refused(
                format!(
                    "the target is on timeline {}, the base was taken on timeline {}",
                    goal.line, base.start.line
                ),
                "choose a base that was taken before the timelines parted",
            ));
        }
        goal.settings.push(timeline(goal.line));
        if !to_base_line(&goal, base) {
            goal.notes.push(format!(
                "recovery goes over from timeline {} to timeline {}",
                base.start.line, goal.line
            ));
        }
        Ok(goal)
    }
}

fn to_base_line(goal: &Goal, base: &Base) -> bool {
    goal.line == base.start.line
}

fn set(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn timeline(line: u32) -> (String, String) {
    set("recovery_target_timeline", &line.to_string())
}

fn whole_way(way: &Way<'_>, settings: Vec<(String, String)>) -> Goal {
    Goal {
        settings,
        line: way.line(),
        exact: None,
        least: 0,
        most: way.end(),
        complete: None,
        notes: Vec::new(),
    }
}

/// A target that is a record: it is replayed, nothing after it.
fn through(way: &Way<'_>, record: Extent) -> Goal {
    let settings = vec![
        set("recovery_target_lsn", &lsn_text(record.start)),
        set("recovery_target_inclusive", "on"),
    ];
    Goal { exact: Some(record.end), least: record.end, ..whole_way(way, settings) }
}

fn newest(way: &Way<'_>) -> Result<Goal, EngineError> {
    let last = last_record(way, way.line(), way.end())?;
    let time = way.all().last().map(|piece| piece.time);
    Ok(Goal { complete: time, ..through(way, last) })
}

fn position(way: &Way<'_>, base: &Base, at: Position) -> Result<Goal, EngineError> {
    if at.offset < base.stop {
        return Err(before_base(base, &format!("{} is", lsn_text(at.offset))));
    }
    if at.offset > way.end() {
        return Err(beyond(way, &format!("{} is", lsn_text(at.offset))));
    }
    let line = way.line_at(at.offset).unwrap_or(base.start.line);
    if line != at.line {
        return Err(refused(
            format!(
                "{} of timeline {} is not on the way, which passes that place on timeline {line}",
                lsn_text(at.offset),
                at.line
            ),
            "`lifeboat list` shows the timelines",
        ));
    }
    let last = last_record(way, line, at.offset)?;
    Ok(Goal { line, ..through(way, last) })
}

fn instant(
    way: &Way<'_>,
    base: &Base,
    time: Timestamp,
    now: Timestamp,
) -> Result<Goal, EngineError> {
    if time < base.finished {
        return Err(before_base(base, &format!("{time} is")));
    }
    if time > now {
        return Err(refused(
            format!("{time} is in the future: it is {now}"),
            "name an instant that has passed, with its zone; without one the newest is restored",
        ));
    }
    let settings = || {
        // The server reads microseconds: what was committed in the rest of that one is in, too.
        let micros = time.as_microsecond();
        let shown = Timestamp::from_microsecond(micros)
            .unwrap_or(time)
            .strftime("%Y-%m-%d %H:%M:%S%.6f+00");
        vec![
            set("recovery_target_time", &shown.to_string()),
            set("recovery_target_inclusive", "on"),
        ]
    };
    if let Some((line, most)) = committed_after(way, base, time)? {
        let goal = whole_way(way, settings());
        return Ok(Goal { line, most, complete: Some(time), ..goal });
    }
    let covered = way.all().last().map(|piece| piece.time);
    if covered.is_none_or(|covered| covered < time) {
        return Err(beyond(way, &format!("{time} is")));
    }
    let mut goal = newest(way)?;
    goal.complete = Some(time);
    goal.notes.push(format!(
        "nothing was committed after {time}, which the journal covers: the end of the log stands for \
         it, {}",
        lsn_text(goal.exact.unwrap_or_default())
    ));
    Ok(goal)
}

fn before_base(base: &Base, what: &str) -> EngineError {
    refused(
        format!(
            "{what} before the end of the base, which is consistent at {} ({})",
            lsn_text(base.stop),
            base.finished
        ),
        "choose an older base: `lifeboat list` shows them",
    )
}

fn beyond(way: &Way<'_>, what: &str) -> EngineError {
    let covered = way.all().last().map_or_else(String::new, |piece| format!(" ({})", piece.time));
    refused(
        format!(
            "{what} beyond what the journal holds without a break: it reaches {}{covered}",
            lsn_text(way.end())
        ),
        "without `--at` the newest is restored; `lifeboat list` shows windows and gaps",
    )
}

/// The last whole record that ends at or before a place.
fn last_record(way: &Way<'_>, line: u32, end: u64) -> Result<Extent, EngineError> {
    let last = end.saturating_sub(1) / way.size;
    for back in 0..BACK {
        let Some(first) = last.checked_sub(back) else { break };
        let mut found = None;
        walk(way, line, first..=last, &mut |extent, _| {
            if extent.end <= end {
                found = Some(extent);
            }
            true
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(broken(format!("the journal holds no whole record before {}", lsn_text(end))))
}

/// Goes through segments until `on` says that it is enough. Those that a line does not have are
/// looked for on the lines before it.
fn walk(
    way: &Way<'_>,
    line: u32,
    segments: std::ops::RangeInclusive<u64>,
    on: &mut dyn FnMut(Extent, Meaning) -> bool,
) -> Result<(), EngineError> {
    let mut walker = Walker::new(way.size, segments.start() * way.size);
    for number in segments {
        let mut goes_on = true;
        let Some(bytes) = at_or_before(way, line, number)? else { break };
        // Beyond the way's end there is only padding.
        let known = way.end().saturating_sub(number * way.size).min(way.size) as usize;
        walker
            .feed(&bytes[..known], &mut |extent, meaning| goes_on = goes_on && on(extent, meaning));
        if !goes_on {
            break;
        }
    }
    Ok(())
}

fn at_or_before(way: &Way<'_>, line: u32, number: u64) -> Result<Option<Vec<u8>>, EngineError> {
    for line in way.lines().into_iter().rev().filter(|of| *of <= line) {
        if let Found::Segment(bytes) = way.segment(line, number)? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Did a transaction end by an instant, on a line from a place on?
pub(super) fn committed_by(
    way: &Way<'_>,
    (line, from): (u32, u64),
    time: Timestamp,
) -> Result<bool, EngineError> {
    let mut found = false;
    let segments = from / way.size..=way.end().saturating_sub(1) / way.size;
    walk(way, line, segments, &mut |extent, meaning| {
        let Meaning::Ended(at) = meaning else { return true };
        found |= extent.end > from && at <= time;
        // The first one is the earliest.
        extent.end <= from
    })?;
    Ok(found)
}

/// A transaction that ended after an instant by the server's clock, if one did: its line, and where
/// its record ends, behind which no server replays.
///
/// First from the piece on that was received at that instant, to the end. Where the server's clock
/// is ahead of the receiver's, the transaction lies before: so then backwards, up to one that ended
/// no later.
fn committed_after(
    way: &Way<'_>,
    base: &Base,
    time: Timestamp,
) -> Result<Option<(u32, u64)>, EngineError> {
    let pieces = || way.all().iter().filter(|piece| piece.bytes > 0);
    let first = pieces().next().map_or(0, |piece| piece.from.offset).max(base.start.offset);
    let from = pieces().find(|piece| piece.time >= time).map_or(way.end(), |it| it.from.offset);
    let (first, from) = (first / way.size, from.min(way.end() - 1).max(first) / way.size);
    let last = (way.end() - 1) / way.size;
    // Records of one segment may end in the next.
    let look = |from: u64, to: u64| -> Result<(Option<u64>, bool), EngineError> {
        let (mut later, mut earlier) = (None, false);
        walk(way, way.line(), from..=to, &mut |extent, meaning| {
            match meaning {
                Meaning::Ended(at) if at > time => later = Some(extent.end),
                Meaning::Ended(_) => earlier = true,
                _ => {}
            }
            later.is_none()
        })?;
        Ok((later, earlier))
    };
    let on = |place: u64| way.line_at(place).unwrap_or_else(|| way.line());
    if let (Some(place), _) = look(from, last)? {
        return Ok(Some((on(place), place)));
    }
    for number in (first..from).rev() {
        match look(number, number + 1)? {
            (Some(place), _) => return Ok(Some((on(place), place))),
            (None, true) => return Ok(None),
            (None, false) => {}
        }
    }
    Ok(None)
}
