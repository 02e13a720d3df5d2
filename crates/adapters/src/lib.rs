//! Floor 3: the world. Drivers behind the ports of the floors below: the local tier, the clock, the

pub mod clock;
pub mod sqlite;
pub mod store;

pub use clock::SystemClock;
pub use store::{LocalTier, Locks, Probe};
