//! A machine that dies: after the k-th write every call fails, and what the writes left behind can
//! be opened again.
//!
//! Fault model: a write is there whole or not at all (the duty of `Store::create`), writes reach
//! the store one after the other, and nothing that was acknowledged is lost. Removing a lock counts
//! as a write. The sweep over all k is one run: the image after each write is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lifeboat_vault::{DeleteStore, Entry, LockStore, Store, StoreError, StoreErrorKind};

use crate::MemoryStore;

/// See the module.
pub struct CrashStore {
    inner: MemoryStore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    writes: Vec<String>,
    images: Vec<MemoryStore>,
    die_after: Option<usize>,
}

impl CrashStore {
    /// Wraps a store that never dies but keeps its image after each write.
    pub fn recording(inner: MemoryStore) -> Self {
        CrashStore { inner, state: Mutex::default() }
    }

    /// Wraps a store that dies after `writes` further writes.
    pub fn dying_after(inner: MemoryStore, writes: usize) -> Self {
        let state = State { die_after: Some(writes), ..State::default() };
        CrashStore { inner, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written, in order: `create KEY`, `remove KEY`.
    pub fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// Takes the images after each write, in the order of [`CrashStore::writes`].
    pub fn take_images(&self) -> Vec<MemoryStore> {
        std::mem::take(&mut self.state().images)
    }

    /// The present state, whether dead or not: what a reboot finds.
    pub fn frozen(&self) -> MemoryStore {
        self.inner.image()
    }

    fn alive(&self, verb: &'static str, key: &str) -> Result<(), StoreError> {
        let state = self.state();
        match state.die_after {
            Some(limit) if state.writes.len() >= limit => {
                Err(crate::error(StoreErrorKind::Unreachable, verb, key, "a dead machine"))
            }
            _ => Ok(()),
        }
    }

    /// Writes are serialised so that the order of images is the order of effects.
    fn write(
        &self,
        verb: &'static str,
        key: &str,
        call: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.die_after.is_some_and(|limit| state.writes.len() >= limit) {
            return Err(crate::error(StoreErrorKind::Unreachable, verb, key, "a dead machine"));
        }
        call()?;
        state.writes.push(format!("{verb} {key}"));
        if state.die_after.is_none() {
            let image = self.inner.image();
            state.images.push(image);
        }
        Ok(())
    }
}

impl Store for CrashStore {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.alive("get", key)?;
        self.inner.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.alive("get", key)?;
        self.inner.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.write("create", key, || self.inner.create(key, parts))
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.alive("list", prefix)?;
        self.inner.list(prefix)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.alive("stat", key)?;
        self.inner.stat(key)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl DeleteStore for CrashStore {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.write("remove", key, || self.inner.delete(key))
    }
}

impl LockStore for CrashStore {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.write("create", key, || self.inner.create_lock(key, body))
    }
    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        self.write("remove", key, || self.inner.remove_lock(key))
    }
}
