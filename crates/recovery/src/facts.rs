//! Facts that ledger entries carry, from which the catalog is rebuilt.
//!
//! Stored in the `facts` list of a `finished` entry's detail. Fields may be added, never changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_model::verdict::Verdict;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How deep a verification looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Stored: present, plausible in size, hashes right, encrypted.
    V1 = 1,
    /// Readable: downloaded, decrypted, unpacked.
    V2 = 2,
    /// The engine's structural checks passed on a restored copy.
    V3 = 3,
    /// The restored copy equals the manifest taken at capture.
    V4 = 4,
}

impl Level {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Level::V1 => "V1",
            Level::V2 => "V2",
            Level::V3 => "V3",
            Level::V4 => "V4",
        }
    }

    /// 1 to 4; anything else is no level.
    pub fn from_number(number: i64) -> Option<Level> {
        [Level::V1, Level::V2, Level::V3, Level::V4].into_iter().find(|l| *l as i64 == number)
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "lowercase")]
pub enum Fact {
    /// A snapshot was taken.
    Snapshot(SnapshotFact),
    /// A snapshot was verified.
    Verified(VerifiedFact),
    /// A component was drilled.
    Drill(DrillFact),
    /// A snapshot was removed on purpose: its absence is no loss.
    Removed(RemovedFact),
    /// A base was brought along its journal, and the copy passed its checks.
    Recovered(RecoveredFact),
    /// A snapshot was put on hold: it, its copies and the journal from it on stay.
    Hold(HoldFact),
    /// A hold was taken away.
    Released(ReleasedFact),
}

/// A snapshot was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFact {
    /// Full id.
    pub snapshot: String,
    /// Repository id of the vault that holds it.
    pub vault: String,
    /// Component name.
    pub component: String,
    /// Run id.
    pub run: String,
    /// Schedule name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When it was taken.
    pub time: Timestamp,
    /// The instant up to which it is proven complete.
    pub complete_up_to: Timestamp,
    /// When reading its source ended: it holds nothing newer. Not in facts of the first days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_until: Option<Timestamp>,
    /// Source bytes.
    pub bytes: u64,
    /// Source files.
    pub files: u64,
    /// Bytes added to the vault.
    pub bytes_added: u64,
    /// True if something was skipped.
    #[serde(default)]
    pub partial: bool,
    /// What it is a copy of; nothing for one that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyFact>,
}

/// What a snapshot is a copy of. A copy keeps its place in the order of the host that took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFact {
    /// Full id of the snapshot that was taken.
    pub of: String,
    /// Host whose ledger records that one.
    pub host: String,
    /// Entry that does.
    pub seq: u64,
}

/// A snapshot was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedFact {
    /// Full id.
    pub snapshot: String,
    /// When.
    pub time: Timestamp,
    /// The level that was asked for.
    pub asked: Level,
    /// The level that it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The verdict at the level that was asked for.
    pub verdict: Verdict,
}

/// A snapshot was removed by the plan's rules, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedFact {
    /// Full id.
    pub snapshot: String,
    /// Repository id of the vault that it was removed from.
    pub vault: String,
    /// When.
    pub time: Timestamp,
    /// Why.
    pub why: String,
}

/// A snapshot was put on hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldFact {
    /// The hold's own random name, by which it is taken away.
    pub hold: String,
    /// Full id of the snapshot that was taken; its copies in other tiers are held with it.
    pub snapshot: String,
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: String,
    /// The incident that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Who.
    pub operator: String,
}

/// A hold was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedFact {
    /// The hold's name.
    pub hold: String,
    /// Full id of the snapshot that it was of.
    pub snapshot: String,
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: String,
}

/// A base was brought along its journal, and the copy passed its checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredFact {
    /// Component name.
    pub component: String,
    /// Full id of the base.
    pub snapshot: String,
    /// The log, as the tier names it.
    pub lineage: String,
    /// The place that was reached.
    pub position: Position,
    /// The instant up to which the copy is proven complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_up_to: Option<Timestamp>,
    /// Numbers of the first and the last piece of the journal that were replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(u64, u64)>,
    /// When.
    pub time: Timestamp,
}

/// A component was drilled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillFact {
    /// The drill's id.
    pub id: String,
    /// Component name.
    pub component: String,
    /// The drill's name in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<String>,
    /// When it began.
    pub time: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// Recovery time, milliseconds.
    #[serde(default)]
    pub rto_ms: Option<i64>,
    /// Data loss, milliseconds.
    #[serde(default)]
    pub rpo_ms: Option<i64>,
}

/// The facts in an entry's detail. Facts of a later version that are not understood are passed
/// over.
pub fn facts_of(detail: &BTreeMap<String, Value>) -> Vec<Fact> {
    let list = detail.get("facts").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|fact| serde_json::from_value(fact.clone()).ok())
        .collect()
}
