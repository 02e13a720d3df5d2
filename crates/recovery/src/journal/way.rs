//! The way from a base to a point.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::chain::Hash;
use lifeboat_model::journal::{Header, Kind, Name, WalName, native};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_vault::StoreErrorKind;

use super::fault::Fault;
use super::handed::is_fault;
use super::leg::{First, Leg, above, first, leads_to_the_end};
use super::passed::{Passed, below, nothing};
use super::place::chain_of;
use super::records::{Found, Inner, Spot};
use super::shelf::Shelf;
use super::walk::{Path, Walked, proves};
use super::{JournalError, Result, object};
use crate::ports::{EngineError, LogFacts, LogReader, Piece, RecoverTo};

/// Where a wanted point lies on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The end of the last record that belongs to it; the base itself if none does.
    pub position: Position,
    /// The instant up to which replaying so far proves the copy complete.
    pub proven: Option<Timestamp>,
    /// Number of that record.
    pub seq: Option<u64>,
}

/// See the module.
pub struct Way {
    inner: Arc<Inner>,
    chain: String,
    start: LogPosition,
    facts: LogFacts,
    pieces: Vec<Piece>,
    sources: Vec<Record>,
    branches: Vec<(u32, Record)>,
    /// That of the base's line, where the branch to it is not on the way.
    history: Option<(u32, Bytes)>,
    target: Reach,
    notes: Vec<String>,
    broken: Option<String>,
}

/// Where a record is, and what it has to be.
#[derive(Debug, Clone)]
pub(super) struct Record {
    name: Name,
    hash: Hash,
    spots: Vec<Spot>,
}

impl Record {
    pub(super) fn of(found: &Found) -> Record {
        Record { name: found.header.name(), hash: found.hash, spots: found.spots.clone() }
    }
}

impl Way {
    /// The lineage as the tier names it.
    pub fn lineage(&self) -> &str {
        self.chain.rsplit('/').next().unwrap_or_default()
    }

    /// Where the wanted point lies; for a name or a transaction, the end of the way.
    pub fn target(&self) -> &Reach {
        &self.target
    }

    /// What must be said.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is wrong right after its end, where it was to lead as far as the journal does: more was
    /// streamed than it has. A break that the stream itself recorded is none; the notes name both.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn content(&self, record: &Record) -> Result<Bytes> {
        content(&self.inner, &self.chain, record)
    }
}

/// The content of a record, verified. Of several places the first good one is taken.
pub(super) fn content(inner: &Inner, chain: &str, record: &Record) -> Result<Bytes> {
    let mut first = None;
    for spot in &record.spots {
        match content_at(inner, chain, record, spot) {
            Ok(bytes) => return Ok(bytes),
            // That one place does not answer is not what another one's damage says.
            Err(error) => first = Some(worse(first, error)),
        }
    }
    let missing = || JournalError::Missing { object: record.name.to_string() };
    Err(first.unwrap_or_else(missing))
}

fn content_at(inner: &Inner, chain: &str, record: &Record, spot: &Spot) -> Result<Bytes> {
    let store = &inner.store;
    let (key, read) = match spot {
        Spot::Loose(key) => (key, store.get(key)),
        Spot::Slice { key, offset, length } => (key, store.get_range(key, *offset, *length)),
        Spot::Handed { name, offset, length } => {
            let lineage = chain.rsplit('/').next().unwrap_or_default();
            let handed = inner.handed(native(lineage), name)?;
            let (from, to) = (*offset as usize, offset.saturating_add(*length) as usize);
            let short = || JournalError::Damaged {
                object: name.to_string(),
                why: "it is short".to_owned(),
            };
            handed.content.get(from..to).ok_or_else(short)?;
            return Ok(handed.content.slice(from..to));
        }
    };
    let sealed = read.map_err(|error| match error.kind {
        StoreErrorKind::NotFound => JournalError::Missing { object: key.clone() },
        StoreErrorKind::Short => {
            JournalError::Damaged { object: key.clone(), why: "it is cut off".to_owned() }
        }
        _ => error.into(),
    })?;
    let opened = object::open(&inner.sealer, &sealed, (chain, &record.name), &inner.trusted, key)?;
    if opened.hash != record.hash {
        let why = "it is another record than the chain has there".to_owned();
        return Err(JournalError::Damaged { object: key.clone(), why });
    }
    Ok(opened.payload)
}

/// Of two failures the one that another try may mend.
fn worse(first: Option<JournalError>, second: JournalError) -> JournalError {
    match first {
        Some(first) if first.is_transient() || !second.is_transient() => first,
        _ => second,
    }
}

impl LogReader for Way {
    fn start(&self) -> LogPosition {
        self.start.clone()
    }

    fn facts(&self) -> &LogFacts {
        &self.facts
    }

    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn read(&self, piece: &Piece) -> Result<Bytes, EngineError> {
        // What was handed over stands under the number of the record before it.
        let first = self.pieces.partition_point(|one| one.seq < piece.seq);
        let found = self.pieces[first..].iter().position(|one| one == piece);
        let record = found.and_then(|index| self.sources.get(first + index));
        let Some(record) = record else {
            let what = format!("record {} is not on the way", piece.seq);
            return Err(EngineError::Failed { what, source: None });
        };
        self.content(record).map_err(|error| EngineError::Failed {
            what: format!("record {} of the journal cannot be read", record.name),
            source: Some(Box::new(error)),
        })
    }

    fn histories(&self) -> Result<Vec<(u32, Bytes)>, EngineError> {
        let read = |(line, record): &(u32, Record)| {
            let content = self.content(record).map_err(|error| EngineError::Failed {
                what: format!("the history of line {line} cannot be read"),
                source: Some(Box::new(error)),
            })?;
            Ok((*line, content))
        };
        let mut all: Vec<(u32, Bytes)> =
            self.branches.iter().map(read).collect::<Result<_, EngineError>>()?;
        all.extend(self.history.clone());
        Ok(all)
    }
}

/// Lays the way over the path that leads from the base to the point.
pub(super) fn lay(
    inner: &Arc<Inner>,
    lineage: &str,
    base: &LogPosition,
    to: &RecoverTo,
    walked: Walked,
    passed: &mut Passed,
) -> Result<Option<Way>> {
    let Walked { mut paths, faults } = walked;
    // Newest line first, then the longest.
    paths.sort_by_key(|path| (path.top.to.line, path.top.seq));
    let mut own = Passed::default();
    paths.retain(|path| in_time(path, lineage, &mut own));
    if paths.is_empty() && !own.instead.is_empty() {
        passed.join(own);
        return Ok(None);
    }
    let chosen = choose(base.position, to, (&mut paths, &faults), &mut own);
    let (before, taken) = match chosen {
        Some((index, first, end)) => {
            let mut before = std::mem::take(&mut paths[index].taken);
            before.truncate(end);
            let taken = before.split_off(first);
            (before, taken)
        }
        None => (Vec::new(), Vec::new()),
    };
    let chosen = chosen.map(|(index, ..)| index);
    let mut notes: Vec<String> = match chosen {
        Some(index) => paths[index].notes.iter().rev().cloned().collect(),
        None => Vec::new(),
    };
    let laid = Laid { chosen, base: base.position, faults: &faults };
    let taken = laid.bridged((inner, lineage), taken, &mut paths, to, &mut notes)?;
    // What leads on from the base and ends before the chain begins is no way along it.
    let joins = paths.is_empty() || taken.iter().any(|found| found.hash != Hash::NONE);
    let leads = taken.first().is_some_and(|found| found.header.from == base.position);
    if chosen.is_none() && !(joins && leads) {
        if paths.is_empty() {
            own.add(nothing(lineage, &faults));
        }
        passed.join(own);
        return Ok(None);
    }
    let leg = laid.leg(&taken, &paths);
    let (length, target) = leg.reach(to)?;
    let facts = before.iter().rev().chain(taken.iter());
    let facts = facts.map(|found| &found.header).find(|header| header.kind == Kind::Start);
    let on_way = &taken[..length];
    let pieces: Vec<&Found> = on_way.iter().filter(|found| proves(found.header.kind)).collect();
    let branches = before.iter().chain(on_way);
    let branches = branches.filter(|found| found.header.kind == Kind::Branch);
    let records = before.iter().chain(on_way).map(|found| &found.header);
    let history = history((inner, native(lineage)), base.position.line, records, &mut notes)?;
    let (said, mut broken) = leg.note(to, length);
    notes.extend(said);
    if leads_to_the_end(to) {
        // What a later chain holds is not on it.
        notes.extend(passed.instead.iter().map(|why| format!("a later chain is not used: {why}")));
        broken = broken.or_else(|| passed.broken.take());
    }
    Ok(Some(Way {
        inner: inner.clone(),
        chain: chain_of(&inner.component, lineage),
        start: base.clone(),
        facts: facts.map(|header| header.facts.clone()).unwrap_or_default(),
        sources: pieces.iter().map(|found| Record::of(found)).collect(),
        branches: branches.map(|f| (f.header.to.line, Record::of(f))).collect(),
        history,
        pieces: pieces.into_iter().map(piece).collect(),
        target,
        notes,
        broken,
    }))
}

/// The history of a base's line, where the branch to it is not among the records: as the stream that
/// they are of told it, else as a server handed it over.
fn history<'a>(
    (inner, native): (&Inner, &str),
    line: u32,
    mut records: impl Iterator<Item = &'a Header> + Clone,
    notes: &mut Vec<String>,
) -> Result<Option<(u32, Bytes)>> {
    if records.clone().any(|header| header.kind == Kind::Branch && header.to.line == line) {
        return Ok(None);
    }
    if let Some(told) = records.find_map(|header| header.history_of(line)) {
        return Ok(Some((line, Bytes::copy_from_slice(told.as_bytes()))));
    }
    let name = WalName::history(line);
    if inner.lists(native, &name) {
        match inner.handed(native, &name) {
            Ok(handed) => return Ok(Some((line, handed.content))),
            Err(error) if is_fault(&error) => notes.push(format!(
                "{name}, which was handed over, is of no use: {}",
                object::chained(&error)
            )),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What was found for a base: the path that leads on from it, if one does.
struct Laid<'a> {
    chosen: Option<usize>,
    base: Position,
    faults: &'a [Fault],
}

impl Laid<'_> {
    fn leg<'b>(&self, taken: &'b [Found], paths: &'b [Path]) -> Leg<'b> {
        let path = self.chosen.map(|index| &paths[index]);
        let top = path.map_or(0, |path| path.top.seq);
        let top = taken.last().map_or(top, |found| found.header.seq.max(top));
        Leg { taken, path, base: self.base, above: above(self.faults, paths, top) }
    }

    /// The records, and what servers handed over where these do not lead to the point.
    fn bridged(
        &self,
        (inner, lineage): (&Inner, &str),
        taken: Vec<Found>,
        paths: &mut [Path],
        to: &RecoverTo,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Found>> {
        let alone = self.chosen.is_some()
            && !leads_to_the_end(to)
            && self.leg(&taken, paths).reach(to).is_ok();
        if alone {
            return Ok(taken);
        }
        let Some(mut shelf) = Shelf::of(inner, native(lineage))? else { return Ok(taken) };
        if self.chosen.is_none() {
            // A base inside a gap: what begins before it does not lead on from it.
            for path in &mut *paths {
                path.taken.retain(|found| found.header.from >= self.base);
            }
        }
        let line = match to {
            RecoverTo::Position(place) => Some(place.line),
            _ => None,
        };
        let taken = shelf.bridge(self.base, taken, paths, line)?;
        notes.append(&mut shelf.notes);
        Ok(taken)
    }
}

/// False for a path of a chain that is younger than the base.
fn in_time(path: &Path, lineage: &str, own: &mut Passed) -> bool {
    let begun = path.begun_late();
    if let Some(begun) = begun {
        own.add((format!("{lineage} was begun at {begun}, after the base"), None));
    }
    begun.is_none()
}

/// The first of the paths that leads on from a base: which, the index of its first record from there
/// on, and where it ends for this point. Why the others do not.
fn choose(
    base: Position,
    to: &RecoverTo,
    (paths, faults): (&mut [Path], &[Fault]),
    own: &mut Passed,
) -> Option<(usize, usize, usize)> {
    for index in (0..paths.len()).rev() {
        paths[index].taken.reverse();
        let taken = &paths[index].taken;
        match first(taken, base) {
            Ok(First { at, left: None }) => {
                return Some((index, at, taken.len()));
            }
            // Up to there the line that the base is on was the one that lived.
            Ok(First { at, left: Some((end, why)) }) => {
                let own_line = Leg { base, taken: &taken[at..end], path: None, above: None };
                if !leads_to_the_end(to) && own_line.reach(to).is_ok() {
                    return Some((index, at, end));
                }
                own.add((why, None));
            }
            Err(Some(why)) => own.add((why, None)),
            Err(None) => own.add(below(&paths[index], base, faults)),
        }
    }
    None
}

fn piece(found: &Found) -> Piece {
    let header = &found.header;
    Piece {
        seq: u64::from(header.seq),
        from: header.from,
        to: header.to,
        time: header.time,
        bytes: if header.kind == Kind::Range { header.bytes } else { 0 },
        facts: header.facts.clone(),
    }
}
