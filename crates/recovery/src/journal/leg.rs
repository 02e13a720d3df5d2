//! The stretch of records from a base on, and where a point lies on it.

use jiff::Timestamp;
use lifeboat_model::journal::Kind;
use lifeboat_model::position::Position;

use super::fault::Fault;
use super::passed::first_fault;
use super::reader::end_of;
use super::records::Found;
use super::walk::{Path, proves};
use super::way::Reach;
use super::{Break, JournalError, Result};
use crate::ports::RecoverTo;

/// True for a point that lies as far on as the journal leads.
pub(super) fn leads_to_the_end(to: &RecoverTo) -> bool {
    matches!(to, RecoverTo::Newest | RecoverTo::Name(_) | RecoverTo::Transaction(_))
}

/// The first thing that is wrong above a path, and the first point after it.
pub(super) fn above(faults: &[Fault], paths: &[Path], top: u32) -> Option<Above> {
    let fault = first_fault(faults, top)?;
    let next = paths.iter().filter(|path| path.bottom.seq > top).min_by_key(|p| p.bottom.seq);
    let after = next.and_then(|path| path.windows.last());
    Some((fault.why.clone(), after.map(|window| (window.from, window.since))))
}

/// Why a way ends, and the first point after it.
pub(super) type Above = (String, Option<(Position, Timestamp)>);

/// Where a base stands on a path.
pub(super) struct First {
    /// The index of the first record that leads on from it.
    pub at: usize,
    /// The index of a branch that left the base's line before it, and that in words: nothing from
    /// there on leads on from it.
    pub left: Option<(usize, String)>,
}

/// The first record that leads on from the base; why there is none, if something is there.
pub(super) fn first(taken: &[Found], base: Position) -> Result<First, Option<String>> {
    let leads_on = |found: &Found| {
        let header = &found.header;
        let here = header.from <= base && base.line == header.from.line;
        let empty = header.from == header.to && header.from == base;
        here && (header.to > base || empty)
    };
    let index = match taken.iter().position(leads_on) {
        Some(index) => index,
        // The base is the very end.
        None if taken.last().is_some_and(|found| found.header.to == base) => taken.len(),
        None => return Err(None),
    };
    let rest = &taken[index..];
    if let Some(gap) = rest.first().map(|found| &found.header)
        && gap.kind == Kind::Gap
        && gap.from < base
    {
        return Err(Some(format!("it has a gap from {} to {}", gap.from, gap.to)));
    }
    let left = rest.iter().position(|found| {
        let header = &found.header;
        header.kind == Kind::Branch && header.from.line == base.line && header.from < base
    });
    let left = left.map(|after| {
        let branch = &rest[after].header;
        let why = format!(
            "line {} left line {} at {}, before the base",
            branch.to.line, branch.from.line, branch.from
        );
        (index + after, why)
    });
    Ok(First { at: index, left })
}

/// The records from the base on, to the end of their path.
pub(super) struct Leg<'a> {
    pub taken: &'a [Found],
    /// The path that it begins on, if that is one of records.
    pub path: Option<&'a Path>,
    pub base: Position,
    /// A fault above the path: why, and the first point after it.
    pub above: Option<Above>,
}

impl Leg<'_> {
    /// How many records lie before the first gap.
    fn unbroken(&self) -> usize {
        let gap = self.taken.iter().position(|found| found.header.kind == Kind::Gap);
        gap.unwrap_or(self.taken.len())
    }

    /// What the first `count` records reach.
    pub(super) fn reached(&self, count: usize) -> Reach {
        let all = &self.taken[..count];
        let proven = all.iter().rev().find(|found| proves(found.header.kind));
        let last = all.last();
        Reach {
            position: last.map_or(self.base, |found| found.header.to),
            proven: proven.map(|found| found.header.time),
            seq: last.map(|found| u64::from(found.header.seq)),
        }
    }

    /// How many records the way has, and where the point lies on it.
    pub(super) fn reach(&self, to: &RecoverTo) -> Result<(usize, Reach)> {
        let length = self.unbroken();
        match to {
            RecoverTo::Base => Ok((length, self.reached(0))),
            RecoverTo::Newest | RecoverTo::Name(_) | RecoverTo::Transaction(_) => {
                Ok((length, self.reached(length)))
            }
            RecoverTo::Time(time) => {
                let before =
                    |found: &Found| proves(found.header.kind) && found.header.time <= *time;
                let last = self.taken[..length].iter().rposition(before);
                let shown = self.taken[..length].iter();
                let mut shown = shown.filter(|found| proves(found.header.kind));
                if shown.any(|found| found.header.time >= *time) {
                    return Ok((length, self.reached(last.map_or(0, |index| index + 1))));
                }
                Err(self.refuse(time.to_string(), length))
            }
            RecoverTo::Position(place) => {
                if *place < self.base {
                    let (wanted, base) = (place.to_string(), self.base);
                    return Err(JournalError::BeforeBase { wanted, base });
                }
                if *place == self.base {
                    return Ok((length, self.reached(0)));
                }
                let holds = |found: &Found| {
                    let header = &found.header;
                    let line = header.to.line == place.line && header.from.line == place.line;
                    line && header.from <= *place && *place <= header.to
                };
                match self.taken[..length].iter().position(holds) {
                    Some(index) => Ok((length, self.reached(index + 1))),
                    None => Err(self.refuse(place.to_string(), length)),
                }
            }
        }
    }

    /// The refusal of a point after the first `length` records, with what can be had instead.
    fn refuse(&self, wanted: String, length: usize) -> JournalError {
        let reached = self.reached(length);
        let before = reached.proven.map(|proven| (reached.position, proven));
        if let Some(gap) = self.taken.get(length).map(|found| &found.header) {
            let next = self.taken[length + 1..].iter().find(|f| f.header.kind != Kind::Gap);
            let why = format!(
                "from {} to {} it is lost ({})",
                gap.from,
                gap.to,
                gap.why().unwrap_or("no reason is recorded")
            );
            return JournalError::Broken {
                wanted: wanted.into(),
                why: Box::new(Break { why, recorded: true }),
                before,
                after: next.map(|found| (found.header.from, found.header.time)),
            };
        }
        if let Some((why, after)) = &self.above {
            let why = Box::new(Break { why: why.clone(), recorded: false });
            return JournalError::Broken { wanted: wanted.into(), why, before, after: *after };
        }
        let end = before.or_else(|| self.path.and_then(end_of));
        let end = end.unwrap_or((self.base, Timestamp::UNIX_EPOCH));
        JournalError::Beyond { wanted, end }
    }

    /// What must be said of a way to the newest point that ends before the journal does; and what
    /// is wrong there, where no stream recorded it.
    pub(super) fn note(&self, to: &RecoverTo, length: usize) -> (Option<String>, Option<String>) {
        if !leads_to_the_end(to) {
            return (None, None);
        }
        let end = self.reached(length).position;
        if let Some(gap) = self.taken.get(length).map(|found| &found.header) {
            let why = gap.why().unwrap_or("no reason is recorded");
            let note = format!(
                "the journal has a gap from {end} to {} ({why}): what came after it needs a \
                 snapshot that was taken after it",
                gap.to
            );
            return (Some(note), None);
        }
        let Some((why, _)) = &self.above else { return (None, None) };
        let note = format!("the journal is broken at {end}, and the way ends there: {why}");
        (Some(note), Some(why.clone()))
    }
}
