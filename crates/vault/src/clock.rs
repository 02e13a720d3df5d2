//! Time as a port: wall and monotonic time are two things, and nobody reads either elsewhere.

use std::time::Duration;

use jiff::Timestamp;

/// The only source of time. Durations within one process come from [`Clock::monotonic`]; instants
/// that are compared across processes or machines come from [`Clock::wall`].
pub trait Clock: Send + Sync {
    /// Wall time, UTC. May step backwards.
    fn wall(&self) -> Timestamp;
    /// Time since an arbitrary origin fixed for this process. Never goes backwards.
    fn monotonic(&self) -> Duration;
    /// Waits.
    fn sleep(&self, span: Duration);
}
