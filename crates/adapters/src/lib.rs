//! Floor 3: the world. Drivers behind the ports of the floors below: the local tier, the clock, the
//! runner of outside commands, and the engines.

pub mod clock;
pub mod command;
pub mod disk;
pub mod files;
pub mod git;
mod lease;
mod piped;
pub mod postgres;
mod printed;
pub mod runner;
pub mod sqlite;
pub mod store;

pub use clock::SystemClock;
pub use disk::SystemDisk;
pub use runner::ShellRunner;
pub use store::{LocalPlace, LocalTier};
