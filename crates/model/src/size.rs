//! Amounts of data as people write and read them: `2 GiB`, `500MB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::duration::scaled;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// Why a text is not a size. One lower-case sentence; [`SizeError::hint`] mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Nothing was written.
    #[error("an empty text is no size")]
    Empty,
    /// A number stands alone.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// Not a number at the front.
    #[error("`{0}` is not a number with a unit")]
    NoNumber(String),
    /// The unit is not known.
    #[error("`{0}` is not a unit of size")]
    UnknownUnit(String),
    /// More than 16 EiB.
    #[error("`{0}` is more than can be counted")]
    TooLarge(String),
}

impl SizeError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            SizeError::NoUnit(n) => format!("say which: `{n} B`, `{n} MiB` or `{n} GiB`"),
            _ => "units are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (of 1024)"
                .to_owned(),
        }
    }
}

/// Bare letters (`10G`) are read as powers of 1024, as `du` and restic do.
fn unit(word: &str) -> Option<u64> {
    Some(match word.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "pb" => 1_000_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "p" | "pib" => 1 << 50,
        _ => return None,
    })
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SizeError::Empty);
        }
        let digits = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
            .unwrap_or(text.len());
        let (number, word) = (&text[..digits], text[digits..].trim());
        if number.is_empty() {
            return Err(SizeError::NoNumber(text.to_owned()));
        }
        if word.is_empty() {
            return Err(SizeError::NoUnit(number.to_owned()));
        }
        let scale = unit(word).ok_or_else(|| SizeError::UnknownUnit(word.to_owned()))?;
        match scaled(number, scale) {
            None => Err(SizeError::NoNumber(text.to_owned())),
            Some(u64::MAX) => Err(SizeError::TooLarge(text.to_owned())),
            Some(bytes) => Ok(Size(bytes)),
        }
    }
}

impl fmt::Display for Size {
    /// One decimal, rounded to nearest, in powers of 1024: `2.1 GiB`, `640 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut scale = 1024u128;
        for (index, name) in UNITS.iter().enumerate() {
            let tenths = (u128::from(self.0) * 10 + scale / 2) / scale;
            if tenths < 10_240 || index + 1 == UNITS.len() {
                return if tenths.is_multiple_of(10) {
                    write!(f, "{} {name}", tenths / 10)
                } else {
                    write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
                };
            }
            scale *= 1024;
        }
        Ok(())
    }
}

impl Serialize for Size {
    /// Exact: in the largest unit that divides it, so that it reads back to the same.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        for (name, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return serializer.collect_str(&format_args!("{} {name}", self.0 >> shift));
            }
        }
        serializer.collect_str(&format_args!("{} B", self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A size with its unit: `2 GiB`, `500MB`.",
            "pattern": r"^\s*[0-9][0-9_]*(\.[0-9]+)?\s*[A-Za-z]+\s*$",
            "examples": ["2 GiB", "500MB"]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("2 GiB", 2 << 30),
            ("500MB", 500_000_000),
            ("64 KiB", 65_536),
            ("10G", 10 << 30),
            ("1.5 kB", 1500),
            ("0 B", 0),
            ("7 bytes", 7),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| text.parse::<Size>().expect_err(text);
        assert_eq!(error("500"), SizeError::NoUnit("500".into()));
        assert_eq!(error("2 gigs"), SizeError::UnknownUnit("gigs".into()));
        assert_eq!(error("big"), SizeError::NoNumber("big".into()));
        assert_eq!(error(""), SizeError::Empty);
        assert!(matches!(error("99999999999999999999 TiB"), SizeError::TooLarge(_)));
        assert!(matches!(error("1.2.3 GB"), SizeError::NoNumber(_)));
    }

    #[test]
    fn prints_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (640, "640 B"),
            (1024, "1 KiB"),
            (2_254_857_831, "2.1 GiB"),
            (1_048_575, "1 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_reads_back(bytes in 0..u64::MAX) {
            let json = serde_json::to_string(&Size(bytes)).expect("json");
            prop_assert_eq!(serde_json::from_str::<Size>(&json).ok(), Some(Size(bytes)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Size>();
            let _ = Size(text.len() as u64).to_string();
        }
    }
}
