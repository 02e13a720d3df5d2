//! `status`: if it burned now, what would be lost, how long would it take, how is that known?

use lifeboat_recovery::report::{ComponentState, ComponentStatus, NextRun, StatusReport};

use super::{short, span, tier, warnings};
use crate::screen::{Look, Screen};
use crate::text;

/// The status.
pub fn status(report: &StatusReport, screen: &Screen) -> String {
    let state = match look(report.state) {
        Look::Good => screen.green(report.state.words()),
        Look::Doubt => screen.yellow(report.state.words()),
        _ => screen.red(report.state.words()),
    };
    let mut out = format!(
        "{}: {state}   {}   now {}\n\n",
        screen.bold(&report.head.plan),
        tier(&report.tier),
        text::time(report.head.finished)
    );
    out.push_str(&components(report, screen));
    for component in &report.components {
        for reason in &component.reasons {
            out.push_str(&format!("{} {}: {reason}\n", screen.yellow("!"), component.component));
        }
    }
    for component in &report.components {
        out.push_str(&stream(component, screen));
    }
    if let Some(error) = &report.tier_error {
        out.push_str(&super::failure(screen, &format!("tier {}", report.tier.name), error));
        out.push_str("    what stands above comes from the local catalog\n");
    }
    for action in &report.running {
        out.push_str(&format!(
            "running: {} {} by {} since {}\n",
            action.action,
            action.object,
            action.operator,
            text::age(action.time, report.head.finished)
        ));
    }
    for action in &report.interrupted {
        out.push_str(&format!(
            "{} interrupted: {} {}, started {} by {}, never finished\n",
            screen.yellow("!"),
            action.action,
            action.object,
            text::time(action.time),
            action.operator
        ));
    }
    for hold in &report.holds {
        out.push_str(&format!(
            "on hold: snapshot {} since {}: {}\n",
            short(&hold.snapshot),
            text::time(hold.time),
            hold.words()
        ));
    }
    out.push_str(&warnings(screen, &report.findings));
    out + &next_runs(&report.next_runs, screen)
}

fn components(report: &StatusReport, screen: &Screen) -> String {
    let mut grid = screen.table(&[
        "component",
        "class",
        "could lose now / RPO",
        "restore took / RTO",
        "newest",
        "proven",
        "drill",
        "copies",
        "state",
    ]);
    for component in &report.components {
        let (lose, back) = exposure(component);
        let ago = |at: jiff::Timestamp| text::age(at, report.head.finished);
        grid.row(&[
            (component.component.as_str(), Look::Name),
            (component.class.as_deref().unwrap_or("-"), Look::Plain),
            (&lose, Look::Plain),
            (&back, Look::Plain),
            (
                &component.newest.as_ref().map_or_else(|| "never".into(), |p| ago(p.time)),
                Look::Plain,
            ),
            (
                &component.newest_verified.as_ref().map_or_else(|| "never".into(), |p| ago(p.time)),
                Look::Plain,
            ),
            (
                &component.last_drill.as_ref().map_or_else(
                    || "never".into(),
                    |drill| format!("{} {}", drill.verdict.word(), ago(drill.time)),
                ),
                Look::Plain,
            ),
            (&text::count(component.snapshots), Look::Number),
            (component.state.words(), look(component.state)),
        ]);
    }
    grid.text()
}

/// The stream of a component: what each tier alone would lose, and how long there is room.
fn stream(component: &ComponentStatus, screen: &Screen) -> String {
    let Some(stream) = &component.stream else { return String::new() };
    let name = &component.component;
    let tiers = stream.tiers.iter().map(|tier| {
        let lacks = match tier.lacks {
            Some(0) => String::new(),
            Some(count) => format!(" ({} behind)", text::plural(count as u64, "object", "objects")),
            None => " (it is not known what it lacks)".to_owned(),
        };
        format!("{} could lose {}{lacks}", tier.tier, span(tier.live_rpo_seconds))
    });
    let tiers: Vec<String> = tiers.collect();
    let runs = if stream.running { "streaming" } else { "not streaming" };
    let mut out = format!("{name}: {runs}; {}\n", tiers.join(", "));
    if stream.waiting > 0 {
        out.push_str(&format!(
            "{} {name}: {} wait for a tier ({}), room for {}\n",
            screen.yellow("!"),
            text::plural(stream.waiting, "object", "objects"),
            text::size(stream.waiting_bytes),
            span(stream.room_seconds)
        ));
    }
    for warning in &stream.warnings {
        out.push_str(&format!("{} {name}: {warning}\n", screen.yellow("!")));
    }
    out
}

/// What would be lost and how long it would take, each against its objective.
fn exposure(component: &ComponentStatus) -> (String, String) {
    let objective = |seconds: Option<f64>| seconds.map_or_else(|| "none".into(), text::seconds);
    let measured = component.last_drill.as_ref().and_then(|drill| drill.rto_seconds);
    let lose = match component.newest {
        None => "everything".into(),
        Some(_) => span(component.live_rpo_seconds),
    };
    (
        format!("{lose} / {}", objective(component.rpo_objective_seconds)),
        format!("{} / {}", span(measured), objective(component.rto_objective_seconds)),
    )
}

fn next_runs(runs: &[NextRun], screen: &Screen) -> String {
    let mut out = String::new();
    for run in runs {
        let note = run.note.as_ref().map_or_else(String::new, |note| format!("{note} "));
        let times = if run.times.is_empty() { String::new() } else { text::minutes(&run.times) };
        out.push_str(&screen.dim(&format!("next {}: {note}{times}", run.schedule)));
        out.push('\n');
    }
    out
}

fn look(state: ComponentState) -> Look {
    match state {
        ComponentState::Ok => Look::Good,
        ComponentState::Unproven | ComponentState::Partial => Look::Doubt,
        ComponentState::Failing | ComponentState::ObjectiveMissed | ComponentState::Unprotected => {
            Look::Bad
        }
    }
}
