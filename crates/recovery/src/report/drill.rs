//! The report of a drill, and the list of past ones.

use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::{Failure, Head, TierRef, WayReport};

/// A measure held against its objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Met {
    /// Measured, and within the objective.
    Met,
    /// Measured, and not within it.
    Missed,
    /// Not measured: never met.
    Unknown,
    /// The plan states no objective.
    None,
}

/// A measured span and its objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured, seconds.
    pub actual_seconds: Option<f64>,
    /// What the plan demands, seconds.
    pub objective_seconds: Option<f64>,
    /// Where in the plan the objective comes from.
    pub rule: Option<String>,
    /// How the two compare.
    pub met: Met,
}

/// The clock of a drill. Wall times are for reading; spans are monotonic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The (simulated) failure.
    pub t0: Timestamp,
    /// Recovery started.
    pub t2: Option<Timestamp>,
    /// Data back.
    pub t3: Option<Timestamp>,
    /// Verified.
    pub t4: Option<Timestamp>,
    /// T2 to T3, seconds.
    pub restore_seconds: Option<f64>,
    /// T3 to T4, seconds.
    pub verify_seconds: Option<f64>,
}

/// One component of a drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentDrill {
    /// Component name.
    pub component: String,
    /// The snapshot that was restored.
    pub snapshot: Option<String>,
    /// The instant up to which it is complete.
    pub complete_up_to: Option<Timestamp>,
    /// The verdict of the checks alone; objectives are apart.
    pub verdict: Verdict,
    /// The checks.
    pub checks: Vec<CheckResult>,
    /// The clock.
    pub times: Times,
    /// Recovery time: T4 − T0, seconds.
    pub rto_seconds: Option<f64>,
    /// Data loss: T0 − the instant up to which the copy is complete, seconds.
    pub rpo_seconds: Option<f64>,
    /// RTO against its objective.
    pub rto: Measured,
    /// RPO against its objective.
    pub rpo: Measured,
    /// Bytes restored.
    pub bytes: u64,
    /// Files restored.
    pub files: u64,
    /// The way through the journal, where there was one.
    pub way: Option<WayReport>,
    /// Older points of its window that were rehearsed too.
    pub points: Vec<DrilledPoint>,
    /// Why it failed.
    pub error: Option<DrillFailure>,
}

/// An older point of a component's window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrilledPoint {
    /// The wanted instant.
    pub at: Timestamp,
    /// When its rehearsal began.
    pub started: Timestamp,
    /// The base.
    pub snapshot: Option<String>,
    /// The way from there.
    pub way: Option<WayReport>,
    /// The verdict.
    pub verdict: Verdict,
    /// What was asked of the copy. The plan's questions are those of today, and are not asked.
    pub checks: Vec<CheckResult>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Why it failed.
    pub error: Option<DrillFailure>,
}

/// A failure as evidence keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillFailure {
    /// One sentence and its causes.
    pub message: String,
    /// The command or change that mends it.
    pub hint: Option<String>,
}

impl From<&Failure> for DrillFailure {
    fn from(failure: &Failure) -> Self {
        DrillFailure { message: failure.line(), hint: failure.hint.clone() }
    }
}

/// Where the evidence of a drill is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceRef {
    /// Its id.
    pub id: String,
    /// The local file.
    pub path: String,
    /// The object in the tier; nothing if it could not be written there.
    pub object: Option<String>,
    /// SHA-256 of the signed record, hexadecimal, as the ledger has it.
    pub sha256: String,
}

/// The report of a drill. Schema `lifeboat/drill`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The drill's id.
    pub id: String,
    /// The drill's name in the plan, if it has one.
    pub drill: Option<String>,
    /// Where from.
    pub tier: TierRef,
    /// SHA-256 of the recipe: the same as a restore in anger.
    pub recipe: String,
    /// Pass only if every check of every component passed, and there was at least one component.
    pub verdict: Verdict,
    /// True if every objective that the plan states was met; unknown is not met.
    pub objectives_met: bool,
    /// The components, in recovery order.
    pub components: Vec<ComponentDrill>,
    /// Checks that look at two components.
    pub together: Vec<CheckResult>,
    /// What chose the older points; nothing where there were none to choose.
    pub seed: Option<u64>,
    /// True if the sandbox is gone. If it is not, the verdict is not pass.
    pub sandbox_removed: bool,
    /// Components that this version does not carry out, where everything was asked for. One that
    /// was asked for by its name is inconclusive instead.
    pub left_out: Vec<String>,
    /// What should be looked at.
    pub findings: Vec<String>,
    /// The signed evidence.
    pub evidence: Option<EvidenceRef>,
}

impl DrillReport {
    /// 0; 11 a check failed or was inconclusive; 10 all passed, an objective was missed; 3 all
    /// passed, and something of the plan was left out.
    pub fn exit(&self) -> Exit {
        if self.verdict != Verdict::Pass {
            Exit::DrillFailed
        } else if !self.objectives_met {
            Exit::ObjectiveMissed
        } else if !self.left_out.is_empty() {
            Exit::Problems
        } else {
            Exit::Done
        }
    }
}

/// What a drill would do. Schema `lifeboat/drill-recipe`. Nothing was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedDrill {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The drill's name in the plan, if it has one.
    pub drill: Option<String>,
    /// Where from.
    pub tier: TierRef,
    /// SHA-256 of the recipe: the same as a restore in anger.
    pub recipe: String,
    /// The sandbox's parent folder.
    pub sandbox: String,
    /// Bytes that it needs there.
    pub bytes_needed: u64,
    /// Bytes free there, where it could be told.
    pub bytes_free: Option<u64>,
    /// The components, in recovery order.
    pub components: Vec<super::restore::PlannedComponentRestore>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// A past drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedDrill {
    /// Its id.
    pub id: String,
    /// Its name in the plan, if it had one.
    pub drill: Option<String>,
    /// When it began.
    pub time: Timestamp,
    /// Component.
    pub component: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Recovery time, seconds.
    pub rto_seconds: Option<f64>,
    /// Data loss, seconds.
    pub rpo_seconds: Option<f64>,
}

/// A drill of the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillOfPlan {
    /// Its name.
    pub drill: String,
    /// The components that it rehearses.
    pub components: Vec<String>,
    /// When it is due next, at most five times; running them is left to cron or a timer.
    pub next_runs: Vec<Timestamp>,
    /// When it last ran.
    pub last: Option<Timestamp>,
    /// How that ended: the worst of its components.
    pub last_verdict: Option<Verdict>,
}

/// The plan's drills, and past ones, newest first. Schema `lifeboat/drills`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillListReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The plan's.
    pub planned: Vec<DrillOfPlan>,
    /// Past ones.
    pub drills: Vec<ListedDrill>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}
