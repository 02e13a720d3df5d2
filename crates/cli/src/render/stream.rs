//! `stream`.

use lifeboat_recovery::report::{
    DetachReport, PlannedStream, StreamReport, StreamedComponent, WayReport,
};

use super::{failure, span, warnings, when};
use crate::screen::{Look, Screen};
use crate::text;

/// The report of a stream that ended.
pub fn stream(report: &StreamReport, screen: &Screen) -> String {
    let mut grid = screen.table(&[
        "component",
        "from",
        "to",
        "complete up to",
        "ranges",
        "bytes",
        "stored after (p99)",
        "",
    ]);
    for component in &report.components {
        let place = |at: Option<lifeboat_model::position::Position>| {
            at.map_or_else(|| "-".to_owned(), |at| at.to_string())
        };
        let complete =
            component.complete_up_to.map_or_else(|| "-".into(), |at| when(at, &report.head));
        let (remark, look) = remark(component);
        grid.row(&[
            (component.component.as_str(), Look::Name),
            (&place(component.from), Look::Plain),
            (&place(component.to), Look::Plain),
            (&complete, Look::Plain),
            (&text::count(component.ranges), Look::Number),
            (&text::size(component.bytes), Look::Number),
            (&span(component.stored_after_p99_seconds), Look::Number),
            (&remark, look),
        ]);
    }
    let mut out = grid.text();
    for component in &report.components {
        out.push_str(&details(component, screen));
    }
    out.push_str(&warnings(screen, &report.warnings));
    let tiers: Vec<&str> = report.tiers.iter().map(|tier| tier.name.as_str()).collect();
    let end = if report.interrupted { "stopped on request" } else { "ended" };
    out.push_str(&screen.dim(&format!(
        "{end} after {}, to {}; the next stream goes on here\n",
        text::seconds(report.head.seconds),
        tiers.join(", ")
    )));
    out
}

fn remark(component: &StreamedComponent) -> (String, Look) {
    let lacks = component.tiers.iter().any(|tier| tier.lacks != Some(0));
    match (&component.error, component.gaps.len(), component.waiting) {
        (Some(_), ..) => ("failed".to_owned(), Look::Bad),
        (None, gaps @ 1.., _) => (text::plural(gaps as u64, "gap", "gaps"), Look::Bad),
        (None, 0, waiting @ 1..) => {
            (format!("{} wait for a tier", text::count(waiting)), Look::Doubt)
        }
        (None, 0, 0) if lacks => ("a tier lags".to_owned(), Look::Doubt),
        (None, 0, 0) => (String::new(), Look::Plain),
    }
}

fn details(component: &StreamedComponent, screen: &Screen) -> String {
    let name = &component.component;
    let mut out = String::new();
    for gap in &component.gaps {
        let from = gap.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        out.push_str(&format!(
            "{} {name}: lost for ever from {from} to {}: {}\n",
            screen.red("✗"),
            gap.to,
            gap.why
        ));
    }
    for base in &component.bases {
        match (&base.snapshot, &base.error) {
            (Some(id), _) => {
                out.push_str(&format!("{name}: took base {}\n", super::short(id)));
            }
            (None, Some(error)) => {
                out.push_str(&failure(screen, &format!("{name}: no base"), error));
            }
            (None, None) => {}
        }
    }
    for tier in component.tiers.iter().filter(|tier| tier.lacks != Some(0)) {
        let lacks = tier.lacks.map_or_else(
            || "it is not known what it lacks".to_owned(),
            |lacks| format!("it lacks {}", text::plural(lacks as u64, "object", "objects")),
        );
        let why = tier.problem.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        out.push_str(&format!("{} {name}: tier {}: {lacks}{why}\n", screen.yellow("!"), tier.tier));
    }
    if let Some(error) = &component.error {
        out.push_str(&failure(screen, name, error));
    }
    out
}

/// What a stream would make.
pub fn planned_stream(report: &PlannedStream, screen: &Screen) -> String {
    let tiers: Vec<&str> = report.tiers.iter().map(|tier| tier.name.as_str()).collect();
    let mut out = format!("would stream to {}; nothing was written\n", tiers.join(", "));
    for component in &report.components {
        let from = match &component.resume {
            Some(at) => format!("from {} of {}", at.position, at.lineage),
            None => "from where its log is now".to_owned(),
        };
        out.push_str(&format!("\n{} {from}\n", screen.bold(&component.component)));
        if component.makes.is_empty() && component.error.is_none() {
            out.push_str("  makes and changes nothing in the source\n");
        }
        component.makes.iter().for_each(|what| out.push_str(&format!("  {what}\n")));
        if let Some(error) = &component.error {
            out.push_str(&failure(screen, &component.component, error));
        }
    }
    out + &warnings(screen, &report.warnings)
}

/// What was, or would be, removed from the sources.
pub fn detach(report: &DetachReport, dry: bool, screen: &Screen) -> String {
    let mut out = String::new();
    let word = if dry { "would remove" } else { "removed" };
    for component in &report.components {
        let name = &component.component;
        if component.makes.is_empty() && component.error.is_none() {
            out.push_str(&format!("{name}: there is nothing of a stream in its source\n"));
        }
        for what in &component.makes {
            out.push_str(&format!("{name}: {word} {what}\n"));
        }
        if let Some(error) = &component.error {
            out.push_str(&failure(screen, name, error));
        }
    }
    out + &warnings(screen, &report.warnings)
}

/// The way from a base through a journal, in one line.
pub(super) fn way(way: &WayReport) -> String {
    let target = match (&way.reached, way.target) {
        (Some(reached), _) => format!(", reached {}", reached.position),
        (None, Some(target)) => format!(", which is {target}"),
        (None, None) => String::new(),
    };
    format!(
        "journal {} from {} to {}{target}: {}, {}",
        way.lineage,
        way.from,
        way.to,
        text::plural(way.pieces, "piece", "pieces"),
        text::size(way.bytes)
    )
}
