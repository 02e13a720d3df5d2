//! What every command gets: the arguments that hold for all, the streams, the clock, the stop
//! request; and the way from there to a [`World`] in which flows act.

use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_adapters::SystemClock;
use lifeboat_model::recipe::choose_tier;
use lifeboat_recovery::env::World;
use lifeboat_vault::{Cancel, Clock};

use crate::args::Global;
use crate::environment::Environment;
use crate::fault::{Fault, Outcome};
use crate::plan_file::PlanFile;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::wire;

/// What a command works with.
pub struct Hands<'a> {
    /// Options of every command.
    pub global: &'a Global,
    /// Where to print.
    pub screen: &'a Screen,
    /// The process environment.
    pub environment: Environment,
    /// Time.
    pub clock: Arc<SystemClock>,
    /// Stop request.
    pub cancel: Cancel,
}

/// A plan with the world that it speaks of.
pub struct Wired {
    /// The plan and its texts.
    pub file: PlanFile,
    /// What flows act in.
    pub world: World,
    /// What is drawn while they act.
    pub progress: Arc<Progress>,
    /// Why there is no vault key, if there is none.
    pub no_key: Option<Fault>,
    /// Why it is not known how long a tier keeps what is there: nothing is pruned then.
    pub bad_keep: Option<Fault>,
}

impl Hands<'_> {
    /// Now, by the wall.
    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Reads the plan.
    pub fn plan(&self) -> Outcome<PlanFile> {
        PlanFile::read(&self.global.plan, self.screen.live && !self.environment.no_color())
    }

    /// Reads the plan and builds its world. A missing key is kept as a reason: some commands go
    /// without.
    pub fn look(&self) -> Outcome<Wired> {
        wire::build(self, self.plan()?)
    }

    /// The same for commands that cannot go without the key.
    pub fn open(&self) -> Outcome<Wired> {
        let mut wired = self.look()?;
        match wired.no_key.take() {
            Some(fault) => Err(fault),
            None => Ok(wired),
        }
    }
}

impl Wired {
    /// The same in the tier of this name; without a name as it is.
    pub fn in_tier(mut self, name: Option<&str>) -> Outcome<Wired> {
        let Some(name) = name else { return Ok(self) };
        choose_tier(&self.world.plan, &self.world.plan_folder, Some(name))
            .map_err(lifeboat_recovery::Error::from)?;
        let tier = self.world.tiers.iter().find(|tier| tier.name == name).cloned();
        let unused = || Fault::usage(format!("tier {name} is not used by this version"));
        self.world.tier = tier.ok_or_else(unused)?;
        Ok(self)
    }

    /// Says aloud, in one line, what this version reads in the plan and does not carry out.
    pub fn say_not_carried_out(&self, screen: &Screen) {
        let list = self.file.plan.not_carried_out();
        if list.is_empty() {
            return;
        }
        let what: Vec<&str> = list.iter().map(|item| item.what.as_str()).collect();
        screen.note(format!(
            "note: not carried out by this version: {}; `lifeboat lint` says what happens instead",
            what.join(", ")
        ));
    }
}
