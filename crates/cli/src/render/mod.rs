//! Reports as people read them. Nothing is decided here; every number stands in the report.

mod audit;
mod backup;
mod copy;
mod drill;
mod export;
mod hold;
mod key;
mod kit;
mod list;
mod prune;
mod restore;
mod status;
mod stream;
mod verify;

pub use audit::{audit_log, audit_verify};
pub use backup::{backup, planned_backup};
pub use copy::copy;
pub use drill::{drill, drill_list, planned_drill};
pub use export::{export, metadata};
pub use hold::holds;
pub use key::key;
pub use kit::{bootstrap, kit, kit_drill, kit_pages};
pub use list::list;
pub use prune::{prune, repair};
pub use restore::{planned_restore, restore};
pub use status::status;
pub use stream::{detach, planned_stream, stream};
pub use verify::verify;

use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::report::{Failure, Head, Problem, TierRef};

use crate::screen::{Look, Screen};
use crate::text;

/// How many problems of one component are printed; the document has them all.
const SHOWN: usize = 20;

/// The first eight digits of a snapshot's id.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// The same, or a dash.
fn short_or_dash(id: Option<&String>) -> &str {
    id.map_or("-", |id| short(id))
}

/// `tier local (/var/backups/example)`.
fn tier(tier: &TierRef) -> String {
    format!("tier {} ({})", tier.name, tier.url)
}

/// A time with its age at the end of the report.
fn when(at: Timestamp, head: &Head) -> String {
    format!("{} ({})", text::time(at), text::age(at, head.finished))
}

/// `1.2s`, `unknown`.
fn span(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "unknown".into(), text::seconds)
}

/// A failure inside a report, indented.
fn failure(screen: &Screen, name: &str, failure: &Failure) -> String {
    let mut out = format!("{} {name}: {}\n", screen.red("✗"), failure.message);
    for cause in &failure.causes {
        out.push_str(&format!("    caused by: {cause}\n"));
    }
    if let Some(hint) = &failure.hint {
        out.push_str(&format!("    hint: {hint}\n"));
    }
    out
}

/// What was skipped or changed while it was read.
fn problems(screen: &Screen, component: &str, problems: &[Problem]) -> String {
    let number = text::plural(problems.len() as u64, "problem", "problems");
    list_problems(screen, component, problems, &number)
}

/// The first problems below a headline; nothing without problems.
fn list_problems(screen: &Screen, component: &str, problems: &[Problem], headline: &str) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let mut out = format!("{} {component}: {headline}\n", screen.yellow("!"));
    for problem in problems.iter().take(SHOWN) {
        out.push_str(&format!("    {}: {}\n", problem.path, problem.what));
    }
    if problems.len() > SHOWN {
        out.push_str(&format!("    … and {} more\n", problems.len() - SHOWN));
    }
    out
}

/// `9 of 9 checks`.
fn tally(checks: &[CheckResult]) -> String {
    let passed = checks.iter().filter(|check| check.verdict == Verdict::Pass).count();
    format!("{passed} of {}", text::plural(checks.len() as u64, "check", "checks"))
}

/// The checks that did not pass.
fn failed_checks(screen: &Screen, component: &str, checks: &[CheckResult]) -> String {
    let mut out = String::new();
    for check in checks.iter().filter(|check| check.verdict != Verdict::Pass) {
        let word = screen.verdict(check.verdict);
        out.push_str(&format!(
            "{word} {component}: {}: expected {}, found {}\n",
            check.name, check.expected, check.found
        ));
    }
    out
}

/// Lines that should be looked at.
fn warnings(screen: &Screen, lines: &[String]) -> String {
    lines.iter().map(|line| format!("{} {line}\n", screen.yellow("!"))).collect()
}

/// A verdict as a table cell.
fn cell(verdict: Verdict) -> (&'static str, Look) {
    (verdict.word(), Look::of(verdict))
}
