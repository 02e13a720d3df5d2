//! What the ledger says, in the words of people.

use lifeboat_model::chain::{Entry, Phase, open_actions};

use super::{Local, remote, running};
use crate::env::World;
use crate::error::{Error, Result};
use crate::report::{AuditLogReport, Failure, InterruptedAction, LoggedEntry};
use crate::tier::OpenTier;

/// The entries of this host's chain, newest last; from the tier where there is no local one.
pub fn audit_log(world: &World, limit: usize) -> Result<AuditLogReport> {
    audit_log_of(world, None, limit)
}

/// The same of `host`, if it is given: another one's chain is in the tier.
pub fn audit_log_of(world: &World, host: Option<&str>, limit: usize) -> Result<AuditLogReport> {
    let start = world.start();
    let asked = host;
    let host = host.unwrap_or(&world.host);
    let mut warnings = Vec::new();
    let (mut lines, torn) = Local::new(&world.state, host).lines()?;
    if !torn.is_empty() {
        warnings.push("the last line was torn by a crash; it was never acknowledged".to_owned());
    }
    let mut shipped_to = 0;
    match world.read_tier() {
        Ok(tier) => {
            let ranges = remote::ranges(&*tier.store, host)?;
            shipped_to = ranges.iter().map(|(_, to)| *to).max().unwrap_or(0);
            if lines.is_empty() {
                lines = from_tier(&tier, host, &mut warnings)?;
            }
        }
        Err(error) if lines.is_empty() => return Err(error),
        Err(error) => warnings.push(format!(
            "tier {} does not answer: {}",
            world.tier.name,
            Failure::of(&error).line()
        )),
    }
    if lines.is_empty() && warnings.is_empty() {
        let none = no_ledger(world, host);
        match none {
            Error::NoLedger { ref others, .. } if asked.is_some() || !others.is_empty() => {
                return Err(none);
            }
            Error::NoLedger { .. } => {}
            other => return Err(other),
        }
    }
    let entries: Vec<Entry> = lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
    if entries.len() < lines.len() {
        warnings.push("some lines cannot be read: run `lifeboat audit verify`".to_owned());
    }
    // Whether another host's process lives cannot be told from here.
    let here = host == world.host;
    let interrupted = if here { interrupted(world, &entries)? } else { Vec::new() };
    let from = entries.len().saturating_sub(limit);
    Ok(AuditLogReport {
        entries: entries[from..].iter().map(|entry| logged(entry, shipped_to)).collect(),
        interrupted,
        warnings,
        head: world.head("lifeboat/audit-log", start),
    })
}

/// No trace of a chain, and the hosts that the tier has one of.
pub(super) fn no_ledger(world: &World, host: &str) -> Error {
    let others = match world.read_tier().and_then(|tier| remote::hosts(&*tier.store)) {
        Ok(names) => names.iter().map(|name| remote::host_name(name)).collect(),
        Err(error) => return error,
    };
    Error::NoLedger { host: host.to_owned(), others }
}

/// The tier's lines of a chain; what cannot be opened is said.
fn from_tier(tier: &OpenTier, host: &str, warnings: &mut Vec<String>) -> Result<Vec<Vec<u8>>> {
    let sealer = match &tier.sealer {
        Ok(sealer) => sealer,
        Err(why) => {
            warnings.push(format!("the tier's ledger cannot be opened: {}", why.line()));
            return Ok(Vec::new());
        }
    };
    let fetched = remote::lines(&*tier.store, sealer, &remote::safe_name(host))?;
    for (key, why) in &fetched.unreadable {
        warnings.push(format!("{key} cannot be read: {why}"));
    }
    Ok(fetched.lines)
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
