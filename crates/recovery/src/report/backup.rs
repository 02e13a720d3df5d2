//! The report of a backup.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_model::recipe::CaptureRoot;
use serde::Serialize;

use super::{Failure, Head, Problem, SnapshotVerification, TierRef};

/// How a component fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentOutcome {
    /// It has a new, whole snapshot.
    Saved,
    /// It has a new snapshot; something in it was skipped or changed while it was read.
    Partial,
    /// It has no new snapshot.
    Failed,
}

/// One component of a backup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentBackup {
    /// Component name.
    pub component: String,
    /// How it fared.
    pub outcome: ComponentOutcome,
    /// The new snapshot.
    pub snapshot: Option<String>,
    /// Its readable name, `COMPONENT_full_YYYYMMDD_HHMMSS.EXT`.
    pub artefact: Option<String>,
    /// The snapshot that unchanged files were taken from.
    pub parent: Option<String>,
    /// The instant up to which the copy is proven complete.
    pub complete_up_to: Option<Timestamp>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Files that were not in the parent.
    pub files_new: u64,
    /// Files that differ from the parent.
    pub files_changed: u64,
    /// Files taken over from the parent unread.
    pub files_unmodified: u64,
    /// Size of everything in the snapshot, bytes.
    pub bytes_total: u64,
    /// Source bytes read.
    pub bytes_read: u64,
    /// Bytes added to the vault, as stored.
    pub bytes_added: u64,
    /// How long the source's writers were held up, milliseconds, where the engine had to lock.
    pub blocked_ms: Option<u64>,
    /// What was skipped or changed while it was read.
    pub problems: Vec<Problem>,
    /// The level of verification reached, `V1` to `V4`.
    pub level: Option<&'static str>,
    /// The verification that `--verify` asked for.
    pub verification: Option<SnapshotVerification>,
    /// Why there is no snapshot.
    pub error: Option<Failure>,
}

/// The report of a backup. Schema `lifeboat/backup`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The run id that all its snapshots carry.
    pub run: String,
    /// Where to.
    pub tier: TierRef,
    /// One entry a component, in the recipe's order.
    pub components: Vec<ComponentBackup>,
    /// What should be looked at (clock set back, an interrupted earlier run …).
    pub warnings: Vec<String>,
    /// Components that were asked for and that this version does not carry out.
    pub left_out: Vec<String>,
    /// True if one of them was asked for by its name.
    pub left_out_by_name: bool,
    /// True if it was stopped before the end.
    pub interrupted: bool,
}

impl BackupReport {
    /// 0 all saved; 1 a component has no new snapshot; 3 something was skipped; 5 interrupted;
    /// 9 `--verify` found a fault.
    pub fn exit(&self) -> Exit {
        use lifeboat_model::verdict::Verdict;
        if self.interrupted {
            return Exit::Interrupted;
        }
        let failed: Vec<_> =
            self.components.iter().filter(|c| c.outcome == ComponentOutcome::Failed).collect();
        if !failed.is_empty() || self.components.is_empty() || self.left_out_by_name {
            return Exit::Failed;
        }
        // There is a snapshot, and its verification could not be carried out.
        if self.components.iter().any(|c| c.error.is_some()) {
            return Exit::Unverified;
        }
        let verified = self.components.iter().filter_map(|c| c.verification.as_ref());
        // What was left out has a code of its own.
        if verified.clone().any(|v| v.verdict != Verdict::Pass && !v.only_partial()) {
            return Exit::Unverified;
        }
        let partial = self.components.iter().any(|c| c.outcome == ComponentOutcome::Partial);
        match partial || !self.left_out.is_empty() {
            true => Exit::Problems,
            false => Exit::Done,
        }
    }
}

/// What a backup would do. Schema `lifeboat/backup-recipe`. Nothing was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedBackup {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// Where to.
    pub tier: TierRef,
    /// True if the vault would be made first.
    pub makes_vault: bool,
    /// The components, in order.
    pub components: Vec<PlannedComponent>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// One component of a backup that would be made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedComponent {
    /// Component name.
    pub component: String,
    /// Its kind (`sqlite`, `files`).
    pub kind: String,
    /// The snapshot that unchanged files would be taken from.
    pub parent: Option<String>,
    /// What would be captured, and where it would stand in the snapshot's tree.
    pub roots: Vec<CaptureRoot>,
    /// What would be left out, by the rules of gitignore.
    pub exclude: Vec<String>,
    /// The tags that its snapshot would carry besides `run=`.
    pub tags: Vec<String>,
}
