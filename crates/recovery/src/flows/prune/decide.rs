//! Which snapshots go: the plan's rules for the tier, applied to each component of this host.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lifeboat_model::duration::{Duration, after};
use lifeboat_model::plan::{KeepRules, Plan};
use lifeboat_model::retention::{self, Conditions, Stored};
use lifeboat_vault::{Entry, Id};

use super::backups::Backups;
use crate::catalog::{self, Everything, HoldRow, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::Level;
use crate::flows::PruneRequest;
use crate::flows::prune_journal::Stream;
use crate::report::SnapshotFate;
use crate::tier::OpenTier;

/// What is to be done about the snapshots.
pub(in crate::flows) struct Decision {
    /// The instant that it is decided for.
    pub now: Timestamp,
    /// Why nothing goes.
    pub refused: Vec<String>,
    /// What becomes of each, newest first.
    pub fates: Vec<SnapshotFate>,
    /// Those that go.
    pub remove: Vec<Id>,
    /// Those that must be there.
    pub expected: Vec<Id>,
    /// Components with a journal.
    pub streams: Vec<Stream>,
}

/// Decides for each component of this host apart. What another host made, what no ledger knows and
/// what the plan does not name stays.
pub(super) fn decide(
    world: &World,
    tier: &OpenTier,
    known: &Everything,
    at: Option<Timestamp>,
) -> Result<Decision> {
    let catalog = &known.catalog;
    let holds = catalog.holds()?;
    let held: BTreeSet<&str> = holds.iter().map(|hold| hold.snapshot.as_str()).collect();
    let now = at.unwrap_or_else(|| world.clock.wall());
    let stored_at = stored_at(tier)?;
    let rows = catalog.points()?;
    let parse = |id: &String| id.parse().map_err(|_| Error::NoSnapshot { name: id.clone() });
    let recorded = catalog.recorded(tier.vault.repository_id())?;
    let mut decision = Decision {
        now,
        refused: Vec::new(),
        fates: Vec::new(),
        remove: Vec::new(),
        expected: recorded.iter().map(parse).collect::<Result<Vec<Id>>>()?,
        streams: Vec::new(),
    };
    // What they hold is not known.
    decision.refused.extend(known.unread.iter().cloned());
    let backups = Backups::of(world)?;
    if backups.unreadable {
        decision.refused.push("a line of this machine's ledger cannot be read".to_owned());
    }
    for ((component, host), group) in groups(&rows) {
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
        let stream = Stream::of(world, tier, name, &group, &held)?;
        let conditions = Conditions {
            now,
            listing_complete: group.iter().all(|row| row.lost.is_none()),
            backups_failing: backups.failing.contains(name),
            // At another time other backups will have run.
            overdue: match at {
                None => overdue(&world.plan, name, &group, now),
                Some(_) => None,
            },
            needed: stream.iter().filter_map(|stream| stream.needed(now)).collect(),
        };
        decision.streams.extend(stream);
        let rules = |schedule: Option<&str>| rules(world, name, schedule);
        let stored = group
            .iter()
            .map(|row| stored(tier, row, &stored_at, &holds))
            .collect::<Result<Vec<_>>>()?;
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

/// A component as a host took it.
type Whose<'a> = (Option<&'a str>, Option<&'a str>);

/// Snapshots by component and by the host whose ledger records them.
fn groups(rows: &[SnapshotRow]) -> BTreeMap<Whose<'_>, Vec<&SnapshotRow>> {
    let mut groups: BTreeMap<Whose<'_>, Vec<&SnapshotRow>> = BTreeMap::new();
    for row in rows {
        let host = row.ledger.as_ref().map(|(name, _)| catalog::host_of(name));
        groups.entry((row.component.as_deref(), host)).or_default().push(row);
    }
    groups
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
pub(super) fn agreed(decision: &mut Decision, request: &PruneRequest) -> Result<()> {
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

/// When the store took each snapshot, by its own clock.
fn stored_at(tier: &OpenTier) -> Result<BTreeMap<String, Timestamp>> {
    const FOLDER: &str = "vault/snapshots";
    let listed = tier.store.list(FOLDER)?.into_iter();
    let named = |entry: Entry| Some((entry.key.rsplit_once('/')?.1.to_owned(), entry.modified));
    Ok(listed.filter_map(named).collect())
}

/// Runs that may be missed without a word.
const MISSED: usize = 3;

/// Why it looks as if the component's backups had stopped, or as if now were wrong: more runs of
/// each of its schedules were missed than a tier that was away for a while explains.
fn overdue(plan: &Plan, component: &str, rows: &[&SnapshotRow], now: Timestamp) -> Option<String> {
    let newest = rows.iter().filter(|row| row.lost.is_none()).map(|row| row.time).max()?;
    let crons = plan.schedule.values().filter(|schedule| schedule.covers(component));
    let due = crons.filter_map(|s| s.cron.as_ref()?.next_runs(newest, MISSED).last().copied());
    let earliest = due.min()?;
    (after(earliest, Duration::from_days(1)) < now).then(|| {
        format!(
            "the newest snapshot here is of {newest}, and {MISSED} runs of its schedule were due \
             since: its backups have stopped, or a clock is wrong"
        )
    })
}

fn stored(
    tier: &OpenTier,
    row: &SnapshotRow,
    stored_at: &BTreeMap<String, Timestamp>,
    holds: &[HoldRow],
) -> Result<Stored> {
    // That it was stored proves nothing: what counts was read back.
    let proven = row.verified.and(row.level).filter(|level| *level >= Level::V2);
    // Other tools may put a tag on it.
    let tag = match (&row.lost, row.id.parse::<Id>()) {
        (None, Ok(id)) => tier.vault.snapshot(&id)?.tag("hold").map(str::to_owned),
        _ => None,
    };
    let own = holds.iter().filter(|hold| hold.snapshot == row.taken_as()).map(HoldRow::words);
    let words: Vec<String> = own.chain(tag).collect();
    let hold = (!words.is_empty()).then(|| words.join("; "));
    Ok(Stored {
        snapshot: row.id.clone(),
        time: row.time,
        // A copy is as old as what it is a copy of, whenever it came.
        stored: stored_at.get(&row.id).copied().filter(|_| row.copy_of.is_none()),
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
