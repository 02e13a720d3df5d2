//! A vault on hold: its master key may be known, another one has taken its place. It can be read,
//! and nothing is added to it or removed from it.
//!
//! The machine that made the successor remembers it. The tier says so too, in `hold.json`, for other
//! machines; whoever can write to the tier can write that, so that it forbids removing, and of the
//! rest it is only told.

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_vault::StoreErrorKind;
use serde::{Deserialize, Serialize};

use super::OpenTier;
use crate::env::World;
use crate::error::{Error, Result};
use crate::state::KnownSuccessor;

/// Where a tier says that its vault is on hold.
pub const HOLD: &str = "hold.json";

/// `hold.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Number of its format.
    pub format: u32,
    /// The vault that is on hold.
    pub vault: String,
    /// The vault that took its place.
    pub successor: String,
    /// Since when.
    pub time: Timestamp,
}

impl World {
    /// What took this tier's place, as this machine knows.
    pub fn on_hold(&self) -> Result<Option<KnownSuccessor>> {
        Ok(self.state.known_tier(&self.tier.name)?.and_then(|known| known.successor))
    }

    /// Refuses to change a vault that this machine has put on hold.
    pub fn refuse_on_hold(&self) -> Result<()> {
        match self.on_hold()? {
            None => Ok(()),
            Some(new) => {
                Err(Error::OnHold { tier: self.tier.name.clone(), successor: Some(new.tier) })
            }
        }
    }

    /// Refuses to remove anything from a vault that is on hold, whoever put it there.
    pub fn refuse_held(&self, tier: &OpenTier) -> Result<()> {
        self.refuse_on_hold()?;
        match marked(tier)? {
            false => Ok(()),
            true => Err(Error::OnHold { tier: self.tier.name.clone(), successor: None }),
        }
    }

    /// What is to be said of a tier that another machine put on hold.
    pub(crate) fn hold_note(&self, tier: &OpenTier) -> Result<Option<String>> {
        let name = &self.tier.name;
        Ok(marked(tier)?.then(|| {
            format!(
                "tier {name} is on hold, because its key leaked: another vault took its place; \
                 take the plan and the key of the machine that made that one"
            )
        }))
    }

    /// Says in the tier that its vault is on hold.
    pub(crate) fn mark_hold(&self, tier: &OpenTier, new: &KnownSuccessor) -> Result<()> {
        let hold = Hold {
            format: 1,
            vault: tier.vault.repository_id().to_owned(),
            successor: new.vault.clone(),
            time: new.time,
        };
        let body = serde_json::to_vec(&hold)
            .map_err(|source| Error::Encode { what: "the hold of a vault", source })?;
        match tier.store.create(HOLD, &[Bytes::from(body)]) {
            Err(error) if error.kind == StoreErrorKind::Exists => Ok(()),
            done => Ok(done?),
        }
    }

    /// Remembers what took this tier's place.
    pub(crate) fn remember_successor(&self, new: &KnownSuccessor) -> Result<()> {
        let Some(mut known) = self.state.known_tier(&self.tier.name)? else { return Ok(()) };
        known.successor = Some(known.successor.unwrap_or_else(|| new.clone()));
        Ok(self.state.remember_tier(&self.tier.name, &known)?)
    }
}

/// True if the tier says that its vault is on hold. What it says of another vault, left by one that
/// was here before, does not count; what cannot be read does.
fn marked(tier: &OpenTier) -> Result<bool> {
    match tier.store.get(HOLD) {
        Ok(body) => {
            let hold = serde_json::from_slice::<Hold>(&body);
            Ok(hold.map_or(true, |hold| hold.vault == tier.vault.repository_id()))
        }
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
