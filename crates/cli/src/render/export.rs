//! `export`.

use std::path::Path;

use lifeboat_recovery::report::{BackupMetadata, ExportReport};

use super::{short, tier, warnings};
use crate::screen::Screen;
use crate::text;

/// The artefact, with its sum.
pub fn export(report: &ExportReport, screen: &Screen) -> String {
    let verb = if report.dry_run { "would write" } else { "wrote" };
    let size = report.size.map_or_else(String::new, |size| format!(" ({})", text::size(size)));
    let mut out = format!("{verb} {}{size}\n", report.place);
    if let Some(sha256) = &report.sha256 {
        out.push_str(&format!("SHA-256 {sha256}\n"));
    }
    out.push_str(&warnings(screen, &report.warnings));
    out + &screen.dim(&format!(
        "{} as of {}, snapshot {} of {}\n",
        report.component,
        text::time(report.complete_up_to),
        short(&report.snapshot),
        tier(&report.tier)
    ))
}

/// How many backups the list has.
pub fn metadata(report: &BackupMetadata, path: &Path, dry_run: bool, screen: &Screen) -> String {
    let verb = if dry_run { "would write" } else { "wrote" };
    let count = text::plural(report.backups.len() as u64, "backup", "backups");
    let pending = report.backups.iter().filter(|one| one.offsite_sync_status != "synced").count();
    let mut out = format!("{verb} {}: {count}", path.display());
    if pending > 0 {
        out.push_str(&format!("; {pending} not known to be offsite"));
    }
    out.push('\n');
    out + &warnings(screen, &report.warnings)
}
