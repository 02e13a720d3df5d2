//! Pruning: what the plan's rules do not keep any longer is forgotten, then the data that nothing
//! needs is marked, and deleted by a later run.
//!
//! Where anything speaks against it (a newer backup failed, a listing was partial, nothing is
//! verified, a clock is wrong) nothing at all is removed, of any component (promise 2).

mod backups;
mod decide;

use lifeboat_vault::{DeleteStore, PruneOptions};
use serde_json::json;

pub(super) use self::decide::Decision;
use self::decide::{agreed, decide};
use super::PruneRequest;
use crate::catalog;
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::{Fact, RemovedFact};
use crate::journal::JournalFate;
use crate::ledger::Detail;
use crate::report::{DataFate, PruneReport};
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

/// Prunes.
pub fn prune(world: &World, request: &PruneRequest) -> Result<PruneReport> {
    let opening = Opening {
        action: "prune",
        object: &format!("tier {}", world.tier.name),
        detail: Detail::new(),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, request);
    within(world, &opening, body, |report: &mut PruneReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// Says of every snapshot whether it would stay and why, now or at the instant that is asked for,
/// and what would become of the data; changes nothing.
pub fn plan_prune(world: &World, request: &PruneRequest) -> Result<PruneReport> {
    let start = world.start();
    let tier = world.read_tier()?;
    world.refuse_held(&tier)?;
    let known = catalog::everything(world, &tier, false)?;
    let decision = decide(world, &tier, &known, request.at)?;
    let warnings = known.notes;
    let data = match decision.refused.is_empty() {
        true => Some(DataFate::from(&tier.vault.plan_prune(&options(request, &decision))?)),
        false => None,
    };
    let journals = match decision.refused.is_empty() {
        true => journals(world, &tier, &decision, None)?,
        false => Vec::new(),
    };
    let head = world.head("lifeboat/prune-recipe", start);
    Ok(PruneReport {
        head,
        tier: world.tier_ref(),
        dry_run: true,
        at: request.at,
        refused: decision.refused,
        snapshots: decision.fates,
        data,
        journals,
        warnings,
    })
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    request: &PruneRequest,
) -> Result<Ended<PruneReport>> {
    let world = session.world;
    world.refuse_held(tier)?;
    let hands = tier.vault.maintain(world.tier.place.deleter()?)?;
    // Under the lock: nobody adds or removes a snapshot from here on.
    let known = catalog::everything(world, tier, true)?;
    let mut decision = decide(world, tier, &known, None)?;
    session.warnings.extend(known.notes);
    agreed(&mut decision, request)?;
    let (mut data, mut journals) = (None, Vec::new());
    if decision.refused.is_empty() {
        // All is looked at as it will be before anything goes: up to here a refusal changes nothing.
        let planned = hands.plan_prune(&options(request, &decision))?;
        hands.still_stands(&planned)?;
        // Said before it is done: a snapshot that is gone without a word would be a lost one.
        session.record(&removed(world, tier, &decision))?;
        let done = hands.carry_out(planned).map_err(|error| Error::PruneStopped {
            tier: world.tier.name.clone(),
            source: Box::new(error.into()),
        })?;
        data = Some(DataFate::from(&done));
        // Only now: a journal leads on from what stayed.
        let deleter = world.tier.place.journal_deleter()?;
        journals = self::journals(world, tier, &decision, Some(&*deleter)).map_err(|error| {
            Error::PruneStopped { tier: world.tier.name.clone(), source: Box::new(error) }
        })?;
    }
    drop(hands);
    let report = PruneReport {
        head: world.head("lifeboat/prune", session.start),
        tier: world.tier_ref(),
        dry_run: false,
        at: None,
        refused: decision.refused,
        snapshots: decision.fates,
        data,
        journals,
        warnings: Vec::new(),
    };
    let mut detail = Detail::from([
        ("removed".to_owned(), json!(decision.remove.len())),
        ("refused".to_owned(), json!(report.refused)),
    ]);
    if let Some(data) = &report.data {
        detail.insert("marked".to_owned(), json!(data.marked.packs));
        detail.insert("deleted".to_owned(), json!(data.deleted.packs));
    }
    if !report.journals.is_empty() {
        let gone: u64 = report.journals.iter().map(|fate| fate.packed + fate.passed).sum();
        detail.insert("journal_objects".to_owned(), json!(gone));
    }
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

/// What becomes of each journal; with the right to delete it is carried out.
fn journals(
    world: &World,
    tier: &OpenTier,
    decision: &Decision,
    deleter: Option<&dyn DeleteStore>,
) -> Result<Vec<JournalFate>> {
    let streams = decision.streams.iter();
    streams.map(|stream| stream.prune(world, tier, decision, deleter)).collect()
}

fn options(request: &PruneRequest, decision: &Decision) -> PruneOptions {
    PruneOptions {
        max_unused: request.max_unused.unwrap_or_default(),
        grace: request.grace.unwrap_or(lifeboat_vault::prune::GRACE),
        expected: decision.expected.clone(),
        without: decision.remove.clone(),
        ..PruneOptions::default()
    }
}

fn removed(world: &World, tier: &OpenTier, decision: &Decision) -> Vec<Fact> {
    let going = decision.fates.iter().filter(|fate| !fate.kept);
    going
        .map(|fate| {
            Fact::Removed(RemovedFact {
                snapshot: fate.snapshot.clone(),
                vault: tier.vault.repository_id().to_owned(),
                time: world.clock.wall(),
                why: fate.why.join("; "),
            })
        })
        .collect()
}
