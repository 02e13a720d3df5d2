//! A new vault in place of one whose master key may be known.
//!
//! A new password does not help there: whoever opened the vault once may have kept its master key,
//! which no password changes. So another tier gets a vault with another master key, other cuts and
//! another identity, and everything that can be read is decrypted, sealed anew and recorded there,
//! with the ledgers. Then the old vaults, every one of the plan with that master key, are on hold:
//! they can be read and nothing else, until somebody removes them by hand.
//!
//! Killed at any moment the old vault is what it was, and the same command goes on.

use std::collections::BTreeSet;

use serde_json::json;

use super::{empty, next};
use crate::catalog;
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::flows::copy::{self, Chosen};
use crate::flows::{CopyRequest, KeyRequest};
use crate::ledger::Detail;
use crate::ledger::carry::carry;
use crate::report::{CopyReport, Failure, KeyReport, Successor, TierRef};
use crate::session::{Ended, Opening, Session, within};
use crate::state::KnownSuccessor;
use crate::tier::{Access, OpenTier};

/// Makes the successor and fills it.
pub fn key_compromised(world: &World, request: &KeyRequest) -> Result<KeyReport> {
    let there = successor(world, request)?;
    let object = format!("tier {} to tier {}", world.tier.name, there.tier.name);
    let opening = Opening {
        action: "key rotate",
        object: &object,
        detail: Detail::from([("compromised".to_owned(), json!(true))]),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, &there, request);
    within(world, &opening, body, |report: &mut KeyReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// Says what that would do; changes nothing.
pub fn plan_key_compromised(world: &World, request: &KeyRequest) -> Result<KeyReport> {
    let start = world.start();
    let there = successor(world, request)?;
    let from = world.read_tier()?;
    let to = there.open_tier_to_look()?;
    if let Some(to) = &to {
        is_another(world, &from, to)?;
    }
    let (catalog, warnings) = catalog::up_to_date(world, &from, false)?;
    let everything = CopyRequest::default();
    let chosen = Chosen::of(world, &from, to.as_ref(), &catalog, &everything)?;
    let vault = to.as_ref().map(|to| &to.vault);
    let planned = from.vault.plan_copy(vault, &chosen.options())?;
    let mut report = empty(world, start, "rotate", true);
    report.successor = Some(Successor {
        tier: there.tier_ref(),
        vault: vault.map(|vault| vault.repository_id().to_owned()),
        copied: planned.snapshots.len() as u64,
        present: planned.present.len() as u64,
        left_out: chosen.left_out(&planned.left_out),
        bytes: planned.bytes,
        on_hold: sharing(world, &from)?.iter().map(World::tier_ref).collect(),
    });
    report.next = steps(world, &there, request);
    report.warnings = warnings;
    Ok(report)
}

/// The world of the new tier: with the new key.
fn successor(world: &World, request: &KeyRequest) -> Result<World> {
    if world.key()?.secret.expose() == request.new.secret.expose() {
        return Err(super::in_use(request));
    }
    let there = copy::destination(world, request.to.as_deref())?;
    Ok(World { key: Some(request.new.clone()), ..there })
}

/// The successor must be out of reach for whoever knows the old key.
fn is_another(world: &World, from: &OpenTier, to: &OpenTier) -> Result<()> {
    let shares = to.vault.master_fingerprint() == from.vault.master_fingerprint();
    if shares || !to.vault.opened_by(&world.key()?.password())?.is_empty() {
        return Err(Error::refused(
            "the other tier opens with the key that is to be replaced",
            "name an empty place with --to: a vault with another master key is made there",
        ));
    }
    Ok(())
}

fn execute(
    session: &mut Session<'_>,
    from: &OpenTier,
    there: &World,
    request: &KeyRequest,
) -> Result<Ended<KeyReport>> {
    let world = session.world;
    let _one = copy::only_one(world, &there.tier.name)?;
    let to = match there.open_tier(Access::Make)? {
        Some(to) => to,
        None => there.make_or_join_tier(Access::Make, None)?,
    };
    is_another(world, from, &to)?;
    let old = sharing(world, from)?;
    let mut copied = copy::empty(world, there, session.start, false, false);
    let done = bring(session, from, &to, &old, &mut copied);
    let done = done.and_then(|()| carry(world, from, &to));
    let vault = to.vault.repository_id().to_owned();
    session.ship_to(there.clone(), to);
    session.warnings.extend(done?);
    let mark = KnownSuccessor {
        tier: there.tier.name.clone(),
        vault: vault.clone(),
        time: world.clock.wall(),
    };
    let on_hold = hold(session, from, &old, &mark)?;
    let mut report = empty(world, session.start, "rotate", false);
    report.successor = Some(Successor {
        tier: there.tier_ref(),
        vault: Some(vault),
        copied: copied.copied.len() as u64,
        present: copied.present,
        left_out: copied.left_out,
        bytes: copied.bytes,
        on_hold,
    });
    report.next = steps(world, there, request);
    let detail = Detail::from([
        ("compromised".to_owned(), json!(true)),
        ("successor".to_owned(), json!(mark.vault)),
        ("copied".to_owned(), json!(copied.copied.len())),
        ("present".to_owned(), json!(copied.present)),
    ]);
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

/// Tiers of the plan whose vault has the same master key, as far as that is known: the one that is
/// replaced comes first.
fn sharing(world: &World, from: &OpenTier) -> Result<Vec<World>> {
    let mut found = vec![world.clone()];
    for tier in world.elsewhere() {
        let known = world.state.known_tier(&tier.name)?;
        if known.is_some_and(|known| known.master == from.vault.master_fingerprint()) {
            found.push(world.with_tier(tier));
        }
    }
    Ok(found)
}

/// Copies what is in any of the old tiers: one of them may have what another has lost or pruned.
fn bring(
    session: &mut Session<'_>,
    from: &OpenTier,
    to: &OpenTier,
    old: &[World],
    report: &mut CopyReport,
) -> Result<()> {
    let _lock = from.vault.lock_for_reading()?;
    let catalog = session.catalog(from)?;
    let mut recorded: BTreeSet<String> =
        catalog.recorded(to.vault.repository_id())?.into_iter().collect();
    let everything = CopyRequest::default();
    let chosen = Chosen::of(session.world, from, Some(to), &catalog, &everything)?;
    copy::run(session, from, to, &chosen, &mut recorded, report)?;
    for world in &old[1..] {
        if let Err(error) = bring_more(session, world, to, &mut recorded, report) {
            if ends_run(&error) {
                return Err(error);
            }
            let (name, why) = (&world.tier.name, Failure::of(&error).line());
            session.warnings.push(format!("what only tier {name} has was not copied: {why}"));
        }
    }
    // What one tier has lost, another may have brought.
    let there = to.vault.snapshots()?;
    let arrived: BTreeSet<String> =
        there.iter().filter_map(|(_, one)| Some(one.original?.to_string())).collect();
    report.left_out.retain(|one| !arrived.contains(&one.snapshot));
    Ok(())
}

/// What a further tier has beyond that. It is a copy: what is not whole there is not missed.
fn bring_more(
    session: &mut Session<'_>,
    world: &World,
    to: &OpenTier,
    recorded: &mut BTreeSet<String>,
    report: &mut CopyReport,
) -> Result<()> {
    let none = || Error::NoVault { tier: world.tier.name.clone() };
    let from = world.open_tier(Access::Write)?.ok_or_else(none)?;
    let _lock = from.vault.lock_for_reading()?;
    let (catalog, notes) = catalog::up_to_date(world, &from, true)?;
    session.warnings.extend(notes);
    let chosen = Chosen::of(world, &from, Some(to), &catalog, &CopyRequest::default())?;
    let mut more = copy::empty(world, world, session.start, false, false);
    copy::run(session, &from, to, &chosen, recorded, &mut more)?;
    report.copied.extend(more.copied);
    report.bytes += more.bytes;
    Ok(())
}

/// Puts the old tiers on hold: in the local state, and in the tier where that can be.
fn hold(
    session: &mut Session<'_>,
    from: &OpenTier,
    old: &[World],
    mark: &KnownSuccessor,
) -> Result<Vec<TierRef>> {
    let mut held = Vec::new();
    for (number, world) in old.iter().enumerate() {
        let marked = match number {
            0 => world.mark_hold(from, mark),
            _ => match world.open_tier(Access::Write) {
                Ok(Some(tier)) => world.mark_hold(&tier, mark),
                Ok(None) => Err(Error::NoVault { tier: world.tier.name.clone() }),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = marked {
            let (name, why) = (&world.tier.name, Failure::of(&error).line());
            session.warnings.push(format!(
                "tier {name} is on hold on this machine only, it could not be marked: {why}"
            ));
        }
        world.remember_successor(mark)?;
        held.push(world.tier_ref());
    }
    Ok(held)
}

fn steps(world: &World, there: &World, request: &KeyRequest) -> Vec<String> {
    let (old, new) = (&world.tier.name, &there.tier.name);
    let mut steps = vec![format!(
        "keep a copy of the old key until tier {old} is gone: it alone reads what that holds"
    )];
    steps.extend(next(world, request, false));
    steps.push(format!("put [tier.{new}] before [tier.{old}] in the plan, or take that out"));
    steps.push(format!("`lifeboat verify` reads and proves what is in tier {new} now"));
    steps.push(format!(
        "change what else whoever had the key could read: passwords and keys inside the backups; \
         then remove tier {old} by hand, and every other copy of its vault"
    ));
    steps
}
