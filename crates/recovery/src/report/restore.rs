//! The report of a restore.

use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::exit::Exit;
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_model::recipe::Skipped;
use lifeboat_model::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::{Failure, Head, Problem, TierRef};
use crate::facts::RecoveredFact;

/// The way from a base through a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayReport {
    /// The wanted point as it was asked for: `newest`, an instant, `name:…`.
    pub to: String,
    /// The log that is replayed.
    pub lineage: String,
    /// Where the base stands in it.
    pub from: Position,
    /// The place that the wanted point was resolved to, where the journal tells it.
    pub target: Option<Position>,
    /// The instant up to which the last piece of the way proves a copy complete.
    pub complete_up_to: Option<Timestamp>,
    /// Pieces of the journal on the way.
    pub pieces: u64,
    /// Bytes of log in them.
    pub bytes: u64,
    /// Numbers of the first and the last piece.
    pub range: Option<(u64, u64)>,
    /// The place that was reached; nothing before the recovery.
    pub reached: Option<LogPosition>,
}

impl WayReport {
    /// One line, for evidence.
    pub fn line(&self) -> String {
        let mut line = format!("{} from {} of {}", self.to, self.from, self.lineage);
        if let Some((first, last)) = self.range {
            line += &format!(", pieces {first} to {last}, {} bytes", self.bytes);
        }
        if let Some(reached) = &self.reached {
            line += &format!(", reached {}", reached.position);
        }
        line
    }

    /// The fact of a recovery whose copy passed its checks.
    pub(crate) fn fact(
        &self,
        component: &str,
        snapshot: &str,
        now: Timestamp,
    ) -> Option<RecoveredFact> {
        let reached = self.reached.as_ref()?;
        Some(RecoveredFact {
            component: component.to_owned(),
            snapshot: snapshot.to_owned(),
            lineage: self.lineage.clone(),
            position: reached.position,
            complete_up_to: self.complete_up_to,
            range: self.range,
            time: now,
        })
    }
}

/// One restored component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentRestore {
    /// Component name.
    pub component: String,
    /// The snapshot that was restored.
    pub snapshot: Option<String>,
    /// When it was taken.
    pub snapshot_time: Option<Timestamp>,
    /// The instant up to which the copy is proven complete.
    pub complete_up_to: Option<Timestamp>,
    /// What would be lost by going back to it: from then until the restore began, seconds. `null`
    /// for a partial snapshot, since what it lacks is older than that, and where nothing was put in
    /// place.
    pub rpo_seconds: Option<f64>,
    /// True if something was left out when the snapshot was captured: the check `captured whole`
    /// names it.
    pub partial: bool,
    /// The level that the snapshot had passed before this restore.
    pub level_before: Option<String>,
    /// Why this point was chosen.
    pub chosen: String,
    /// The way through the journal, where there was one.
    pub way: Option<WayReport>,
    /// Newer ones that were passed over, and why.
    pub passed_over: Vec<Skipped>,
    /// Pass if the data is in place and every check passed.
    pub verdict: Verdict,
    /// The checks, in the order in which they ran.
    pub checks: Vec<CheckResult>,
    /// Where the data is now; nothing if it was not put in place.
    pub target: Option<String>,
    /// In-place: where the former state is kept.
    pub kept: Vec<String>,
    /// Where a failed restore was left (`--keep-failed`).
    pub failed_copy: Option<String>,
    /// What the recovery said: the line that was chosen, a target that became a position.
    pub notes: Vec<String>,
    /// Files restored.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of them that stood there already, from an earlier restore say, and were not written.
    pub unchanged: u64,
    /// What stood in the target and is not of the snapshot, by its path there.
    pub beside: Vec<String>,
    /// True if that was removed; else it is still there.
    pub beside_removed: bool,
    /// Every entry that could not be restored, and why. None of them is in the copy.
    pub damaged: Vec<Problem>,
    /// Every entry that is not as it was captured in every respect, and why.
    pub problems: Vec<Problem>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Why it failed.
    pub error: Option<Failure>,
}

impl ComponentRestore {
    /// The entry of a component of which nothing else is known.
    pub fn unknown(component: &str, verdict: Verdict) -> Self {
        ComponentRestore {
            component: component.to_owned(),
            snapshot: None,
            snapshot_time: None,
            complete_up_to: None,
            rpo_seconds: None,
            partial: false,
            level_before: None,
            chosen: String::new(),
            way: None,
            passed_over: Vec::new(),
            verdict,
            checks: Vec::new(),
            target: None,
            kept: Vec::new(),
            failed_copy: None,
            notes: Vec::new(),
            files: 0,
            bytes: 0,
            unchanged: 0,
            beside: Vec::new(),
            beside_removed: false,
            damaged: Vec::new(),
            problems: Vec::new(),
            seconds: 0.0,
            error: None,
        }
    }
}

/// How far a component's restore point is from the newest of the same restore.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkewEntry {
    /// Component name.
    pub component: String,
    /// The instant up to which it is complete.
    pub complete_up_to: Timestamp,
    /// Seconds behind the newest.
    pub behind_seconds: f64,
}

/// The report of a restore. Schema `lifeboat/restore`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestoreReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// Where from.
    pub tier: TierRef,
    /// What was asked for: `newest`, an instant, or a snapshot.
    pub at: String,
    /// True if live data was replaced.
    pub in_place: bool,
    /// The folder that was asked for.
    pub target: Option<String>,
    /// Pass only if every component passed.
    pub verdict: Verdict,
    /// From the start of the command until all was verified and in place, seconds. `null` unless
    /// everything passed: what did not come back has no recovery time.
    pub rto_seconds: Option<f64>,
    /// The components, in recovery order.
    pub components: Vec<ComponentRestore>,
    /// Checks that look at two components.
    pub together: Vec<CheckResult>,
    /// Distance between the components' restore points, where there is more than one.
    pub skew: Vec<SkewEntry>,
    /// The largest distance, seconds.
    pub skew_seconds: Option<f64>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// True if it was stopped before the end.
    pub interrupted: bool,
    /// Components of the plan that this version does not carry out, where all were asked for.
    pub left_out: Vec<String>,
}

impl RestoreReport {
    /// 0; 3 all data is in place, but a check could not be told; 5 interrupted; 9 a check failed;
    /// otherwise the first failure's own code.
    pub fn exit(&self) -> Exit {
        if self.interrupted {
            return Exit::Interrupted;
        }
        if self.verdict == Verdict::Pass {
            return if self.left_out.is_empty() { Exit::Done } else { Exit::Problems };
        }
        if !self.components.is_empty()
            && self.components.iter().all(|c| c.target.is_some() && c.error.is_none())
        {
            return Exit::Problems;
        }
        // One that was held back failed by another's fault, whose code counts.
        let at_fault = self.components.iter().filter(|c| c.verdict != Verdict::Skipped);
        let error = at_fault.clone().find_map(|c| c.error.as_ref());
        let own = [Exit::Failed, Exit::Refused, Exit::NotFound, Exit::Locked, Exit::Unreachable];
        let code = error.map(|error| error.code);
        own.into_iter().find(|exit| Some(exit.code()) == code).unwrap_or(Exit::Unverified)
    }
}

/// What a restore would do. Schema `lifeboat/restore-recipe`. Nothing was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedRestore {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// Where from.
    pub tier: TierRef,
    /// What was asked for.
    pub at: String,
    /// True if live data would be replaced.
    pub in_place: bool,
    /// The components, in recovery order.
    pub components: Vec<PlannedComponentRestore>,
    /// The largest distance between the components' points, seconds.
    pub skew_seconds: Option<f64>,
    /// SHA-256 of the recipe: equal in a drill and in anger.
    pub recipe: String,
    /// Bytes that the restore needs, and what is free where it would be staged.
    pub bytes_needed: u64,
    /// Bytes free there, where it could be told.
    pub bytes_free: Option<u64>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// One component of a restore that would be made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedComponentRestore {
    /// Component name.
    pub component: String,
    /// The snapshot.
    pub snapshot: String,
    /// When it was taken.
    pub snapshot_time: Timestamp,
    /// The instant up to which it is complete.
    pub complete_up_to: Timestamp,
    /// The level that it passed.
    pub level: Option<String>,
    /// Why it was chosen.
    pub chosen: String,
    /// The way through the journal, where there is one.
    pub way: Option<WayReport>,
    /// Newer ones that were passed over, and why.
    pub passed_over: Vec<Skipped>,
    /// What must be said of the choice.
    pub warnings: Vec<String>,
    /// Where the data would be put.
    pub target: String,
    /// The steps, in order, in words.
    pub steps: Vec<String>,
}
