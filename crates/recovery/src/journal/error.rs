//! What can go wrong with a journal, told apart by what is to be done about it.

use jiff::Timestamp;
use lifeboat_model::chain::{ChainError, Hash, PublicKey};
use lifeboat_model::exit::Exit;
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_vault::{StoreError, StoreErrorKind};

use crate::seal::SealError;
use crate::state::StateError;

/// What lies between a base and a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// In words.
    pub why: String,
    /// True if the stream itself recorded it as lost.
    pub recorded: bool,
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

/// A failure of the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process of this host streams the component.
    #[error("component `{component}` is streamed already by another process of this host")]
    Locked {
        /// The component.
        component: String,
    },
    /// Somebody else's object is where the next one of this stream belongs.
    #[error("somebody else streams this component: {object} in tier {tier} is not ours")]
    Taken {
        /// The object.
        object: String,
        /// The tier.
        tier: String,
    },
    /// No tier takes writes now. Nothing is lost: what was taken over waits in the local state.
    #[error("no tier takes the journal now")]
    NoTier(#[source] Option<StoreError>),
    /// The local spool is as large as it may become; the record was not taken.
    #[error("the spool holds {held} bytes, and may hold {limit}")]
    SpoolFull {
        /// What it holds.
        held: u64,
        /// What it may hold.
        limit: u64,
    },
    /// The stream's next record does not begin where the journal ends.
    #[error("the stream goes on at {found}, and the journal ends at {end}")]
    NotContiguous {
        /// Where the record begins.
        found: String,
        /// Where the journal ends.
        end: String,
    },
    /// A record was given before the stream began.
    #[error("the stream has not begun")]
    NotBegun,
    /// What the source gave cannot be stored as it is.
    #[error("the source gave {0}")]
    Malformed(&'static str),
    /// What the local state says cannot be relied on.
    #[error("the local state of the journal is damaged: {0}")]
    LocalState(String),
    /// An object is not signed by anybody who is trusted.
    #[error("{object} is not believed")]
    Foreign {
        /// The object.
        object: String,
        /// The key, if it names one.
        key: Option<PublicKey>,
    },
    /// A file of this name is there with another content.
    #[error("{object} is there with other content: SHA-256 {}, not {}", hashes.0, hashes.1)]
    Differs {
        /// The object.
        object: String,
        /// SHA-256 of what is there, and of what was to be stored.
        hashes: Box<(Hash, Hash)>,
    },
    /// A file of this name is there, and cannot be compared on this host.
    #[error("{object} is there already and cannot be compared here")]
    Uncompared {
        /// The object.
        object: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object was written by a newer version.
    #[error("{object} has format {found}, which this version does not read")]
    Newer {
        /// The object.
        object: String,
        /// Its format.
        found: u64,
    },
    /// An object is not what it should be.
    #[error("{object} is damaged: {why}")]
    Damaged {
        /// The object.
        object: String,
        /// In what way.
        why: String,
    },
    /// An object that the chain needs is not there; the listing was complete.
    #[error("{object} is missing: the listing is whole and does not have it")]
    Missing {
        /// The object, or the numbers of those that are missing.
        object: String,
    },
    /// There is no journal of the component in this tier.
    #[error("the tier has no journal of component `{component}`")]
    None {
        /// The component.
        component: String,
    },
    /// The journal does not reach back to the base.
    #[error("the journal does not reach the base at {} of {}", base.position, base.lineage)]
    NotCovered {
        /// The base.
        base: LogPosition,
        /// What there is instead, in words.
        instead: String,
        /// What is wrong with it, if that may be why; nothing where it begins later, was pruned, or
        /// says itself that something is lost.
        broken: Option<Box<str>>,
    },
    /// The wanted point lies before the base.
    #[error("{wanted} lies before the base, which ends at {base}")]
    BeforeBase {
        /// What was asked for.
        wanted: String,
        /// Where the base is.
        base: Position,
    },
    /// The wanted point lies beyond the end of the journal.
    #[error("{wanted} lies beyond the end of the journal")]
    Beyond {
        /// What was asked for.
        wanted: String,
        /// The end: place and the instant up to which it proves a copy complete.
        end: (Position, Timestamp),
    },
    /// Something is lost between the base and the wanted point.
    #[error("the journal is broken between the base and {wanted}: {why}")]
    Broken {
        /// What was asked for.
        wanted: Box<str>,
        /// What lies between.
        why: Box<Break>,
        /// The newest point before it.
        before: Option<(Position, Timestamp)>,
        /// The first point after it; it needs a base that was taken after the break.
        after: Option<(Position, Timestamp)>,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// The tier failed; this says nothing about what is there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state folder failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A header could not be made.
    #[error("an object of the journal could not be signed")]
    Sign(#[source] ChainError),
    /// A document could not be encoded.
    #[error("{what} cannot be encoded")]
    Encode {
        /// What.
        what: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl JournalError {
    /// True if another try may help, with nothing changed.
    pub fn is_transient(&self) -> bool {
        match self {
            JournalError::NoTier(_) => true,
            JournalError::Store(error) => error.is_transient(),
            _ => false,
        }
    }

    /// The exit code that it means.
    pub fn exit(&self) -> Exit {
        match self {
            JournalError::Locked { .. } | JournalError::Taken { .. } => Exit::Locked,
            JournalError::NoTier(_) => Exit::Unreachable,
            JournalError::Foreign { .. }
            | JournalError::Damaged { .. }
            | JournalError::Missing { .. } => Exit::Unverified,
            JournalError::Newer { .. }
            | JournalError::Differs { .. }
            | JournalError::Uncompared { .. }
            | JournalError::NotCovered { .. }
            | JournalError::BeforeBase { .. }
            | JournalError::Beyond { .. }
            | JournalError::Broken { .. } => Exit::Refused,
            JournalError::None { .. } => Exit::NotFound,
            JournalError::Cancelled => Exit::Interrupted,
            JournalError::Store(error) => match error.kind {
                StoreErrorKind::Unreachable | StoreErrorKind::Denied => Exit::Unreachable,
                _ => Exit::Failed,
            },
            JournalError::Seal(
                SealError::WrongKey
                | SealError::BadRecipient(_)
                | SealError::BadIdentity
                | SealError::NoIdentity,
            ) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    /// The command or change that mends it.
    pub fn hint(&self) -> Option<String> {
        let point = |point: &Option<(Position, Timestamp)>| {
            point.map(|(position, time)| format!("{time} ({position})"))
        };
        Some(match self {
            JournalError::Locked { .. } => {
                "wait for it or stop it; `lifeboat status` shows it".to_owned()
            }
            JournalError::Taken { .. } => {
                "stop the other stream. If this host's state folder was set back (a machine \
                 brought back from an image), remove `.lifeboat/journal/COMPONENT` and start the \
                 stream again: it goes on from the tier"
                    .to_owned()
            }
            JournalError::NoTier(_) => "the stream goes on as soon as a tier answers".to_owned(),
            JournalError::SpoolFull { .. } => {
                "bring a tier back, or give the spool more room; until then the application's own \
                 log grows"
                    .to_owned()
            }
            JournalError::LocalState(_) => {
                "move `.lifeboat/journal/COMPONENT` away and start the stream again: it goes on \
                 from the tier"
                    .to_owned()
            }
            JournalError::Foreign { key, .. } => match key {
                Some(key) => format!(
                    "if you know its key {}, name that fingerprint in `[key] signers`",
                    key.fingerprint()
                ),
                None => {
                    "nobody who is known signed it: find out who can write to the tier".to_owned()
                }
            },
            JournalError::Newer { .. } => "update Lifeboat".to_owned(),
            JournalError::Differs { .. } => {
                "two servers archive as one component, or somebody changed the archive: nothing was \
                 replaced. Find out which server is the right one"
                    .to_owned()
            }
            JournalError::Uncompared { .. } => {
                "name the identity in `[key] identity_file` on this host, or compare by hand".to_owned()
            }
            JournalError::Damaged { .. } | JournalError::Missing { .. } => {
                "take another tier, or a point before it; `lifeboat list` shows the windows"
                    .to_owned()
            }
            JournalError::NotCovered { instead, .. } => instead.clone(),
            JournalError::BeforeBase { .. } => "choose an older snapshot".to_owned(),
            JournalError::Beyond { end: (position, time), .. } => {
                format!("the newest point is {time} ({position})")
            }
            JournalError::Broken { before, after, .. } => match (point(before), point(after)) {
                (Some(before), Some(after)) => format!(
                    "the nearest points are {before} and, from a base taken after the break, {after}"
                ),
                (Some(before), None) => format!("the newest point before it is {before}"),
                (None, Some(after)) => {
                    format!(
                        "the first point after it is {after}, from a base taken after the break"
                    )
                }
                (None, None) => return None,
            },
            _ => return None,
        })
    }
}
