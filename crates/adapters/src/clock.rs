//! The clock of this machine: the one place that reads real time and that really waits.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use lifeboat_vault::Clock;

/// Wall time from the system clock, monotonic time since this value was made.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now. One a process: spans of two clocks do not compare.
    #[allow(clippy::disallowed_methods)] // The adapter itself.
    pub fn new() -> SystemClock {
        SystemClock { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // The adapter itself.
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    #[allow(clippy::disallowed_methods)] // The adapter itself.
    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}
