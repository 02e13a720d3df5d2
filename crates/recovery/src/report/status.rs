//! The status: what would be lost now, how long it would take, and how that is known.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_model::position::Position;
use lifeboat_model::verdict::Verdict;
use serde::Serialize;

use crate::catalog::HoldRow;

use super::{Failure, Head, TierRef, WayReport};

/// The state of a component, in one word, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// Within its objectives, proven.
    Ok,
    /// Within its objectives, never restored by a drill or a full verification.
    Unproven,
    /// The newest snapshot lacks something.
    Partial,
    /// The last drill or verification failed, or a restore in place was cut off.
    Failing,
    /// Older than its RPO allows, or the last measured RTO was longer than allowed.
    ObjectiveMissed,
    /// No snapshot at all.
    Unprotected,
}

impl ComponentState {
    /// The words as people read them.
    pub fn words(self) -> &'static str {
        match self {
            ComponentState::Ok => "ok",
            ComponentState::Unproven => "never proven",
            ComponentState::Partial => "partial",
            ComponentState::Failing => "failing",
            ComponentState::ObjectiveMissed => "objective missed",
            ComponentState::Unprotected => "unprotected",
        }
    }
}

/// The newest point that a restore without `--at` would take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewestPoint {
    /// The snapshot.
    pub snapshot: String,
    /// When it was taken.
    pub time: Timestamp,
    /// The instant up to which it is proven complete.
    pub complete_up_to: Timestamp,
    /// The level that it passed.
    pub level: Option<String>,
    /// True if something was skipped.
    pub partial: bool,
}

/// The last drill of a component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastDrill {
    /// Its id.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// How long ago, seconds; `null` if not known (a clock was set back).
    pub age_seconds: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Measured recovery time, seconds.
    pub rto_seconds: Option<f64>,
    /// Measured data loss, seconds.
    pub rpo_seconds: Option<f64>,
}

/// What one tier has of a component's log, as the stream on this host wrote it down last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierExposure {
    /// The tier.
    pub tier: String,
    /// It does not lie on this machine.
    pub elsewhere: bool,
    /// Up to where it has all.
    pub position: Option<Position>,
    /// What would be lost if this tier alone survived, seconds; `null` if not known.
    pub live_rpo_seconds: Option<f64>,
    /// Objects that it lacks; `null` if that is not known.
    pub lacks: Option<usize>,
    /// Why it does not take objects now.
    pub problem: Option<String>,
}

/// The stream of a component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamState {
    /// One runs on this host.
    pub running: bool,
    /// Since when, or when the last one began.
    pub since: Option<Timestamp>,
    /// Bytes that the source has written and not yet delivered.
    pub behind: Option<u64>,
    /// Objects that wait on this host for a tier.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// How long the source keeps what no tier takes, seconds.
    pub room_seconds: Option<f64>,
    /// Why only a new base makes what is streamed restorable, where one is wanted.
    pub base_wanted: Option<String>,
    /// What must be said aloud.
    pub warnings: Vec<String>,
    /// Why it does not get on.
    pub problem: Option<String>,
    /// The tiers.
    pub tiers: Vec<TierExposure>,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentStatus {
    /// Component name.
    pub component: String,
    /// Its class, if it has one.
    pub class: Option<String>,
    /// Its kind (`sqlite`, `files`).
    pub kind: String,
    /// The state.
    pub state: ComponentState,
    /// Why, in words; empty when all is well.
    pub reasons: Vec<String>,
    /// The newest restorable point.
    pub newest: Option<NewestPoint>,
    /// The newest point that passed V4.
    pub newest_verified: Option<NewestPoint>,
    /// The way from there through the component's journal, where it leads further.
    pub way: Option<WayReport>,
    /// Its stream, where the plan says that it streams.
    pub stream: Option<StreamState>,
    /// What would be lost now, seconds; `null` if not known.
    pub live_rpo_seconds: Option<f64>,
    /// The objective, seconds.
    pub rpo_objective_seconds: Option<f64>,
    /// Where it comes from.
    pub rpo_rule: Option<String>,
    /// The objective, seconds.
    pub rto_objective_seconds: Option<f64>,
    /// Where it comes from.
    pub rto_rule: Option<String>,
    /// The last drill.
    pub last_drill: Option<LastDrill>,
    /// Snapshots that the tier holds of it.
    pub snapshots: u64,
}

/// An action that was started and never finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterruptedAction {
    /// Sequence number of its `started` entry.
    pub seq: u64,
    /// When it started.
    pub time: Timestamp,
    /// Who asked.
    pub operator: String,
    /// What.
    pub action: String,
    /// On what.
    pub object: String,
}

/// A scheduled run to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextRun {
    /// Schedule name.
    pub schedule: String,
    /// When next, at most five.
    pub times: Vec<Timestamp>,
    /// Why there is no time (an event, a fault in the expression).
    pub note: Option<String>,
}

/// The status. Schema `lifeboat/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The tier.
    pub tier: TierRef,
    /// Why the tier could not be read; what follows then comes from the local catalog.
    pub tier_error: Option<Failure>,
    /// The worst state.
    pub state: ComponentState,
    /// The components, in recovery order.
    pub components: Vec<ComponentStatus>,
    /// Actions running right now.
    pub running: Vec<InterruptedAction>,
    /// Actions that ended without saying so.
    pub interrupted: Vec<InterruptedAction>,
    /// Schedules.
    pub next_runs: Vec<NextRun>,
    /// Holds that stand: nothing of what they are of is pruned.
    pub holds: Vec<HoldRow>,
    /// What should be looked at.
    pub findings: Vec<String>,
}

impl StatusReport {
    /// The exit code of `status --check`: 10 an objective is missed or nothing protects a
    /// component, 3 other problems, 0 all well.
    pub fn check_exit(&self) -> Exit {
        let worst = self.components.iter().map(|c| c.state).max();
        match worst {
            None => Exit::Problems,
            Some(ComponentState::ObjectiveMissed | ComponentState::Unprotected) => {
                Exit::ObjectiveMissed
            }
            Some(ComponentState::Partial | ComponentState::Failing) => Exit::Problems,
            Some(_) if self.tier_error.is_some() || !self.interrupted.is_empty() => Exit::Problems,
            Some(_) => Exit::Done,
        }
    }
}
