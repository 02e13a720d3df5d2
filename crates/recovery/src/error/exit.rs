//! The exit code that an error means.

use lifeboat_model::exit::Exit;
use lifeboat_model::recipe::{PointError, RecipeError};
use lifeboat_vault::{StoreError, StoreErrorKind};

use super::Error;
use crate::catalog;
use crate::ports::{EngineError, LogError, SourceError};
use crate::seal::SealError;

impl Error {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NoKey | Error::NothingChosen | Error::Usage { .. } => Exit::Usage,
            Error::Recipe(RecipeError::UnknownComponent { .. }) => Exit::NotFound,
            Error::Recipe(_) => Exit::Usage,
            Error::Point { source: PointError::Lost(_), .. } => Exit::Unverified,
            Error::Point { .. } | Error::UnknownDrill { .. } => Exit::NotFound,
            Error::NoSnapshot { .. } | Error::NoVault { .. } | Error::NoLedger { .. } => {
                Exit::NotFound
            }
            Error::Refused { .. }
            | Error::Foreign { .. }
            | Error::OtherVault { .. }
            | Error::NotAVault { .. } => Exit::Refused,
            Error::OtherPlan { .. } | Error::OnHold { .. } => Exit::Refused,
            Error::NoRoom { .. } | Error::WritersRunning { .. } | Error::Held { .. } => {
                Exit::Refused
            }
            Error::CutOff { .. } | Error::HeldBeside { .. } => Exit::Refused,
            Error::Unfinished { source, .. } => source.exit(),
            // A refusal says that nothing was changed.
            Error::PruneStopped { source, .. } => match source.exit() {
                Exit::Refused => Exit::Failed,
                exit => exit,
            },
            Error::Unmounted { .. } => Exit::Unreachable,
            Error::Busy { .. } => Exit::Locked,
            Error::ChecksFailed { .. }
            | Error::Manifest { .. }
            | Error::Ledger { .. }
            | Error::Untrusted { .. } => Exit::Unverified,
            Error::Vault(error) => vault_exit(error),
            Error::Store(error) => store_exit(error),
            Error::Seal(SealError::WrongKey | SealError::BadRecipient(_)) => Exit::Usage,
            Error::Seal(SealError::BadIdentity | SealError::NoIdentity) => Exit::Usage,
            Error::Source(SourceError::Vault(error)) => vault_exit(error),
            Error::Engine(EngineError::Refused { .. }) => Exit::Refused,
            Error::Log(LogError::Lost { .. }) => Exit::Unreachable,
            Error::Log(LogError::Taken { .. }) => Exit::Locked,
            Error::Log(LogError::Unfit { .. }) => Exit::Refused,
            Error::Journal(error) => error.exit(),
            Error::Catalog(error) if catalog::is_busy(error) => Exit::Locked,
            Error::Cancelled => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }
}

fn vault_exit(error: &lifeboat_vault::Error) -> Exit {
    use lifeboat_vault::Error as Vault;
    match error {
        Vault::WrongPassword { .. } => Exit::Usage,
        Vault::NotARepository { .. } => Exit::NotFound,
        Vault::AlreadyExists { .. } | Vault::NewerFormat { .. } | Vault::LastKey => Exit::Refused,
        Vault::Locked(_) | Vault::UnreadableLock { .. } => Exit::Locked,
        Vault::NotFound { .. } | Vault::Ambiguous { .. } => Exit::NotFound,
        Vault::Damaged { .. } => Exit::Unverified,
        Vault::Incomplete { .. } | Vault::ImplausibleClock { .. } => Exit::Refused,
        Vault::Store(error) => store_exit(error),
        Vault::Cancelled => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

fn store_exit(error: &StoreError) -> Exit {
    match error.kind {
        StoreErrorKind::Unreachable | StoreErrorKind::Denied => Exit::Unreachable,
        _ => Exit::Failed,
    }
}
