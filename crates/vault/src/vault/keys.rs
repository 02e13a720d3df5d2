//! Keys of a vault: each seals the same master key by a password of its own.
//!
//! A further password is good only once its object was read back and opened the vault with it. A
//! key is removed only while another one that stays was proven so: the vault never stands without
//! a way in. Objects are restic's, and so are the locks: shared to add, exclusive to remove.
//!
//! A new password does not take the old one's knowledge back: whoever has opened the vault once
//! may have kept the master key, which stays the same. Only another vault with another master key,
//! filled by a copy, helps against that.

use bytes::Bytes;
use jiff::Timestamp;

use super::Vault;
use super::open::{read_config, read_key};
use super::unpacked::{self, Folder};
use crate::crypto::Key;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::flaw::ReadFailure;
use crate::id::Id;
use crate::key::{KeyFile, KeyStrength, Password};
use crate::store::{DeleteStore, Store, StoreErrorKind};

/// A key object, as it shows itself without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub id: Id,
    /// When it was made, if it says.
    pub created: Option<Timestamp>,
    /// Who made it.
    pub user: String,
    /// Where.
    pub host: String,
    /// What is wrong with it, if it cannot be read.
    pub damage: Option<String>,
}

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    /// The key object of the new password.
    pub added: Id,
    /// The key objects of the old password, which are gone.
    pub removed: Vec<Id>,
    /// Key objects of other passwords: those still open the vault.
    pub others: Vec<KeyInfo>,
}

impl Vault {
    /// All key objects, in order of their names.
    pub fn keys(&self) -> Result<Vec<KeyInfo>> {
        let mut keys = Vec::new();
        for stored in self.list(Folder::Keys)? {
            let info = |created, user: &str, host: &str, damage| {
                let (user, host) = (user.to_owned(), host.to_owned());
                KeyInfo { id: stored.id, created, user, host, damage }
            };
            keys.push(match read_key(&**self.store(), &stored.id) {
                Ok((file, true)) => info(file.created, &file.username, &file.hostname, None),
                Ok((file, false)) => {
                    let why = "its bytes are not those that it was named by".to_owned();
                    info(file.created, &file.username, &file.hostname, Some(why))
                }
                Err(ReadFailure::Damaged(flaw)) => info(None, "", "", Some(flaw.why)),
                Err(ReadFailure::Store(error)) => return Err(error),
            });
        }
        Ok(keys)
    }

    /// Makes the vault open with this password too; returns the key object, read back and proven.
    pub fn add_key(&self, password: &Password, strength: KeyStrength) -> Result<Id> {
        let _lock = self.lock_for_writing()?;
        self.add_proven(password, strength)
    }

    /// Replaces a password by another one: the new key object is written and proven, then those
    /// that the old password opens are removed. Run again after a crash it goes on where it stood.
    pub fn rotate_key(
        &self,
        remover: &dyn DeleteStore,
        old: &Password,
        new: &Password,
        strength: KeyStrength,
    ) -> Result<KeyRotation> {
        if old.expose() == new.expose() {
            return Err(Error::Invalid("the new password is the old one".to_owned()));
        }
        let lock = self.lock_exclusively()?;
        let added = match self.opened_by(new)?.first() {
            // Left by a rotation that was broken off, or added before.
            Some(id) => *id,
            None => self.add_proven(new, strength)?,
        };
        let mut removed = Vec::new();
        for id in self.unlocked_by(old)? {
            lock.confirm()?;
            self.remove(remover, &id, new)?;
            removed.push(id);
        }
        let others = self.keys()?.into_iter().filter(|key| key.id != added).collect();
        Ok(KeyRotation { added, removed, others })
    }

    /// Removes a key object, if `stays` is proven to open the vault by another one. The last key is
    /// never removed: [`Error::LastKey`].
    pub fn remove_key(&self, remover: &dyn DeleteStore, id: &Id, stays: &Password) -> Result<()> {
        let lock = self.lock_exclusively()?;
        lock.confirm()?;
        self.remove(remover, id, stays)
    }

    fn remove(&self, remover: &dyn DeleteStore, id: &Id, stays: &Password) -> Result<()> {
        if self.opened_by(stays)?.iter().all(|other| other == id) {
            return Err(Error::LastKey);
        }
        match remover.delete(&Folder::Keys.key(id)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                Err(Error::NotFound { what: "key", name: id.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn add_proven(&self, password: &Password, strength: KeyStrength) -> Result<Id> {
        if password.expose().is_empty() {
            return Err(Error::Invalid("a password must not be empty".to_owned()));
        }
        let (store, environment) = (&**self.store(), self.environment());
        let id = write_key(store, self.key(), password, strength, environment)?;
        if !self.opened_by(password)?.contains(&id) {
            let why = "it does not open the vault with its password".to_owned();
            return Err(Error::damaged(Folder::Keys.key(&id), why));
        }
        Ok(id)
    }

    /// The intact key objects that a password opens this vault with: read from the store, unsealed,
    /// and tried on the config.
    pub fn opened_by(&self, password: &Password) -> Result<Vec<Id>> {
        let opened = self.tried_on_all(password)?;
        Ok(opened.into_iter().filter_map(|(id, intact)| intact.then_some(id)).collect())
    }

    /// All key objects that a password opens this vault with: [`Vault::open`] tries those too whose
    /// bytes do not fit their name, so that they must go with the password. As a way in that stays
    /// only those of [`Vault::opened_by`] count.
    pub fn unlocked_by(&self, password: &Password) -> Result<Vec<Id>> {
        Ok(self.tried_on_all(password)?.into_iter().map(|(id, _)| id).collect())
    }

    /// The key objects that open with a password, and whether their bytes fit their name.
    fn tried_on_all(&self, password: &Password) -> Result<Vec<(Id, bool)>> {
        let store = &**self.store();
        let mut ids = Vec::new();
        for stored in self.list(Folder::Keys)? {
            self.stop_if_cancelled()?;
            let (file, intact) = match read_key(store, &stored.id) {
                Ok(found) => found,
                Err(ReadFailure::Damaged(_)) => continue,
                Err(ReadFailure::Store(error)) => return Err(error),
            };
            let Ok(key) = file.open(password) else { continue };
            let opens = match read_config(store, &key) {
                Ok(_) => key.fingerprint() == self.key().fingerprint(),
                Err(ReadFailure::Damaged(_)) => false,
                Err(ReadFailure::Store(error)) => return Err(error),
            };
            if opens {
                ids.push((stored.id, intact));
            }
        }
        Ok(ids)
    }
}

/// Seals the master key by a password and stores it.
pub(super) fn write_key(
    store: &dyn Store,
    master: &Key,
    password: &Password,
    strength: KeyStrength,
    environment: &Environment,
) -> Result<Id> {
    let Environment { clock, user, host, .. } = environment;
    let file = KeyFile::seal(master, password, strength, &**clock, user, host)?;
    let json = serde_json::to_vec(&file)
        .map_err(|error| Error::Invalid(format!("cannot write a key file: {error}")))?;
    let id = Id::of(&json);
    store.create(&unpacked::Folder::Keys.key(&id), &[Bytes::from(json)])?;
    Ok(id)
}
