//! Making a new vault.
//!
//! The key object is written first and `config` last, which makes the repository one. If the
//! machine dies between the two, the next try takes up the key that is there: a second master key
//! beside it would lock everybody out.

use std::sync::Arc;

use bytes::Bytes;

use super::Vault;
use super::keys::write_key;
use super::open::find_key;
use super::unpacked::{self, Folder};
use crate::config::{CONFIG_KEY, Config};
use crate::crypto::Key;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::key::{KeyStrength, MasterSeed, Password};
use crate::polynomial::Polynomial;
use crate::store::{LockStore, Store};

impl Vault {
    /// Makes a repository in an empty place. With a seed it shares master key and cuts with the
    /// vault that the seed came from.
    pub fn init(
        store: Arc<dyn Store>,
        locks: Arc<dyn LockStore>,
        password: &Password,
        strength: KeyStrength,
        environment: Environment,
        seed: Option<&MasterSeed>,
    ) -> Result<Vault> {
        if Vault::exists(&*store)? {
            return Err(Error::AlreadyExists { place: store.describe() });
        }
        let begun = !unpacked::list(&*store, Folder::Keys)?.is_empty();
        let (master, key_id) = if begun {
            take_up(&*store, password, &environment, seed)?
        } else {
            let master = seed.map_or_else(Key::generate, |seed| Ok(seed.master.clone()))?;
            let id = write_key(&*store, &master, password, strength, &environment)?;
            (master, id)
        };
        let polynomial = seed.map_or_else(Polynomial::generate, |seed| Ok(seed.polynomial))?;
        let json = serde_json::to_vec(&Config::generate(polynomial)?)
            .map_err(|error| Error::Invalid(format!("cannot write a config: {error}")))?;
        // The one document that restic wants uncompressed: it says whether the others may not be.
        store.create(CONFIG_KEY, &[Bytes::from(master.seal(&json)?)])?;
        Vault::open_with(store, Some(locks), master, Some(key_id), environment)
    }
}

/// The key of an interrupted init.
fn take_up(
    store: &dyn Store,
    password: &Password,
    environment: &Environment,
    seed: Option<&MasterSeed>,
) -> Result<(Key, Id)> {
    let (master, id) = find_key(store, password, environment)?;
    match seed {
        Some(seed) if seed.master.fingerprint() != master.fingerprint() => {
            Err(Error::AlreadyExists { place: store.describe() })
        }
        _ => Ok((master, id)),
    }
}
