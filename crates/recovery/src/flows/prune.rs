//! Pruning: what the plan's rules do not keep any longer is forgotten, then the data that nothing
//! needs is marked, and deleted by a later run.
//!
//! Where anything speaks against it (a newer backup failed, a listing was partial, nothing is
//! verified, a clock is wrong) nothing at all is removed, of any component (promise 2).

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::chain::{Entry, Phase};
use lifeboat_model::plan::KeepRules;
use lifeboat_model::retention::{self, Conditions, Stored};
use lifeboat_vault::{DeleteStore, Id, PruneOptions};
use serde_json::json;

use super::PruneRequest;
use super::prune_journal::Stream;
use crate::catalog::{self, Catalog, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::{Fact, Level, RemovedFact, facts_of};
use crate::journal::JournalFate;
use crate::ledger::{Detail, Local};
use crate::report::{DataFate, PruneReport, SnapshotFate};
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

/// What is to be done about the snapshots.
struct Decision {
    refused: Vec<String>,
    fates: Vec<SnapshotFate>,
    remove: Vec<Id>,
    expected: Vec<Id>,
    /// Components with a journal.
    streams: Vec<Stream>,
}

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

/// Says of every snapshot whether it would stay and why, and what would become of the data;
/// changes nothing.
pub fn plan_prune(world: &World, request: &PruneRequest) -> Result<PruneReport> {
    let start = world.start();
    let tier = world.read_tier()?;
    world.refuse_held(&tier)?;
    let (catalog, warnings) = catalog::up_to_date(world, &tier, false)?;
    let decision = decide(world, &tier, &catalog)?;
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
    let catalog = session.catalog(tier)?;
    let mut decision = decide(world, tier, &catalog)?;
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
    streams.map(|stream| stream.prune(world, tier, &decision.fates, deleter)).collect()
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

/// Decides for each component of this host apart. What another host made, what no ledger knows and
/// what the plan does not name stays.
fn decide(world: &World, tier: &OpenTier, catalog: &Catalog) -> Result<Decision> {
    let rows = catalog.points()?;
    let parse = |id: &String| id.parse().map_err(|_| Error::NoSnapshot { name: id.clone() });
    let recorded = catalog.recorded(tier.vault.repository_id())?;
    let mut decision = Decision {
        refused: Vec::new(),
        fates: Vec::new(),
        remove: Vec::new(),
        expected: recorded.iter().map(parse).collect::<Result<Vec<Id>>>()?,
        streams: Vec::new(),
    };
    let backups = Backups::of(world)?;
    if backups.unreadable {
        decision.refused.push("a line of this machine's ledger cannot be read".to_owned());
    }
    let mut groups: BTreeMap<(Option<&str>, Option<&str>), Vec<&SnapshotRow>> = BTreeMap::new();
    for row in &rows {
        let host = row.ledger.as_ref().map(|(name, _)| catalog::host_of(name));
        groups.entry((row.component.as_deref(), host)).or_default().push(row);
    }
    for ((component, host), group) in groups {
        let named = component.filter(|name| world.plan.component.contains_key(*name));
        let ours = host == Some(world.host.as_str());
        // What is not ours stays anyway, and must not stand in the way of the rest.
        let (Some(name), true) = (named, ours) else {
            keep_all(&mut decision, &group);
            continue;
        };
        if !backups.succeeded.contains(name) {
            let why = "no backup of it that succeeded is recorded on this machine";
            decision.refused.push(format!("{name}: {why}"));
        }
        let stream = Stream::of(world, tier, name, &group)?;
        let conditions = Conditions {
            now: world.clock.wall(),
            listing_complete: group.iter().all(|row| row.lost.is_none()),
            backups_failing: backups.failing.contains(name),
            needed: stream.iter().filter_map(|stream| stream.needed(world)).collect(),
        };
        decision.streams.extend(stream);
        let rules = |schedule: Option<&str>| rules(world, name, schedule);
        let stored = group.iter().map(|row| stored(tier, row)).collect::<Result<Vec<_>>>()?;
        let decided = retention::decide(&stored, &rules, &conditions);
        decision.refused.extend(decided.refused.iter().map(|why| format!("{name}: {why}")));
        let find = |id: &str| group.iter().find(|row| row.id == id).copied();
        let kept = decided.keep.into_iter().map(|(id, why)| (id, true, why));
        let gone = decided.remove.into_iter().map(|(id, why)| (id, false, vec![why]));
        for (id, kept, why) in kept.chain(gone) {
            decision.fates.extend(find(&id).map(|row| fate(row, kept, why)));
        }
    }
    settle(&mut decision)?;
    Ok(decision)
}

/// Snapshots of other tools and other hosts, and of components that the plan does not name any
/// more. How another host's backups fare is not known here: it prunes its own. One of them that is
/// lost makes the listing partial all the same.
fn keep_all(decision: &mut Decision, group: &[&SnapshotRow]) {
    for row in group {
        if let Some(lost) = &row.lost {
            let short = row.id.get(..8).unwrap_or(&row.id);
            decision.refused.push(format!("snapshot {short} is lost: {lost}"));
        }
        let why = match &row.component {
            None => "another tool made it".to_owned(),
            Some(_) if row.foreign() => "the ledger does not know it (foreign)".to_owned(),
            Some(name) => format!("{name} of {} is not in this machine's plan", row.host),
        };
        decision.fates.push(fate(row, true, vec![why]));
    }
}

/// Between the question and the answer other snapshots may have become due: they were not agreed to.
fn agreed(decision: &mut Decision, request: &PruneRequest) -> Result<()> {
    let Some(agreed) = &request.agreed else { return Ok(()) };
    if decision.remove.iter().any(|id| !agreed.contains(&id.to_string())) {
        decision.refused.push("more would go now than was confirmed: ask again".to_owned());
        decision.remove.clear();
        settle(decision)?;
    }
    Ok(())
}

/// One refusal keeps everything.
fn settle(decision: &mut Decision) -> Result<()> {
    decision.fates.sort_by(|a, b| (b.time, &b.snapshot).cmp(&(a.time, &a.snapshot)));
    for fate in decision.fates.iter_mut().filter(|fate| !fate.kept) {
        if decision.refused.is_empty() {
            let id = fate.snapshot.parse();
            decision
                .remove
                .push(id.map_err(|_| Error::NoSnapshot { name: fate.snapshot.clone() })?);
        } else {
            fate.kept = true;
            fate.why = vec!["nothing is removed now".to_owned()];
        }
    }
    Ok(())
}

fn fate(row: &SnapshotRow, kept: bool, why: Vec<String>) -> SnapshotFate {
    SnapshotFate {
        snapshot: row.id.clone(),
        component: row.component.clone(),
        schedule: row.schedule.clone(),
        time: row.time,
        kept,
        why,
    }
}

/// The plan's rules; none for a component that the plan does not name (any more): it stays.
fn rules(world: &World, component: &str, schedule: Option<&str>) -> Option<KeepRules> {
    world.plan.component.get(component)?;
    Some(world.plan.keep(schedule, &world.tier.name)?.rules())
}

fn stored(tier: &OpenTier, row: &SnapshotRow) -> Result<Stored> {
    // That it was stored proves nothing: what counts was read back.
    let proven = row.verified.and(row.level).filter(|level| *level >= Level::V2);
    let hold = match (&row.lost, row.id.parse::<Id>()) {
        (None, Ok(id)) => tier.vault.snapshot(&id)?.tag("hold").map(str::to_owned),
        _ => None,
    };
    Ok(Stored {
        snapshot: row.id.clone(),
        time: row.time,
        seq: row.ledger.as_ref().map(|(_, seq)| *seq),
        schedule: row.schedule.clone(),
        verified_level: proven.map(|level| level as u8),
        verification_failed: row.failed.is_some(),
        partial: row.partial,
        hold,
        in_flight: false,
        // Snapshots of the vault stand each for itself: what they share is kept as data.
        needs: Vec::new(),
    })
}

/// What this host's ledger says of its backups.
#[derive(Default)]
struct Backups {
    /// Components whose newest backup ended without a snapshot, or has not ended.
    failing: BTreeSet<String>,
    /// Components that were backed up at all.
    succeeded: BTreeSet<String>,
    /// It may say more than could be read.
    unreadable: bool,
}

impl Backups {
    fn of(world: &World) -> Result<Backups> {
        let (lines, _) = Local::new(&world.state, &world.host).lines()?;
        let mut backups = Backups::default();
        for line in &lines {
            match Entry::read(line) {
                Ok(entry) if entry.action == "backup" => backups.take(&entry),
                Ok(_) => {}
                Err(_) => backups.unreadable = true,
            }
        }
        Ok(backups)
    }

    fn take(&mut self, entry: &Entry) {
        match entry.phase {
            // Until it is known how it ended.
            Phase::Started => self.failing.extend(entry.object.split(", ").map(str::to_owned)),
            Phase::Finished | Phase::Interrupted => {
                for fact in facts_of(&entry.detail) {
                    if let Fact::Snapshot(fact) = fact {
                        self.failing.remove(&fact.component);
                        self.succeeded.insert(fact.component);
                    }
                }
            }
            Phase::Note => {}
        }
    }
}
