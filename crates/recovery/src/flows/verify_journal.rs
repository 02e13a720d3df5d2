//! Verification's part in the journals: every record of the tier is opened and held against its
//! chain, so that what is damaged is found before a restore needs it.

use lifeboat_model::check::CheckResult;
use lifeboat_model::verdict::Verdict;

use super::{VerifyRequest, way};
use crate::env::World;
use crate::error::{Result, ends_run};
use crate::journal::{Checked, Depth, FaultKind, standing};
use crate::report::{Damage, Failure, JournalVerification, seconds};
use crate::tier::OpenTier;

/// Name of the check.
const WHOLE: &str = "journal whole";
/// Damaged objects that are named; the rest is counted.
const NAMED: usize = 100;

/// Verifies the journals that are asked for. `warnings` gets what is said of keys, and which
/// component streams and has no journal in this tier.
pub(super) fn verify(
    world: &World,
    tier: &OpenTier,
    request: &VerifyRequest,
    warnings: &mut Vec<String>,
) -> Result<Vec<JournalVerification>> {
    let mut all = Vec::new();
    for (name, component) in &world.plan.component {
        if !request.what.is_empty() && !request.what.contains(name) {
            continue;
        }
        world.stop_if_cancelled()?;
        match one(world, tier, name, request, warnings)? {
            Some(found) => all.push(found),
            None if was_streamed(world, name)? => all.push(lost(name)),
            None if component.kind.streams() => {
                warnings.push(format!("{name} streams, and this tier has no journal of it"));
            }
            None => {}
        }
    }
    Ok(all)
}

/// True if a stream on this host has stored something in this tier.
fn was_streamed(world: &World, component: &str) -> Result<bool> {
    let (tiers, _) = standing(&world.state, component)?;
    Ok(tiers.iter().any(|one| one.tier == world.tier.name && one.position.is_some()))
}

fn depth(request: &VerifyRequest) -> Depth {
    match (request.quick, request.subset) {
        (true, _) => Depth::Structure,
        (false, Some(subset)) => Depth::Part(subset),
        (false, None) => Depth::All,
    }
}

fn one(
    world: &World,
    tier: &OpenTier,
    name: &str,
    request: &VerifyRequest,
    warnings: &mut Vec<String>,
) -> Result<Option<JournalVerification>> {
    let start = world.start();
    let checked = match check(world, tier, name, depth(request), warnings) {
        Ok(None) => return Ok(None),
        Ok(Some(checked)) => Ok(checked),
        Err(error) if ends_run(&error) => return Err(error),
        Err(error) => Err(Failure::of(&error)),
    };
    let mut found = match checked {
        Ok(checked) => judged(name, &checked, depth(request)),
        Err(error) => untold(name, error),
    };
    found.seconds = seconds(world.since(start));
    Ok(Some(found))
}

fn check(
    world: &World,
    tier: &OpenTier,
    name: &str,
    depth: Depth,
    warnings: &mut Vec<String>,
) -> Result<Option<Checked>> {
    let Some(journal) = way::open_journal(world, tier, name, warnings)? else { return Ok(None) };
    let checked = journal.check(depth)?;
    if !checked.may_have_moved() {
        return Ok(Some(checked));
    }
    // Packed and removed since the listing, say: a new listing tells.
    match way::open_journal(world, tier, name, &mut Vec::new())? {
        Some(journal) => Ok(Some(journal.check(depth)?)),
        None => Ok(Some(checked)),
    }
}

fn judged(component: &str, checked: &Checked, depth: Depth) -> JournalVerification {
    let survey = &checked.survey;
    let damage: Vec<Damage> = checked
        .damage()
        .take(NAMED)
        .map(|fault| Damage {
            object: fault.object.clone(),
            what: fault.why.clone(),
            snapshots: Vec::new(),
            files: Vec::new(),
        })
        .collect();
    let count = checked.damage().count();
    let (verdict, found) = match (damage.first(), count) {
        (Some(first), 1) => (Verdict::Fail, first.what.clone()),
        (Some(first), _) => (Verdict::Fail, format!("{} (and {} more)", first.what, count - 1)),
        (None, _) => match (checked.records, checked.handed) {
            (0, 0) => (Verdict::Inconclusive, "there is no record".to_owned()),
            (records, 0) => (Verdict::Pass, format!("{records} records")),
            (0, handed) => (Verdict::Pass, format!("{handed} files that its server handed over")),
            (records, handed) => (
                Verdict::Pass,
                format!("{records} records, {handed} files that its server handed over"),
            ),
        },
    };
    let mut notes: Vec<String> = survey
        .gaps
        .iter()
        .map(|gap| {
            format!("lost from {} to {}, as its stream recorded: {}", gap.from, gap.to, gap.why)
        })
        .collect();
    let beside = |kind| matches!(kind, FaultKind::Beside | FaultKind::Strange);
    notes.extend(survey.faults.iter().filter(|f| beside(f.kind)).map(|fault| fault.why.clone()));
    notes.extend(survey.notes.iter().cloned());
    let (objects, objects_read) = checked.objects;
    if let Depth::Part(subset) = depth {
        notes.push(format!("read {objects_read} of {objects} objects: subset {subset}"));
    }
    let expected = match depth {
        Depth::All => "every record signed, linked, equal to its hash",
        Depth::Structure | Depth::Part(_) => "every record that was read signed and linked",
    };
    let check = CheckResult::new(WHOLE, verdict, expected, found);
    JournalVerification {
        component: component.to_owned(),
        verdict,
        checks: vec![check],
        records: checked.records,
        objects,
        objects_read,
        bytes_read: checked.bytes_read,
        windows: survey.windows.clone(),
        damaged: count as u64,
        damage,
        notes,
        seconds: 0.0,
        error: None,
    }
}

/// It could not be looked at.
fn untold(component: &str, error: Failure) -> JournalVerification {
    let check = CheckResult::new(WHOLE, Verdict::Inconclusive, "a look at it", error.line());
    JournalVerification { error: Some(error), ..unread(component, check) }
}

/// What was stored is not there at all.
fn lost(component: &str) -> JournalVerification {
    let expected = "the journal that was streamed to this tier";
    let found = "nothing of it is there".to_owned();
    unread(component, CheckResult::new(WHOLE, Verdict::Fail, expected, found))
}

fn unread(component: &str, check: CheckResult) -> JournalVerification {
    JournalVerification {
        component: component.to_owned(),
        verdict: check.verdict,
        checks: vec![check],
        records: 0,
        objects: 0,
        objects_read: 0,
        bytes_read: 0,
        windows: Vec::new(),
        damaged: 0,
        damage: Vec::new(),
        notes: Vec::new(),
        seconds: 0.0,
        error: None,
    }
}
