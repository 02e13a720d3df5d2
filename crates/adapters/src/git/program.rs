//! Runs `git` where nobody can answer its questions.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_recovery::ports::SourceError;
use lifeboat_vault::{Cancel, Clock};
use zeroize::Zeroizing;

use crate::piped::{Piped, Run};
use crate::runner::DEFAULT_PATH;

/// The variable through which the credential reaches the helper below.
const TOKEN: &str = "LIFEBOAT_GIT_TOKEN";
/// Prints the credential when `git` asks for one.
const HELPER: &str = "credential.helper=!f() { test \"$1\" = get && \
                      printf 'username=x-access-token\\npassword=%s\\n' \"$LIFEBOAT_GIT_TOKEN\"; }; f";
/// Nobody can answer it, and a side that falls silent is given up.
const SSH: &str = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 \
                   -o ServerAliveCountMax=4";
const MISSING: &str = "git is not installed";

/// How `git` is run.
#[derive(Clone, Copy)]
pub(super) struct Git<'a> {
    /// `HOME`, `SSH_AUTH_SOCK` and the like: the user's own settings count.
    pub surroundings: &'a [(String, String)],
    pub token: Option<&'a Zeroizing<String>>,
    pub clock: &'a dyn Clock,
    pub cancel: &'a Cancel,
}

impl<'a> Git<'a> {
    /// A command with these arguments, in a folder.
    pub fn command<S: AsRef<OsStr>>(&self, folder: &Path, arguments: &[S]) -> Command {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", DEFAULT_PATH).env("LC_ALL", "C");
        command.envs(self.surroundings.iter().map(|(name, value)| (name, value)));
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSH_COMMAND", SSH);
        // A side that falls silent is given up.
        command.args(["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]);
        // Nothing of the other side's choosing runs here.
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"]);
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        if let Some(token) = self.token {
            // An empty one first: helpers of the user's settings are not asked.
            command.args(["-c", "credential.helper=", "-c", HELPER]).env(TOKEN, token.as_str());
        }
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        command
    }

    /// Starts it; `what` and `hint` are for messages.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(
        &self,
        command: Command,
        what: &str,
        hint: &str,
    ) -> Result<Piped<'a>, SourceError> {
        let run = Run {
            what: what.to_owned(),
            hint: hint.to_owned(),
            secrets: self.token.into_iter().cloned().collect(),
            timeout: None,
            clock: self.clock,
            cancel: self.cancel,
        };
        Piped::start(command, run).map_err(|error| match &error {
            SourceError::Read { source, .. } if absent(&**source) => SourceError::Unfit {
                what: MISSING.to_owned(),
                hint: "`apt-get install git`".to_owned(),
            },
            _ => error,
        })
    }

    /// Runs it to its end; what it printed.
    ///
    /// # Errors
    /// If it does not end well.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: &[S],
        what: &str,
        hint: &str,
    ) -> Result<String, SourceError> {
        let mut running = self.start(self.command(folder, arguments), what, hint)?;
        let mut printed = Vec::new();
        let read = running.read_to_end(&mut printed);
        match (running.failure(), read) {
            (Some(why), _) => Err(why),
            (None, Ok(_)) => Ok(String::from_utf8_lossy(&printed).into_owned()),
            (None, Err(source)) => {
                Err(SourceError::Read { what: what.to_owned(), source: source.into() })
            }
        }
    }
}

fn absent(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// True if this is why nothing ran.
pub(super) fn is_missing(error: &SourceError) -> bool {
    matches!(error, SourceError::Unfit { what, .. } if what == MISSING)
}

/// What stands in a repository: its refs in name order, its head, and the commits that they reach.
pub(super) struct Seen {
    pub head: Option<String>,
    pub refs: indexmap::IndexMap<String, String>,
    pub commits: u64,
}

/// Looks at a repository.
///
/// # Errors
/// If `git` cannot read it.
pub(super) fn look(git: &Git<'_>, repository: &Path) -> Result<Seen, SourceError> {
    const HINT: &str = "look at it with `git fsck`";
    let format = ["for-each-ref", "--format=%(objectname) %(refname)"];
    let listed = git.run(repository, &format, "`git for-each-ref`", HINT)?;
    let each = listed.lines().filter_map(|line| line.split_once(' '));
    let refs: indexmap::IndexMap<String, String> =
        each.map(|(object, name)| (name.to_owned(), object.to_owned())).collect();
    // A head that leads to a branch that is not there is none.
    let head = git.run(repository, &["symbolic-ref", "-q", "HEAD"], "`git symbolic-ref`", HINT);
    let head = head.ok().map(|head| head.trim().to_owned()).filter(|head| refs.contains_key(head));
    let counted = git.run(repository, &["rev-list", "--all", "--count"], "`git rev-list`", HINT)?;
    let commits = counted.trim().parse().map_err(|error| SourceError::Read {
        what: "the number of commits".to_owned(),
        source: Box::new(error) as Box<dyn std::error::Error + Send + Sync>,
    })?;
    Ok(Seen { head, refs, commits })
}
