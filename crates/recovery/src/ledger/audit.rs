//! What the ledger can prove.
//!
//! The tier is asked first and the local file read last: what is appended and shipped meanwhile
//! makes the later reading longer, never shorter. The tier's copy is verified by itself, with the
//! tier's own checkpoints and evidence, so that a host that lost its state finds the same faults.

use std::collections::BTreeMap;

use lifeboat_model::chain::{
    Checkpoint, Entry, Evidence, Fault, FaultKind, Head, Link, PublicKey, Report, Signed, verify,
    verify_after,
};
use lifeboat_model::verdict::Verdict;
use lifeboat_vault::Store;

use super::log::no_ledger;
use super::remote::safe_name;
use super::{CHAIN, Local, audit_branch, audit_evidence, remote, trust};
use crate::env::World;
use crate::error::{Error, Result};
use crate::flows::AuditRequest;
use crate::report::{Anchor, AuditFinding, AuditVerifyReport, Failure, FindingKind};
use crate::seal::Sealer;
use crate::tier::OpenTier;

/// The word for the local chain in findings.
pub(super) const HERE: &str = "this host";

/// What the tier has of a chain.
#[derive(Default)]
pub(super) struct There {
    /// The lines, read or not.
    pub links: Vec<Link>,
    lines: Vec<Vec<u8>>,
    checkpoints: Vec<Signed<Checkpoint>>,
    /// Evidence, by its id.
    pub evidence: BTreeMap<String, remote::StoredEvidence>,
}

impl There {
    /// Keys that say to have signed what is beside the entries: all that is left of a chain whose
    /// entries were removed.
    fn signers(&self) -> impl Iterator<Item = PublicKey> {
        let evidence = self.evidence.values().filter_map(|body| {
            let body = body.as_ref().ok()?;
            Some(Signed::<Evidence>::read(body).ok()?.key)
        });
        self.checkpoints.iter().map(|checkpoint| checkpoint.key).chain(evidence)
    }
}

/// Keys that the entries name.
fn keys_of(links: &[Link]) -> impl Iterator<Item = PublicKey> {
    let named = links.iter().filter_map(|link| match link {
        Link::Read(entry) => Some([entry.key, entry.next_key]),
        Link::Broken(_) => None,
    });
    named.flatten().flatten()
}

/// What one look at a chain gathered.
struct Gathered {
    local: Vec<Vec<u8>>,
    torn: bool,
    there: Option<There>,
    anchor: Anchor,
    findings: Vec<AuditFinding>,
}

impl Gathered {
    /// True if there is no trace of the chain anywhere.
    fn nothing(&self, world: &World, host: &str) -> bool {
        let there = self.there.as_ref().is_some_and(|there| {
            !there.lines.is_empty() || !there.checkpoints.is_empty() || !there.evidence.is_empty()
        });
        let here = !self.local.is_empty() || Local::new(&world.state, host).exists();
        !there && !here && self.anchor.error.is_none() && self.findings.is_empty()
    }
}

/// Proves that no entry was edited, removed, reordered or cut off, as far as that can be proven.
pub fn audit_verify(world: &World, request: &AuditRequest) -> Result<AuditVerifyReport> {
    let start = world.start();
    let host = request.host.as_deref().unwrap_or(&world.host);
    let mut gathered = gather(world, host)?;
    if gathered.nothing(world, host) {
        return Err(no_ledger(world, host));
    }
    let here: Vec<Link> = gathered.local.iter().map(|line| Link::read(line)).collect();
    let there = gathered.there.take().unwrap_or_default();
    let candidates = keys_of(&here).chain(keys_of(&there.links)).chain(there.signers());
    let trusted = trusted(world, host, request, candidates)?;
    let base = Local::new(&world.state, host).base()?;
    let own = own_report(&gathered.local, base.as_ref(), &there, &trusted);
    let copy = verify(CHAIN, &there.links, &trusted, &there.checkpoints);
    let from_tier = !Local::new(&world.state, host).exists();
    let tier = world.tier.name.as_str();
    let mut findings = faults(&copy, tier);
    if !from_tier {
        // A false checkpoint is the tier's fault and was named there.
        let local = faults(&own, HERE).into_iter().filter(|f| {
            f.kind != FindingKind::ForeignKey || !findings.iter().any(|known| known.what == f.what)
        });
        let local: Vec<AuditFinding> = local.collect();
        findings.extend(local);
    }
    findings.append(&mut gathered.findings);
    findings.extend(local_end(world, host, &gathered)?);
    findings.extend(of_another_host(host, &here, HERE));
    findings.extend(of_another_host(host, &there.links, tier));
    if !from_tier {
        findings.extend(against_tier(world, &gathered.local, &there.lines));
        findings.extend(shorter_than_shipped(world, host, &gathered, &there)?);
    }
    let links = if from_tier { &there.links } else { &here };
    let own_state = !from_tier && host == world.host;
    findings.extend(audit_branch::explain(world, links, own_state, tier));
    let answered = gathered.anchor.error.is_none();
    let evidence =
        audit_evidence::compare(world, host, &here, answered.then_some(&there), &trusted);
    let report = if from_tier { copy } else { own };
    findings.extend(evidence.findings);
    let seen = Seen {
        from_tier,
        base: base.filter(|_| !from_tier).map(|base| base.seq),
        evidence: evidence.statement,
        key_fits: fits(request, &trusted, &report),
        anchor: gathered.anchor,
    };
    Ok(judge(world, start, host, &report, findings, seen, request))
}

/// The local chain. Where it goes on from entries that only the tier has, those come first if they
/// can be read.
fn own_report(
    local: &[Vec<u8>],
    base: Option<&Head>,
    there: &There,
    trusted: &[PublicKey],
) -> Report {
    let read = |line: &Vec<u8>| Link::read(line);
    match base {
        None => {
            let links: Vec<Link> = local.iter().map(read).collect();
            verify(CHAIN, &links, trusted, &there.checkpoints)
        }
        Some(base) if there.lines.is_empty() => {
            let links: Vec<Link> = local.iter().map(read).collect();
            verify_after((base.seq, base.hash), CHAIN, &links, trusted, &there.checkpoints)
        }
        Some(base) => {
            let before = there
                .lines
                .iter()
                .map(read)
                .filter(|link| matches!(link, Link::Read(entry) if entry.seq <= base.seq));
            let links: Vec<Link> = before.chain(local.iter().map(read)).collect();
            verify(CHAIN, &links, trusted, &there.checkpoints)
        }
    }
}

/// A tier that once acknowledged more than it has now.
fn shorter_than_shipped(
    world: &World,
    host: &str,
    gathered: &Gathered,
    there: &There,
) -> Result<Option<AuditFinding>> {
    let known = Local::new(&world.state, host).shipped(&world.tier.name)?;
    let entries = there.links.iter().filter_map(|link| match link {
        Link::Read(entry) => Some(entry.seq),
        Link::Broken(_) => None,
    });
    let last = entries.max().unwrap_or(0);
    if gathered.anchor.error.is_some() || last >= known {
        return Ok(None);
    }
    Ok(Some(AuditFinding {
        kind: FindingKind::Truncated,
        seq: Some(last + 1),
        place: world.tier.name.clone(),
        what: format!("entries up to {known} were shipped, the tier has them up to {last}"),
    }))
}

/// Reads the tier's chain, then the local one.
fn gather(world: &World, host: &str) -> Result<Gathered> {
    let mut gathered = Gathered {
        local: Vec::new(),
        torn: false,
        there: None,
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
    let asked = world.read_tier().and_then(|tier| ask_tier(world, host, &tier, &mut gathered));
    if let Err(error) = asked {
        gathered.anchor.error = Some(Failure::of(&error));
    }
    let (local, torn) = Local::new(&world.state, host).lines()?;
    (gathered.local, gathered.torn) = (local, !torn.is_empty());
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
    let name = safe_name(host);
    // Evidence and checkpoints before the entries that they follow from.
    let evidence = remote::evidence(store, sealer, &name)?;
    let (checkpoints, unreadable) = remote::checkpoints(store, sealer, &name)?;
    let fetched = remote::lines(store, sealer, &name)?;
    for (key, why) in fetched.unreadable.iter().chain(&unreadable) {
        gathered.findings.push(AuditFinding {
            kind: FindingKind::Unreadable,
            seq: None,
            place: world.tier.name.clone(),
            what: format!("{key} cannot be read: {why}"),
        });
    }
    gathered.anchor.entries = fetched.lines.len() as u64;
    gathered.anchor.anchored_to = checkpoints.last().map(|c| c.document.seq);
    let links = fetched.lines.iter().map(|line| Link::read(line)).collect();
    gathered.there = Some(There { links, lines: fetched.lines, checkpoints, evidence });
    Ok(())
}

/// Keys given from outside, by fingerprint; without, those that this host accepted itself.
fn trusted(
    world: &World,
    host: &str,
    request: &AuditRequest,
    candidates: impl Iterator<Item = PublicKey>,
) -> Result<Vec<PublicKey>> {
    let Some(wanted) = &request.key else { return trust::known(world, host, candidates) };
    let wanted = wanted.trim().to_ascii_lowercase();
    if wanted.len() < 16 {
        return Err(Error::Usage {
            what: "the fingerprint is too short to prove anything".to_owned(),
            hint: "give at least 16 of its hexadecimal digits".to_owned(),
        });
    }
    let fits = |key: &PublicKey| key.fingerprint().starts_with(&wanted);
    let mut found: Vec<PublicKey> = candidates.filter(fits).collect();
    found.sort_unstable();
    found.dedup();
    // A key that signed nothing here: everything in the chain is foreign to it.
    Ok(if found.is_empty() { vec![NOBODY] } else { found })
}

/// A key that signs nothing.
const NOBODY: PublicKey = PublicKey([0; 32]);

/// True if a fingerprint was given, and its key, or one that it announced, signed the chain.
fn fits(request: &AuditRequest, trusted: &[PublicKey], report: &Report) -> bool {
    let foreign = |fault: &Fault| matches!(fault.kind, FaultKind::ForeignKey(_));
    request.key.is_some() && trusted != [NOBODY] && !report.faults.iter().any(foreign)
}

fn faults(report: &Report, place: &str) -> Vec<AuditFinding> {
    report.faults.iter().map(|fault| finding(fault, place)).collect()
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

/// A chain of one host under the name of another.
fn of_another_host(host: &str, links: &[Link], place: &str) -> Vec<AuditFinding> {
    let name = safe_name(host);
    let foreign = links.iter().filter_map(|link| match link {
        Link::Read(entry) if safe_name(&entry.host) != name => Some(entry),
        _ => None,
    });
    foreign
        .map(|entry| AuditFinding {
            kind: FindingKind::ForeignHost,
            seq: Some(entry.seq),
            place: place.to_owned(),
            what: format!("entry {} is of host {}", entry.seq, entry.host),
        })
        .collect()
}

/// Compares the local file's end with what was acknowledged.
fn local_end(world: &World, host: &str, gathered: &Gathered) -> Result<Vec<AuditFinding>> {
    let mut findings = Vec::new();
    let mut add = |kind, seq, what: String| {
        findings.push(AuditFinding { kind, seq, place: HERE.to_owned(), what });
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

/// Compares the local lines with the tier's, number by number.
fn against_tier(world: &World, local: &[Vec<u8>], there: &[Vec<u8>]) -> Vec<AuditFinding> {
    let place = world.tier.name.as_str();
    let mut findings = Vec::new();
    let ours: BTreeMap<u64, &Vec<u8>> = local
        .iter()
        .filter_map(|line| Entry::read(line).ok().map(|entry| (entry.seq, line)))
        .collect();
    let last = ours.last_key_value().map_or(0, |(seq, _)| *seq);
    let mut beyond = 0;
    for line in there {
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
            place: HERE.to_owned(),
            what: format!("the local ledger ends at entry {last}, the tier has up to {beyond}"),
        });
    }
    findings
}

/// What the statement is about.
struct Seen {
    /// There is no local chain: all of it was read from the tier.
    from_tier: bool,
    /// The local lines begin after this entry.
    base: Option<u64>,
    evidence: Option<String>,
    /// The fingerprint that was given is that of the key that signed.
    key_fits: bool,
    anchor: Anchor,
}

fn judge(
    world: &World,
    start: crate::session::Start,
    host: &str,
    report: &Report,
    findings: Vec<AuditFinding>,
    seen: Seen,
    request: &AuditRequest,
) -> AuditVerifyReport {
    let faulty = findings.iter().any(|f| f.kind != FindingKind::Note);
    let reachable = seen.anchor.error.is_none();
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
        key_given: request.key.is_some(),
        key_trusted: seen.key_fits,
        statement: statement(report, &seen, faulty, consistent_to, request),
        anchors: vec![seen.anchor],
        findings,
        head: world.head("lifeboat/audit-verify", start),
    }
}

/// What it proves and what it does not.
fn statement(
    report: &Report,
    seen: &Seen,
    faulty: bool,
    consistent_to: Option<u64>,
    request: &AuditRequest,
) -> Vec<String> {
    let mut said = Vec::new();
    let anchor = &seen.anchor;
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
        let from = report.anchored.or(seen.base).map_or(1, |seq| seq + 1);
        if to >= from {
            said.push(format!("entries {from} to {to} agree with themselves only"));
        }
    }
    if seen.from_tier {
        said.push(format!(
            "this host has no ledger of its own: all was read from tier {}; entries cut off from \
             the end together with their checkpoints and evidence leave no trace there",
            anchor.tier
        ));
    }
    if let (Some(base), Some(_)) = (seen.base, &anchor.error) {
        said.push(format!(
            "entries 1 to {base} are in tier {} alone and cannot be opened here; that the local \
             ledger goes on from them is proven where the identity is",
            anchor.tier
        ));
    }
    said.extend(seen.evidence.clone());
    said.push(match (&request.key, report.trusted) {
        (Some(_), _) if seen.key_fits => {
            "the signing key was compared with the fingerprint given".to_owned()
        }
        (Some(_), _) => {
            "the fingerprint given is not that of the key that signed: this is another \
                         ledger, or the fingerprint is wrong"
                .to_owned()
        }
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
