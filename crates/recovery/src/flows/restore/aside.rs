//! A restore into a folder of its own: staged beside it, judged, and put there by the last rename.
//!
//! What an earlier run of the same has staged is used: each file is compared, and only what differs
//! is written. With `--verify-existing` the same happens to what stands at the target, which is
//! moved into the staging folder first: nothing under the target's name is ever half of each.

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_model::check::CheckResult;
use lifeboat_model::exit::Exit;
use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_model::recipe::{RestoreItem, RestoreRecipe};
use lifeboat_model::verdict::Verdict;
use lifeboat_vault::Existing;

use super::{Done, Job, chosen, not_sound, preflight, sound};
use crate::error::{Error, Result, ends_run};
use crate::flows::Destination;
use crate::prove::{Copy, Declared, Places, Subject, bytes_needed, declared, restore_over};
use crate::report::{ComponentRestore, Failure, seconds};
use crate::staging::{self, Restoring, Staging};

/// Name of the check that the target holds nothing but the snapshot.
const NOTHING_BESIDE: &str = "nothing beside it";
/// How many of the entries beside are named in it.
const NAMED: usize = 5;

/// One component on its way.
struct Staged<'a> {
    entry: ComponentRestore,
    copy: Option<Copy<'a>>,
    proof: Vec<CheckResult>,
    /// What was set aside and does not come back.
    dropped: Vec<PathBuf>,
    /// What was started on the copy did not stop cleanly.
    unsettled: Option<Failure>,
}

pub(super) fn restore(job: &Job<'_>, recipe: &RestoreRecipe, target: &Path) -> Result<Done> {
    let mut subjects = subjects(job, recipe);
    let over = matches!(job.request.to, Destination::Over { .. });
    if over && let Some(at) = subjects.iter().position(Result::is_err) {
        // Before anything that stands there is touched.
        subjects.swap_remove(at)?;
    }
    if over {
        subjects.iter().flatten().try_for_each(|one| refuse_beside_a_server(job, target, one))?;
    }
    let needed: u64 = subjects.iter().flatten().map(|s| bytes_needed(&s.manifest)).sum();
    let there = if over { staging::allocated(target) } else { 0 };
    let here = staging::waiting(&job.world.state, target)?.saturating_add(there);
    let parent = target.parent().unwrap_or(Path::new("/"));
    let place = if target.is_dir() { target } else { parent };
    preflight(job.world, place, needed.saturating_sub(here))?;
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let mut staging = stage_for(job, recipe, target, over)?;
    if over && let Err(error) = staging.take_in(target) {
        return finish(job, staging, target, Err(error));
    }
    let result = fill_and_judge(job, recipe, subjects, &staging, target);
    finish(job, staging, target, result)
}

/// The staging folder: an earlier run's, as far as it is of use, or a new one.
fn stage_for(job: &Job<'_>, recipe: &RestoreRecipe, target: &Path, over: bool) -> Result<Staging> {
    if !job.recorded && over {
        return Err(Error::refused(
            "what stands in a folder is not touched where that cannot be recorded",
            "make the state folder writable, or restore to a new folder",
        ));
    }
    if !job.recorded {
        return Staging::for_target(&job.world.state, target);
    }
    let names: Vec<&str> = recipe.items.iter().map(|item| item.component.as_str()).collect();
    let part = job.request.path.as_ref().map(|path| format!(" {}", path.display()));
    let layout = if job.request.all { "all of " } else { "" };
    let what = format!("{layout}{}{}", names.join(", "), part.unwrap_or_default());
    let now = job.world.clock.wall();
    let staging = Staging::resumable(&job.world.state, &Restoring { target, what, now, over })?;
    if job.request.all && staging.holds_something() && !staging.is_former() {
        staging.keep_only(&names)?;
    }
    Ok(staging)
}

/// Loads what is to be restored; what cannot be loaded fails alone.
fn subjects<'a>(job: &Job<'a>, recipe: &'a RestoreRecipe) -> Vec<Result<Subject<'a>>> {
    recipe.items.iter().map(|item| chosen(job.tier, item, job.ways)).collect()
}

fn fill_and_judge(
    job: &Job<'_>,
    recipe: &RestoreRecipe,
    subjects: Vec<Result<Subject<'_>>>,
    staging: &Staging,
    target: &Path,
) -> Result<Done> {
    let mut staged = Vec::new();
    for (item, subject) in recipe.items.iter().zip(subjects) {
        staged.push(stage(job, item, subject, staging)?);
    }
    let whole = job.request.path.is_none();
    let mut copies = Vec::new();
    let mut dropped = Vec::new();
    for one in &mut staged {
        copies.extend(one.copy.take());
        dropped.append(&mut one.dropped);
    }
    let asked = match whole {
        true => declared(&job.world.plan, &copies),
        false => Declared::default(),
    };
    let mut done = Done { warnings: asked.not_asked(), ..Done::default() };
    done.together = asked.together.iter().map(|(_, check)| check.clone()).collect();
    for copy in copies {
        if let Err(error) = copy.settle() {
            let own = staged.iter_mut().find(|one| one.entry.component == copy.component);
            own.into_iter().for_each(|one| one.unsettled = Some(Failure::of(&error)));
        }
    }
    job.world.stop_if_cancelled()?;
    let mut entries = Vec::new();
    for (item, one) in recipe.items.iter().zip(staged) {
        entries.push(judge(job, item, one, &asked, &mut done));
    }
    done.warnings.extend(deliver(job, &mut entries, staging, target, &dropped)?);
    done.components = entries;
    Ok(done)
}

/// What a database would take for its own journal: of another database than the restored one.
fn companions(manifest: &Manifest) -> Vec<PathBuf> {
    let Content::Sqlite(content) = &manifest.content else { return Vec::new() };
    ["-wal", "-shm", "-journal"].map(|end| PathBuf::from(format!("{}{end}", content.file))).into()
}

/// A server takes log segments, signal files and relations for its own, whosever they are: nothing of
/// another data directory may stay in a restored one, and nothing is removed that nobody said.
fn refuse_beside_a_server(job: &Job<'_>, target: &Path, subject: &Subject<'_>) -> Result<()> {
    let own = if job.request.all { subject.component } else { "" };
    let data = target.join(own).join("pgdata");
    let whole = job.request.path.is_none();
    let physical = matches!(&subject.manifest.content, Content::Postgres(c) if c.mode != "logical");
    let stays = matches!(job.request.to, Destination::Over { delete: false, .. });
    if !(whole && physical && stays && data.symlink_metadata().is_ok()) {
        return Ok(());
    }
    Err(Error::refused(
        format!(
            "{} is a data directory: what it alone holds cannot stay in another one",
            data.display()
        ),
        "`--delete` removes what the snapshot does not hold; or restore to a new folder",
    ))
}

/// Restores and judges one component. An error is its own; only a stop request ends the whole.
fn stage<'a>(
    job: &Job<'_>,
    item: &RestoreItem,
    subject: Result<Subject<'a>>,
    staging: &Staging,
) -> Result<Staged<'a>> {
    let begun = job.world.start();
    let mut entry = job.entry(item);
    let own = if job.request.all { Path::new(&item.component) } else { Path::new("") };
    let folder = staging.data().join(own);
    let existing = match staging.holds_something() {
        true => Existing::Compared { aside: staging.aside().join(own) },
        false => Existing::Refused,
    };
    let subpath = job.request.path.as_deref();
    let mut dropped = Vec::new();
    let restored = subject.and_then(|subject| {
        job.complete_up_to(&mut entry, &subject);
        dropped = companions(&subject.manifest).iter().map(|name| own.join(name)).collect();
        let places = Places { folder: &folder, scratch: &staging.scratch().join(&item.component) };
        restore_over(job.world, &subject, subpath, places, existing)
    });
    let mut staged = match restored {
        Ok(copy) => {
            // A part of a component has no manifest of its own to be equal to.
            let proof = if subpath.is_some() { copy.wholeness() } else { copy.proof() };
            job.describe(&mut entry, &copy);
            if staging.is_former() {
                entry.beside = copy.aside.iter().map(|path| path.display().to_string()).collect();
            }
            Staged { entry, copy: Some(copy), proof, dropped, unsettled: None }
        }
        Err(error) if ends_run(&error) => return Err(error),
        Err(error) => {
            entry.error = Some(Failure::of(&error));
            entry.verdict = Verdict::Fail;
            Staged { entry, copy: None, proof: Vec::new(), dropped, unsettled: None }
        }
    };
    staged.entry.seconds = seconds(job.world.since(begun));
    Ok(staged)
}

/// What became of one component; one without an error may be put in place.
fn judge(
    job: &Job<'_>,
    item: &RestoreItem,
    one: Staged<'_>,
    asked: &Declared,
    done: &mut Done,
) -> ComponentRestore {
    let Staged { mut entry, proof, unsettled, .. } = one;
    let plans = asked.of(&item.component);
    if entry.error.is_some() {
        return entry;
    }
    if unsettled.is_some() {
        (entry.error, entry.checks, entry.verdict) = (unsettled, proof, Verdict::Fail);
        return entry;
    }
    if job.request.path.is_none() {
        done.facts.push(job.fact(&item.choice.chosen.snapshot, &proof));
        done.facts.extend(job.recovered(&entry, &proof));
    }
    let is_sound = job.request.prepare_only && only_untold(&proof) || sound(&proof, &plans);
    entry.checks = proof;
    entry.checks.extend(plans);
    entry.checks.extend(job.doubt(&item.component));
    if !is_sound {
        entry.error = Some(Failure::of(&not_sound(&item.component, &entry.checks)));
    }
    entry.beside_removed = matches!(job.request.to, Destination::Over { delete: true, .. });
    entry.verdict = Verdict::of(entry.checks.iter().map(|check| check.verdict));
    entry
}

/// True for a copy that was staged on purpose and not started: nothing failed, and it came out of
/// the vault whole.
fn only_untold(proof: &[CheckResult]) -> bool {
    proof.iter().any(|check| check.verdict == Verdict::Pass)
        && proof.iter().all(|check| check.verdict != Verdict::Fail)
}

/// The check of a target that holds more than the snapshot.
fn beside(paths: &[String]) -> CheckResult {
    let named = paths.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = match paths.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let entries = if paths.len() == 1 { "entry that is" } else { "entries that are" };
    let found = format!("{} {entries} not of it: {named}{more}", paths.len());
    CheckResult::new(NOTHING_BESIDE, Verdict::Inconclusive, "only what the snapshot holds", found)
}

/// Puts everything that is sound in place by one rename, so that no target ever holds a part of it;
/// anything else stays in the staging folder. Returns what should be looked at.
fn deliver(
    job: &Job<'_>,
    entries: &mut [ComponentRestore],
    staging: &Staging,
    target: &Path,
    dropped: &[PathBuf],
) -> Result<Vec<String>> {
    let all = job.request.all;
    let mut warnings = Vec::new();
    if staging.is_former() {
        hold_together(entries, staging);
    }
    for entry in entries.iter_mut().filter(|entry| entry.error.is_some() && !staging.is_former()) {
        let kept = match all {
            true => staging.set_aside(&entry.component)?,
            false => Some(staging.data().to_owned()),
        };
        if let Some(kept) = kept.filter(|_| job.request.keep_failed && entry.files > 0) {
            entry.failed_copy = Some(kept.display().to_string());
        }
    }
    if entries.iter().all(|entry| entry.error.is_some()) {
        return Ok(warnings);
    }
    if matches!(job.request.to, Destination::Over { delete: false, .. }) {
        let back = staging.put_back(dropped)?;
        entries.iter_mut().for_each(|entry| note_beside(entry, &back, all));
        let gone = dropped.iter().filter(|path| staging.aside().join(path).exists());
        warnings.extend(gone.map(|path| {
            format!("{} was removed: it was of the database that stood there", path.display())
        }));
    }
    staging.deliver(target)?;
    for entry in entries.iter_mut().filter(|entry| entry.error.is_none()) {
        let to = if all { target.join(&entry.component) } else { target.to_owned() };
        entry.target = Some(to.display().to_string());
    }
    Ok(warnings)
}

/// Names what stands beside a component's data, and is not of the snapshot.
fn note_beside(entry: &mut ComponentRestore, back: &[PathBuf], all: bool) {
    let own = if all { Path::new(&entry.component) } else { Path::new("") };
    let below = back.iter().filter_map(|path| path.strip_prefix(own).ok());
    entry.beside = below.map(|path| path.display().to_string()).collect();
    if !entry.beside.is_empty() {
        entry.checks.push(beside(&entry.beside));
        entry.verdict = Verdict::of(entry.checks.iter().map(|check| check.verdict));
    }
}

/// What stood at one target goes back as one: if a component of it failed, none does.
fn hold_together(entries: &mut [ComponentRestore], staging: &Staging) {
    let failed = entries.iter().find(|entry| entry.error.is_some());
    let Some(because) = failed.map(|entry| entry.component.clone()) else { return };
    for entry in entries {
        let component = entry.component.clone();
        if entry.error.is_none() {
            let error = Error::HeldBeside { component, because: because.clone() };
            entry.error = Some(Failure::of(&error));
            entry.verdict = Verdict::Skipped;
        }
        entry.failed_copy = Some(staging.data().display().to_string());
    }
}

/// Removes the staging folder, or leaves it: where a failed copy was to be kept, where the same
/// restore can go on with it, and always where it holds what stood at the target.
fn finish(job: &Job<'_>, staging: Staging, target: &Path, result: Result<Done>) -> Result<Done> {
    let entries = result.as_ref().map(|done| &done.components[..]).unwrap_or_default();
    let delivered = entries.iter().any(|entry| entry.target.is_some());
    let keeps = entries.iter().any(|entry| entry.failed_copy.is_some());
    let folder = staging.folder().display().to_string();
    if !delivered && (staging.is_former() || job.recorded && goes_on(&result)) {
        staging.leave();
        let target = target.display().to_string();
        return match result {
            Ok(mut done) => {
                done.warnings.push(format!(
                    "the restore to {target} is not finished: the same command goes on with {folder}"
                ));
                Ok(done)
            }
            Err(source) => Err(Error::Unfinished { target, folder, source: Box::new(source) }),
        };
    }
    if keeps && job.request.keep_failed && !staging.is_former() {
        staging.keep()?;
        return result;
    }
    match (result, staging.remove()) {
        (Ok(mut done), Err(error)) => {
            let why = Failure::of(&error).line();
            done.warnings.push(format!("{folder} could not be removed: {why}"));
            Ok(done)
        }
        (result, _) => result,
    }
}

/// Is it worth while to try again? Somebody asked to stop, or the tier could not be reached.
fn goes_on(result: &Result<Done>) -> bool {
    let again = [Exit::Interrupted.code(), Exit::Unreachable.code()];
    match result {
        Ok(done) => done
            .components
            .iter()
            .any(|entry| entry.error.as_ref().is_some_and(|error| again.contains(&error.code))),
        Err(error) => again.contains(&error.exit().code()),
    }
}
