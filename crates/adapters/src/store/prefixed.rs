//! A part of a store as a store: `vault/` of a tier for the vault.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_vault::{DeleteStore, Entry, Store, StoreError};

/// Every key of the inner store under one folder, named without it.
#[derive(Debug)]
pub struct Prefixed<S: ?Sized> {
    inner: Arc<S>,
    prefix: String,
}

impl<S: ?Sized> Prefixed<S> {
    /// The part of `inner` under the folder `prefix`; `""` is the whole.
    pub fn new(inner: Arc<S>, prefix: &str) -> Prefixed<S> {
        let folder = prefix.trim_matches('/');
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Prefixed { inner, prefix }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Errors name the key as the caller did; the folder moves to the place.
    fn outward(&self, mut error: StoreError) -> StoreError {
        if !self.prefix.is_empty()
            && let Some(key) = error.key.strip_prefix(&self.prefix)
        {
            error.key = key.to_owned();
            error.place = format!("{}/{}", error.place, self.prefix.trim_end_matches('/'));
        }
        error
    }
}

impl<S: ?Sized> Clone for Prefixed<S> {
    fn clone(&self) -> Self {
        Prefixed { inner: self.inner.clone(), prefix: self.prefix.clone() }
    }
}

impl<S: Store + ?Sized> Store for Prefixed<S> {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(&self.key(key)).map_err(|e| self.outward(e))
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.inner.get_range(&self.key(key), offset, len).map_err(|e| self.outward(e))
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.inner.create(&self.key(key), parts).map_err(|e| self.outward(e))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.inner.list(&self.key(prefix)).map_err(|e| self.outward(e))?;
        for entry in &mut entries {
            entry.key.drain(..self.prefix.len());
        }
        Ok(entries)
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        let entry = self.inner.stat(&self.key(key)).map_err(|e| self.outward(e))?;
        Ok(Entry { key: key.to_owned(), ..entry })
    }

    fn describe(&self) -> String {
        let place = self.inner.describe();
        match self.prefix.trim_end_matches('/') {
            "" => place,
            folder => format!("{place}/{folder}"),
        }
    }
}

impl<S: DeleteStore + ?Sized> DeleteStore for Prefixed<S> {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(&self.key(key)).map_err(|e| self.outward(e))
    }
}
