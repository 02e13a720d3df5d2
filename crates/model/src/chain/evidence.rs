//! Evidence: the signed record of a drill, a verification or a restore.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::entry::PlanRef;
use super::key::Hash;
use crate::check::CheckResult;
use crate::measure::Judged;
use crate::verdict::Verdict;

/// What happened, with what was found. All spans of time are in milliseconds or as text with their
/// unit; there are no fractions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Format number.
    pub format: u32,
    /// `drill`, `verify`, `restore`, `incident`.
    pub kind: String,
    /// Name of the drill, component or incident.
    pub name: String,
    /// Run id shared by everything that one command did.
    pub run: String,
    /// Host.
    pub host: String,
    /// Who ran it.
    pub operator: String,
    /// Wall time of its beginning.
    pub started: Timestamp,
    /// Wall time of its end.
    pub finished: Timestamp,
    /// The plan in force.
    pub plan: PlanRef,
    /// SHA-256 of the recipe that was executed, hexadecimal: the same as in anger.
    pub recipe: String,
    /// Versions of everything that took part: `lifeboat`, `sqlite` …
    pub tools: BTreeMap<String, String>,
    /// What was done to each component, in order.
    pub components: Vec<ComponentEvidence>,
    /// The ledger entry with which it began, and the head at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<(u64, Hash)>,
    /// The whole.
    pub verdict: Verdict,
    /// Anything worth saying: clock steps, warnings, what was not carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One component of a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentEvidence {
    /// Its name.
    pub component: String,
    /// The tier that was read.
    pub tier: String,
    /// The snapshot that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Why this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Stages, in order.
    pub stages: Vec<Stage>,
    /// Everything that was asked of the copy.
    pub checks: Vec<CheckResult>,
    /// Measured RTO against its objective.
    pub rto: Judged,
    /// Measured RPO against its objective.
    pub rpo: Judged,
    /// The component's verdict: checks and stages, not objectives.
    pub verdict: Verdict,
}

/// One stage: download, extract, check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What.
    pub name: String,
    /// Wall time of its beginning.
    pub started: Timestamp,
    /// How long, by the monotonic clock, milliseconds.
    pub took_ms: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// More, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Document for Evidence {
    const DOMAIN: &'static str = "lifeboat evidence 1";
    const FORMAT: u32 = 1;
}
