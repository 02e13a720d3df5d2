//! Files of a PostgreSQL log that its server hands over whole (`archive_command`): their names, and
//! what a stored one says of itself.
//!
//! They lie beside the chain of records (`journal/COMPONENT/LINEAGE/wal/NAME`) and are signed each by
//! itself: a server hands them over in any order, more than once, and from more than one host.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::{Document, Hash};
use crate::position::Position;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalKind {
    /// A whole segment.
    Segment,
    /// A segment as far as its line went when another one left it (`.partial`).
    Partial,
    /// What a base backup left in the log, with the place in the segment where it began (`.backup`).
    Backup(u32),
    /// The history of a line.
    History,
}

/// The name of a file as the server gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalName {
    /// The line (timeline).
    pub line: u32,
    /// The two parts of the segment's number; zero for a history.
    pub log: (u32, u32),
    /// What it is.
    pub kind: WalKind,
}

impl WalName {
    /// The whole segment of a line that holds a place, in a log with segments of `size` bytes.
    pub fn segment(at: Position, size: u64) -> WalName {
        let (number, each) = (at.offset / size, (1 << 32) / size);
        let log = ((number / each) as u32, (number % each) as u32);
        WalName { line: at.line, log, kind: WalKind::Segment }
    }

    /// The history of a line.
    pub fn history(line: u32) -> WalName {
        WalName { line, log: (0, 0), kind: WalKind::History }
    }

    /// The same segment as another kind of file.
    pub fn with(self, kind: WalKind) -> WalName {
        WalName { kind, ..self }
    }

    /// Where the segment begins, in a log with segments of `size` bytes.
    pub fn start(&self, size: u64) -> Position {
        let each = (1 << 32) / size;
        let number = u64::from(self.log.0) * each + u64::from(self.log.1);
        Position::new(self.line, number.saturating_mul(size))
    }

    /// True for a number that there is, in a log with segments of `size` bytes.
    pub fn fits(&self, size: u64) -> bool {
        u64::from(self.log.1) < (1 << 32) / size
    }
}

/// True for a size that a segment can have: a power of two from 1 MiB to 1 GiB.
pub fn is_segment_size(size: u64) -> bool {
    size.is_power_of_two() && (1 << 20..=1 << 30).contains(&size)
}

impl fmt::Display for WalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = self.log;
        match self.kind {
            WalKind::Segment => write!(f, "{:08X}{high:08X}{low:08X}", self.line),
            WalKind::Partial => write!(f, "{:08X}{high:08X}{low:08X}.partial", self.line),
            WalKind::Backup(at) => {
                write!(f, "{:08X}{high:08X}{low:08X}.{at:08X}.backup", self.line)
            }
            WalKind::History => write!(f, "{:08X}.history", self.line),
        }
    }
}

impl FromStr for WalName {
    type Err = ();

    fn from_str(text: &str) -> Result<WalName, ()> {
        let part = |from: usize| {
            let digits = text.get(from..from + 8).ok_or(())?;
            u32::from_str_radix(digits, 16).map_err(|_| ())
        };
        let line = part(0)?;
        let name = match text.get(8..) {
            Some(".history") => WalName::history(line),
            _ => {
                let rest = text.get(24..).ok_or(())?;
                let kind = match rest {
                    "" => WalKind::Segment,
                    ".partial" => WalKind::Partial,
                    _ if rest.ends_with(".backup") => WalKind::Backup(part(25)?),
                    _ => return Err(()),
                };
                WalName { line, log: (part(8)?, part(16)?), kind }
            }
        };
        // One way to write it.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// The first line of a stored file, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WalHeader {
    /// Format number.
    pub format: u32,
    /// `journal/COMPONENT/LINEAGE`. A file cannot be moved to another log.
    pub chain: String,
    /// Its name.
    pub name: String,
    /// Where it begins: a segment its first byte, a history where it leaves the line before.
    pub from: Position,
    /// Where it ends; of a history the same place on its own line.
    pub to: Position,
    /// The server's time of the last transaction that ended in it: everything that ended before is in
    /// it or before it. Absent where none ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// When it was stored, wall clock of the host.
    pub time: Timestamp,
    /// On which host.
    pub host: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: Hash,
}

impl Document for WalHeader {
    const DOMAIN: &'static str = "lifeboat wal 1";
    const FORMAT: u32 = 1;
}

impl WalHeader {
    /// True if these bytes are its content.
    pub fn holds(&self, content: &[u8]) -> bool {
        content.len() as u64 == self.bytes && Hash::of(content) == self.sha256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_server() {
        for text in [
            "0000000100000002000000FF",
            "0000000100000002000000FF.partial",
            "000000010000000200000003.00000028.backup",
            "0000000A.history",
        ] {
            assert_eq!(text.parse::<WalName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "0000000a.history",
            "0000000100000002000000ff",
            "0000000100000002000000FF.part",
            "000000010000000200000003.28.backup",
            "../000000100000002000000",
            "RECOVERYXLOG",
            "00000001ä000002000000FF",
        ] {
            assert_eq!(text.parse::<WalName>(), Err(()), "{text}");
        }
    }

    #[test]
    fn names_tell_places_in_segments_of_every_size() {
        let size = 16 << 20;
        let at = Position::new(1, 0x2_0300_0028);
        let name = WalName::segment(at, size);
        assert_eq!(name.to_string(), "000000010000000200000003");
        assert_eq!(name.start(size), Position::new(1, 0x2_0300_0000));
        assert!(name.fits(size) && !WalName { log: (2, 0x100), ..name }.fits(size));
        let small = WalName::segment(at, 1 << 20);
        assert_eq!((small.log, small.start(1 << 20).offset), ((2, 0x30), 0x2_0300_0000));
        assert!(is_segment_size(1 << 20) && !is_segment_size(3 << 20) && !is_segment_size(512));
    }
}
