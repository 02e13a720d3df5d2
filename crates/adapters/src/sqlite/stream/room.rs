//! When room is made in the log: often enough that it stays small, seldom enough that nobody
//! notices.

use std::time::Duration;

use lifeboat_vault::Clock;

use super::Limits;
use super::tail::{Room, Tail};

/// The shortest time between two attempts.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);
/// The write lock is held for at most this part of the time, and where the disk is so slow that it
/// is held for longer than [`SLOW`], for that one: then hardly anybody meets it.
const SHARES: (u32, u32) = (50, 400);
const SLOW: Duration = Duration::from_millis(25);
/// The write lock is taken where the log is so many times longer than it should be.
const FORCE: u32 = 2;
/// Between two notices that the log grows.
const NOTICE: Duration = Duration::from_secs(600);

/// When to try next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    next: Duration,
    noticed: Option<Duration>,
    /// The longest that the write lock was held.
    pub longest: Duration,
    /// Times that room was made.
    pub made: u64,
    /// A long reader is in the way.
    pub read: bool,
}

impl Plan {
    /// Whether to try now, and if so, whether under the write lock.
    pub fn due(&self, tail: &Tail, limits: &Limits, clock: &dyn Clock) -> Option<bool> {
        let frames = tail.seen.frames;
        // Where all is copied already, and held so, the next writer starts the log over.
        let idle = tail.pins.rest.is_some();
        if frames < limits.frames || idle || clock.monotonic() < self.next {
            return None;
        }
        Some(frames >= limits.frames.saturating_mul(FORCE))
    }

    /// Remembers how it went; a notice if the log has grown long.
    pub fn note(
        &mut self,
        room: Room,
        tail: &Tail,
        limits: &Limits,
        clock: &dyn Clock,
    ) -> Option<String> {
        let now = clock.monotonic();
        let held = match room {
            Room::Made(held) => held,
            _ => Duration::ZERO,
        };
        self.made += u64::from(matches!(room, Room::Made(_)));
        self.read = room == Room::Read;
        self.longest = self.longest.max(held);
        let share = if held > SLOW { SHARES.1 } else { SHARES.0 };
        self.next = now + (held * share).clamp(SHORTEST, LONGEST);
        let long = tail.seen.frames >= limits.frames.saturating_mul(16);
        let quiet = self.noticed.is_some_and(|at| now.saturating_sub(at) < NOTICE);
        if !self.read || !long || quiet {
            return None;
        }
        self.noticed = Some(now);
        Some(format!(
            "a long transaction of another process keeps the write-ahead log from starting over: it \
             has {} MiB",
            tail.in_use() >> 20
        ))
    }
}
