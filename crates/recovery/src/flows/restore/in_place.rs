//! One component of a restore in place, step by step as the recipe says: writers proven stopped, the
//! copy made beside and verified, the old state kept, the swap, and the way back. Which
//! components go together, and when their services stop and start, stands in `together`.

use std::path::{Path, PathBuf};

use lifeboat_model::check::CheckResult;
use lifeboat_model::recipe::{RestoreItem, RestoreStep};

use super::journal::Journal;
use super::service::{Commands, Services};
use super::{Done, Job, not_sound, preflight, sound};
use crate::error::{Error, Result};
use crate::ports::InPlace;
use crate::prove::{Copy, Places, Subject, bytes_needed, restore_copy};
use crate::report::{ComponentRestore, Failure};
use crate::staging::{MARK, Staging};

/// The state of one component on its way.
pub(super) struct Run<'a> {
    job: &'a Job<'a>,
    item: &'a RestoreItem,
    pub(super) commands: Commands,
    /// Where the copy is staged: on the live data's file system.
    parent: PathBuf,
    subject: &'a Subject<'a>,
    /// Gone before anything is started: it may hold a lock on the live data.
    swapper: Option<Box<dyn InPlace>>,
    staging: Option<Staging>,
    pub(super) copy: Option<Copy<'a>>,
    /// What was live before the swap.
    before: Option<String>,
    /// Where the old state is, once live data and copy were swapped.
    kept: Option<Vec<PathBuf>>,
    pub(super) proof: Vec<CheckResult>,
    /// What the plan's checks answered.
    pub(super) plans: Vec<CheckResult>,
}

impl<'a> Run<'a> {
    /// Before the first step: who swaps, and is there room beside the live data.
    pub(super) fn new(
        job: &'a Job<'a>,
        item: &'a RestoreItem,
        subject: &'a Subject<'a>,
    ) -> Result<Run<'a>> {
        let swapper = (job.world.adapters.in_place)(&item.component, &subject.manifest)?;
        let parent = swapper.staging_parent();
        preflight(job.world, &parent, bytes_needed(&subject.manifest))?;
        Ok(Run {
            job,
            item,
            commands: Commands::of(item),
            parent,
            subject,
            swapper: Some(swapper),
            staging: None,
            copy: None,
            before: None,
            kept: None,
            proof: Vec::new(),
            plans: Vec::new(),
        })
    }

    /// One step of the recipe. The plan's checks are asked of all together.
    pub(super) fn step(
        &mut self,
        step: &RestoreStep,
        services: &mut Services<'_>,
        journal: &mut Journal,
        entry: &mut ComponentRestore,
        done: &mut Done,
    ) -> Result<()> {
        match step {
            RestoreStep::StopWriters(_) => services.stop(&self.commands),
            RestoreStep::ProveStopped => self.prove_stopped(services),
            RestoreStep::Extract => self.extract(entry),
            RestoreStep::Verify => self.verify(entry, done),
            RestoreStep::Swap => self.swap(journal),
            RestoreStep::StartWriters(_) => services.start(&self.commands),
            RestoreStep::Probe(command) => services.probe(&self.item.component, command),
            // Steps of all together, and of the other bindings.
            // Replaying is a part of making the copy.
            RestoreStep::Replay(_) => Ok(()),
            RestoreStep::Check(_) | RestoreStep::Complete | RestoreStep::RemoveSandbox => Ok(()),
        }
    }

    pub(super) fn prove_stopped(&self, services: &Services<'_>) -> Result<()> {
        match &self.swapper {
            Some(swapper) => services.prove_stopped(&self.commands, &**swapper),
            None => Ok(()),
        }
    }

    fn extract(&mut self, entry: &mut ComponentRestore) -> Result<()> {
        let world = self.job.world;
        let stem = format!("{}{MARK}", self.item.component);
        let staging = Staging::make(&world.state, &self.parent, &stem, "restore")?;
        let folder = staging.data().to_owned();
        self.staging = Some(staging);
        let scratch = self.staging.as_ref().map(Staging::scratch).unwrap_or_default();
        let places = Places { folder: &folder, scratch: &scratch };
        let copy = restore_copy(world, self.subject, None, places)?;
        self.job.describe(entry, &copy);
        self.copy = Some(copy);
        Ok(())
    }

    fn verify(&mut self, entry: &ComponentRestore, done: &mut Done) -> Result<()> {
        let Some(copy) = &self.copy else { return Ok(()) };
        self.proof = copy.proof();
        done.facts.push(self.job.fact(&self.item.choice.chosen.snapshot, &self.proof));
        done.facts.extend(self.job.recovered(entry, &self.proof));
        if sound(&self.proof, &[]) {
            return Ok(());
        }
        Err(not_sound(&self.item.component, &self.proof))
    }

    /// What is live, before the first swap of all.
    pub(super) fn look(&mut self) -> Result<String> {
        let live = match &self.swapper {
            Some(swapper) => swapper.live()?,
            None => String::new(),
        };
        self.before = Some(live.clone());
        Ok(live)
    }

    fn swap(&mut self, journal: &mut Journal) -> Result<()> {
        self.job.world.stop_if_cancelled()?;
        let (Some(staging), Some(swapper)) = (&self.staging, &self.swapper) else { return Ok(()) };
        let swapped = swapper.swap(staging.data(), &self.subject.manifest, journal.keep_as());
        if swapped.is_err() && self.before.as_ref() != swapper.live().ok().as_ref() {
            // Neither did its own way back succeed.
            self.kept = Some(swapper.kept(journal.keep_as()));
        }
        let kept = swapped?;
        self.kept = Some(kept.clone());
        journal.swapped(&self.item.component, &kept)
    }

    /// Is the copy live?
    pub(super) fn is_swapped(&self) -> bool {
        self.kept.is_some()
    }

    /// Was it going to be swapped?
    pub(super) fn was_to_go(&self) -> bool {
        self.before.is_some()
    }

    /// Puts the former state back, where it was swapped. With an error the copy stays live.
    pub(super) fn undo(&mut self, warnings: &mut Vec<String>) -> Result<()> {
        let (Some(kept), Some(swapper)) = (&self.kept, &self.swapper) else { return Ok(()) };
        swapper.undo(kept)?;
        self.kept = None;
        warnings.push(format!("{}: the former state is back", self.item.component));
        Ok(())
    }

    /// The error of a former state that could not be put back.
    pub(super) fn not_back(&self, why: Error, journal: &Path) -> Error {
        Error::NotBack {
            component: self.item.component.clone(),
            kept: self.kept(),
            journal: Some(journal.to_owned()),
            source: Box::new(why),
        }
    }

    /// Gives every lock on the live data back: something is about to be started.
    pub(super) fn release(&mut self) {
        self.swapper = None;
    }

    /// Where the former state is now.
    pub(super) fn kept(&self) -> Vec<String> {
        self.kept.iter().flatten().map(|path| path.display().to_string()).collect()
    }

    /// Removes the staging folder, or leaves a failed copy for a look.
    pub(super) fn clean(&mut self, entry: &mut ComponentRestore, warnings: &mut Vec<String>) {
        let Some(staging) = self.staging.take() else { return };
        let folder = staging.folder().display().to_string();
        let cleaned = match entry.target.is_none() && self.job.request.keep_failed {
            true => staging.keep().map(|kept| {
                entry.failed_copy = Some(kept.join("data").display().to_string());
            }),
            false => staging.remove(),
        };
        if let Err(error) = cleaned {
            let why = Failure::of(&error).line();
            warnings.push(format!("{folder} could not be removed: {why}"));
        }
    }
}
