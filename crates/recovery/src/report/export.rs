//! The reports of exports: one artefact, and the list of backups as other tools read it.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use serde::Serialize;

use super::{Head, TierRef};

/// An artefact that was written, or would be. Schema `lifeboat/export`, `lifeboat/export-recipe`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// Where it was restored from.
    pub tier: TierRef,
    /// The component.
    pub component: String,
    /// The snapshot.
    pub snapshot: String,
    /// The instant that it is complete up to.
    pub complete_up_to: Timestamp,
    /// Its name below the place.
    pub name: String,
    /// Where it stands.
    pub place: String,
    /// What it holds, before it was compressed: bytes. Nothing before it was written.
    pub bytes: Option<u64>,
    /// Its size, bytes.
    pub size: Option<u64>,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: Option<String>,
    /// Nothing was written.
    pub dry_run: bool,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl ExportReport {
    /// 0: what did not pass was not exported.
    pub fn exit(&self) -> Exit {
        Exit::Done
    }
}

/// Where a backup is, in the exported list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetadataTier {
    /// The tier.
    pub tier: String,
    /// The snapshot's id there.
    pub snapshot: String,
    /// True for every tier but the first.
    pub offsite: bool,
    /// `verified`, `failed` or `unverified` there.
    pub verification: &'static str,
    /// When it was last verified there.
    pub verified: Option<Timestamp>,
}

/// One backup in the exported list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetadataBackup {
    /// Its id where it was taken.
    pub id: String,
    /// `full`: every snapshot restores by itself.
    pub r#type: &'static str,
    /// Its component.
    pub component: Option<String>,
    /// The name that an export gives it by default, without its ending.
    pub name: Option<String>,
    /// When it was taken.
    pub timestamp: Timestamp,
    /// Its size at the source, bytes.
    pub size: Option<u64>,
    /// True if something was skipped while it was taken.
    pub partial: bool,
    /// The best that is known of any copy: `verified`, `failed` or `unverified`.
    pub verification_status: &'static str,
    /// `synced` where a tier but the first has it, `pending` where none has, `unknown` where one
    /// did not answer.
    pub offsite_sync_status: &'static str,
    /// Where it is.
    pub tiers: Vec<MetadataTier>,
}

/// The list of all backups. Schema `lifeboat/backup-metadata` (EDO-52).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupMetadata {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The backups, newest first.
    pub backups: Vec<MetadataBackup>,
    /// Tiers that do not answer: what they hold is not known here.
    pub away: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl BackupMetadata {
    /// 0; 3 where a tier does not answer.
    pub fn exit(&self) -> Exit {
        if self.away.is_empty() { Exit::Done } else { Exit::Problems }
    }
}
