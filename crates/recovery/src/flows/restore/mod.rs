//! Restore: beside the live data and verified before it may be called finished, or in place in the
//! safe order. What is decided here is the same recipe that a drill rehearses.

mod aside;
mod in_place;
mod job;
mod journal;
mod service;
mod settle;
mod stream;
mod target;
mod together;

use lifeboat_model::check::CheckResult;
use lifeboat_model::recipe::{Binding, RestoreItem, RestoreRecipe};
use lifeboat_model::verdict::Verdict;
use serde_json::json;

use super::point::{
    Pointless, WantedPoint, Ways, chosen, components, left_out, newest_whole, preflight, recipe_for,
};
use super::{At, Destination, RestoreRequest};
use crate::catalog::SnapshotRow;
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::Fact;
use crate::ledger::Detail;
use crate::prove::{CAPTURED, Subject, WHOLE, bytes_needed};
use crate::report::{
    ComponentRestore, Failure, PlannedComponentRestore, PlannedRestore, RestoreReport, SkewEntry,
    seconds,
};
use crate::session::{Ended, Opening, Session, Start, within};
use crate::tier::{Access, OpenTier};

use job::Job;
pub(super) use settle::{Settled, settle, unsettled};
pub(super) use target::apart;
pub use target::check_target;

/// A request that was checked: names that exist, a target that may be written.
struct Asked<'a> {
    request: &'a RestoreRequest,
    components: Vec<String>,
    binding: Binding,
}

/// Restores.
pub fn restore(world: &World, request: &RestoreRequest) -> Result<RestoreReport> {
    if request.to == Destination::Stream {
        return Err(Error::Usage {
            what: "a stream is written to standard output".to_owned(),
            hint: "`--to -`".to_owned(),
        });
    }
    let asked = check(world, request)?;
    let _locks = match asked.binding {
        Binding::InPlace => super::backup::lock_components(world, &asked.components)?,
        _ => Vec::new(),
    };
    let object = format!("{} {}", asked.components.join(", "), asked.binding);
    let opening = Opening {
        action: "restore",
        object: &object,
        detail: Detail::from([("at".to_owned(), json!(request.at.to_string()))]),
        access: Access::Write,
        changes_nothing: matches!(request.to, Destination::Folder(_)),
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, &asked);
    within(world, &opening, body, |report: &mut RestoreReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// Restores to a stream: a tar (pax), or the content alone if the request names one file. Nothing
/// else goes to the stream. `request.to` does not count.
pub fn restore_stream(
    world: &World,
    request: &RestoreRequest,
    to: &mut dyn std::io::Write,
) -> Result<RestoreReport> {
    stream::restore(world, request, to)
}

/// What a restore would do. Writes nothing at all.
pub fn plan_restore(world: &World, request: &RestoreRequest) -> Result<PlannedRestore> {
    let start = world.start();
    let asked = check(world, request)?;
    let tier = world.read_tier()?;
    if let (Some(why), Binding::InPlace) = (&tier.other_plan, &asked.binding) {
        return Err(world.of_other_plan(why));
    }
    let (catalog, warnings) = crate::catalog::up_to_date(world, &tier, false)?;
    let (recipe, ways, pointless) = decide(world, &tier, &catalog, &asked)?;
    let mut warnings = warnings;
    warnings.extend(pointless.iter().map(|(name, e)| format!("{name}: {}", Failure::of(e).line())));
    let rows = catalog.snapshots()?;
    refuse_partial(world, &tier, &recipe, &asked, &rows)?;
    let (mut planned, mut needed) = (Vec::new(), 0);
    for item in &recipe.items {
        let subject = chosen(&tier, item, &ways)?;
        needed += bytes_needed(&subject.manifest);
        planned.push(planned_item(item, &subject, &rows, &asked.binding, asked.request.all));
    }
    let bytes_free = match &asked.binding {
        Binding::Target(target) | Binding::Sandbox(target) => world.disk.free(target),
        Binding::InPlace => None,
    };
    Ok(PlannedRestore {
        tier: world.tier_ref(),
        at: request.at.to_string(),
        in_place: asked.binding == Binding::InPlace,
        skew_seconds: (recipe.items.len() > 1).then_some(recipe.skew_ms as f64 / 1000.0),
        recipe: recipe.sha256(),
        components: planned,
        bytes_needed: needed,
        bytes_free,
        warnings,
        head: world.head("lifeboat/restore-recipe", start),
    })
}

pub(super) fn planned_item(
    item: &RestoreItem,
    subject: &Subject<'_>,
    rows: &[SnapshotRow],
    binding: &Binding,
    each_its_folder: bool,
) -> PlannedComponentRestore {
    let chosen = &item.choice.chosen;
    let target = match binding {
        Binding::Target(target) | Binding::Sandbox(target) if each_its_folder => {
            target.join(&item.component).display().to_string()
        }
        Binding::Target(target) | Binding::Sandbox(target) => target.display().to_string(),
        Binding::InPlace => "the live data".to_owned(),
    };
    PlannedComponentRestore {
        component: item.component.clone(),
        snapshot: chosen.snapshot.clone(),
        snapshot_time: chosen.time,
        complete_up_to: subject
            .way
            .shown
            .as_ref()
            .and_then(|way| way.complete_up_to)
            .map_or(subject.manifest.started, |reached| reached.max(subject.manifest.started)),
        level: level_of(rows, &chosen.snapshot),
        chosen: item.choice.why.clone(),
        way: subject.way.shown.clone(),
        passed_over: item.choice.skipped.clone(),
        warnings: item.choice.warnings.iter().chain(&subject.way.warnings).cloned().collect(),
        target,
        steps: item.steps(binding).iter().map(|step| step.describe()).collect(),
    }
}

pub(super) fn level_of(rows: &[SnapshotRow], id: &str) -> Option<String> {
    let row = rows.iter().find(|row| row.id == id)?;
    row.level.map(|level| level.word().to_owned())
}

/// The components that are asked for, in recovery order.
fn wanted(world: &World, request: &RestoreRequest) -> Result<Vec<String>> {
    if !request.all && request.components.is_empty() {
        return Err(Error::NothingChosen);
    }
    let asked = if request.all { &[][..] } else { &request.components[..] };
    let components = components(world, asked)?;
    if components.is_empty() {
        return Err(Error::NothingChosen);
    }
    if components.len() > 1 && !request.all {
        return Err(Error::Usage {
            what: "several components need a folder each".to_owned(),
            hint: "use `--all`, or restore one after the other".to_owned(),
        });
    }
    Ok(components)
}

fn check<'a>(world: &World, request: &'a RestoreRequest) -> Result<Asked<'a>> {
    let components = wanted(world, request)?;
    let binding = match (&request.to, &request.path) {
        (Destination::InPlace, Some(_)) => {
            return Err(Error::Usage {
                what: "a part of a component cannot be restored in place".to_owned(),
                hint: "restore it with `--to DIR` and move it".to_owned(),
            });
        }
        (Destination::InPlace, None) => Binding::InPlace,
        (Destination::Folder(folder), _) => Binding::Target(check_target(world, folder)?),
        (Destination::Stream, _) => Binding::Target("standard output".into()),
        (Destination::Over { folder, .. }, _) => {
            Binding::Target(target::check_existing(world, folder)?)
        }
    };
    Ok(Asked { request, components, binding })
}

fn decide(
    world: &World,
    tier: &OpenTier,
    catalog: &crate::catalog::Catalog,
    asked: &Asked<'_>,
) -> Result<(RestoreRecipe, Ways, Pointless)> {
    let Asked { request, components, .. } = asked;
    let wanted = WantedPoint {
        at: &request.at,
        base: request.base.as_deref(),
        verified_only: request.verified_only,
        prepare_only: request.prepare_only,
        as_stored: request.path.is_some() || request.to == Destination::Stream,
        subpath: request.path.clone(),
    };
    recipe_for(world, tier, catalog, components, &wanted)
}

/// In place of live data a partial snapshot would take away what it lacks: only one that was named
/// by its id goes there.
fn refuse_partial(
    world: &World,
    tier: &OpenTier,
    recipe: &RestoreRecipe,
    asked: &Asked<'_>,
    rows: &[SnapshotRow],
) -> Result<()> {
    let at = &asked.request.at;
    if asked.binding != Binding::InPlace || matches!(at, At::Snapshot(_)) {
        return Ok(());
    }
    for item in &recipe.items {
        let (name, snapshot) = (&item.component, &item.choice.chosen.snapshot);
        // One that cannot be read fails later, by itself.
        let unread = item.choice.chosen.partial.then(|| "something was left out".to_owned());
        let found = match chosen(tier, item, &Ways::new()) {
            Ok(subject) => subject.partial.map(|check| check.found),
            Err(_) => unread,
        };
        let Some(found) = found else { continue };
        let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
        let whole = match newest_whole(rows, name, &world.host, at) {
            Some(whole) => format!(
                "the newest whole one is of {}: `--at {}`",
                whole.time,
                short(&whole.snapshot)
            ),
            None => "there is no whole one".to_owned(),
        };
        let id = short(snapshot);
        return Err(Error::refused(
            format!(
                "snapshot {id} of {name} does not replace live data without being named: {found}"
            ),
            format!("{whole}; `--at {id}` takes this one on purpose; `--to DIR` puts it beside"),
        ));
    }
    Ok(())
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    asked: &Asked<'_>,
) -> Result<Ended<RestoreReport>> {
    let world = session.world;
    let settled = match asked.binding {
        Binding::InPlace => settle(world, &asked.components)?,
        _ => Settled::default(),
    };
    let catalog = session.catalog(tier)?;
    let rows = catalog.snapshots()?;
    let (recipe, ways, pointless) = decide(world, tier, &catalog, asked)?;
    refuse_partial(world, tier, &recipe, asked, &rows)?;
    let _lock = tier.vault.lock_for_reading()?;
    let (start, request, action) = (session.start, asked.request, session.id().unwrap_or_default());
    let recorded = session.id().is_some();
    let ways = &ways;
    let job = Job { world, tier, rows: &rows, start, request, action, recorded, ways };
    let done = match &asked.binding {
        Binding::Target(target) | Binding::Sandbox(target) => {
            aside::restore(&job, &recipe, target)?
        }
        Binding::InPlace => together::restore(&job, &recipe)?,
    };
    let mut warnings = settled.said()?;
    for item in &recipe.items {
        let name = &item.component;
        warnings.extend(item.choice.warnings.iter().map(|w| format!("{name}: {w}")));
        let said = ways.get(name).map(|way| &way.warnings[..]).unwrap_or_default();
        warnings.extend(said.iter().map(|w| format!("{name}: {w}")));
    }
    warnings.extend(done.warnings);
    let mut entries = done.components;
    entries.extend(pointless.iter().map(|(name, error)| without_point(name, error)));
    let not_carried = if asked.request.all { left_out(world, &[]) } else { Vec::new() };
    let mut report = conclude(world, session.start, asked, entries, done.together, warnings);
    report.warnings.extend(not_carried.iter().map(|why| format!("{why}: it was not restored")));
    report.left_out = not_carried;
    let facts = done.facts;
    let detail = Detail::from([
        ("verdict".to_owned(), json!(report.verdict)),
        ("recipe".to_owned(), json!(recipe.sha256())),
        ("components".to_owned(), json!(summary(&report))),
    ]);
    Ok(Ended { exit: report.exit(), report, detail, facts })
}

/// The entry of a component that has no restore point.
fn without_point(name: &str, error: &Error) -> ComponentRestore {
    ComponentRestore {
        error: Some(Failure::of(error)),
        ..ComponentRestore::unknown(name, Verdict::Fail)
    }
}

/// What a way of restoring comes to.
#[derive(Default)]
struct Done {
    components: Vec<ComponentRestore>,
    together: Vec<CheckResult>,
    facts: Vec<Fact>,
    warnings: Vec<String>,
}

/// Checks of a copy that may end without a verdict and not keep the data back: the target could not
/// take a mode or an attribute; something was left out at the capture; the database uses a function
/// that only its application has; `pg_verifybackup` itself is broken; an extension's library is not
/// installed here. What the copy contains is told by the others, which must all pass.
const MAY_BE_UNTOLD: [&str; 5] =
    [WHOLE, CAPTURED, "integrity_check", "pg_verifybackup", "extension libraries"];

/// May this copy be put in place? Equal to its manifest, and no check failed, the plan's included.
/// A check that could not be told is said.
fn sound(proof: &[CheckResult], declared: &[CheckResult]) -> bool {
    let good = |check: &CheckResult| match check.verdict {
        Verdict::Pass => true,
        Verdict::Inconclusive => MAY_BE_UNTOLD.contains(&check.name.as_str()),
        Verdict::Fail | Verdict::Skipped => false,
    };
    proof.iter().any(|check| check.verdict == Verdict::Pass)
        && proof.iter().all(good)
        && declared.iter().all(|check| check.verdict != Verdict::Fail)
}

/// The error of a copy that is not sound.
fn not_sound(component: &str, checks: &[CheckResult]) -> Error {
    let first = checks
        .iter()
        .find(|check| check.verdict == Verdict::Fail)
        .or_else(|| checks.iter().find(|check| check.verdict != Verdict::Pass));
    let first = first.map_or_else(String::new, |check| {
        format!("{}: expected {}, found {}", check.name, check.expected, check.found)
    });
    Error::ChecksFailed { component: component.to_owned(), first }
}

fn conclude(
    world: &World,
    start: Start,
    asked: &Asked<'_>,
    mut components: Vec<ComponentRestore>,
    together: Vec<CheckResult>,
    warnings: Vec<String>,
) -> RestoreReport {
    for one in components.iter_mut().filter(|one| one.target.is_none()) {
        one.rpo_seconds = None;
    }
    let verdict = Verdict::of(components.iter().map(|component| component.verdict));
    let skew = skew(&components);
    let behind = skew.iter().map(|entry| entry.behind_seconds).fold(0.0, f64::max);
    RestoreReport {
        tier: world.tier_ref(),
        at: asked.request.at.to_string(),
        in_place: asked.binding == Binding::InPlace,
        target: match &asked.binding {
            Binding::Target(target) => Some(target.display().to_string()),
            _ => None,
        },
        verdict,
        rto_seconds: (verdict == Verdict::Pass).then(|| seconds(world.since(start))),
        together,
        skew_seconds: (!skew.is_empty()).then_some(behind),
        skew,
        warnings,
        left_out: Vec::new(),
        interrupted: components.iter().any(|c| c.error.as_ref().is_some_and(|e| e.code == 5)),
        components,
        head: world.head("lifeboat/restore", start),
    }
}

/// How far each component's point is behind the newest one.
fn skew(components: &[ComponentRestore]) -> Vec<SkewEntry> {
    let points: Vec<_> =
        components.iter().filter_map(|c| c.complete_up_to.map(|t| (&c.component, t))).collect();
    let Some(newest) = points.iter().map(|(_, time)| *time).max() else { return Vec::new() };
    if points.len() < 2 {
        return Vec::new();
    }
    points
        .into_iter()
        .map(|(component, time)| SkewEntry {
            component: component.clone(),
            complete_up_to: time,
            behind_seconds: seconds(newest.duration_since(time).unsigned_abs()),
        })
        .collect()
}

fn summary(report: &RestoreReport) -> Vec<serde_json::Value> {
    report
        .components
        .iter()
        .map(|c| {
            json!({
                "component": c.component,
                "snapshot": c.snapshot,
                "verdict": c.verdict,
                "target": c.target,
                "kept": c.kept,
                "way": c.way,
                "error": c.error.as_ref().map(Failure::line),
            })
        })
        .collect()
}
