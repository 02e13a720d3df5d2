//! The list of all backups of all tiers that answer, as other tools read it (EDO-52).

use std::collections::BTreeMap;

use lifeboat_model::verdict::Verdict;

use super::{ListRequest, list};
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::report::{BackupMetadata, Failure, ListedSnapshot, MetadataBackup, MetadataTier};

/// Makes the list. One tier is enough; where none answers the first one's error is returned.
///
/// # Errors
/// No tier answers.
pub fn backup_metadata(world: &World) -> Result<BackupMetadata> {
    let start = world.start();
    let (mut away, mut warnings) = (Vec::new(), Vec::new());
    let mut backups: BTreeMap<String, MetadataBackup> = BTreeMap::new();
    let mut first_error: Option<Error> = None;
    let first = world.plan.first_tier().map(|(name, _)| name.to_owned());
    for tier in &world.tiers {
        match list(&world.with_tier(tier), &ListRequest::default()) {
            Ok(report) => {
                warnings.extend(report.warnings);
                let offsite = first.as_ref() != Some(&tier.name);
                for row in report.snapshots {
                    add(&mut backups, row, &tier.name, offsite);
                }
            }
            // Nothing was ever stored there.
            Err(Error::NoVault { .. }) => {}
            Err(error) if ends_run(&error) => return Err(error),
            Err(error) => {
                let (name, why) = (&tier.name, Failure::of(&error).line());
                away.push(name.clone());
                warnings.push(format!("tier {name} does not answer: {why}"));
                first_error.get_or_insert(error);
            }
        }
    }
    if away.len() == world.tiers.len()
        && let Some(error) = first_error
    {
        return Err(error);
    }
    let mut backups: Vec<MetadataBackup> = backups.into_values().collect();
    for backup in &mut backups {
        backup.offsite_sync_status = match backup.tiers.iter().any(|tier| tier.offsite) {
            true => "synced",
            false if away.is_empty() => "pending",
            false => "unknown",
        };
    }
    backups.sort_by_key(|backup| std::cmp::Reverse((backup.timestamp, backup.id.clone())));
    let head = world.head("lifeboat/backup-metadata", start);
    Ok(BackupMetadata { backups, away, warnings, head })
}

fn add(
    backups: &mut BTreeMap<String, MetadataBackup>,
    row: ListedSnapshot,
    tier: &str,
    offsite: bool,
) {
    let status = status(&row);
    let id = row.copy_of.clone().unwrap_or_else(|| row.snapshot.clone());
    let backup = backups.entry(id.clone()).or_insert_with(|| MetadataBackup {
        id,
        r#type: "full",
        component: row.component.clone(),
        name: row.artefact.clone(),
        timestamp: row.time,
        size: row.bytes,
        partial: row.partial,
        verification_status: "unverified",
        offsite_sync_status: "unknown",
        tiers: Vec::new(),
    });
    if backup.verification_status != "verified" && status != "unverified" {
        backup.verification_status = status;
    }
    backup.tiers.push(MetadataTier {
        tier: tier.to_owned(),
        snapshot: row.snapshot,
        offsite,
        verification: status,
        verified: row.verified,
    });
}

fn status(row: &ListedSnapshot) -> &'static str {
    match (row.verified, row.verdict) {
        (Some(_), Some(Verdict::Pass)) => "verified",
        (_, Some(Verdict::Fail)) => "failed",
        _ => "unverified",
    }
}
