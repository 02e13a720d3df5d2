//! `lifeboat plan show`: objectives with the rule that each comes from, the retention matrix
//! and the next runs. Opens nothing but the plan.

use jiff::Timestamp;
use lifeboat_model::duration::Duration;
use lifeboat_model::exit::Exit;
use lifeboat_model::objective::{Circumstances, Objective, resolve};
use lifeboat_model::plan::{KeepRules, Plan};
use serde::Serialize;

use crate::fault::Outcome;
use crate::hands::Hands;
use crate::screen::{Look, Reply, Screen};
use crate::text;
use crate::wire::retention_from_environment;

/// How many runs to come are shown.
const RUNS: usize = 5;

#[derive(Debug, Serialize)]
struct Report {
    plan: String,
    revision: String,
    components: Vec<Component>,
    /// Every cell of schedule × tier; without a schedule: what `backup` without one makes.
    retention: Vec<Cell>,
    schedules: Vec<Runs>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Component {
    component: String,
    kind: String,
    class: Option<String>,
    rto: Option<Limit>,
    rpo: Option<Limit>,
    /// How far back any second can be had, where its log is streamed.
    window_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Limit {
    seconds: f64,
    rule: String,
}

#[derive(Debug, Serialize)]
struct Cell {
    schedule: Option<String>,
    tier: String,
    /// In words; nothing: no rule says, so that all stays.
    keep: Option<String>,
    rules: Option<KeepRules>,
    /// `schedule`, `tier` or `environment`.
    said_by: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Runs {
    schedule: String,
    when: String,
    components: Vec<String>,
    next: Vec<Timestamp>,
}

/// `lifeboat plan show`
pub fn show(hands: &Hands<'_>) -> Outcome<Reply> {
    let file = hands.plan()?;
    let mut plan = file.plan.clone();
    let bad = retention_from_environment(hands, &mut plan, &file.base()).err();
    let hint = |fault: &crate::fault::Fault| match &fault.hint {
        Some(hint) => format!("{}; {hint}", fault.message),
        None => fault.message.clone(),
    };
    let report = Report {
        plan: plan.header.name.to_string(),
        revision: file.plan.revision(),
        components: components(&plan),
        retention: retention(&plan, &file.plan),
        schedules: schedules(&plan, hands.now()),
        warnings: bad.iter().map(hint).collect(),
    };
    let words = words(&report, &plan, hands.screen);
    let exit = if bad.is_some() { Exit::Usage } else { Exit::Done };
    Reply::new(exit, "plan", &report, words)
}

fn components(plan: &Plan) -> Vec<Component> {
    let limit = |objective: Option<Objective>| {
        objective.map(|o| Limit { seconds: o.limit.seconds(), rule: o.rule.to_string() })
    };
    let ordered = plan.in_recovery_order().into_iter();
    ordered
        .map(|(name, component)| {
            let objectives = resolve(plan, name, Circumstances::default());
            Component {
                component: name.to_owned(),
                kind: component.kind.key().to_owned(),
                class: plan.class_of(component).map(|(class, _)| class.to_owned()),
                rto: limit(objectives.rto),
                rpo: limit(objectives.rpo),
                window_seconds: component.kind.window().map(Duration::seconds),
            }
        })
        .collect()
}

/// `written` is the plan without what the environment adds.
fn retention(plan: &Plan, written: &Plan) -> Vec<Cell> {
    let mut cells = Vec::new();
    let schedules = plan.schedule.keys().map(|name| Some(name.as_str()));
    for schedule in schedules.chain([None]) {
        for tier in plan.tier.keys() {
            let own = schedule.and_then(|name| plan.schedule.get(name)?.keep.get(tier));
            let keep = plan.keep(schedule, tier);
            let said_by = match (own, keep) {
                (Some(_), _) => Some("schedule"),
                (None, None) => None,
                (None, Some(_)) => match written.keep(None, tier) {
                    Some(_) => Some("tier"),
                    None => Some("environment"),
                },
            };
            cells.push(Cell {
                schedule: schedule.map(str::to_owned),
                tier: tier.clone(),
                keep: keep.map(|keep| keep.to_string()),
                rules: keep.map(|keep| keep.rules()),
                said_by,
            });
        }
    }
    cells
}

fn schedules(plan: &Plan, now: Timestamp) -> Vec<Runs> {
    let each = plan.schedule.iter();
    each.map(|(name, schedule)| {
        let event = schedule.on.as_ref().map(|event| format!("after each {}", event.word()));
        Runs {
            schedule: name.clone(),
            when: event.or_else(|| Some(schedule.cron.as_ref()?.describe())).unwrap_or_default(),
            components: schedule.components.iter().map(|name| name.to_string()).collect(),
            next: schedule.cron.as_ref().map(|c| c.next_runs(now, RUNS)).unwrap_or_default(),
        }
    })
    .collect()
}

fn words(report: &Report, plan: &Plan, screen: &Screen) -> String {
    let mut out =
        format!("{}   revision {}\n\n", screen.bold(&report.plan), &report.revision[..12]);
    let mut grid = screen.table(&["component", "kind", "class", "RTO", "RPO", "any second of"]);
    for one in &report.components {
        let limit = |limit: &Option<Limit>| match limit {
            Some(limit) => format!("{} ({})", text::seconds(limit.seconds), limit.rule),
            None => "none".to_owned(),
        };
        grid.row(&[
            (one.component.as_str(), Look::Name),
            (&one.kind, Look::Plain),
            (one.class.as_deref().unwrap_or("-"), Look::Plain),
            (&limit(&one.rto), Look::Plain),
            (&limit(&one.rpo), Look::Plain),
            (&one.window_seconds.map_or_else(|| "-".into(), text::seconds), Look::Plain),
        ]);
    }
    out.push_str(&grid.text());
    out.push_str("\nkept (schedule \u{d7} tier):\n");
    let mut heading = vec!["schedule"];
    heading.extend(plan.tier.keys().map(String::as_str));
    let mut grid = screen.table(&heading);
    for row in report.retention.chunks(plan.tier.len().max(1)) {
        let name = row.first().and_then(|cell| cell.schedule.as_deref());
        let mut cells = vec![(name.unwrap_or("by hand").to_owned(), Look::Name)];
        cells.extend(row.iter().map(|cell| match (&cell.keep, cell.said_by) {
            (Some(keep), Some("environment")) => (format!("{keep} (environment)"), Look::Plain),
            (Some(keep), _) => (keep.clone(), Look::Plain),
            (None, _) => ("all, no rule".to_owned(), Look::Doubt),
        }));
        grid.row(&cells);
    }
    out.push_str(&grid.text());
    out.push('\n');
    for runs in &report.schedules {
        let next = if runs.next.is_empty() { String::new() } else { text::minutes(&runs.next) };
        let line = format!("schedule {}: {}; next {next}", runs.schedule, runs.when);
        out.push_str(&screen.dim(line.trim_end_matches("; next ")));
        out.push('\n');
    }
    for warning in &report.warnings {
        out.push_str(&format!("{} {warning}\n", screen.yellow("!")));
    }
    out
}
