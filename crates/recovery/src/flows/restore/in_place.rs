//! A restore in place of the live data, step by step as the recipe says: writers stopped and proven
//! stopped, the copy made beside and verified, the old state kept, the swap, the start, the probe;
//! and the way back wherever it fails. Which components go together stands in `together`.

use std::time::Duration;

use lifeboat_model::check::CheckResult;
use lifeboat_model::recipe::{RestoreItem, RestoreStep};
use std::path::PathBuf;

use super::{Done, Job, not_sound, preflight, sound};
use crate::error::{Error, Result};
use crate::ports::{InPlace, Request, WriterProof};
use crate::prove::{Copy, Subject, bytes_needed, restore_copy};
use crate::report::{ComponentRestore, Failure};
use crate::staging::{MARK, Staging};

/// How long a stop, start or probe command may take.
const COMMAND: Duration = Duration::from_secs(300);
/// How often, and how far apart, writers are looked for after a stop: processes take a moment.
const LOOKS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// The state of one restore in place.
pub(super) struct Run<'a> {
    job: &'a Job<'a>,
    item: &'a RestoreItem,
    /// Where the copy is staged: on the live data's file system.
    parent: PathBuf,
    subject: &'a Subject<'a>,
    /// Gone before anything is started: it may hold a lock on the live data.
    swapper: Option<Box<dyn InPlace>>,
    staging: Option<Staging>,
    pub(super) copy: Option<Copy<'a>>,
    /// The stop command ran, and nothing was started since.
    stopped: bool,
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
            parent,
            subject,
            swapper: Some(swapper),
            staging: None,
            copy: None,
            stopped: false,
            kept: None,
            proof: Vec::new(),
            plans: Vec::new(),
        })
    }

    pub(super) fn step(
        &mut self,
        step: &RestoreStep,
        entry: &mut ComponentRestore,
        done: &mut Done,
    ) -> Result<()> {
        match step {
            RestoreStep::StopWriters(Some(command)) => {
                self.stopped = true;
                self.command("stop", command)
            }
            RestoreStep::StopWriters(None) | RestoreStep::StartWriters(None) => Ok(()),
            RestoreStep::ProveStopped => self.prove_stopped(),
            RestoreStep::Extract => self.extract(entry),
            RestoreStep::Verify => self.verify(done),
            RestoreStep::Swap => self.swap(),
            RestoreStep::StartWriters(Some(command)) => {
                self.command("start", command)?;
                self.stopped = false;
                Ok(())
            }
            RestoreStep::Probe(command) => self.command("probe", command),
            // Asked of the whole group; steps of the other bindings.
            RestoreStep::Check(_) | RestoreStep::Complete | RestoreStep::RemoveSandbox => Ok(()),
        }
    }

    fn command(&self, what: &str, command: &str) -> Result<()> {
        let world = self.job.world;
        let what = format!("the {what} command of {}", self.item.component);
        let request = Request {
            command: command.to_owned(),
            environment: Default::default(),
            folder: world.plan.base(&world.plan_folder),
            timeout: COMMAND,
        };
        let outcome = world
            .runner
            .run(&request)
            .map_err(|source| Error::ActionStart { what: what.clone(), source })?;
        let how = match (outcome.status, outcome.timed_out) {
            (Some(0), false) => return Ok(()),
            (_, true) => format!("it took longer than {} s", COMMAND.as_secs()),
            (Some(status), _) => format!("it ended with status {status}"),
            (None, _) => "it was killed".to_owned(),
        };
        // Shown, but not in the error: errors go into the ledger, which is kept and shipped.
        if let Some(last) = outcome.output.trim_end().lines().last() {
            world.monitor.note(&format!("{what}: {}", last.trim()));
        }
        Err(Error::Action { what, outcome: how })
    }

    /// After a stop command processes get a moment; without one the answer is taken as it is.
    fn prove_stopped(&self) -> Result<()> {
        let Some(swapper) = &self.swapper else { return Ok(()) };
        let looks = if self.stopped { LOOKS } else { 1 };
        let mut who = Vec::new();
        for look in 0..looks {
            if look > 0 {
                self.job.world.clock.sleep(BETWEEN);
            }
            match swapper.writers()? {
                WriterProof::Stopped => return Ok(()),
                WriterProof::Running(running) => who = running,
            }
        }
        Err(Error::WritersRunning { component: self.item.component.clone(), who })
    }

    fn extract(&mut self, entry: &mut ComponentRestore) -> Result<()> {
        let world = self.job.world;
        let stem = format!("{}{MARK}", self.item.component);
        let staging = Staging::make(&world.state, &self.parent, &stem, "restore")?;
        let engine = &*world.adapters.engine;
        let folder = staging.data().to_owned();
        self.staging = Some(staging);
        let copy = restore_copy(self.subject, engine, None, &folder)?;
        (entry.files, entry.bytes) = (copy.files, copy.bytes);
        self.copy = Some(copy);
        Ok(())
    }

    fn verify(&mut self, done: &mut Done) -> Result<()> {
        let Some(copy) = &self.copy else { return Ok(()) };
        self.proof = copy.proof();
        done.facts.push(self.job.fact(&self.item.choice.chosen.snapshot, &self.proof));
        if sound(&self.proof, &[]) {
            return Ok(());
        }
        Err(not_sound(&self.item.component, &self.proof))
    }

    fn swap(&mut self) -> Result<()> {
        let world = self.job.world;
        world.stop_if_cancelled()?;
        let (Some(staging), Some(swapper)) = (&self.staging, &self.swapper) else { return Ok(()) };
        let keep_as = crate::flows::run_id(self.job.start.wall)?;
        let kept = swapper.swap(staging.data(), &self.subject.manifest, &keep_as)?;
        self.kept = Some(kept);
        Ok(())
    }

    /// Puts the former state back and starts the writers again.
    pub(super) fn way_back(&mut self, warnings: &mut Vec<String>) {
        let component = &self.item.component;
        let mut back = true;
        if let (Some(kept), Some(swapper)) = (self.kept.take(), &self.swapper) {
            if !self.stopped
                && let Some(stop) = &self.item.stop
            {
                let stopped = self.command("stop", stop);
                self.stopped = true;
                if let Err(failure) = stopped {
                    warnings.push(Failure::of(&failure).line());
                }
            }
            match swapper.undo(&kept) {
                Ok(()) => warnings.push(format!("{component}: the former state is back")),
                Err(failure) => {
                    back = false;
                    let why = Failure::of(&failure.into()).line();
                    let at: Vec<String> = kept.iter().map(|p| p.display().to_string()).collect();
                    warnings.push(format!(
                        "{component}: the former state could not be put back ({why}); it is kept \
                         in {}",
                        at.join(", ")
                    ));
                }
            }
        }
        self.swapper = None;
        if let (true, true, Some(start)) = (back, self.stopped, &self.item.start) {
            match self.command("start", start) {
                Ok(()) => self.stopped = false,
                Err(failure) => warnings.push(Failure::of(&failure).line()),
            }
        }
    }

    /// Where the former state is now.
    pub(super) fn kept(&self) -> Vec<String> {
        self.kept.iter().flatten().map(|path| path.display().to_string()).collect()
    }

    /// Removes the staging folder, or leaves a failed copy for a look.
    pub(super) fn clean(
        &mut self,
        entry: &mut ComponentRestore,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let Some(staging) = self.staging.take() else { return Ok(()) };
        if entry.target.is_none() && self.job.request.keep_failed {
            entry.failed_copy = Some(staging.keep()?.join("data").display().to_string());
            return Ok(());
        }
        let folder = staging.folder().display().to_string();
        if let Err(error) = staging.remove() {
            let why = Failure::of(&error).line();
            warnings.push(format!("{folder} could not be removed: {why}"));
        }
        Ok(())
    }
}
