//! What the ledger says, in the words of people.

use lifeboat_model::chain::{Entry, Phase, open_actions};

use super::{Local, remote, running};
use crate::env::World;
use crate::error::Result;
use crate::report::{AuditLogReport, Failure, InterruptedAction, LoggedEntry};

/// The entries of this host's chain, newest last; from the tier where there is no local one.
pub fn audit_log(world: &World, limit: usize) -> Result<AuditLogReport> {
    let start = world.start();
    let mut warnings = Vec::new();
    let (mut lines, torn) = Local::new(&world.state, &world.host).lines()?;
    if !torn.is_empty() {
        warnings.push("the last line was torn by a crash; it was never acknowledged".to_owned());
    }
    let mut shipped_to = 0;
    match world.read_tier() {
        Ok(tier) => {
            let ranges = remote::ranges(&*tier.store, &world.host)?;
            shipped_to = ranges.iter().map(|(_, to)| *to).max().unwrap_or(0);
            if let (true, Ok(sealer)) = (lines.is_empty(), &tier.sealer) {
                let name = remote::safe_name(&world.host);
                lines = remote::lines(&*tier.store, sealer, &name)?.lines;
            }
        }
        Err(error) if lines.is_empty() => return Err(error),
        Err(error) => warnings.push(format!(
            "tier {} does not answer: {}",
            world.tier.name,
            Failure::of(&error).line()
        )),
    }
    let entries: Vec<Entry> = lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
    if entries.len() < lines.len() {
        warnings.push("some lines cannot be read: run `lifeboat audit verify`".to_owned());
    }
    let interrupted = interrupted(world, &entries)?;
    let from = entries.len().saturating_sub(limit);
    Ok(AuditLogReport {
        entries: entries[from..].iter().map(|entry| logged(entry, shipped_to)).collect(),
        interrupted,
        warnings,
        head: world.head("lifeboat/audit-log", start),
    })
}

fn logged(entry: &Entry, shipped_to: u64) -> LoggedEntry {
    let outcome = match (&entry.outcome, entry.phase) {
        (Some(outcome), _) => outcome.clone(),
        (None, Phase::Started) => "started".to_owned(),
        (None, Phase::Finished) => "finished".to_owned(),
        (None, Phase::Interrupted) => "interrupted".to_owned(),
        (None, Phase::Note) => "noted".to_owned(),
    };
    LoggedEntry {
        seq: entry.seq,
        time: entry.time,
        operator: entry.operator.clone(),
        action: entry.action.clone(),
        object: entry.object.clone(),
        outcome,
        of: entry.of,
        detail: serde_json::to_value(&entry.detail).unwrap_or_default(),
        hash: entry.hash().to_string(),
        shipped: entry.seq <= shipped_to,
    }
}

/// Actions that ended without a word, whether already recorded as interrupted or not.
pub fn interrupted(world: &World, entries: &[Entry]) -> Result<Vec<InterruptedAction>> {
    let living: Vec<Option<u64>> =
        running::living(&world.state)?.into_iter().map(|left| left.seq).collect();
    Ok(open_actions(entries)
        .into_iter()
        .filter(|entry| !living.contains(&Some(entry.seq)))
        .map(action)
        .collect())
}

/// Actions whose process lives.
pub fn running_now(world: &World, entries: &[Entry]) -> Result<Vec<InterruptedAction>> {
    let living: Vec<Option<u64>> =
        running::living(&world.state)?.into_iter().map(|left| left.seq).collect();
    Ok(open_actions(entries)
        .into_iter()
        .filter(|entry| living.contains(&Some(entry.seq)))
        .map(action)
        .collect())
}

fn action(entry: &Entry) -> InterruptedAction {
    InterruptedAction {
        seq: entry.seq,
        time: entry.time,
        operator: entry.operator.clone(),
        action: entry.action.clone(),
        object: entry.object.clone(),
    }
}
