//! Keys of the vaults: a further password, and a new one in place of the old.
//!
//! All tiers of the plan that have a vault are meant, or the one that is named. Of a rotation the
//! new password is first added to every tier, with the identity that opens the sealed objects, and
//! proven; only then is the old one removed anywhere. Killed at any moment, one of the two opens
//! everything, and the same command again goes on.

mod compromised;
mod identity;

use std::path::PathBuf;

use lifeboat_model::plan::SecretSource;
use lifeboat_vault::{Id, KeyInfo};
use serde_json::json;

pub use self::compromised::{key_compromised, plan_key_compromised};
use self::identity::{further, settle};
use super::KeyRequest;
use crate::env::{VaultKey, World};
use crate::error::{Error, Result};
use crate::ledger::Detail;
use crate::ports::Presence;
use crate::report::{KeyReport, KeyTier, ListedKey};
use crate::session::{Ended, Opening, Session, Start, within};
use crate::tier::{Access, OpenTier};

/// Makes the vaults open with a further password.
pub fn key_add(world: &World, request: &KeyRequest) -> Result<KeyReport> {
    not_in_use(world, request)?;
    recorded(world, request, Change::Add)
}

/// Replaces the plan's vault key by another one.
pub fn key_rotate(world: &World, request: &KeyRequest) -> Result<KeyReport> {
    recorded(world, request, Change::Rotate)
}

/// Says what [`key_add`] would do; changes nothing.
pub fn plan_key_add(world: &World, request: &KeyRequest) -> Result<KeyReport> {
    not_in_use(world, request)?;
    planned(world, request, Change::Add)
}

/// Says what [`key_rotate`] would do; changes nothing.
pub fn plan_key_rotate(world: &World, request: &KeyRequest) -> Result<KeyReport> {
    planned(world, request, Change::Rotate)
}

fn not_in_use(world: &World, request: &KeyRequest) -> Result<()> {
    if world.key()?.secret.expose() != request.new.secret.expose() {
        return Ok(());
    }
    Err(in_use(request))
}

fn in_use(request: &KeyRequest) -> Error {
    Error::refused(
        "the new key is the vault key that is in use",
        format!("put another one into {}", request.file.display()),
    )
}

/// What is done with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// One more opens the vaults.
    Add,
    /// Another one in place of one that is removed.
    Rotate,
}

fn recorded(world: &World, request: &KeyRequest, change: Change) -> Result<KeyReport> {
    let old = world.key()?;
    let tiers = tiers(world, request, change)?;
    let Some(first) = tiers.first() else {
        return Err(Error::NoVault { tier: world.tier.name.clone() });
    };
    let names: Vec<String> = tiers.iter().map(|one| format!("tier {}", one.tier.name)).collect();
    let opening = Opening {
        action: match change {
            Change::Add => "key add",
            Change::Rotate => "key rotate",
        },
        object: &names.join(", "),
        detail: Detail::new(),
        access: Access::Write,
        changes_nothing: false,
    };
    let work = Work { tiers: &tiers, old, request };
    let body = |session: &mut Session<'_>, tier: &OpenTier| match change {
        Change::Add => add(session, tier, &work),
        Change::Rotate => rotate(session, tier, &work),
    };
    within(first, &opening, body, |report: &mut KeyReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// The tiers that have a vault, each with the key that opens it: the plan's, or after a rotation
/// that was broken off the new one. One that is known and not there stops everything: its vault
/// would keep the old key. So does one from which nothing may be removed.
fn tiers(world: &World, request: &KeyRequest, change: Change) -> Result<Vec<World>> {
    let mut found = Vec::new();
    for tier in &world.tiers {
        let named = match &request.tier {
            Some(name) => *name == tier.name,
            None => true,
        };
        let one = world.with_tier(tier);
        let known = world.state.known_tier(&tier.name)?;
        if !named || (known.is_none() && tier.place.look()? != Presence::Vault) {
            continue;
        }
        if request.tier.is_none() && one.on_hold()?.is_some() {
            continue;
        }
        one.refuse_on_hold()?;
        let (one, opened) = with_key_that_opens(one, &request.new)?;
        if change == Change::Rotate {
            one.refuse_held(&opened)?;
        }
        found.push(one);
    }
    Ok(found)
}

fn with_key_that_opens(world: World, new: &VaultKey) -> Result<(World, OpenTier)> {
    match world.read_tier() {
        Ok(tier) => Ok((world, tier)),
        Err(error @ Error::Vault(lifeboat_vault::Error::WrongPassword { .. })) => {
            let world = World { key: Some(new.clone()), ..world };
            let tier = world.read_tier().map_err(|_| error)?;
            Ok((world, tier))
        }
        Err(error) => Err(error),
    }
}

/// What is to be done.
struct Work<'a> {
    /// The tiers, each with a key that opens it.
    tiers: &'a [World],
    /// The plan's key, whether it still opens anything or not.
    old: &'a VaultKey,
    request: &'a KeyRequest,
}

fn add(session: &mut Session<'_>, first: &OpenTier, work: &Work<'_>) -> Result<Ended<KeyReport>> {
    let mut report = empty(session.world, session.start, "add", false);
    each(first, work.tiers, |world, tier| {
        let (key, already) = added(world, tier, &work.request.new)?;
        let others = tier.vault.keys()?.into_iter().filter(|other| other.id != key);
        report.tiers.push(KeyTier {
            tier: world.tier_ref(),
            key: Some(key.to_string()),
            already,
            removed: Vec::new(),
            others: others.map(listed).collect(),
        });
        Ok(())
    })?;
    Ok(ended(session, report))
}

fn rotate(
    session: &mut Session<'_>,
    first: &OpenTier,
    work: &Work<'_>,
) -> Result<Ended<KeyReport>> {
    let Work { tiers, old, request } = *work;
    let same = old.secret.expose() == request.new.secret.expose();
    let mut report = empty(session.world, session.start, "rotate", false);
    // The new key everywhere, before the old one goes anywhere.
    let mut keys = Vec::new();
    each(first, tiers, |world, tier| {
        keys.push(added(world, tier, &request.new)?);
        Ok(())
    })?;
    let mut keys = keys.into_iter();
    let mut settled = false;
    each(first, tiers, |world, tier| {
        let Some((key, already)) = keys.next() else { return Ok(()) };
        world.stop_if_cancelled()?;
        let rights = world.tier.place.key_rights()?;
        let removed = match same {
            true => Vec::new(),
            false => {
                let (old, new) = (old.password(), request.new.password());
                let vault = &tier.vault;
                vault.rotate_key(&*rights.keys, &old, &new, request.new.strength)?.removed
            }
        };
        let old = (!same).then_some(old);
        settled |= settle(world, tier, &*rights.identities, &request.new, old, &key)?;
        let others = tier.vault.keys()?.into_iter().filter(|other| other.id != key);
        report.tiers.push(KeyTier {
            tier: world.tier_ref(),
            key: Some(key.to_string()),
            already,
            removed: removed.iter().map(Id::to_string).collect(),
            others: others.map(listed).collect(),
        });
        Ok(())
    })?;
    if same && !settled {
        return Err(in_use(request));
    }
    report.next = next(session.world, request, same);
    Ok(ended(session, report))
}

/// Adds the new key with its identity, or goes on where that was broken off; whether it was there.
fn added(world: &World, tier: &OpenTier, new: &VaultKey) -> Result<(Id, bool)> {
    let there = tier.vault.opened_by(&new.password())?.first().copied();
    let key = match there {
        Some(key) => key,
        None => tier.vault.add_key(&new.password(), new.strength)?,
    };
    further(world, tier, new, &key)?;
    Ok((key, there.is_some()))
}

/// Calls `act` for each tier; the first is open already.
fn each(
    first: &OpenTier,
    worlds: &[World],
    mut act: impl FnMut(&World, &OpenTier) -> Result<()>,
) -> Result<()> {
    for (number, world) in worlds.iter().enumerate() {
        match number {
            0 => act(world, first)?,
            _ => {
                let none = || Error::NoVault { tier: world.tier.name.clone() };
                act(world, &world.open_tier(Access::Write)?.ok_or_else(none)?)?;
            }
        }
    }
    Ok(())
}

fn planned(world: &World, request: &KeyRequest, change: Change) -> Result<KeyReport> {
    let start = world.start();
    let rotate = change == Change::Rotate;
    let old = world.key()?;
    let same = old.secret.expose() == request.new.secret.expose();
    let mut report = empty(world, start, if rotate { "rotate" } else { "add" }, true);
    for one in tiers(world, request, change)? {
        let tier = one.read_tier()?;
        let key = tier.vault.opened_by(&request.new.password())?.first().copied();
        let going = match rotate && !same {
            true => tier.vault.unlocked_by(&old.password())?,
            false => Vec::new(),
        };
        let stays = |info: &KeyInfo| Some(info.id) != key && !going.contains(&info.id);
        report.tiers.push(KeyTier {
            tier: one.tier_ref(),
            key: key.as_ref().map(Id::to_string),
            already: key.is_some(),
            removed: going.iter().map(Id::to_string).collect(),
            others: tier.vault.keys()?.into_iter().filter(stays).map(listed).collect(),
        });
    }
    if report.tiers.is_empty() {
        return Err(Error::NoVault { tier: world.tier.name.clone() });
    }
    if rotate {
        report.next = next(world, request, same);
    }
    Ok(report)
}

/// A report of nothing yet.
pub(super) fn empty(world: &World, start: Start, action: &'static str, dry_run: bool) -> KeyReport {
    KeyReport {
        head: world.head(if dry_run { "lifeboat/key-recipe" } else { "lifeboat/key" }, start),
        action,
        dry_run,
        tiers: Vec::new(),
        successor: None,
        next: Vec::new(),
        warnings: Vec::new(),
    }
}

fn ended(session: &Session<'_>, mut report: KeyReport) -> Ended<KeyReport> {
    report.head = session.world.head("lifeboat/key", session.start);
    let tiers: Vec<_> = report
        .tiers
        .iter()
        .map(|one| {
            json!({
                "tier": one.tier.name,
                "key": one.key,
                "removed": one.removed,
                "others": one.others.len(),
            })
        })
        .collect();
    let detail = Detail::from([("tiers".to_owned(), json!(tiers))]);
    Ended { exit: report.exit(), report, detail, facts: Vec::new() }
}

fn listed(info: KeyInfo) -> ListedKey {
    ListedKey {
        key: info.id.to_string(),
        created: info.created,
        user: info.user,
        host: info.host,
        damage: info.damage,
    }
}

/// What is left to be done by hand: the plan's key is the user's.
pub(super) fn next(world: &World, request: &KeyRequest, in_place: bool) -> Vec<String> {
    let file = request.file.display();
    let put = match world.plan.key.vault() {
        SecretSource::File(path) => {
            let path: PathBuf = world.plan.path(&world.plan_folder, path);
            format!("put the new key where the plan has it: mv {file} {}", path.display())
        }
        SecretSource::Env(name) => format!("set {name} to what {file} holds"),
        SecretSource::Command(_) => {
            format!("let the plan's vault_command print what {file} holds")
        }
    };
    let mut steps = Vec::new();
    if !in_place {
        steps.push(format!("{put}; on every machine that uses these tiers"));
    }
    steps.push("keep a second copy of the new key somewhere else".to_owned());
    steps
}
