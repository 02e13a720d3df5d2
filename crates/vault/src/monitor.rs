//! What a long run tells about itself while it runs, and how it is asked to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A part of a run that a progress display shows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Source bytes read (or skipped as unchanged).
    Backup,
    /// Bytes written to the restore target.
    Restore,
    /// Stored bytes read and checked.
    Check,
    /// Stored bytes copied into another vault.
    Copy,
    /// Bytes of packs of which the needed part is stored again.
    Prune,
}

/// Receives progress. Called from several threads; must be cheap.
pub trait Monitor: Send + Sync {
    /// The expected total of a stage, when known: bytes and items.
    fn total(&self, stage: Stage, bytes: u64, items: u64);
    /// Work done since the last call.
    fn advance(&self, stage: Stage, bytes: u64, items: u64);
    /// One line for the log (standard error), never a secret.
    fn note(&self, line: &str);
}

/// A monitor that shows nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoMonitor;

impl Monitor for NoMonitor {
    fn total(&self, _: Stage, _: u64, _: u64) {}
    fn advance(&self, _: Stage, _: u64, _: u64) {}
    fn note(&self, _: &str) {}
}

/// A request to stop at the next safe point, set by Ctrl-C. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    /// True once somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
