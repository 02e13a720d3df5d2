//! A tier that did not answer when a stream began: it is asked again, and brought what it lacks once it
//! does. A stream may run for months. Nobody waits for it: opening a tier that is dead may take minutes,
//! in which the log goes on to the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub(super) struct LateStore(Arc<Late>);

struct Late {
    /// The world whose tier it is.
    there: World,
    first: OpenTier,
    sealer: Arc<Sealer>,
    state: Mutex<State>,
}

enum State {
    /// Why, and when it is asked next; nothing while somebody asks.
    Away {
        why: String,
        next: Option<Duration>,
    },
    There(Arc<dyn Store>),
}

impl LateStore {
    /// The tier of `there`, which could not be opened beside `first` because of `why`.
    pub(super) fn new(there: World, first: &OpenTier, sealer: &Arc<Sealer>, why: String) -> Self {
        let next = Some(there.clock.monotonic() + AGAIN);
        let state = Mutex::new(State::Away { why, next });
        let (first, sealer) = (first.uncached(), Arc::clone(sealer));
        LateStore(Arc::new(Late { there, first, sealer, state }))
    }

    /// The tier, where it was opened; where it was not and it is time, it is asked on the side.
    fn store(&self, verb: &'static str, key: &str) -> Result<Arc<dyn Store>, StoreError> {
        let (why, due) = match &mut *self.0.state() {
            State::There(store) => return Ok(Arc::clone(store)),
            State::Away { why, next } => {
                let now = self.0.there.clock.monotonic();
                (why.clone(), next.take_if(|next| now >= *next).is_some())
            }
        };
        if due {
            let late = Arc::clone(&self.0);
            std::thread::spawn(move || late.ask());
        }
        Err(StoreError {
            kind: StoreErrorKind::Unreachable,
            verb,
            key: key.to_owned(),
            place: self.describe(),
            source: Some(why.into()),
        })
    }
}

impl Late {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        let opened = tiers::one(&self.there, &self.first, &self.sealer);
        let after = match opened {
            Ok(tier) => {
                let name = &self.there.tier.name;
                self.there.monitor.note(&format!("tier {name} answers: the stream goes there too"));
                State::There(tier.store)
            }
            Err(error) => {
                let next = Some(self.there.clock.monotonic() + AGAIN);
                State::Away { why: Failure::of(&error).line(), next }
            }
        };
        *self.state() = after;
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
        self.0.there.tier.url.clone()
    }
}
