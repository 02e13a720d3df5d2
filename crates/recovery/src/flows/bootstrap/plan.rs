//! Which plan counts: the newest revision that the believed ledgers name, signed by a key of theirs.

use lifeboat_model::chain::{Entry, Revision};
use lifeboat_model::plan::Plan;

use super::view::View;
use crate::kit::Kit;
use crate::report::{BootstrapFinding, Trouble};

/// The plan that is taken.
pub(super) struct Chosen {
    /// The document.
    pub revision: Revision,
    /// What it says.
    pub plan: Plan,
    /// Where it came from.
    pub from: String,
    /// What was wrong with others.
    pub findings: Vec<BootstrapFinding>,
}

/// Chooses; the kit's own plan is always there.
pub(super) fn choose(own: &View, kit: &Kit, kit_plan: bool) -> Chosen {
    let mut findings = Vec::new();
    let mut find = |trouble, what: String| {
        findings.push(BootstrapFinding { trouble, tier: own.name.clone(), what });
    };
    let named = if kit_plan { Vec::new() } else { named(own) };
    for (at, revision) in named.iter().enumerate() {
        let short = &revision[..revision.len().min(12)];
        let objects: Vec<_> = own.plans.iter().filter(|one| one.revision == *revision).collect();
        let genuine = objects.iter().find_map(|one| one.read.as_ref().ok());
        let read = genuine.map(|document| document.plan());
        match (genuine, read) {
            (Some(document), Some(Ok(plan))) => {
                let (revision, age) = (document.clone(), if at == 0 { "newest" } else { "older" });
                let from = format!("the {age} revision that the ledger in tier {} names", own.name);
                return Chosen { revision, plan, from, findings };
            }
            (_, Some(Err(errors))) => find(
                Trouble::Behind,
                format!("this version does not read revision {short} of the plan: {errors}"),
            ),
            // Nobody brought it there, or somebody took it away: the one in the kit is as good if
            // it is the same.
            _ if objects.is_empty() && kit.plan.revision == *revision => break,
            _ if objects.is_empty() => find(
                Trouble::Behind,
                format!("revision {short} of the plan, which the ledger names, is not there"),
            ),
            _ => {
                for (object, why) in
                    objects.iter().filter_map(|one| Some((&one.object, one.read.as_ref().err()?)))
                {
                    find(Trouble::Untrusted, format!("{object} is not believed: {why}"));
                }
            }
        }
    }
    // The world was built by it.
    let plan = (*own.world.plan).clone();
    let from = format!("the recovery kit of {}", kit.made.strftime("%F"));
    Chosen { revision: kit.plan.clone(), plan, from, findings }
}

/// The revisions that believed entries name, the newest first, each once.
fn named(own: &View) -> Vec<String> {
    let mut entries: Vec<&Entry> = own.chains.iter().flat_map(|chain| chain.told()).collect();
    entries.sort_by_key(|entry| (entry.time, entry.seq));
    let mut names: Vec<String> = Vec::new();
    for plan in entries.iter().rev().filter_map(|entry| entry.plan.as_ref()) {
        if !names.contains(&plan.revision) {
            names.push(plan.revision.clone());
        }
    }
    names
}
