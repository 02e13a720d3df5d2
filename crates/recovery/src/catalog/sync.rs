//! Bringing the catalog up to date: what the vault lists, and what the ledgers know about it.

use std::path::PathBuf;

use lifeboat_model::chain::{Entry, Link, PublicKey, verify};
use lifeboat_vault::Store;

use super::{Catalog, Listed};
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::facts::facts_of;
use crate::ledger::{CHAIN, Ledger, Local, keys, remote, trust, whole};
use crate::prove::read_manifest;
use crate::report::Failure;
use crate::seal::Sealer;
use crate::tier::OpenTier;

/// The catalog's file in the state folder.
const FILE: &str = "catalog.db";

/// Ends the name under which the tier's part of a chain is applied whose later part is local.
const IN_TIER: &str = " in the tier";

/// The host that the name of an applied chain is of.
pub fn host_of(name: &str) -> &str {
    name.strip_suffix(IN_TIER).unwrap_or(name)
}

/// Opens the catalog (in memory where no trace may be left, or none can) and brings it up to date.
pub fn up_to_date(world: &World, tier: &OpenTier, keep: bool) -> Result<(Catalog, Vec<String>)> {
    let Everything { catalog, notes, .. } = bring(world, tier, keep, false)?;
    Ok((catalog, notes))
}

fn bring(world: &World, tier: &OpenTier, keep: bool, all: bool) -> Result<Everything> {
    let mut notes = passed_over(world)?;
    notes.extend(whole::broken(world)?);
    if keep {
        let opened = world.state.make("").map_err(Error::from);
        let opened = opened.and_then(|folder| Catalog::open(&folder.join(FILE)));
        let refreshed = opened.and_then(|(mut catalog, note)| {
            notes.extend(note);
            Ok((refresh(world, tier, &mut catalog, true, all)?, catalog))
        });
        match refreshed {
            Ok((read, catalog)) => {
                notes.extend(read.notes);
                return Ok(Everything { catalog, notes, unread: read.unread });
            }
            Err(error) if error.forbids_writing() => notes.push(in_memory_instead(&error)),
            Err(error) => return Err(error),
        }
    }
    let mut catalog = Catalog::in_memory()?;
    let read = refresh(world, tier, &mut catalog, false, all)?;
    notes.extend(read.notes);
    Ok(Everything { catalog, notes, unread: read.unread })
}

fn in_memory_instead(error: &Error) -> String {
    let why = Failure::of(error).line();
    format!("the catalog cannot be kept in the state folder, it was made in memory: {why}")
}

/// Files of the state folder that cannot be read: what they say is passed over.
fn passed_over(world: &World) -> Result<Vec<String>> {
    let said = |path: PathBuf| {
        format!(
            "{} cannot be read and is passed over; the next backup sets it aside",
            path.display()
        )
    };
    Ok(world.state.unreadable()?.into_iter().map(said).collect())
}

fn refresh(
    world: &World,
    tier: &OpenTier,
    catalog: &mut Catalog,
    keep: bool,
    all: bool,
) -> Result<Remote> {
    let Remote { mut notes, mut unread } = Remote::default();
    if let Some(why) = &tier.other_plan {
        notes.push(format!(
            "this is the vault of another plan ({why}): it is read, and a backup into it is refused"
        ));
    }
    let list = tier.vault.list_snapshots()?;
    let mut damaged = Vec::new();
    for snapshot in list.damaged {
        notes.push(format!("snapshot {} is damaged: {}", snapshot.id.short(), snapshot.why));
        damaged.push((snapshot.id.to_string(), snapshot.why));
    }
    let listing: Vec<Listed> = list
        .readable
        .iter()
        .map(|(id, snapshot)| Listed {
            id: id.to_string(),
            component: snapshot.tag("component").map(str::to_owned),
            run: snapshot.tag("run").map(str::to_owned),
            schedule: snapshot.tag("schedule").map(str::to_owned),
            time: snapshot.time,
            host: snapshot.hostname.clone(),
        })
        .collect();
    catalog.believe(&trust::digest(world)?)?;
    let fresh = catalog.applied(&world.host)?.is_none();
    apply_local(world, catalog)?;
    let vault = tier.vault.repository_id();
    catalog.take_listing(vault, &listing, &damaged)?;
    // Snapshots of other hosts, or of a state that was lost, stand in the tier's ledgers; and that
    // another host removed its own.
    let unclear = |row: &super::SnapshotRow| row.foreign() || row.lost.is_some();
    if all || fresh || catalog.points()?.iter().any(unclear) {
        let read = match all {
            true => apply_all(world, tier, catalog, keep)?,
            false => apply_remote(world, tier, catalog, keep)?,
        };
        notes.extend(read.notes);
        unread = read.unread;
        // What those ledgers record and the vault does not list is lost.
        catalog.take_listing(vault, &listing, &damaged)?;
    }
    fill_read_until(tier, catalog)?;
    Ok(Remote { notes, unread })
}

/// Asks the manifests where the facts do not say when reading the source ended. One that cannot be
/// read leaves it unknown: such a snapshot is not chosen for an instant.
fn fill_read_until(tier: &OpenTier, catalog: &mut Catalog) -> Result<()> {
    let unknown = |row: &super::SnapshotRow| row.read_until.is_none() && !row.foreign();
    for row in catalog.snapshots()?.into_iter().filter(unknown) {
        let Ok(id) = row.id.parse() else { continue };
        let manifest = tier
            .vault
            .snapshot(&id)
            .map_err(Into::into)
            .and_then(|snapshot| read_manifest(&tier.vault, &id, &snapshot));
        match manifest {
            Ok(manifest) => catalog.note_read_until(&row.id, manifest.read_until())?,
            Err(error) if ends_run(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The catalog with all that any ledger within reach says, and what could not be read.
pub struct Everything {
    /// The catalog.
    pub catalog: Catalog,
    /// What should be looked at.
    pub notes: Vec<String>,
    /// Ledgers that are there and were not believed or not read, each with why: what they hold is
    /// not known.
    pub unread: Vec<String>,
}

/// Brings the catalog up to date with every ledger in every tier: a hold may stand in any of them.
pub fn everything(world: &World, tier: &OpenTier, keep: bool) -> Result<Everything> {
    bring(world, tier, keep, true)
}

/// Applies the ledgers of all tiers.
fn apply_all(world: &World, tier: &OpenTier, catalog: &mut Catalog, keep: bool) -> Result<Remote> {
    let mut all = apply_remote(world, tier, catalog, keep)?;
    for other in world.elsewhere() {
        let there = world.with_tier(other);
        let read = match there.open_tier_to_look() {
            Ok(None) => continue,
            Ok(Some(opened)) if opened.other_plan.is_some() => continue,
            Ok(Some(opened)) => apply_remote(&there, &opened, catalog, keep),
            Err(error) => Err(error),
        };
        match read {
            Ok(read) => {
                all.unread.extend(read.unread);
                let new = read.notes.into_iter().filter(|note| !all.notes.contains(note));
                let new: Vec<String> = new.collect();
                all.notes.extend(new);
            }
            Err(error) if ends_run(&error) => return Err(error),
            Err(error) => {
                let (name, why) = (&other.name, Failure::of(&error).line());
                all.notes.push(format!("tier {name} could not be asked what is on hold: {why}"));
            }
        }
    }
    Ok(all)
}

/// The catalog as it is, for when the tier does not answer.
pub fn as_it_is(world: &World) -> Result<Catalog> {
    let path = world.state.path(FILE);
    if !path.exists() {
        return Catalog::in_memory();
    }
    let vault = world.state.known_tier(&world.tier.name)?.map(|known| known.vault);
    let known = |mut catalog: Catalog| {
        apply_local(world, &mut catalog)?;
        // What was copied into other tiers does not stand in this one.
        if let Some(vault) = &vault {
            catalog.only_in(vault)?;
        }
        Ok(catalog)
    };
    match Catalog::open(&path).and_then(|(catalog, _)| known(catalog)) {
        // The ledger knows what it recorded; what the vault listed last stays in the file.
        Err(error) if error.forbids_writing() => known(Catalog::in_memory()?),
        opened => opened,
    }
}

/// Takes over the facts of the entries that were just written. The catalog is an index: a failure
/// here is said, and mended by the next start.
pub fn note_facts(world: &World, _: &Ledger) -> Vec<String> {
    let path = world.state.path(FILE);
    if !path.exists() {
        return Vec::new();
    }
    let applied = Catalog::open(&path).and_then(|(mut catalog, note)| {
        apply_local(world, &mut catalog)?;
        Ok(note)
    });
    match applied {
        Ok(note) => note.into_iter().collect(),
        Err(error) => vec![format!("the catalog lags behind: {}", Failure::of(&error).line())],
    }
}

/// Applies the local entries that are not in the catalog yet.
fn apply_local(world: &World, catalog: &mut Catalog) -> Result<()> {
    let (lines, _) = Local::new(&world.state, &world.host).lines()?;
    let mut after = 0;
    if let Some((seq, hash)) = catalog.applied(&world.host)? {
        let same = lines.iter().rev().find_map(|line| match Entry::read(line) {
            Ok(entry) if entry.seq == seq => Some(entry.hash().to_string() == hash),
            _ => None,
        });
        // Another chain than the one that it was made from: made anew.
        match same {
            Some(true) => after = seq,
            _ => catalog.clear()?,
        }
    }
    let mut newer: Vec<Entry> = Vec::new();
    for line in lines.iter().rev() {
        match Entry::read(line) {
            Ok(entry) if entry.seq > after => newer.push(entry),
            Ok(_) => break,
            Err(_) => {}
        }
    }
    newer.reverse();
    let keys = trust::own(world, &newer)?;
    apply(catalog, &world.host, &newer, &keys)
}

/// Applies the facts of entries that are believed, and passes over the others.
fn apply(catalog: &mut Catalog, host: &str, entries: &[Entry], keys: &[PublicKey]) -> Result<()> {
    for entry in trust::tell(entries, keys).believed {
        let hash = entry.hash().to_string();
        catalog.apply(host, entry.seq, &hash, &facts_of(&entry.detail))?;
    }
    Ok(())
}

/// What reading the ledgers of a tier gave beside their facts.
#[derive(Default)]
struct Remote {
    notes: Vec<String>,
    unread: Vec<String>,
}

impl Remote {
    fn unread(&mut self, note: String) {
        self.notes.push(note.clone());
        self.unread.push(note);
    }
}

/// Applies the chains in the tier. What is signed by a key that nobody vouches for, and a chain that
/// does not hold together, is said and not believed. With `keep`, a key that is seen first is kept.
fn apply_remote(
    world: &World,
    tier: &OpenTier,
    catalog: &mut Catalog,
    keep: bool,
) -> Result<Remote> {
    let mut read = Remote::default();
    let own = remote::safe_name(&world.host);
    // What stands before the local lines, where they begin after entries that could not be opened.
    let base = Local::new(&world.state, &world.host).base()?;
    for name in remote::hosts(&*tier.store)? {
        let ours = name == own && catalog.applied(&world.host)?.is_some();
        if ours && base.is_none() {
            continue;
        }
        let sealer = match &tier.sealer {
            Ok(sealer) if sealer.opens() => sealer,
            _ => {
                read.unread(format!(
                    "the ledger of {name} in the tier cannot be opened here: the snapshots that it \
                     recorded count as foreign"
                ));
                continue;
            }
        };
        apply_chain(world, &*tier.store, sealer, &name, catalog, keep, &mut read)?;
    }
    Ok(read)
}

fn apply_chain(
    world: &World,
    store: &dyn Store,
    sealer: &Sealer,
    name: &str,
    catalog: &mut Catalog,
    keep: bool,
    read: &mut Remote,
) -> Result<()> {
    // Checkpoints first: what is shipped meanwhile makes the chain longer than they say.
    let (checkpoints, _) = remote::checkpoints(store, sealer, name)?;
    let fetched = remote::lines(store, sealer, name)?;
    let links: Vec<Link> = fetched.lines.iter().map(|line| Link::read(line)).collect();
    let entries: Vec<Entry> =
        fetched.lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
    let Some(host) = entries.first().map(|entry| entry.host.clone()) else {
        let none = fetched.lines.is_empty() && fetched.unreadable.is_empty();
        if !none || !checkpoints.is_empty() {
            read.unread(format!("nothing of the ledger of {name} in the tier can be read"));
        }
        return Ok(());
    };
    let trusted = trust::of(world, &host, &entries)?;
    let report = verify(CHAIN, &links, &trusted.keys, &checkpoints);
    if !trust::sound(&report, &entries, &fetched, name) {
        read.unread(format!(
            "the ledger of {name} in the tier does not verify; what it says of snapshots is not \
             believed"
        ));
        return Ok(());
    }
    let told = trust::tell(&entries, &trusted.keys);
    if let Some(refused) = told.refused {
        read.unread(trust::refusal(&host, refused));
    }
    if let Some(key) = trusted.first_sight {
        read.notes.push(trust::first_sight(&host, &key));
        if keep {
            keys::accept(&world.state, &host, &[key])?;
        }
    }
    // The local lines of this host are applied from its own file, under its own name.
    let local = host == world.host && catalog.applied(&host)?.is_some();
    let base = if local { Local::new(&world.state, &host).base()? } else { None };
    let before = base.map(|base| base.seq);
    let label = if local { format!("{host}{IN_TIER}") } else { host };
    let applied = catalog.applied(&label)?.map_or(0, |(seq, _)| seq);
    let newer = |entry: &&Entry| entry.seq > applied && before.is_none_or(|to| entry.seq <= to);
    let newer: Vec<Entry> = entries.iter().filter(newer).cloned().collect();
    let mut keys = trusted.keys;
    keys.extend(told.believed.iter().filter_map(|entry| entry.next_key));
    apply(catalog, &label, &newer, &keys)
}
