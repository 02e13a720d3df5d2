//! Everything that can go wrong in a vault, as kinds that a caller can tell apart.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::flaw::Wrong;
use crate::store::{StoreError, StoreErrorKind};

/// Result of a vault call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who holds a conflicting lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedBy {
    /// Host name written in the lock.
    pub host: String,
    /// User name written in the lock.
    pub user: String,
    /// Process id on that host.
    pub pid: u32,
    /// When the lock was taken or last refreshed.
    pub since: Timestamp,
    /// True for an exclusive lock (pruning), false for a shared one.
    pub exclusive: bool,
}

/// Why a vault is not known completely. Each cause has its own remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// A snapshot, a tree or another blob that is needed is damaged or in no pack.
    Damage,
    /// An index object is damaged.
    Index,
    /// A pack that the index names is not there, or has another size than it should.
    Pack,
    /// The store has an object and cannot read it: it may be whole.
    Unread,
    /// What must exist is not listed.
    Unlisted,
    /// A listing is not what it was a moment before.
    Changed,
}

impl Gap {
    /// The gap that an object leaves which has this flaw: `damage`, unless it may be whole.
    pub(crate) fn of(wrong: Wrong, damage: Gap) -> Gap {
        match wrong {
            Wrong::Unreadable => Gap::Unread,
            Wrong::Missing => Gap::Changed,
            Wrong::Empty | Wrong::Truncated | Wrong::Changed => damage,
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Gap::Damage => {
                "`lifeboat verify` names what is damaged and the files concerned; a further \
                 backup stores again what still exists of them"
            }
            Gap::Index => "`lifeboat repair index` mends the index",
            Gap::Pack => {
                "`lifeboat verify` names what is damaged and the files concerned; where the place is \
                 mounted whole, `lifeboat repair index` stores again what is intact of such packs \
                 and takes the others out of the index"
            }
            Gap::Unread => {
                "give this user the right to read it, or mend the disk, then run again: what \
                 cannot be read may be whole, and nothing is put in its place"
            }
            Gap::Unlisted => {
                "check that the place is the right one and mounted whole; `lifeboat verify` names \
                 the snapshots that are missing"
            }
            Gap::Changed => {
                "run again when nobody else uses the vault: somebody writes to it without minding \
                 its lock, or the place does not list the same twice"
            }
        }
    }
}

/// A failed vault call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No key of the vault opens with this password.
    #[error("the vault key does not open the vault in {place}")]
    WrongPassword {
        /// The store's description.
        place: String,
    },
    /// The place holds no restic repository.
    #[error("there is no vault in {place}")]
    NotARepository {
        /// The store's description.
        place: String,
    },
    /// A vault would be made where one exists.
    #[error("there is a vault in {place} already")]
    AlreadyExists {
        /// The store's description.
        place: String,
    },
    /// The repository format is newer than this program.
    #[error("the vault has format {found}, this program reads formats up to {known}")]
    NewerFormat {
        /// The version in the vault.
        found: u32,
        /// The newest version that is understood.
        known: u32,
    },
    /// Another process holds a conflicting lock.
    #[error(
        "the vault is locked by {} on {} (process {}) since {}",
        .0.user, .0.host, .0.pid, .0.since
    )]
    Locked(Box<LockedBy>),
    /// A lock file of somebody else cannot be read, so that it must be respected.
    #[error("the vault is locked by {key}, which cannot be read: {why}")]
    UnreadableLock {
        /// Key of the lock object.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Our own lock was removed or could not be refreshed in time, so that writing must stop.
    #[error("the lock on the vault was lost: {why}")]
    LockLost {
        /// What happened.
        why: String,
    },
    /// A writing call on a vault that was opened without a lock store.
    #[error("the vault was opened for reading only")]
    ReadOnly,
    /// Nothing of that name exists.
    #[error("no {what} {name}")]
    NotFound {
        /// The sort of thing: snapshot, blob, path.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// A prefix fits several snapshots.
    #[error("{prefix} fits {} snapshots", .ids.len())]
    Ambiguous {
        /// The prefix asked for.
        prefix: String,
        /// Full ids that begin with it.
        ids: Vec<String>,
    },
    /// A stored object is missing, shortened or changed.
    #[error("{object} is damaged: {why}")]
    Damaged {
        /// The object, by kind and key or id.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// Without this key nothing would open the vault any more.
    #[error("the last key of a vault is not removed")]
    LastKey,
    /// Not everything that must be known before anything is removed is known: nothing was removed.
    #[error("the vault is not known completely: {what}")]
    Incomplete {
        /// The sort of gap.
        gap: Gap,
        /// What is missing or unreadable.
        what: String,
    },
    /// Times contradict each other, so that no age can be told: nothing was removed.
    #[error("a clock is wrong: {why}")]
    ImplausibleClock {
        /// What was found.
        why: String,
    },
    /// The store has no space left.
    #[error("no space left")]
    NoSpace(#[source] StoreError),
    /// A store call failed.
    #[error(transparent)]
    Store(StoreError),
    /// A local file operation failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried: read, write, open …
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The caller's input makes no sense here.
    #[error("{0}")]
    Invalid(String),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
}

/// The object that a vault without any key file lacks.
pub(crate) const NO_KEYS: &str = "keys";
/// What is not found where a part of a snapshot was asked for.
pub(crate) const NO_PATH: &str = "path in the snapshot";

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::NoSpace => Error::NoSpace(error),
            _ => Error::Store(error),
        }
    }
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Error::Random(error)
    }
}

impl Error {
    /// A damaged object.
    pub fn damaged(object: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Damaged { object: object.into(), why: why.into() }
    }

    /// What keeps the vault from being known completely.
    pub(crate) fn incomplete(gap: Gap, what: impl Into<String>) -> Self {
        Error::Incomplete { gap, what: what.into() }
    }

    /// A failed local file operation.
    pub fn io(verb: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { verb, path: path.into(), source }
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Error::WrongPassword { .. } => {
                "check that the plan's vault key is the one that this vault was made with"
            }
            Error::NotARepository { .. } => {
                "check the path, and that the disk is mounted; a backup makes the vault in an empty place"
            }
            Error::NewerFormat { .. } => "use a newer version of this program",
            Error::Locked(_) => {
                "wait until the other process is done; a lock left by a dead process goes away by itself"
            }
            Error::UnreadableLock { .. } => {
                "it is ignored 30 minutes after it was written; remove it if no process uses the vault"
            }
            Error::LockLost { .. } => {
                "run the same command again: what was stored is kept and reused; if it happens \
                 again, look for whoever removes locks (`restic unlock`), for a machine that \
                 sleeps, or for a place that answers slowly"
            }
            Error::LastKey => {
                "`lifeboat key add --new-key-file FILE` adds another key first; it must be proven \
                 to open the vault"
            }
            Error::Incomplete { gap, .. } => gap.hint(),
            Error::ImplausibleClock { .. } => {
                "set the clocks of this machine and of the place right, then run again"
            }
            Error::Ambiguous { .. } => "give more characters of the snapshot's id",
            Error::Damaged { object, .. } if object == NO_KEYS => {
                "bring the folder `keys` of the vault back from a copy of it: without a key file \
                 nobody can open the vault"
            }
            Error::NotFound { what: NO_PATH, .. } => {
                "give it as it stands in the snapshot, relative to the plan's folder \
                 (`media/2026`); a restore without `--path` brings back all"
            }
            Error::NoSpace(_) => {
                "free some space and run again; what was stored is kept and reused"
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// What helps against one cause does not help against another.
    #[test]
    fn every_gap_has_a_hint_of_its_own() {
        let gaps = [Gap::Damage, Gap::Index, Gap::Pack, Gap::Unread, Gap::Unlisted, Gap::Changed];
        let hints: HashSet<&str> =
            gaps.iter().filter_map(|gap| Error::incomplete(*gap, "x").hint()).collect();
        assert_eq!(hints.len(), gaps.len());
        for gap in gaps {
            let hint = Error::incomplete(gap, "x").hint().unwrap_or_default();
            let mends = matches!(gap, Gap::Index | Gap::Pack);
            assert_eq!(hint.contains("repair index"), mends, "{gap:?}: {hint}");
        }
        assert_eq!(Gap::of(Wrong::Unreadable, Gap::Index), Gap::Unread);
        assert_eq!(Gap::of(Wrong::Truncated, Gap::Index), Gap::Index);
    }

    #[test]
    fn a_lost_lock_and_a_last_key_say_what_to_run() {
        let lost = Error::LockLost { why: String::new() }.hint().unwrap_or_default();
        assert!(lost.contains("run the same command again"), "{lost}");
        let last = Error::LastKey.hint().unwrap_or_default();
        assert!(last.contains("`lifeboat key add --new-key-file FILE`"), "{last}");
    }
}
