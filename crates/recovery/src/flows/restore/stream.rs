//! A restore to a stream: a tar of what was asked for, or the content of one file. What was sent
//! cannot be taken back, so nothing is judged afterwards: every byte is proven before it is sent,
//! and the snapshot's trees are compared with the manifest before the first.

use std::io::Write;
use std::path::{Path, PathBuf};

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_model::recipe::{Binding, RestoreItem};
use lifeboat_model::verdict::Verdict;
use lifeboat_vault::{NodeKind, StreamOptions, TarStream};
use serde_json::json;

use super::{Asked, Job, chosen, conclude, decide, left_out, not_sound, summary, without_point};
use crate::error::{Error, Result};
use crate::ledger::Detail;
use crate::prove::{Subject, WithoutManifest, restored_whole};
use crate::report::{ComponentRestore, Failure, RestoreReport, seconds};
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

use super::super::RestoreRequest;

/// What a report calls the place.
const STREAM: &str = "standard output";

/// Restores to a stream. An error ends it where it is: a tar without its end mark is not whole.
pub(super) fn restore(
    world: &crate::env::World,
    request: &RestoreRequest,
    to: &mut dyn Write,
) -> Result<RestoreReport> {
    let components = super::wanted(world, request)?;
    let asked = Asked { request, components, binding: Binding::Target(PathBuf::from(STREAM)) };
    let object = format!("{} to {STREAM}", asked.components.join(", "));
    let opening = Opening {
        action: "restore",
        object: &object,
        detail: Detail::from([("at".to_owned(), json!(request.at.to_string()))]),
        access: Access::Write,
        changes_nothing: true,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, &asked, to);
    within(world, &opening, body, |report: &mut RestoreReport, warnings| {
        report.warnings.extend(warnings);
    })
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    asked: &Asked<'_>,
    to: &mut dyn Write,
) -> Result<Ended<RestoreReport>> {
    let world = session.world;
    let catalog = session.catalog(tier)?;
    let rows = catalog.snapshots()?;
    let (recipe, ways, pointless) = decide(world, tier, &catalog, asked)?;
    let _lock = tier.vault.lock_for_reading()?;
    let (start, request) = (session.start, asked.request);
    let (action, recorded, ways) = ("", false, &ways);
    let job = Job { world, tier, rows: &rows, start, request, action, recorded, ways };
    // Before the first byte: whatever is wrong with one of them ends it all.
    let mut subjects = Vec::new();
    for item in &recipe.items {
        subjects.push(chosen(tier, item, ways)?);
    }
    let mut entries = Vec::new();
    match (&request.path, &recipe.items[..], &subjects[..]) {
        (Some(path), [item], [subject]) if is_file(subject, path)? => {
            entries.push(one_file(&job, item, subject, path, to)?);
        }
        _ => {
            let mut tar = TarStream::new(to);
            for (item, subject) in recipe.items.iter().zip(&subjects) {
                entries.push(component(&job, item, subject, &mut tar)?);
            }
            tar.finish()?;
        }
    }
    entries.extend(pointless.iter().map(|(name, error)| without_point(name, error)));
    let mut warnings: Vec<String> = Vec::new();
    for item in &recipe.items {
        let name = &item.component;
        warnings.extend(item.choice.warnings.iter().map(|w| format!("{name}: {w}")));
        let said = ways.get(name).map(|way| &way.warnings[..]).unwrap_or_default();
        warnings.extend(said.iter().map(|w| format!("{name}: {w}")));
    }
    let mut report = conclude(world, start, asked, entries, Vec::new(), warnings);
    report.left_out = if request.all { left_out(world, &[]) } else { Vec::new() };
    report.warnings.extend(report.left_out.iter().map(|why| format!("{why}: it was not restored")));
    let detail = Detail::from([
        ("verdict".to_owned(), json!(report.verdict)),
        ("recipe".to_owned(), json!(recipe.sha256())),
        ("components".to_owned(), json!(summary(&report))),
    ]);
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

fn is_file(subject: &Subject<'_>, path: &Path) -> Result<bool> {
    Ok(subject.vault.node(&subject.snapshot, path)?.kind == NodeKind::File)
}

/// The content of one file and nothing else.
fn one_file(
    job: &Job<'_>,
    item: &RestoreItem,
    subject: &Subject<'_>,
    path: &Path,
    to: &mut dyn Write,
) -> Result<ComponentRestore> {
    let begun = job.world.start();
    let mut entry = job.entry(item);
    job.complete_up_to(&mut entry, subject);
    entry.bytes = subject.vault.dump(&subject.snapshot, path, to)?;
    to.flush().map_err(Error::io("write", Path::new(STREAM)))?;
    entry.files = 1;
    entry.checks = vec![restored_whole(&[], &[], (1, entry.bytes), 1)];
    entry.checks.extend(subject.partial.clone());
    Ok(sent(job, entry, begun))
}

/// A component, as entries of the tar.
fn component(
    job: &Job<'_>,
    item: &RestoreItem,
    subject: &Subject<'_>,
    tar: &mut TarStream<'_>,
) -> Result<ComponentRestore> {
    let begun = job.world.start();
    let mut entry = job.entry(item);
    job.complete_up_to(&mut entry, subject);
    let options = StreamOptions {
        subpath: job.request.path.clone(),
        filter: Some(std::sync::Arc::new(WithoutManifest)),
        prefix: if job.request.all { item.component.clone().into() } else { PathBuf::new() },
    };
    let recorded = match job.request.path.is_none() {
        true => recorded(subject, &subject.manifest)?,
        false => None,
    };
    let report = subject.vault.stream(&subject.snapshot, &options, tar)?;
    let named = |list| crate::prove::named(list, Path::new("/"));
    (entry.damaged, entry.problems) = (named(report.damaged), named(report.problems));
    (entry.files, entry.bytes) = (report.files, report.bytes);
    let entries = report.files + report.folders + report.others;
    let sizes = (report.files, report.bytes);
    entry.checks = vec![restored_whole(&entry.damaged, &entry.problems, sizes, entries)];
    entry.checks.extend(subject.partial.clone());
    entry.checks.extend(recorded);
    Ok(sent(job, entry, begun))
}

/// The trees of the snapshot against the manifest: with every blob proven, all of the content is.
fn recorded(subject: &Subject<'_>, manifest: &Manifest) -> Result<Option<CheckResult>> {
    let Content::Files(content) = &manifest.content else { return Ok(None) };
    Ok(Some(match subject.vault.fingerprint(&subject.snapshot) {
        Ok(found) => CheckResult::compare("snapshot equals manifest", &content.fingerprint, found),
        // What cannot be read is named by its path below.
        Err(error @ lifeboat_vault::Error::Damaged { .. }) => CheckResult::new(
            "snapshot equals manifest",
            Verdict::Inconclusive,
            &content.fingerprint,
            error,
        ),
        Err(error) => return Err(error.into()),
    }))
}

fn sent(
    job: &Job<'_>,
    mut entry: ComponentRestore,
    begun: crate::session::Start,
) -> ComponentRestore {
    entry.verdict = Verdict::of(entry.checks.iter().map(|check| check.verdict));
    entry.target = Some(STREAM.to_owned());
    if entry.verdict == Verdict::Fail {
        entry.error = Some(Failure::of(&not_sound(&entry.component, &entry.checks)));
    }
    entry.seconds = seconds(job.world.since(begun));
    entry
}
