//! Anything that a command prints.
//!
//! The commands run under `bash` with `pipefail` where it is installed, so that a program that fails in
//! the middle of a pipe fails the command; without it a pipe is refused. They get an empty environment
//! but for `PATH`, `HOME` and what the plan names, and run in the plan's base folder.

mod engine;
mod source;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lifeboat_recovery::ports::SourceError;
use lifeboat_vault::{Cancel, Clock};
use zeroize::Zeroizing;

pub use self::engine::CommandEngine;
pub use self::source::CommandSource;
use crate::piped::Run;

const BASH: &str = "/bin/bash";

/// What the plan says of such a component.
pub struct CommandOptions {
    /// The component's name.
    pub component: String,
    /// Prints the data.
    pub dump: String,
    /// Where they run, absolute.
    pub folder: PathBuf,
    /// `PATH` and `HOME`, which are no secrets.
    pub surroundings: Vec<(String, String)>,
    /// What the plan names, with its values.
    pub environment: Vec<(String, Zeroizing<String>)>,
    /// Ended after so long.
    pub timeout: Option<Duration>,
}

impl CommandOptions {
    fn command(&self, line: &str) -> Result<Command, SourceError> {
        let bash = Path::new(BASH).exists();
        if !bash && line.replace("||", "").contains('|') {
            return Err(SourceError::Unfit {
                what: "a pipe hides the failure of a program in it, and bash, which would tell, \
                       is not installed"
                    .to_owned(),
                hint: "`apt-get install bash`, or a command without a pipe".to_owned(),
            });
        }
        let mut command = Command::new(if bash { BASH } else { "/bin/sh" });
        if bash {
            command.args(["--noprofile", "--norc", "-o", "pipefail"]);
        }
        command.arg("-c").arg(line).env_clear().current_dir(&self.folder);
        command.envs(self.surroundings.iter().map(|(name, value)| (name, value)));
        command.envs(self.environment.iter().map(|(name, value)| (name, value.as_str())));
        Ok(command)
    }

    fn run<'a>(&self, verb: &str, clock: &'a dyn Clock, cancel: &'a Cancel) -> Run<'a> {
        Run {
            what: format!("`{verb}` of {}", self.component),
            hint: "run the command by hand, with the same environment".to_owned(),
            secrets: self.environment.iter().map(|(_, value)| value.clone()).collect(),
            timeout: self.timeout,
            clock,
            cancel,
        }
    }
}
