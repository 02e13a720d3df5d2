//! `prune` and `repair index`.

use lifeboat_recovery::journal::JournalFate;
use lifeboat_recovery::report::{DataFate, Packs, PruneReport, RepairReport};

use super::{short, tier, warnings, when};
use crate::screen::{Look, Screen};
use crate::text;

/// Every snapshot with its fate, then the data.
pub fn prune(report: &PruneReport, screen: &Screen) -> String {
    let mut out = String::new();
    let mut grid = screen.table(&["", "snapshot", "component", "taken", "why"]);
    for snapshot in &report.snapshots {
        let (word, look) = match (snapshot.kept, report.dry_run) {
            (true, _) => ("keep", Look::Plain),
            (false, true) => ("would go", Look::Doubt),
            (false, false) => ("removed", Look::Doubt),
        };
        grid.row(&[
            (word, look),
            (short(&snapshot.snapshot), Look::Plain),
            (snapshot.component.as_deref().unwrap_or("-"), Look::Name),
            (&when(snapshot.time, &report.head), Look::Plain),
            (&snapshot.why.join("; "), Look::Faint),
        ]);
    }
    out.push_str(&grid.text());
    if let Some(at) = report.at {
        out.push_str(&format!("as if it were {}\n", text::time(at)));
    }
    for why in &report.refused {
        out.push_str(&format!("{} nothing is removed: {why}\n", screen.yellow("!")));
    }
    if let Some(found) = &report.data {
        out.push_str(&data(found, report.dry_run));
    }
    for fate in &report.journals {
        out.push_str(&journal(fate, report.dry_run, screen));
    }
    out.push_str(&warnings(screen, &report.warnings));
    let going = report.snapshots.iter().filter(|snapshot| !snapshot.kept).count() as u64;
    let verb = if report.dry_run { "would go from" } else { "removed from" };
    let count = text::plural(going, "snapshot", "snapshots");
    out + &screen.dim(&format!("{count} {verb} {}\n", tier(&report.tier)))
}

fn journal(fate: &JournalFate, dry_run: bool, screen: &Screen) -> String {
    let verb = if dry_run { "would go" } else { "removed" };
    let objects = |count| text::plural(count, "object", "objects");
    let mut out = format!(
        "journal of {}: {} {verb} that a pack holds, {} that no point of the window needs ({}); {} stay\n",
        fate.component,
        objects(fate.packed),
        objects(fate.passed),
        text::size(fate.bytes),
        objects(fate.kept)
    );
    for why in &fate.why {
        out.push_str(&screen.dim(&format!("  {why}\n")));
    }
    for why in &fate.refused {
        out.push_str(&format!("{} nothing of it is removed: {why}\n", screen.yellow("!")));
    }
    out.push_str(&warnings(screen, &fate.warnings));
    out
}

fn data(found: &DataFate, dry_run: bool) -> String {
    let packs = |amount: &Packs| {
        format!("{} ({})", text::plural(amount.packs, "pack", "packs"), text::size(amount.bytes))
    };
    let would = if dry_run { "would be " } else { "" };
    let mut out = format!(
        "data: {} needed, {} of waste left in place\n",
        text::size(found.bytes_used),
        text::size(found.bytes_unused)
    );
    let lines = [
        (&found.recovered, "put back into the index: needed again"),
        (&found.repacked, "stored again without their waste"),
        (&found.marked, "marked: a later run deletes them"),
        (&found.deleted, "deleted"),
    ];
    for (amount, what) in lines.into_iter().filter(|(amount, _)| amount.packs > 0) {
        out.push_str(&format!("  {} {would}{what}\n", packs(amount)));
    }
    if found.waiting.packs > 0 {
        out.push_str(&format!("  {} marked before, waiting\n", packs(&found.waiting)));
    }
    if let Some(due) = found.next_due {
        out.push_str(&format!(
            "  run it again from {} on to delete what is marked\n",
            text::time(due)
        ));
    }
    out
}

/// Packs whose header is damaged or cannot be read, and what became of them.
fn broken(report: &RepairReport, screen: &Screen) -> String {
    let mut out = String::new();
    let bad = screen.red("\u{2717}");
    let would = if report.dry_run { "would be " } else { "" };
    for pack in &report.salvaged {
        let mark = if pack.lost > 0 { bad.clone() } else { screen.yellow("!") };
        let saved = text::plural(pack.saved, "intact piece", "intact pieces");
        let lost = match pack.lost {
            0 => "nothing is lost".to_owned(),
            count => format!("{} lost", text::plural(count, "piece is", "pieces are")),
        };
        let (name, why) = (short(&pack.pack), &pack.why);
        out.push_str(&format!("{mark} pack {name}: {saved} {would}stored again, {lost}: {why}\n"));
    }
    for (pack, why) in &report.kept {
        out.push_str(&format!("{bad} pack {} stays listed as it is: {why}\n", short(pack)));
    }
    for (pack, why) in &report.unreadable {
        out.push_str(&format!(
            "{bad} pack {} is in no index and left to the next pruning: {why}\n",
            short(pack)
        ));
    }
    out
}

/// What was wrong with the index.
pub fn repair(report: &RepairReport, screen: &Screen) -> String {
    let mut out = String::new();
    let lists = [
        (&report.added, "in no index: added"),
        (&report.unmarked, "marked for deletion: listed again"),
        (&report.corrected, "listed wrongly: corrected"),
        (&report.missing, "missing: no longer listed"),
    ];
    for (packs, what) in lists.into_iter().filter(|(packs, _)| !packs.is_empty()) {
        let names: Vec<&str> = packs.iter().take(5).map(|id| short(id)).collect();
        let more = if packs.len() > 5 { ", \u{2026}" } else { "" };
        let count = text::plural(packs.len() as u64, "pack", "packs");
        out.push_str(&format!("{count} {what} ({}{more})\n", names.join(", ")));
    }
    out.push_str(&broken(report, screen));
    for (object, why) in &report.damaged {
        out.push_str(&format!("{} index {} replaced: {why}\n", screen.yellow("!"), short(object)));
    }
    if out.is_empty() {
        out.push_str("the index is whole\n");
    }
    if report.lost_something() {
        out.push_str("some data may be lost: `lifeboat verify` names the files; the next backup stores again what it finds\n");
    }
    out.push_str(&warnings(screen, &report.warnings));
    let place =
        format!("{} in {}\n", text::plural(report.packs, "pack", "packs"), tier(&report.tier));
    out + &screen.dim(&if report.dry_run { format!("nothing was changed; {place}") } else { place })
}
