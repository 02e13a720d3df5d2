//! What the plan says of components that outside programs read, as their adapters take it.

use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_adapters::command::{CommandInPlace, CommandOptions};
use lifeboat_adapters::git::GitOptions;
use lifeboat_model::plan::{Command, Git, Kind, Plan, paths};
use lifeboat_recovery::ports::{EngineError, InPlace};
use lifeboat_vault::{Cancel, Clock, Monitor};
use zeroize::Zeroizing;

use super::secrets::Secrets;
use super::server::Unfit;

/// What such a program gets to see of ours, where it is set. No secrets.
const SURROUNDINGS: [&str; 5] = ["PATH", "HOME", "SSH_AUTH_SOCK", "LANG", "TMPDIR"];

/// Where their parts of the plan are resolved.
pub(super) struct Programs {
    pub(super) secrets: Secrets,
    /// The local state of the plan.
    pub(super) state: PathBuf,
}

impl Programs {
    /// A component that a command dumps.
    pub(super) fn command(
        &self,
        component: &str,
        command: &Command,
    ) -> Result<CommandOptions, Unfit> {
        let named = command.env.iter().map(|name| Ok((name.to_string(), self.value(name)?)));
        Ok(CommandOptions {
            component: component.to_owned(),
            dump: command.dump.to_string(),
            load: command.load.as_ref().map(|line| line.to_string()),
            folder: self.secrets.base.clone(),
            surroundings: self.surroundings(),
            environment: named.collect::<Result<_, Unfit>>()?,
            timeout: command.timeout.as_ref().map(|timeout| timeout.std()),
        })
    }

    /// A repository.
    pub(super) fn git(&self, component: &str, git: &Git) -> Result<GitOptions, Unfit> {
        let token = git.token_env.as_ref().map(|name| self.value(name)).transpose()?;
        // A path of this machine is one below the base; `host:path` and addresses are none.
        let url = match git.url.contains(':') {
            true => git.url.to_string(),
            false => {
                paths::resolve(&self.secrets.base, git.url.as_str()).to_string_lossy().into_owned()
            }
        };
        Ok(GitOptions {
            component: component.to_owned(),
            url,
            token,
            mirror: self.state.join("git").join(format!("{component}.git")),
            surroundings: self.surroundings(),
        })
    }

    /// What replaces the live data of such a component.
    ///
    /// # Errors
    /// If it has no way to be replaced.
    pub(super) fn in_place(
        &self,
        name: &str,
        plan: &Plan,
        (clock, cancel, monitor): (Arc<dyn Clock>, Cancel, Arc<dyn Monitor>),
    ) -> Result<Box<dyn InPlace>, EngineError> {
        let refused = |what: String, hint: String| EngineError::Refused { what, hint };
        let component = plan.component.get(name);
        let Some(Kind::Command(command)) = component.map(|component| &component.kind) else {
            return Err(refused(
                format!("{name} is not replaced in place"),
                format!("`lifeboat restore {name} --to DIR`, then push it where it belongs"),
            ));
        };
        let options = self.command(name, command).map_err(|why| refused(why.what, why.hint))?;
        let folder = self.state.join("command").join(name);
        let stops = component.is_some_and(|component| component.stop.is_some());
        Ok(Box::new(CommandInPlace::new(options, folder, stops, (clock, cancel, monitor))?))
    }

    /// What a load that was cut off has left, in words.
    pub(super) fn unsettled(&self, name: &str) -> Option<String> {
        lifeboat_adapters::command::unsettled(name, &self.state.join("command").join(name))
    }

    fn surroundings(&self) -> Vec<(String, String)> {
        let text = |name: &str| Some((name.to_owned(), self.secrets.environment.text(name)?));
        SURROUNDINGS.iter().filter_map(|name| text(name)).collect()
    }

    fn value(&self, name: &str) -> Result<Zeroizing<String>, Unfit> {
        let value = self.secrets.variable(name).map(Zeroizing::new);
        value.ok_or_else(|| Unfit {
            what: format!("the environment variable {name} is not set"),
            hint: format!("`export {name}=…` where lifeboat runs"),
        })
    }
}
