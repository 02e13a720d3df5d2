//! The reports of a pruning and of a repair.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_vault::prune::Amount;
use serde::Serialize;

use super::{Head, TierRef};
use crate::journal::JournalFate;

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotFate {
    /// The snapshot.
    pub snapshot: String,
    /// Its component; nothing for one that another tool made.
    pub component: Option<String>,
    /// Its schedule.
    pub schedule: Option<String>,
    /// When it was taken.
    pub time: Timestamp,
    /// It stays.
    pub kept: bool,
    /// Why: every reason.
    pub why: Vec<String>,
}

/// A number of packs and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Packs {
    /// Packs.
    pub packs: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl From<Amount> for Packs {
    fn from(amount: Amount) -> Packs {
        Packs { packs: amount.packs, bytes: amount.bytes }
    }
}

/// What becomes of the stored data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataFate {
    /// Stored bytes that the remaining snapshots need.
    pub bytes_used: u64,
    /// Bytes of waste that stay, being too few to be worth the work.
    pub bytes_unused: u64,
    /// Packs that stay.
    pub kept: Packs,
    /// Packs of which the needed part is stored again.
    pub repacked: Packs,
    /// Packs newly marked for deletion.
    pub marked: Packs,
    /// Packs marked before that still wait.
    pub waiting: Packs,
    /// Packs deleted.
    pub deleted: Packs,
    /// Packs that are needed again and went back into the index.
    pub recovered: Packs,
    /// From when on the next pruning deletes something.
    pub next_due: Option<Timestamp>,
}

impl From<&lifeboat_vault::PruneReport> for DataFate {
    fn from(report: &lifeboat_vault::PruneReport) -> DataFate {
        DataFate {
            bytes_used: report.bytes_used,
            bytes_unused: report.bytes_unused,
            kept: report.kept.into(),
            repacked: report.repacked.into(),
            marked: report.marked.into(),
            waiting: report.waiting.into(),
            deleted: report.deleted.into(),
            recovered: report.recovered.into(),
            next_due: report.next_due,
        }
    }
}

/// The report of a pruning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PruneReport {
    /// What every report begins with.
    #[serde(flatten)]
    pub head: Head,
    /// The tier.
    pub tier: TierRef,
    /// Nothing was changed: this is what would be done.
    pub dry_run: bool,
    /// Decided as if it were then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why nothing at all may go now, by component.
    pub refused: Vec<String>,
    /// Every snapshot, newest first.
    pub snapshots: Vec<SnapshotFate>,
    /// The data; nothing if the pruning was refused.
    pub data: Option<DataFate>,
    /// The journals; none if the pruning was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journals: Vec<JournalFate>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl PruneReport {
    /// The exit code that the report means.
    pub fn exit(&self) -> Exit {
        if self.refused.is_empty() { Exit::Done } else { Exit::Refused }
    }
}

/// A listed pack with a damaged header, whose intact part is stored again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// The pack, which is no longer listed.
    pub pack: String,
    /// What is wrong with it.
    pub why: String,
    /// Pieces of data that were proven by their hash and stored again.
    pub saved: u64,
    /// Pieces that are damaged or cut off and lie in no other listed pack.
    pub lost: u64,
}

/// The report of a repair of the index.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepairReport {
    /// What every report begins with.
    #[serde(flatten)]
    pub head: Head,
    /// The tier.
    pub tier: TierRef,
    /// Nothing was changed: this is what would be done.
    pub dry_run: bool,
    /// Packs in the vault.
    pub packs: u64,
    /// Packs that no index object named: added.
    pub added: Vec<String>,
    /// Packs that were marked for deletion: listed again.
    pub unmarked: Vec<String>,
    /// Packs that are missing: their entries were dropped.
    pub missing: Vec<String>,
    /// Packs about which the index was wrong.
    pub corrected: Vec<String>,
    /// Listed packs with a damaged header: what is intact of them is stored again.
    pub salvaged: Vec<Salvaged>,
    /// Listed packs that cannot be read now, and why: still listed.
    pub kept: Vec<(String, String)>,
    /// Packs in no index whose header cannot be read, and why: left as they are.
    pub unreadable: Vec<(String, String)>,
    /// Index objects that are damaged, and how: replaced.
    pub damaged: Vec<(String, String)>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl RepairReport {
    /// True if data is lost, or may be: it was not found whole.
    pub fn lost_something(&self) -> bool {
        !self.missing.is_empty()
            || !self.unreadable.is_empty()
            || !self.kept.is_empty()
            || self.salvaged.iter().any(|pack| pack.lost > 0)
    }

    /// The exit code that the report means.
    pub fn exit(&self) -> Exit {
        if self.lost_something() { Exit::Problems } else { Exit::Done }
    }
}
