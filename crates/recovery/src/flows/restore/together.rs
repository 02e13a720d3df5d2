//! Which components are restored in place together: those that a check of the plan binds (rows of one
//! name files of another), and those of one service. All are staged and judged, each alone and then
//! together, before any of them is swapped; all are swapped before any writer starts; and if one
//! fails from then on, all go back, under one stop. A copy that is not sound holds back only what a
//! check binds to it. Other components go on, whatever became of them.

use lifeboat_model::plan::Plan;
use lifeboat_model::plan::check::Question;
use lifeboat_model::recipe::{Binding, RestoreItem, RestoreRecipe, RestoreStep};
use lifeboat_model::verdict::Verdict;

use super::in_place::Run;
use super::journal::Journal;
use super::service::Services;
use super::{Done, Job, chosen, not_sound, sound};
use crate::error::{Error, Result, ends_run};
use crate::prove::{Copy, Subject, declared};
use crate::report::{ComponentRestore, Failure, seconds};
use crate::session::Start;

pub(super) fn restore(job: &Job<'_>, recipe: &RestoreRecipe) -> Result<Done> {
    let mut done = Done::default();
    let mut stopped = false;
    for batch in batches(&job.world.plan, recipe) {
        if stopped {
            for (_, item) in batch {
                done.warnings.push(format!("{} was not tried", item.component));
                let entry = job.entry(item);
                done.components.push(ComponentRestore { verdict: Verdict::Skipped, ..entry });
            }
        } else {
            stopped = one_batch(job, &batch, &mut done)?;
        }
    }
    done.components.sort_by_key(|entry| place(recipe, &entry.component));
    Ok(done)
}

fn place(recipe: &RestoreRecipe, component: &str) -> Option<usize> {
    recipe.items.iter().position(|item| item.component == component)
}

/// Joins the groups that the two are in.
fn join(groups: &mut Vec<Vec<&RestoreItem>>, one: &str, two: &str) {
    let of = |wanted: &str| {
        groups.iter().position(|group| group.iter().any(|item| item.component == wanted))
    };
    if let (Some(one), Some(two)) = (of(one), of(two))
        && one != two
    {
        let moved = groups.remove(one.max(two));
        groups[one.min(two)].extend(moved);
    }
}

/// Those that a check binds.
fn bound<'a>(plan: &Plan, recipe: &'a RestoreRecipe) -> Vec<Vec<&'a RestoreItem>> {
    let mut groups: Vec<Vec<&RestoreItem>> = recipe.items.iter().map(|item| vec![item]).collect();
    for (name, component) in &plan.component {
        for check in component.checks.iter() {
            if let Some(Question::RowsExistIn { component: other, .. }) = check.question() {
                join(&mut groups, name, other);
            }
        }
    }
    groups
}

/// True if one command stops or starts both.
fn of_one_service(one: &RestoreItem, two: &RestoreItem) -> bool {
    (one.stop.is_some() && one.stop == two.stop) || (one.start.is_some() && one.start == two.start)
}

/// What goes together, in the order of first members, each in the order of recovery; with the
/// number of the group that checks bind.
fn batches<'a>(plan: &Plan, recipe: &'a RestoreRecipe) -> Vec<Vec<(usize, &'a RestoreItem)>> {
    let bound = bound(plan, recipe);
    let number = |item: &RestoreItem| {
        bound.iter().position(|group| group.iter().any(|one| one.component == item.component))
    };
    let mut batches = bound.clone();
    for (at, one) in recipe.items.iter().enumerate() {
        for two in recipe.items[..at].iter().filter(|two| of_one_service(one, two)) {
            join(&mut batches, &two.component, &one.component);
        }
    }
    for batch in &mut batches {
        batch.sort_by_key(|item| place(recipe, &item.component));
    }
    let numbered = |item: &'a RestoreItem| (number(item).unwrap_or_default(), item);
    batches.into_iter().map(|batch| batch.into_iter().map(numbered).collect()).collect()
}

/// One component on its way.
struct Member<'a> {
    /// The number of the group that checks bind.
    bound: usize,
    item: &'a RestoreItem,
    entry: ComponentRestore,
    begun: Start,
    run: Option<Run<'a>>,
    error: Option<Error>,
}

/// Components that go together.
struct Batch<'a> {
    job: &'a Job<'a>,
    members: Vec<Member<'a>>,
    services: Services<'a>,
    journal: Journal,
    /// All stop here: somebody asked to, or something failed from the swaps on.
    ended: bool,
}

/// Restores a batch; true if somebody asked to stop.
fn one_batch(job: &Job<'_>, batch: &[(usize, &RestoreItem)], done: &mut Done) -> Result<bool> {
    let mut subjects: Vec<Option<Subject<'_>>> = Vec::new();
    let mut begun = Vec::new();
    for (_, item) in batch {
        let start = job.world.start();
        let (subject, error) = match chosen(job.tier, item, job.ways) {
            Ok(subject) => (Some(subject), None),
            Err(error) => (None, Some(error)),
        };
        subjects.push(subject);
        begun.push((start, error));
    }
    let mut members = Vec::new();
    for ((&(bound, item), subject), (begun, error)) in batch.iter().zip(&subjects).zip(begun) {
        let mut member = Member { bound, item, entry: job.entry(item), begun, run: None, error };
        if let Some(subject) = subject {
            job.complete_up_to(&mut member.entry, subject);
            match Run::new(job, item, subject) {
                Ok(run) => member.run = Some(run),
                Err(error) => member.error = Some(error),
            }
        }
        members.push(member);
    }
    let known = batch.iter().zip(&subjects).filter_map(|((_, item), subject)| {
        Some((item.component.clone(), subject.as_ref()?.manifest.clone()))
    });
    let keep_as = crate::flows::run_id(job.start.wall)?;
    let journal = Journal::begin(&job.world.state, job.action, &keep_as, known.collect())?;
    let services = Services::new(job.world);
    let mut batch = Batch { job, members, services, journal, ended: false };
    batch.stage(done);
    batch.ask(done);
    batch.swap(done);
    batch.start(done);
    batch.way_back(done);
    let stop = batch.members.iter().any(|it| it.error.as_ref().is_some_and(ends_run));
    batch.finish(done);
    Ok(stop)
}

/// The parts of a component's steps, between which the others catch up.
#[derive(Clone, Copy)]
enum Phase {
    /// Writers stopped, copies beside the live data, each verified.
    Stage,
    /// Swapped, once the plan's checks were asked.
    Swap,
    /// Writers started.
    Start,
    /// Asked whether they work.
    Probe,
}

impl Phase {
    fn of(self, steps: &[RestoreStep]) -> &[RestoreStep] {
        let at =
            |wanted: fn(&RestoreStep) -> bool| steps.iter().position(wanted).unwrap_or(steps.len());
        let checks = at(|step| matches!(step, RestoreStep::Check(_)));
        let start = at(|step| matches!(step, RestoreStep::StartWriters(_)));
        let probe = at(|step| matches!(step, RestoreStep::Probe(_)));
        match self {
            Phase::Stage => &steps[..checks],
            Phase::Swap => &steps[checks..start],
            Phase::Start => &steps[start..probe],
            Phase::Probe => &steps[probe..],
        }
    }
}

impl Batch<'_> {
    /// True if nothing that a check binds to this member failed.
    fn goes(&self, at: usize) -> bool {
        let bound = self.members[at].bound;
        !self.ended && self.members.iter().all(|it| it.bound != bound || it.error.is_none())
    }

    fn going(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.goes(*at)).collect()
    }

    /// Executes one phase of one member; false if it failed.
    fn phase(&mut self, at: usize, phase: Phase, done: &mut Done) -> bool {
        let member = &mut self.members[at];
        let Some(run) = &mut member.run else { return true };
        for step in phase.of(&member.item.steps(&Binding::InPlace)) {
            let (services, journal) = (&mut self.services, &mut self.journal);
            if let Err(error) = run.step(step, services, journal, &mut member.entry, done) {
                member.error = Some(error);
                return false;
            }
        }
        true
    }

    /// What fails here ends only what is bound to it, unless somebody asked to stop.
    fn stage(&mut self, done: &mut Done) {
        for at in 0..self.members.len() {
            if self.goes(at) && !self.phase(at, Phase::Stage, done) {
                self.ended = self.members[at].error.as_ref().is_some_and(ends_run);
            }
        }
    }

    /// Asks the plan's checks of the copies that stand side by side.
    fn ask(&mut self, done: &mut Done) {
        let going = self.going();
        let of = |at: &usize| self.members.get_mut(*at)?.run.as_mut()?.copy.take();
        let copies: Vec<Copy<'_>> = going.iter().filter_map(of).collect();
        if copies.is_empty() {
            return;
        }
        let asked = declared(&self.job.world.plan, &copies);
        done.warnings.extend(asked.not_asked());
        done.together.extend(asked.together.iter().map(|(_, check)| check.clone()));
        for at in going {
            let member = &mut self.members[at];
            let Some(run) = &mut member.run else { continue };
            run.plans = asked.of(&member.item.component);
            let own = copies.iter().find(|copy| copy.component == member.item.component);
            if let Some(Err(error)) = own.map(Copy::settle) {
                member.error = Some(error);
            } else if !sound(&run.proof, &run.plans) {
                member.error = Some(not_sound(&member.item.component, &run.plans));
            }
        }
    }

    /// From here on all that go are one: what fails ends all.
    fn swap(&mut self, done: &mut Done) {
        let going = self.going();
        if let Err((at, error)) = self.note_live(&going) {
            self.members[at].error = Some(error);
            self.ended = true;
        }
        self.each(&going, Phase::Swap, done);
    }

    /// Writes down what is live before the first swap.
    fn note_live(&mut self, going: &[usize]) -> Result<(), (usize, Error)> {
        let mut live = Vec::new();
        for &at in going {
            let Member { item, run, .. } = &mut self.members[at];
            let Some(run) = run else { continue };
            live.push((item.component.as_str(), run.look().map_err(|error| (at, error))?));
        }
        let first = going.first().copied().unwrap_or_default();
        self.journal.before(&live).map_err(|error| (first, error))
    }

    /// Starts every service, then asks whether each works.
    fn start(&mut self, done: &mut Done) {
        let going = self.going();
        for at in 0..self.members.len() {
            if let (false, Some(run)) = (going.contains(&at), &mut self.members[at].run) {
                run.release();
            }
        }
        self.each(&going, Phase::Start, done);
        if !self.ended {
            // Without it, a kill from here on is taken for one before the start.
            done.warnings.extend(self.journal.up().err().map(|e| Failure::of(&e).line()));
        }
        self.each(&going, Phase::Probe, done);
    }

    /// One phase of all, until something fails.
    fn each(&mut self, going: &[usize], phase: Phase, done: &mut Done) {
        for &at in going {
            if !self.ended && !self.phase(at, phase, done) {
                self.ended = true;
            }
        }
    }

    /// Where something failed: what was swapped goes back, all of it under one stop; and what is
    /// still stopped starts again.
    fn way_back(&mut self, done: &mut Done) {
        let warnings = &mut done.warnings;
        if self.ended {
            // Without the record a kill in the way back is taken for one before it.
            warnings.extend(self.journal.going_back().err().map(|e| Failure::of(&e).line()));
            self.undo_all(warnings);
        }
        let runs = self.members.iter_mut().filter_map(|member| member.run.as_mut());
        runs.for_each(Run::release);
        let left = self.ended && self.swapped().next().is_some();
        let commands = self.members.iter().filter_map(|it| Some(&it.run.as_ref()?.commands));
        if !left {
            warnings.extend(self.services.start_again(commands));
            return;
        }
        let down = commands.filter(|one| self.services.is_down(one));
        let mut starts: Vec<&String> = down.filter_map(|one| one.start.as_ref()).collect();
        starts.dedup();
        warnings.extend(starts.iter().map(|start| format!("left stopped: `{start}` was not run")));
    }

    fn swapped(&self) -> impl Iterator<Item = usize> {
        let swapped = |at: &usize| self.members[*at].run.as_ref().is_some_and(Run::is_swapped);
        (0..self.members.len()).filter(swapped)
    }

    /// Stops all, and undoes all, the last one first. Nothing is undone while a writer runs: half of
    /// the former state would be no better than the restored one.
    fn undo_all(&mut self, warnings: &mut Vec<String>) {
        let swapped: Vec<usize> = self.swapped().collect();
        for &at in &swapped {
            let Some(run) = &self.members[at].run else { continue };
            warnings
                .extend(self.services.stop(&run.commands).err().map(|e| Failure::of(&e).line()));
        }
        let mut stopped = true;
        for &at in &swapped {
            let member = &mut self.members[at];
            let Some(run) = &member.run else { continue };
            if let Err(why) = run.prove_stopped(&self.services) {
                member.error = Some(run.not_back(why, self.journal.path()));
                stopped = false;
            }
        }
        for &at in swapped.iter().rev() {
            let member = &mut self.members[at];
            let Some(run) = &mut member.run else { continue };
            if !stopped {
                continue;
            }
            if let Err(why) = run.undo(warnings) {
                member.error = Some(run.not_back(why, self.journal.path()));
            }
        }
    }

    /// What there is to report.
    fn finish(self, done: &mut Done) {
        let Batch { job, members, journal, ended, .. } = self;
        let because: Vec<Option<String>> =
            members.iter().map(|it| at_fault(&members, it, ended)).collect();
        let states = members.iter().filter_map(|it| it.run.as_ref().filter(|run| run.was_to_go()));
        let (live, former): (Vec<_>, Vec<_>) = states.partition(|run| run.is_swapped());
        let mixed = ended && !live.is_empty() && !former.is_empty();
        for (mut member, because) in members.into_iter().zip(because) {
            let component = member.item.component.clone();
            let error = match (member.error.take(), because) {
                (None, Some(because)) => Some(Error::Held { component, because }),
                (Some(Error::NotBack { component, kept, source, .. }), _) if !mixed => {
                    Some(Error::NotBack { component, kept, journal: None, source })
                }
                (error, _) => error,
            };
            let held = matches!(error, Some(Error::Held { .. }));
            let entry = &mut member.entry;
            if let Some(run) = &mut member.run {
                entry.checks = run.proof.iter().chain(&run.plans).cloned().collect();
                entry.checks.extend(job.doubt(&member.item.component));
                entry.verdict = Verdict::of(entry.checks.iter().map(|check| check.verdict));
                if run.is_swapped() {
                    entry.kept = run.kept();
                    entry.target = Some("the live data".to_owned());
                }
                run.clean(entry, &mut done.warnings);
            }
            if let Some(error) = &error {
                entry.verdict = if held { Verdict::Skipped } else { Verdict::Fail };
                entry.error = Some(Failure::of(error));
            }
            entry.seconds = seconds(job.world.since(member.begun));
            done.components.push(member.entry);
        }
        if mixed {
            return;
        }
        done.warnings.extend(journal.end().err().map(|e| Failure::of(&e).line()));
    }
}

/// The one because of which a sound member is not put in place.
fn at_fault(members: &[Member<'_>], of: &Member<'_>, ended: bool) -> Option<String> {
    let reach = |it: &&Member<'_>| it.bound == of.bound || ended;
    let failed = members.iter().filter(|it| it.error.is_some());
    let nearest = failed.clone().filter(|it| it.bound == of.bound).chain(failed);
    nearest.filter(reach).map(|it| it.item.component.clone()).next()
}
