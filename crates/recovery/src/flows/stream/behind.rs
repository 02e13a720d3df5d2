//! What goes on behind a stream, in a thread of its own: tiers that lag are served, and what lies loose
//! is packed. Neither keeps the log waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::env::World;
use crate::error::Result;
use crate::journal::{Copier, JournalError, PackPolicy, Packer};
use crate::report::Failure;

/// Between two looks for what other tiers lack.
const COPY: Duration = Duration::from_millis(500);
/// Objects copied to another tier before the thread looks whether it is to end.
pub(super) const AT_ONCE: usize = 64;
/// Between two looks whether there is something to pack.
const PACK: Duration = Duration::from_secs(60);

/// The work, and how it ended.
pub(super) struct Behind<'a> {
    pub(super) world: &'a World,
    pub(super) component: &'a str,
    pub(super) copier: Copier,
    pub(super) packer: Packer,
    /// Set when it cannot go on: the stream is to end, whose thread then gets the reason.
    pub(super) failed: &'a AtomicBool,
}

struct Alarm<'a> {
    failed: &'a AtomicBool,
    on: bool,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.failed.store(self.on, Ordering::SeqCst);
    }
}

impl Behind<'_> {
    /// Until the channel is closed.
    ///
    /// # Errors
    /// [`JournalError::Taken`]: somebody else writes this journal.
    pub(super) fn run(&self, ended: &Receiver<()>) -> Result<()> {
        // Also if this thread dies.
        let mut alarm = Alarm { failed: self.failed, on: true };
        let done = self.rounds(ended);
        alarm.on = done.is_err();
        done
    }

    fn rounds(&self, ended: &Receiver<()>) -> Result<()> {
        let mut next_pack = self.world.clock.monotonic();
        let mut said = Vec::new();
        loop {
            let done = self.copier.catch_up(AT_ONCE)?;
            self.say(&mut said, done.problems);
            if self.world.clock.monotonic() >= next_pack {
                next_pack = self.world.clock.monotonic() + PACK;
                self.pack()?;
            }
            match ended.recv_timeout(COPY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// A tier's trouble is said once, as long as it stays the same.
    fn say(&self, said: &mut Vec<(String, String)>, problems: Vec<(String, String)>) {
        for (tier, why) in problems {
            if !said.contains(&(tier.clone(), why.clone())) {
                self.world.monitor.note(&format!("{}: tier {tier}: {why}", self.component));
                said.retain(|(of, _)| *of != tier);
                said.push((tier, why));
            }
        }
    }

    /// Small objects become one; that it cannot be done now is said, and stops nothing.
    fn pack(&self) -> Result<()> {
        match self.packer.pack(&PackPolicy::default()) {
            Ok(_) => Ok(()),
            Err(error @ JournalError::Taken { .. }) => Err(error.into()),
            Err(error) => {
                let line = Failure::of(&error.into()).line();
                let line = format!("{}: nothing could be packed: {line}", self.component);
                self.world.monitor.note(&line);
                Ok(())
            }
        }
    }
}
