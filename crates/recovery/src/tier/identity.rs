//! The identity that opens what is sealed in a tier: `journal/identity.age`, itself sealed by the
//! vault key. A further password of the vault has one of its own beside it, named by its key object.
//!
//! A host remembers the recipient and the hash of the object: the known one is not unsealed before
//! something has to be opened. One that was sealed anew is opened at once, and taken only if it is
//! still the same identity.

use bytes::Bytes;
use lifeboat_model::chain::Hash;
use lifeboat_vault::{Id, Store, StoreErrorKind};

use super::{Access, OpenTier};
use crate::env::World;
use crate::error::Result;
use crate::seal::{IDENTITY, SealError, Sealer, identity_of};
use crate::state::KnownTier;

impl World {
    /// The plan's recipient, or the identity in the tier; first use makes one. The one that is known
    /// is not unsealed before something has to be opened; another one, or none, is refused.
    pub(super) fn sealer(
        &self,
        store: &dyn Store,
        access: Access,
        known: Option<&KnownTier>,
        key_id: Option<&Id>,
    ) -> Result<Sealer> {
        if let Some(recipient) = &self.plan.key.recipient {
            let identity = self.identity.as_ref().map(|secret| secret.expose());
            return Ok(Sealer::new(recipient, identity)?);
        }
        let key = self.key()?;
        let known = known.and_then(|k| Some((k.recipient.as_deref()?, k.identity.as_deref()?)));
        match (stored(store, key_id)?, known) {
            (Some(sealed), Some((recipient, print))) => {
                if Hash::of(&sealed).to_string() == print {
                    return Ok(Sealer::locked(recipient, &sealed, key.secret.expose())?);
                }
                return Ok(sealed_anew(&sealed, key.secret.expose(), recipient)?);
            }
            (Some(sealed), None) => return Ok(Sealer::unlock(&sealed, key.secret.expose())?),
            (None, Some(_)) => return Err(SealError::IdentityGone.into()),
            (None, None) if access == Access::Read => return Err(SealError::NoIdentity.into()),
            (None, None) => {}
        }
        let (sealer, sealed) = Sealer::generate(key.secret.expose(), key.typed())?;
        match store.create(IDENTITY, &[Bytes::from(sealed)]) {
            Ok(()) => Ok(sealer),
            // Another process was first: its identity is the tier's.
            Err(error) if error.kind == StoreErrorKind::Exists => {
                Ok(Sealer::unlock(&store.get(IDENTITY)?, key.secret.expose())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a tier that is being made the identity of another one, before it has a vault: a tier
    /// with a vault and without an identity would get one of its own.
    pub(super) fn same_identity(&self, store: &dyn Store, like: &OpenTier) -> Result<()> {
        let (None, Ok(sealer)) = (&self.plan.key.recipient, &like.sealer) else { return Ok(()) };
        let key = self.key()?;
        let sealed = sealer.sealed_for(key.secret.expose(), key.typed())?;
        match store.create(IDENTITY, &[Bytes::from(sealed)]) {
            // A making that was interrupted.
            Err(error) if error.kind == StoreErrorKind::Exists => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The identity's object for the key that opened the vault: its own, or the one for all.
fn stored(store: &dyn Store, key_id: Option<&Id>) -> Result<Option<Bytes>> {
    let own = key_id.map(identity_of);
    for key in own.iter().map(String::as_str).chain([IDENTITY]) {
        match store.get(key) {
            Ok(sealed) => return Ok(Some(sealed)),
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// An object that is not the known one: the same identity by another password, or a false one.
fn sealed_anew(sealed: &[u8], passphrase: &str, recipient: &str) -> Result<Sealer, SealError> {
    match Sealer::unlock(sealed, passphrase) {
        Ok(sealer) if sealer.recipient() == recipient => Ok(sealer),
        Ok(_) | Err(SealError::WrongKey) => Err(SealError::OtherIdentity),
        Err(other) => Err(other),
    }
}
