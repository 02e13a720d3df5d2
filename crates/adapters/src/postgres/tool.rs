//! Runs PostgreSQL's own programs on a copy: under the server's account, with an environment of
//! ours, until they end or somebody asks to stop.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lifeboat_recovery::ports::EngineError;
use lifeboat_vault::{Cancel, Clock};

use super::account::Account;
use super::{broken, failed};
use crate::runner::DEFAULT_PATH;

/// Between two looks at a running program.
const PAUSE: Duration = Duration::from_millis(10);

/// What running programs needs.
#[derive(Clone)]
pub(super) struct Tools {
    pub account: Account,
    pub clock: Arc<dyn Clock>,
    pub cancel: Cancel,
}

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    pub status: ExitStatus,
    pub out: Vec<u8>,
    pub error: String,
}

impl Said {
    /// Its last words, on one line.
    pub fn why(&self) -> String {
        let text = match self.error.trim() {
            "" => String::from_utf8_lossy(&self.out).into_owned(),
            error => error.to_owned(),
        };
        let lines: Vec<&str> = text.trim().lines().collect();
        let tail = &lines[lines.len().saturating_sub(4)..];
        match tail.is_empty() {
            true => self.status.to_string(),
            false => tail.join("; "),
        }
    }
}

impl Tools {
    /// A command under the account, in `folder`, with nothing of our environment.
    pub fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        self.account.become_by(&mut command);
        command.env_clear().env("PATH", DEFAULT_PATH).env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    /// The same with a file as its input.
    pub fn run_with(&self, command: &mut Command, input: File) -> Result<Said, EngineError> {
        command.stdin(input);
        self.run(command)
    }

    /// Runs a command to its end and keeps what it says.
    pub fn run(&self, command: &mut Command) -> Result<Said, EngineError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let run = || failed(format!("run {name}"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(run())?;
        let (out, error) = (child.stdout.take(), child.stderr.take());
        let said = thread::scope(|scope| {
            let out = scope.spawn(|| read(out));
            let error = scope.spawn(|| read(error));
            let status = self.wait(&mut child);
            let join = |read: thread::ScopedJoinHandle<'_, io::Result<Vec<u8>>>| {
                read.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            (status, join(out), join(error))
        });
        let status = said.0.map_err(run())?;
        if self.cancel.is_cancelled() && !status.success() {
            return Err(broken("somebody asked to stop"));
        }
        let error = String::from_utf8_lossy(&said.2.map_err(run())?).into_owned();
        Ok(Said { status, out: said.1.map_err(run())?, error })
    }

    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if self.cancel.is_cancelled() {
                child.kill()?;
                return child.wait();
            }
            self.clock.sleep(PAUSE);
        }
    }
}

fn read(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
