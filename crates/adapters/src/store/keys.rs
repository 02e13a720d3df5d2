//! The right to remove key objects of a vault, or identities of a tier, and nothing else.

use std::io;
use std::sync::Arc;

use lifeboat_vault::{DeleteStore, StoreError, StoreErrorKind};

/// What an identity's name begins and ends with.
const IDENTITY: (&str, &str) = ("journal/identity", ".age");

/// Deletes what a change of keys may delete.
#[derive(Clone)]
pub struct KeyDeleter {
    place: String,
    deleter: Arc<dyn DeleteStore>,
    /// `vault/keys/`; nothing for identities.
    keys: Option<String>,
}

impl KeyDeleter {
    /// Key objects of the vault in this folder of the tier at `place`.
    pub fn keys(place: String, deleter: Arc<dyn DeleteStore>, vault: &str) -> KeyDeleter {
        KeyDeleter { place, deleter, keys: Some(format!("{vault}/keys/")) }
    }

    /// Identities of the tier at `place`.
    pub fn identities(place: String, deleter: Arc<dyn DeleteStore>) -> KeyDeleter {
        KeyDeleter { place, deleter, keys: None }
    }

    fn allows(&self, key: &str) -> bool {
        match &self.keys {
            Some(keys) => key.strip_prefix(keys.as_str()).is_some_and(is_id),
            None => {
                let name = key.strip_prefix(IDENTITY.0).and_then(|n| n.strip_suffix(IDENTITY.1));
                name.is_some_and(|name| {
                    name.is_empty() || name.strip_prefix('-').is_some_and(is_id)
                })
            }
        }
    }
}

/// 64 hexadecimal digits.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl DeleteStore for KeyDeleter {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        if self.allows(key) {
            return self.deleter.delete(key);
        }
        Err(StoreError {
            kind: StoreErrorKind::Denied,
            verb: "delete",
            key: key.to_owned(),
            place: self.place.clone(),
            source: Some(Box::new(io::Error::other("only keys and identities go here"))),
        })
    }
}
