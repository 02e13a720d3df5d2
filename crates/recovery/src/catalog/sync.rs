//! Bringing the catalog up to date: what the vault lists, and what the ledgers know about it.

use lifeboat_model::chain::{Entry, Link, verify};

use super::{Catalog, Listed};
use crate::env::World;
use crate::error::{Result, ends_run};
use crate::facts::facts_of;
use crate::ledger::{CHAIN, Ledger, Local, remote};
use crate::prove::read_manifest;
use crate::report::Failure;
use crate::tier::OpenTier;

/// The catalog's file in the state folder.
const FILE: &str = "catalog.db";

/// Opens the catalog (in memory where no trace may be left) and brings it up to date.
pub fn up_to_date(world: &World, tier: &OpenTier, keep: bool) -> Result<(Catalog, Vec<String>)> {
    let mut notes = Vec::new();
    let mut catalog = if keep {
        let (catalog, note) = Catalog::open(&world.state.make("")?.join(FILE))?;
        notes.extend(note);
        catalog
    } else {
        Catalog::in_memory()?
    };
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
    let fresh = catalog.applied(&world.host)?.is_none();
    apply_local(world, &mut catalog)?;
    let vault = tier.vault.repository_id();
    catalog.take_listing(vault, &listing, &damaged)?;
    // Snapshots of other hosts, or of a state that was lost, stand in the tier's ledgers.
    if fresh || catalog.snapshots()?.iter().any(super::SnapshotRow::foreign) {
        notes.extend(apply_remote(world, tier, &mut catalog)?);
        // What those ledgers record and the vault does not list is lost.
        catalog.take_listing(vault, &listing, &damaged)?;
    }
    fill_read_until(tier, &mut catalog)?;
    Ok((catalog, notes))
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

/// The catalog as it is, for when the tier does not answer.
pub fn as_it_is(world: &World) -> Result<Catalog> {
    let path = world.state.path(FILE);
    if path.exists() {
        let (mut catalog, _) = Catalog::open(&path)?;
        apply_local(world, &mut catalog)?;
        Ok(catalog)
    } else {
        Catalog::in_memory()
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
    for entry in newer.into_iter().rev() {
        apply(catalog, &world.host, &entry)?;
    }
    Ok(())
}

fn apply(catalog: &mut Catalog, host: &str, entry: &Entry) -> Result<()> {
    catalog.apply(host, entry.seq, &entry.hash().to_string(), &facts_of(&entry.detail))
}

/// Applies the chains in the tier. One that does not hold together is said and not believed.
fn apply_remote(world: &World, tier: &OpenTier, catalog: &mut Catalog) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let sealer = match &tier.sealer {
        Ok(sealer) if sealer.opens() => sealer,
        _ => return Ok(notes),
    };
    let own = remote::safe_name(&world.host);
    for name in remote::hosts(&*tier.store)? {
        if name == own && catalog.applied(&world.host)?.is_some() {
            continue;
        }
        let fetched = remote::lines(&*tier.store, sealer, &name)?;
        let links: Vec<Link> = fetched.lines.iter().map(|line| Link::read(line)).collect();
        let report = verify(CHAIN, &links, &[], &[]);
        let foreign_key_only = report
            .faults
            .iter()
            .all(|fault| matches!(fault.kind, lifeboat_model::chain::FaultKind::ForeignKey(_)));
        if !foreign_key_only || !fetched.unreadable.is_empty() {
            notes.push(format!(
                "the ledger of {name} in the tier does not verify; what it says of snapshots is \
                 not believed"
            ));
            continue;
        }
        let host = if name == own { world.host.as_str() } else { name.as_str() };
        let applied = catalog.applied(host)?.map_or(0, |(seq, _)| seq);
        for link in &links {
            if let Link::Read(entry) = link
                && entry.seq > applied
            {
                apply(catalog, host, entry)?;
            }
        }
    }
    Ok(notes)
}
