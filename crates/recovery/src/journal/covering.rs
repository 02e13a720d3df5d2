//! One file of a server's log by its name, as a `restore_command` is asked for it: what the server
//! handed over, else put together from the streamed ranges that cover it.
//!
//! "Absent" is said of what nothing in a whole listing speaks for: no such file, no range of it, and
//! nothing of its line behind it. Where something lies behind it, or something that might be it is
//! not believed, it is missing, and that is never the end of a log. A segment that nobody has to its
//! end is filled up with zeros to its full size, only where nothing of its line lies behind what there
//! is, in that segment or after it.

use bytes::Bytes;
use lifeboat_model::journal::{
    Kind, Name, PackName, WalKind, WalName, is_segment_size, native as native_of, turn,
};
use lifeboat_model::position::Position;

use super::handed::is_fault;
use super::object::chained;
use super::place::{Objects, chain_of};
use super::reader::Journal;
use super::records::{Found, Headers, Inner, Records};
use super::way::{Record, content};
use super::{JournalError, Result};

/// Records before a line's first one among which the branch to it is.
const MARGIN: u32 = 8;

/// A file of a log, or what is known of it.
#[derive(Debug, Clone)]
pub enum Held {
    /// It is there. Not `whole` is a segment that was filled up with zeros.
    File {
        /// Its content.
        content: Bytes,
        /// Every byte of it was written by the server.
        whole: bool,
    },
    /// It is proven that this tier has none.
    Absent,
    /// It should be there, or nobody can say: one sentence.
    Missing(String),
}

impl Journal {
    /// A file of the log that its source calls `native`.
    ///
    /// # Errors
    /// If the store fails: that says nothing about what is there. If what is there under the name is
    /// not believed and nothing else stands for it.
    pub fn held(&self, native: &str, name: &WalName) -> Result<Held> {
        let asked = Asked { inner: self.inner(), native };
        match name.kind {
            WalKind::Segment => asked.segment(name),
            WalKind::History => asked.history(name),
            WalKind::Partial | WalKind::Backup(_) => match asked.file(name)? {
                Some(content) => Ok(Held::File { content, whole: true }),
                None => Ok(Held::Absent),
            },
        }
    }

    /// Bytes of a segment of that log, if that can be known.
    ///
    /// # Errors
    /// If the store fails.
    pub fn segment_size(&self, native: &str) -> Result<Option<u64>> {
        Asked { inner: self.inner(), native }.size()
    }

    /// Every log of which there is something, by its source's name for it.
    pub fn logs(&self) -> Vec<String> {
        let chains = self.lineages().map(|lineage| native_of(lineage).to_owned());
        let mut logs: Vec<String> = chains.chain(self.handed().map(str::to_owned)).collect();
        logs.sort();
        logs.dedup();
        logs
    }
}

struct Asked<'a> {
    inner: &'a Inner,
    native: &'a str,
}

/// A part of a line, to be filled.
struct Part<'b> {
    line: u32,
    /// Where the segment begins.
    start: u64,
    /// Where it ends, or where the line was left.
    limit: u64,
    size: u64,
    bytes: &'b mut [u8],
    /// Where the last of what is known of the line ends.
    known: u64,
    /// What was in the way.
    faults: Vec<String>,
}

impl Asked<'_> {
    /// A file that was handed over.
    fn file(&self, name: &WalName) -> Result<Option<Bytes>> {
        match self.inner.lists(self.native, name) {
            true => self.inner.handed(self.native, name).map(|handed| Some(handed.content)),
            false => Ok(None),
        }
    }

    /// The chains of this log, the newest first.
    fn chains(&self) -> Vec<(&str, &Objects)> {
        let all = self.inner.listing.lineages.iter();
        let mut chains: Vec<_> = all
            .filter(|(lineage, _)| native_of(lineage) == self.native)
            .map(|(lineage, objects)| (lineage.as_str(), objects))
            .collect();
        chains.sort_by_key(|(lineage, _)| std::cmp::Reverse(turn(lineage)));
        chains
    }

    /// The file as a server handed it over. What is wrong with it goes into `faults`.
    fn handed_over(&self, name: &WalName, faults: &mut Vec<String>) -> Result<Option<Bytes>> {
        match self.file(name) {
            Err(error) if is_fault(&error) => {
                faults.push(chained(&error));
                Ok(None)
            }
            other => other,
        }
    }

    fn segment(&self, name: &WalName) -> Result<Held> {
        let mut faults = Vec::new();
        if let Some(content) = self.handed_over(name, &mut faults)? {
            return Ok(Held::File { content, whole: true });
        }
        let Some(size) = self.size()? else {
            return Ok(match (self.chains().is_empty(), faults.pop()) {
                (_, Some(why)) => Held::Missing(why),
                (true, None) if !self.speaks_for(name) => Held::Absent,
                _ => Held::Missing("the size of its segments is not known".to_owned()),
            });
        };
        if !name.fits(size) {
            return Ok(Held::Missing(format!("{name} is no segment of {size} bytes")));
        }
        let start = name.start(size).offset;
        let mut bytes = vec![0; size as usize];
        let mut part = Part {
            line: name.line,
            start,
            limit: start + size,
            size,
            bytes: &mut bytes,
            known: start,
            faults,
        };
        let mut reached = self.fill(&mut part)?;
        let (faults, known) = (std::mem::take(&mut part.faults), part.known);
        if reached == start + size {
            return Ok(Held::File { content: Bytes::from(bytes), whole: true });
        }
        if let Some(why) = faults.into_iter().next() {
            return Ok(Held::Missing(why));
        }
        let partial = self.file(&name.with(WalKind::Partial))?;
        let is_any = reached > start || partial.is_some();
        if let Some(partial) = partial.filter(|partial| partial.len() as u64 == size) {
            let from = (reached - start) as usize;
            bytes[from..].copy_from_slice(&partial[from..]);
            let written = partial.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            reached = reached.max(start + written as u64);
        }
        if known > reached || self.lies_behind(name.line, start + size, size) {
            return Ok(Held::Missing(format!(
                "{name} is not there from {} on, and there is log of its timeline behind it",
                Position::new(name.line, reached)
            )));
        }
        Ok(match is_any {
            true => Held::File { content: Bytes::from(bytes), whole: false },
            false => Held::Absent,
        })
    }

    /// Fills a part from its beginning on, and says how far.
    fn fill(&self, part: &mut Part<'_>) -> Result<u64> {
        let name = WalName::segment(Position::new(part.line, part.start), part.size);
        let length = (part.limit - part.start) as usize;
        match self.file(&name) {
            Ok(Some(whole)) if whole.len() as u64 == part.size => {
                part.bytes[..length].copy_from_slice(&whole[..length]);
                return Ok(part.limit);
            }
            Ok(_) => {}
            Err(error) if is_fault(&error) => part.faults.push(chained(&error)),
            Err(error) => return Err(error),
        }
        let (mut at, mut parted) = (part.start, false);
        for (lineage, objects) in self.chains() {
            let (records, faults) = self.records_in(lineage, objects, part)?;
            part.faults.extend(faults);
            // A recorded loss is log that there was.
            let spoken = |f: &&Found| matches!(f.header.kind, Kind::Range | Kind::Gap);
            let of_line = records.iter().filter(spoken).map(|f| f.header.to);
            let ends = of_line.filter(|to| to.line == part.line).map(|to| to.offset);
            part.known = ends.max().unwrap_or(0).max(part.known);
            let chain = chain_of(&self.inner.component, lineage);
            let ranges = || {
                records
                    .iter()
                    .filter(|f| f.header.kind == Kind::Range && f.header.from.line == part.line)
            };
            if at == part.start
                && !parted
                && let Some(begins) = ranges().map(|f| f.header.from.offset).min()
                && begins > part.start
                && let Some(parent) = self.parent(part.line, begins, &mut part.faults)?
            {
                // The line begins in this segment, with what the one before it had by then.
                let mut before = Part {
                    line: parent,
                    start: part.start,
                    limit: begins,
                    size: part.size,
                    bytes: part.bytes,
                    known: part.start,
                    faults: Vec::new(),
                };
                let reached = self.fill(&mut before)?;
                let faults = std::mem::take(&mut before.faults);
                part.faults.extend(faults);
                parted = true;
                if reached == begins {
                    at = reached;
                }
            }
            while let Some(found) = ranges()
                .filter(|f| f.header.from.offset <= at && at < f.header.to.offset)
                .max_by_key(|f| f.header.to.offset)
            {
                if at >= part.limit {
                    break;
                }
                let bytes = content(self.inner, &chain, &Record::of(found))?;
                let to = found.header.to.offset.min(part.limit);
                let skip = (at - found.header.from.offset) as usize;
                let length = (to - at) as usize;
                let some = bytes.get(skip..skip + length).ok_or_else(|| JournalError::Damaged {
                    object: found.header.name().to_string(),
                    why: "it is short".to_owned(),
                })?;
                let into = (at - part.start) as usize;
                part.bytes[into..into + length].copy_from_slice(some);
                at = to;
            }
        }
        Ok(at)
    }

    /// The records of a chain that can hold log of a part, proven.
    fn records_in(
        &self,
        lineage: &str,
        objects: &Objects,
        part: &Part<'_>,
    ) -> Result<(Vec<Found>, Vec<String>)> {
        let (from, to) =
            (Position::new(part.line, part.start), Position::new(part.line, part.limit));
        let mut some = Objects::default();
        for (name, size) in &objects.ranges {
            if from <= name.from && name.from < to {
                some.ranges.insert(*name, *size);
            }
        }
        for (pack, size, after) in packs(objects) {
            if pack.first.from < to && after.is_none_or(|after| after > from) {
                some.packs.insert(pack, size);
            }
        }
        self.proven(lineage, &some)
    }

    fn proven(&self, lineage: &str, objects: &Objects) -> Result<(Vec<Found>, Vec<String>)> {
        let mut records = Records::among(self.inner, lineage, objects, Headers::Known)?;
        let mut all = Vec::new();
        while let Some((_, found)) = records.next()? {
            all.extend(found);
        }
        let faults = records.faults.iter().map(|fault| fault.why.clone()).collect();
        Ok((all, faults))
    }

    /// The line that was left for this one at a place.
    fn parent(&self, line: u32, at: u64, faults: &mut Vec<String>) -> Result<Option<u32>> {
        let name = WalName::history(line);
        if self.inner.lists(self.native, &name) {
            match self.inner.handed(self.native, &name) {
                Ok(handed) => {
                    let header = handed.header;
                    return Ok((header.to.offset == at).then_some(header.from.line));
                }
                Err(error) if is_fault(&error) => faults.push(chained(&error)),
                Err(error) => return Err(error),
            }
        }
        let branch = self.branch(line, faults)?.map(|(_, found)| found.header);
        Ok(branch.filter(|header| header.to.offset == at).map(|header| header.from.line))
    }

    fn history(&self, name: &WalName) -> Result<Held> {
        let mut faults = Vec::new();
        if let Some(content) = self.handed_over(name, &mut faults)? {
            return Ok(Held::File { content, whole: true });
        }
        if let Some((lineage, found)) = self.branch(name.line, &mut faults)? {
            let chain = chain_of(&self.inner.component, lineage);
            let content = content(self.inner, &chain, &Record::of(&found))?;
            return Ok(Held::File { content, whole: true });
        }
        if let Some(content) = self.told(name.line, &mut faults)? {
            return Ok(Held::File { content, whole: true });
        }
        if let Some(why) = faults.into_iter().next() {
            return Ok(Held::Missing(why));
        }
        // The first line has no history; a server asks for it all the same.
        Ok(match name.line > 1 && self.speaks_for(name) {
            true => Held::Missing(format!(
                "there is log of timeline {}, and no {name}; its server has it in `pg_wal`, and \
                 `lifeboat wal push` takes it",
                name.line
            )),
            false => Held::Absent,
        })
    }

    /// The record by which a line began.
    fn branch(&self, line: u32, faults: &mut Vec<String>) -> Result<Option<(&str, Found)>> {
        for (lineage, objects) in self.chains() {
            let of_line = |name: &&Name| name.from.line >= line;
            let begins = objects.ranges.keys().filter(of_line).map(|name| name.seq).min();
            let packed = objects.packs.keys().filter(|pack| pack.first.from.line >= line);
            let begins = begins.into_iter().chain(packed.map(|pack| pack.first.seq)).min();
            let begins = begins.unwrap_or_else(|| objects.newest().saturating_add(1));
            let mut some = Objects::default();
            let near = |seq: u32| (begins.saturating_sub(MARGIN)..begins).contains(&seq);
            let loose = objects.ranges.iter().filter(|(name, _)| near(name.seq));
            some.ranges.extend(loose.map(|(name, size)| (*name, *size)));
            for (pack, size, after) in packs(objects) {
                let leads = after.is_none_or(|after| after.line >= line);
                if pack.first.from.line < line && (leads || near(pack.last_seq())) {
                    some.packs.insert(pack, size);
                }
            }
            let (records, why) = self.proven(lineage, &some)?;
            faults.extend(why);
            let mut branches =
                records.into_iter().filter(|found| found.header.kind == Kind::Branch);
            if let Some(found) = branches.find(|found| found.header.to.line == line) {
                return Ok(Some((lineage, found)));
            }
        }
        Ok(None)
    }

    /// The history of a line as the facts of a stream on it tell it.
    fn told(&self, line: u32, faults: &mut Vec<String>) -> Result<Option<Bytes>> {
        for (lineage, objects) in self.chains() {
            let mut some = Objects::default();
            let loose = objects.ranges.iter().filter(|(name, _)| name.from.line == line);
            some.ranges.extend(loose.map(|(name, size)| (*name, *size)));
            for (pack, size, after) in packs(objects) {
                if pack.first.from.line <= line && after.is_none_or(|after| after.line >= line) {
                    some.packs.insert(pack, size);
                }
            }
            let mut records = Records::among(self.inner, lineage, &some, Headers::Known)?;
            while let Some((_, found)) = records.next()? {
                if let Some(text) = found.iter().find_map(|found| found.header.history_of(line)) {
                    return Ok(Some(Bytes::copy_from_slice(text.as_bytes())));
                }
            }
            faults.extend(records.faults.iter().map(|fault| fault.why.clone()));
        }
        Ok(None)
    }

    /// Is there anything of the file's line from its place on?
    fn speaks_for(&self, name: &WalName) -> bool {
        let handed = self.inner.listing.handed.get(self.native);
        let later = |other: &WalName| other.line == name.line && other.log >= name.log;
        let mut chains = self.chains().into_iter();
        handed.is_some_and(|names| names.keys().any(later))
            || chains.any(|(_, objects)| {
                let loose = objects.ranges.keys().map(|name| name.from);
                let packed = objects.packs.keys().map(|pack| pack.first.from);
                loose.chain(packed).any(|from| from.line == name.line)
            })
    }

    /// Does anything of a line begin at a place or behind it?
    fn lies_behind(&self, line: u32, place: u64, size: u64) -> bool {
        let behind = |from: Position| from.line == line && from.offset >= place;
        let handed = self.inner.listing.handed.get(self.native);
        let mut names = handed.into_iter().flat_map(|names| names.keys());
        names.any(|name| name.kind != WalKind::History && behind(name.start(size)))
            || self.chains().into_iter().any(|(_, objects)| {
                let loose = objects.ranges.keys().map(|name| name.from);
                loose.chain(objects.packs.keys().map(|pack| pack.first.from)).any(behind)
            })
    }

    /// Bytes of a segment: as long as one that was handed over, or as the stream says.
    fn size(&self) -> Result<Option<u64>> {
        let handed = self.inner.listing.handed.get(self.native);
        let segments = handed.into_iter().flat_map(|names| names.keys());
        for name in segments.filter(|name| name.kind == WalKind::Segment) {
            match self.inner.handed(self.native, name) {
                Ok(handed) if is_segment_size(handed.header.bytes) => {
                    return Ok(Some(handed.header.bytes));
                }
                Ok(_) => {}
                Err(error) if is_fault(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for (lineage, _) in self.chains() {
            let mut records = Records::of(self.inner, lineage, Headers::Known)?;
            while let Some((_, found)) = records.next()? {
                let told = found.iter().filter(|found| found.header.kind == Kind::Start);
                let mut sizes = told.filter_map(|found| {
                    let fact = found.header.facts.get("segment_size")?;
                    fact.as_u64().or_else(|| fact.as_str()?.parse().ok())
                });
                if let Some(size) = sizes.find(|size| is_segment_size(*size)) {
                    return Ok(Some(size));
                }
            }
        }
        Ok(None)
    }
}

/// Packs in the order of the chain, each with the place where what comes after it begins.
fn packs(objects: &Objects) -> Vec<(PackName, u64, Option<Position>)> {
    let mut all: Vec<(u32, Position)> =
        objects.ranges.keys().map(|name| (name.seq, name.from)).collect();
    all.extend(objects.packs.keys().map(|pack| (pack.first.seq, pack.first.from)));
    all.sort_unstable_by_key(|(seq, _)| *seq);
    let after = |pack: &PackName| {
        let next = all.partition_point(|(seq, _)| *seq <= pack.last_seq());
        all.get(next).map(|(_, from)| *from)
    };
    objects.packs.iter().map(|(pack, size)| (*pack, *size, after(pack))).collect()
}
