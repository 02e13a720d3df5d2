//! `drill run` and `drill list`.

use lifeboat_model::plan::Plan;
use lifeboat_recovery::report::{
    ComponentDrill, DrillListReport, DrillReport, Measured, Met, PlannedDrill,
};

use super::{cell, failed_checks, short_or_dash, span, tally, tier, warnings, when};
use crate::screen::{Look, Screen};
use crate::text;

/// The report of a drill.
pub fn drill(report: &DrillReport, screen: &Screen) -> String {
    let mut grid = screen.table(&[
        "component",
        "snapshot",
        "restore",
        "verify",
        "proof",
        "RTO actual / objective",
        "RPO actual / objective",
        "verdict",
    ]);
    for component in &report.components {
        let times = &component.times;
        let (rto, rto_look) = measured(&component.rto);
        let (rpo, rpo_look) = measured(&component.rpo);
        grid.row(&[
            (component.component.as_str(), Look::Name),
            (short_or_dash(component.snapshot.as_ref()), Look::Plain),
            (&span(times.restore_seconds), Look::Number),
            (&span(times.verify_seconds), Look::Number),
            (&tally(&component.checks), Look::Plain),
            (&rto, rto_look),
            (&rpo, rpo_look),
            cell(component.verdict),
        ]);
    }
    let mut out = grid.text();
    for component in &report.components {
        out.push_str(&detail(component, screen));
    }
    out.push_str(&failed_checks(screen, "together", &report.together));
    out.push_str(&warnings(screen, &report.findings));
    if !report.sandbox_removed {
        out.push_str(&format!("{} the sandbox could not be removed\n", screen.red("✗")));
    }
    if let Some(seed) = report.seed {
        out.push_str(&format!("older points by --seed {seed}\n"));
    }
    if let Some(evidence) = &report.evidence {
        out.push_str(&format!("evidence {} in {}\n", evidence.id, evidence.path));
    }
    let objectives =
        if report.objectives_met { "objectives met" } else { "an objective was not met" };
    out.push_str(&format!(
        "{} from {}, {objectives}, {}\n",
        screen.verdict(report.verdict),
        tier(&report.tier),
        text::seconds(report.head.seconds)
    ));
    out
}

/// What is said of one component below the table: its way, older points, what failed.
fn detail(component: &ComponentDrill, screen: &Screen) -> String {
    let mut out = String::new();
    if let Some(way) = &component.way {
        out.push_str(&format!("{}: {}\n", component.component, super::stream::way(way)));
    }
    for point in &component.points {
        let name = format!("{} at {}", component.component, point.at);
        let way = point.way.as_ref().map(super::stream::way).unwrap_or_default();
        let took = text::seconds(point.seconds);
        out.push_str(&format!("{name}: {} in {took}; {way}\n", screen.verdict(point.verdict)));
        out.push_str(&failed_checks(screen, &name, &point.checks));
        if let Some(error) = &point.error {
            out.push_str(&format!("{} {name}: {}\n", screen.red("✗"), error.message));
        }
    }
    out.push_str(&failed_checks(screen, &component.component, &component.checks));
    if let Some(error) = &component.error {
        out.push_str(&format!("{} {}: {}\n", screen.red("✗"), component.component, error.message));
        if let Some(hint) = &error.hint {
            out.push_str(&format!("    hint: {hint}\n"));
        }
    }
    out
}

/// `1.2s / 2m` in the colour of what it means.
fn measured(measured: &Measured) -> (String, Look) {
    let look = match measured.met {
        Met::Met => Look::Good,
        Met::Missed => Look::Bad,
        Met::Unknown => Look::Doubt,
        Met::None => Look::Plain,
    };
    let objective = measured.objective_seconds.map_or_else(|| "none".into(), text::seconds);
    (format!("{} / {objective}", span(measured.actual_seconds)), look)
}

/// The drills of the plan, then past ones.
pub fn drill_list(report: &DrillListReport, plan: &Plan, screen: &Screen) -> String {
    let mut out = String::new();
    if report.planned.is_empty() {
        out.push_str("the plan has no drills; `lifeboat drill run` rehearses every component\n");
    } else {
        out.push_str(&planned(report, plan, screen));
    }
    if report.drills.is_empty() {
        out.push_str("no drill has run yet\n");
    } else {
        out.push('\n');
        out.push_str(&history(report, screen));
    }
    out + &warnings(screen, &report.warnings)
}

fn planned(report: &DrillListReport, plan: &Plan, screen: &Screen) -> String {
    let mut grid = screen.table(&["drill", "components", "when", "last run", "result"]);
    for drill in &report.planned {
        let cron = plan.drill.get(&drill.drill).and_then(|it| it.cron.as_ref());
        grid.row(&[
            (drill.drill.as_str(), Look::Name),
            (&drill.components.join(" "), Look::Plain),
            (&cron.map_or_else(|| "on demand".into(), |cron| cron.describe()), Look::Plain),
            (&drill.last.map_or_else(|| "never".into(), |at| when(at, &report.head)), Look::Plain),
            drill.last_verdict.map_or(("-", Look::Doubt), cell),
        ]);
    }
    let mut out = grid.text();
    for drill in report.planned.iter().filter(|drill| !drill.next_runs.is_empty()) {
        let times = text::minutes(&drill.next_runs);
        out.push_str(&screen.dim(&format!("next {}: {times}", drill.drill)));
        out.push('\n');
    }
    out
}

fn history(report: &DrillListReport, screen: &Screen) -> String {
    let mut grid = screen.table(&["when", "drill", "component", "RTO", "RPO", "verdict"]);
    for past in &report.drills {
        grid.row(&[
            (when(past.time, &report.head).as_str(), Look::Plain),
            (past.drill.as_deref().unwrap_or("-"), Look::Plain),
            (&past.component, Look::Name),
            (&span(past.rto_seconds), Look::Number),
            (&span(past.rpo_seconds), Look::Number),
            cell(past.verdict),
        ]);
    }
    grid.text()
}

/// What a drill would do.
pub fn planned_drill(report: &PlannedDrill, screen: &Screen) -> String {
    let name = report.drill.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    let mut out = format!(
        "would rehearse{name} from {} in a sandbox below {}; nothing was written\n",
        tier(&report.tier),
        report.sandbox
    );
    for component in &report.components {
        out.push_str(&format!(
            "\n{} {}, complete up to {}\n",
            screen.bold(&component.component),
            super::short(&component.snapshot),
            when(component.complete_up_to, &report.head),
        ));
        for (at, step) in component.steps.iter().enumerate() {
            out.push_str(&format!("  {}. {step}\n", at + 1));
        }
    }
    let free = report.bytes_free.map_or_else(|| "unknown".into(), text::size);
    out.push_str(&format!("\nneeds {}, free {free}\n", text::size(report.bytes_needed)));
    out + &warnings(screen, &report.warnings)
}
