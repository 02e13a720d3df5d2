//! The plan's own checks, asked of restored copies.

use lifeboat_model::check::CheckResult;
use lifeboat_model::plan::check::Question;
use lifeboat_model::plan::{Check, Plan};
use lifeboat_model::verdict::Verdict;

use super::Copy;
use crate::lookup::{Found, lookup};
use crate::ports::EngineError;

/// What became of the plan's checks on a set of restored copies; each with its component's name.
#[derive(Debug, Default)]
pub struct Declared {
    /// Checks that look at one component.
    pub own: Vec<(String, CheckResult)>,
    /// Checks that look at two.
    pub together: Vec<(String, CheckResult)>,
    /// Checks that ask a running service, which a restored copy is not.
    pub for_services: Vec<String>,
    /// Checks that look at two components of which only one is at hand.
    pub apart: Vec<String>,
}

/// Asks the plan's checks of the copies that stand side by side.
pub fn declared(plan: &Plan, copies: &[Copy<'_>]) -> Declared {
    let mut declared = Declared::default();
    for copy in copies {
        declared.ask_one(plan, copy);
    }
    declared.ask_together(plan, copies);
    declared
}

impl Declared {
    /// Asks the checks that look at this copy alone.
    pub fn ask_one(&mut self, plan: &Plan, copy: &Copy<'_>) {
        for (name, check) in checks_of(plan, copy) {
            if copy.prepared {
                self.own.push((name, could_not(check, "the copy was staged, and not started")));
                continue;
            }
            match check.question() {
                Some(Question::Query(sql)) => self.own.push((name, ask(copy, check, sql))),
                Some(Question::File(path)) => {
                    self.own.push((name, file_exists(copy, check, path)));
                }
                Some(Question::RowsExistIn { .. }) => {}
                Some(Question::Http(_) | Question::Command(_)) => {
                    self.for_services.push(format!("{name}: {}", check.name));
                }
                None => self.own.push((name, could_not(check, "it asks nothing"))),
            }
        }
    }

    /// Asks the checks that look at two copies.
    pub fn ask_together(&mut self, plan: &Plan, copies: &[Copy<'_>]) {
        for copy in copies {
            for (name, check) in checks_of(plan, copy) {
                if let Some(Question::RowsExistIn { query, component, under }) = check.question() {
                    let Some(other) = copies.iter().find(|c| c.component == component) else {
                        self.apart.push(format!("{name}: {} needs {component}", check.name));
                        continue;
                    };
                    let result = rows_exist(copy, check, query, other, under);
                    self.together.push((name, result));
                }
            }
        }
    }

    /// The results that concern a component.
    pub fn of(&self, component: &str) -> Vec<CheckResult> {
        let all = self.own.iter().chain(&self.together);
        all.filter(|(name, _)| name == component).map(|(_, check)| check.clone()).collect()
    }

    /// Said of checks that the copies at hand cannot answer. They count neither way: what is
    /// judged is what was restored.
    pub fn not_asked(&self) -> Vec<String> {
        let service =
            |name: &String| format!("check {name} asks a running service: not asked here");
        let apart = |name: &String| format!("check {name} beside it: not asked here");
        self.for_services.iter().map(service).chain(self.apart.iter().map(apart)).collect()
    }
}

fn checks_of<'a>(plan: &'a Plan, copy: &Copy<'_>) -> Vec<(String, &'a Check)> {
    let component = plan.component.get(copy.component);
    let checks = component.into_iter().flat_map(|component| component.checks.iter());
    checks.map(|check| (copy.component.to_owned(), &**check)).collect()
}

fn could_not(check: &Check, why: impl ToString) -> CheckResult {
    CheckResult::new(check.name.as_str(), Verdict::Inconclusive, check.expectation(), why)
}

/// A question that the copy cannot answer: refused is inconclusive, failed is a failure, because
/// the data is not as the plan expects it.
fn unanswered(check: &Check, error: &EngineError) -> CheckResult {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    let verdict = match error {
        EngineError::Refused { .. } => Verdict::Inconclusive,
        EngineError::Failed { .. } => Verdict::Fail,
    };
    CheckResult::new(check.name.as_str(), verdict, check.expectation(), why)
}

fn ask(copy: &Copy<'_>, check: &Check, sql: &str) -> CheckResult {
    match copy.engine.query(&copy.folder, sql) {
        Ok(answer) => {
            let cell = answer.rows.first().map(|row| row.first().and_then(|c| c.as_deref()));
            check.judge(cell)
        }
        Err(error) => unanswered(check, &error),
    }
}

fn file_exists(copy: &Copy<'_>, check: &Check, path: &str) -> CheckResult {
    let (verdict, found) = match lookup(&copy.folder, path) {
        Ok(Found::Nothing) => (Verdict::Fail, format!("{path} is missing")),
        Ok(_) => (Verdict::Pass, format!("{path} exists")),
        Err(e) => (Verdict::Inconclusive, format!("{path}: {e}")),
    };
    CheckResult::new(check.name.as_str(), verdict, check.expectation(), found)
}

fn rows_exist(
    copy: &Copy<'_>,
    check: &Check,
    sql: &str,
    other: &Copy<'_>,
    under: &str,
) -> CheckResult {
    let answer = match copy.engine.query(&copy.folder, sql) {
        Ok(answer) => answer,
        Err(error) => return unanswered(check, &error),
    };
    let mut missing = Vec::new();
    for row in &answer.rows {
        let path = row.first().and_then(|cell| cell.as_deref()).unwrap_or("NULL");
        // A row that names a folder, or a path that leads out, has no file there.
        let there = match lookup(&other.folder.join(under.trim_matches('/')), path) {
            Ok(found) => found == Found::File,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return could_not(check, format!("{path}: {error}")),
        };
        if !there {
            missing.push(path.to_owned());
        }
    }
    check.judge_paths(answer.rows.len() as u64, &missing)
}
