//! What an outside program prints, as a stream that ends well only if the program did.
//!
//! - The program is the head of a process group of its own; whoever stops reading before its end,
//!   asks to stop, or has no more time, ends the whole group, and with its end goes what it left behind.
//! - Its exit status is known before the last read says "end": half of what it had to say is an error
//!   of the stream, whatever came before.
//! - The last of what it says on standard error is kept for the message; secrets are taken out of it.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use lifeboat_recovery::ports::SourceError;
use lifeboat_vault::{Cancel, Clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

/// The last words of a program that are kept.
const WORDS: usize = 4 << 10;
/// Between two looks at whether somebody asked to stop.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at whether a program that has closed its output has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// How a program is run.
pub(crate) struct Run<'a> {
    /// What it is, for messages: `pg_dump of shop`.
    pub what: String,
    /// What the reader can do when it fails.
    pub hint: String,
    /// What must not be repeated in messages.
    pub secrets: Vec<Zeroizing<String>>,
    /// Ended after so long.
    pub timeout: Option<Duration>,
    pub clock: &'a dyn Clock,
    pub cancel: &'a Cancel,
}

/// A running program.
pub(crate) struct Piped<'a> {
    run: Run<'a>,
    child: Child,
    words: Option<JoinHandle<String>>,
    until: Option<Duration>,
    over: bool,
    failure: Option<SourceError>,
}

impl<'a> Piped<'a> {
    /// Starts a program whose standard output is read here; its standard input is empty unless
    /// `command` says otherwise.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command, run: Run<'a>) -> Result<Self, SourceError> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let spawned = command.spawn();
        let mut child = spawned
            .map_err(|error| SourceError::Read { what: run.what.clone(), source: error.into() })?;
        let words = child.stderr.take().map(|stderr| std::thread::spawn(|| last_words(stderr)));
        let until = run.timeout.map(|timeout| run.clock.monotonic().saturating_add(timeout));
        Ok(Piped { run, child, words, until, over: false, failure: None })
    }

    /// Why the stream failed, where it was this program's doing.
    pub fn failure(&mut self) -> Option<SourceError> {
        self.failure.take()
    }

    /// Waits until there is something to read. An error if it may take no longer.
    fn wait(&mut self) -> io::Result<()> {
        loop {
            let look = self.may_go_on()?;
            let Some(stdout) = &self.child.stdout else { return Ok(()) };
            let timeout = Timespec::try_from(look).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&timeout)) {
                // What it left behind may hold its output open, and print into it for ever.
                Ok(0) if self.has_ended()? => self.kill_group(),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How long it may be waited for before the next look. An error if somebody asked to stop, or its
    /// time is up: then it was ended.
    fn may_go_on(&mut self) -> io::Result<Duration> {
        if self.run.cancel.is_cancelled() {
            return self.fail(SourceError::Vault(lifeboat_vault::Error::Cancelled));
        }
        let (Some(until), Some(timeout)) = (self.until, self.run.timeout) else { return Ok(LOOK) };
        let left = until.saturating_sub(self.run.clock.monotonic());
        if left.is_zero() {
            let why = format!("had not ended after {} s", timeout.as_secs_f64());
            return self.fail(SourceError::Unfit {
                what: format!("{} {why}", self.run.what),
                hint: "give it a longer `timeout`, or see what holds it up".to_owned(),
            });
        }
        Ok(left.min(LOOK))
    }

    fn fail<T>(&mut self, why: SourceError) -> io::Result<T> {
        self.kill();
        self.failure = Some(why);
        Err(io::Error::other("the program was ended"))
    }

    /// It closed its output: it may go on for a while all the same.
    fn end(&mut self) -> io::Result<()> {
        while !self.has_ended()? {
            let look = self.may_go_on()?;
            self.run.clock.sleep(look.min(PAUSE));
        }
        self.kill_group();
        let status = self.child.wait()?;
        self.over = true;
        if status.success() {
            return Ok(());
        }
        let said = self.said();
        let what = format!("{} failed ({status}){said}", self.run.what);
        self.failure = Some(SourceError::Unfit { what, hint: self.run.hint.clone() });
        Err(io::Error::other("the program failed"))
    }

    /// True once the program itself has ended. It is not reaped: its number stays its group's.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_some())
    }

    fn kill_group(&self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    /// Its last words on one line, after a colon.
    fn said(&mut self) -> String {
        let mut said = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        for secret in self.run.secrets.iter().filter(|secret| !secret.is_empty()) {
            said = said.replace(secret.as_str(), "(secret)");
        }
        match said.trim() {
            "" => String::new(),
            said => format!(": {}", said.replace('\n', " · ")),
        }
    }

    /// Ends the group. What is gone already is fine.
    fn kill(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.kill_group();
            let _ = self.child.wait();
        }
    }
}

impl Read for Piped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over || buffer.is_empty() {
            return Ok(0);
        }
        self.wait()?;
        let read = self.child.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(buffer))?;
        if read == 0 {
            self.end()?;
        }
        Ok(read)
    }
}

impl Drop for Piped<'_> {
    fn drop(&mut self) {
        // Half of it helps nobody.
        self.kill();
    }
}

/// Reads to the end and keeps the last of it.
fn last_words(mut stderr: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(WORDS));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_words_are_kept() {
        let long = [vec![b'a'; 10_000], b"the end".to_vec()].concat();
        let kept = last_words(&long[..]);
        assert!(kept.len() == WORDS && kept.ends_with("the end"));
    }
}
