//! An opened vault: its key, its index, and reading what it holds.
//!
//! Opening goes as far as it can. A damaged key file does not hide a good one, a damaged `config`
//! leaves the vault readable (writing is refused), and a damaged or missing index object is made up
//! for from the packs' own headers. Every such thing is noted and found by [`Vault::check`].

mod blobs;
mod init;
mod keys;
mod load_index;
mod open;
mod snapshots;
mod unpacked;

use std::sync::{Arc, Mutex};

use crate::cache::{Cache, VaultCache};
use crate::config::Config;
use crate::crypto::Key;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::key::MasterSeed;
use crate::lock::LockGuard;
use crate::store::{LockStore, Store, StoreError, StoreErrorKind};

pub(crate) use blobs::{Opened, READ_LIMIT, into_mutable, open_blob, open_both};
pub use keys::{KeyInfo, KeyRotation};
pub(crate) use load_index::{Footing, IndexState, NamedPack};
pub(crate) use open::read_config;
pub use snapshots::{DamagedSnapshot, SnapshotList};
pub(crate) use unpacked::{Folder, Stored, read_named};

/// An opened restic repository. Clones share it.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    locks: Option<Arc<dyn LockStore>>,
    key: Key,
    /// The key object that opened the vault; none if it was opened by a seed.
    key_id: Option<Id>,
    /// Or why there is none.
    config: std::result::Result<Config, String>,
    environment: Environment,
    index: Mutex<Option<Arc<IndexState>>>,
    cache: Option<VaultCache>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vault").field(&self.0.store.describe()).finish()
    }
}

impl Vault {
    /// The repository's id, 64 hexadecimal digits; empty if `config` is damaged.
    pub fn repository_id(&self) -> &str {
        self.0.config.as_ref().map_or("", |config| &config.id)
    }

    /// A public name for the master key: vaults that share it have the same.
    pub fn master_fingerprint(&self) -> String {
        self.0.key.fingerprint()
    }

    /// What another vault of the same plan is made with.
    pub fn seed(&self) -> Result<MasterSeed> {
        Ok(MasterSeed::new(self.0.key.clone(), self.config()?.chunker_polynomial))
    }

    /// The key object that opened the vault.
    pub fn key_id(&self) -> Option<&Id> {
        self.0.key_id.as_ref()
    }

    /// The config, or the damage to it.
    pub fn config(&self) -> Result<&Config> {
        self.0.config.as_ref().map_err(|why| Error::damaged(crate::config::CONFIG_KEY, why.clone()))
    }

    /// The place.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The same vault, read through a local cache. A vault without a readable `config` has none.
    pub fn with_cache(&self, cache: &Cache) -> Vault {
        let monitor = Arc::clone(&self.0.environment.monitor);
        self.cached_by(VaultCache::new(cache, self.repository_id(), monitor))
    }

    /// The same vault, every byte of it read from its store.
    pub fn without_cache(&self) -> Vault {
        if self.0.cache.is_none() { self.clone() } else { self.cached_by(None) }
    }

    fn cached_by(&self, cache: Option<VaultCache>) -> Vault {
        let Inner { store, locks, key, key_id, config, environment, index: _, cache: _ } = &*self.0;
        Vault(Arc::new(Inner {
            store: store.clone(),
            locks: locks.clone(),
            key: key.clone(),
            key_id: *key_id,
            config: config.clone(),
            environment: environment.clone(),
            index: Mutex::default(),
            cache,
        }))
    }

    pub(crate) fn cache(&self) -> Option<&VaultCache> {
        self.0.cache.as_ref()
    }

    pub(crate) fn key(&self) -> &Key {
        &self.0.key
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    pub(crate) fn lock_store(&self) -> Option<&Arc<dyn LockStore>> {
        self.0.locks.as_ref()
    }

    pub(crate) fn note(&self, line: &str) {
        self.0.environment.monitor.note(line);
    }

    pub(crate) fn stop_if_cancelled(&self) -> Result<()> {
        if self.0.environment.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Takes a shared lock: others may read and write, nobody may prune. On a vault opened without
    /// a lock store this is a guard of nothing; so it is, said aloud, where the place can be read
    /// but takes no lock (a full disk, or one mounted for reading): a restore must not fail by that.
    pub fn lock_for_reading(&self) -> Result<LockGuard> {
        match LockGuard::acquire(self, false) {
            Err(Error::NoSpace(cause)) => Ok(self.unlocked(&cause)),
            Err(Error::Store(cause))
                if matches!(cause.kind, StoreErrorKind::Denied | StoreErrorKind::Other) =>
            {
                Ok(self.unlocked(&cause))
            }
            result => result,
        }
    }

    fn unlocked(&self, cause: &StoreError) -> LockGuard {
        self.note(&format!("reading without a lock on the vault: {cause}"));
        LockGuard::none()
    }

    /// Takes a shared lock for adding to the vault.
    pub fn lock_for_writing(&self) -> Result<LockGuard> {
        self.config()?;
        if self.0.locks.is_none() {
            return Err(Error::ReadOnly);
        }
        LockGuard::acquire(self, false)
    }

    /// Takes an exclusive lock, for removing from the vault.
    pub fn lock_exclusively(&self) -> Result<LockGuard> {
        self.config()?;
        if self.0.locks.is_none() {
            return Err(Error::ReadOnly);
        }
        LockGuard::acquire(self, true)
    }
}
