//! Creating an object once: what the store answers, and what then stands there.
//!
//! | the store says | and then there is | so |
//! |---|---|---|
//! | done, with the right checksum | – | created |
//! | done, without one | the same bytes | created |
//! | done, with another one, or other bytes | – | an error |
//! | it exists, at the first try | an object | it exists |
//! | it exists, after a try that broke | the same bytes | created, by that try |
//! | it exists, after a try that broke | other bytes | it exists |
//! | it exists | nothing | somebody else's upload was under way: again |
//! | nothing: broken, or an error of the server | the same bytes | created |
//! | nothing: broken, or an error of the server | nothing | again, then unreachable |
//! | anything else (denied, no such bucket …) | – | that error, at once |

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use lifeboat_vault::{Advice, Store, StoreError, StoreErrorKind};
use object_store::path::Path;
use object_store::{Attribute, Attributes, PutMode, PutOptions, PutPayload};

use super::sums::{Comparison, Sums};
use super::{CloudTier, error};

/// Rounds of a create, each of which may try several times.
const ROUNDS: u32 = 4;

impl CloudTier {
    pub(super) fn create_once(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let location = self.location("create", key)?;
        let began = self.clock.monotonic();
        let mut unclear = false;
        let mut round = 1;
        loop {
            let (failed, heard_unclear) = match self.put(key, &location, parts)? {
                Ok(sums) => return self.confirm(key, parts, &sums),
                Err(failed) => failed,
            };
            unclear |= heard_unclear;
            if failed.kind != StoreErrorKind::Exists && !unclear {
                return Err(failed);
            }
            match self.stat(key) {
                Ok(entry) if !unclear => return Err(exists(failed, entry.size)),
                Ok(entry) => return self.settle(key, parts, entry.size, failed),
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                // It cannot be looked at either: the first failure is the one to tell.
                Err(error) if failed.kind == StoreErrorKind::Exists => return Err(error),
                Err(_) => return Err(failed),
            }
            let late = self.clock.monotonic().saturating_sub(began) > self.patience.total;
            if round == ROUNDS || late {
                return Err(self.gave_up(key, failed));
            }
            self.clock.sleep(jittered(self.patience.pause, round));
            round += 1;
        }
    }

    /// One conditional request, with the retries of the client below. The error comes with whether it
    /// may have been carried out.
    fn put(
        &self,
        key: &str,
        location: &Path,
        parts: &[Bytes],
    ) -> Result<Result<Sums, (StoreError, bool)>, StoreError> {
        let payload = parts.iter().cloned().collect::<PutPayload>();
        let mut attributes = Attributes::new();
        if let Some(class) = self.storage_class.as_ref().filter(|_| is_bulk(key)) {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        let (done, heard) =
            self.heard("create", key, self.store.put_opts(location, payload, options))?;
        Ok(match done {
            Ok(_) => Ok(heard.sums),
            Err(source) => Err((self.failed("create", key, source, &heard), heard.unclear)),
        })
    }

    /// A success is one when the store has what was sent.
    fn confirm(&self, key: &str, parts: &[Bytes], sums: &Sums) -> Result<(), StoreError> {
        let same = match sums.compare(parts) {
            Comparison::Same => true,
            Comparison::Other => false,
            Comparison::Untold => same_bytes(&self.get(key)?, parts),
        };
        if same {
            return Ok(());
        }
        let cause = io::Error::other("the store took it and has other bytes than were sent");
        Err(error::new(StoreErrorKind::Other, "create", key, &self.place, cause))
    }

    /// An object stands there after a try of which nothing is known.
    fn settle(
        &self,
        key: &str,
        parts: &[Bytes],
        size: u64,
        failed: StoreError,
    ) -> Result<(), StoreError> {
        let sent: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if size == sent && same_bytes(&self.get(key)?, parts) {
            return Ok(());
        }
        Err(exists(failed, size))
    }

    fn gave_up(&self, key: &str, failed: StoreError) -> StoreError {
        if failed.kind != StoreErrorKind::Exists {
            return failed;
        }
        let advice = Advice {
            what: "the store says that it exists, and shows none".to_owned(),
            hint: "another upload of it seems to be under way: try again later".to_owned(),
        };
        error::new(StoreErrorKind::Unreachable, "create", key, &self.place, advice)
    }
}

fn exists(failed: StoreError, size: u64) -> StoreError {
    let cause =
        io::Error::new(io::ErrorKind::AlreadyExists, format!("it exists, with {size} bytes"));
    StoreError { kind: StoreErrorKind::Exists, source: Some(Box::new(cause)), ..failed }
}

/// Data packs of the vault and packed objects of the journal: large, and read in need only.
fn is_bulk(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    matches!(parts[..], ["vault", "data", ..] | ["journal", _, _, "packs", _])
}

fn same_bytes(found: &[u8], parts: &[Bytes]) -> bool {
    let mut rest = found;
    for part in parts {
        match rest.strip_prefix(&part[..]) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Between the pause and four times as long, doubled from round to round.
fn jittered(pause: Duration, round: u32) -> Duration {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let share = (random % 1000) as f64 / 1000.0;
    (pause * 2u32.pow(round.min(5))).mul_f64(0.5 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packs_get_a_storage_class() {
        assert!(is_bulk("vault/data/ab/abcd"));
        assert!(is_bulk("journal/orders/ab+2/packs/1-2-3"));
        for key in [
            "vault/config",
            "vault/index/ab",
            "vault/snapshots/ab",
            "vault/locks/ab",
            "journal/identity.age",
            "journal/orders/ab+2/ranges/1-2-3",
            "ledger/host/entries/1",
            "data/ab/abcd",
        ] {
            assert!(!is_bulk(key), "{key}");
        }
    }

    #[test]
    fn bytes_are_compared_to_the_last() {
        let parts = [Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")];
        assert!(same_bytes(b"abc", &parts));
        for other in ["", "ab", "abd", "abcd", "xbc"] {
            assert!(!same_bytes(other.as_bytes(), &parts), "{other}");
        }
    }
}
