//! `backup`.

use lifeboat_recovery::report::{BackupReport, ComponentBackup, ComponentOutcome, PlannedBackup};

use super::{failure, problems, short_or_dash, tier, verify::points, warnings};
use crate::screen::{Look, Screen};
use crate::text;

/// The report of a backup.
pub fn backup(report: &BackupReport, screen: &Screen) -> String {
    let mut grid =
        screen.table(&["component", "snapshot", "took", "files", "read", "stored", "level", ""]);
    for component in &report.components {
        let (word, look) = match component.outcome {
            ComponentOutcome::Saved => ("saved", Look::Good),
            ComponentOutcome::Partial => ("partial", Look::Doubt),
            ComponentOutcome::Failed => ("no snapshot", Look::Bad),
        };
        grid.row(&[
            (component.component.as_str(), Look::Name),
            (short_or_dash(component.snapshot.as_ref()), Look::Plain),
            (&text::seconds(component.seconds), Look::Number),
            (&files(component), Look::Plain),
            (&text::size(component.bytes_read), Look::Number),
            (&text::size(component.bytes_added), Look::Number),
            (component.level.unwrap_or("-"), Look::Plain),
            (word, look),
        ]);
    }
    let mut out = grid.text();
    for component in &report.components {
        out.push_str(&problems(screen, &component.component, &component.problems));
        if let Some(error) = &component.error {
            out.push_str(&failure(screen, &component.component, error));
        }
        if let Some(verification) = &component.verification {
            out.push_str(&points(screen, verification));
        }
    }
    out.push_str(&warnings(screen, &report.warnings));
    let names: Vec<&str> = report.components.iter().filter_map(|c| c.artefact.as_deref()).collect();
    for name in names {
        out.push_str(&format!("{}\n", screen.dim(&format!("made {name}"))));
    }
    let end =
        if report.interrupted { "; interrupted, what is stored is reused next time" } else { "" };
    out.push_str(&format!(
        "run {} in {}, {}{end}\n",
        report.run,
        tier(&report.tier),
        text::seconds(report.head.seconds)
    ));
    out
}

/// `1 new, 48 unchanged`.
fn files(component: &ComponentBackup) -> String {
    let parts = [
        (component.files_new, "new"),
        (component.files_changed, "changed"),
        (component.files_unmodified, "unchanged"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{} {word}", text::count(*number)))
        .collect();
    if shown.is_empty() { "-".into() } else { shown.join(", ") }
}

/// What a backup would do.
pub fn planned_backup(report: &PlannedBackup, screen: &Screen) -> String {
    let mut grid = screen.table(&["component", "kind", "unchanged data from", "tags"]);
    for component in &report.components {
        grid.row(&[
            (component.component.as_str(), Look::Name),
            (component.kind.as_str(), Look::Plain),
            (short_or_dash(component.parent.as_ref()), Look::Plain),
            (&component.tags.join(" "), Look::Faint),
        ]);
    }
    let vault = if report.makes_vault { "make a vault in" } else { "write to" };
    format!("would {vault} {}; nothing was written\n\n{}", tier(&report.tier), grid.text())
}
