//! `lifeboat lint`: what is wrong with the plan, where, and what mends it; what this version does
//! not carry out; when schedules would run.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_model::lint::{self, Severity};
use lifeboat_model::plan::NotCarriedOut;
use serde::Serialize;
use serde_json::json;

use crate::args::Lint;
use crate::fault::{Fault, Outcome};
use crate::hands::Hands;
use crate::plan_file::{self, PlanFile};
use crate::screen::{Reply, Screen};
use crate::text;

/// How many runs to come are shown.
const RUNS: usize = 5;

#[derive(Debug, Serialize)]
struct Report {
    plan: String,
    revision: String,
    errors: u64,
    warnings: u64,
    findings: Vec<Listed>,
    not_carried_out: Vec<Later>,
    schedules: Vec<Runs>,
}

#[derive(Debug, Serialize)]
struct Listed {
    code: &'static str,
    severity: Severity,
    place: String,
    message: String,
    hint: String,
}

#[derive(Debug, Serialize)]
struct Later {
    what: String,
    instead: String,
    place: String,
}

#[derive(Debug, Serialize)]
struct Runs {
    schedule: String,
    when: String,
    next: Vec<Timestamp>,
}

/// `lifeboat lint`: 0 without errors, else 2.
pub fn lint(args: &Lint, hands: &Hands<'_>) -> Outcome<Reply> {
    if let Some(code) = &args.explain {
        return explain(code);
    }
    let file = hands.plan()?;
    let findings = lint::lint(&file.plan, &file.folder);
    let later = file.plan.not_carried_out();
    let schedules = schedules(&file, hands.now());
    let words = words(&file, &findings, &later, &schedules, hands.screen);
    let number = |severity| findings.iter().filter(|it| it.severity == severity).count() as u64;
    let report = Report {
        plan: file.path.display().to_string(),
        revision: file.plan.revision(),
        errors: number(Severity::Error),
        warnings: number(Severity::Warning),
        findings: findings.iter().map(|finding| listed(&file, finding)).collect(),
        not_carried_out: later.iter().map(|item| later_listed(&file, item)).collect(),
        schedules,
    };
    let exit = if report.errors == 0 { Exit::Done } else { Exit::Usage };
    Reply::new(exit, "lint", &report, words)
}

/// How many errors a plan has.
pub fn errors(file: &PlanFile) -> u64 {
    let findings = lint::lint(&file.plan, &file.folder);
    findings.iter().filter(|finding| finding.severity == Severity::Error).count() as u64
}

fn explain(code: &str) -> Outcome<Reply> {
    let rule = lint::explain(code).ok_or_else(|| {
        Fault::new(Exit::NotFound, format!("there is no finding {code}")).hint(format!(
            "codes run from {} to {}",
            lint::RULES.first().map_or("", |rule| rule.code),
            lint::RULES.last().map_or("", |rule| rule.code)
        ))
    })?;
    let body = json!({ "code": rule.code, "title": rule.title, "explanation": rule.explanation });
    let words = format!("{}: {}\n\n{}\n", rule.code, rule.title, rule.explanation);
    Reply::new(Exit::Done, "lint-explain", &body, words)
}

fn listed(file: &PlanFile, finding: &lint::Finding) -> Listed {
    Listed {
        code: finding.code,
        severity: finding.severity,
        place: file.texts.place(finding.span),
        message: finding.message.clone(),
        hint: finding.suggestion.clone(),
    }
}

fn later_listed(file: &PlanFile, item: &NotCarriedOut) -> Later {
    Later {
        what: item.what.clone(),
        instead: item.instead.clone(),
        place: file.texts.place(item.span),
    }
}

fn schedules(file: &PlanFile, now: Timestamp) -> Vec<Runs> {
    let timed = file.plan.schedule.iter().filter_map(|(name, it)| Some((name, it.cron.as_ref()?)));
    timed
        .map(|(name, cron)| Runs {
            schedule: name.clone(),
            when: cron.describe(),
            next: cron.next_runs(now, RUNS),
        })
        .collect()
}

fn words(
    file: &PlanFile,
    findings: &[lint::Finding],
    later: &[NotCarriedOut],
    schedules: &[Runs],
    screen: &Screen,
) -> String {
    let mut out = String::new();
    for finding in findings {
        out.push_str(&file.texts.finding(
            &plan_file::Finding {
                severity: match finding.severity {
                    Severity::Error => miette::Severity::Error,
                    Severity::Warning => miette::Severity::Warning,
                },
                code: Some(finding.code.to_owned()),
                message: finding.message.clone(),
                help: Some(finding.suggestion.clone()),
                span: Some(finding.span),
                related: finding.related.clone(),
            },
            screen.color,
        ));
        out.push('\n');
    }
    for item in later {
        out.push_str(&format!(
            "{} {}: not carried out by this version: {}; {}\n",
            screen.yellow("·"),
            file.texts.place(item.span),
            item.what,
            item.instead
        ));
    }
    for runs in schedules {
        out.push_str(&screen.dim(&format!(
            "schedule {}: {}; next {}",
            runs.schedule,
            runs.when,
            text::minutes(&runs.next)
        )));
        out.push('\n');
    }
    let number = |severity| findings.iter().filter(|it| it.severity == severity).count() as u64;
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    out.push_str(&format!(
        "{}: {}, {}\n",
        file.path.display(),
        match errors {
            0 => screen.green("no errors"),
            some => screen.red(&text::plural(some, "error", "errors")),
        },
        text::plural(warnings, "warning", "warnings")
    ));
    out
}
