//! Outside commands: `/bin/sh -c` in its own process group, with an empty environment, no input, a
//! timeout that takes the whole group, and the last 64 KiB of what it said.
//!
//! - The environment is what the request names, and `PATH` if it names none.
//! - Standard output and error go to one pipe, so that they stay in order.
//! - The run ends when the shell ends. A process that it left in the background goes on (a step may
//!   start a service); it must not count on our end of the pipe, which is closed.
//! - On timeout the group gets TERM, and KILL after a grace or as soon as the shell is gone. The
//!   shell is not reaped before, so the group's number cannot have passed to somebody else. A
//!   process that made a session of its own escapes.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_recovery::ports::{Outcome, Request, Runner};
use lifeboat_vault::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// The `PATH` of a command that is given none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of the output is kept, bytes.
pub const OUTPUT_KEPT: usize = 64 * 1024;
/// The system's size of a pipe, and of one read from it, bytes.
const PIPE_SIZE: usize = 64 * 1024;
const READ_SIZE: usize = 16 * 1024;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// Runs commands on this machine.
pub struct ShellRunner {
    clock: Arc<dyn Clock>,
    path: String,
    grace: Duration,
}

impl ShellRunner {
    /// A runner whose commands get `path` as `PATH` ([`DEFAULT_PATH`] if `None`).
    pub fn new(clock: Arc<dyn Clock>, path: Option<String>) -> ShellRunner {
        ShellRunner { clock, path: path.unwrap_or_else(|| DEFAULT_PATH.to_owned()), grace: GRACE }
    }

    /// Another grace between TERM and KILL than five seconds.
    pub fn with_grace(mut self, grace: Duration) -> ShellRunner {
        self.grace = grace;
        self
    }

    fn start(&self, request: &Request) -> io::Result<(Child, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(&request.command)
            .env_clear()
            .env("PATH", &self.path)
            .envs(&request.environment)
            .current_dir(&request.folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        // `command` holds our copies of the writing end; it is dropped here, so the pipe ends with
        // the processes that write to it.
        let child = command.spawn()?;
        Ok((child, reader))
    }

    /// Collects output until the shell ends or `until` (on the monotonic clock) has come; true if it ended.
    fn follow(
        &self,
        shell: impl AsFd,
        pipe: &mut PipeReader,
        tail: &mut Tail,
        until: Duration,
    ) -> io::Result<bool> {
        let mut open = true;
        // What the shell itself wrote fits into the pipe; whoever writes after it is not waited for.
        let mut reads_after_end = PIPE_SIZE.div_ceil(READ_SIZE);
        loop {
            let left = until.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut waits = vec![PollFd::new(&shell, PollFlags::IN)];
            if open {
                waits.push(PollFd::new(&*pipe, PollFlags::IN));
            }
            match poll(&mut waits, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ended = !waits[0].revents().is_empty();
            let readable = waits.get(1).is_some_and(|wait| !wait.revents().is_empty());
            if ended && (!readable || reads_after_end == 0) {
                return Ok(true);
            }
            if readable {
                open = tail.read(pipe)?;
                reads_after_end -= usize::from(ended);
            }
        }
    }
}

impl Runner for ShellRunner {
    fn run(&self, request: &Request) -> io::Result<Outcome> {
        let started = self.clock.monotonic();
        let (mut child, mut pipe) = self.start(request)?;
        let group = Pid::from_child(&child);
        let shell = pidfd_open(group, PidfdFlags::empty())?;
        let mut tail = Tail::default();
        let deadline = started.saturating_add(request.timeout);
        let ended = self.follow(&shell, &mut pipe, &mut tail, deadline);
        if !matches!(ended, Ok(true)) {
            // A failure of ours must not leave the command running either.
            signal(group, Signal::TERM)?;
            let until = self.clock.monotonic().saturating_add(self.grace);
            let followed = self.follow(&shell, &mut pipe, &mut tail, until);
            signal(group, Signal::KILL)?;
            followed?;
        }
        let status = child.wait()?;
        let timed_out = !ended?;
        let elapsed = self.clock.monotonic().saturating_sub(started);
        let status = if timed_out || status.signal().is_some() { None } else { status.code() };
        Ok(Outcome { status, timed_out, output: tail.text(), elapsed })
    }
}

/// Signals a process group; one that is gone already is fine.
fn signal(group: Pid, signal: Signal) -> io::Result<()> {
    match kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The end of an output.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    /// Reads what is there; false at the end of the pipe.
    fn read(&mut self, pipe: &mut PipeReader) -> io::Result<bool> {
        let mut buffer = [0; READ_SIZE];
        let count = match pipe.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            other => other?,
        };
        self.bytes.extend_from_slice(&buffer[..count]);
        // Twice the size before the front is dropped: each byte is moved once at most.
        if self.bytes.len() > 2 * OUTPUT_KEPT {
            self.shorten();
        }
        Ok(count > 0)
    }

    fn shorten(&mut self) {
        if self.bytes.len() > OUTPUT_KEPT {
            self.bytes.drain(..self.bytes.len() - OUTPUT_KEPT);
            self.cut = true;
        }
    }

    /// As text; bytes that are not UTF-8 become replacement characters.
    fn text(mut self) -> String {
        self.shorten();
        let continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let skip =
            if self.cut { self.bytes.iter().take(3).take_while(continuation).count() } else { 0 };
        String::from_utf8_lossy(&self.bytes[skip..]).into_owned()
    }
}
