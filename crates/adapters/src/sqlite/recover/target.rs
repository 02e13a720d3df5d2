//! Which ranges of a journal lead from a base to a point.
//!
//! A batch of commits may be several ranges; only its last one ends at a state that the database
//! ever had. A batch that was broken off is followed by one that begins anew.

use jiff::Timestamp;
use lifeboat_model::manifest::Manifest;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{EngineError, LogReader, Piece, RecoverTo};

use super::{broken, refused};
use crate::sqlite::stream::facts::Facts;
use crate::sqlite::stream::sum::Sum;

/// A state of the database, and the way there.
#[derive(Debug, PartialEq)]
pub(super) struct Target<'l> {
    /// The ranges to apply, in order.
    pub ranges: Vec<&'l Piece>,
    /// The last batch.
    pub txid: u64,
    /// The instant up to which that state is proven complete.
    pub time: Timestamp,
    /// Its checksum.
    pub after: Sum,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub page_count: u32,
    /// What must be said aloud.
    pub notes: Vec<String>,
}

/// The last batch that is wanted.
struct Reached {
    txid: u64,
    time: Timestamp,
    facts: Facts,
    after: Sum,
}

/// The way, read piece by piece.
struct Way<'l> {
    base: Position,
    ranges: Vec<&'l Piece>,
    /// Ranges of a batch that has not ended yet.
    open: Vec<&'l Piece>,
    reached: Option<Reached>,
    /// The last keepalive before any batch.
    kept: Option<Timestamp>,
}

/// How a base gets to a point.
#[derive(Debug, PartialEq)]
pub(super) enum Choice<'l> {
    /// The base itself is as near as anything gets.
    Base,
    /// The stream saw that nothing was written from the base's position on, until after the base was
    /// read and up to this instant: the base is that state.
    Idle(Timestamp),
    /// Along ranges.
    Along(Target<'l>),
}

/// The way to `to`.
pub(super) fn choose<'l>(
    log: &'l dyn LogReader,
    base: Position,
    manifest: &Manifest,
    to: &RecoverTo,
) -> Result<Choice<'l>, EngineError> {
    let limit = limit(to, base)?;
    if let Limit::Time(time) = limit
        && time < manifest.finished
    {
        return Err(refused(
            &format!("{time} lies before the end of the capture that it would start from"),
            "restore from an older snapshot",
        ));
    }
    let mut way = Way { base, ranges: Vec::new(), open: Vec::new(), reached: None, kept: None };
    // Where a clock was set back an instant came twice: its later one is meant.
    let pieces = log.pieces();
    let taken = pieces.iter().rposition(|piece| !limit.excludes(piece)).map_or(0, |last| last + 1);
    for piece in &pieces[..taken] {
        way.take(piece)?;
    }
    let next = pieces.get(taken);
    let idle = way.kept.filter(|kept| *kept > manifest.started);
    let Some(reached) = way.reached else {
        return match (limit, idle) {
            (_, Some(kept)) => Ok(Choice::Idle(kept)),
            (Limit::Position(wanted), None) => Err(no_batch(wanted)),
            (_, None) => Ok(Choice::Base),
        };
    };
    match limit {
        Limit::Position(wanted) if reached.txid != wanted => return Err(no_batch(wanted)),
        Limit::Position(_) => {}
        // What was received before the capture began is in it, and it may hold more than that.
        _ if reached.time <= manifest.started => return Ok(Choice::Base),
        _ => {}
    }
    let mut notes = Vec::new();
    if let (Limit::Time(time), Some(next)) = (limit, next) {
        notes.push(format!(
            "{time}: the database as it was at {}; what was committed after that was received by {} and \
             is left out",
            reached.time, next.time
        ));
    }
    Ok(Choice::Along(Target {
        ranges: way.ranges,
        txid: reached.txid,
        time: reached.time,
        after: reached.after,
        page_size: reached.facts.page_size,
        page_count: reached.facts.page_count,
        notes,
    }))
}

fn no_batch(wanted: u64) -> EngineError {
    refused(
        &format!("{wanted} is not the end of a batch of commits that the journal has"),
        "`lifeboat list` shows the points that can be restored",
    )
}

/// Where to stop.
#[derive(Debug, Clone, Copy)]
enum Limit {
    None,
    Time(Timestamp),
    Position(u64),
}

impl Limit {
    fn excludes(self, piece: &Piece) -> bool {
        match self {
            Limit::None => false,
            Limit::Time(time) => piece.time > time,
            Limit::Position(wanted) => piece.to.offset > wanted,
        }
    }
}

fn limit(to: &RecoverTo, base: Position) -> Result<Limit, EngineError> {
    let position = |offset: u64| {
        if offset < base.offset {
            return Err(refused(
                &format!("batch {offset} lies before the snapshot that it would start from"),
                "restore from an older snapshot",
            ));
        }
        Ok(Limit::Position(offset))
    };
    match to {
        RecoverTo::Newest | RecoverTo::Base => Ok(Limit::None),
        RecoverTo::Time(time) => Ok(Limit::Time(*time)),
        RecoverTo::Position(wanted) => position(wanted.offset),
        RecoverTo::Transaction(number) => position(*number),
        RecoverTo::Name(name) => Err(refused(
            &format!("SQLite has no restore points, so none is called {name}"),
            "name a time or a position",
        )),
    }
}

impl<'l> Way<'l> {
    fn take(&mut self, piece: &'l Piece) -> Result<(), EngineError> {
        if piece.to <= piece.from {
            // A keepalive proves the state before it; inside a batch there is none.
            match &mut self.reached {
                Some(reached) => reached.time = reached.time.max(piece.time),
                None => self.kept = self.kept.max(Some(piece.time)),
            }
            return Ok(());
        }
        let facts = Facts::read(&piece.facts).map_err(|why| broken(piece, &why))?;
        if facts.part == 0 {
            self.open.clear();
        }
        self.open.push(piece);
        let Some(after) = facts.after else { return Ok(()) };
        if piece.to > self.base {
            self.ranges.append(&mut self.open);
        }
        self.open.clear();
        let fresh = self.reached.as_ref().is_some_and(|old| old.facts.page_size != facts.page_size);
        if fresh && let Some(first) = self.first_of_batch(facts.part) {
            // All pages of a database whose pages have another size now are in this batch.
            self.ranges.drain(..first);
        }
        let (txid, time) = (piece.to.offset, piece.time);
        self.reached = Some(Reached { txid, time, facts, after });
        Ok(())
    }

    /// Where the batch that ended with part `last` begins among the ranges.
    fn first_of_batch(&self, last: u64) -> Option<usize> {
        self.ranges.len().checked_sub(usize::try_from(last).ok()? + 1)
    }
}
