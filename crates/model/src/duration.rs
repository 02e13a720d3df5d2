//! Spans of time as people write and read them: `15m`, `1h 30m`, `26w`, `6 months`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MILLISECOND: u64 = 1;
const SECOND: u64 = 1000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// A month and a year are counted at their longest, so that nothing kept "for a year" goes early.
const MONTH: u64 = 31 * DAY;
const YEAR: u64 = 366 * DAY;
/// Longest accepted span: a thousand years.
const MAX: u64 = 1000 * YEAR;

/// A length of time, exact to the millisecond, at most a thousand years.
///
/// A month counts as 31 days and a year as 366 days: what is kept for one is never removed early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    milliseconds: u64,
}

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration { milliseconds: 0 };

    /// So many milliseconds; more than a thousand years is cut to that.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Duration { milliseconds: if milliseconds > MAX { MAX } else { milliseconds } }
    }

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(SECOND))
    }

    /// So many days of 24 hours.
    pub const fn from_days(days: u64) -> Self {
        Self::from_millis(days.saturating_mul(DAY))
    }

    /// Whole milliseconds.
    pub const fn millis(self) -> u64 {
        self.milliseconds
    }

    /// Seconds, with the fraction.
    pub fn seconds(self) -> f64 {
        self.milliseconds as f64 / SECOND as f64
    }

    /// As the standard library's type.
    pub const fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.milliseconds)
    }

    /// As the time library's type, for arithmetic on instants.
    pub fn signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_millis(i64::try_from(self.milliseconds).unwrap_or(i64::MAX))
    }

    /// The sum, at most a thousand years.
    #[must_use]
    pub const fn plus(self, other: Duration) -> Duration {
        Self::from_millis(self.milliseconds.saturating_add(other.milliseconds))
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Self::from_millis(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The instant that lies `span` before `at`, or the earliest instant that can be expressed.
pub fn before(at: jiff::Timestamp, span: Duration) -> jiff::Timestamp {
    at.checked_sub(span.signed()).unwrap_or(jiff::Timestamp::MIN)
}

/// The instant that lies `span` after `at`, or the latest instant that can be expressed.
pub fn after(at: jiff::Timestamp, span: Duration) -> jiff::Timestamp {
    at.checked_add(span.signed()).unwrap_or(jiff::Timestamp::MAX)
}

/// Why a text is not a span of time. One lower-case sentence; [`DurationError::hint`] mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("an empty text is no span of time")]
    Empty,
    /// A number stands alone.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// A unit stands alone.
    #[error("`{0}` has no number before its unit")]
    NoNumber(String),
    /// The unit is not known.
    #[error("`{0}` is not a unit of time")]
    UnknownUnit(String),
    /// A sign was written.
    #[error("a span of time cannot be negative")]
    Negative,
    /// Above the limit.
    #[error("`{0}` is longer than a thousand years")]
    TooLong(String),
}

impl DurationError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            DurationError::NoUnit(n) => format!("say which: `{n}s`, `{n}m`, `{n}h` or `{n}d`"),
            DurationError::UnknownUnit(unit) if unit == "M" => {
                "write `m` for minutes or `mo` for months".to_owned()
            }
            _ => "units are ms, s, m, h, d, w, mo (months) and y; parts add up, as in `1h 30m`"
                .to_owned(),
        }
    }
}

fn unit(word: &str) -> Option<u64> {
    if word == "M" {
        return None; // minutes or months: not guessed
    }
    Some(match word.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "millisecond" | "milliseconds" => MILLISECOND,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => MINUTE,
        "h" | "hr" | "hrs" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "wk" | "week" | "weeks" => WEEK,
        "mo" | "month" | "months" => MONTH,
        "y" | "yr" | "year" | "years" => YEAR,
        _ => return None,
    })
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(DurationError::Empty);
        }
        if rest.starts_with(['-', '\u{2212}']) {
            return Err(DurationError::Negative);
        }
        let mut total = 0u64;
        while !rest.is_empty() {
            let digits = leading(rest, |c| c.is_ascii_digit() || c == '.' || c == '_');
            let number = &rest[..digits];
            let after = rest[digits..].trim_start();
            let letters = leading(after, char::is_alphabetic);
            let word = &after[..letters];
            if number.is_empty() {
                let shown = if word.is_empty() { rest } else { word };
                return Err(DurationError::NoNumber(shown.to_owned()));
            }
            if word.is_empty() {
                return Err(DurationError::NoUnit(number.to_owned()));
            }
            let scale = unit(word).ok_or_else(|| DurationError::UnknownUnit(word.to_owned()))?;
            let part = scaled(number, scale)
                .ok_or_else(|| DurationError::UnknownUnit(format!("{number}{word}")))?;
            total = total.saturating_add(part);
            if total > MAX {
                return Err(DurationError::TooLong(text.trim().to_owned()));
            }
            rest = after[letters..].trim_start_matches([' ', ',', '\t']);
            rest = rest.strip_prefix("and ").unwrap_or(rest).trim_start();
        }
        Ok(Duration { milliseconds: total })
    }
}

/// Length in bytes of the longest prefix of characters that satisfy `keep`.
fn leading(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

/// `number` (digits, one point at most) times `scale`, saturating; `None` if it is no number.
pub(crate) fn scaled(number: &str, scale: u64) -> Option<u64> {
    let plain = number.replace('_', "");
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut value = 0u64;
    for digit in whole.bytes() {
        value = value.saturating_mul(10).saturating_add(u64::from(digit.checked_sub(b'0')?));
    }
    // Nine digits of fraction are more than a millisecond of a year needs.
    let mut part = 0u128;
    let mut divisor = 1u128;
    for digit in fraction.bytes().take(9) {
        part = part * 10 + u128::from(digit.checked_sub(b'0')?);
        divisor *= 10;
    }
    let extra = u64::try_from(part * u128::from(scale) / divisor).ok()?;
    Some(value.saturating_mul(scale).saturating_add(extra))
}

impl fmt::Display for Duration {
    /// Every non-zero unit from weeks or days down: `1h 5m`, `26w`, `90d`; reads back to the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.milliseconds;
        if rest == 0 {
            return f.write_str("0s");
        }
        if rest.is_multiple_of(WEEK) && rest >= 2 * WEEK {
            return write!(f, "{}w", rest / WEEK);
        }
        let mut first = true;
        for (scale, name) in
            [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (MILLISECOND, "ms")]
        {
            if rest >= scale {
                write!(f, "{}{}{name}", if first { "" } else { " " }, rest / scale)?;
                rest %= scale;
                first = false;
            }
        }
        Ok(())
    }
}

impl Duration {
    /// Short form for reports: the two largest units, rounded down (`1h 5m`, `3d 4h`, `12.3s`).
    pub fn short(self) -> String {
        let ms = self.milliseconds;
        let pair = |big: u64, b: &str, small: u64, s: &str| match (ms / big, ms % big / small) {
            (n, 0) => format!("{n}{b}"),
            (n, m) => format!("{n}{b} {m}{s}"),
        };
        match ms {
            0 => "0s".to_owned(),
            1..SECOND => format!("{ms}ms"),
            SECOND..MINUTE => {
                let tenths = ms / (SECOND / 10);
                if tenths.is_multiple_of(10) {
                    format!("{}s", tenths / 10)
                } else {
                    format!("{}.{}s", tenths / 10, tenths % 10)
                }
            }
            MINUTE..HOUR => pair(MINUTE, "m", SECOND, "s"),
            HOUR..DAY => pair(HOUR, "h", MINUTE, "m"),
            _ => pair(DAY, "d", HOUR, "h"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A span of time with its unit: `15m`, `1h 30m`, `7d`, `26w`, `6 months`.",
            "pattern": r"^\s*([0-9][0-9_]*(\.[0-9]+)?\s*[A-Za-z]+[\s,]*(and\s+)?)+$",
            "examples": ["15m", "1h 30m", "7d", "26w"]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Duration {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [
            ("15m", 900),
            ("7d", 604_800),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("1 hour and 30 minutes", 5400),
            ("1 day, 2 hours", 93_600),
            ("26w", 26 * 604_800),
            ("6 months", 6 * 31 * 86_400),
            ("1 year", 366 * 86_400),
            ("1.5h", 5400),
            ("0s", 0),
            ("  4 h ", 14_400),
            ("1_000s", 1000),
            ("90 min", 5400),
        ] {
            assert_eq!(read(text), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(read("500ms"), Duration::from_millis(500));
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| text.parse::<Duration>().expect_err(text);
        assert_eq!(error("15"), DurationError::NoUnit("15".into()));
        assert_eq!(error("15").hint(), "say which: `15s`, `15m`, `15h` or `15d`");
        assert_eq!(error("1h30"), DurationError::NoUnit("30".into()));
        assert_eq!(error(""), DurationError::Empty);
        assert_eq!(error("-5m"), DurationError::Negative);
        assert_eq!(error("5M"), DurationError::UnknownUnit("M".into()));
        assert_eq!(error("5 parsecs"), DurationError::UnknownUnit("parsecs".into()));
        assert_eq!(error("h"), DurationError::NoNumber("h".into()));
        assert!(matches!(error("99999999999999999999y"), DurationError::TooLong(_)));
        assert!(matches!(error("1.2.3h"), DurationError::UnknownUnit(_)));
        assert!(matches!(error("ß"), DurationError::NoNumber(_)));
        assert!(matches!(error("1h;"), DurationError::NoNumber(_)));
    }

    #[test]
    fn prints_both_ways() {
        for text in ["0s", "1h 5m", "26w", "90d", "15m", "500ms", "2d 3h", "1d 1ms"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("1h5m3s").short(), "1h 5m");
        assert_eq!(read("12345ms").short(), "12.3s");
        assert_eq!(read("900ms").short(), "900ms");
        assert_eq!(read("3d4h9m").short(), "3d 4h");
        assert_eq!(read("60s").short(), "1m");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(ms in 0..MAX) {
            let span = Duration::from_millis(ms);
            prop_assert_eq!(span.to_string().parse::<Duration>(), Ok(span));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Duration>();
        }

        #[test]
        fn before_and_after_undo_each_other(
            at in -100_000_000_000i64..100_000_000_000,
            ms in 0..100 * YEAR,
        ) {
            let at = jiff::Timestamp::from_millisecond(at * 10).expect("in range");
            let span = Duration::from_millis(ms);
            prop_assert_eq!(after(before(at, span), span), at);
        }
    }
}
