//! The plan in a tier: `plan/REVISION/KEY.json.zst.age`, signed by the key whose fingerprint is `KEY`
//! and sealed like everything. Each revision is written once by each host that acts by it, before the
//! first ledger entry that names it.

use std::collections::BTreeMap;

use lifeboat_model::chain::{Document, PublicKey, Revision, Signed};
use lifeboat_vault::Store;

use super::{Ledger, remote};
use crate::env::World;
use crate::error::{Error, Result};
use crate::seal::Sealer;
use crate::state::{State, read_optional, replace};
use crate::tier::OpenTier;

/// The folder of all revisions.
pub const FOLDER: &str = "plan";
const DOCUMENT: &str = ".json.zst.age";
/// Which revision each vault has from this host.
const SHIPPED: &str = "ledger/plans.json";

/// The object of a revision that `key` signed.
pub fn object(revision: &str, key: &PublicKey) -> String {
    format!("{FOLDER}/{revision}/{}{DOCUMENT}", key.fingerprint())
}

/// A revision as it was found in a tier.
#[derive(Debug)]
pub struct Found {
    /// Its object.
    pub object: String,
    /// The revision that the object's name says.
    pub revision: String,
    /// The document, signed by one of the keys that are trusted; or why it is not believed.
    pub read: std::result::Result<Revision, String>,
}

/// All revisions in a tier, believed or not. A failing store is an error.
pub fn all(store: &dyn Store, sealer: &Sealer, trusted: &[PublicKey]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in store.list(FOLDER)? {
        let mut parts = entry.key.split('/').skip(1);
        let (Some(revision), Some(file), None) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let Some(print) = file.strip_suffix(DOCUMENT) else { continue };
        let read = match remote::opened(store, sealer, &entry.key)? {
            Ok(body) => genuine(&body, revision, print, trusted),
            Err(why) => Err(why),
        };
        let revision = revision.to_owned();
        found.push(Found { object: entry.key, revision, read });
    }
    Ok(found)
}

/// The document, if one of the trusted keys signed it, under the name that it stands at.
fn genuine(
    body: &[u8],
    revision: &str,
    print: &str,
    trusted: &[PublicKey],
) -> std::result::Result<Revision, String> {
    let signed = Signed::<Revision>::read(body).map_err(|error| error.to_string())?;
    if trusted.is_empty() {
        return Err("no key is trusted".to_owned());
    }
    signed.verify(trusted).map_err(|error| error.to_string())?;
    if signed.key.fingerprint() != print || signed.document.revision != revision {
        return Err(format!("it is revision {}, under another name", signed.document.revision));
    }
    Ok(signed.document)
}

impl Ledger {
    /// Brings the plan's revision to a tier that does not have it from this host.
    pub(super) fn ship_plan(&self, world: &World, tier: &OpenTier, sealer: &Sealer) -> Result<()> {
        if world.texts.is_empty() {
            return Ok(());
        }
        let own = self.signer().public_key();
        let key = object(&world.revision, &own);
        let vault = tier.vault.repository_id();
        let mut shipped = shipped(&self.state)?;
        if shipped.get(vault).is_some_and(|known| *known == key) {
            return Ok(());
        }
        let document = Revision {
            format: Revision::FORMAT,
            name: world.plan.header.name.as_str().to_owned(),
            revision: world.revision.clone(),
            files: world.texts.to_vec(),
        };
        let signed = Signed::new(document, self.signer())
            .map_err(|source| Error::Sign { what: "the plan", source })?;
        match remote::put(&*tier.store, sealer, &key, &signed.bytes()) {
            // Other comments around the same plan: the first ones stay.
            Err(Error::Diverged { .. }) if there(&*tier.store, sealer, &key, &own)? => {}
            put => put?,
        }
        shipped.insert(vault.to_owned(), key);
        let body = serde_json::to_vec(&shipped)
            .map_err(|source| Error::Encode { what: "which plans were shipped", source })?;
        Ok(replace(&self.state.path(SHIPPED), &body)?)
    }
}

/// True if the object is a revision of this host's own.
fn there(store: &dyn Store, sealer: &Sealer, key: &str, own: &PublicKey) -> Result<bool> {
    let body = remote::opened(store, sealer, key)?;
    let signed = body.ok().and_then(|body| Signed::<Revision>::read(&body).ok());
    Ok(signed.is_some_and(|signed| {
        signed.verify(&[*own]).is_ok() && object(&signed.document.revision, own) == key
    }))
}

fn shipped(state: &State) -> Result<BTreeMap<String, String>> {
    let body = read_optional(&state.path(SHIPPED))?;
    Ok(body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default())
}
