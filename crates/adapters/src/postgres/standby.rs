//! What a standby can say of its primary: up to where that had written its log, and when.
//!
//! A standby answers for itself also while nothing reaches it any more. So of its log nothing is
//! claimed but what its primary said of its own end, once the log has come that far.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat_vault::{Clock, Monitor};

use super::error::Result;
use super::facts::Facts;
use super::lsn;
use super::watch;
use super::wire::Connection;

/// Between two questions.
const LOOK: Duration = Duration::from_millis(500);

/// All that was committed by then lies before that place of the log.
type Mark = (u64, Timestamp);

/// The server's answer.
struct Word {
    standby: bool,
    mark: Option<Mark>,
}

/// Asks the server. Before its receiver has heard anything it shows the end of its last connection with
/// one time for all: that says nothing.
fn ask(sql: &mut Connection, clock: &dyn Clock) -> Result<Word> {
    let asked = clock.wall();
    let rows = sql.query(
        "select pg_is_in_recovery(), r.latest_end_lsn, ceil(extract(epoch from clock_timestamp() - \
         least(r.last_msg_send_time, r.last_msg_receipt_time)) * 1000000)::bigint \
         from (select 1) as one left join pg_stat_wal_receiver r \
         on r.status = 'streaming' and r.last_msg_send_time <> r.last_msg_receipt_time",
    )?;
    let cell = |at: usize| rows.first().and_then(|row| row.get(at)?.as_deref());
    // Sent so long before the question, by the clocks over there: at the latest then, by ours.
    let mark = (|| {
        let age: i64 = cell(2)?.parse().ok()?;
        let time = asked.checked_sub(SignedDuration::from_micros(age.max(0))).ok()?;
        Some((lsn::parse(cell(1)?)?, time))
    })();
    Ok(Word { standby: cell(0) == Some("t"), mark })
}

/// The primary behind a standby that is streamed from.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    marks: VecDeque<Mark>,
    looked: Option<Duration>,
}

impl Upstream {
    /// Asks, if it is time; false once the server is a primary itself.
    pub(crate) fn look(&mut self, sql: &mut Connection, clock: &dyn Clock) -> Result<bool> {
        let now = clock.monotonic();
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK) {
            return Ok(true);
        }
        self.looked = Some(now);
        let word = ask(sql, clock)?;
        if let Some(mark) = word.mark {
            self.note(mark);
        }
        Ok(word.standby)
    }

    fn note(&mut self, mark: Mark) {
        match self.marks.back_mut() {
            Some(last) if last.0 == mark.0 => last.1 = last.1.max(mark.1),
            Some(last) if last.0 > mark.0 => {}
            _ => self.marks.push_back(mark),
        }
    }

    /// Up to when all is in the log up to a place.
    pub(crate) fn reached(&mut self, at: u64) -> Timestamp {
        let mut reached = Timestamp::MIN;
        while let Some((_, time)) = self.marks.front().filter(|(end, _)| *end <= at) {
            reached = reached.max(*time);
            // The last one may be said again of the same place, later.
            self.marks.pop_front();
        }
        reached
    }

    /// The log goes on elsewhere.
    pub(crate) fn forget(&mut self) {
        self.marks.clear();
    }
}

/// What must be said of a stream from a standby.
pub(crate) fn warning(
    sql: &mut Connection,
    facts: &Facts,
    clock: &dyn Clock,
) -> Result<Option<String>> {
    if !facts.in_recovery {
        return Ok(None);
    }
    let mut text =
        "the connection string leads to a standby: what its primary has committed counts \
        only once the standby has it and was told so"
            .to_owned();
    if ask(sql, clock)?.mark.is_none() {
        text.push_str(
            "; it shows no stream from its primary now (`pg_stat_wal_receiver`, which needs \
             `pg_monitor`), so nothing counts",
        );
    }
    Ok(Some(text))
}

/// Up to when all that was committed is in what a capture of the server takes, which begins now.
pub(crate) fn complete_now(
    sql: &mut Connection,
    facts: &Facts,
    (clock, monitor): (&dyn Clock, &dyn Monitor),
    now: Timestamp,
) -> Result<Timestamp> {
    if !facts.in_recovery {
        return Ok(now);
    }
    let mark = ask(sql, clock)?.mark;
    let replayed = sql.value("select pg_last_wal_replay_lsn()")?;
    let replayed = replayed.map_or(Ok(0), |text| lsn::read(&text))?;
    if let Some((_, time)) = mark.filter(|(end, _)| *end <= replayed) {
        return Ok(time.min(now));
    }
    let time = watch::complete_before(sql, replayed)?.min(now);
    monitor.note(&format!(
        "the standby lags behind its primary, or receives nothing from it: the copy counts as complete \
         up to {time} only, its last checkpoint"
    ));
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_once_the_log_has_come_that_far() {
        let time = |second| Timestamp::from_second(second).unwrap();
        let mut upstream = Upstream::default();
        for mark in [(100, time(1)), (100, time(2)), (200, time(3)), (150, time(9))] {
            upstream.note(mark);
        }
        assert_eq!(upstream.reached(99), Timestamp::MIN);
        assert_eq!(upstream.reached(150), time(2));
        assert_eq!(upstream.reached(199), Timestamp::MIN);
        assert_eq!(upstream.reached(300), time(3));
    }
}
