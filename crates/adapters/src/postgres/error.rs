//! Why a PostgreSQL server could not be used: one clear sentence and what mends it.

use std::io;

use lifeboat_recovery::ports::{LogError, SourceError};

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server said: {message}{} ({code})", .detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default())]
pub struct ServerError {
    /// The five characters of SQLSTATE.
    pub code: String,
    /// Its sentence.
    pub message: String,
    /// Its detail.
    pub detail: Option<String>,
    /// Its hint.
    pub hint: Option<String>,
}

/// Failure of a call to a server.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// It will not work before somebody mends it.
    #[error("{what}")]
    Unfit {
        /// One sentence.
        what: String,
        /// The command or change that mends it.
        hint: String,
        /// What the server said.
        #[source]
        said: Option<Box<ServerError>>,
    },
    /// Somebody else holds what we need.
    #[error("{what}")]
    Busy {
        /// One sentence.
        what: String,
        /// What can be done.
        hint: String,
    },
    /// Worth another try.
    #[error("{what}")]
    Lost {
        /// One sentence.
        what: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The server refused one statement; the connection goes on.
    #[error("the server refused {what}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its words.
        #[source]
        said: Box<ServerError>,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// Result of a call to a server.
pub type Result<T, E = PgError> = std::result::Result<T, E>;

impl PgError {
    pub(crate) fn unfit(what: impl Into<String>, hint: impl Into<String>) -> Self {
        PgError::Unfit { what: what.into(), hint: hint.into(), said: None }
    }

    pub(crate) fn lost(what: impl Into<String>) -> Self {
        PgError::Lost { what: what.into(), source: None }
    }

    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        PgError::Lost { what: what.into(), source: Some(error.into()) }
    }

    /// The server broke the protocol: nothing that it sends can be relied on.
    pub(crate) fn protocol(what: &str) -> Self {
        PgError::lost(format!("the server's answer cannot be understood: {what}"))
    }

    /// The SQLSTATE of a refused statement.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            PgError::Refused { said, .. } | PgError::Unfit { said: Some(said), .. } => {
                Some(&said.code)
            }
            _ => None,
        }
    }

    /// The same with the state of the server explained, where its code says more than its words.
    pub(crate) fn explained(self) -> Self {
        let PgError::Refused { what, said } = self else { return self };
        let hint: &str = match &said.code[..] {
            // Goes over by itself, or with the server's return.
            code if matches!(&code[..2], "08" | "40" | "57" | "58" | "XX") => {
                return PgError::Lost {
                    what: "the server gave up".into(),
                    source: Some(said.into()),
                };
            }
            "53300" if !said.message.contains("max_wal_senders") => {
                let what = "the server takes no more connections".into();
                return PgError::Lost { what, source: Some(said.into()) };
            }
            "53300" => {
                "raise `max_wal_senders` (a restart of the server), or stop an unused standby"
            }
            "53400" => {
                "raise `max_replication_slots` (a restart of the server), or drop unused slots: \
                 `select slot_name, active from pg_replication_slots`"
            }
            "42501" => {
                "let the role replicate and look: `alter role NAME replication; grant pg_monitor \
                 to NAME`"
            }
            _ => said.hint.as_deref().unwrap_or("see the server's log"),
        };
        let hint = hint.to_owned();
        let what = match &said.code[..] {
            "53300" => "the server has no free WAL sender".to_owned(),
            "53400" => "the server has no free replication slot".to_owned(),
            "42501" => "the role has not the right to replicate".to_owned(),
            _ => format!("the server refused {what}"),
        };
        PgError::Unfit { what, hint, said: Some(said) }
    }
}

/// The server's words below the sentence, in one line, for errors that have no place for a cause.
fn with_words(what: String, said: Option<&ServerError>) -> String {
    match said {
        Some(said) => format!("{what}: {said}"),
        None => what,
    }
}

impl From<PgError> for SourceError {
    fn from(error: PgError) -> Self {
        match error.explained() {
            PgError::Unfit { what, hint, said } => {
                SourceError::Unfit { what: with_words(what, said.as_deref()), hint }
            }
            PgError::Busy { what, hint } => SourceError::Busy { what, hint },
            PgError::Cancelled => SourceError::Vault(lifeboat_vault::Error::Cancelled),
            error => SourceError::Read { what: "the server".to_owned(), source: error.into() },
        }
    }
}

impl From<PgError> for LogError {
    fn from(error: PgError) -> Self {
        match error.explained() {
            PgError::Unfit { what, hint, said } => {
                LogError::Unfit { what: with_words(what, said.as_deref()), hint }
            }
            PgError::Busy { what, hint } => LogError::Taken { what, hint },
            PgError::Lost { what, source } => LogError::Lost { what, source },
            error => LogError::Lost { what: error.to_string(), source: None },
        }
    }
}
