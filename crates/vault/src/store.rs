//! The narrow port to a place that keeps objects.
//!
//! Keys are relative, `/`-separated, without leading slash (`data/ab/abcd…`). Duties of every
//! implementation, held by the contract suite in `testkit`:
//! - [`Store::create`] is create-only and atomic: the object is there whole or not at all, durable
//!   when the call returns, and an existing object is never changed ([`StoreErrorKind::Exists`]).
//! - [`Store::get_range`] returns exactly the bytes asked for or an error, never fewer.
//! - [`Store::list`] returns everything under the prefix or an error: a partial listing is an error.
//! - Deleting is a right of its own ([`DeleteStore`]), which only pruning receives; locks are made
//!   and removed through [`LockStore`], which refuses keys outside `locks/`.

use bytes::Bytes;
use jiff::Timestamp;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key relative to the store's root.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Modification time by the store's own clock.
    pub modified: Timestamp,
}

/// Reading and create-only writing.
pub trait Store: Send + Sync {
    /// The whole object.
    fn get(&self, key: &str) -> Result<Bytes, StoreError>;
    /// Exactly `len` bytes from `offset`.
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError>;
    /// Creates an object from the concatenation of `parts`; fails if the key exists.
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError>;
    /// Every object in the folder `prefix` and below it ("" for all; no slash at its end), in key
    /// order. A folder that does not exist is empty.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;
    /// Size and time of one object.
    fn stat(&self, key: &str) -> Result<Entry, StoreError>;
    /// Where this is, for messages; never a secret.
    fn describe(&self) -> String;
}

/// Removal of objects; given to pruning and to nothing else.
pub trait DeleteStore: Send + Sync {
    /// Removes an object; a missing one is [`StoreErrorKind::NotFound`].
    fn delete(&self, key: &str) -> Result<(), StoreError>;
}

/// Creates and removes objects under `locks/` only.
pub trait LockStore: Send + Sync {
    /// Creates a lock object; any key outside `locks/` is refused.
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError>;
    /// Removes a lock object; any key outside `locks/` is refused.
    fn remove_lock(&self, key: &str) -> Result<(), StoreError>;
    /// True if a lock that one process has made stands in every listing that any process begins
    /// afterwards. Then of two that make theirs at the same time the later to look sees the other,
    /// and nobody has to wait before he looks again.
    fn lists_at_once(&self) -> bool {
        false
    }
}

/// What kind of failure a store reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No such object.
    NotFound,
    /// A create-only write met an existing object.
    Exists,
    /// The store refused access.
    Denied,
    /// No space or quota left.
    NoSpace,
    /// The store does not answer, or its root is not there (an unmounted disk).
    Unreachable,
    /// The object ended before the asked range.
    Short,
    /// Anything else.
    Other,
}

/// What a failure means and what mends it, as the source of a [`StoreError`] whose kind alone does
/// not say so: one sentence each, without a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Advice {
    /// What is wrong.
    pub what: String,
    /// The command or change that mends it.
    pub hint: String,
}

/// An object, or the place itself where no object is concerned.
fn object(key: &str, place: &str) -> String {
    if key.is_empty() { place.to_owned() } else { format!("{key} in {place}") }
}

/// A failed store call.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", object(.key, .place))]
pub struct StoreError {
    /// The kind, for decisions.
    pub kind: StoreErrorKind,
    /// The verb that failed: get, create, list, stat, delete.
    pub verb: &'static str,
    /// The key concerned; empty if it is the whole place.
    pub key: String,
    /// The store's description.
    pub place: String,
    /// The cause below.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// What mends it, where the store knows.
    pub fn advice(&self) -> Option<&Advice> {
        self.source.as_ref()?.downcast_ref()
    }

    /// True if a retry may help.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unreachable)
    }
}
