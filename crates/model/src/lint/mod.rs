//! What is wrong with a plan that parses: contradictions between its entries, and promises that it
//! cannot keep. Each rule is a pure function with a stable code; nothing is looked up on disk.
//!
//! Codes are never used again for something else. A plan with errors still backs up and restores.

mod objectives;
mod places;
mod references;
mod steps;
mod streams;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Files, Kind, Location, Plan, paths};
use crate::span::Span;

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The plan contradicts itself or cannot keep what it promises.
    Error,
    /// Something is likely missing or not meant so.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code, `LB001`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub span: Span,
    /// What is wrong: one lower-case sentence.
    pub message: String,
    /// What mends it.
    pub suggestion: String,
    /// Another place that belongs to it, and what is there.
    pub related: Option<(Span, String)>,
}

/// A rule: what it looks for, and the function that does.
pub struct Rule {
    /// Stable code.
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// Why it matters and what to do, for `lint --explain`.
    pub explanation: &'static str,
    check: fn(&Context<'_>, &mut Found),
}

/// All rules, by code. A further one is added at the end.
pub static RULES: &[Rule] = &[
    places::KEY_IN_COMPONENT,
    places::KEY_IN_TIER,
    places::TIER_IN_COMPONENT,
    places::COMPONENT_IN_TIER,
    references::UNKNOWN_REFERENCE,
    objectives::NO_OBJECTIVE,
    references::UNUSED_CLASS,
    objectives::NOT_SCHEDULED,
    objectives::TOO_SLOW,
    objectives::NO_DRILL,
    objectives::NO_KEEP,
    places::SAME_TREE_PATH,
    places::MANIFEST_PATH,
    references::NOTHING_TO_DO,
    places::DATABASE_IN_FILES,
    objectives::NO_CHECKS,
    objectives::EITHER_DAY,
    places::STATE_IN_COMPONENT,
    steps::NO_WAY_BACK,
    places::SAME_SOURCE,
    steps::WRONG_ORDER,
    steps::OVER_BUDGET,
    places::NESTED_TIERS,
    steps::NO_STEPS,
    places::SANDBOX_PLACE,
    streams::LOGICAL_STREAM,
    streams::NO_BASE,
    streams::RPO_LEFT,
    streams::UNCOMPARED,
];

/// The rule of a code, in any letter case.
pub fn explain(code: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.code.eq_ignore_ascii_case(code))
}

/// All findings, in the order of the text. `folder` is the plan file's folder, absolute.
pub fn lint(plan: &Plan, folder: &Path) -> Vec<Finding> {
    let context = Context::new(plan, folder);
    let mut findings = Vec::new();
    for rule in RULES {
        let mut found = Found { code: rule.code, list: Vec::new() };
        (rule.check)(&context, &mut found);
        findings.extend(found.list);
    }
    findings.sort_by(|a, b| (a.span, a.code, &a.message).cmp(&(b.span, b.code, &b.message)));
    findings
}

/// True if any finding is an error.
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Collects the findings of one rule.
struct Found {
    code: &'static str,
    list: Vec<Finding>,
}

impl Found {
    fn add(&mut self, severity: Severity, span: Span, message: String, suggestion: &str) {
        let suggestion = suggestion.to_owned();
        let code = self.code;
        self.list.push(Finding { code, severity, span, message, suggestion, related: None });
    }

    fn error(&mut self, span: Span, message: String, suggestion: &str) {
        self.add(Severity::Error, span, message, suggestion);
    }

    fn warning(&mut self, span: Span, message: String, suggestion: &str) {
        self.add(Severity::Warning, span, message, suggestion);
    }

    fn related(&mut self, span: Span, what: &str) {
        if let Some(last) = self.list.last_mut() {
            last.related = Some((span, what.to_owned()));
        }
    }
}

/// What rules look at: the plan and where its paths lead.
struct Context<'a> {
    plan: &'a Plan,
    base: PathBuf,
    state: PathBuf,
}

/// A path of a component, made absolute.
struct Captured<'a> {
    component: &'a str,
    path: PathBuf,
    span: Span,
    files: Option<&'a Files>,
}

/// A tier on a local path.
struct LocalTier<'a> {
    name: &'a str,
    path: PathBuf,
    span: Span,
}

impl<'a> Context<'a> {
    fn new(plan: &'a Plan, folder: &Path) -> Self {
        Context { plan, base: plan.base(folder), state: plan.state(folder) }
    }

    fn path(&self, written: &str) -> PathBuf {
        paths::resolve(&self.base, written)
    }

    /// Everything that components capture from local paths.
    fn captured(&self) -> Vec<Captured<'a>> {
        let mut all = Vec::new();
        for (name, component) in &self.plan.component {
            let mut add = |written: &crate::span::At<String>, files| {
                let (path, span) = (self.path(written.as_str()), written.span());
                all.push(Captured { component: name, path, span, files });
            };
            match &component.kind {
                Kind::Sqlite(sqlite) => add(&sqlite.path, None),
                Kind::Files(files) => files.paths.iter().for_each(|path| add(path, Some(files))),
                _ => {}
            }
        }
        all
    }

    /// The tiers on local paths.
    fn local_tiers(&self) -> Vec<LocalTier<'a>> {
        let tiers = self.plan.tier.iter().filter_map(|(name, tier)| match tier.location() {
            Location::Local(path) => {
                let span = tier.url.as_ref().map_or(tier.span(), |url| url.span());
                Some(LocalTier { name: name.as_str(), path: self.path(path), span })
            }
            _ => None,
        });
        tiers.collect()
    }
}

impl Captured<'_> {
    /// True if `path` is captured as a part of this, as far as the text of the plan tells.
    fn takes(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.path) else { return false };
        self.files.is_none_or(|files| !excluded(files, &self.path, rest))
    }
}

/// True if a pattern surely leaves out `rest`, a path below the captured root. Only plain patterns
/// are understood (`name`, `*.ext`, `a/b`); any other does not count as leaving out.
fn excluded(files: &Files, root: &Path, rest: &Path) -> bool {
    if files.exclude.iter().any(|pattern| pattern.starts_with('!')) {
        return false;
    }
    let names: Vec<&str> = rest.iter().filter_map(|name| name.to_str()).collect();
    let root_name = root.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    files.exclude.iter().any(|pattern| {
        let pattern = pattern.trim_end_matches('/');
        if let Some(ending) = pattern.strip_prefix("*.") {
            let plain = !ending.contains(['*', '?', '[', '/', '\\']);
            return plain && names.iter().any(|name| name.ends_with(&format!(".{ending}")));
        }
        if pattern.contains(['*', '?', '[', '\\']) {
            return false;
        }
        let parts: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
        match parts[..] {
            [one] if !pattern.starts_with('/') => names.contains(&one),
            _ => {
                let below = names.starts_with(&parts);
                let with_root = parts[0] == root_name && names.starts_with(&parts[1..]);
                below || (with_root && parts.len() > 1)
            }
        }
    })
}

#[cfg(test)]
mod tests;
