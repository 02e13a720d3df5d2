//! From the catalog to a restore recipe: which snapshot of each component, and why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lifeboat_model::recipe::{
    self, Candidate, Choice, PointError, RestoreItem, RestoreRecipe, TierChoice, Wanted,
    choose_restore_point,
};
use lifeboat_vault::Id;

use super::{At, way};
use crate::catalog::{self, Catalog, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::Level;
use crate::prove::{Subject, partial, read_manifest};
use crate::recover::Way;
use crate::tier::OpenTier;

/// The snapshots of a component as the choice sees them on host `own`. Where one ledger records all,
/// its numbers are the order; where there are several, they are merged and numbered through.
pub fn candidates(rows: &[SnapshotRow], component: &str, own: &str) -> Vec<Candidate> {
    let rows: Vec<&SnapshotRow> =
        rows.iter().filter(|row| row.component.as_deref() == Some(component)).collect();
    let ordered = oldest_first(&rows, own);
    let many = ordered.windows(2).any(|pair| taker(pair[0]) != taker(pair[1]));
    let place = |row: &SnapshotRow| ordered.iter().position(|one| one.id == row.id);
    rows.iter()
        .map(|row| Candidate {
            snapshot: row.id.clone(),
            time: row.time,
            read_until: row.read_until,
            lost: row.lost.clone(),
            seq: row.ledger.as_ref().and_then(|(_, seq)| match many {
                true => Some(place(row)? as u64 + 1),
                false => Some(*seq),
            }),
            elsewhere: taker(row).filter(|host| *host != own).map(str::to_owned),
            // Proven means restored and equal to its manifest.
            verified_level: (row.level == Some(Level::V4)).then_some(4),
            verification_failed: row.failed.is_some(),
            partial: row.partial,
            hold: None,
        })
        .collect()
}

/// The host whose ledger records a snapshot.
pub fn taker(row: &SnapshotRow) -> Option<&str> {
    let (name, _) = row.ledger.as_ref()?;
    Some(catalog::host_of(name))
}

/// Recorded snapshots, the newest last. Numbers are an order inside one host's ledger only: the
/// ledgers of other hosts are merged by the times of their newest, and all of this host's own stand
/// after them. A second host with the same plan has data of its own.
fn oldest_first<'a>(rows: &[&'a SnapshotRow], own: &str) -> Vec<&'a SnapshotRow> {
    let mut chains: BTreeMap<&str, Vec<&SnapshotRow>> = BTreeMap::new();
    for row in rows {
        if let Some(host) = taker(row) {
            chains.entry(host).or_default().push(row);
        }
    }
    for chain in chains.values_mut() {
        chain.sort_by_key(|row| (row.ledger.as_ref().map(|(_, seq)| *seq), row.time));
    }
    let mut newest_first: Vec<&SnapshotRow> = Vec::new();
    newest_first.extend(chains.remove(own).unwrap_or_default().into_iter().rev());
    while let Some(chain) = chains.values_mut().max_by_key(|c| c.last().map(|row| row.time)) {
        let Some(row) = chain.pop() else { break };
        newest_first.push(row);
    }
    newest_first.reverse();
    newest_first
}

/// Chooses the restore point of one component on host `own`.
pub fn choose(
    rows: &[SnapshotRow],
    component: &str,
    own: &str,
    at: &At,
    verified_only: bool,
) -> Result<Choice> {
    let candidates = candidates(rows, component, own);
    choose_restore_point(&candidates, &wanted(rows, at), verified_only).map_err(|source| {
        // The id may be right, and the component wrong: said, because it is easily mended.
        if let (PointError::Unknown(prefix), Some(other)) = (&source, owner(rows, at)) {
            return Error::Usage {
                what: format!("snapshot {prefix} is one of component {other}, not of {component}"),
                hint: format!("name {other} instead"),
            };
        }
        Error::Point { component: component.to_owned(), source }
    })
}

fn wanted(rows: &[SnapshotRow], at: &At) -> Wanted {
    match at {
        At::Newest | At::Position(..) | At::Name(_) | At::Transaction(_) => Wanted::Newest,
        At::Time(time) => Wanted::At(*time),
        At::Snapshot(id) => Wanted::Snapshot(copy_of(rows, id).unwrap_or_else(|| id.clone())),
    }
}

/// The id here of a snapshot that is asked for by the id that it has where it was taken: it is the
/// same one. Nothing where an id here begins so, or no copy or several fit.
fn copy_of(rows: &[SnapshotRow], prefix: &str) -> Option<String> {
    let wanted = prefix.to_ascii_lowercase();
    if wanted.is_empty() || rows.iter().any(|row| row.id.starts_with(&wanted)) {
        return None;
    }
    let fits = |row: &&SnapshotRow| {
        row.lost.is_none() && row.copy_of.as_ref().is_some_and(|id| id.starts_with(&wanted))
    };
    let mut copies = rows.iter().filter(fits);
    let copy = copies.next()?;
    copies.next().is_none().then(|| copy.id.clone())
}

/// The one snapshot whose id, here or where it was taken, begins so.
pub fn by_prefix(rows: &[SnapshotRow], prefix: &str) -> Result<String> {
    if let Some(copy) = copy_of(rows, prefix) {
        return Ok(copy);
    }
    let wanted = prefix.to_ascii_lowercase();
    let found: Vec<&SnapshotRow> =
        rows.iter().filter(|row| !wanted.is_empty() && row.id.starts_with(&wanted)).collect();
    match found[..] {
        [] => Err(Error::NoSnapshot { name: prefix.to_owned() }),
        [row] => Ok(row.id.clone()),
        _ => Err(lifeboat_vault::Error::Ambiguous {
            prefix: prefix.to_owned(),
            ids: found.iter().map(|row| row.id.clone()).collect(),
        }
        .into()),
    }
}

/// The whole snapshot that would be chosen if there were no partial ones.
pub fn newest_whole(
    rows: &[SnapshotRow],
    component: &str,
    own: &str,
    at: &At,
) -> Option<Candidate> {
    let mut whole = candidates(rows, component, own);
    whole.retain(|candidate| !candidate.partial);
    choose_restore_point(&whole, &wanted(rows, at), false).ok().map(|choice| choice.chosen)
}

fn owner<'a>(rows: &'a [SnapshotRow], at: &At) -> Option<&'a str> {
    let At::Snapshot(prefix) = at else { return None };
    let wanted = copy_of(rows, prefix).unwrap_or_else(|| prefix.to_ascii_lowercase());
    let row = rows.iter().find(|row| !wanted.is_empty() && row.id.starts_with(&wanted))?;
    row.component.as_deref()
}

/// The error of a snapshot that is named by its id and is of no component: another tool's.
fn foreign(world: &World, rows: &[SnapshotRow], at: &At) -> Option<Error> {
    let At::Snapshot(prefix) = at else { return None };
    let wanted = prefix.to_ascii_lowercase();
    let mut named = rows.iter().filter(|row| !wanted.is_empty() && row.id.starts_with(&wanted));
    let (Some(row), None) = (named.next(), named.next()) else { return None };
    let tier = world.tier.place.folder().map(|folder| folder.display().to_string());
    let tier = tier.unwrap_or_else(|| world.tier.url.clone());
    let vault = format!("{tier}/vault");
    row.component.is_none().then(|| Error::Foreign { snapshot: row.id.clone(), vault })
}

/// Components for which there is no restore point, and why.
pub type Pointless = Vec<(String, Error)>;

/// Which way each component takes from its base, by name.
pub type Ways = BTreeMap<String, Way>;

/// Which point is wanted of every component.
pub struct WantedPoint<'a> {
    /// The point.
    pub at: &'a At,
    /// The base to begin from, by an id or a prefix.
    pub base: Option<&'a str>,
    /// Only what was proven.
    pub verified_only: bool,
    /// Staged, and not started.
    pub prepare_only: bool,
    /// Taken out of the snapshot as it is stored: nothing is replayed.
    pub as_stored: bool,
    /// Only this part.
    pub subpath: Option<PathBuf>,
}

impl<'a> WantedPoint<'a> {
    /// This point, whole.
    pub fn of(at: &'a At) -> WantedPoint<'a> {
        WantedPoint {
            at,
            base: None,
            verified_only: false,
            prepare_only: false,
            as_stored: false,
            subpath: None,
        }
    }
}

/// Computes the recipe for these components. One that has no fitting point does not keep the others
/// back; if none has, that is the error.
pub fn recipe_for(
    world: &World,
    tier: &OpenTier,
    catalog: &Catalog,
    components: &[String],
    wanted: &WantedPoint<'_>,
) -> Result<(RestoreRecipe, Ways, Pointless)> {
    let rows = catalog.points()?;
    let (mut requests, mut ways, mut pointless) = (Vec::new(), Ways::new(), Pointless::new());
    for component in components {
        match way::choose(world, tier, catalog, &rows, component, wanted) {
            Ok((choice, way)) => {
                let log = way.shown.as_ref().map(way::step);
                let subpath = wanted.subpath.clone();
                let component = component.clone();
                ways.insert(component.clone(), way);
                requests.push(recipe::RestoreRequest { component, choice, subpath, log });
            }
            Err(error) if crate::error::ends_run(&error) => return Err(error),
            Err(error) => {
                let error = foreign(world, &rows, wanted.at).unwrap_or(error);
                pointless.push((component.clone(), error));
            }
        }
    }
    if requests.is_empty() {
        return Err(pointless.into_iter().next().map_or(Error::NothingChosen, |(_, error)| error));
    }
    let tier = TierChoice { name: world.tier.name.clone(), path: world.tier.url.clone() };
    Ok((recipe::restore_recipe(&world.plan, tier, requests)?, ways, pointless))
}

/// Components of the plan, or among those that are named, that this version does not carry out.
pub fn left_out(world: &World, asked: &[String]) -> Vec<String> {
    let named = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    not_carried(world, named).into_iter().map(|(_, why)| why).collect()
}

/// Names of components that this version does not carry out, and the sentence that says so.
pub fn not_carried(world: &World, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let not = |component: &lifeboat_model::plan::Component| !carried(&component.kind);
    let of_plan = world.plan.component.iter();
    of_plan
        .filter(|(name, component)| not(component) && wanted(name))
        .map(|(name, component)| {
            let kind = component.kind.key();
            (name.clone(), format!("component {name} ({kind}) is not carried out by this version"))
        })
        .collect()
}

fn carried(kind: &lifeboat_model::plan::Kind) -> bool {
    use lifeboat_model::plan::Kind;
    !matches!(kind, Kind::Mysql(_) | Kind::Bucket(_))
}

/// Loads a snapshot and its manifest. `recorded_partial` is what the ledger says of it.
pub fn subject<'a>(
    tier: &'a OpenTier,
    component: &'a str,
    id: &str,
    recorded_partial: bool,
) -> Result<Subject<'a>> {
    let id: Id = id.parse().map_err(|_| Error::NoSnapshot { name: id.to_owned() })?;
    let snapshot = tier.vault.snapshot(&id)?;
    let manifest = read_manifest(&tier.vault, &id, &snapshot)?;
    let partial = partial(&manifest, recorded_partial);
    let way = Way::base();
    Ok(Subject { vault: &tier.vault, component, id, snapshot, manifest, partial, way })
}

/// Loads the snapshot that was chosen for a component, and its way from there.
pub fn chosen<'a>(tier: &'a OpenTier, item: &'a RestoreItem, ways: &Ways) -> Result<Subject<'a>> {
    let chosen = &item.choice.chosen;
    let mut subject = subject(tier, &item.component, &chosen.snapshot, chosen.partial)?;
    if let Some(way) = ways.get(&item.component) {
        subject.way = way.clone();
    }
    Ok(subject)
}

/// Names that exist in the plan and that this version can restore, in recovery order; all without
/// names.
pub fn components(world: &World, asked: &[String]) -> Result<Vec<String>> {
    let plan = &world.plan;
    for name in asked {
        if !plan.component.contains_key(name) {
            let known = plan.component.keys().map(String::as_str);
            return Err(Error::Recipe(recipe::RecipeError::UnknownComponent {
                name: name.clone(),
                nearest: lifeboat_model::plan::nearest(name, known).map(str::to_owned),
            }));
        }
    }
    Ok(plan
        .in_recovery_order()
        .into_iter()
        .filter(|(name, component)| match asked {
            [] => carried(&component.kind),
            some => some.iter().any(|a| a == name),
        })
        .map(|(name, _)| name.to_owned())
        .collect())
}

/// Free room where something is to be staged; too little is refused before anything is written.
pub fn preflight(world: &World, place: &std::path::Path, needed: u64) -> Result<Option<u64>> {
    let free = world.disk.free(place);
    match free {
        Some(free) if free < needed => Err(Error::NoRoom { path: place.to_owned(), needed, free }),
        free => Ok(free),
    }
}
