//! What the plan says of components that outside programs read, as their adapters take it.

use std::path::PathBuf;

use lifeboat_adapters::command::CommandOptions;
use lifeboat_adapters::git::GitOptions;
use lifeboat_model::plan::{Command, Git, paths};
use lifeboat_recovery::ports::EngineError;
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

/// Why such a component is not replaced in place.
pub(super) fn not_in_place(name: &str) -> EngineError {
    EngineError::Refused {
        what: format!("{name} is not replaced in place"),
        hint: format!("`lifeboat restore {name} --to DIR`, then bring it where it belongs"),
    }
}
