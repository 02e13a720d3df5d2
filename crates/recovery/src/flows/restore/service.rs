//! The plan's `stop`, `start` and `probe` commands. Components may share them: a command that is
//! written twice is one service, stopped once and started once.

use std::time::Duration;

use lifeboat_model::recipe::RestoreItem;

use crate::env::World;
use crate::error::{Error, Result};
use crate::ports::{InPlace, Request, WriterProof};
use crate::report::Failure;

/// How long a stop, start or probe command may take.
const COMMAND: Duration = Duration::from_secs(300);
/// How often, and how far apart, writers are looked for after a stop: processes take a moment.
const LOOKS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// The commands of one component.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    pub component: String,
    pub stop: Option<String>,
    pub start: Option<String>,
}

impl Commands {
    pub(super) fn of(item: &RestoreItem) -> Commands {
        Commands {
            component: item.component.clone(),
            stop: item.stop.clone(),
            start: item.start.clone(),
        }
    }

    /// As the plan names them now.
    pub(super) fn by_plan(world: &World, component: &str) -> Commands {
        let planned = world.plan.component.get(component);
        let text = |value: Option<&lifeboat_model::span::At<String>>| value.map(|v| v.to_string());
        Commands {
            component: component.to_owned(),
            stop: text(planned.and_then(|it| it.stop.as_ref())),
            start: text(planned.and_then(|it| it.start.as_ref())),
        }
    }
}

/// Which services are down, and which were started since.
pub(super) struct Services<'a> {
    world: &'a World,
    down: Vec<String>,
    up: Vec<String>,
}

impl<'a> Services<'a> {
    pub(super) fn new(world: &'a World) -> Services<'a> {
        Services { world, down: Vec::new(), up: Vec::new() }
    }

    /// Stops a component's service, unless that was done already.
    pub(super) fn stop(&mut self, of: &Commands) -> Result<()> {
        let Some(stop) = of.stop.as_ref().filter(|stop| !self.down.contains(stop)) else {
            return Ok(());
        };
        self.down.push(stop.clone());
        self.up.clear();
        run(self.world, "stop", &of.component, stop)
    }

    /// Starts it, unless that was done already. One that fails may be half up: it counts as up.
    pub(super) fn start(&mut self, of: &Commands) -> Result<()> {
        self.down.retain(|stop| Some(stop) != of.stop.as_ref());
        let Some(start) = of.start.as_ref().filter(|start| !self.up.contains(start)) else {
            return Ok(());
        };
        self.up.push(start.clone());
        run(self.world, "start", &of.component, start)
    }

    pub(super) fn is_down(&self, of: &Commands) -> bool {
        of.stop.as_ref().is_some_and(|stop| self.down.contains(stop))
    }

    /// Starts again what is down; failures in words.
    pub(super) fn start_again<'c>(
        &mut self,
        all: impl Iterator<Item = &'c Commands>,
    ) -> Vec<String> {
        let down: Vec<&Commands> = all.filter(|one| self.is_down(one)).collect();
        let failed = |one: &&Commands| Some(Failure::of(&self.start(one).err()?).line());
        down.iter().filter_map(failed).collect()
    }

    /// After a stop command processes get a moment; without one the answer is taken as it is.
    pub(super) fn prove_stopped(&self, of: &Commands, swapper: &dyn InPlace) -> Result<()> {
        let looks = if self.is_down(of) { LOOKS } else { 1 };
        let mut who = Vec::new();
        for look in 0..looks {
            if look > 0 {
                self.world.clock.sleep(BETWEEN);
            }
            match swapper.writers()? {
                WriterProof::Stopped => return Ok(()),
                WriterProof::Running(running) => who = running,
            }
        }
        Err(Error::WritersRunning { component: of.component.clone(), who })
    }

    /// Asks whether the service works.
    pub(super) fn probe(&self, component: &str, command: &str) -> Result<()> {
        run(self.world, "probe", component, command)
    }
}

fn run(world: &World, what: &str, component: &str, command: &str) -> Result<()> {
    let what = format!("the {what} command of {component}");
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
