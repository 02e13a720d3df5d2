//! What can be wrong with a stored object, apart from a store that does not answer.

use std::error::Error as _;
use std::fmt;

use crate::error::Error;
use crate::store::{StoreError, StoreErrorKind};

/// The sort of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrong {
    /// It is not there.
    Missing,
    /// It is there with no bytes.
    Empty,
    /// It ends too early, or has another length than it should.
    Truncated,
    /// Its bytes are not those that were stored.
    Changed,
    /// The store has it but cannot read it.
    Unreadable,
}

/// Damage to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub wrong: Wrong,
    pub why: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Flaw {
    pub fn missing() -> Self {
        Flaw { wrong: Wrong::Missing, why: "it is missing".into() }
    }

    pub fn empty() -> Self {
        Flaw { wrong: Wrong::Empty, why: "it is empty".into() }
    }

    pub fn truncated() -> Self {
        Flaw { wrong: Wrong::Truncated, why: "it is truncated".into() }
    }

    pub fn changed(why: impl Into<String>) -> Self {
        Flaw { wrong: Wrong::Changed, why: why.into() }
    }
}

/// Why an object could not be read.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    /// Something is wrong with the object.
    Damaged(Flaw),
    /// The store did not answer: this says nothing about the object.
    Store(Error),
}

impl From<Flaw> for ReadFailure {
    fn from(flaw: Flaw) -> Self {
        ReadFailure::Damaged(flaw)
    }
}

impl From<StoreError> for ReadFailure {
    /// A store that answers but cannot read one object (a bad sector, say) tells of damage; one
    /// that does not answer tells nothing.
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::NotFound => Flaw::missing().into(),
            StoreErrorKind::Short => Flaw::truncated().into(),
            StoreErrorKind::Denied | StoreErrorKind::Other => {
                let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                let why = format!("it cannot be read: {cause}");
                Flaw { wrong: Wrong::Unreadable, why }.into()
            }
            StoreErrorKind::Unreachable | StoreErrorKind::NoSpace | StoreErrorKind::Exists => {
                ReadFailure::Store(error.into())
            }
        }
    }
}

impl ReadFailure {
    pub fn into_error(self, object: impl Into<String>) -> Error {
        match self {
            ReadFailure::Damaged(flaw) => Error::damaged(object, flaw.why),
            ReadFailure::Store(error) => error,
        }
    }
}
