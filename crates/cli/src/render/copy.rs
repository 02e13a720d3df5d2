//! `copy`.

use lifeboat_recovery::report::CopyReport;

use super::{short, short_or_dash, tier, warnings, when};
use crate::screen::{Look, Screen};
use crate::text;

/// Every snapshot that was copied, then what was not, then how much.
pub fn copy(report: &CopyReport, screen: &Screen) -> String {
    let mut out = String::new();
    if !report.copied.is_empty() {
        let mut grid = screen.table(&["snapshot", "component", "taken", "copy", ""]);
        for one in &report.copied {
            let taken = one.time.map_or_else(|| "-".to_owned(), |time| when(time, &report.head));
            grid.row(&[
                (short(&one.snapshot), Look::Plain),
                (one.component.as_deref().unwrap_or("-"), Look::Name),
                (&taken, Look::Plain),
                (short_or_dash(one.copy.as_ref()), Look::Plain),
                (if one.foreign { "foreign" } else { "" }, Look::Faint),
            ]);
        }
        out.push_str(&grid.text());
    }
    for one in &report.left_out {
        let component = one.component.as_deref().unwrap_or("-");
        let why = one.why.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        let id = short(&one.snapshot);
        out.push_str(&format!(
            "{} {component}: {id} is not copied: {why}\n",
            screen.red("\u{2717}")
        ));
    }
    out.push_str(&warnings(screen, &report.warnings));
    out.push_str(&summary(report));
    out + &screen.dim(&format!("from {} to {}\n", tier(&report.from), tier(&report.to)))
}

fn summary(report: &CopyReport) -> String {
    let would = if report.dry_run { "would be " } else { "" };
    let count = text::plural(report.copied.len() as u64, "snapshot", "snapshots");
    let mut out = format!("{count} {would}copied ({})", text::size(report.bytes));
    if report.makes_vault {
        out.push_str(if report.dry_run { "; a vault would be made" } else { "; a vault was made" });
    }
    if report.present > 0 {
        out.push_str(&format!("; {} there already", text::count(report.present)));
    }
    if report.removed_there > 0 {
        let removed = text::count(report.removed_there);
        out.push_str(&format!("; {removed} pruned there, left out unless named"));
    }
    out.push('\n');
    out
}
