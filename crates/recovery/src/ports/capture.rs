//! What a capture needs, what it gives, and why there was none.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::manifest::Manifest;
use lifeboat_vault::{Cancel, Clock, Monitor};

/// What a capture needs besides the component itself.
pub struct CaptureContext<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Progress.
    pub monitor: &'a dyn Monitor,
    /// Stop request.
    pub cancel: &'a Cancel,
    /// This host's name, for the manifest.
    pub host: &'a str,
}

/// A finished capture. The flow writes `manifest` as `manifest.json` and then the snapshot object.
#[derive(Debug)]
pub struct Capture {
    /// What was captured, read from the source itself.
    pub manifest: Manifest,
    /// The instant up to which the copy is proven complete: the start of the capture whose
    /// manifest the copy equals.
    pub complete_up_to: Timestamp,
    /// How long the source's writers were held up, measured, where the engine had to lock.
    pub blocked: Option<Duration>,
}

/// Why a component got no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source is not there.
    #[error("{what} is missing")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// The source is not what the plan says (not a SQLite database, encrypted …).
    #[error("{what}")]
    Unfit {
        /// One sentence.
        what: String,
        /// The command or change that mends it.
        hint: String,
    },
    /// Other processes hold the source too long.
    #[error("{what}")]
    Busy {
        /// One sentence.
        what: String,
        /// The command or change that mends it.
        hint: String,
    },
    /// The vault failed underneath.
    #[error(transparent)]
    Vault(#[from] lifeboat_vault::Error),
    /// Reading failed.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
