//! Time that moves only when a test moves it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat_vault::Clock;

/// A clock for tests. Sleeping returns at once and moves both times on.
#[derive(Debug)]
pub struct SimClock(Mutex<Times>);

#[derive(Debug)]
struct Times {
    wall: Timestamp,
    monotonic: Duration,
}

impl SimClock {
    /// A clock that shows `wall`.
    pub fn at(wall: Timestamp) -> Self {
        SimClock(Mutex::new(Times { wall, monotonic: Duration::from_secs(1000) }))
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        let mut times = self.times();
        times.monotonic += span;
        times.wall += span;
    }

    /// Sets the wall clock forth or back; monotonic time does not notice.
    pub fn step_wall(&self, by: SignedDuration) {
        self.times().wall += by;
    }
}

impl Default for SimClock {
    /// 2026-01-02T03:04:05.678Z.
    fn default() -> Self {
        SimClock::at(Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_767_323_045_678))
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        self.times().wall
    }
    fn monotonic(&self) -> Duration {
        self.times().monotonic
    }
    fn sleep(&self, span: Duration) {
        self.advance(span);
    }
}
