//! Where in its log a database is.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A place in the log of a database, in the order of the log.
///
/// | engine | `line` | `offset` |
/// |---|---|---|
/// | PostgreSQL | timeline | LSN, bytes |
/// | SQLite | 0 | number of the last batch of commits (txid) that is in it |
/// | MariaDB, MySQL | number of the binlog file | bytes in it |
///
/// Written as eight and sixteen hexadecimal digits with a dash between, so that texts sort like
/// positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The line of history, or the file.
    pub line: u32,
    /// How far in it.
    pub offset: u64,
}

impl Position {
    /// A place in a log.
    pub fn new(line: u32, offset: u64) -> Position {
        Position { line, offset }
    }
}

/// A text is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position in a log (as `00000001-00000000016b3748`)")]
pub struct PositionError;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}", self.line, self.offset)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        let position = (|| {
            let (line, offset) = text.split_once('-')?;
            let line = u32::from_str_radix(line, 16).ok()?;
            Some(Position { line, offset: u64::from_str_radix(offset, 16).ok()? })
        })();
        // One way to write it: names are compared as texts.
        position.filter(|position| position.to_string() == text).ok_or(PositionError)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Position {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Position".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{16}$" })
    }
}

/// A place in one log among all that there have been of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPosition {
    /// The log: PostgreSQL's system identifier, or a random number that Lifeboat gave. Letters,
    /// digits, `.`, `-` and `+`, for it names a folder in the tier.
    pub lineage: String,
    /// The place in it.
    pub position: Position,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_sort_like_positions() {
        let some = [Position::new(1, 0x16b_3748), Position::new(1, u64::MAX), Position::new(16, 0)];
        for pair in some.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
        for position in some {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn there_is_one_way_to_write_a_position() {
        for text in
            ["", "1-2", "00000001-00000000016B3748", "00000001", "+0000001-0000000000000000"]
        {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }
}
