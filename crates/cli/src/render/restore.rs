//! `restore`.

use lifeboat_recovery::report::{ComponentRestore, PlannedRestore, RestoreReport};

use super::{
    cell, failed_checks, failure, list_problems as list, short, short_or_dash, span, tally, tier,
    warnings, when,
};
use crate::screen::{Look, Screen};
use crate::text;

/// The report of a restore.
pub fn restore(report: &RestoreReport, screen: &Screen) -> String {
    let mut grid = screen.table(&[
        "component",
        "snapshot",
        "complete up to",
        "files",
        "bytes",
        "took",
        "proof",
        "verdict",
    ]);
    for component in &report.components {
        let point =
            component.complete_up_to.map_or_else(|| "-".into(), |at| when(at, &report.head));
        grid.row(&[
            (component.component.as_str(), Look::Name),
            (short_or_dash(component.snapshot.as_ref()), Look::Plain),
            (&point, Look::Plain),
            (&text::count(component.files), Look::Number),
            (&text::size(component.bytes), Look::Number),
            (&text::seconds(component.seconds), Look::Number),
            (&tally(&component.checks), Look::Plain),
            cell(component.verdict),
        ]);
    }
    let mut out = grid.text();
    for component in &report.components {
        if let Some(way) = &component.way {
            out.push_str(&format!("{}: {}\n", component.component, super::stream::way(way)));
        }
        for note in &component.notes {
            out.push_str(&format!("{}: {note}\n", component.component));
        }
        out.push_str(&caveats(component, screen));
        out.push_str(&failed_checks(screen, &component.component, &component.checks));
        out.push_str(&entries(component, screen));
        if let Some(error) = &component.error {
            out.push_str(&failure(screen, &component.component, error));
        }
        if let Some(target) = &component.target {
            out.push_str(&format!("{} is in {target}", component.component));
            if let Some(lost) = component.rpo_seconds {
                out.push_str(&format!("; going back to this point loses {}", text::seconds(lost)));
            }
            out.push('\n');
        }
        for kept in &component.kept {
            out.push_str(&format!("{}: the former state is kept in {kept}\n", component.component));
        }
    }
    out.push_str(&failed_checks(screen, "together", &report.together));
    if report.skew.len() > 1 {
        out.push_str(&skew(report, screen));
    }
    out.push_str(&warnings(screen, &report.warnings));
    let end = if report.interrupted { ", interrupted" } else { "" };
    out.push_str(&format!(
        "{} from {}, {}{end}\n",
        screen.verdict(report.verdict),
        tier(&report.tier),
        match report.rto_seconds {
            Some(rto) => text::seconds(rto),
            None => format!("{}, recovery time unknown", text::seconds(report.head.seconds)),
        }
    ));
    out
}

/// The entries that did not come back, or not as they were; and those that nobody asked for.
fn entries(component: &ComponentRestore, screen: &Screen) -> String {
    let name = &component.component;
    let lost = text::plural(component.damaged.len() as u64, "entry is", "entries are");
    let bent = text::plural(component.problems.len() as u64, "entry is", "entries are");
    let mut out = list(screen, name, &component.damaged, &format!("{lost} not restored"));
    out.push_str(&list(screen, name, &component.problems, &format!("{bent} not as captured")));
    if component.unchanged > 0 {
        out.push_str(&format!(
            "{name}: {} of {} stood there already\n",
            text::size(component.unchanged),
            text::size(component.bytes)
        ));
    }
    if !component.beside.is_empty() && component.beside_removed && component.target.is_some() {
        let count = text::plural(component.beside.len() as u64, "entry", "entries");
        out.push_str(&format!("{name}: {count} that the snapshot does not hold removed\n"));
    }
    out
}

/// What was passed over for this point, and what the point lacks.
fn caveats(component: &ComponentRestore, screen: &Screen) -> String {
    let (mark, name) = (screen.yellow("!"), &component.component);
    let mut out = String::new();
    for skipped in &component.passed_over {
        let (id, of) = (short(&skipped.snapshot), text::time(skipped.time));
        out.push_str(&format!("{mark} {name}: passed over {id} of {of}: {}\n", skipped.why));
    }
    if component.partial {
        out.push_str(&format!(
            "{mark} {name}: the snapshot is partial: something was left out when it was captured\n"
        ));
    }
    out
}

/// How far apart the components' points are.
fn skew(report: &RestoreReport, screen: &Screen) -> String {
    let mut grid = screen.table(&["skew", "complete up to", "behind the newest"]);
    for entry in &report.skew {
        grid.row(&[
            (entry.component.as_str(), Look::Name),
            (&text::time(entry.complete_up_to), Look::Plain),
            (&text::seconds(entry.behind_seconds), Look::Number),
        ]);
    }
    format!("\n{}\n", grid.text())
}

/// What a restore would do.
pub fn planned_restore(report: &PlannedRestore, screen: &Screen) -> String {
    let mut out = format!("would restore from {}; nothing was written\n", tier(&report.tier));
    for component in &report.components {
        out.push_str(&format!(
            "\n{} {} of {}, complete up to {}\n  chosen: {}\n  target: {}\n",
            screen.bold(&component.component),
            short(&component.snapshot),
            text::time(component.snapshot_time),
            when(component.complete_up_to, &report.head),
            component.chosen,
            component.target
        ));
        if let Some(way) = &component.way {
            out.push_str(&format!("  {}\n", super::stream::way(way)));
        }
        for skipped in &component.passed_over {
            let id = short(&skipped.snapshot);
            out.push_str(&format!("  passed over: {id} of {}: {}\n", skipped.time, skipped.why));
        }
        out.push_str(&warnings(screen, &component.warnings));
        for (at, step) in component.steps.iter().enumerate() {
            out.push_str(&format!("  {}. {step}\n", at + 1));
        }
    }
    let free = report.bytes_free.map_or_else(|| "unknown".into(), text::size);
    out.push_str(&format!("\nneeds {}, free {free}", text::size(report.bytes_needed)));
    if report.components.len() > 1 {
        out.push_str(&format!(", skew {}", span(report.skew_seconds)));
    }
    out.push('\n');
    out + &warnings(screen, &report.warnings)
}
