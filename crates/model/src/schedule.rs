//! When something runs: cron expressions in UTC, with the calendar rules that plain cron cannot
//! express (`6#1`: the first Saturday), their next runs, and the longest wait between two of them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::duration::Duration;

/// A cron expression of five fields, in UTC (X-44: no local time, no doubled hour).
#[derive(Clone)]
pub struct Cron {
    text: String,
    parsed: croner::Cron,
}

/// Why a text is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a cron expression")]
pub struct CronError {
    /// The text.
    pub text: String,
    /// Why, in the parser's words.
    pub why: String,
}

impl CronError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        format!(
            "five fields: minute hour day month weekday, as in `0 2 * * *`; \
             `0 4 * * 6#1` is the first Saturday ({})",
            self.why
        )
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let text = text.trim();
        let error = |why: String| CronError { text: text.to_owned(), why };
        // The parser accepts nicknames and lists of any length; a line of cron is short.
        if text.len() > 200 {
            return Err(error("longer than 200 characters".to_owned()));
        }
        let parsed = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|e| error(e.to_string().trim_end_matches('.').to_owned()))?;
        let cron = Cron { text: text.to_owned(), parsed };
        if cron.next_after(origin()).is_none() {
            return Err(error("no day ever matches it".to_owned()));
        }
        Ok(cron)
    }
}

/// Any fixed instant, for questions that do not depend on today.
fn origin() -> Timestamp {
    // 2024-01-01T00:00:00Z, the start of a leap year.
    Timestamp::from_second(1_704_067_200).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn civil(at: Timestamp) -> DateTime {
    TimeZone::UTC.to_datetime(at)
}

impl Cron {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first run strictly after `at`; `None` beyond the end of the calendar.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.parsed.find_next_occurrence(&civil(at), false).ok()?;
        next.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }

    /// The last run strictly before `at`.
    pub fn previous_before(&self, at: Timestamp) -> Option<Timestamp> {
        let previous = self.parsed.find_previous_occurrence(&civil(at), false).ok()?;
        previous.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }

    /// The next `count` runs strictly after `at`.
    pub fn next_runs(&self, at: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(at), |last| self.next_after(*last))
            .take(count)
            .collect()
    }

    /// The longest wait between two runs in a row, over eight years: the worst case
    /// that an RPO has to bear.
    ///
    /// The times within a day are the same on each day that matches, so one day is walked through
    /// run by run and the years only day by day.
    pub fn longest_interval(&self) -> Duration {
        const DAY: i64 = 86_400;
        let first_of_day = |from: i64| {
            let run = self.next_after(Timestamp::from_second(from - 1).ok()?)?;
            Some((run.as_second().div_euclid(DAY), run.as_second()))
        };
        let start = origin().as_second();
        let Some((mut day, first)) = first_of_day(start) else { return Duration::ZERO };
        let (mut longest, mut last) = (0, first);
        while let Some((next_day, run)) = first_of_day(last + 1)
            && next_day == day
        {
            longest = longest.max(run - last);
            last = run;
        }
        let (opens, closes) = (first.rem_euclid(DAY), last.rem_euclid(DAY));
        while let Some((next_day, _)) = first_of_day((day + 1) * DAY) {
            longest = longest.max((next_day - day) * DAY + opens - closes);
            day = next_day;
            if day * DAY > start + 8 * 366 * DAY {
                break;
            }
        }
        Duration::from_secs(u64::try_from(longest).unwrap_or(0))
    }

    /// In words: `every day at 02:00 UTC`.
    pub fn describe(&self) -> String {
        simple(&self.text).unwrap_or_else(|| {
            let words = self.parsed.describe();
            let words = words.trim_end_matches('.');
            let mut letters = words.chars();
            let first = letters.next().map(|c| c.to_ascii_lowercase());
            format!("{}{} (UTC)", first.map(String::from).unwrap_or_default(), letters.as_str())
        })
    }

    /// True if both a day of the month and a weekday are given: cron then runs on either.
    pub fn either_day(&self) -> bool {
        let fields: Vec<&str> = self.text.split_whitespace().collect();
        let free = |field: &str| field.starts_with('*') || field == "?";
        matches!(fields[..], [_, _, day, _, weekday]
            if !free(day) && !free(weekday) && !weekday.starts_with('+'))
    }
}

/// Words for the common shapes.
fn simple(text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else { return None };
    if (day, month, weekday) == ("*", "*", "*") && hour == "*" {
        return match minute.strip_prefix("*/") {
            Some(step) => step.parse::<u32>().ok().map(|n| format!("every {n} minutes")),
            None if minute == "*" => Some("every minute".to_owned()),
            None => {
                minute.parse::<u32>().ok().map(|n| format!("every hour at minute {n:02} (UTC)"))
            }
        };
    }
    let (minute, hour) = (minute.parse::<u32>().ok()?, hour.parse::<u32>().ok()?);
    let at = format!("at {hour:02}:{minute:02} UTC");
    let names = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let name = |number: &str| Some(names[number.parse::<usize>().ok()? % 7]);
    match (day, month, weekday) {
        ("*", "*", "*") => Some(format!("every day {at}")),
        ("*", "*", nth) if nth.contains('#') => {
            let (number, which) = nth.split_once('#')?;
            let which = *["first", "second", "third", "fourth", "fifth"]
                .get(which.parse::<usize>().ok()?.checked_sub(1)?)?;
            Some(format!("on the {which} {} of each month {at}", name(number)?))
        }
        ("*", "*", one) => Some(format!("every {} {at}", name(one)?)),
        (date, "*", "*") => {
            Some(format!("on day {} of each month {at}", date.parse::<u32>().ok()?))
        }
        _ => None,
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?})", self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Cron {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cron".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Five cron fields in UTC: minute hour day month weekday; `6#1` is the \
                            first Saturday of a month.",
            "examples": ["0 2 * * *", "*/15 * * * *", "0 4 * * 6#1"]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|e: CronError| panic!("{e}: {}", e.why))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    #[test]
    fn nightly_in_utc_edo_04() {
        let runs = cron("0 2 * * *").next_runs(at("2026-03-28T02:00:00Z"), 3);
        let expected =
            ["2026-03-29T02:00:00Z", "2026-03-30T02:00:00Z", "2026-03-31T02:00:00Z"].map(at);
        assert_eq!(runs, expected);
    }

    #[test]
    fn first_saturday_edo_30_x_44() {
        let runs = cron("0 4 * * 6#1").next_runs(at("2026-01-01T00:00:00Z"), 3);
        assert_eq!(
            runs,
            ["2026-01-03T04:00:00Z", "2026-02-07T04:00:00Z", "2026-03-07T04:00:00Z"].map(at)
        );
    }

    #[test]
    fn sunday_is_0_and_7() {
        let from = at("2026-01-01T00:00:00Z");
        assert_eq!(cron("0 3 * * 0").next_after(from), cron("0 3 * * 7").next_after(from));
    }

    #[test]
    fn longest_intervals() {
        for (text, span) in [
            ("0 2 * * *", "1d"),
            ("*/15 * * * *", "15m"),
            ("0 * * * *", "1h"),
            ("0 4 * * 1", "7d"),
            ("0 4 1 * *", "31d"),
            ("0 4 * * 6#1", "35d"),
            ("*/25 * * * *", "25m"),
            ("0 2 29 2 *", "1461d"),
            ("* * * 1 *", "335d 1m"),
            ("*/15 8-17 * * 1-5", "2d 14h 15m"),
        ] {
            assert_eq!(Ok(cron(text).longest_interval()), span.parse(), "{text}");
        }
    }

    #[test]
    fn words() {
        for (text, words) in [
            ("0 2 * * *", "every day at 02:00 UTC"),
            ("*/15 * * * *", "every 15 minutes"),
            ("0 4 * * 6#1", "on the first Saturday of each month at 04:00 UTC"),
            ("30 5 * * 1", "every Monday at 05:30 UTC"),
            ("0 4 1 * *", "on day 1 of each month at 04:00 UTC"),
            ("0 * * * *", "every hour at minute 00 (UTC)"),
        ] {
            assert_eq!(cron(text).describe(), words);
        }
        assert!(cron("0 4 1 1,4,7,10 *").describe().ends_with("(UTC)"));
    }

    #[test]
    fn refuses() {
        for text in ["", "0 2 * *", "0 25 * * *", "0 0 2 * * *", "nonsense", "0 0 30 2 *", "@@"] {
            assert!(text.parse::<Cron>().is_err(), "{text}");
        }
    }

    #[test]
    fn either_day_is_seen() {
        assert!(cron("0 2 1-7 * 6").either_day());
        assert!(!cron("0 2 * * 6#1").either_day());
        assert!(!cron("0 2 1 * *").either_day());
    }

    proptest! {
        #[test]
        fn next_is_later_and_matches(
            minute in 0u32..60, hour in 0u32..24, start in 0i64..4_000_000_000,
        ) {
            let from = Timestamp::from_second(start).expect("in range");
            let next = cron(&format!("{minute} {hour} * * *")).next_after(from).expect("a run");
            prop_assert!(next > from);
            prop_assert!(next.as_second() - from.as_second() <= 86_400);
            prop_assert_eq!(next.as_second() % 86_400, i64::from(hour * 3600 + minute * 60));
        }

        #[test]
        fn runs_ascend(step in 1u32..59, start in 0i64..4_000_000_000) {
            let from = Timestamp::from_second(start).expect("in range");
            let runs = cron(&format!("*/{step} * * * *")).next_runs(from, 20);
            prop_assert_eq!(runs.len(), 20);
            prop_assert!(runs.windows(2).all(|w| w[0] < w[1]));
            let longest = i64::try_from(cron(&format!("*/{step} * * * *")).longest_interval()
                .millis() / 1000).expect("small");
            prop_assert!(runs.windows(2).all(|w| w[1].as_second() - w[0].as_second() <= longest));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Cron>();
        }
    }
}
