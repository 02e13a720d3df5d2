//! `verify`: the vault as a whole, and the ten points of each snapshot.

use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::report::{Damage, JournalVerification, SnapshotVerification, VerifyReport};

use super::{cell, failed_checks, failure, short, tier, warnings, when};
use crate::screen::{Look, Screen};
use crate::text;

/// How many files of a damaged object are named; the document has them all.
const FILES: usize = 5;

/// The report of a verification.
pub fn verify(report: &VerifyReport, screen: &Screen) -> String {
    let vault = &report.vault;
    let depth = if vault.read_data {
        format!("{} read in full", text::size(vault.bytes_read))
    } else {
        "structure only".into()
    };
    let mut out = format!(
        "{}: {}, {}, {depth}, {}  {}\n",
        text::capital(&tier(&report.tier)),
        text::plural(vault.packs, "pack", "packs"),
        text::plural(vault.snapshots, "snapshot", "snapshots"),
        text::seconds(vault.seconds),
        screen.verdict(vault.verdict)
    );
    for damage in &vault.damage {
        out.push_str(&damaged(screen, damage));
    }
    for note in &vault.notes {
        out.push_str(&format!("{}\n", screen.dim(&format!("  {note}"))));
    }
    for snapshot in &report.snapshots {
        out.push_str(&format!(
            "{}{} {}  {}  level {}{}  {}\n",
            if snapshot.restored { "\n" } else { "" },
            screen.bold(&snapshot.component),
            short(&snapshot.snapshot),
            when(snapshot.time, &report.head),
            snapshot.level.unwrap_or("none"),
            if snapshot.partial { ", partial" } else { "" },
            screen.verdict(snapshot.verdict)
        ));
        // An older snapshot that was only read says all of it in one line.
        if snapshot.restored || snapshot.verdict != Verdict::Pass {
            out.push_str(&points(screen, snapshot));
        }
    }
    for journal in &report.journals {
        out.push_str(&of_journal(screen, journal));
    }
    out.push_str(&warnings(screen, &report.warnings));
    out.push_str(&format!(
        "\n{}, {}\n",
        screen.verdict(report.verdict),
        text::seconds(report.head.seconds)
    ));
    out
}

/// A component's journal.
fn of_journal(screen: &Screen, journal: &JournalVerification) -> String {
    let depth = match journal.objects_read {
        0 => "structure only".to_owned(),
        _ => format!("{} read", text::size(journal.bytes_read)),
    };
    let mut out = format!(
        "\n{} journal: {}, {depth}, {}  {}\n",
        screen.bold(&journal.component),
        text::plural(journal.records, "record", "records"),
        text::seconds(journal.seconds),
        screen.verdict(journal.verdict)
    );
    for damage in &journal.damage {
        out.push_str(&damaged(screen, damage));
    }
    let more = journal.damaged.saturating_sub(journal.damage.len() as u64);
    if more > 0 {
        out.push_str(&format!("    … and {more} more\n"));
    }
    for note in &journal.notes {
        out.push_str(&format!("{}\n", screen.dim(&format!("  {note}"))));
    }
    out.push_str(
        &journal
            .error
            .as_ref()
            .map_or_else(String::new, |e| failure(screen, &journal.component, e)),
    );
    out
}

/// One damaged object and what it concerns.
fn damaged(screen: &Screen, damage: &Damage) -> String {
    let mut out = format!("{} {}: {}\n", screen.red("✗"), damage.object, damage.what);
    if !damage.snapshots.is_empty() {
        let ids: Vec<&str> = damage.snapshots.iter().map(|id| short(id)).collect();
        out.push_str(&format!("    needed by {}\n", text::list(&ids)));
    }
    for file in damage.files.iter().take(FILES) {
        out.push_str(&format!("    {file}\n"));
    }
    if damage.files.len() > FILES {
        out.push_str(&format!("    … and {} more files\n", damage.files.len() - FILES));
    }
    out
}

/// The ten points of one snapshot, then what did not pass.
pub fn points(screen: &Screen, snapshot: &SnapshotVerification) -> String {
    let mut out = String::new();
    if !snapshot.points.is_empty() {
        let mut grid = screen.table(&["", "point", "", "found"]);
        for point in &snapshot.points {
            grid.row(&[
                (point.number.to_string().as_str(), Look::Number),
                (point.name.as_str(), Look::Plain),
                cell(point.verdict),
                (point.found.as_str(), Look::Faint),
            ]);
        }
        // The heading says nothing that the rows do not.
        for line in grid.text().lines().skip(1) {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out.push_str(&failed_checks(screen, &snapshot.component, &snapshot.checks));
    if snapshot.foreign {
        out.push_str(&format!("{} no ledger of this plan knows it\n", screen.yellow("!")));
    }
    if let Some(error) = &snapshot.error {
        out.push_str(&failure(screen, &snapshot.component, error));
    }
    out
}
