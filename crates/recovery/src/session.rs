//! What every flow that changes something has around it: the ledger entry before anything happens,
//! the sweep of what dead processes left, the catalog, and the entry at the end.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use serde_json::json;

use crate::catalog::{self, Catalog};
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::Fact;
use crate::ledger::{Action, Detail, Ledger};
use crate::report::{Failure, Head, seconds};
use crate::staging;
use crate::stand_in::{self, StandIn};
use crate::tier::{Access, OpenTier};

/// When something began, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Wall time.
    pub wall: Timestamp,
    /// Monotonic time.
    pub monotonic: Duration,
}

impl World {
    /// Now, by both clocks.
    pub fn start(&self) -> Start {
        Start { wall: self.clock.wall(), monotonic: self.clock.monotonic() }
    }

    /// Since then, by the monotonic clock.
    pub fn since(&self, start: Start) -> Duration {
        self.clock.monotonic().saturating_sub(start.monotonic)
    }

    /// The beginning of a report, finished now.
    pub fn head(&self, schema: &'static str, start: Start) -> Head {
        Head {
            schema,
            version: 1,
            plan: self.plan.header.name.as_str().to_owned(),
            revision: self.revision.clone(),
            host: self.host.clone(),
            operator: self.operator.clone(),
            started: start.wall,
            finished: self.clock.wall(),
            seconds: seconds(self.since(start)),
        }
    }
}

/// A flow under way.
pub struct Session<'w> {
    /// The world.
    pub world: &'w World,
    /// When the flow began.
    pub start: Start,
    /// What should be looked at, for the report.
    pub warnings: Vec<String>,
    /// What cannot be recorded is said, and stops nothing.
    changes_nothing: bool,
    recording: Option<Recording>,
    /// Further tiers that the ledger goes to at the end, each in its world.
    also: Vec<(World, OpenTier)>,
}

/// Where a flow is recorded.
struct Recording {
    ledger: Ledger,
    action: Action,
}

/// What a flow ends with.
pub struct Ended<T> {
    /// Its report.
    pub report: T,
    /// The exit code that the report means.
    pub exit: Exit,
    /// More for the ledger.
    pub detail: Detail,
    /// Facts for the catalog.
    pub facts: Vec<Fact>,
}

/// What a flow is, for the ledger.
pub struct Opening<'a> {
    /// `backup`, `verify`, `restore`, `drill`.
    pub action: &'static str,
    /// On what: component names, a target.
    pub object: &'a str,
    /// More.
    pub detail: Detail,
    /// What it may do in the tier.
    pub access: Access,
    /// It changes nothing that is there, so that it may run where nothing can be recorded.
    pub changes_nothing: bool,
}

/// Runs a flow inside the ledger: *started* is on stable storage before anything happens, and
/// *finished* before anything is reported, whatever the outcome.
pub fn within<T>(
    world: &World,
    opening: &Opening<'_>,
    body: impl FnOnce(&mut Session<'_>, &OpenTier) -> Result<Ended<T>>,
    report_warnings: impl FnOnce(&mut T, Vec<String>),
) -> Result<T> {
    if let Some(why) = world.rehearsal.as_ref().filter(|_| opening.changes_nothing) {
        return unrecorded(world, opening, why, body, report_warnings);
    }
    let (mut session, tier) = match record(world, opening) {
        Ok(begun) => begun,
        Err(error) => {
            return match unrecordable(&error).filter(|_| opening.changes_nothing) {
                Some(why) => unrecorded(world, opening, &why, body, report_warnings),
                None => Err(error),
            };
        }
    };
    let result = body(&mut session, &tier);
    let Session { recording, mut warnings, also, .. } = session;
    let (outcome, detail, facts) = match &result {
        Ok(ended) => (outcome_of(ended.exit), ended.detail.clone(), ended.facts.clone()),
        Err(error) => failed(error),
    };
    let mut finished = Ok(());
    if let Some(Recording { mut ledger, action }) = recording {
        finished = ledger.finish(action, outcome, detail, &facts).map(drop);
        if let Err(error) = &finished
            && opening.changes_nothing
            && (error.forbids_writing() || error.lacks_a_signature())
        {
            let (what, why) = (opening.action, Failure::of(error).line());
            warnings.push(format!("the end of this {what} is not recorded in the ledger: {why}"));
            finished = Ok(());
        } else if finished.is_ok() {
            warnings.extend(ledger.ship_or_say(world, &tier));
            for (world, tier) in &also {
                warnings.extend(ledger.ship_or_say(world, tier));
            }
            warnings.extend(catalog::note_facts(world, &ledger));
        }
    }
    let mut ended = result?;
    finished?;
    report_warnings(&mut ended.report, warnings);
    Ok(ended.report)
}

/// Begins what is recorded, if it can be, and belongs here.
fn record<'w>(world: &'w World, opening: &Opening<'_>) -> Result<(Session<'w>, OpenTier)> {
    if let Some(why) = world.state.unwritable()? {
        return Err(why.into());
    }
    if let Some(why) = world.state_of_other_plan()? {
        return Err(world.of_other_plan(&why));
    }
    begin(world, opening)
}

/// Why a flow that changes nothing runs all the same where it cannot be recorded.
fn unrecordable(error: &Error) -> Option<String> {
    match error {
        Error::OtherPlan { .. } => Some(error.to_string()),
        _ if error.lacks_a_signature() => {
            Some(format!("it cannot be signed ({})", Failure::of(error).line()))
        }
        _ if error.forbids_writing() => {
            Some(format!("the state folder cannot be written ({})", Failure::of(error).line()))
        }
        _ => None,
    }
}

/// Runs a flow that changes nothing where it is not to be recorded, on a rescue medium say: on a
/// copy of the state that is removed at the end. No entry is written anywhere, and that is said.
fn unrecorded<T>(
    world: &World,
    opening: &Opening<'_>,
    why: &str,
    body: impl FnOnce(&mut Session<'_>, &OpenTier) -> Result<Ended<T>>,
    report_warnings: impl FnOnce(&mut T, Vec<String>),
) -> Result<T> {
    let start = world.start();
    let stand_in = StandIn::of(&world.state)?;
    let world = &World { state: stand_in.state().clone(), ..world.clone() };
    let mut warnings = stand_in::sweep();
    warnings.push(format!("this {} is not recorded in the ledger: {why}", opening.action));
    let none = || Error::NoVault { tier: world.tier.name.clone() };
    // A rehearsal leaves no trace in the tier, not even a lock.
    let access = if world.rehearsal.is_some() { Access::Read } else { opening.access };
    let tier = world.open_tier(access)?.ok_or_else(none)?;
    let (changes_nothing, recording, also) = (true, None, Vec::new());
    let mut session = Session { world, start, warnings, changes_nothing, recording, also };
    let result = body(&mut session, &tier);
    let mut warnings = session.warnings;
    if let Err(error) = stand_in.remove() {
        warnings.push(Failure::of(&error).line());
    }
    let mut ended = result?;
    report_warnings(&mut ended.report, warnings);
    Ok(ended.report)
}

fn failed(error: &Error) -> (&'static str, Detail, Vec<Fact>) {
    let detail = Detail::from([("error".to_owned(), json!(Failure::of(error).line()))]);
    (outcome_of(error.exit()), detail, Vec::new())
}

/// The word of an outcome in the ledger.
fn outcome_of(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "done",
        Exit::Problems => "problems",
        Exit::Refused => "refused",
        Exit::Interrupted => "stopped",
        Exit::ObjectiveMissed => "objective missed",
        _ => "failed",
    }
}

/// What is there is looked at and opened; the entry is written; only then is anything made. An
/// attempt on a tier that cannot be opened is recorded where there is a ledger to record it in.
fn begin<'w>(world: &'w World, opening: &Opening<'_>) -> Result<(Session<'w>, OpenTier)> {
    let start = world.start();
    let mut warnings = world.state.set_aside_unreadable()?;
    let existing = match world.open_tier(opening.access) {
        Ok(existing) => existing,
        // Not a word of another plan stands in this one's ledger.
        Err(error @ Error::OtherPlan { .. }) => return Err(error),
        Err(error) => {
            if Ledger::is_local(world) {
                let mut ledger = Ledger::open(world, None, &mut warnings)?;
                let action = begin_action(&mut ledger, opening)?;
                let (outcome, detail, facts) = failed(&error);
                ledger.finish(action, outcome, detail, &facts)?;
            }
            return Err(error);
        }
    };
    if let Some(why) = existing.as_ref().and_then(|tier| tier.other_plan.as_ref()) {
        return Err(world.of_other_plan(why));
    }
    let mut ledger = Ledger::open(world, existing.as_ref(), &mut warnings)?;
    world.state.remember_plan(world.plan.header.name.as_str(), &world.plan_file)?;
    let action = begin_action(&mut ledger, opening)?;
    let tier = match existing {
        Some(tier) => tier,
        None => match world.make_or_join_tier(opening.access, None) {
            Ok(tier) => tier,
            Err(error) => {
                let (outcome, detail, facts) = failed(&error);
                ledger.finish(action, outcome, detail, &facts)?;
                return Err(error);
            }
        },
    };
    if let Err(why) = &tier.sealer {
        warnings.push(format!("nothing can be sealed for the tier: {}", why.line()));
    }
    match world.hold_note(&tier) {
        Ok(note) => warnings.extend(note.filter(|_| !opening.changes_nothing)),
        Err(error) => warnings.push(Failure::of(&error).line()),
    }
    match staging::sweep(&world.state, Some(world.clock.wall())) {
        Ok(swept) => warnings.extend(swept),
        Err(error) => warnings.push(Failure::of(&error).line()),
    }
    warnings.extend(stand_in::sweep());
    let recording = Some(Recording { ledger, action });
    let changes_nothing = opening.changes_nothing;
    let also = Vec::new();
    Ok((Session { world, start, warnings, changes_nothing, recording, also }, tier))
}

fn begin_action(ledger: &mut Ledger, opening: &Opening<'_>) -> Result<Action> {
    ledger.start(opening.action, opening.object, opening.detail.clone())
}

impl Session<'_> {
    /// The catalog, brought up to date with the vault and the ledgers.
    pub fn catalog(&mut self, tier: &OpenTier) -> Result<Catalog> {
        let (catalog, notes) = catalog::up_to_date(self.world, tier, true)?;
        self.warnings.extend(notes);
        Ok(catalog)
    }

    /// Keeps facts, on stable storage at once, for the entry that closes this run.
    pub fn record(&mut self, facts: &[Fact]) -> Result<()> {
        let Some(recording) = &mut self.recording else { return Ok(()) };
        match recording.action.keep(facts) {
            // They stand in the entry at the end too, if that can be written.
            Err(error) if self.changes_nothing && error.forbids_writing() => {
                self.warnings.push(Failure::of(&error).line());
                Ok(())
            }
            kept => kept,
        }
    }

    /// The ledger is brought to this tier too, at the end.
    pub fn ship_to(&mut self, world: World, tier: OpenTier) {
        self.also.push((world, tier));
    }

    /// The sequence number of this run's `started` entry, if it is recorded.
    pub fn seq(&self) -> Option<u64> {
        self.recording.as_ref().map(|recording| recording.action.seq())
    }

    /// The random name of this run, if it is recorded.
    pub fn id(&self) -> Option<&str> {
        self.recording.as_ref().map(|recording| recording.action.id())
    }

    /// The ledger.
    pub fn ledger(&mut self) -> Result<&mut Ledger> {
        let recording = self.recording.as_mut().ok_or_else(|| {
            Error::refused("nothing can be recorded here", "make the state folder writable")
        })?;
        Ok(&mut recording.ledger)
    }
}
