//! `lifeboat doctor`: what would hinder a recovery, why it matters, and the command that mends it.
//! Changes nothing.

mod dumps;
mod kit;
mod machine;
mod proof;
mod stream;
mod tier;

use lifeboat_model::exit::Exit;
use serde::Serialize;

use crate::fault::Outcome;
use crate::hands::{Hands, Wired};
use crate::screen::{Reply, Screen};
use crate::text;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Should be mended before the disaster.
    Warning,
    /// A recovery would fail or lose much.
    Critical,
}

/// One finding.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: `key`, `tier` …
    pub about: &'static str,
    /// What was found, one sentence.
    pub what: String,
    /// Why it matters.
    pub why: Option<String>,
    /// The command or change that mends it.
    pub fix: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn fine(about: &'static str, what: impl Into<String>) -> Finding {
        Finding { severity: Severity::Fine, about, what: what.into(), why: None, fix: None }
    }

    /// Should be mended.
    pub fn warning(about: &'static str, what: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, ..Finding::fine(about, what) }
    }

    /// Must be mended.
    pub fn critical(about: &'static str, what: impl Into<String>) -> Finding {
        Finding { severity: Severity::Critical, ..Finding::fine(about, what) }
    }

    /// Why it matters.
    pub fn why(mut self, why: impl Into<String>) -> Finding {
        self.why = Some(why.into());
        self
    }

    /// What mends it.
    pub fn fix(mut self, fix: impl Into<String>) -> Finding {
        self.fix = Some(fix.into());
        self
    }
}

#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
}

/// `lifeboat doctor`
pub fn doctor(hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.look()?;
    let mut findings = plan(&wired);
    findings.extend(key(&wired));
    findings.extend(tier::findings(&wired));
    findings.extend(machine::findings(&wired, hands));
    findings.extend(proof::findings(&wired, hands));
    findings.extend(dumps::findings(&wired));
    findings.extend(kit::findings(&wired));
    let healthy = findings.iter().all(|finding| finding.severity == Severity::Fine);
    let text = render(&findings, hands.screen);
    let exit = if healthy { Exit::Done } else { Exit::Problems };
    Reply::new(exit, "doctor", &Report { healthy, findings }, text)
}

fn plan(wired: &Wired) -> Vec<Finding> {
    let mut found = errors_of(wired);
    if let Some(fault) = &wired.bad_keep {
        let mut finding = Finding::warning("plan", fault.message.clone())
            .why("nothing is pruned as long as it is not known what is to be kept");
        finding.fix.clone_from(&fault.hint);
        found.push(finding);
    }
    found
}

fn errors_of(wired: &Wired) -> Vec<Finding> {
    let file = wired.file.path.display();
    let errors = super::lint::errors(&wired.file);
    if errors == 0 {
        return vec![Finding::fine("plan", format!("{file} has no errors"))];
    }
    vec![
        Finding::warning("plan", format!("{file} has {}", text::plural(errors, "error", "errors")))
            .why("it backs up all the same, but not what it means to promise")
            .fix("lifeboat lint"),
    ]
}

fn key(wired: &Wired) -> Vec<Finding> {
    match &wired.no_key {
        None => {
            let fine = Finding::fine("key", "the vault key is there");
            vec![match wired.world.key_in_state() {
                Some(path) => fine.why(format!(
                    "it lies in the state folder ({}): keep a second copy elsewhere, without it \
                     losing that folder loses every backup",
                    path.display()
                )),
                None => fine,
            }]
        }
        Some(fault) => {
            let mut finding = Finding::critical("key", fault.message.clone())
                .why("without it no copy can be made or read");
            finding.fix.clone_from(&fault.hint);
            vec![finding]
        }
    }
}

fn render(findings: &[Finding], screen: &Screen) -> String {
    let mut out = String::new();
    for finding in findings {
        let mark = match finding.severity {
            Severity::Fine => screen.green("✓"),
            Severity::Warning => screen.yellow("!"),
            Severity::Critical => screen.red("✗"),
        };
        out.push_str(&format!("{mark} {:<8} {}\n", finding.about, finding.what));
        if let Some(why) = &finding.why {
            out.push_str(&format!("{}\n", screen.dim(&format!("           {why}"))));
        }
        if let Some(fix) = &finding.fix {
            out.push_str(&format!("           fix: {fix}\n"));
        }
    }
    let number = |severity| findings.iter().filter(|it| it.severity == severity).count() as u64;
    match (number(Severity::Critical), number(Severity::Warning)) {
        (0, 0) => out.push_str("\nnothing would hinder a recovery\n"),
        (critical, warning) => out.push_str(&format!(
            "\n{critical} critical, {}\n",
            text::plural(warning, "warning", "warnings")
        )),
    }
    out
}
