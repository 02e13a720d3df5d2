//! Holds: snapshots that no pruning touches, and the journal from them on, until somebody takes the
//! hold away. Both are entries of the signed ledger, each with its reason, and travel with it.
//!
//! A hold is of what was taken: its copies in other tiers are held with it. It is recorded, and
//! brought to the tier, under the vault's lock: a pruning has decided before, and is done, or sees it.

use lifeboat_model::recipe::RecipeError;
use serde_json::json;

use super::point::by_prefix;
use super::{HoldChange, HoldRequest};
use crate::catalog::{self, Catalog, HoldRow};
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::{Fact, HoldFact, ReleasedFact};
use crate::ledger::Detail;
use crate::random;
use crate::report::{Failure, HoldsReport};
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

/// Holds that stand; changes nothing.
pub fn holds(world: &World) -> Result<HoldsReport> {
    let start = world.start();
    let tier = world.read_tier()?;
    let known = catalog::everything(world, &tier, false)?;
    let mut report = empty(world, start, true);
    report.holds = known.catalog.holds()?;
    report.warnings = known.notes;
    Ok(report)
}

/// Puts or takes away holds.
pub fn hold(world: &World, request: &HoldRequest) -> Result<HoldsReport> {
    let object = request.what.join(", ");
    let opening = Opening {
        action: request.change.action(),
        object: if object.is_empty() { "incident" } else { &object },
        detail: Detail::from([("reason".to_owned(), json!(request.reason))]),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, request);
    within(world, &opening, body, |report: &mut HoldsReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// Says what would be held or let go; changes nothing.
pub fn plan_hold(world: &World, request: &HoldRequest) -> Result<HoldsReport> {
    let start = world.start();
    let tier = world.read_tier()?;
    let known = catalog::everything(world, &tier, false)?;
    let mut report = empty(world, start, true);
    (report.put, report.released) = change(world, &known.catalog, request)?;
    report.holds = known.catalog.holds()?;
    report.warnings = known.notes;
    Ok(report)
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    request: &HoldRequest,
) -> Result<Ended<HoldsReport>> {
    let world = session.world;
    let lock = tier.vault.lock_for_writing()?;
    let known = catalog::everything(world, tier, true)?;
    let mut report = empty(world, session.start, false);
    (report.put, report.released) = change(world, &known.catalog, request)?;
    let facts: Vec<Fact> = match request.change {
        HoldChange::Put => report.put.iter().map(put).collect(),
        HoldChange::Release => {
            let reason = &request.reason;
            report.released.iter().map(|hold| released(world, hold, reason)).collect()
        }
    };
    let facts_value =
        serde_json::to_value(&facts).map_err(|source| Error::Encode { what: "holds", source })?;
    let detail = Detail::from([
        ("facts".to_owned(), facts_value),
        ("reason".to_owned(), json!(request.reason)),
        ("incident".to_owned(), json!(request.incident)),
    ]);
    let done = request.change.outcome();
    let object = request.what.join(", ");
    // An entry by itself, at once and in the tier, before the lock goes.
    session.ledger()?.note(request.change.action(), &object, done, detail)?;
    let said = session.ledger()?.ship_or_say(world, tier);
    drop(lock);
    if let Err(why) = &tier.sealer {
        let (name, why) = (&world.tier.name, why.line());
        report.warnings.push(format!("tier {name} does not know of it: {why}"));
    }
    ship_elsewhere(session, &mut report);
    let after = catalog::everything(world, tier, true)?;
    report.holds = after.catalog.holds()?;
    report.warnings.extend(known.notes);
    report.warnings.extend(said);
    Ok(Ended { exit: report.exit(), report, detail: Detail::new(), facts: Vec::new() })
}

/// The other tiers get the ledger too, as soon as they can: a hold is to outlive any of them.
fn ship_elsewhere(session: &mut Session<'_>, report: &mut HoldsReport) {
    for other in session.world.elsewhere() {
        let there = session.world.with_tier(other);
        match there.open_tier(Access::Write) {
            Ok(Some(opened)) if opened.other_plan.is_none() => session.ship_to(there, opened),
            Ok(_) | Err(Error::NoVault { .. }) => {}
            Err(error) => {
                let (name, why) = (&other.name, Failure::of(&error).line());
                report.warnings.push(format!(
                    "tier {name} does not know of it yet; the next action there says it: {why}"
                ));
            }
        }
    }
}

/// What is asked for: holds to put, and holds to take away.
fn change(
    world: &World,
    catalog: &Catalog,
    request: &HoldRequest,
) -> Result<(Vec<HoldRow>, Vec<HoldRow>)> {
    let named = named(world, catalog, &request.what)?;
    let of_incident = |hold: &HoldRow| match &request.incident {
        Some(incident) => hold.incident.as_ref() == Some(incident),
        None => true,
    };
    match request.change {
        HoldChange::Put => {
            let new = |snapshot: &String| {
                Ok(HoldRow {
                    hold: hex::encode(random::random::<8>()?),
                    snapshot: snapshot.clone(),
                    time: world.clock.wall(),
                    reason: request.reason.clone(),
                    incident: request.incident.clone(),
                    operator: world.operator.clone(),
                })
            };
            let put = named.iter().map(new).collect::<Result<Vec<HoldRow>>>()?;
            match put.is_empty() {
                false => Ok((put, Vec::new())),
                true => Err(nothing("there is no snapshot to hold")),
            }
        }
        HoldChange::Release => {
            let mut holds = catalog.holds()?;
            let asked = |hold: &HoldRow| request.what.is_empty() || named.contains(&hold.snapshot);
            holds.retain(|hold| asked(hold) && of_incident(hold));
            match holds.is_empty() {
                false => Ok((Vec::new(), holds)),
                true => Err(nothing("no such hold stands")),
            }
        }
    }
}

fn nothing(what: &str) -> Error {
    Error::refused(what, "`lifeboat prune --holds` shows those that stand")
}

/// The snapshots that components, ids or prefixes name, as they were taken.
fn named(world: &World, catalog: &Catalog, what: &[String]) -> Result<Vec<String>> {
    let rows = catalog.snapshots()?;
    let mut found: Vec<String> = Vec::new();
    for name in what {
        let of = |component: &String| component == name;
        let all: Vec<_> =
            rows.iter().filter(|row| row.component.as_ref().is_some_and(of)).collect();
        if world.plan.component.contains_key(name) || !all.is_empty() {
            found.extend(all.iter().map(|row| row.taken_as().to_owned()));
            continue;
        }
        let id = by_prefix(&rows, name).map_err(|error| match error {
            Error::NoSnapshot { .. } if !name.bytes().all(|b| b.is_ascii_hexdigit()) => {
                let known = world.plan.component.keys().map(String::as_str);
                Error::Recipe(RecipeError::UnknownComponent {
                    nearest: lifeboat_model::plan::nearest(name, known).map(str::to_owned),
                    name: name.clone(),
                })
            }
            other => other,
        })?;
        let row = rows.iter().find(|row| row.id == id);
        found.push(row.map_or(id.clone(), |row| row.taken_as().to_owned()));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn put(hold: &HoldRow) -> Fact {
    Fact::Hold(HoldFact {
        hold: hold.hold.clone(),
        snapshot: hold.snapshot.clone(),
        time: hold.time,
        reason: hold.reason.clone(),
        incident: hold.incident.clone(),
        operator: hold.operator.clone(),
    })
}

fn released(world: &World, hold: &HoldRow, reason: &str) -> Fact {
    Fact::Released(ReleasedFact {
        hold: hold.hold.clone(),
        snapshot: hold.snapshot.clone(),
        time: world.clock.wall(),
        reason: reason.to_owned(),
    })
}

fn empty(world: &World, start: crate::session::Start, dry_run: bool) -> HoldsReport {
    HoldsReport {
        head: world.head("lifeboat/holds", start),
        tier: world.tier_ref(),
        dry_run,
        put: Vec::new(),
        released: Vec::new(),
        holds: Vec::new(),
        warnings: Vec::new(),
    }
}
