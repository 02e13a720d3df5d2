//! What servers handed over, where the chain of records does not lead: whole segments take the place
//! of a gap, of records that are lost, or of a stream that there never was.
//!
//! On a way such a segment (or the part of it that is wanted) stands like a record, with the number
//! of the record before it. Each is proven by its own signature and hash. A line is left for another
//! where a history that was handed over says so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lifeboat_model::chain::{Hash, Signature};
use lifeboat_model::journal::{Header, Kind, WalHeader, WalKind, WalName, is_segment_size};
use lifeboat_model::position::Position;

use super::Result;
use super::handed::is_fault;
use super::object::chained;
use super::place::chain_of;
use super::records::{Found, Inner, Spot};
use super::walk::{Path, proves};

/// See the module.
pub(super) struct Shelf<'a> {
    inner: &'a Inner,
    native: &'a str,
    size: u64,
    /// How each line begins, by its history.
    histories: BTreeMap<u32, WalHeader>,
    /// What is not believed, in words.
    pub notes: Vec<String>,
}

/// The end of what was laid so far.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Position,
    seq: u32,
    time: Timestamp,
}

impl<'a> Shelf<'a> {
    /// What was handed over of a log; nothing where no segment was.
    pub fn of(inner: &'a Inner, native: &'a str) -> Result<Option<Shelf<'a>>> {
        let Some(names) = inner.listing.handed.get(native) else { return Ok(None) };
        let mut shelf =
            Shelf { inner, native, size: 0, histories: BTreeMap::new(), notes: Vec::new() };
        for name in names.keys().filter(|name| name.kind == WalKind::Segment) {
            if let Some(header) = shelf.open(name)?.filter(|it| is_segment_size(it.bytes)) {
                shelf.size = header.bytes;
                break;
            }
        }
        if shelf.size == 0 {
            return Ok(None);
        }
        for name in names.keys().filter(|name| name.kind == WalKind::History) {
            if let Some(header) = shelf.open(name)? {
                shelf.histories.insert(name.line, header);
            }
        }
        Ok(Some(shelf))
    }

    /// The proven header of a file; nothing, and a note, for one that is not believed.
    fn open(&mut self, name: &WalName) -> Result<Option<WalHeader>> {
        match self.inner.handed(self.native, name) {
            Ok(handed) => Ok(Some(handed.header)),
            Err(error) if is_fault(&error) => {
                self.notes.push(format!(
                    "{name}, which was handed over, is of no use: {}",
                    chained(&error)
                ));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn has(&self, at: Position) -> bool {
        self.inner.lists(self.native, &WalName::segment(at, self.size))
    }

    /// Fills the gaps of a path from its beginning on, as far as can be, goes over into other paths
    /// and leads on beyond the end. `line`: the newest that is wanted.
    pub fn bridge(
        &mut self,
        base: Position,
        taken: Vec<Found>,
        paths: &mut [Path],
        line: Option<u32>,
    ) -> Result<Vec<Found>> {
        let mut laid = Vec::new();
        let mut rest = taken;
        loop {
            if !self.fill(base, rest, &mut laid)? {
                return Ok(laid);
            }
            let end = end_of(base, &laid);
            let onward = paths.iter_mut().filter(|path| {
                path.taken.first().is_some_and(|first| first.header.from >= end.at)
                    && path.bottom.seq > end.seq
            });
            let Some(next) = onward.min_by_key(|path| path.bottom.seq) else { break };
            let begins = next.taken[0].header.from;
            let led = self.lead(end, Some(begins), None)?;
            if led.last().map_or(end.at, |found| found.header.to) != begins {
                break;
            }
            laid.extend(led);
            rest = std::mem::take(&mut next.taken);
        }
        let end = end_of(base, &laid);
        let led = self.lead(end, None, line)?;
        laid.extend(led);
        Ok(laid)
    }

    /// Lays records one after the other. False where a gap remained; what is behind it follows as it
    /// is.
    fn fill(&mut self, base: Position, taken: Vec<Found>, laid: &mut Vec<Found>) -> Result<bool> {
        let mut open = true;
        for mut found in taken {
            if found.header.kind == Kind::Gap && open {
                let end = End { at: found.header.from, ..end_of(base, laid) };
                let led = self.lead(end, Some(found.header.to), None)?;
                let reached = led.last().map_or(end.at, |found| found.header.to);
                laid.extend(led);
                if reached == found.header.to {
                    continue;
                }
                found.header.from = reached;
                open = false;
            }
            laid.push(found);
        }
        Ok(open)
    }

    /// From a place on, as far as segments lead, or to `until` at most; to no newer line than `line`.
    fn lead(
        &mut self,
        from: End,
        until: Option<Position>,
        line: Option<u32>,
    ) -> Result<Vec<Found>> {
        let mut led: Vec<Found> = Vec::new();
        let mut end = from;
        while until != Some(end.at) {
            let over = match until {
                Some(until) if until.line == end.at.line => None,
                None if line.is_some_and(|line| end.at.line >= line) => None,
                _ => self.left(end.at.line, until.map(|until| until.line)).cloned(),
            };
            if let Some(over) = over.as_ref().filter(|over| over.from.offset <= end.at.offset) {
                // Inside a gap nothing is known beyond the place where the line was left.
                if until.is_some() && over.from.offset < end.at.offset {
                    break;
                }
                let name = WalName::history(over.to.line);
                let spot = Spot::Handed { name, offset: 0, length: over.bytes };
                led.push(self.found(Kind::Branch, (over.from, over.to), end, over, spot));
                end.at = over.to;
                continue;
            }
            let limit = match (&over, until) {
                (Some(over), _) => over.from.offset,
                (None, Some(until)) if until.line == end.at.line => until.offset,
                (None, Some(_)) => break,
                (None, None) => u64::MAX,
            };
            let Some(found) = self.piece(end, limit, over.as_ref())? else { break };
            end = End { at: found.header.to, time: found.header.time, ..end };
            led.push(found);
        }
        Ok(led)
    }

    /// The log of one line from a place to the end of its segment, or to where the line was left.
    fn piece(&mut self, end: End, limit: u64, over: Option<&WalHeader>) -> Result<Option<Found>> {
        let at = end.at;
        let name = WalName::segment(at, self.size);
        let start = name.start(self.size).offset;
        let to = (start + self.size).min(limit);
        if to <= at.offset {
            return Ok(None);
        }
        let mut names = vec![name];
        if let Some(over) = over.filter(|_| to == limit) {
            // The new line's segment begins with what the old one had; so does the one that was
            // handed over when it was left.
            let after = Position::new(over.to.line, at.offset);
            names.extend([WalName::segment(after, self.size), name.with(WalKind::Partial)]);
        }
        for name in names {
            if !self.inner.lists(self.native, &name) {
                continue;
            }
            let Some(header) = self.open(&name)?.filter(|header| header.bytes == self.size) else {
                continue;
            };
            let spot = Spot::Handed { name, offset: at.offset - start, length: to - at.offset };
            let span = (at, Position::new(at.line, to));
            return Ok(Some(self.found(Kind::Range, span, end, &header, spot)));
        }
        Ok(None)
    }

    /// How a line was left on the way to another; to the newest that has log, if none is named.
    fn left(&self, line: u32, wanted: Option<u32>) -> Option<&WalHeader> {
        let targets: Vec<u32> = match wanted {
            Some(wanted) => vec![wanted],
            None => self.histories.keys().rev().copied().filter(|it| *it > line).collect(),
        };
        targets.into_iter().find_map(|target| {
            let mut next = self.histories.get(&target)?;
            if wanted.is_none() && !self.has(next.to) {
                return None;
            }
            while next.from.line > line && next.from.line < next.to.line {
                next = self.histories.get(&next.from.line)?;
            }
            (next.from.line == line).then_some(next)
        })
    }

    /// A file in the place of a record.
    fn found(
        &self,
        kind: Kind,
        (from, to): (Position, Position),
        end: End,
        file: &WalHeader,
        spot: Spot,
    ) -> Found {
        let whole = kind == Kind::Range && file.to.offset == to.offset;
        // What ended last in it may lie in a part of it that is not on the way.
        let time = file.ended.filter(|_| whole).map_or(end.time, |ended| ended.max(end.time));
        let header = Header {
            format: lifeboat_model::journal::FORMAT,
            chain: chain_of(&self.inner.component, self.native),
            seq: end.seq,
            prev: Hash::NONE,
            kind,
            from,
            to,
            time,
            host: file.host.clone(),
            bytes: if kind == Kind::Range { to.offset - from.offset } else { file.bytes },
            sha256: file.sha256,
            facts: BTreeMap::new(),
            key: None,
            certificate: None,
            // It is the file's header that is signed.
            signature: Signature([0; 64]),
        };
        Found { hash: Hash::NONE, header, spots: vec![spot] }
    }
}

fn end_of(base: Position, laid: &[Found]) -> End {
    let proven = laid.iter().rev().find(|found| proves(found.header.kind));
    End {
        at: laid.last().map_or(base, |found| found.header.to),
        seq: laid.last().map_or(0, |found| found.header.seq),
        time: proven.map_or(Timestamp::UNIX_EPOCH, |found| found.header.time),
    }
}
