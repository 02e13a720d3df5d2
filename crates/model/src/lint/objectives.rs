//! Rules about promises: objectives, schedules, retention, checks and drills.

use super::{Context, Found, Rule};
use crate::duration::Duration;
use crate::objective::{Circumstances, resolve};
use crate::plan::Kind;

pub(super) const NO_OBJECTIVE: Rule = Rule {
    code: "LB006",
    title: "component without objective",
    explanation: "Without an RTO and an RPO nothing can be judged: a drill measures, but can \
        neither meet nor miss. Set them for the component, its class or the whole plan.",
    check: no_objective,
};

pub(super) const NOT_SCHEDULED: Rule = Rule {
    code: "LB008",
    title: "component in no schedule",
    explanation: "No schedule names the component, so nothing says how often it is backed up. If \
        another program runs `lifeboat backup`, write its times down as a schedule all the same: \
        lateness is judged by it.",
    check: not_scheduled,
};

pub(super) const TOO_SLOW: Rule = Rule {
    code: "LB009",
    title: "backups too far apart for the RPO",
    explanation: "In the worst case everything since the last backup is lost: the longest interval \
        between two runs, and the time of capture and shipping. An interval above the RPO cannot \
        keep it; an interval equal to it leaves no room. Run more often, stream, or relax the RPO.",
    check: too_slow,
};

pub(super) const NO_DRILL: Rule = Rule {
    code: "LB010",
    title: "component without drill",
    explanation: "A backup that was never restored is a hope. Name the component in a drill; \
        `components = [\"*\"]` is all of them.",
    check: no_drill,
};

pub(super) const NO_KEEP: Rule = Rule {
    code: "LB011",
    title: "retention not given",
    explanation: "For each schedule and tier the plan says how long snapshots are kept: `keep` of \
        the schedule, else of the tier. Without it nothing is ever removed and the tier fills up.",
    check: no_keep,
};

pub(super) const NO_CHECKS: Rule = Rule {
    code: "LB016",
    title: "database without checks of its own",
    explanation: "The copy is compared with the manifest in any case. Whether it is what the \
        application needs, only a question of yours tells: that orders are present, that the \
        newest is recent.",
    check: no_checks,
};

pub(super) const EITHER_DAY: Rule = Rule {
    code: "LB017",
    title: "cron runs on either day",
    explanation: "When both the day of the month and the weekday are given, cron runs on each day \
        that fits either. `0 4 1-7 * 6` is not the first Saturday but the first week and every \
        Saturday. The first Saturday is `0 4 * * 6#1`.",
    check: either_day,
};

fn no_objective(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        let objectives = resolve(context.plan, name, Circumstances::default());
        let missing = match (&objectives.rto, &objectives.rpo) {
            (None, None) => "neither RTO nor RPO",
            (None, _) => "no RTO",
            (_, None) => "no RPO",
            _ => continue,
        };
        found.warning(
            component.span(),
            format!("component `{name}` has {missing}"),
            "set `rto` and `rpo` in `[plan]`, its class or the component",
        );
    }
}

fn not_scheduled(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        if !context.plan.schedule.values().any(|schedule| schedule.covers(name)) {
            found.warning(
                component.span(),
                format!("component `{name}` is in no schedule"),
                "add it to the `components` of a `[schedule.NAME]`",
            );
        }
    }
}

/// True if every change is shipped as it happens, so that the interval does not matter. A dump has
/// no log.
fn streams(kind: &Kind) -> bool {
    match kind {
        Kind::Files(files) => *files.follow,
        kind => kind.streams() && !super::streams::is_logical(kind),
    }
}

fn too_slow(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        if streams(&component.kind) {
            continue;
        }
        let Some(rpo) = resolve(context.plan, name, Circumstances::default()).rpo else { continue };
        let covering: Vec<_> =
            context.plan.schedule.iter().filter(|(_, schedule)| schedule.covers(name)).collect();
        let on_event = |event| covering.iter().any(|(_, s)| s.on.as_deref() == Some(event));
        if on_event(&crate::plan::Event::Change) {
            continue;
        }
        let intervals = covering.iter().filter_map(|(schedule, entry)| {
            let cron = entry.cron.as_ref()?;
            Some((cron.longest_interval(), *schedule, cron.span()))
        });
        let Some((interval, schedule, span)) = intervals.min_by_key(|(interval, ..)| *interval)
        else {
            continue;
        };
        judge(name, interval, schedule, &rpo, span, found);
    }
}

fn judge(
    component: &str,
    interval: Duration,
    schedule: &str,
    rpo: &crate::objective::Objective,
    span: crate::span::Span,
    found: &mut Found,
) {
    let suggestion = "run it more often, stream the component, or relax its RPO";
    if interval > rpo.limit {
        let message = format!(
            "component `{component}` may lose {interval} by schedule `{schedule}`, its RPO is {rpo}"
        );
        found.error(span, message, suggestion);
    } else if interval == rpo.limit {
        let message = format!(
            "component `{component}`: schedule `{schedule}` runs every {interval}, which is the \
             whole RPO ({}) and leaves no time for capture and shipping",
            rpo.rule
        );
        found.warning(span, message, suggestion);
    }
}

fn no_drill(context: &Context<'_>, found: &mut Found) {
    let plan = context.plan;
    for (name, component) in &plan.component {
        let restored_by = |scenario: &str| {
            plan.scenario.get(scenario).is_some_and(|scenario| {
                scenario.steps.iter().any(|step| {
                    matches!(&step.action, crate::plan::Action::Restore(what) if what.as_str() == name)
                })
            })
        };
        let drilled = plan.drill.values().any(|drill| {
            drill.covers(name) || drill.scenario.as_ref().is_some_and(|s| restored_by(s))
        });
        if !drilled {
            found.warning(
                component.span(),
                format!("component `{name}` is in no drill"),
                "add `[drill.NAME]` with `components = [\"*\"]`",
            );
        }
    }
}

fn no_keep(context: &Context<'_>, found: &mut Found) {
    for (tier, entry) in &context.plan.tier {
        for (schedule, _) in &context.plan.schedule {
            if context.plan.keep(Some(schedule), tier).is_none() {
                found.warning(
                    entry.span(),
                    format!("nothing says how long tier `{tier}` keeps snapshots of `{schedule}`"),
                    &format!("add `{tier} = \"30d\"` to its `keep`, or `keep` to the tier"),
                );
            }
        }
        if context.plan.schedule.is_empty() && entry.keep.is_none() {
            let message = format!("nothing says how long tier `{tier}` keeps snapshots");
            found.warning(entry.span(), message, "add `keep = \"30d\"` to the tier");
        }
    }
}

fn no_checks(context: &Context<'_>, found: &mut Found) {
    for (name, component) in &context.plan.component {
        let database =
            matches!(component.kind, Kind::Sqlite(_) | Kind::Postgres(_) | Kind::Mysql(_));
        if database && component.checks.is_empty() {
            found.warning(
                component.span(),
                format!("component `{name}` has no checks"),
                "add `checks = [{ name = \"…\", query = \"select count(*) from …\", min = 1 }]`",
            );
        }
    }
}

fn either_day(context: &Context<'_>, found: &mut Found) {
    let schedules = context.plan.schedule.values().map(|entry| &entry.cron);
    let drills = context.plan.drill.values().map(|entry| &entry.cron);
    for cron in schedules.chain(drills).flatten().filter(|cron| cron.either_day()) {
        found.warning(
            cron.span(),
            format!("`{cron}` runs on each day that fits either its date or its weekday"),
            "give only one of them; the first Saturday is `0 4 * * 6#1`",
        );
    }
}
