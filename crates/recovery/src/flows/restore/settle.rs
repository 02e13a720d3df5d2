//! What a restore in place that was killed has left, put in order before anything else is done with
//! its components: those that were swapped while others were not go back; services start again.
//!
//! Where all had been swapped, the restored state stays: it was judged, and somebody may work with
//! it since. Where none had, the former state is there. In between, or where the restore was already
//! going back, nobody may write: the plan's `stop` commands run, and what was swapped is undone.

use super::journal::{self, Journal, Member};
use super::service::{Commands, Services};
use crate::env::World;
use crate::error::{Error, Result};
use crate::ledger::living;
use crate::ports::{InPlace, WriterProof};

/// What was done.
#[derive(Default)]
pub(in crate::flows) struct Settled {
    said: Vec<String>,
    stuck: Vec<(Vec<String>, Error)>,
}

impl Settled {
    /// In words, or the reason why something cannot be settled.
    pub(in crate::flows) fn said(mut self) -> Result<Vec<String>> {
        match self.stuck.pop() {
            Some((_, why)) => Err(why),
            None => Ok(self.said),
        }
    }

    /// What was done, in words.
    pub(in crate::flows) fn lines(&self) -> &[String] {
        &self.said
    }

    /// Why a component may not be touched.
    pub(in crate::flows) fn stuck(&self, component: &str) -> Option<&Error> {
        let of = |(names, _): &&(Vec<String>, Error)| names.iter().any(|name| name == component);
        self.stuck.iter().find(of).map(|(_, why)| why)
    }
}

/// Settles what concerns these components, of which the caller has the locks: whoever made a record
/// that names one of them is gone.
pub(in crate::flows) fn settle(world: &World, components: &[impl AsRef<str>]) -> Result<Settled> {
    let mut settled = Settled::default();
    let Some(_gate) = journal::gate(&world.state)? else { return Ok(settled) };
    for mut journal in journal::all(&world.state)? {
        let concerns = |it: &Member| components.iter().any(|name| name.as_ref() == it.component);
        if !journal.members().iter().any(concerns) || lives(world, &journal)? {
            continue;
        }
        let names = journal.members().iter().map(|it| it.component.clone()).collect();
        match one(world, &mut journal, &mut settled.said) {
            Ok(true) => journal.end()?,
            Ok(false) => {}
            Err(why) => {
                let (components, path) = (journal.names(), journal.path().to_owned());
                let source = Box::new(why);
                settled.stuck.push((names, Error::CutOff { components, journal: path, source }));
            }
        }
    }
    Ok(settled)
}

/// Of each component of a killed restore: what `status` says. Only looks.
pub(in crate::flows) fn unsettled(world: &World) -> Result<Vec<(Vec<String>, String)>> {
    let mut found = Vec::new();
    for journal in journal::all(&world.state)? {
        if lives(world, &journal)? {
            continue;
        }
        let names = journal.members().iter().map(|it| it.component.clone()).collect();
        let mut text = format!("a restore in place of {} was cut off", journal.names());
        match look(world, &journal).and_then(|them| swapped(&them)) {
            Ok((live, former)) if !live.is_empty() => {
                text += &format!(": {} is the restored copy", live.join(", "));
                if !former.is_empty() {
                    text += &format!(", {} the former state", former.join(", "));
                }
            }
            Ok(_) => text += " before its first swap",
            Err(_) => text += ", and what is live cannot be told",
        }
        if journal.is_down() {
            text += "; its application may be stopped";
        }
        found.push((names, text));
    }
    Ok(found)
}

fn lives(world: &World, journal: &Journal) -> Result<bool> {
    Ok(living(&world.state)?.iter().any(|left| left.id == journal.action()))
}

/// A component and who swaps it.
struct Subject<'a> {
    member: &'a Member,
    swapper: Box<dyn InPlace>,
    commands: Commands,
}

fn look<'a>(world: &World, journal: &'a Journal) -> Result<Vec<Subject<'a>>> {
    let subject = |member: &'a Member| {
        let swapper = (world.adapters.in_place)(&member.component, &member.manifest)?;
        let commands = Commands::by_plan(world, &member.component);
        Ok(Subject { member, swapper, commands })
    };
    journal.members().iter().map(subject).collect()
}

/// Names of those that are the copy, and of those that are still to be swapped.
fn swapped<'a>(them: &[Subject<'a>]) -> Result<(Vec<&'a str>, Vec<&'a str>)> {
    let (mut live, mut former) = (Vec::new(), Vec::new());
    for Subject { member, swapper, .. } in them.iter().filter(|it| it.member.before.is_some()) {
        let list = if member.is_swapped(&**swapper)? { &mut live } else { &mut former };
        list.push(member.component.as_str());
    }
    Ok((live, former))
}

/// Settles one record; true if nothing is left to do.
fn one(world: &World, journal: &mut Journal, said: &mut Vec<String>) -> Result<bool> {
    let mut services = Services::new(world);
    let them = look(world, journal)?;
    let names = journal.names();
    let mixed = |(live, former): &(Vec<&str>, Vec<&str>)| {
        !live.is_empty() && (!former.is_empty() || journal.goes_back())
    };
    let half = them.iter().any(|it| (world.adapters.unsettled)(&it.member.component).is_some());
    let mut state = swapped(&them)?;
    if half || mixed(&state) {
        quiet(&them, &mut services)?;
        for subject in &them {
            subject.swapper.mend()?;
        }
        // A swap that was cut off in itself is whole now, one way or the other.
        state = swapped(&them)?;
    }
    if mixed(&state) {
        for subject in them.iter().rev() {
            undo(subject, journal.keep_as())?;
        }
        said.push(format!("a restore in place of {names} was cut off: the former state is back"));
    } else if state.0.is_empty() {
        said.push(format!(
            "a restore in place of {names} was cut off: the former state is in place"
        ));
    } else {
        said.push(format!(
            "a restore in place of {names} was cut off after its swaps: the restored state is in \
             place, no probe was asked"
        ));
    }
    // Somebody may have started it meanwhile, or the kill came after the start.
    let runs = |it: &Subject<'_>| matches!(it.swapper.writers(), Ok(WriterProof::Running(_)));
    let down = journal.is_down() && !them.iter().any(runs);
    let commands: Vec<Commands> = them.into_iter().map(|it| it.commands).collect();
    let (mut started, mut all) = (false, true);
    let down = |one: &&Commands| down || services.is_down(one);
    let down: Vec<&Commands> = commands.iter().filter(down).collect();
    for one in down {
        started |= one.start.is_some();
        if let Err(failure) = services.start(one) {
            said.push(crate::report::Failure::of(&failure).line());
            all = false;
        }
    }
    if started && all {
        said.push(format!("the application of {names} was started again"));
    }
    Ok(all)
}

/// Nobody writes, if need be after the plan's stop commands.
fn quiet(them: &[Subject<'_>], services: &mut Services<'_>) -> Result<()> {
    let prove = |services: &Services<'_>| {
        them.iter().try_for_each(|it| services.prove_stopped(&it.commands, &*it.swapper))
    };
    if prove(services).is_ok() {
        return Ok(());
    }
    for subject in them {
        services.stop(&subject.commands)?;
    }
    prove(services)
}

fn undo(subject: &Subject<'_>, keep_as: &str) -> Result<()> {
    let Subject { member, swapper, .. } = subject;
    if !member.is_swapped(&**swapper)? {
        return Ok(());
    }
    let kept = member.kept.clone().unwrap_or_else(|| swapper.kept(keep_as));
    let gone = kept.iter().find(|path| path.symlink_metadata().is_err());
    let had_none = member.before.as_ref().is_none_or(String::is_empty);
    if gone.is_some() || (kept.is_empty() && !had_none) {
        let place = gone.map_or_else(|| "beside it".to_owned(), |path| path.display().to_string());
        return Err(Error::refused(
            format!("the former state of {} is not where it was kept, {place}", member.component),
            "bring it back",
        ));
    }
    Ok(swapper.undo(&kept)?)
}
