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
    out.push_str(&damaged(report, screen));
    out.push_str(&warnings(screen, &report.warnings));
    out.push_str(&summary(report));
    out + &screen.dim(&format!("from {} to {}\n", tier(&report.from), tier(&report.to)))
}

/// Lines about packs: the rest is counted.
const PACKS_LISTED: usize = 10;

/// What was wrong in the other tier, the worst first.
fn damaged(report: &CopyReport, screen: &Screen) -> String {
    let mut packs: Vec<_> = report.damaged.iter().collect();
    packs.sort_by_key(|one| std::cmp::Reverse(one.lost));
    let mut out = String::new();
    for one in packs.iter().take(PACKS_LISTED) {
        let (mark, fate) = match (one.lost, one.healed, report.dry_run) {
            (0, true, _) => (screen.green("\u{2713}"), "healed".to_owned()),
            (0, false, true) => (screen.yellow("!"), "would be healed".to_owned()),
            (0, false, false) => {
                (screen.yellow("!"), "what it held is whole elsewhere there".to_owned())
            }
            (lost, ..) => {
                let blobs = text::plural(lost, "piece", "pieces");
                (
                    screen.red("\u{2717}"),
                    format!("{blobs} of it could not be read in tier {} either", report.from.name),
                )
            }
        };
        let (id, there) = (short(&one.pack), &report.to.name);
        out.push_str(&format!("{mark} pack {id} of tier {there} was missing or damaged: {fate}\n"));
    }
    let more = packs.len().saturating_sub(PACKS_LISTED) as u64;
    if more > 0 {
        out.push_str(&format!("  and {} more\n", text::plural(more, "pack", "packs")));
    }
    if packs.iter().any(|one| one.healed) {
        out.push_str(&format!("lifeboat verify --tier {} reads it anew\n", report.to.name));
    }
    out
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
    if !report.read_again.is_empty() {
        let again = text::count(report.read_again.len() as u64);
        let would = if report.dry_run { " would be" } else { "" };
        out.push_str(&format!("; {again}{would} read again there"));
    }
    if report.removed_there > 0 {
        let removed = text::count(report.removed_there);
        out.push_str(&format!("; {removed} pruned there, left out unless named"));
    }
    out.push('\n');
    out
}
