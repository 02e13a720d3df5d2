//! `prune --hold`, `--release` and `--holds`.

use lifeboat_recovery::report::HoldsReport;

use super::{short, tier, warnings, when};
use crate::screen::{Look, Screen};
use crate::text;

/// What was put or taken away, then what stands.
pub fn holds(report: &HoldsReport, screen: &Screen) -> String {
    let mut out = String::new();
    let would = if report.dry_run { "would be " } else { "" };
    for (list, done) in [(&report.put, "put on hold"), (&report.released, "released")] {
        for hold in list {
            out.push_str(&format!("{} {would}{done}: {}\n", short(&hold.snapshot), hold.words()));
        }
    }
    if report.holds.is_empty() {
        out.push_str("nothing is on hold\n");
    } else {
        let mut grid = screen.table(&["snapshot", "on hold since", "by", "incident", "why"]);
        for hold in &report.holds {
            grid.row(&[
                (short(&hold.snapshot), Look::Plain),
                (&when(hold.time, &report.head), Look::Plain),
                (&hold.operator, Look::Plain),
                (hold.incident.as_deref().unwrap_or("-"), Look::Name),
                (&hold.reason, Look::Faint),
            ]);
        }
        out.push_str(&grid.text());
    }
    out.push_str(&warnings(screen, &report.warnings));
    let count = text::plural(report.holds.len() as u64, "hold stands", "holds stand");
    out + &screen.dim(&format!("{count}; asked in {}\n", tier(&report.tier)))
}
