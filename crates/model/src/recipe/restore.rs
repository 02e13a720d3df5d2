//! The restore recipe: the same value in a drill and in anger; only the binding differs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::point::Choice;
use super::{RecipeError, TierChoice, near};
use crate::canonical;
use crate::plan::{Component, Plan};
use crate::position::Position;

/// Where restored data goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// A folder of a drill, removed afterwards.
    Sandbox(PathBuf),
    /// A folder that the operator named; it stays.
    Target(PathBuf),
    /// Beside the live data, then swapped with it.
    InPlace,
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Binding::Sandbox(path) => write!(f, "into the sandbox {}", path.display()),
            Binding::Target(path) => write!(f, "into {}", path.display()),
            Binding::InPlace => f.write_str("in place of the live data"),
        }
    }
}

/// One component that is to be restored, with the snapshot that was chosen for it.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Component name.
    pub component: String,
    /// The chosen snapshot.
    pub choice: Choice,
    /// Only this part of a files component.
    pub subpath: Option<PathBuf>,
    /// The way from the snapshot through the component's journal.
    pub log: Option<LogStep>,
}

/// What is replayed onto a restored base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogStep {
    /// To which point, in words: `newest`, an instant, `name:…`.
    pub to: String,
    /// The log.
    pub lineage: String,
    /// Where the base stands in it.
    pub from: Position,
    /// The place that the wanted point was resolved to, where the journal tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Position>,
    /// Pieces of the journal.
    pub pieces: u64,
    /// Bytes of log in them.
    pub bytes: u64,
}

/// What a restore will do, whatever it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreRecipe {
    /// The tier that is read.
    pub tier: TierChoice,
    /// Components, in the order of recovery.
    pub items: Vec<RestoreItem>,
    /// Between the earliest and the latest capture of the chosen snapshots, milliseconds.
    pub skew_ms: u64,
}

/// One component of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreItem {
    /// Its name.
    pub component: String,
    /// `sqlite`, `files` or `postgres`.
    pub kind: String,
    /// The snapshot and why it was chosen.
    pub choice: Choice,
    /// Only this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<PathBuf>,
    /// What is replayed onto the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStep>,
    /// Names of the plan's checks that are asked of the copy.
    pub checks: Vec<String>,
    /// Command that stops the writers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// Command that starts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Command that tells whether the service works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// One step, in the order in which it is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreStep {
    /// Stop the writers by the plan's command, if it names one.
    StopWriters(Option<String>),
    /// Prove that nobody has the live data open.
    ProveStopped,
    /// Write the snapshot's content to a folder that is not valid yet.
    Extract,
    /// Replay the journal onto it.
    Replay(LogStep),
    /// The engine's own checks and equality with the manifest.
    Verify,
    /// The plan's checks.
    Check(Vec<String>),
    /// Make the folder valid by its final name.
    Complete,
    /// Move the present state aside and the copy into place, atomically.
    Swap,
    /// Start the writers.
    StartWriters(Option<String>),
    /// Ask whether the service works; else put the former state back.
    Probe(String),
    /// Remove the sandbox, whatever happened.
    RemoveSandbox,
}

impl RestoreStep {
    /// In words, for `--dry-run`.
    pub fn describe(&self) -> String {
        match self {
            RestoreStep::StopWriters(Some(command)) => format!("stop the writers: `{command}`"),
            RestoreStep::StopWriters(None) => {
                "(the plan names no command to stop the writers)".into()
            }
            RestoreStep::ProveStopped => "prove that nobody has the live data open".into(),
            RestoreStep::Extract => "restore beside the live data".into(),
            RestoreStep::Replay(step) => {
                let target = step.target.map(|at| format!(" at {at}")).unwrap_or_default();
                let LogStep { to, lineage, from, pieces, bytes, .. } = step;
                format!(
                    "replay the journal from {from} of {lineage} to {to}{target}: {pieces} pieces, \
                     {bytes} bytes"
                )
            }
            RestoreStep::Verify => "verify the copy against its manifest".into(),
            RestoreStep::Check(names) if names.is_empty() => "(the plan has no checks)".into(),
            RestoreStep::Check(names) => format!("run the checks: {}", names.join(", ")),
            RestoreStep::Complete => "give the copy its final name".into(),
            RestoreStep::Swap => "move the present state aside, the copy into its place".into(),
            RestoreStep::StartWriters(Some(command)) => format!("start them: `{command}`"),
            RestoreStep::StartWriters(None) => "(the plan names no command to start them)".into(),
            RestoreStep::Probe(command) => format!("probe, or go back: `{command}`"),
            RestoreStep::RemoveSandbox => "remove the sandbox".into(),
        }
    }
}

/// Computes a restore recipe. Items come in the order of recovery, whatever the requests' order.
///
/// # Errors
/// If the plan has no such component.
pub fn restore_recipe(
    plan: &Plan,
    tier: TierChoice,
    requests: Vec<RestoreRequest>,
) -> Result<RestoreRecipe, RecipeError> {
    let mut items = Vec::with_capacity(requests.len());
    for request in requests {
        let Some(component) = plan.component.get(&request.component) else {
            return Err(RecipeError::UnknownComponent {
                nearest: near(&request.component, plan.component.keys()),
                name: request.component,
            });
        };
        items.push((plan.order_of(component), item(component, request)));
    }
    items.sort_by(|(a, x), (b, y)| (a, &x.component).cmp(&(b, &y.component)));
    let items: Vec<RestoreItem> = items.into_iter().map(|(_, item)| item).collect();
    let times = items.iter().map(|item| item.choice.chosen.time.as_millisecond());
    let skew = times.clone().max().unwrap_or(0).saturating_sub(times.min().unwrap_or(0));
    Ok(RestoreRecipe { tier, items, skew_ms: skew.unsigned_abs() })
}

fn item(component: &Component, request: RestoreRequest) -> RestoreItem {
    let text = |value: &Option<crate::span::At<String>>| value.as_ref().map(|v| v.to_string());
    RestoreItem {
        component: request.component,
        kind: component.kind.key().to_owned(),
        choice: request.choice,
        subpath: request.subpath,
        log: request.log,
        checks: component.checks.iter().map(|check| check.name.to_string()).collect(),
        stop: text(&component.stop),
        start: text(&component.start),
        probe: text(&component.probe),
    }
}

impl RestoreItem {
    /// The steps under a binding, in the safe order: in place, the writers stop first, the
    /// copy is made beside and verified, and only then are live data and copy swapped.
    pub fn steps(&self, binding: &Binding) -> Vec<RestoreStep> {
        let mut steps = Vec::new();
        if *binding == Binding::InPlace {
            steps.push(RestoreStep::StopWriters(self.stop.clone()));
            steps.push(RestoreStep::ProveStopped);
        }
        steps.push(RestoreStep::Extract);
        steps.extend(self.log.clone().map(RestoreStep::Replay));
        steps.push(RestoreStep::Verify);
        steps.push(RestoreStep::Check(self.checks.clone()));
        match binding {
            Binding::Target(_) => steps.push(RestoreStep::Complete),
            Binding::Sandbox(_) => steps.push(RestoreStep::RemoveSandbox),
            Binding::InPlace => {
                steps.push(RestoreStep::ProveStopped);
                steps.push(RestoreStep::Swap);
                steps.push(RestoreStep::StartWriters(self.start.clone()));
                steps.extend(self.probe.clone().map(RestoreStep::Probe));
            }
        }
        steps
    }
}

impl RestoreRecipe {
    /// SHA-256 of the recipe without its binding, hexadecimal: equal in a drill and in anger.
    pub fn sha256(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        canonical::sha256_hex(canonical::to_string(&value).as_bytes())
    }

    /// For `--dry-run`.
    pub fn render(&self, binding: &Binding) -> String {
        let mut out = format!("restore from tier {} {binding}\n", self.tier.name);
        for item in &self.items {
            let chosen = &item.choice.chosen;
            let id = chosen.snapshot.get(..8).unwrap_or(&chosen.snapshot);
            out += &format!("  {} from snapshot {id} of {}\n", item.component, chosen.time);
            out += &format!("    because: {}\n", item.choice.why);
            for skipped in &item.choice.skipped {
                let id = skipped.snapshot.get(..8).unwrap_or(&skipped.snapshot);
                out += &format!("    passed over: {id} of {}: {}\n", skipped.time, skipped.why);
            }
            for warning in &item.choice.warnings {
                out += &format!("    warning: {warning}\n");
            }
            if let Some(subpath) = &item.subpath {
                out += &format!("    only {}\n", subpath.display());
            }
            for (n, step) in item.steps(binding).iter().enumerate() {
                out += &format!("    {}. {}\n", n + 1, step.describe());
            }
        }
        if self.items.len() > 1 {
            let skew = crate::duration::Duration::from_millis(self.skew_ms);
            out += &format!("  the captures lie {} apart\n", skew.short());
        }
        out
    }
}
