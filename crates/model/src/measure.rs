//! What RTO and RPO really were.
//!
//! T0 detected, T1 declared, T2 recovery started, T3 data back, T4 verified, T5 service answering.
//! RTO = T5 − T0, or T4 − T0 where there is no service; waiting for people is shown apart, not
//! taken off. RPO = T0 − R, where R is the instant up to which the copy is proven complete.
//! Within one process spans are monotonic; across processes wall time counts, with any clock step
//! named. What cannot be known is unknown, and unknown is never met.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::objective::Objective;

/// Wall and monotonic time that differ by more than this name a clock step.
const STEP: i128 = 1000;

/// A reading of both clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// Wall time.
    pub wall: Timestamp,
    /// Monotonic time, milliseconds since an origin that only `process` shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monotonic: Option<Monotonic>,
}

/// A reading of one process's monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Monotonic {
    /// Whose clock: run id or process id and its start.
    pub process: String,
    /// Milliseconds.
    pub ms: u64,
}

impl Moment {
    /// A wall time alone: told by a person, or read in another process.
    pub fn wall(wall: Timestamp) -> Self {
        Moment { wall, monotonic: None }
    }

    /// Both clocks of one process, read together.
    pub fn both(wall: Timestamp, process: impl Into<String>, since: std::time::Duration) -> Self {
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Moment { wall, monotonic: Some(Monotonic { process: process.into(), ms }) }
    }
}

/// A measured span of time, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// So long.
    Known(Duration),
    /// It cannot be known.
    Unknown(String),
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Measured::Known(span) => f.write_str(&span.short()),
            Measured::Unknown(why) => write!(f, "unknown ({why})"),
        }
    }
}

/// A measurement and what must be said with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// The value.
    pub value: Measured,
    /// A clock step that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The span between two moments: monotonic in one process, else by wall time.
pub fn between(from: &Moment, to: &Moment) -> Measurement {
    let wall = wall_ms(from.wall, to.wall);
    let monotonic = match (&from.monotonic, &to.monotonic) {
        (Some(a), Some(b)) if a.process == b.process => Some(i128::from(b.ms) - i128::from(a.ms)),
        _ => None,
    };
    let Some(span) = monotonic else { return known(wall, None) };
    let step = wall - span;
    let note = (step.abs() > STEP).then(|| {
        let by = Duration::from_millis(u64::try_from(step.unsigned_abs()).unwrap_or(u64::MAX));
        let way = if step > 0 { "forwards" } else { "backwards" };
        format!("the wall clock was set {way} by {} meanwhile", by.short())
    });
    known(span, note)
}

fn wall_ms(from: Timestamp, to: Timestamp) -> i128 {
    (to.as_nanosecond() - from.as_nanosecond()).div_euclid(1_000_000)
}

fn known(ms: i128, note: Option<String>) -> Measurement {
    let value = match u64::try_from(ms) {
        Ok(ms) => Measured::Known(Duration::from_millis(ms)),
        Err(_) => Measured::Unknown("it would be negative: a clock was set back".to_owned()),
    };
    Measurement { value, note }
}

/// The six moments of a recovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// T0, the loss was noticed; in a drill, simulated.
    pub detected: Option<Moment>,
    /// T1, it was declared.
    pub declared: Option<Moment>,
    /// T2, recovery began.
    pub started: Option<Moment>,
    /// T3, the data is back.
    pub restored: Option<Moment>,
    /// T4, the data is verified.
    pub verified: Option<Moment>,
    /// T5, the service answers.
    pub answering: Option<Moment>,
    /// There is a service, so that T5 counts.
    pub has_service: bool,
    /// Time spent waiting for people, part of the whole.
    pub waiting: Duration,
}

impl Timeline {
    /// RTO actual: T5 − T0, or T4 − T0 without a service.
    pub fn rto(&self) -> Measurement {
        let unknown = |why: &str| Measurement { value: Measured::Unknown(why.into()), note: None };
        let Some(detected) = &self.detected else { return unknown("no time of detection") };
        let end = if self.has_service { &self.answering } else { &self.verified };
        match (end, self.has_service) {
            (Some(end), _) => between(detected, end),
            (None, true) => unknown("the service did not answer"),
            (None, false) => unknown("the data was not verified"),
        }
    }

    /// RPO actual: T0 − R. `complete_up_to` is R, the start of the capture whose manifest the
    /// restored copy equals.
    pub fn rpo(&self, complete_up_to: Option<Timestamp>) -> Measurement {
        rpo(self.detected.as_ref().map(|moment| moment.wall), complete_up_to)
    }
}

/// RPO actual, or live RPO with `now` as the moment of loss. Both are wall times.
pub fn rpo(lost_at: Option<Timestamp>, complete_up_to: Option<Timestamp>) -> Measurement {
    let why = match (lost_at, complete_up_to) {
        (Some(lost), Some(complete)) => return known(wall_ms(complete, lost), None),
        (None, _) => "no time of detection",
        (_, None) => "not proven up to when the copy is complete",
    };
    Measurement { value: Measured::Unknown(why.to_owned()), note: None }
}

/// How an actual value stands to its objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// Known, and not above the limit.
    Met,
    /// Known, and above the limit.
    Missed,
    /// Not known: never met.
    Unknown,
    /// Nobody set an objective.
    Unset,
}

impl Judgement {
    /// The word as documents and messages print it.
    pub fn word(self) -> &'static str {
        match self {
            Judgement::Met => "met",
            Judgement::Missed => "missed",
            Judgement::Unknown => "unknown",
            Judgement::Unset => "no objective",
        }
    }
}

/// An actual value beside its objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// The objective and its rule.
    pub objective: Option<Objective>,
    /// What was measured.
    pub actual: Measured,
    /// A clock step that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How they compare.
    pub verdict: Judgement,
}

/// Judges a measurement.
pub fn judge(objective: Option<Objective>, measurement: Measurement) -> Judged {
    let verdict = match (&objective, &measurement.value) {
        (None, _) => Judgement::Unset,
        (Some(_), Measured::Unknown(_)) => Judgement::Unknown,
        (Some(objective), Measured::Known(actual)) if *actual <= objective.limit => Judgement::Met,
        _ => Judgement::Missed,
    };
    Judged { objective, actual: measurement.value, note: measurement.note, verdict }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::objective::Rule;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("in range")
    }

    fn both(wall: i64, ms: u64) -> Moment {
        Moment::both(at(wall), "p", std::time::Duration::from_millis(ms))
    }

    fn limit(text: &str) -> Option<Objective> {
        Some(Objective { limit: text.parse().expect(text), rule: Rule::Plan })
    }

    #[test]
    fn rto_ends_at_verification_without_a_service_x_09() {
        let mut line = Timeline {
            detected: Some(both(0, 0)),
            verified: Some(both(60, 60_000)),
            ..Timeline::default()
        };
        assert_eq!(line.rto().value, Measured::Known(Duration::from_secs(60)));
        line.has_service = true;
        assert!(matches!(line.rto().value, Measured::Unknown(_)));
        line.answering = Some(both(90, 90_000));
        assert_eq!(line.rto().value, Measured::Known(Duration::from_secs(90)));
    }

    #[test]
    fn a_clock_step_is_named_and_does_not_count() {
        let measured = between(&both(0, 0), &both(-3540, 60_000));
        assert_eq!(measured.value, Measured::Known(Duration::from_secs(60)));
        assert_eq!(
            measured.note.as_deref(),
            Some("the wall clock was set backwards by 1h meanwhile")
        );
        assert_eq!(between(&both(0, 0), &both(60, 60_400)).note, None);
    }

    #[test]
    fn other_processes_share_no_monotonic_clock() {
        let other = Moment::both(at(30), "q", std::time::Duration::from_millis(5));
        assert_eq!(between(&both(0, 0), &other).value, Measured::Known(Duration::from_secs(30)));
    }

    #[test]
    fn negative_is_unknown() {
        assert!(matches!(rpo(Some(at(0)), Some(at(1))).value, Measured::Unknown(_)));
        assert!(matches!(
            between(&Moment::wall(at(5)), &Moment::wall(at(0))).value,
            Measured::Unknown(_)
        ));
    }

    #[test]
    fn unknown_is_never_met() {
        let judged = judge(limit("1000 years"), rpo(None, Some(at(0))));
        assert_eq!(judged.verdict, Judgement::Unknown);
        assert_eq!(judge(None, rpo(Some(at(9)), Some(at(0)))).verdict, Judgement::Unset);
    }

    #[test]
    fn the_limit_itself_is_met() {
        let verdict = |s| judge(limit("1m"), rpo(Some(at(s)), Some(at(0)))).verdict;
        assert_eq!((verdict(60), verdict(61)), (Judgement::Met, Judgement::Missed));
    }

    proptest! {
        #[test]
        fn met_exactly_if_known_and_within(lost in -9999i64..9999, limit_s in 0u64..9999) {
            let judged = judge(
                Some(Objective { limit: Duration::from_secs(limit_s), rule: Rule::Plan }),
                rpo(Some(at(lost)), Some(at(0))),
            );
            let met = lost >= 0 && lost <= i64::try_from(limit_s).expect("small");
            prop_assert_eq!(judged.verdict == Judgement::Met, met);
        }

        #[test]
        fn monotonic_spans_ignore_the_wall(wall in -99_999i64..99_999, ms in 0u64..9_999_999) {
            let measured = between(&both(0, 0), &both(wall, ms));
            prop_assert_eq!(measured.value, Measured::Known(Duration::from_millis(ms)));
        }
    }
}
