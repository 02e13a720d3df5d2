//! The way from a base to a point as a server asks for it: whole segments, each put together from the
//! pieces of a journal.
//!
//! - A segment whose end nobody has is filled up with zeros to its full size, never cut: a server
//!   reads zeros as the end of the log and refuses a short file.
//! - The segment in which a line of history was left exists on both lines. On the new one it begins
//!   with what the old one had by then, as the server that was promoted has it.
//! - What the journal does not hold of the base's first segment is taken from the base's own log.
//! - "Absent" is said of what lies beyond the way's end, or on a line that it does not use. All else
//!   that cannot be had is an error.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{EngineError, LogReader, Piece};

use super::lsn::text as lsn_text;
use super::{broken, failed, refused};

/// Segments, put together on demand.
pub(super) struct Way<'a> {
    reader: &'a dyn LogReader,
    /// Those of the reader that it goes over.
    pieces: &'a [Piece],
    /// Up to where it is replayed.
    target: u64,
    /// Bytes of a segment.
    pub size: u64,
    /// Those with log in them.
    parts: Vec<Part<'a>>,
    /// Histories by line.
    histories: BTreeMap<u32, Bytes>,
    /// The base's own log.
    own: PathBuf,
    /// The piece that was read last: two segments may share it.
    kept: Mutex<Option<(Position, Bytes)>>,
}

/// A piece as far as the way uses it: what was delivered of a line beyond the place where it was left
/// is not on the way.
struct Part<'a> {
    piece: &'a Piece,
    line: u32,
    from: u64,
    to: u64,
}

/// The base that a way leads on from.
pub(super) struct BaseLog<'a> {
    /// The lineage that its log has in the journal.
    pub lineage: String,
    /// Where its replay begins, and on which line.
    pub start: Position,
    /// Where it is consistent at the earliest.
    pub stop: u64,
    /// Bytes of a segment.
    pub size: u64,
    /// Its `pg_wal`.
    pub folder: &'a Path,
}

/// A segment, or why there is none.
#[derive(Debug)]
pub(super) enum Found<T> {
    /// It is there.
    Segment(T),
    /// It is proven that the way has none.
    Absent,
}

impl<'a> Way<'a> {
    /// The way over pieces of a reader, if it leads on from the base.
    pub fn new(
        reader: &'a dyn LogReader,
        pieces: &'a [Piece],
        base: &BaseLog<'_>,
    ) -> Result<Way<'a>, EngineError> {
        let lineage = &reader.start().lineage;
        // What stands after the `+` counts the chains of one log.
        if lineage.split('+').next() != Some(&base.lineage) {
            return Err(refused(
                format!(
                    "the journal is of system identifier {lineage}, the base of {}",
                    base.lineage
                ),
                "`lifeboat list` shows which snapshots a journal leads on from",
            ));
        }
        let parts = parts(pieces)?;
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Err(gap(base, "it holds nothing after the base"));
        };
        if first.from > base.stop {
            return Err(gap(base, &format!("it begins only at {}", lsn_text(first.from))));
        }
        if last.to < base.stop {
            return Err(gap(base, &format!("it ends at {}", lsn_text(last.to))));
        }
        let mut histories: BTreeMap<u32, Bytes> = reader.histories()?.into_iter().collect();
        take_own(&mut histories, base)?;
        let own = base.folder.to_owned();
        let kept = Mutex::new(None);
        let (size, target) = (base.size, u64::MAX);
        let way = Way { reader, pieces, target, size, parts, histories, own, kept };
        way.know_lines(base)?;
        Ok(way)
    }

    /// Every line that the way goes over has its history, but the first; and the base is on one.
    fn know_lines(&self, base: &BaseLog<'_>) -> Result<(), EngineError> {
        let missing = |line: &u32| *line > 1 && !self.histories.contains_key(line);
        if let Some(line) = self.lines().iter().find(|line| missing(line)) {
            let base = if *line == base.start.line { "base and " } else { "" };
            return Err(broken(format!(
                "the history of timeline {line} ({line:08X}.history) is missing from the \
                 {base}journal"
            )));
        }
        let past = self.ancestors(base.start.line)?;
        for line in self.lines() {
            agree((base.start.line, &past), (line, &self.ancestors(line)?))?;
        }
        let target = self.line();
        let ancestors = self.ancestors(target)?;
        let on_it = |line: u32, at: u64| {
            line == target || ancestors.iter().any(|(of, end)| *of == line && at <= *end)
        };
        if !on_it(base.start.line, base.stop) {
            return Err(refused(
                format!(
                    "timeline {target} does not go on from the base, which ends at {} on timeline \
                     {}",
                    lsn_text(base.stop),
                    base.start.line
                ),
                "choose a base that was taken after the timelines parted, or an earlier one",
            ));
        }
        match self.lines().iter().find(|line| !on_it(**line, 0)) {
            None => Ok(()),
            Some(line) => Err(broken(format!(
                "the history of timeline {target} does not name timeline {line}, over which the \
                 journal leads"
            ))),
        }
    }

    /// The lines before one, and where each was left, by its history.
    fn ancestors(&self, line: u32) -> Result<Vec<(u32, u64)>, EngineError> {
        self.histories.get(&line).map_or_else(|| Ok(Vec::new()), |history| past(line, history))
    }

    /// Lets go of what lies behind the place up to which it is replayed.
    pub fn end_at(&mut self, target: u64) {
        self.target = target;
        self.parts.retain(|part| part.from < target);
    }

    /// Up to where it is replayed.
    pub fn target(&self) -> u64 {
        self.target
    }

    /// The line at its end.
    pub fn line(&self) -> u32 {
        self.parts.last().map_or(0, |part| part.line)
    }

    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.to)
    }

    /// All lines that it goes over, in order.
    pub fn lines(&self) -> Vec<u32> {
        let mut lines: Vec<u32> = self.parts.iter().map(|part| part.line).collect();
        lines.dedup();
        lines
    }

    /// The pieces, keepalives among them.
    pub fn all(&self) -> &[Piece] {
        self.pieces
    }

    /// The line on which the way passes a place: before it, where two lines part there.
    pub fn line_at(&self, offset: u64) -> Option<u32> {
        let holds = |part: &&Part<'_>| part.from < offset && offset <= part.to;
        self.parts.iter().find(holds).map(|part| part.line)
    }

    /// The history of a line.
    pub fn history(&self, line: u32) -> Option<&Bytes> {
        self.histories.get(&line)
    }

    /// The name of a segment's file.
    pub fn name(&self, line: u32, number: u64) -> String {
        let each = (1 << 32) / self.size;
        format!("{line:08X}{:08X}{:08X}", number / each, number % each)
    }

    /// Line and number of a segment by its file's name.
    pub fn number(&self, name: &str) -> Option<(u32, u64)> {
        if name.len() != 24 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let part = |at: usize| u32::from_str_radix(&name[at..at + 8], 16).ok();
        let each = (1 << 32) / self.size;
        Some((part(0)?, u64::from(part(8)?) * each + u64::from(part(16)?)))
    }

    /// A segment of a line.
    pub fn segment(&self, line: u32, number: u64) -> Result<Found<Vec<u8>>, EngineError> {
        let (start, end) = (number * self.size, (number + 1) * self.size);
        let overlaps = |part: &&Part<'_>| part.line <= line && part.from < end && part.to > start;
        let parts: Vec<&Part<'_>> = self.parts.iter().filter(overlaps).collect();
        let Some(first) = parts.first() else { return Ok(Found::Absent) };
        // A line has a segment of its own only from where it begins.
        if !parts.iter().any(|part| part.line == line) {
            return Ok(Found::Absent);
        }
        let mut segment = vec![0; self.size as usize];
        if first.from > start {
            self.begin(&mut segment, first, number)?;
        }
        for part in &parts {
            let bytes = self.read(part.piece)?;
            let (from, to) = (part.from.max(start), part.to.min(end));
            let at = |place: u64| (place - part.from) as usize;
            let some = bytes
                .get(at(from)..at(to))
                .ok_or_else(|| broken(format!("range {} is short", part.piece.seq)))?;
            segment[(from - start) as usize..(to - start) as usize].copy_from_slice(some);
        }
        Ok(Found::Segment(segment))
    }

    /// What stands before the way's first piece in its segment: the base has it.
    fn begin(&self, segment: &mut [u8], first: &Part<'_>, number: u64) -> Result<(), EngineError> {
        let path = self.own.join(self.name(first.line, number));
        let own = fs::read(&path).map_err(failed(format!(
            "read {}, in which the base's log goes over into the journal",
            path.display()
        )))?;
        let length = (first.from - number * self.size) as usize;
        let own =
            own.get(..length).ok_or_else(|| broken(format!("{} is short", path.display())))?;
        segment[..length].copy_from_slice(own);
        Ok(())
    }

    fn read(&self, piece: &Piece) -> Result<Bytes, EngineError> {
        let kept = || self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((from, bytes)) = &*kept()
            && *from == piece.from
        {
            return Ok(bytes.clone());
        }
        let bytes = self.reader.read(piece)?;
        *kept() = Some((piece.from, bytes.clone()));
        Ok(bytes)
    }
}

/// The history of the base's line that lies in the base's own log, if one does; what the journal has
/// of it must agree.
fn take_own(histories: &mut BTreeMap<u32, Bytes>, base: &BaseLog<'_>) -> Result<(), EngineError> {
    let line = base.start.line;
    let path = base.folder.join(format!("{line:08X}.history"));
    let own = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed(format!("read {}", path.display())))?,
    };
    if let Some(told) = histories.get(&line) {
        agree((line, &past(line, &own)?), (line, &past(line, told)?))?;
    }
    histories.insert(line, own.into());
    Ok(())
}

/// Two histories that leave a line at two places are of two servers.
fn agree(base: (u32, &[(u32, u64)]), way: (u32, &[(u32, u64)])) -> Result<(), EngineError> {
    for (line, at) in base.1 {
        let other = way.1.iter().find(|(of, other)| of == line && other != at);
        if let Some((_, other)) = other {
            return Err(refused(
                format!(
                    "timeline {} of the base left timeline {line} at {}, timeline {} of the \
                     journal at {}: they are of two servers",
                    base.0,
                    lsn_text(*at),
                    way.0,
                    lsn_text(*other)
                ),
                "restore the base alone, or choose a base of the server that was streamed",
            ));
        }
    }
    Ok(())
}

/// The lines before one, and where each was left, by the content of its history.
fn past(line: u32, history: &[u8]) -> Result<Vec<(u32, u64)>, EngineError> {
    let text = String::from_utf8_lossy(history);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|entry| {
            let mut fields = entry.split_ascii_whitespace();
            let parent = fields.next().and_then(|field| field.parse().ok());
            let end = fields.next().and_then(super::lsn::parse);
            parent.zip(end).ok_or_else(|| {
                broken(format!("the history of timeline {line} cannot be read: {entry:?}"))
            })
        })
        .collect()
}

/// The pieces with log in them, each beginning where the one before it ends, and lines in order.
fn parts(pieces: &[Piece]) -> Result<Vec<Part<'_>>, EngineError> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for piece in pieces {
        let (line, from, to) = (piece.from.line, piece.from.offset, piece.to.offset);
        if let Some(last) = parts.last_mut().filter(|last| last.line < line) {
            // The line before was left here, at the latest.
            last.to = last.to.min(from.max(last.from));
            while parts.last().is_some_and(|last| last.from >= from) {
                parts.pop();
            }
            if let Some(last) = parts.last_mut() {
                last.to = last.to.min(from);
            }
        }
        if let Some(last) = parts.last()
            && (last.to != from || last.line > line)
        {
            return Err(broken(format!(
                "the journal has a hole between {} of timeline {} and {}",
                lsn_text(last.to),
                last.line,
                piece.from
            )));
        }
        if piece.bytes > 0 {
            parts.push(Part { piece, line, from, to });
        }
    }
    Ok(parts)
}

fn gap(base: &BaseLog<'_>, why: &str) -> EngineError {
    refused(
        format!(
            "the journal does not lead on from the base, which is consistent at {}: {why}",
            lsn_text(base.stop)
        ),
        "restore the base alone, or choose another one: `lifeboat list` shows the windows",
    )
}
