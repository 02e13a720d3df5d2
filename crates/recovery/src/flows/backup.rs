//! Backup: each component of the recipe gets one new snapshot of the same run.
//!
//! One component that fails does not stop the others. A snapshot in which something was skipped is
//! partial, and says so. The snapshot object comes last, so that a crash leaves none.

use std::path::Path;

use jiff::Timestamp;
use lifeboat_model::manifest;
use lifeboat_model::plan;
use lifeboat_model::recipe::{self, BackupItem, BackupRecipe};
use lifeboat_vault::{
    BackupOptions, BackupSummary, Compression, FileMeta, Id, SnapshotMeta, Stage,
};
use serde_json::json;

use super::restore::settle;
use super::verify::prove_new;
use super::{BackupRequest, point};
use crate::catalog::{Catalog, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::facts::{Fact, Level, SnapshotFact};
use crate::ledger::Detail;
use crate::ports::{Capture, CaptureContext};
use crate::prove::{bytes_described, files_described};
use crate::random::random;
use crate::report::{
    BackupReport, ComponentBackup, ComponentOutcome, Failure, PlannedBackup, PlannedComponent,
    Problem, seconds,
};
use crate::session::{Ended, Opening, Session, Start, within};
use crate::state::FileLock;
use crate::tier::{Access, OpenTier};

/// Backs up.
pub fn backup(world: &World, request: &BackupRequest) -> Result<BackupReport> {
    world.refuse_on_hold()?;
    let run = run_id(world.clock.wall())?;
    let recipe = decide(world, request, &run)?;
    let names: Vec<&str> = recipe.items.iter().map(|item| item.component.as_str()).collect();
    let _locks = lock_components(world, &names)?;
    let opening = Opening {
        action: "backup",
        object: &names.join(", "),
        detail: Detail::from([("run".to_owned(), json!(run))]),
        access: Access::Make,
        changes_nothing: false,
    };
    let body =
        |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, &recipe, request);
    within(world, &opening, body, |report: &mut BackupReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// What a backup would do. Writes nothing at all.
pub fn plan_backup(world: &World, request: &BackupRequest) -> Result<PlannedBackup> {
    let start = world.start();
    world.refuse_on_hold()?;
    let recipe = decide(world, request, "RUN")?;
    let tier = world.open_tier_to_look()?;
    if let Some(why) = tier.as_ref().and_then(|tier| tier.other_plan.as_ref()) {
        return Err(world.of_other_plan(why));
    }
    let catalog = match &tier {
        Some(tier) => Some(crate::catalog::up_to_date(world, tier, false)?.0),
        None => None,
    };
    let rows = catalog.map(|catalog| catalog.snapshots()).transpose()?.unwrap_or_default();
    let components = recipe
        .items
        .iter()
        .map(|item| PlannedComponent {
            component: item.component.clone(),
            kind: item.kind.clone(),
            parent: parent_of(&rows, &item.component, &world.host).map(|row| row.id.clone()),
            roots: item.roots.clone(),
            exclude: item.exclude.clone(),
            tags: item.tags.iter().filter(|tag| !tag.starts_with("run=")).cloned().collect(),
        })
        .collect();
    Ok(PlannedBackup {
        makes_vault: tier.is_none(),
        tier: world.tier_ref(),
        components,
        warnings: said_aloud(world, &recipe),
        head: world.head("lifeboat/backup-recipe", start),
    })
}

fn decide(world: &World, request: &BackupRequest, run: &str) -> Result<BackupRecipe> {
    let request = recipe::BackupRequest {
        run: run.to_owned(),
        components: request.components.clone(),
        schedule: request.schedule.clone(),
        tier: Some(world.tier.name.clone()),
    };
    Ok(recipe::backup_recipe(&world.plan, &world.plan_folder, &request)?)
}

/// What the plan asks for and this version does not do.
fn said_aloud(world: &World, recipe: &BackupRecipe) -> Vec<String> {
    let left_out =
        recipe.left_out.iter().map(|left| format!("{} is left out: {}", left.component, left.why));
    let tiers = world
        .other_tiers
        .iter()
        .map(|tier| format!("tier {tier} is not carried out by this version: nothing goes there"));
    let elsewhere = world.elsewhere().map(|tier| {
        let name = &tier.name;
        format!("nothing goes to tier {name}: `lifeboat copy --to {name}` copies snapshots there")
    });
    left_out.chain(tiers).chain(elsewhere).collect()
}

/// `20261121T020000Z-7f3a`: sorts by time, unique.
pub fn run_id(now: Timestamp) -> Result<String> {
    Ok(format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), hex::encode(random::<2>()?)))
}

/// Two runs never work on one component at a time.
pub(super) fn lock_components(world: &World, names: &[impl AsRef<str>]) -> Result<Vec<FileLock>> {
    if let Some(why) = world.state.unwritable()? {
        return Err(why.into());
    }
    let folder = world.state.make("locks")?;
    let mut locks = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let path = folder.join(format!("{}.lock", crate::ledger::remote::safe_name(name)));
        let lock = FileLock::try_exclusive(&path)?
            .ok_or_else(|| Error::Busy { what: format!("component {name}") })?;
        locks.push(lock);
    }
    Ok(locks)
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    recipe: &BackupRecipe,
    request: &BackupRequest,
) -> Result<Ended<BackupReport>> {
    let world = session.world;
    let names: Vec<&str> = recipe.items.iter().map(|item| item.component.as_str()).collect();
    let settled = settle(world, &names)?;
    let catalog = session.catalog(tier)?;
    let rows = catalog.snapshots()?;
    let mut warnings = said_aloud(world, recipe);
    warnings.extend_from_slice(settled.lines());
    warnings.extend(clock_set_back(session.start.wall, &rows, &world.host));
    let mut components = Vec::new();
    let mut interrupted = false;
    for item in &recipe.items {
        let begun = world.start();
        let (entry, fact) = match settled.stuck(&item.component) {
            Some(why) => (not_saved(world, item, begun, why), None),
            None => match save(world, tier, recipe, item, &rows) {
                Ok(saved) => saved.into_entry(world, begun),
                Err(error) => {
                    interrupted |= ends_run(&error);
                    (not_saved(world, item, begun, &error), None)
                }
            },
        };
        if let Some(fact) = fact {
            // At once: killed in the next component, this snapshot is not foreign.
            session.record(&[Fact::Snapshot(fact)])?;
        }
        components.push(entry);
    }
    if request.verify && !interrupted {
        interrupted = verify_new(session, tier, &catalog, &mut components)?;
    }
    let report = BackupReport {
        run: recipe.run.clone(),
        tier: world.tier_ref(),
        components,
        warnings: warnings.clone(),
        left_out_by_name: recipe
            .left_out
            .iter()
            .any(|left| request.components.contains(&left.component)),
        left_out: recipe.left_out.iter().map(|left| left.component.clone()).collect(),
        interrupted,
        head: world.head("lifeboat/backup", session.start),
    };
    let mut detail = Detail::from([("run".to_owned(), json!(recipe.run))]);
    detail.insert("components".to_owned(), json!(summary(&report)));
    if !warnings.is_empty() {
        detail.insert("warnings".to_owned(), json!(warnings));
    }
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

fn summary(report: &BackupReport) -> Vec<serde_json::Value> {
    report
        .components
        .iter()
        .map(|c| {
            json!({
                "component": c.component,
                "outcome": c.outcome,
                "snapshot": c.snapshot,
                "problems": c.problems.len(),
                "error": c.error.as_ref().map(Failure::line),
            })
        })
        .collect()
}

/// A clock that was set back is said: restore points are chosen by the ledger's order.
fn clock_set_back(now: Timestamp, rows: &[SnapshotRow], own: &str) -> Option<String> {
    let own = rows.iter().filter(|row| point::taker(row) == Some(own));
    let newest = own.map(|row| row.time).max()?;
    (now < newest).then(|| {
        format!(
            "the clock shows {now}, the newest snapshot was taken at {newest}: was the clock set \
             back? the order of the ledger counts, not the clock"
        )
    })
}

/// The newest snapshot of a component that may lend its unchanged files: known to the ledger, and
/// never found damaged.
fn parent_of<'a>(rows: &'a [SnapshotRow], component: &str, own: &str) -> Option<&'a SnapshotRow> {
    let newest = point::candidates(rows, component, own)
        .into_iter()
        .filter(|c| c.seq.is_some() && !c.verification_failed)
        .max_by_key(|c| c.seq)?;
    rows.iter().find(|row| row.id == newest.snapshot)
}

/// A component's new snapshot.
struct Saved<'a> {
    item: &'a BackupItem,
    recipe: &'a BackupRecipe,
    vault: String,
    parent: Option<String>,
    time: Timestamp,
    capture: Capture,
    summary: BackupSummary,
    problems: Vec<Problem>,
}

fn save<'a>(
    world: &World,
    tier: &OpenTier,
    recipe: &'a BackupRecipe,
    item: &'a BackupItem,
    rows: &[SnapshotRow],
) -> Result<Saved<'a>> {
    world.stop_if_cancelled()?;
    let known = parent_of(rows, &item.component, &world.host);
    announce(world, item, known);
    let parent = known.and_then(|row| row.id.parse::<Id>().ok());
    let compression = degree(recipe.compression);
    let options = BackupOptions { parent, compression, ..BackupOptions::default() };
    let mut source = (world.adapters.source)(&item.component)?;
    let mut session = tier.vault.backup(options)?;
    let time = world.clock.wall();
    let context = CaptureContext {
        clock: &*world.clock,
        monitor: &*world.monitor,
        cancel: &world.cancel,
        host: &world.host,
    };
    let capture = source.capture(&mut session, &context)?;
    let body = serde_json::to_vec_pretty(&capture.manifest)
        .map_err(|source| Error::Encode { what: "the manifest", source })?;
    session.add_bytes(Path::new(manifest::NAME), &body, FileMeta::private(time))?;
    let problems = session
        .problems()
        .iter()
        .map(|p| Problem { path: p.path.display().to_string(), what: p.what.clone() })
        .collect();
    let summary = session.finish(SnapshotMeta {
        time,
        tags: item.tags.clone(),
        paths: item.roots.iter().map(|root| root.source.clone()).collect(),
    })?;
    let parent = parent.map(|id| id.to_string());
    let vault = tier.vault.repository_id().to_owned();
    Ok(Saved { item, recipe, vault, parent, time, capture, summary, problems })
}

fn degree(wanted: plan::Compression) -> Compression {
    match wanted {
        plan::Compression::Fast => Compression::Fast,
        plan::Compression::Default => Compression::Default,
        plan::Compression::Best => Compression::Best,
    }
}

/// A file tree does not know its size before it was walked: about as much as the last time. A
/// database tells it itself.
fn announce(world: &World, item: &BackupItem, known: Option<&SnapshotRow>) {
    if let Some(bytes) = known.and_then(|row| row.bytes).filter(|_| item.kind == "files") {
        world.monitor.total(Stage::Backup, bytes, known.and_then(|row| row.files).unwrap_or(0));
    }
}

impl Saved<'_> {
    fn into_entry(self, world: &World, begun: Start) -> (ComponentBackup, Option<SnapshotFact>) {
        let Saved { item, recipe, vault, parent, time, capture, summary, mut problems } = self;
        if let manifest::Content::Files(files) = &capture.manifest.content {
            let known: Vec<String> =
                problems.iter().map(|p| format!("{}: {}", p.path, p.what)).collect();
            let more = files
                .problems
                .iter()
                .filter(|p| !known.contains(p))
                .map(|p| Problem { path: item.component.clone(), what: p.clone() });
            // The manifest repeats the session's problems in its own words.
            if known.is_empty() {
                problems.extend(more.collect::<Vec<_>>());
            }
        }
        let partial = !problems.is_empty();
        let fact = SnapshotFact {
            snapshot: summary.snapshot.to_string(),
            vault,
            component: item.component.clone(),
            run: recipe.run.clone(),
            schedule: schedule_of(item),
            time,
            complete_up_to: capture.complete_up_to,
            read_until: Some(capture.manifest.read_until()),
            bytes: bytes_described(&capture.manifest),
            files: files_described(&capture.manifest),
            bytes_added: summary.bytes_stored,
            partial,
            copy: None,
        };
        let entry = ComponentBackup {
            component: item.component.clone(),
            outcome: if partial { ComponentOutcome::Partial } else { ComponentOutcome::Saved },
            snapshot: Some(summary.snapshot.to_string()),
            artefact: Some(artefact(item, time)),
            parent,
            complete_up_to: Some(capture.complete_up_to),
            seconds: seconds(world.since(begun)),
            files_new: summary.files_new,
            files_changed: summary.files_changed,
            files_unmodified: summary.files_unmodified,
            bytes_total: summary.bytes_processed,
            bytes_read: summary.bytes_read,
            bytes_added: summary.bytes_stored,
            blocked_ms: capture.blocked.map(|span| span.as_millis() as u64),
            problems,
            // Every pack was read back and its SHA-256 compared before the snapshot was written.
            level: Some(Level::V1.word()),
            verification: None,
            error: None,
        };
        (entry, Some(fact))
    }
}

fn schedule_of(item: &BackupItem) -> Option<String> {
    item.tags.iter().find_map(|tag| tag.strip_prefix("schedule=")).map(str::to_owned)
}

/// `COMPONENT_full_YYYYMMDD_HHMMSS.EXT` (EDO-51): every snapshot restores by itself.
fn artefact(item: &BackupItem, time: Timestamp) -> String {
    let extension = item
        .roots
        .first()
        .filter(|_| item.kind == "sqlite")
        .and_then(|root| root.tree.extension())
        .map(|extension| format!(".{}", extension.to_string_lossy()))
        .unwrap_or_default();
    format!("{}_full_{}{extension}", item.component, time.strftime("%Y%m%d_%H%M%S"))
}

fn not_saved(world: &World, item: &BackupItem, begun: Start, error: &Error) -> ComponentBackup {
    ComponentBackup {
        component: item.component.clone(),
        outcome: ComponentOutcome::Failed,
        snapshot: None,
        artefact: None,
        parent: None,
        complete_up_to: None,
        seconds: seconds(world.since(begun)),
        files_new: 0,
        files_changed: 0,
        files_unmodified: 0,
        bytes_total: 0,
        bytes_read: 0,
        bytes_added: 0,
        blocked_ms: None,
        problems: Vec::new(),
        level: None,
        verification: None,
        error: Some(Failure::of(error)),
    }
}

/// `--verify`: V2 to V4 on each new snapshot. What stops one verification is that component's
/// error; the snapshots stay recorded. True if the run was asked to stop.
fn verify_new(
    session: &mut Session<'_>,
    tier: &OpenTier,
    catalog: &Catalog,
    components: &mut [ComponentBackup],
) -> Result<bool> {
    let rows = catalog.snapshots()?;
    for entry in components {
        let Some(id) = &entry.snapshot else { continue };
        let partial = entry.outcome == ComponentOutcome::Partial;
        match prove_new(session, tier, &entry.component, id, partial, &rows) {
            Ok(proof) => {
                entry.level = proof.verification.level;
                if let Some(why) = &proof.verification.not_compared {
                    session.world.monitor.note(&format!("{}: {why}", entry.component));
                }
                session.record(&[Fact::Verified(proof.fact)])?;
                entry.verification = Some(proof.verification);
            }
            Err(error) => {
                let ends = ends_run(&error);
                entry.error = Some(Failure::of(&error));
                if ends {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
