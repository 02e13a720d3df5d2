//! Finding the master key and the config.

use std::sync::{Arc, Mutex};

use super::unpacked::{self, Folder};
use super::{Inner, Vault};
use crate::config::{CONFIG_KEY, Config};
use crate::crypto::Key;
use crate::environment::Environment;
use crate::error::{Error, NO_KEYS, Result};
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::key::{KeyFailure, KeyFile, MasterSeed, Password};
use crate::store::{LockStore, Store, StoreErrorKind};

impl Vault {
    /// True if there is a repository, a damaged one too. What an interrupted [`Vault::init`] left
    /// is none yet.
    pub fn exists(store: &dyn Store) -> Result<bool> {
        match store.stat(CONFIG_KEY) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        for folder in [Folder::Snapshots, Folder::Index, Folder::Data] {
            if !unpacked::list(store, folder)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens a repository by its password. Without `locks` it is only read, and not locked.
    pub fn open(
        store: Arc<dyn Store>,
        locks: Option<Arc<dyn LockStore>>,
        password: &Password,
        environment: Environment,
    ) -> Result<Vault> {
        if !Vault::exists(&*store)? {
            return Err(Error::NotARepository { place: store.describe() });
        }
        let (key, key_id) = find_key(&*store, password, &environment)?;
        Vault::open_with(store, locks, key, Some(key_id), environment)
    }

    /// Opens a repository by its master key: the way in when all its key files are lost and another
    /// vault of the plan still has them.
    pub fn open_with_seed(
        store: Arc<dyn Store>,
        locks: Option<Arc<dyn LockStore>>,
        seed: &MasterSeed,
        environment: Environment,
    ) -> Result<Vault> {
        if !Vault::exists(&*store)? {
            return Err(Error::NotARepository { place: store.describe() });
        }
        Vault::open_with(store, locks, seed.master.clone(), None, environment)
    }

    pub(super) fn open_with(
        store: Arc<dyn Store>,
        locks: Option<Arc<dyn LockStore>>,
        key: Key,
        key_id: Option<Id>,
        environment: Environment,
    ) -> Result<Vault> {
        let config = match read_config(&*store, &key) {
            Ok(config) => Ok(config),
            Err(ReadFailure::Damaged(Flaw { why, .. })) => {
                let note = format!("config is damaged ({why}): the vault can be read, not written");
                environment.monitor.note(&note);
                Err(why)
            }
            Err(ReadFailure::Store(error)) => return Err(error),
        };
        let (index, cache) = (Mutex::default(), None);
        Ok(Vault(Arc::new(Inner { store, locks, key, key_id, config, environment, index, cache })))
    }
}

/// Reads and judges `config`.
pub(crate) fn read_config(
    store: &dyn Store,
    key: &Key,
) -> std::result::Result<Config, ReadFailure> {
    let body = store.get(CONFIG_KEY).map_err(ReadFailure::from)?;
    if body.is_empty() {
        return Err(Flaw::empty().into());
    }
    let plain = key.open(&body).map_err(|error| Flaw::changed(error.to_string()))?;
    let json = unpacked::decode(&plain).map_err(Flaw::changed)?;
    Config::parse(&json).map_err(|error| match error {
        Error::Damaged { why, .. } => Flaw::changed(why).into(),
        error => ReadFailure::Store(error),
    })
}

/// Tries every key object. What is damaged is noted and passed over, so that it cannot hide a good
/// one; a key whose bytes do not fit its name is tried all the same.
pub(super) fn find_key(
    store: &dyn Store,
    password: &Password,
    environment: &Environment,
) -> Result<(Key, Id)> {
    let mut damage = None;
    let mut refused = false;
    for stored in unpacked::list(store, Folder::Keys)? {
        if environment.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let object = || Folder::Keys.key(&stored.id);
        let (file, intact) = match read_key(store, &stored.id) {
            Ok(found) => found,
            Err(failure) => {
                let error = failure.into_error(object());
                environment.monitor.note(&error.to_string());
                damage = damage.or(Some(error));
                continue;
            }
        };
        match file.open(password) {
            Ok(key) => return Ok((key, stored.id)),
            Err(KeyFailure::Password) if intact => refused = true,
            Err(KeyFailure::Password) => {
                let why = "its bytes are not those that it was named by";
                damage = damage.or(Some(Error::damaged(object(), why)));
            }
            Err(KeyFailure::Damaged(why)) => {
                damage = damage.or(Some(Error::damaged(object(), why)));
            }
        }
    }
    match damage {
        // An intact key refused the password; whether a damaged one had taken it is unknowable.
        _ if refused => Err(Error::WrongPassword { place: store.describe() }),
        Some(error) => Err(error),
        None => Err(Error::damaged(NO_KEYS, "there is no key file")),
    }
}

/// A key object, and whether its bytes fit its name.
pub(super) fn read_key(
    store: &dyn Store,
    id: &Id,
) -> std::result::Result<(KeyFile, bool), ReadFailure> {
    let body = store.get(&Folder::Keys.key(id)).map_err(ReadFailure::from)?;
    if body.is_empty() {
        return Err(Flaw::empty().into());
    }
    let file = KeyFile::parse(&body).map_err(Flaw::changed)?;
    Ok((file, Id::of(&body) == *id))
}
