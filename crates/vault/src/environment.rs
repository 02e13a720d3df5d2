//! What a vault needs from the outside beside its store.

use std::sync::Arc;

use crate::clock::Clock;
use crate::monitor::{Cancel, Monitor};

/// Ports and facts about the process, passed to [`crate::Vault::open`] and [`crate::Vault::init`].
#[derive(Clone)]
pub struct Environment {
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// Receives progress.
    pub monitor: Arc<dyn Monitor>,
    /// A request to stop.
    pub cancel: Cancel,
    /// This machine's name, for locks, keys and snapshots.
    pub host: String,
    /// The user's name, for the same.
    pub user: String,
    /// This process.
    pub pid: u32,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("host", &self.host)
            .field("user", &self.user)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
