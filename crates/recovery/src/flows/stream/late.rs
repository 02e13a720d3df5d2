//! A tier that did not answer when a stream began: it is asked again, and brought what it lacks once it
//! does. A stream may run for months.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_vault::{Entry, Store, StoreError, StoreErrorKind};

use super::tiers;
use crate::env::World;
use crate::report::Failure;
use crate::seal::Sealer;
use crate::tier::OpenTier;

/// Between two tries: each derives a key.
const AGAIN: Duration = Duration::from_secs(30);

/// The objects of a tier that is opened when it answers.
pub(super) struct LateStore {
    /// The world whose tier it is.
    there: World,
    first: OpenTier,
    sealer: Arc<Sealer>,
    state: Mutex<State>,
}

enum State {
    Away { why: String, next: Duration },
    There(Arc<dyn Store>),
}

impl LateStore {
    /// The tier of `there`, which could not be opened beside `first` because of `why`.
    pub(super) fn new(there: World, first: &OpenTier, sealer: &Arc<Sealer>, why: String) -> Self {
        let next = there.clock.monotonic() + AGAIN;
        let state = Mutex::new(State::Away { why, next });
        LateStore { there, first: first.uncached(), sealer: Arc::clone(sealer), state }
    }

    fn store(&self, verb: &'static str, key: &str) -> Result<Arc<dyn Store>, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.there.clock.monotonic();
        let away = |why: &str| StoreError {
            kind: StoreErrorKind::Unreachable,
            verb,
            key: key.to_owned(),
            place: self.describe(),
            source: Some(why.to_owned().into()),
        };
        match &mut *state {
            State::There(store) => return Ok(Arc::clone(store)),
            State::Away { why, next } if now < *next => return Err(away(why)),
            State::Away { .. } => {}
        }
        let (after, result) = match tiers::one(&self.there, &self.first, &self.sealer) {
            Ok(tier) => {
                let name = &self.there.tier.name;
                self.there.monitor.note(&format!("tier {name} answers: the stream goes there too"));
                (State::There(Arc::clone(&tier.store)), Ok(tier.store))
            }
            Err(error) => {
                let why = Failure::of(&error).line();
                let failed = away(&why);
                (State::Away { why, next: now + AGAIN }, Err(failed))
            }
        };
        *state = after;
        result
    }
}

impl Store for LateStore {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.store("get", key)?.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.store("get", key)?.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.store("create", key)?.create(key, parts)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.store("list", prefix)?.list(prefix)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.store("stat", key)?.stat(key)
    }
    fn describe(&self) -> String {
        self.there.tier.url.clone()
    }
}
