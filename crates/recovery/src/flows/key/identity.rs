//! The identity of a tier, for a new password: nothing is removed before the same is proven to open
//! otherwise.
//!
//! `journal/identity-KEY.age` is written first, and stays for a further password. A rotation then
//! replaces `journal/identity.age`, if that is the old password's, and removes what no key of the
//! vault needs any longer. Between removing and creating, the first object opens.

use bytes::Bytes;
use lifeboat_model::chain::Hash;
use lifeboat_vault::{DeleteStore, Id, Store, StoreErrorKind};

use crate::env::{VaultKey, World};
use crate::error::{Error, Result};
use crate::seal::{IDENTITY, SealError, Sealer, identity_of, key_of_identity};
use crate::tier::OpenTier;

/// Seals the identity for a key of the vault, and proves it. Nothing where the plan has a recipient.
pub fn further(world: &World, tier: &OpenTier, new: &VaultKey, key: &Id) -> Result<()> {
    if world.plan.key.recipient.is_some() {
        return Ok(());
    }
    let sealer = sealer(tier)?;
    let (store, name) = (&*tier.store, identity_of(key));
    let recipient = sealer.recipient();
    if opens(&read(store, IDENTITY)?, new, &recipient) {
        return Ok(());
    }
    if read(store, &name)?.is_none() {
        let sealed = sealer.sealed_for(new.secret.expose(), new.typed())?;
        store.create(&name, &[Bytes::from(sealed)])?;
    }
    if !opens(&read(store, &name)?, new, &recipient) {
        return Err(lifeboat_vault::Error::damaged(name, "the new key does not open it").into());
    }
    Ok(())
}

/// Puts the identity in order after a rotation. True if anything had to be done.
pub fn settle(
    world: &World,
    tier: &OpenTier,
    remover: &dyn DeleteStore,
    new: &VaultKey,
    old: Option<&VaultKey>,
    key: &Id,
) -> Result<bool> {
    if world.plan.key.recipient.is_some() {
        return Ok(false);
    }
    let recipient = sealer(tier)?.recipient();
    let (store, name) = (&*tier.store, identity_of(key));
    let main = read(store, IDENTITY)?;
    let mut changed = false;
    if !opens(&main, new, &recipient) {
        let mine = read(store, &name)?.filter(|mine| opens_with(mine, new, &recipient));
        let mine = mine.ok_or(SealError::IdentityGone)?;
        let ours = match &main {
            None => true,
            Some(main) => {
                old.is_some_and(|old| opens_with(main, old, &recipient)) || nobodys(tier, key)?
            }
        };
        if ours {
            if main.is_some() {
                delete(remover, IDENTITY)?;
            }
            store.create(IDENTITY, &[mine])?;
            changed = true;
        }
    }
    let main = read(store, IDENTITY)?;
    if opens(&main, new, &recipient) {
        changed |= read(store, &name)?.is_some();
        delete(remover, &name)?;
        remember(world, main.as_deref())?;
    } else {
        remember(world, read(store, &name)?.as_deref())?;
    }
    Ok(sweep(tier, remover)? || changed)
}

/// Removes identities of keys that the vault does not have any more.
fn sweep(tier: &OpenTier, remover: &dyn DeleteStore) -> Result<bool> {
    // The objects first: a key that is added meanwhile is there before its identity.
    let objects = tier.store.list("journal")?;
    let keys: Vec<Id> = tier.vault.keys()?.into_iter().map(|info| info.id).collect();
    let mut removed = false;
    for object in objects {
        let Some(key) = key_of_identity(&object.key) else { continue };
        if !keys.contains(&key) {
            delete(remover, &object.key)?;
            removed = true;
        }
    }
    Ok(removed)
}

/// True if every other key of the vault has an identity of its own: `identity.age` is for none.
fn nobodys(tier: &OpenTier, key: &Id) -> Result<bool> {
    for other in tier.vault.keys()?.into_iter().filter(|other| other.id != *key) {
        if read(&*tier.store, &identity_of(&other.id))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sealer(tier: &OpenTier) -> Result<&Sealer> {
    tier.sealer.as_deref().map_err(|why| {
        let hint = why.hint.clone();
        Error::refused(
            format!("the tier's identity cannot be sealed for the new key: {}", why.line()),
            hint.unwrap_or_else(|| "bring `journal/identity.age` back from a copy".to_owned()),
        )
    })
}

fn remember(world: &World, sealed: Option<&[u8]>) -> Result<()> {
    let (Some(sealed), Some(mut known)) = (sealed, world.state.known_tier(&world.tier.name)?)
    else {
        return Ok(());
    };
    known.identity = Some(Hash::of(sealed).to_string());
    Ok(world.state.remember_tier(&world.tier.name, &known)?)
}

fn opens(sealed: &Option<Bytes>, key: &VaultKey, recipient: &str) -> bool {
    sealed.as_ref().is_some_and(|sealed| opens_with(sealed, key, recipient))
}

/// True if the key opens it, and it is the tier's identity.
fn opens_with(sealed: &[u8], key: &VaultKey, recipient: &str) -> bool {
    Sealer::unlock(sealed, key.secret.expose()).is_ok_and(|sealer| sealer.recipient() == recipient)
}

fn read(store: &dyn Store, key: &str) -> Result<Option<Bytes>> {
    match store.get(key) {
        Ok(body) => Ok(Some(body)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn delete(remover: &dyn DeleteStore, key: &str) -> Result<()> {
    match remover.delete(key) {
        Err(error) if error.kind != StoreErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
