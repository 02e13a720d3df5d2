//! The report of a verification.

use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::exit::Exit;
use lifeboat_model::report::Line;
use lifeboat_model::verdict::Verdict;
use serde::Serialize;

use super::{Failure, Head, TierRef};
use crate::journal::Window;

/// What was found about one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SnapshotVerification {
    /// The snapshot.
    pub snapshot: String,
    /// Its component.
    pub component: String,
    /// Its run, if it has one.
    pub run: Option<String>,
    /// When it was taken.
    pub time: Timestamp,
    /// The level that it passed: `V1` stored whole, `V2` readable, `V3` engine checks,
    /// `V4` equal to its manifest; nothing if it did not even pass the first.
    pub level: Option<&'static str>,
    /// The verdict at the level that was asked for.
    pub verdict: Verdict,
    /// The 10-point report.
    pub points: Vec<Line>,
    /// The engine's checks.
    pub checks: Vec<CheckResult>,
    /// Its size is far from its predecessors': a question to people (G-06).
    pub implausible_size: Option<String>,
    /// Why its tables were not compared with the fingerprints that were taken of production.
    pub not_compared: Option<String>,
    /// True if it was restored into a scratch folder for this.
    pub restored: bool,
    /// True if something was left out when it was captured: never a pass, whatever the level.
    pub partial: bool,
    /// Not found in any ledger of the tier.
    pub foreign: bool,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Why it could not be judged.
    pub error: Option<Failure>,
}

impl SnapshotVerification {
    /// Nothing speaks against it but that something was left out at the capture.
    pub fn only_partial(&self) -> bool {
        let told = |check: &CheckResult| {
            check.verdict == Verdict::Pass || check.name == crate::prove::CAPTURED
        };
        self.partial
            && self.verdict == Verdict::Inconclusive
            && self.error.is_none()
            && self.checks.iter().all(told)
    }
}

/// A damaged or missing object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The object's key in the vault.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Snapshots that need it.
    pub snapshots: Vec<String>,
    /// Files that need it, as far as they could be named.
    pub files: Vec<String>,
}

/// What reading the vault found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VaultCheck {
    /// The verdict.
    pub verdict: Verdict,
    /// True if every object was read in full.
    pub read_data: bool,
    /// Snapshots seen.
    pub snapshots: u64,
    /// Packs seen.
    pub packs: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Harmless leftovers and other remarks.
    pub notes: Vec<String>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// What reading a component's journal found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalVerification {
    /// The component.
    pub component: String,
    /// Pass only if there is a record, and every one that was read is what it should be.
    pub verdict: Verdict,
    /// The check, by its name.
    pub checks: Vec<CheckResult>,
    /// Records that hold together.
    pub records: u64,
    /// Objects in the tier.
    pub objects: u64,
    /// Objects that were read whole.
    pub objects_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Parts without a break.
    pub windows: Vec<Window>,
    /// Objects and records that are missing, damaged, foreign, or do not link.
    pub damaged: u64,
    /// The first hundred of them.
    pub damage: Vec<Damage>,
    /// Recorded gaps, what stands beside the way, and other remarks.
    pub notes: Vec<String>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Why it could not be looked at.
    pub error: Option<Failure>,
}

/// The report of a verification. Schema `lifeboat/verify`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The tier that was verified.
    pub tier: TierRef,
    /// Pass only if the vault, every snapshot and every journal passed, and there was at least one
    /// snapshot.
    pub verdict: Verdict,
    /// True if only the structure was looked at.
    pub quick: bool,
    /// The vault as a whole.
    pub vault: VaultCheck,
    /// The snapshots, newest first.
    pub snapshots: Vec<SnapshotVerification>,
    /// The journals in the tier.
    pub journals: Vec<JournalVerification>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// Components of the plan that this version does not carry out: nothing of them was looked at.
    pub left_out: Vec<String>,
}

impl VerifyReport {
    /// 0 or 9.
    pub fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Pass if self.left_out.is_empty() => Exit::Done,
            Verdict::Pass => Exit::Problems,
            _ => Exit::Unverified,
        }
    }
}
