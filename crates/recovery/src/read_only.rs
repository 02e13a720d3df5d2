//! The read-only side of a tier, which is all that a drill receives.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_vault::{Entry, LockStore, Store, StoreError, StoreErrorKind};

/// A store that a rehearsal may read and nothing more: every write is refused.
pub struct ReadOnly(pub Arc<dyn Store>);

/// The refusal of a read-only store.
#[derive(Debug, thiserror::Error)]
#[error("this run may only read")]
struct MayOnlyRead;

fn refusal(verb: &'static str, key: &str, place: String) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Denied,
        verb,
        key: key.to_owned(),
        place,
        source: Some(Box::new(MayOnlyRead)),
    }
}

impl Store for ReadOnly {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.0.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.0.get_range(key, offset, len)
    }
    fn create(&self, key: &str, _: &[Bytes]) -> Result<(), StoreError> {
        Err(refusal("create", key, self.0.describe()))
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.0.list(prefix)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.0.stat(key)
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
}

/// A lock store that neither makes nor removes locks.
pub struct NoLocks;

impl LockStore for NoLocks {
    fn create_lock(&self, key: &str, _: Bytes) -> Result<(), StoreError> {
        Err(refusal("create", key, "a read-only vault".to_owned()))
    }
    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        Err(refusal("delete", key, "a read-only vault".to_owned()))
    }
}
