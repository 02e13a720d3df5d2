//! The times that people type: RFC 3339 and friendlier forms.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use lifeboat_model::duration::{Duration, after};

/// An instant that somebody typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// The instant.
    pub at: Timestamp,
    /// True if no zone was given, so that UTC was taken.
    pub assumed_utc: bool,
}

/// Reads `2026-11-21T02:00:00Z`, `2026-11-21 02:00`, `2026-11-21`, `2 hours ago`, `yesterday 02:00`,
/// `now`. A time without a zone is taken as UTC.
///
/// # Errors
/// One sentence that names the forms, or that the time lies in the future.
pub fn parse(text: &str, now: Timestamp) -> Result<When, String> {
    let text = text.trim();
    let found = read(text, now).ok_or_else(|| {
        format!(
            "\"{text}\" is not a time: write it as \"2026-11-21 02:00Z\", \"2 hours ago\" or \
             \"yesterday 02:00\""
        )
    })?;
    if found.at > now {
        return Err(format!("\"{text}\" lies in the future: it is {} now", crate::text::time(now)));
    }
    Ok(found)
}

/// Reads a time to come, in the forms of [`parse`], or `in 30 days`.
///
/// # Errors
/// One sentence that names the forms, or that the time is past.
pub fn parse_future(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let span = text.strip_prefix("in ").and_then(|span| span.parse::<Duration>().ok());
    let found = span.map(|span| after(now, span)).or_else(|| Some(read(text, now)?.at));
    let at = found.ok_or_else(|| {
        format!("\"{text}\" is not a time: write it as \"2027-01-01 03:00Z\" or \"in 30 days\"")
    })?;
    match at < now {
        true => Err(format!("\"{text}\" is past: it is {} now", crate::text::time(now))),
        false => Ok(at),
    }
}

fn read(text: &str, now: Timestamp) -> Option<When> {
    let sure = |at| Some(When { at, assumed_utc: false });
    if text.eq_ignore_ascii_case("now") {
        return sure(now);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return sure(at);
    }
    if let Ok(at) = text.parse::<Zoned>() {
        return sure(at.timestamp());
    }
    if let Some(span) = text.strip_suffix("ago").map(str::trim) {
        let span = span.parse::<Span>().ok()?;
        return sure(now.to_zoned(TimeZone::UTC).checked_sub(span).ok()?.timestamp());
    }
    let (rest, zoned) = match text.strip_suffix("UTC").or_else(|| text.strip_suffix('Z')) {
        Some(rest) => (rest.trim_end(), true),
        None => (text, false),
    };
    let civil = relative_day(rest, now).or_else(|| civil(rest))?;
    let at = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(When { at, assumed_utc: !zoned })
}

/// `yesterday`, `today 02:00`.
fn relative_day(text: &str, now: Timestamp) -> Option<DateTime> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let lower = text.to_ascii_lowercase();
    let (day, rest) = match lower.strip_prefix("yesterday") {
        Some(rest) => (today.yesterday().ok()?, rest),
        None => (today, lower.strip_prefix("today")?),
    };
    let rest = rest.trim();
    let time = if rest.is_empty() { Time::midnight() } else { rest.parse().ok()? };
    Some(day.to_datetime(time))
}

/// A date with or without a time of day.
fn civil(text: &str) -> Option<DateTime> {
    if !text.contains('-') {
        return None; // a bare number is rather a snapshot's id than a date
    }
    text.parse::<DateTime>()
        .ok()
        .or_else(|| text.parse::<Date>().ok().map(|date| date.to_datetime(Time::midnight())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T12:34:56Z";

    fn read(text: &str) -> Result<(String, bool), String> {
        parse(text, NOW.parse().unwrap()).map(|when| (when.at.to_string(), when.assumed_utc))
    }

    #[test]
    fn every_friendly_form_is_read() {
        let utc = |at: &str| Ok((at.to_string(), true));
        let sure = |at: &str| Ok((at.to_string(), false));
        assert_eq!(read("2026-11-20T02:00:00Z"), sure("2026-11-20T02:00:00Z"));
        assert_eq!(read("2026-11-20T02:00:00+02:00"), sure("2026-11-20T00:00:00Z"));
        assert_eq!(read("2026-11-20 02:00+02:00"), sure("2026-11-20T00:00:00Z"));
        assert_eq!(read("2026-11-20T02:00[Europe/Berlin]"), sure("2026-11-20T01:00:00Z"));
        assert_eq!(read("2026-11-20 02:00"), utc("2026-11-20T02:00:00Z"));
        assert_eq!(read("2026-11-20 02:00Z"), sure("2026-11-20T02:00:00Z"));
        assert_eq!(read("2026-11-20 02:00 UTC"), sure("2026-11-20T02:00:00Z"));
        assert_eq!(read("2026-11-20"), utc("2026-11-20T00:00:00Z"));
        assert_eq!(read("2 hours ago"), sure("2026-11-21T10:34:56Z"));
        assert_eq!(read("1h30m ago"), sure("2026-11-21T11:04:56Z"));
        assert_eq!(read("3 days ago"), sure("2026-11-18T12:34:56Z"));
        assert_eq!(read("yesterday 02:00"), utc("2026-11-20T02:00:00Z"));
        assert_eq!(read("Yesterday"), utc("2026-11-20T00:00:00Z"));
        assert_eq!(read("today 02:00Z"), sure("2026-11-21T02:00:00Z"));
        assert_eq!(read("now"), sure("2026-11-21T12:34:56Z"));
    }

    #[test]
    fn what_is_no_time_or_lies_ahead_is_refused() {
        for text in ["", "latest", "soon", "25:00", "2026-13-01", "20261120", "yesterday noon"] {
            assert!(read(text).unwrap_err().contains("is not a time"), "{text}");
        }
        assert!(read("2026-11-22").unwrap_err().contains("lies in the future"));
        assert!(read("today 23:00").unwrap_err().contains("lies in the future"));
    }

    #[test]
    fn a_time_to_come_is_read() {
        let ahead = |text: &str| parse_future(text, NOW.parse().unwrap()).map(|at| at.to_string());
        assert_eq!(ahead("2027-01-01 03:00Z"), Ok("2027-01-01T03:00:00Z".to_owned()));
        assert_eq!(ahead("in 30 days"), Ok("2026-12-21T12:34:56Z".to_owned()));
        assert_eq!(ahead("now"), Ok(NOW.to_owned()));
        assert!(ahead("yesterday 02:00").unwrap_err().contains("is past"));
        assert!(ahead("soon").unwrap_err().contains("is not a time"));
    }
}
