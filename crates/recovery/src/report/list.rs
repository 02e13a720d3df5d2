//! The list of snapshots.

use jiff::Timestamp;
use lifeboat_model::verdict::Verdict;
use serde::Serialize;

use super::{Head, TierRef};
use crate::journal::Survey;

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedSnapshot {
    /// Its id.
    pub snapshot: String,
    /// Its component; nothing for a snapshot that another tool made.
    pub component: Option<String>,
    /// Its run.
    pub run: Option<String>,
    /// Its readable name.
    pub artefact: Option<String>,
    /// When it was taken.
    pub time: Timestamp,
    /// The instant up to which it is proven complete.
    pub complete_up_to: Option<Timestamp>,
    /// Now − that instant, seconds.
    pub age_seconds: Option<f64>,
    /// The host that took it.
    pub host: String,
    /// Source bytes, where known.
    pub bytes: Option<u64>,
    /// The level that it passed, `V1` to `V4`.
    pub level: Option<String>,
    /// When it was last verified beyond V1.
    pub verified: Option<Timestamp>,
    /// The verdict of that.
    pub verdict: Option<Verdict>,
    /// True if something was skipped while it was taken.
    pub partial: bool,
    /// The id that it has where it was taken, if it is a copy.
    pub copy_of: Option<String>,
    /// Why it stays whatever the rules say, if it is on hold.
    pub hold: Option<String>,
    /// True if no ledger of this plan knows it: never chosen by default.
    pub foreign: bool,
}

/// The journal of one component in the tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedJournal {
    /// Component name.
    pub component: String,
    /// Its windows, gaps and faults.
    #[serde(flatten)]
    pub survey: Survey,
}

/// Snapshots, newest first, and journals. Schema `lifeboat/list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The tier.
    pub tier: TierRef,
    /// The snapshots.
    pub snapshots: Vec<ListedSnapshot>,
    /// The journals: any point of a window can be restored from a base in it.
    pub journals: Vec<ListedJournal>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}
