//! The right to create and remove objects under `locks/`, and nothing else.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use lifeboat_vault::{DeleteStore, LockStore, Store, StoreError, StoreErrorKind};

use super::{LocalDeleter, LocalTier};

/// The folder of the locks, relative to the store that they guard.
const FOLDER: &str = "locks/";

/// Locks of the part of a local tier below one folder.
#[derive(Debug, Clone)]
pub struct Locks {
    tier: Arc<LocalTier>,
    deleter: LocalDeleter,
    prefix: String,
}

impl Locks {
    pub(super) fn new(tier: Arc<LocalTier>, deleter: LocalDeleter, prefix: &str) -> Locks {
        let folder = prefix.trim_matches('/');
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Locks { tier, deleter, prefix }
    }

    /// The key in the tier, if it is one of a lock.
    fn key(&self, verb: &'static str, key: &str) -> Result<String, StoreError> {
        match key.strip_prefix(FOLDER) {
            Some(name) if !name.is_empty() && !name.contains('/') && !name.starts_with('.') => {
                Ok(format!("{}{key}", self.prefix))
            }
            _ => Err(StoreError {
                kind: StoreErrorKind::Denied,
                verb,
                key: key.to_owned(),
                place: self.tier.describe(),
                source: Some(Box::new(io::Error::other("only locks come and go here"))),
            }),
        }
    }
}

impl LockStore for Locks {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.tier.create(&self.key("create", key)?, &[body])
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        self.deleter.delete(&self.key("delete", key)?)
    }
}
