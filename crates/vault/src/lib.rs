//! Floor 1: reads and writes restic repositories (format version 2) over a narrow [`Store`].
//!
//! Knows nothing of plans and is useful as a library by itself.

pub mod clock;
pub mod monitor;
pub mod store;

pub use clock::Clock;
pub use monitor::{Cancel, Monitor, NoMonitor, Stage};
pub use store::{DeleteStore, Entry, LockStore, Store, StoreError, StoreErrorKind};
