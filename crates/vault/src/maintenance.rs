//! Removing from a vault: forgetting snapshots, pruning, mending the index.
//!
//! All of it happens under restic's exclusive lock, which is where restic takes it too. The right to
//! delete ([`DeleteStore`]) is handed in here and nowhere else. Before anything is removed the vault
//! must be known completely and the clocks must agree; else nothing is.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Gap, Result};
use crate::id::Id;
use crate::lock::LockGuard;
use crate::snapshot::Snapshot;
use crate::store::{DeleteStore, StoreErrorKind};
use crate::vault::{Folder, Vault};

/// How far the store's clock and ours may be apart, and how far in the store's future one of its own
/// objects may lie.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// An empty vault cannot be told from a listing that failed.
pub(crate) const LAST_SNAPSHOT: &str = "the last snapshot of a vault is not removed";

/// Repository format that is written.
const WRITTEN_VERSION: u32 = 2;

/// A vault under the exclusive lock, with the right to delete.
pub struct Maintenance {
    pub(crate) vault: Vault,
    pub(crate) lock: LockGuard,
    pub(crate) objects: Arc<dyn DeleteStore>,
    /// By the store's clock, when the lock was taken.
    pub(crate) now: Timestamp,
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance").finish_non_exhaustive()
    }
}

impl Vault {
    /// Takes the exclusive lock and holds the clocks against each other.
    pub fn maintain(&self, objects: Arc<dyn DeleteStore>) -> Result<Maintenance> {
        if self.config()?.version < WRITTEN_VERSION {
            return Err(Error::Invalid(
                "the vault has repository format 1, which is read but not written; `restic migrate \
                 upgrade_repo_v2` upgrades it"
                    .to_owned(),
            ));
        }
        let lock = self.lock_exclusively()?;
        let now = self.store_time(&lock)?;
        // Before anything is removed the store itself is looked at.
        let vault = self.without_cache();
        Ok(Maintenance { vault, lock, objects, now })
    }

    /// Now by the store's own clock: it has just stamped our lock. Without a lock, ours.
    pub(crate) fn store_time(&self, lock: &LockGuard) -> Result<Timestamp> {
        let wall = self.environment().clock.wall();
        let Some(key) = lock.key() else { return Ok(wall) };
        let now = self.store().stat(&key)?.modified;
        if now.duration_since(wall).abs() > CLOCK_TOLERANCE {
            return Err(Error::ImplausibleClock {
                why: format!("the place says {now}, this machine says {wall}"),
            });
        }
        Ok(now)
    }

    /// All snapshots, or an error: one that cannot be read, or one of `expected` that is not listed,
    /// makes the listing partial.
    pub fn complete_snapshots(&self, expected: &[Id]) -> Result<Vec<(Id, Snapshot)>> {
        let list = self.list_snapshots()?;
        if let Some(one) = list.damaged.first() {
            let what = format!("snapshot {} cannot be read: {}", one.id.short(), one.why);
            return Err(Error::incomplete(Gap::of(one.wrong, Gap::Damage), what));
        }
        let found = |id: &&Id| list.readable.iter().any(|(other, _)| other == *id);
        if let Some(id) = expected.iter().find(|id| !found(id)) {
            let what = format!("snapshot {} is known and not listed", id.short());
            return Err(Error::incomplete(Gap::Unlisted, what));
        }
        Ok(list.readable)
    }
}

impl Maintenance {
    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Now, by the store's clock, when the lock was taken.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Removes snapshot objects. What they needed stays until it is pruned. `expected` are snapshots
    /// that must exist: if one is not listed, or any cannot be read, nothing is removed. Nor is the
    /// last snapshot ever. Packs and index are not looked at: snapshots that go by rules go by
    /// [`Maintenance::plan_prune`].
    pub fn forget(&self, ids: &[Id], expected: &[Id]) -> Result<()> {
        let all = self.vault.complete_snapshots(expected)?;
        if let Some(id) = ids.iter().find(|id| !all.iter().any(|(other, _)| other == *id)) {
            return Err(Error::NotFound { what: "snapshot", name: id.to_string() });
        }
        if !ids.is_empty() && all.iter().all(|(id, _)| ids.contains(id)) {
            return Err(Error::Invalid(LAST_SNAPSHOT.to_owned()));
        }
        self.lock.confirm()?;
        for id in ids {
            self.delete(Folder::Snapshots, id)?;
        }
        Ok(())
    }

    /// Removes one object while the lock is ours. One that is gone already is no failure.
    pub(crate) fn delete(&self, folder: Folder, id: &Id) -> Result<()> {
        self.vault.stop_if_cancelled()?;
        self.lock.verify()?;
        match self.objects.delete(&folder.key(id)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
