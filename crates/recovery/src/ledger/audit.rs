//! What the ledger says, and what it can prove.

use std::collections::BTreeMap;

use lifeboat_model::chain::{
    Entry, Fault, FaultKind, Link, Phase, PublicKey, Report, open_actions, verify,
};
use lifeboat_model::verdict::Verdict;
use lifeboat_vault::Store;

use super::{CHAIN, Local, evidence, keys, remote, running};
use crate::env::World;
use crate::error::{Error, Result};
use crate::flows::AuditRequest;
use crate::report::{
    Anchor, AuditFinding, AuditLogReport, AuditVerifyReport, Failure, FindingKind,
    InterruptedAction, LoggedEntry,
};
use crate::seal::Sealer;
use crate::state::read_optional;
use crate::tier::OpenTier;

/// What one look at a chain gathered.
struct Gathered {
    local: Vec<Vec<u8>>,
    torn: bool,
    remote: Option<remote::Fetched>,
    checkpoint: Option<lifeboat_model::chain::Signed<lifeboat_model::chain::Checkpoint>>,
    anchor: Anchor,
    findings: Vec<AuditFinding>,
}

/// Proves that no entry was edited, removed, reordered or cut off, as far as that can be proven.
pub fn audit_verify(world: &World, request: &AuditRequest) -> Result<AuditVerifyReport> {
    let start = world.start();
    let host = request.host.as_deref().unwrap_or(&world.host);
    let mut gathered = gather(world, host)?;
    let own = gathered.local.clone();
    let nowhere = own.is_empty() && gathered.remote.as_ref().is_none_or(|r| r.lines.is_empty());
    if nowhere && gathered.anchor.error.is_none() && gathered.findings.is_empty() {
        return Err(Error::NoLedger { host: host.to_owned() });
    }
    let lines = match (&gathered.remote, own.is_empty()) {
        (Some(fetched), true) => fetched.lines.clone(),
        _ => own,
    };
    let links: Vec<Link> = lines.iter().map(|line| Link::read(line)).collect();
    let trusted = trusted(world, host, request, &links)?;
    let checkpoints: Vec<_> = gathered.checkpoint.iter().cloned().collect();
    let report = verify(CHAIN, &links, &trusted, &checkpoints);
    let place = if gathered.local.is_empty() { world.tier.name.as_str() } else { "local" };
    let mut findings: Vec<AuditFinding> =
        report.faults.iter().map(|fault| finding(fault, place)).collect();
    findings.append(&mut gathered.findings);
    findings.extend(local_end(world, host, &gathered)?);
    if let (Some(fetched), false) = (&gathered.remote, gathered.local.is_empty()) {
        findings.extend(against_tier(world, &lines, fetched, &trusted));
    }
    findings.extend(evidence_findings(world, host, &links));
    Ok(judge(world, start, host, &report, findings, gathered.anchor, request))
}

/// Reads the local chain and the tier's.
fn gather(world: &World, host: &str) -> Result<Gathered> {
    let (local, torn) = Local::new(&world.state, host).lines()?;
    let mut gathered = Gathered {
        local,
        torn: !torn.is_empty(),
        remote: None,
        checkpoint: None,
        anchor: Anchor {
            tier: world.tier.name.clone(),
            // Only a place that keeps objects unchangeable protects them from its own host.
            immutable: false,
            anchored_to: None,
            entries: 0,
            error: None,
        },
        findings: Vec::new(),
    };
    match world.read_tier() {
        Ok(tier) => match ask_tier(world, host, &tier, &mut gathered) {
            Ok(()) => {}
            Err(error) => gathered.anchor.error = Some(Failure::of(&error)),
        },
        Err(error) => gathered.anchor.error = Some(Failure::of(&error)),
    }
    Ok(gathered)
}

fn ask_tier(world: &World, host: &str, tier: &OpenTier, gathered: &mut Gathered) -> Result<()> {
    let sealer = match &tier.sealer {
        Ok(sealer) if sealer.opens() => sealer,
        Ok(_) => return Err(crate::seal::SealError::NoIdentity.into()),
        Err(why) => {
            gathered.anchor.error = Some(why.clone());
            return Ok(());
        }
    };
    read_remote(world, host, &*tier.store, sealer, gathered)
}

fn read_remote(
    world: &World,
    host: &str,
    store: &dyn Store,
    sealer: &Sealer,
    gathered: &mut Gathered,
) -> Result<()> {
    let name = remote::safe_name(host);
    let fetched = remote::lines(store, sealer, &name)?;
    let (checkpoint, unreadable) = remote::newest_checkpoint(store, sealer, &name)?;
    for (key, why) in fetched.unreadable.iter().chain(&unreadable) {
        gathered.findings.push(AuditFinding {
            kind: FindingKind::Unreadable,
            seq: None,
            place: world.tier.name.clone(),
            what: format!("{key} cannot be read: {why}"),
        });
    }
    gathered.anchor.entries = fetched.lines.len() as u64;
    gathered.anchor.anchored_to = checkpoint.as_ref().map(|c| c.document.seq);
    gathered.remote = Some(fetched);
    gathered.checkpoint = checkpoint;
    Ok(())
}

/// Keys given from outside, by fingerprint; without, those that this host accepted itself.
fn trusted(
    world: &World,
    host: &str,
    request: &AuditRequest,
    links: &[Link],
) -> Result<Vec<PublicKey>> {
    let Some(wanted) = &request.key else { return keys::accepted(&world.state, host) };
    let in_chain = links.iter().filter_map(|link| match link {
        Link::Read(entry) => Some([entry.key, entry.next_key]),
        Link::Broken(_) => None,
    });
    let wanted = wanted.trim().to_ascii_lowercase();
    if wanted.len() < 16 {
        return Err(Error::Usage {
            what: "the fingerprint is too short to prove anything".to_owned(),
            hint: "give at least 16 of its hexadecimal digits".to_owned(),
        });
    }
    let fits = |key: &PublicKey| key.fingerprint().starts_with(&wanted);
    let found: Vec<PublicKey> = in_chain.flatten().flatten().filter(fits).collect();
    // A key that signed nothing here: everything in the chain is foreign to it.
    Ok(if found.is_empty() { vec![PublicKey([0; 32])] } else { found })
}

fn finding(fault: &Fault, place: &str) -> AuditFinding {
    let kind = match &fault.kind {
        FaultKind::Edited | FaultKind::Inserted | FaultKind::Rewritten => FindingKind::Edited,
        FaultKind::Removed => FindingKind::Removed,
        FaultKind::Moved | FaultKind::Twice => FindingKind::Reordered,
        FaultKind::Truncated => FindingKind::Truncated,
        FaultKind::ForeignKey(_) | FaultKind::BadCheckpoint => FindingKind::ForeignKey,
        FaultKind::Newer => FindingKind::Unreadable,
    };
    AuditFinding { kind, seq: Some(fault.from), place: place.to_owned(), what: fault.to_string() }
}

/// Compares the local file's end with what was acknowledged.
fn local_end(world: &World, host: &str, gathered: &Gathered) -> Result<Vec<AuditFinding>> {
    let mut findings = Vec::new();
    let mut add = |kind, seq, what: String| {
        findings.push(AuditFinding { kind, seq, place: "local".to_owned(), what });
    };
    let last = gathered.local.iter().rev().find_map(|line| Entry::read(line).ok());
    if let Some(head) = Local::new(&world.state, host).acknowledged()? {
        match &last {
            Some(entry) if entry.seq >= head.seq => {}
            other => {
                let end = other.as_ref().map_or(0, |entry| entry.seq);
                let what = format!(
                    "the local ledger ends at entry {end}, entry {} was acknowledged",
                    head.seq
                );
                add(FindingKind::Truncated, Some(end + 1), what);
            }
        }
    }
    if gathered.torn {
        let what = "the last line was torn while it was written; it was never acknowledged";
        add(FindingKind::Note, None, what.to_owned());
    }
    Ok(findings)
}

/// Compares the local lines with the tier's, number by number; and the tier's with themselves.
fn against_tier(
    world: &World,
    local: &[Vec<u8>],
    fetched: &remote::Fetched,
    trusted: &[PublicKey],
) -> Vec<AuditFinding> {
    let place = world.tier.name.as_str();
    let links: Vec<Link> = fetched.lines.iter().map(|line| Link::read(line)).collect();
    let report = verify(CHAIN, &links, trusted, &[]);
    let mut findings: Vec<AuditFinding> =
        report.faults.iter().map(|fault| finding(fault, place)).collect();
    let ours: BTreeMap<u64, &Vec<u8>> = local
        .iter()
        .filter_map(|line| Entry::read(line).ok().map(|entry| (entry.seq, line)))
        .collect();
    let last = ours.last_key_value().map_or(0, |(seq, _)| *seq);
    let mut beyond = 0;
    for line in &fetched.lines {
        let Ok(entry) = Entry::read(line) else { continue };
        match ours.get(&entry.seq) {
            Some(ours) if *ours == line => {}
            Some(_) => findings.push(AuditFinding {
                kind: FindingKind::Diverged,
                seq: Some(entry.seq),
                place: place.to_owned(),
                what: format!("entry {} is another one here than in the local ledger", entry.seq),
            }),
            None if entry.seq > last => beyond = beyond.max(entry.seq),
            None => {}
        }
    }
    if beyond > 0 {
        findings.push(AuditFinding {
            kind: FindingKind::Truncated,
            seq: Some(last + 1),
            place: "local".to_owned(),
            what: format!("the local ledger ends at entry {last}, the tier has up to {beyond}"),
        });
    }
    findings
}

/// Local evidence files against the hashes in the ledger. One that only the tier has is fetched by
/// whoever needs it; a local one that differs was changed.
fn evidence_findings(world: &World, host: &str, links: &[Link]) -> Vec<AuditFinding> {
    let mut findings = Vec::new();
    if host != world.host {
        return findings;
    }
    for link in links {
        let Link::Read(entry) = link else { continue };
        let Some(detail) = entry.detail.get(evidence::DETAIL) else { continue };
        let text = |name: &str| detail.get(name).and_then(serde_json::Value::as_str);
        let (Some(id), Some(sha256)) = (text("id"), text("sha256")) else { continue };
        let path = world.state.path(format!("evidence/{id}.json"));
        let what = match read_optional(&path) {
            Ok(Some(body)) if lifeboat_model::chain::Hash::of(&body).to_string() == sha256 => {
                continue;
            }
            // A state folder that was lost took its copy along; the tier's stays.
            Ok(None) => continue,
            Ok(Some(_)) => format!("evidence {id} is not what the ledger recorded"),
            Err(error) => format!("evidence {id} cannot be read: {error}"),
        };
        findings.push(AuditFinding {
            kind: FindingKind::Evidence,
            seq: Some(entry.seq),
            place: "local".to_owned(),
            what,
        });
    }
    findings
}

fn judge(
    world: &World,
    start: crate::session::Start,
    host: &str,
    report: &Report,
    findings: Vec<AuditFinding>,
    anchor: Anchor,
    request: &AuditRequest,
) -> AuditVerifyReport {
    let faulty = findings.iter().any(|f| f.kind != FindingKind::Note);
    let reachable = anchor.error.is_none();
    let verdict = match (faulty, report.verdict) {
        (true, _) | (_, Verdict::Fail) => Verdict::Fail,
        (false, Verdict::Pass) if reachable && report.anchored.is_some() => Verdict::Pass,
        _ => Verdict::Inconclusive,
    };
    let first_fault = report.faults.iter().map(|fault| fault.from).min();
    let consistent_to = match first_fault {
        Some(seq) => Some(seq.saturating_sub(1)),
        None => report.head.as_ref().map(|head| head.seq),
    };
    AuditVerifyReport {
        verdict,
        chain: host.to_owned(),
        entries: report.entries as u64,
        anchored_to: report.anchored,
        consistent_to,
        key: report.head.as_ref().map(|head| head.key.fingerprint()),
        key_trusted: request.key.is_some(),
        statement: statement(report, &anchor, faulty, consistent_to, request),
        anchors: vec![anchor],
        findings,
        head: world.head("lifeboat/audit-verify", start),
    }
}

/// What it proves and what it does not.
fn statement(
    report: &Report,
    anchor: &Anchor,
    faulty: bool,
    consistent_to: Option<u64>,
    request: &AuditRequest,
) -> Vec<String> {
    let mut said = Vec::new();
    match (report.anchored, &anchor.error) {
        (Some(seq), _) => {
            let kind = if anchor.immutable {
                "which this host cannot change"
            } else {
                "which is not immutable: whoever can write there can change both"
            };
            said.push(format!("anchored up to entry {seq} in tier {}, {kind}", anchor.tier));
        }
        (None, Some(why)) => said.push(format!(
            "inconclusive: tier {} does not answer ({}), so nothing outside this host vouches for \
             the chain",
            anchor.tier,
            why.line()
        )),
        (None, None) => said
            .push(format!("inconclusive: tier {} holds no checkpoint of this chain", anchor.tier)),
    }
    if let Some(to) = consistent_to {
        let from = report.anchored.map_or(1, |seq| seq + 1);
        if to >= from {
            said.push(format!("entries {from} to {to} agree with themselves only"));
        }
    }
    said.push(match (&request.key, report.trusted) {
        (Some(_), _) => "the signing key was compared with the fingerprint given".to_owned(),
        (None, true) => "the signing key was compared with the one this host accepted; give the \
                         recovery kit's fingerprint with --key for a proof from outside"
            .to_owned(),
        (None, false) => "nobody told which signing key to trust: give the recovery kit's \
                          fingerprint with --key"
            .to_owned(),
    });
    if faulty {
        said.push("what follows a fault may have been written to fit it".to_owned());
    }
    said
}

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
