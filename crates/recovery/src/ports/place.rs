//! The place of a tier before it is opened: looked at without a trace, then opened or made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_vault::{DeleteStore, LockStore, Store, StoreError};

/// What a look at a place found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nothing there: no such folder.
    Absent,
    /// There, without content: a new disk, or the folder under an unmounted one.
    Empty,
    /// There, with a vault (or one whose making was interrupted).
    Vault,
    /// There, with other things: at most three of their names.
    Other(Vec<String>),
}

/// An opened place.
#[derive(Clone)]
pub struct Opened {
    /// Its objects, rooted at the tier.
    pub store: Arc<dyn Store>,
    /// The objects below its `vault/`, rooted there.
    pub vault: Arc<dyn Store>,
    /// The vault's locks, rooted at `vault/`.
    pub locks: Arc<dyn LockStore>,
}

/// What a change of keys may delete.
#[derive(Clone)]
pub struct KeyRights {
    /// Key objects (`keys/ID`), rooted at `vault/`.
    pub keys: Arc<dyn DeleteStore>,
    /// Identities (`journal/identity*.age`), rooted at the tier.
    pub identities: Arc<dyn DeleteStore>,
}

/// A tier's place.
pub trait Place: Send + Sync {
    /// Looks; changes nothing.
    fn look(&self) -> Result<Presence, StoreError>;
    /// Opens it; `make` makes an absent folder, else it is [`lifeboat_vault::StoreErrorKind::Unreachable`].
    fn open(&self, make: bool) -> Result<Opened, StoreError>;
    /// The right to delete below its `vault/`, rooted there: for pruning and repair alone.
    fn deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError>;
    /// The right to delete objects of journals, and nothing else; rooted at the tier.
    fn journal_deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError>;
    /// The rights to delete that a change of keys needs, and no more.
    fn key_rights(&self) -> Result<KeyRights, StoreError>;
    /// True if reading it is slow beside reading in `folder`, so that a cache there pays: it lies
    /// on another machine, and the folder does not.
    fn is_farther_than(&self, folder: &Path) -> bool {
        let _ = folder;
        false
    }
    /// The folder, for a local tier.
    fn folder(&self) -> Option<PathBuf>;
}
