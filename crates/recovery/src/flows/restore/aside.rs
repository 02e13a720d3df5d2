//! A restore into a folder of its own: staged beside it, judged, and put there by the last rename.

use std::fs;
use std::path::Path;

use lifeboat_model::check::CheckResult;
use lifeboat_model::recipe::{RestoreItem, RestoreRecipe};
use lifeboat_model::verdict::Verdict;

use super::{Done, Job, chosen, not_sound, preflight, sound};
use crate::error::{Error, Result, ends_run};
use crate::prove::{Copy, Declared, Subject, bytes_needed, declared, restore_copy};
use crate::report::{ComponentRestore, Failure, seconds};
use crate::staging::Staging;

/// One component on its way.
struct Staged<'a> {
    entry: ComponentRestore,
    copy: Option<Copy<'a>>,
    proof: Vec<CheckResult>,
}

pub(super) fn restore(job: &Job<'_>, recipe: &RestoreRecipe, target: &Path) -> Result<Done> {
    let subjects = subjects(job, recipe);
    let needed = subjects.iter().flatten().map(|s| bytes_needed(&s.manifest)).sum();
    let parent = target.parent().unwrap_or(Path::new("/"));
    preflight(job.world, if target.is_dir() { target } else { parent }, needed)?;
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let staging = Staging::for_target(&job.world.state, target)?;
    let result = fill_and_judge(job, recipe, subjects, &staging, target);
    finish(job, staging, result)
}

/// Loads what is to be restored; what cannot be loaded fails alone.
fn subjects<'a>(job: &Job<'a>, recipe: &'a RestoreRecipe) -> Vec<Result<Subject<'a>>> {
    recipe.items.iter().map(|item| chosen(job.tier, item)).collect()
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
    for one in &mut staged {
        copies.extend(one.copy.take());
    }
    let asked = match whole {
        true => declared(&job.world.plan, &copies),
        false => Declared::default(),
    };
    let mut done = Done { warnings: asked.not_asked(), ..Done::default() };
    done.together = asked.together.iter().map(|(_, check)| check.clone()).collect();
    drop(copies);
    job.world.stop_if_cancelled()?;
    let mut entries = Vec::new();
    for (item, one) in recipe.items.iter().zip(staged) {
        entries.push(judge(job, item, one, &asked, &mut done));
    }
    deliver(job, &mut entries, staging, target)?;
    done.components = entries;
    Ok(done)
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
    let folder = match job.request.all {
        true => staging.data().join(&item.component),
        false => staging.data().to_owned(),
    };
    let subpath = job.request.path.as_deref();
    let restored = subject.and_then(|subject| {
        job.complete_up_to(&mut entry, &subject);
        restore_copy(&subject, &*job.world.adapters.engine, subpath, &folder)
    });
    let staged = match restored {
        Ok(copy) => {
            // A part of a component has no manifest of its own to be equal to.
            let proof = if subpath.is_some() { copy.wholeness() } else { copy.proof() };
            (entry.files, entry.bytes) = (copy.files, copy.bytes);
            Staged { entry, copy: Some(copy), proof }
        }
        Err(error) if ends_run(&error) => return Err(error),
        Err(error) => {
            entry.error = Some(Failure::of(&error));
            entry.verdict = Verdict::Fail;
            Staged { entry, copy: None, proof: Vec::new() }
        }
    };
    let mut staged = staged;
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
    let Staged { mut entry, proof, .. } = one;
    let plans = asked.of(&item.component);
    if entry.error.is_some() {
        return entry;
    }
    if job.request.path.is_none() {
        done.facts.push(job.fact(&item.choice.chosen.snapshot, &proof));
    }
    let is_sound = sound(&proof, &plans);
    entry.checks = proof;
    entry.checks.extend(plans);
    entry.verdict = Verdict::of(entry.checks.iter().map(|check| check.verdict));
    if !is_sound {
        entry.error = Some(Failure::of(&not_sound(&item.component, &entry.checks)));
    }
    entry
}

/// Puts everything that is sound in place by one rename, so that no target ever holds a part of it;
/// anything else stays in the staging folder.
fn deliver(
    job: &Job<'_>,
    entries: &mut [ComponentRestore],
    staging: &Staging,
    target: &Path,
) -> Result<()> {
    let all = job.request.all;
    for entry in entries.iter_mut().filter(|entry| entry.error.is_some()) {
        let kept = match all {
            true => staging.set_aside(&entry.component)?,
            false => Some(staging.data().to_owned()),
        };
        if let Some(kept) = kept.filter(|_| job.request.keep_failed && entry.files > 0) {
            entry.failed_copy = Some(kept.display().to_string());
        }
    }
    if entries.iter().all(|entry| entry.error.is_some()) {
        return Ok(());
    }
    staging.deliver(target)?;
    for entry in entries.iter_mut().filter(|entry| entry.error.is_none()) {
        let to = if all { target.join(&entry.component) } else { target.to_owned() };
        entry.target = Some(to.display().to_string());
    }
    Ok(())
}

/// Removes the staging folder, or leaves it where a failed copy was to be kept.
fn finish(job: &Job<'_>, staging: Staging, result: Result<Done>) -> Result<Done> {
    let keeps =
        matches!(&result, Ok(done) if done.components.iter().any(|c| c.failed_copy.is_some()));
    if keeps && job.request.keep_failed {
        staging.keep()?;
        return result;
    }
    let folder = staging.folder().display().to_string();
    match (result, staging.remove()) {
        (Ok(mut done), Err(error)) => {
            let why = Failure::of(&error).line();
            done.warnings.push(format!("{folder} could not be removed: {why}"));
            Ok(done)
        }
        (result, _) => result,
    }
}
