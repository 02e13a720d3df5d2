//! Numbers as people read them: sizes in binary units, times in UTC with their age, durations.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `1.5 GiB`, `312 KiB`, `17 B`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `3 files`.
pub fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A measured span: `340ms`, `4.2s`, `3m 12s`, `2h 5m`, `3d 4h`.
pub fn span(span: Duration) -> String {
    let whole = span.as_secs();
    match whole {
        0 if span.as_millis() == 0 => format!("{}µs", span.as_micros()),
        0 => format!("{}ms", span.as_millis()),
        1..=9 => format!("{:.1}s", (span.as_secs_f64() * 10.0).floor() / 10.0),
        10..=59 => format!("{whole}s"),
        60..=3599 => two(whole, 60, "m", 1, "s"),
        3600..=86_399 => two(whole, 3600, "h", 60, "m"),
        _ => two(whole, 86_400, "d", 3600, "h"),
    }
}

/// As [`span`], from seconds with a fraction; what is not finite or negative is `unknown`.
pub fn seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| "unknown".into(), span)
}

fn two(whole: u64, large: u64, large_name: &str, small: u64, small_name: &str) -> String {
    let (first, rest) = (whole / large, whole % large / small);
    if rest == 0 {
        format!("{first}{large_name}")
    } else {
        format!("{first}{large_name} {rest}{small_name}")
    }
}

/// `2026-11-21 02:00:07Z`.
pub fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Planned times; a day is named once: `Sat 2026-11-21 02:00, 14:00, Sun 2026-11-22 02:00 UTC`.
pub fn minutes(times: &[Timestamp]) -> String {
    let mut day = None;
    let mut out = Vec::new();
    for at in times {
        let at = at.to_zoned(TimeZone::UTC);
        let form = if day == Some(at.date()) { "%H:%M" } else { "%a %Y-%m-%d %H:%M" };
        day = Some(at.date());
        out.push(at.strftime(form).to_string());
    }
    if out.is_empty() { "never".into() } else { format!("{} UTC", out.join(", ")) }
}

/// `3m ago`, `in 2h 5m`, `just now`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let past = now.duration_since(at);
    let length = past.unsigned_abs();
    if length < Duration::from_secs(1) {
        "just now".into()
    } else if past.is_negative() {
        format!("in {}", coarse(length))
    } else {
        format!("{} ago", coarse(length))
    }
}

/// An age needs no tenths.
fn coarse(length: Duration) -> String {
    match length.as_secs() {
        whole @ 0..=59 => format!("{whole}s"),
        whole @ 60..=3599 => format!("{}m", whole / 60),
        _ => span(length),
    }
}

/// `a, b and c`.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().into(),
        [head @ .., last] => {
            let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", head.join(", "), last.as_ref())
        }
    }
}

/// A sentence's first letter in upper case.
pub fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_short() {
        let shown: Vec<String> =
            [0, 1023, 1024, 10_240, 1_048_576, 5 << 30, u64::MAX].map(size).into();
        assert_eq!(
            shown,
            ["0 B", "1023 B", "1.0 KiB", "10 KiB", "1.0 MiB", "5.0 GiB", "16384 PiB"]
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let shown: Vec<String> =
            [0.0, 0.0004, 0.34, 4.29, 59.9, 60.0, 192.0, 7500.0, 270_000.0].map(seconds).into();
        assert_eq!(
            shown,
            ["0µs", "400µs", "340ms", "4.2s", "59s", "1m", "3m 12s", "2h 5m", "3d 3h"]
        );
        assert_eq!(seconds(-1.0), "unknown");
        assert_eq!(seconds(f64::NAN), "unknown");
    }

    #[test]
    fn ages_know_past_and_future() {
        let now: Timestamp = "2026-11-21T02:00:00Z".parse().unwrap();
        let at = |seconds: i64| now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        assert_eq!(age(at(0), now), "just now");
        assert_eq!(age(at(-185), now), "3m ago");
        assert_eq!(age(at(7500), now), "in 2h 5m");
    }

    #[test]
    fn planned_times_name_a_day_once() {
        let times = ["2026-11-21T22:00:00Z", "2026-11-21T23:00:00Z", "2026-11-22T00:00:00Z"];
        assert_eq!(
            minutes(&times.map(|at| at.parse().unwrap())),
            "Sat 2026-11-21 22:00, 23:00, Sun 2026-11-22 00:00 UTC"
        );
        assert_eq!(minutes(&[]), "never");
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "row", "rows"), "1 row");
    }
}
