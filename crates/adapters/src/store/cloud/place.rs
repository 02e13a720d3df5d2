//! A prefix of a bucket as the place of a tier.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use lifeboat_recovery::ports::{KeyRights, Opened, Place, Presence};
use lifeboat_vault::{Clock, DeleteStore, Store, StoreError, StoreErrorKind};

use super::super::{JournalDeleter, KeyDeleter, Locks, Prefixed};
use super::{CloudOptions, CloudTier, Unusable};

/// The folder of the vault in a tier.
const VAULT: &str = "vault";
/// How many names of other things are told.
const NAMES: usize = 3;

/// The place of a tier in an object store.
#[derive(Debug)]
pub struct CloudPlace {
    tier: Arc<CloudTier>,
}

impl CloudPlace {
    /// Makes ready; nothing is asked yet.
    ///
    /// # Errors
    /// If the options do not fit together.
    pub fn new(options: &CloudOptions, clock: Arc<dyn Clock>) -> Result<CloudPlace, Unusable> {
        Ok(CloudPlace { tier: Arc::new(CloudTier::new(options, clock)?) })
    }

    /// A vault has a config; one whose making was interrupted has at least a key.
    fn has_vault(&self) -> Result<bool, StoreError> {
        match self.tier.stat("vault/config") {
            Ok(_) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                Ok(!self.tier.list("vault/keys")?.is_empty())
            }
            Err(error) => Err(error),
        }
    }
}

impl Place for CloudPlace {
    /// A bucket that is not there is unreachable, never absent: none is made here.
    fn look(&self) -> Result<Presence, StoreError> {
        if self.has_vault()? {
            return Ok(Presence::Vault);
        }
        let mut names = self.tier.names()?;
        names.sort_unstable_by_key(|name| (name != VAULT, name.clone()));
        names.truncate(NAMES);
        Ok(if names.is_empty() { Presence::Empty } else { Presence::Other(names) })
    }

    fn open(&self, _make: bool) -> Result<Opened, StoreError> {
        let (store, deleter) = (self.tier.clone(), Arc::new(self.tier.deleter()));
        let vault = Arc::new(Prefixed::new(store.clone(), VAULT));
        let locks = Arc::new(Locks::new(store.clone(), deleter, VAULT, None));
        Ok(Opened { locks, vault, store })
    }

    fn deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        Ok(Arc::new(Prefixed::new(Arc::new(self.tier.deleter()), VAULT)))
    }

    fn journal_deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        Ok(Arc::new(JournalDeleter::new(self.tier.describe(), Arc::new(self.tier.deleter()))))
    }

    fn key_rights(&self) -> Result<KeyRights, StoreError> {
        let (place, deleter) = (self.tier.describe(), Arc::new(self.tier.deleter()));
        let keys = Arc::new(KeyDeleter::keys(place.clone(), deleter.clone(), VAULT));
        Ok(KeyRights {
            keys: Arc::new(Prefixed::new(keys, VAULT)),
            identities: Arc::new(KeyDeleter::identities(place, deleter)),
        })
    }

    fn is_farther_than(&self, _folder: &FsPath) -> bool {
        true
    }

    fn folder(&self) -> Option<PathBuf> {
        None
    }
}
