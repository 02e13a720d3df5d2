//! The right to create and remove objects under `locks/`, and nothing else.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use lifeboat_vault::{DeleteStore, LockStore, Store, StoreError, StoreErrorKind};

/// The folder of the locks, relative to the store.
const FOLDER: &str = "locks/";

/// Locks of one store.
#[derive(Clone)]
pub struct Locks {
    store: Arc<dyn Store>,
    deleter: Arc<dyn DeleteStore>,
}

impl Locks {
    /// Locks of `store`, removed by `deleter`, which must be of the same store.
    pub fn new(store: Arc<dyn Store>, deleter: Arc<dyn DeleteStore>) -> Locks {
        Locks { store, deleter }
    }

    fn is_lock(&self, verb: &'static str, key: &str) -> Result<(), StoreError> {
        match key.strip_prefix(FOLDER) {
            Some(name) if !name.is_empty() && !name.contains('/') && !name.starts_with('.') => {
                Ok(())
            }
            _ => Err(StoreError {
                kind: StoreErrorKind::Denied,
                verb,
                key: key.to_owned(),
                place: self.store.describe(),
                source: Some(Box::new(io::Error::other("only locks come and go here"))),
            }),
        }
    }
}

impl LockStore for Locks {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.is_lock("create", key)?;
        self.store.create(key, &[body])
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        self.is_lock("delete", key)?;
        self.deleter.delete(key)
    }
}
