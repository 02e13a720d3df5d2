//! One outside action: a command with a timeout, kept output and an empty environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What to run.
#[derive(Debug, Clone)]
pub struct Request {
    /// A shell command line (`/bin/sh -c`).
    pub command: String,
    /// The whole environment of the command; nothing is inherited but `PATH`.
    pub environment: BTreeMap<String, String>,
    /// Working folder.
    pub folder: PathBuf,
    /// Killed, with its process group, after this.
    pub timeout: Duration,
}

/// What happened.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit status; `None` when killed by a signal or by the timeout.
    pub status: Option<i32>,
    /// True if the timeout ended it.
    pub timed_out: bool,
    /// Standard output and error, interleaved, the last 64 KiB.
    pub output: String,
    /// How long it ran.
    pub elapsed: Duration,
}

/// Runs outside actions. A drill receives a sandboxed one that refuses.
pub trait Runner: Send + Sync {
    /// Runs to the end or to the timeout. An error means that it could not be started.
    fn run(&self, request: &Request) -> std::io::Result<Outcome>;
}

/// The runner of a drill: nothing that a plan names reaches out from a rehearsal.
#[derive(Debug, Default, Clone, Copy)]
pub struct RefusingRunner;

impl Runner for RefusingRunner {
    fn run(&self, _: &Request) -> std::io::Result<Outcome> {
        Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            "a drill runs no outside actions",
        ))
    }
}
