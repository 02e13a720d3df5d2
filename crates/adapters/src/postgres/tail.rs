//! By what a stream knows the log that it goes on from: a hash of its last bytes, and of the history of
//! its timeline, kept as facts of each range.
//!
//! A system identifier and a timeline's number do not tell two logs apart: two standbys may be promoted
//! to one number, and a machine may be taken back to an older state.

use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::LogFacts;

/// Fact of a range: where the bytes end, how many they are, and their hash.
const TAIL: &str = "tail";
/// Fact of a range: its timeline, and a hash of those before it and where they were left.
const LINES: &str = "lines";
/// Fact of a range: up to when all is in it or before it.
const COMPLETE: &str = "complete";
/// The most bytes that are compared.
const BYTES: usize = 1024;

/// The last bytes of a log that are not zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where they begin.
    pub(crate) from: Position,
    pub(crate) length: u64,
    hash: String,
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

impl Tail {
    /// Of a piece of log; of zeros alone there is none.
    pub(crate) fn of(from: Position, bytes: &[u8]) -> Option<Tail> {
        let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
        let start = end.saturating_sub(BYTES);
        let from = Position::new(from.line, from.offset + start as u64);
        Some(Tail { from, length: (end - start) as u64, hash: hash(&bytes[start..end]) })
    }

    /// As a journal has it, if it is of the line on which that ends.
    pub(crate) fn read(facts: &LogFacts, end: Position) -> Option<Tail> {
        let text = facts.get(TAIL)?.as_str()?;
        let mut words = text.split(' ');
        let from: Position = words.next()?.parse().ok()?;
        let length = words.next()?.parse().ok()?;
        let hash = words.next()?.to_owned();
        let fits = from.line == end.line && from.offset.checked_add(length)? <= end.offset;
        (fits && length <= BYTES as u64).then_some(Tail { from, length, hash })
    }

    /// Are they the same bytes?
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        hash(bytes) == self.hash
    }
}

/// A timeline among all that have its number.
pub(crate) fn line_mark(line: u32, past: &[(u32, u64)]) -> String {
    let before = past.iter().filter(|(old, _)| *old < line);
    let text: String = before.map(|(old, left)| format!("{old} {left}\n")).collect();
    format!("{line} {}", &hash(text.as_bytes())[..16])
}

/// The mark of a journal's line, as its last range has it.
pub(crate) fn told_line(facts: &LogFacts, line: u32) -> Option<&str> {
    let mark = facts.get(LINES)?.as_str()?;
    mark.starts_with(&format!("{line} ")).then_some(mark)
}

/// Up to when the journal's last range said that all is in it.
pub(crate) fn told_complete(facts: &LogFacts) -> Option<Timestamp> {
    facts.get(COMPLETE)?.as_str()?.parse().ok()
}

/// The facts of a range.
pub(crate) fn facts(complete: Timestamp, tail: Option<&Tail>, line: &str) -> LogFacts {
    let mut facts = LogFacts::from([(COMPLETE.to_owned(), complete.to_string().into())]);
    if let Some(Tail { from, length, hash }) = tail {
        facts.insert(TAIL.to_owned(), format!("{from} {length} {hash}").into());
    }
    facts.insert(LINES.to_owned(), line.into());
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_bytes_that_say_something() {
        let at = Position::new(2, 5000);
        assert_eq!(Tail::of(at, &[0; 30]), None);
        let mut bytes = vec![7; 3000];
        bytes.extend([0; 500]);
        let tail = Tail::of(at, &bytes).unwrap();
        assert_eq!((tail.from, tail.length), (Position::new(2, 5000 + 3000 - 1024), 1024));
        assert!(tail.is(&[7; 1024]) && !tail.is(&[8; 1024]));
        let kept = facts(Timestamp::UNIX_EPOCH, Some(&tail), "2 x");
        assert_eq!(Tail::read(&kept, Position::new(2, 8500)), Some(tail));
        for other in [Position::new(3, 8500), Position::new(2, 7999)] {
            assert_eq!(Tail::read(&kept, other), None, "{other}");
        }
        assert_eq!(told_line(&kept, 2), Some("2 x"));
        assert_eq!(told_line(&kept, 3), None);
    }

    #[test]
    fn a_timeline_is_told_by_where_those_before_it_were_left() {
        let of = |past: &[(u32, u64)]| line_mark(2, past);
        assert_eq!(of(&[(1, 7)]), of(&[(1, 7), (2, 9)]));
        assert_ne!(of(&[(1, 7)]), of(&[(1, 8)]));
    }
}
