//! Reads the records of a log as it lies in segments: where each begins and ends, and of a few kinds
//! what they say. Formats as in `access/xlogrecord.h` and `access/xlog_internal.h`, the same in the
//! versions 13 to 18.
//!
//! Nothing is replayed by what is read here. It tells where a log ends, whether something was
//! committed after an instant, and what a server must not be given to replay.

use jiff::Timestamp;

/// Bytes of a page of the log.
pub(super) const PAGE: u64 = 8192;
/// Bytes of a page's header; that of a segment's first page is longer.
const SHORT: u64 = 24;
const LONG: u64 = 40;
/// Bytes of a record's header.
const HEADER: usize = 24;
/// Flag of a page that begins with a new record instead of the rest of one that was never finished.
const OVERWRITES: u16 = 0x0008;
/// Seconds from 1970 to 2000, where PostgreSQL's time begins.
const EPOCH: i64 = 946_684_800;

/// Managers of records (`access/rmgrlist.h`).
const XLOG: u8 = 0;
const TRANSACTION: u8 = 1;
const TABLESPACE: u8 = 5;

/// A whole record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where it begins.
    pub start: u64,
    /// Where the next one may begin.
    pub end: u64,
}

/// What a record says that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A transaction ended, by a commit or an abort.
    Ended(Timestamp),
    /// `pg_create_restore_point`.
    RestorePoint(String),
    /// A tablespace was made at this place of the server's machine.
    Tablespace(String),
    /// Anything else.
    Other,
}

/// Goes through a log that is fed to it piece by piece.
pub(super) struct Walker {
    segment: u64,
    /// The place of the next byte.
    at: u64,
    state: State,
    last: Option<Extent>,
}

#[derive(Debug)]
enum State {
    /// Somewhere inside a page: up to the next page's header nothing is known.
    Lost,
    /// A record begins at the next byte, after alignment.
    Between,
    /// The rest of a record whose beginning was not seen.
    Rest(u64),
    /// Inside a record.
    Record { start: u64, head: Vec<u8>, total: u64, seen: u64, keep: bool },
    /// The segment holds nothing more.
    Skip,
    /// Here the log ends.
    End,
}

impl Walker {
    /// From a segment's or page's first byte on.
    pub fn new(segment: u64, at: u64) -> Walker {
        Walker { segment, at, state: State::Lost, last: None }
    }

    /// The last whole record.
    #[cfg(test)]
    fn last(&self) -> Option<Extent> {
        self.last
    }

    /// True if a record began and has not ended that may be one of the kinds told apart here.
    pub fn in_one_that_matters(&self) -> bool {
        matches!(&self.state, State::Record { head, keep, .. } if *keep && !head.is_empty())
    }

    /// Takes the bytes that follow, and calls `on` for each record that ends in them.
    pub fn feed(&mut self, mut bytes: &[u8], on: &mut dyn FnMut(Extent, Meaning)) {
        while !bytes.is_empty() && !matches!(self.state, State::End) {
            let taken = if self.at.is_multiple_of(PAGE) {
                self.page_header(bytes)
            } else {
                let room = (PAGE - self.at % PAGE).min(bytes.len() as u64) as usize;
                self.within(&bytes[..room], on)
            };
            let Some(taken) = taken else { break };
            self.at += taken as u64;
            bytes = &bytes[taken..];
            // A switch in a segment's last bytes leaves nothing to skip.
            if matches!(self.state, State::Skip) && self.at.is_multiple_of(self.segment) {
                self.state = State::Between;
            }
        }
    }

    /// The header is taken whole, or the log ends before it: pieces are cut at any byte, but a
    /// header that is not all there is followed by nothing.
    fn page_header(&mut self, bytes: &[u8]) -> Option<usize> {
        let first = self.at.is_multiple_of(self.segment);
        let length = if first { LONG } else { SHORT } as usize;
        if matches!(self.state, State::Skip) {
            if !first {
                return Some((PAGE as usize).min(bytes.len()));
            }
            self.state = State::Between;
        }
        let header = bytes.get(..length)?;
        let number =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        if short(0) >> 8 != 0xD1 || number(8) != self.at {
            self.state = State::End;
            return Some(length);
        }
        let rest = u64::from(number(16) as u32);
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Lost | State::Between | State::Rest(_) if rest > 0 => State::Rest(rest),
            State::Record { .. } if short(2) & OVERWRITES != 0 || rest == 0 => State::Between,
            record @ State::Record { .. } => record,
            _ => State::Between,
        };
        Some(length)
    }

    /// Takes bytes of one page, none of its header.
    fn within(&mut self, bytes: &[u8], on: &mut dyn FnMut(Extent, Meaning)) -> Option<usize> {
        match &mut self.state {
            State::End => None,
            State::Lost | State::Skip => Some(bytes.len()),
            State::Rest(rest) => {
                let taken = (*rest).min(bytes.len() as u64);
                *rest -= taken;
                if *rest == 0 {
                    self.state = State::Between;
                }
                Some(taken as usize)
            }
            State::Between => {
                let skip = (self.at.next_multiple_of(8) - self.at) as usize;
                if skip > 0 {
                    return Some(skip.min(bytes.len()));
                }
                let start = self.at;
                self.state =
                    State::Record { start, head: Vec::new(), total: 0, seen: 0, keep: true };
                Some(0)
            }
            State::Record { .. } => Some(self.of_record(bytes, on)),
        }
    }

    fn of_record(&mut self, bytes: &[u8], on: &mut dyn FnMut(Extent, Meaning)) -> usize {
        let State::Record { head, total, seen, keep, .. } = &mut self.state else { return 0 };
        if head.len() < HEADER {
            let taken = (HEADER - head.len()).min(bytes.len());
            head.extend_from_slice(&bytes[..taken]);
            *seen += taken as u64;
            if head.len() >= 4 {
                let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
                *total = u64::from(length);
                if *total < HEADER as u64 {
                    // Zeros: nothing was ever written here.
                    self.state = State::End;
                    return taken;
                }
            }
            if head.len() == HEADER {
                *keep = matches!(head[17], XLOG | TRANSACTION | TABLESPACE);
                self.ended(self.at + taken as u64, on);
            }
            return taken;
        }
        let taken = (*total - *seen).min(bytes.len() as u64) as usize;
        if *keep {
            head.extend_from_slice(&bytes[..taken]);
        }
        *seen += taken as u64;
        self.ended(self.at + taken as u64, on);
        taken
    }

    /// Ends the record, if `at` is its end.
    fn ended(&mut self, at: u64, on: &mut dyn FnMut(Extent, Meaning)) {
        let State::Record { start, head, total, seen, keep } = &self.state else { return };
        if seen < total {
            return;
        }
        let switches = head[17] == XLOG && head[16] & 0xF0 == 0x40;
        let end = match switches {
            true => at.next_multiple_of(self.segment),
            false => at.next_multiple_of(8),
        };
        let extent = Extent { start: *start, end };
        let meaning = if *keep { meaning(head) } else { Meaning::Other };
        self.state = if switches { State::Skip } else { State::Between };
        self.last = Some(extent);
        on(extent, meaning);
    }
}

/// What a whole record of one of the three managers says.
fn meaning(record: &[u8]) -> Meaning {
    let (info, manager) = (record[16], record[17]);
    let found = match (manager, info & 0xF0) {
        (XLOG, 0x70) => data(record).and_then(|data| {
            let name = data.get(8..)?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Some(Meaning::RestorePoint(String::from_utf8_lossy(&name[..end]).into_owned()))
        }),
        // Commit, abort, and those of prepared transactions.
        (TRANSACTION, op) if matches!(op & 0x70, 0x00 | 0x20 | 0x30 | 0x40) => data(record)
            .and_then(|data| {
                let micros = i64::from_le_bytes(data.get(..8)?.try_into().ok()?);
                time(micros).map(Meaning::Ended)
            }),
        (TABLESPACE, 0x00) => data(record).and_then(|data| {
            let path = data.get(4..)?;
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Some(Meaning::Tablespace(String::from_utf8_lossy(&path[..end]).into_owned()))
        }),
        _ => None,
    };
    found.unwrap_or(Meaning::Other)
}

/// Microseconds since 2000.
fn time(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros.checked_add(EPOCH * 1_000_000)?).ok()
}

/// A record's own data: its last bytes. Those of records about pages are not looked for.
fn data(record: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    loop {
        let (length, kind) = match *record.get(at)? {
            255 => (usize::from(*record.get(at + 1)?), 255),
            254 => {
                let length = record.get(at + 1..at + 5)?;
                (u32::from_le_bytes(length.try_into().ok()?) as usize, 254)
            }
            253 => (3, 253),
            252 => (5, 252),
            _ => return None,
        };
        if kind >= 254 {
            return record.get(record.len().checked_sub(length)?..);
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1 << 20;

    /// Writes records into a log as a server does.
    struct Writer {
        bytes: Vec<u8>,
        from: u64,
    }

    impl Writer {
        fn new(from: u64) -> Writer {
            Writer { bytes: Vec::new(), from }
        }

        fn at(&self) -> u64 {
            self.from + self.bytes.len() as u64
        }

        fn header(&mut self, rest: u32) {
            let at = self.at();
            self.bytes.extend([0x10, 0xD1, 0, 0, 1, 0, 0, 0]);
            self.bytes.extend(at.to_le_bytes());
            self.bytes.extend(u64::from(rest).to_le_bytes());
            if at.is_multiple_of(SEGMENT) {
                self.bytes.extend([0; 16]);
            }
        }

        fn record(&mut self, manager: u8, info: u8, data: &[u8]) -> Extent {
            while !self.at().is_multiple_of(8) {
                self.bytes.push(0);
            }
            let mut record = ((HEADER + 5 + data.len()) as u32).to_le_bytes().to_vec();
            record.extend([0; 12]);
            record.extend([info, manager, 0, 0, 0, 0, 0, 0, 254]);
            record.extend((data.len() as u32).to_le_bytes());
            record.extend(data);
            let mut start = None;
            for (at, byte) in record.iter().enumerate() {
                if self.at().is_multiple_of(PAGE) {
                    let rest = if at == 0 { 0 } else { record.len() - at };
                    self.header(rest as u32);
                }
                start.get_or_insert(self.at());
                self.bytes.push(*byte);
            }
            Extent { start: start.unwrap(), end: self.at().next_multiple_of(8) }
        }
    }

    fn commit(seconds: i64) -> Vec<u8> {
        ((seconds - EPOCH) * 1_000_000).to_le_bytes().to_vec()
    }

    fn walk(bytes: &[u8], from: u64, cut: usize) -> (Vec<(Extent, Meaning)>, Option<Extent>) {
        let mut walker = Walker::new(SEGMENT, from);
        let mut seen = Vec::new();
        // A server's ranges end anywhere but inside a page's header.
        let mut left = bytes;
        let mut at = from;
        while !left.is_empty() {
            let mut taken = cut.min(left.len());
            let into = (at + taken as u64) % PAGE;
            if into < LONG {
                taken = (taken + LONG as usize).min(left.len());
            }
            walker.feed(&left[..taken], &mut |extent, meaning| seen.push((extent, meaning)));
            left = &left[taken..];
            at += taken as u64;
        }
        (seen, walker.last())
    }

    #[test]
    fn records_are_found_however_the_log_is_cut() {
        let mut log = Writer::new(SEGMENT);
        let mut written = Vec::new();
        for size in [0, 1, 100, 9000, 40_000, 3, 8000] {
            written.push(log.record(10, 0, &vec![7; size]));
        }
        written.push(log.record(TRANSACTION, 0x80, &commit(1_700_000_000)));
        for cut in [1, 7, 8192, 1 << 20] {
            let (seen, last) = walk(&log.bytes, SEGMENT, cut);
            let extents: Vec<Extent> = seen.iter().map(|(extent, _)| *extent).collect();
            assert_eq!(extents, written, "cut at every {cut}");
            assert_eq!(last, written.last().copied());
            let time = Timestamp::from_second(1_700_000_000).unwrap();
            assert_eq!(seen.last().unwrap().1, Meaning::Ended(time));
        }
    }

    #[test]
    fn a_record_that_is_not_all_there_is_none() {
        let mut log = Writer::new(SEGMENT);
        let first = log.record(10, 0, &[1; 500]);
        log.record(10, 0, &[2; 9000]);
        for missing in [1, 500, 8999] {
            let (_, last) = walk(&log.bytes[..log.bytes.len() - missing], SEGMENT, 1 << 20);
            assert_eq!(last, Some(first), "{missing} bytes are missing");
        }
        let mut padded = log.bytes[..PAGE as usize].to_vec();
        padded.resize(SEGMENT as usize, 0);
        // The next page is zeros: no header, no more of the record.
        assert_eq!(walk(&padded, SEGMENT, 1 << 20).1, Some(first));
    }

    #[test]
    fn one_begins_in_the_middle_at_the_first_record_of_a_page() {
        let mut log = Writer::new(SEGMENT);
        log.record(10, 0, &[1; 20_000]);
        let next = log.record(10, 0, &[1; 10]);
        let (seen, _) = walk(&log.bytes[PAGE as usize..], SEGMENT + PAGE, 1 << 20);
        assert_eq!(seen.iter().map(|(extent, _)| *extent).collect::<Vec<_>>(), [next]);
    }

    #[test]
    fn after_a_switch_the_next_segment_goes_on() {
        let mut log = Writer::new(SEGMENT);
        log.record(10, 0, &[1; 10]);
        let switch = log.record(XLOG, 0x40, &[]);
        log.bytes.resize(SEGMENT as usize, 0);
        let next = log.record(XLOG, 0x70, &[&[0; 8][..], b"before the deploy\0\0"].concat());
        let (seen, _) = walk(&log.bytes, SEGMENT, 1 << 20);
        assert_eq!(seen[1].0, Extent { start: switch.start, end: 2 * SEGMENT });
        assert_eq!(seen[2], (next, Meaning::RestorePoint("before the deploy".to_owned())));
    }

    #[test]
    fn a_tablespace_is_told_with_its_place() {
        let mut log = Writer::new(SEGMENT);
        log.record(TABLESPACE, 0, b"\x01\x40\0\0/srv/fast\0");
        let (seen, _) = walk(&log.bytes, SEGMENT, 1 << 20);
        assert_eq!(seen[0].1, Meaning::Tablespace("/srv/fast".to_owned()));
    }
}
