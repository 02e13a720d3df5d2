//! The tiers that a stream writes to, in the order in which they are asked.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_vault::{Store, StoreError, StoreErrorKind};

use crate::env::Tier;
use crate::state::State;

/// A tier as a stream sees it.
#[derive(Clone)]
pub struct JournalTier {
    /// Its name in the plan.
    pub name: String,
    /// Its objects, rooted at the tier.
    pub store: Arc<dyn Store>,
    /// It does not lie on this machine: what it has survives the machine.
    pub elsewhere: bool,
    /// It did not answer when it was opened: nobody waits for it, and it is caught up later.
    pub late: bool,
}

impl JournalTier {
    /// The tier, whose objects are in `store`.
    pub fn of(tier: &Tier, store: Arc<dyn Store>, state: &State) -> JournalTier {
        let place = &tier.place;
        let elsewhere = place.folder().is_none() || place.is_farther_than(state.folder());
        JournalTier { name: tier.name.clone(), store, elsewhere, late: false }
    }
}

impl std::fmt::Debug for JournalTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JournalTier({}, elsewhere: {})", self.name, self.elsewhere)
    }
}

/// What became of an offer.
#[derive(Debug)]
pub(super) enum Offer {
    /// It is there, by this or a former attempt.
    There,
    /// Something else is there.
    Other,
    /// The tier does not take it now.
    Failed(StoreError),
}

/// Creates an object; one that is there already with the same bytes is ours.
pub(super) fn offer(store: &dyn Store, key: &str, bytes: &Bytes) -> Offer {
    match store.create(key, std::slice::from_ref(bytes)) {
        Ok(()) => Offer::There,
        Err(error) if error.kind == StoreErrorKind::Exists => match store.get(key) {
            Ok(there) if there == *bytes => Offer::There,
            Ok(_) => Offer::Other,
            Err(error) => Offer::Failed(error),
        },
        Err(error) => Offer::Failed(error),
    }
}

/// Those that survive this machine first, else in the plan's order.
pub(super) fn in_order(mut tiers: Vec<JournalTier>) -> Vec<JournalTier> {
    tiers.sort_by_key(|tier| !tier.elsewhere);
    tiers
}
