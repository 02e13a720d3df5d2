//! Floor 3: the world. Drivers behind the ports of the floors below: the local tier, the clock, the
//! runner of outside commands, and the engines.

pub mod clock;
pub mod files;
pub mod sqlite;
pub mod store;

pub use clock::SystemClock;
pub use store::{LocalTier, Locks, Probe};
