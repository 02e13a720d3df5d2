//! What a drill receives: reading, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use lifeboat_vault::{Entry, Store, StoreError, StoreErrorKind};

/// Passes reads on, refuses writes as denied, and counts the attempts.
pub struct ReadOnlyStore {
    inner: Arc<dyn Store>,
    attempts: AtomicUsize,
}

impl ReadOnlyStore {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        ReadOnlyStore { inner, attempts: AtomicUsize::new(0) }
    }

    /// How many writes were tried.
    pub fn write_attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

impl Store for ReadOnlyStore {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, offset, len)
    }
    fn create(&self, key: &str, _: &[Bytes]) -> Result<(), StoreError> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        Err(crate::error(StoreErrorKind::Denied, "create", key, &self.describe()))
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.inner.stat(key)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}
