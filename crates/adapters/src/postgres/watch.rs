//! Questions about a stream's surroundings: does the server wait for us, how long does it keep what
//! we have not got.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_recovery::ports::LogHealth;

use super::error::Result;
use super::facts::Facts;
use super::lsn;
use super::slot::Slot;
use super::wire::Connection;

/// The longest that the server is left without a word.
const LONGEST: Duration = Duration::from_secs(5);
/// A slot that lasts no longer than this is a thing to say aloud.
const SOON: Duration = Duration::from_secs(3600);

/// How often the server is to be told where we are: three times as often as it loses patience.
pub(crate) fn interval(stream: &mut Connection) -> Result<Duration> {
    let text = stream.value("SHOW wal_sender_timeout")?.unwrap_or_default();
    let split = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" | "" => 1,
        "s" => 1000,
        "min" => 60_000,
        _ => 3_600_000,
    };
    let limit = Duration::from_millis(number.parse::<u64>().unwrap_or(0).saturating_mul(unit));
    Ok(if limit.is_zero() { LONGEST } else { LONGEST.min(limit / 3) })
}

/// A warning if the server would let its commits wait for a stream of this name. Asked of the setting:
/// the server's own view shows it only after the first acknowledgement.
pub(crate) fn synchronous(facts: &Facts, name: &str) -> Option<String> {
    let names = facts.setting("synchronous_standby_names")?;
    // `FIRST 2 (a, "b c")`, `ANY 1 (*)`, `2 (a, b)`, `a, b`.
    let list = match names.split_once('(') {
        Some((_, rest)) => rest.trim_end().trim_end_matches(')'),
        None => names,
    };
    let meant = list.split(',').map(|one| one.trim().trim_matches('"'));
    meant.into_iter().any(|one| one == "*" || one.eq_ignore_ascii_case(name)).then(|| {
        "`synchronous_standby_names` counts Lifeboat's stream as a synchronous standby: commits \
         would wait until a tier has them; name the real standbys there, and not `*`"
            .to_owned()
    })
}

/// Up to when all that was committed lies before a place in the log; 1970 where that is not known.
pub(crate) fn complete_before(sql: &mut Connection, at: u64) -> Result<Timestamp> {
    let at = lsn::text(at);
    let time = sql.value(&format!(
        "select to_char(checkpoint_time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
         from pg_control_checkpoint() where redo_lsn <= '{at}'"
    ))?;
    Ok(time.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Free bytes for the server's log, where its data directory is on this machine.
pub(crate) fn free_for_log(facts: &Facts) -> Option<u64> {
    let log = Path::new(facts.setting("data_directory")?).join("pg_wal");
    let place = rustix::fs::statvfs(&log).ok()?;
    Some(place.f_bavail.saturating_mul(place.f_frsize))
}

/// How fast the server writes its log, from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<(Duration, u64)>,
    /// Bytes a second.
    rate: Option<f64>,
}

impl Pace {
    fn note(&mut self, now: Duration, end: u64) -> Option<f64> {
        if let Some((then, before)) = self.last {
            let span = now.saturating_sub(then).as_secs_f64();
            if span < 1.0 {
                return self.rate;
            }
            let rate = end.saturating_sub(before) as f64 / span;
            self.rate = Some(self.rate.map_or(rate, |old| old * 0.7 + rate * 0.3));
        }
        self.last = Some((now, end));
        self.rate
    }
}

/// How the source stands, by its own word.
pub(crate) fn health(
    sql: &mut Connection,
    facts: &Facts,
    slot: &str,
    (delivered, now): (u64, Duration),
    pace: &mut Pace,
) -> Result<LogHealth> {
    let end = sql.value(
        "select case when pg_is_in_recovery() \
         then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
         else pg_current_wal_flush_lsn() end",
    )?;
    let end = end.map_or(Ok(delivered), |text| lsn::read(&text))?;
    let mut health =
        LogHealth { behind: Some(end.saturating_sub(delivered)), ..LogHealth::default() };
    let rate = pace.note(now, end);
    let Some(slot) = Slot::read(sql, slot)? else {
        health
            .warnings
            .push("the slot is gone: the server keeps nothing for the stream".to_owned());
        health.room = Some(Duration::ZERO);
        return Ok(health);
    };
    let free = free_for_log(facts);
    // The limit of the settings, or the disk, whichever comes first.
    let room = slot.room.map(|room| u64::try_from(room).unwrap_or(0)).into_iter().chain(free).min();
    health.room = match (slot.is_lost(), room, rate) {
        (true, ..) => Some(Duration::ZERO),
        (_, Some(room), Some(rate)) if rate >= 1.0 => {
            Duration::try_from_secs_f64(room as f64 / rate).ok()
        }
        _ => None,
    };
    match &slot.status[..] {
        "lost" => {
            health.warnings.push("the server gave up the slot: a piece of the log is lost".into())
        }
        "unreserved" => health.warnings.push(
            "the server removes log that the stream has not got yet at its next checkpoint".into(),
        ),
        _ => {
            if let Some(room) = health.room.filter(|room| *room < SOON) {
                let minutes = room.as_secs() / 60;
                health.warnings.push(format!(
                    "at the present pace the slot, or the server's disk, lasts {minutes} minutes \
                     without a tier"
                ));
            }
        }
    }
    Ok(health)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synchronous_standby_is_recognised_by_its_name() {
        let asked = |names: &str| {
            let settings = [("synchronous_standby_names".to_owned(), names.to_owned())];
            let facts = Facts {
                version: 150_018,
                version_text: String::new(),
                system_identifier: 7,
                in_recovery: false,
                segment_size: 16 << 20,
                settings: settings.into_iter().collect(),
            };
            synchronous(&facts, "lifeboat/orders").is_some()
        };
        for names in
            ["*", "ANY 1 (*)", "a, \"Lifeboat/orders\"", "FIRST 1 (x, \"lifeboat/orders\")"]
        {
            assert!(asked(names), "{names}");
        }
        for names in ["", "a, b", "ANY 2 (a, lifeboat)"] {
            assert!(!asked(names), "{names}");
        }
    }

    #[test]
    fn the_pace_is_measured_over_whole_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.note(Duration::from_secs(1), 1000), None);
        assert_eq!(pace.note(Duration::from_millis(1500), 2000), None);
        assert_eq!(pace.note(Duration::from_secs(3), 3000), Some(1000.0));
        assert_eq!(pace.note(Duration::from_millis(3100), 9000), Some(1000.0));
    }
}
