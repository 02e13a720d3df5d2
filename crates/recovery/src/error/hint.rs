//! The command or change that mends an error, by what it comes from.

use lifeboat_model::recipe::{PointError, Skipped};
use lifeboat_vault::{StoreError, StoreErrorKind};

use super::Error;
use crate::journal::JournalError;
use crate::ports::SourceError;
use crate::seal::SealError;
use crate::state::StateError;

impl Error {
    /// The same of what a restore or a pruning meets.
    pub(super) fn flow_hint(&self) -> Option<String> {
        Some(match self {
            Error::Untrusted { hint, .. } => hint.clone(),
            Error::Seal(error) => return seal_hint(error),
            Error::Source(error) => return source_hint(error),
            Error::Journal(error) => return journal_hint(error),
            Error::NoRoom { path, .. } => {
                format!("free some space at {}, or choose another place", path.display())
            }
            Error::WritersRunning { .. } => {
                "stop them, or give the component `stop` and `start` commands".to_owned()
            }
            Error::Held { component, .. } => {
                format!("`lifeboat restore {component} --in-place` restores it alone")
            }
            Error::Unfinished { source, .. } => match source.hint() {
                Some(hint) => format!("{hint}; then the same command goes on with it"),
                None => "the same command goes on with it".to_owned(),
            },
            Error::PruneStopped { source, .. } => {
                let again = "`lifeboat prune` again goes on where this one stopped";
                match source.hint() {
                    Some(hint) => format!("{hint}; then {again}"),
                    None => again.to_owned(),
                }
            }
            Error::NotBack { component, journal: Some(journal), .. } => format!(
                "stop the application, then `lifeboat backup {component}`, which puts it back; to \
                 keep what is live now, remove {}",
                journal.display()
            ),
            Error::NotBack { .. } => {
                "stop the application and move the former state back, or start it on what was \
                 restored"
                    .to_owned()
            }
            Error::Action { what, .. } | Error::ActionStart { what, .. } => {
                format!("run {what} by hand to see why, and mend it in the plan")
            }
            Error::CutOff { journal, .. } => format!(
                "stop the application, then run the same command again; to keep what is live now, \
                 remove {}",
                journal.display()
            ),
            Error::ChecksFailed { .. } | Error::HeldBeside { .. } => {
                "`lifeboat list` shows older snapshots for `--at SNAPSHOT`; \
                 `--keep-failed` keeps the copy for a look"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

pub(super) fn point_hint(error: &PointError) -> String {
    match error {
        PointError::None => "`lifeboat backup` makes the first".to_owned(),
        PointError::NoneFits(passed_over) => {
            let why =
                |s: &Skipped| format!("{} {}", s.snapshot.get(..8).unwrap_or(&s.snapshot), s.why);
            let list: Vec<String> = passed_over.iter().take(3).map(why).collect();
            format!("passed over: {}; `--at SNAPSHOT` takes one all the same", list.join("; "))
        }
        PointError::Lost(_) => {
            "`lifeboat verify` names what is damaged; `lifeboat list` shows the \
             snapshots that are there"
                .to_owned()
        }
        PointError::Unknown(_) => "`lifeboat list` shows the snapshots".to_owned(),
        PointError::Ambiguous { .. } => "give more characters of the snapshot's id".to_owned(),
    }
}

pub(super) fn on_hold_hint(tier: &str, successor: Option<&str>) -> String {
    match successor {
        Some(new) => format!(
            "put [tier.{new}] before [tier.{tier}] in the plan, or take [tier.{tier}] out; what it \
             holds can be read with its old key"
        ),
        None => format!(
            "take plan and key of the machine that made the new vault; if tier {tier} was marked by \
             mistake, remove `hold.json` from it"
        ),
    }
}

/// How the stock tool restores a snapshot that is not one of ours.
pub(super) fn stock_restore(snapshot: &str, vault: &str) -> String {
    let id = snapshot.get(..8).unwrap_or(snapshot);
    format!(
        "`restic -r {vault} restore {id} --target DIR` restores it, with the plan's vault key as \
         its password"
    )
}

pub(super) fn seal_hint(error: &SealError) -> Option<String> {
    Some(match error {
        SealError::IdentityGone | SealError::OtherIdentity => {
            "bring `journal/identity.age` back from a copy of the tier; if it was replaced on \
             purpose, remove `tiers.json` from the state folder"
                .to_owned()
        }
        SealError::WrongKey => {
            "check that the plan's vault key is the one that this tier was made with".to_owned()
        }
        SealError::NoIdentity => {
            "give `[key] identity_file` on the host where this runs".to_owned()
        }
        _ => return None,
    })
}

pub(super) fn state_hint(error: &StateError) -> Option<String> {
    io_hint(&error.source, &error.path)
}

pub(super) fn io_hint(error: &std::io::Error, path: &std::path::Path) -> Option<String> {
    use std::io::ErrorKind;
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("free some space where {} is", path.display())
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("check owner, mode and mount of {}", path.display())
        }
        _ => return None,
    })
}

pub(super) fn source_hint(error: &SourceError) -> Option<String> {
    match error {
        SourceError::Unfit { hint, .. } | SourceError::Busy { hint, .. } => Some(hint.clone()),
        SourceError::Vault(error) => vault_hint(error),
        SourceError::Missing { .. } => Some("check the component's path in the plan".to_owned()),
        SourceError::Read { .. } => None,
    }
}

pub(super) fn vault_hint(error: &lifeboat_vault::Error) -> Option<String> {
    match error {
        lifeboat_vault::Error::Store(error) => store_hint(error),
        other => other.hint().map(str::to_owned),
    }
}

pub(super) fn store_hint(error: &StoreError) -> Option<String> {
    if let Some(advice) = error.advice() {
        return Some(advice.hint.clone());
    }
    Some(match error.kind {
        StoreErrorKind::NoSpace => {
            "free some space and run again; what was stored is kept and reused".to_owned()
        }
        StoreErrorKind::Denied => format!("check owner and mode of {}", error.place),
        StoreErrorKind::Unreachable => {
            format!("check that the folder {} is there and mounted", error.place)
        }
        _ => return None,
    })
}

pub(super) fn journal_hint(error: &JournalError) -> Option<String> {
    match error {
        JournalError::Seal(error) => seal_hint(error),
        JournalError::Store(error) => store_hint(error),
        JournalError::State(error) => state_hint(error),
        other => other.hint(),
    }
}
