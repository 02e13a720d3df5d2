//! What flows report: one document each, with stable field names, a schema name and a version.
//!
//! Instants are RFC 3339 in UTC, spans are seconds, sizes are bytes, snapshot ids are 64
//! hexadecimal digits. A value that is not known is `null`, never a number that looks good.

mod audit;
mod backup;
mod copy;
mod drill;
mod export;
mod hold;
mod key;
mod kit;
mod list;
mod prune;
mod restore;
mod status;
mod stream;
mod verify;

pub use audit::{
    Anchor, AuditFinding, AuditLogReport, AuditVerifyReport, FindingKind, LoggedEntry,
};
pub use backup::{
    BackupReport, ComponentBackup, ComponentOutcome, PlannedBackup, PlannedComponent,
};
pub use copy::{CopiedSnapshot, CopyReport, DamagedPack, LeftOut};
pub use drill::{
    ComponentDrill, DrillFailure, DrillListReport, DrillOfPlan, DrillReport, DrilledPoint,
    EvidenceRef, ListedDrill, Measured, Met, PlannedDrill, Times,
};
pub use export::{BackupMetadata, ExportReport, MetadataBackup, MetadataTier};
pub use hold::HoldsReport;
pub use key::{KeyReport, KeyTier, ListedKey, Successor};
pub use kit::{
    BootstrapFinding, BootstrapHead, BootstrapReport, KitAccess, KitDrillReport, KitFacts,
    KitReport, KitStep, KitTierFacts, Trouble,
};
pub use list::{ListReport, ListedJournal, ListedSnapshot};
pub use prune::{DataFate, Packs, PruneReport, RepairReport, Salvaged, SnapshotFate};
pub use restore::{
    ComponentRestore, PlannedComponentRestore, PlannedRestore, RestoreReport, SkewEntry, WayReport,
};
pub use status::{
    ComponentState, ComponentStatus, InterruptedAction, LastDrill, NewestPoint, NextRun,
    StatusReport, StreamState, TierExposure,
};
pub use stream::{
    DetachReport, LostPart, PlannedStream, PlannedStreamOf, StreamBase, StreamReport,
    StreamedComponent,
};
pub use verify::{Damage, JournalVerification, SnapshotVerification, VaultCheck, VerifyReport};

use jiff::Timestamp;
use serde::Serialize;

use crate::error::Error;

/// What every report begins with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Head {
    /// Name of the document's form, `lifeboat/…`.
    pub schema: &'static str,
    /// Version of the form.
    pub version: u32,
    /// The plan's name.
    pub plan: String,
    /// The plan's revision, the hash of its canonical form.
    pub revision: String,
    /// Host that acted.
    pub host: String,
    /// Who asked.
    pub operator: String,
    /// Wall time at the start.
    pub started: Timestamp,
    /// Wall time at the end.
    pub finished: Timestamp,
    /// How long it took, by the monotonic clock, seconds.
    pub seconds: f64,
}

/// The tier that a report speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TierRef {
    /// Its name in the plan.
    pub name: String,
    /// Its place, as the plan writes it.
    pub url: String,
}

/// A failure inside a report that went on with the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// One lower-case sentence.
    pub message: String,
    /// The causes below it, outermost first.
    pub causes: Vec<String>,
    /// The command or change that mends it.
    pub hint: Option<String>,
    /// The exit code that it would have had alone.
    pub code: u8,
}

impl Failure {
    /// The sentence, the causes and the hint of an error.
    pub fn of(error: &Error) -> Failure {
        let mut causes: Vec<String> = Vec::new();
        let mut last = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let text = cause.to_string();
            // Wrappers repeat what they wrap.
            if text != last {
                causes.push(text.clone());
            }
            last = text;
            source = cause.source();
        }
        Failure {
            message: error.to_string(),
            causes,
            hint: error.hint(),
            code: error.exit().code(),
        }
    }

    /// The sentence and its causes on one line, for the ledger and the log.
    pub fn line(&self) -> String {
        std::iter::once(&self.message).chain(&self.causes).cloned().collect::<Vec<_>>().join(": ")
    }
}

/// A path that something was wrong with; the run went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The path, as it is in the source or the tree; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What was wrong.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.path, self.what)
    }
}

/// Rounds a span to milliseconds, for reports.
pub(crate) fn seconds(span: std::time::Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
