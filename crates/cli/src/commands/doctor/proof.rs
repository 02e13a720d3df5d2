//! How long ago each component was proven, and what was started and never finished.

use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows;
use lifeboat_recovery::report::ComponentStatus;

use super::Finding;
use crate::hands::{Hands, Wired};
use crate::text;

const DAY: f64 = 86_400.0;
/// A proof older than this is a warning.
const PROOF_DAYS: f64 = 8.0;
/// A drill older than this is a warning.
const DRILL_DAYS: f64 = 32.0;

/// Findings about proofs.
pub fn findings(wired: &Wired, hands: &Hands<'_>) -> Vec<Finding> {
    let report = match flows::status(&wired.world) {
        Ok(report) => report,
        Err(error) => {
            let mut finding = Finding::critical("status", error.to_string());
            finding.fix = error.hint();
            return vec![finding];
        }
    };
    let mut list = super::stream::findings(wired, &report.components);
    list.extend(never(&report.components));
    for component in &report.components {
        list.extend(verified(component, hands));
        list.extend(drilled(component));
    }
    for action in &report.interrupted {
        list.push(
            Finding::warning(
                "ledger",
                format!(
                    "{} {} was started at {} and never finished",
                    action.action,
                    action.object,
                    text::time(action.time)
                ),
            )
            .why("it did not do what it was asked for; nothing that was stored is lost")
            .fix(format!("lifeboat {} again", action.action)),
        );
    }
    list
}

/// One finding for all components that were never proven, one for all never rehearsed.
fn never(components: &[ComponentStatus]) -> Vec<Finding> {
    let names = |lacks: fn(&ComponentStatus) -> bool| -> Vec<&str> {
        let there = components.iter().filter(|it| it.newest.is_some() && lacks(it));
        there.map(|it| it.component.as_str()).collect()
    };
    let mut list = Vec::new();
    let unproven = names(|it| it.newest_verified.is_none());
    if !unproven.is_empty() {
        list.push(
            Finding::warning(
                "proof",
                format!("no snapshot of {} was ever proven", text::list(&unproven)),
            )
            .why("a backup that was never restored is a hope")
            .fix("lifeboat verify"),
        );
    }
    let unrehearsed = names(|it| it.last_drill.is_none());
    if !unrehearsed.is_empty() {
        list.push(
            Finding::warning("drill", format!("never rehearsed: {}", text::list(&unrehearsed)))
                .why("nobody knows how long its recovery takes")
                .fix("lifeboat drill run"),
        );
    }
    list
}

fn verified(component: &ComponentStatus, hands: &Hands<'_>) -> Option<Finding> {
    let name = &component.component;
    let point = component.newest_verified.as_ref()?;
    let age = hands.now().duration_since(point.time).as_secs_f64();
    let words =
        format!("the newest proven snapshot of {name} is {} old", text::seconds(age.max(0.0)));
    Some(if age > PROOF_DAYS * DAY {
        Finding::warning("proof", words)
            .why("what was proven then says little about now")
            .fix(format!("lifeboat backup {name} --verify"))
    } else {
        Finding::fine("proof", words)
    })
}

fn drilled(component: &ComponentStatus) -> Option<Finding> {
    let name = &component.component;
    let drill = component.last_drill.as_ref()?;
    let verdict = drill.verdict.word();
    let words = match drill.age_seconds {
        Some(age) => format!("the last drill of {name} was {} ago: {verdict}", text::seconds(age)),
        None => format!("the age of the last drill of {name} is unknown: {verdict}"),
    };
    Some(if drill.verdict != Verdict::Pass {
        Finding::critical("drill", words)
            .why("a recovery would likely end the same way")
            .fix(format!("lifeboat drill run {name}"))
    } else if drill.age_seconds.is_none_or(|age| age > DRILL_DAYS * DAY) {
        Finding::warning("drill", words)
            .why("data, machine and plan have changed since, or a clock was set back")
            .fix(format!("lifeboat drill run {name}"))
    } else {
        Finding::fine("drill", words)
    })
}
