//! Which components are restored in place together: those that a check of the plan binds (rows of one
//! name files of another). All of a group are staged and judged, each alone and then together, before
//! any of them is swapped; all are swapped before any writer starts; and if one fails, all go back.
//! Other components go on, whatever became of them.

use lifeboat_model::plan::Plan;
use lifeboat_model::plan::check::Question;
use lifeboat_model::recipe::{Binding, RestoreItem, RestoreRecipe, RestoreStep};
use lifeboat_model::verdict::Verdict;

use super::in_place::Run;
use super::{Done, Job, chosen, not_sound, sound};
use crate::error::{Error, Result, ends_run};
use crate::prove::{Copy, Subject, declared};
use crate::report::{ComponentRestore, Failure, seconds};
use crate::session::Start;

pub(super) fn restore(job: &Job<'_>, recipe: &RestoreRecipe) -> Result<Done> {
    let mut done = Done::default();
    let mut stopped = false;
    for group in groups(&job.world.plan, recipe) {
        if stopped {
            for item in group {
                done.warnings.push(format!("{} was not tried", item.component));
                let entry = job.entry(item);
                done.components.push(ComponentRestore { verdict: Verdict::Skipped, ..entry });
            }
        } else {
            stopped = one_group(job, &group, &mut done)?;
        }
    }
    done.components.sort_by_key(|entry| place(recipe, &entry.component));
    Ok(done)
}

fn place(recipe: &RestoreRecipe, component: &str) -> Option<usize> {
    recipe.items.iter().position(|item| item.component == component)
}

/// Groups in the order of their first members, each in the order of recovery.
fn groups<'a>(plan: &Plan, recipe: &'a RestoreRecipe) -> Vec<Vec<&'a RestoreItem>> {
    let mut groups: Vec<Vec<&RestoreItem>> = recipe.items.iter().map(|item| vec![item]).collect();
    for (name, component) in &plan.component {
        for check in component.checks.iter() {
            let Some(Question::RowsExistIn { component: other, .. }) = check.question() else {
                continue;
            };
            let of = |wanted: &str| {
                let has = |group: &Vec<&RestoreItem>| group.iter().any(|i| i.component == wanted);
                groups.iter().position(has)
            };
            if let (Some(one), Some(two)) = (of(name), of(other))
                && one != two
            {
                let moved = groups.remove(one.max(two));
                groups[one.min(two)].extend(moved);
            }
        }
    }
    for group in &mut groups {
        group.sort_by_key(|item| place(recipe, &item.component));
    }
    groups
}

/// One component of a group on its way.
struct Member<'a> {
    item: &'a RestoreItem,
    entry: ComponentRestore,
    begun: Start,
    run: Option<Run<'a>>,
    error: Option<Error>,
}

/// Restores a group; true if somebody asked to stop.
fn one_group(job: &Job<'_>, group: &[&RestoreItem], done: &mut Done) -> Result<bool> {
    let mut subjects: Vec<Option<Subject<'_>>> = Vec::new();
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut errors = Vec::new();
    for &item in group {
        let begun = job.world.start();
        let (subject, error) = match chosen(job.tier, item) {
            Ok(subject) => (Some(subject), None),
            Err(error) => (None, Some(error)),
        };
        subjects.push(subject);
        errors.push((begun, error));
    }
    for ((&item, subject), (begun, error)) in group.iter().zip(&subjects).zip(errors) {
        let mut member = Member { item, entry: job.entry(item), begun, run: None, error };
        if let Some(subject) = subject {
            job.complete_up_to(&mut member.entry, subject);
            match Run::new(job, item, subject) {
                Ok(run) => member.run = Some(run),
                Err(error) => member.error = Some(error),
            }
        }
        members.push(member);
    }
    steps(&mut members, done, Phase::Stage);
    ask(job, &mut members, done);
    steps(&mut members, done, Phase::Swap);
    steps(&mut members, done, Phase::Start);
    let stop = members.iter().any(|member| member.error.as_ref().is_some_and(ends_run));
    finish(job, members, done)?;
    Ok(stop)
}

fn failed(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| member.error.is_some())
}

/// The parts of a component's steps, between which the others of its group catch up.
#[derive(Clone, Copy)]
enum Phase {
    /// Writers stopped, copies beside the live data, each verified.
    Stage,
    /// Swapped, once the plan's checks were asked.
    Swap,
    /// Writers started and probed.
    Start,
}

impl Phase {
    fn of(self, steps: &[RestoreStep]) -> &[RestoreStep] {
        let at =
            |wanted: fn(&RestoreStep) -> bool| steps.iter().position(wanted).unwrap_or(steps.len());
        let checks = at(|step| matches!(step, RestoreStep::Check(_)));
        let start = at(|step| matches!(step, RestoreStep::StartWriters(_)));
        match self {
            Phase::Stage => &steps[..checks],
            Phase::Swap => &steps[checks..start],
            Phase::Start => &steps[start..],
        }
    }
}

/// Executes one phase of all, if nothing failed so far. Ends at the first failure.
fn steps(members: &mut [Member<'_>], done: &mut Done, phase: Phase) {
    if failed(members) {
        return;
    }
    for member in members {
        let Some(run) = &mut member.run else { continue };
        for step in phase.of(&member.item.steps(&Binding::InPlace)) {
            if let Err(error) = run.step(step, &mut member.entry, done) {
                member.error = Some(error);
                return;
            }
        }
    }
}

/// Asks the plan's checks of the copies that stand side by side.
fn ask(job: &Job<'_>, members: &mut [Member<'_>], done: &mut Done) {
    if failed(members) {
        return;
    }
    let runs = members.iter_mut().filter_map(|member| member.run.as_mut());
    let copies: Vec<Copy<'_>> = runs.filter_map(|run| run.copy.take()).collect();
    let asked = declared(&job.world.plan, &copies);
    done.warnings.extend(asked.not_asked());
    done.together.extend(asked.together.iter().map(|(_, check)| check.clone()));
    for member in members {
        let Some(run) = &mut member.run else { continue };
        run.plans = asked.of(&member.item.component);
        if !sound(&run.proof, &run.plans) {
            member.error = Some(not_sound(&member.item.component, &run.plans));
        }
    }
}

/// The way back where something failed, and what there is to report.
fn finish(job: &Job<'_>, members: Vec<Member<'_>>, done: &mut Done) -> Result<()> {
    let at_fault = members.iter().find(|member| member.error.is_some());
    let because = at_fault.map(|member| member.item.component.clone());
    for mut member in members {
        let held = because.as_ref().filter(|_| member.error.is_none());
        let component = member.item.component.clone();
        let error = match held {
            Some(because) => Some(Error::Held { component, because: because.clone() }),
            None => member.error.take(),
        };
        let entry = &mut member.entry;
        if let Some(run) = &mut member.run {
            if error.is_some() {
                run.way_back(&mut done.warnings);
            }
            entry.checks = run.proof.iter().chain(&run.plans).cloned().collect();
            entry.verdict = Verdict::of(entry.checks.iter().map(|check| check.verdict));
            if error.is_none() {
                entry.kept = run.kept();
                entry.target = Some("the live data".to_owned());
            }
            run.clean(entry, &mut done.warnings)?;
        }
        if let Some(error) = &error {
            entry.verdict = if held.is_some() { Verdict::Skipped } else { Verdict::Fail };
            entry.error = Some(Failure::of(error));
        }
        entry.seconds = seconds(job.world.since(member.begun));
        done.components.push(member.entry);
    }
    Ok(())
}
