//! Times as Go's RFC 3339 with nanoseconds, years 0 to 9999, written in UTC.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer};

/// The start of year 0, which Go's encoder still writes.
const FIRST: Timestamp = Timestamp::constant(-62_167_219_200, 0);

/// The nearest instant that the format can hold, from the fields of a `timespec`.
pub fn clamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    match Timestamp::new(seconds, nanoseconds) {
        Ok(time) => time.max(FIRST),
        Err(_) if seconds < 0 => FIRST,
        Err(_) => Timestamp::MAX,
    }
}

/// Go's zero time, which stands for a missing one.
pub fn zero() -> Timestamp {
    Timestamp::constant(-62_135_596_800, 0)
}

pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    parse(&text)
}

/// The same of a field that may be missing.
pub fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?;
    text.map(|text| parse(&text)).transpose()
}

fn parse<E: serde::de::Error>(text: &str) -> Result<Timestamp, E> {
    // The time type fails an assertion of its own at the very first instant that it holds.
    if text.starts_with('-') {
        return Err(E::custom("a time before year 0"));
    }
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time),
        // The last hours of year 9999 lie beyond what the time type holds.
        Err(_) if text.starts_with("9999-12-31") => Ok(Timestamp::MAX),
        Err(error) => Err(E::custom(error)),
    }
}
