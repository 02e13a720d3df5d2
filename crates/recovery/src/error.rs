//! Everything that can stop a flow, with the exit code that it means and the hint that mends it.

mod exit;
mod hint;

use std::path::PathBuf;

use lifeboat_model::chain::{ChainError, SignError};
use lifeboat_model::recipe::{PointError, RecipeError};
use lifeboat_vault::StoreError;

use crate::catalog;
use crate::journal::JournalError;
use crate::ports::{EngineError, LogError, SourceError};
use crate::seal::SealError;
use crate::state::StateError;
use hint::{io_hint, on_hold_hint, point_hint, state_hint, stock_restore, store_hint, vault_hint};

/// Result of a flow.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A flow that stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The plan's key source gave no vault key.
    #[error("there is no vault key")]
    NoKey,
    /// No recipe can be made.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// No restore point can be chosen.
    #[error("{component}: nothing to restore from")]
    Point {
        /// The component.
        component: String,
        /// Why.
        #[source]
        source: PointError,
    },
    /// No drill of that name.
    #[error("the plan has no drill {name}")]
    UnknownDrill {
        /// The name asked for.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// The request leaves nothing to do.
    #[error("no component is chosen")]
    NothingChosen,
    /// The request contradicts itself.
    #[error("{what}")]
    Usage {
        /// One sentence.
        what: String,
        /// The change that mends it.
        hint: String,
    },
    /// No snapshot has that id.
    #[error("there is no snapshot or component {name}")]
    NoSnapshot {
        /// What was asked for.
        name: String,
    },
    /// A snapshot that is of no component.
    #[error(
        "snapshot {snapshot} was made by another tool: it is of no component and has no manifest \
         that a restored copy could be compared with"
    )]
    Foreign {
        /// The snapshot.
        snapshot: String,
        /// Where the vault is.
        vault: String,
    },
    /// Refused; nothing was changed.
    #[error("{what}")]
    Refused {
        /// One sentence.
        what: String,
        /// The change that mends it.
        hint: String,
    },
    /// Not what somebody who is believed signed, or not what it was.
    #[error("{what}")]
    Untrusted {
        /// One sentence.
        what: String,
        /// What can be done all the same.
        hint: String,
    },
    /// Local state knows a vault in the tier, and nothing is there.
    #[error("tier {tier} holds no vault, but one is known to be there")]
    Unmounted {
        /// The tier.
        tier: String,
        /// Its place.
        place: String,
    },
    /// The vault belongs to something else.
    #[error("tier {tier} holds the vault of another plan: {why}")]
    OtherVault {
        /// The tier.
        tier: String,
        /// How that is known.
        why: String,
    },
    /// The vault, or the state folder, is one of another plan.
    #[error("tier {tier} holds the vault of another plan: {why}")]
    OtherPlan {
        /// The tier.
        tier: String,
        /// How that is known.
        why: String,
    },
    /// Its key leaked, and another vault took its place.
    #[error("tier {tier} is on hold: its key leaked, and another vault took its place")]
    OnHold {
        /// The tier.
        tier: String,
        /// The tier of the other vault, if it is known here.
        successor: Option<String>,
    },
    /// The tier holds other things.
    #[error("tier {tier} is not empty and holds no vault")]
    NotAVault {
        /// The tier.
        tier: String,
        /// Its place.
        place: String,
        /// Names found there, at most three.
        found: Vec<String>,
    },
    /// Nothing was ever stored in the tier.
    #[error("there is no vault in tier {tier} yet")]
    NoVault {
        /// The tier.
        tier: String,
    },
    /// Another process works on the same component.
    #[error("{what} is being worked on by another process")]
    Busy {
        /// What.
        what: String,
    },
    /// There is not enough room.
    #[error("{} has {free} bytes free, {needed} are needed", path.display())]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Writers of live data are running.
    #[error("{component} is in use by {}", who.join(", "))]
    WritersRunning {
        /// The component.
        component: String,
        /// Processes.
        who: Vec<String>,
    },
    /// An outside action failed.
    #[error("{what}: {outcome}")]
    Action {
        /// Which.
        what: String,
        /// What it answered.
        outcome: String,
    },
    /// An outside action could not be started.
    #[error("{what} cannot be started")]
    ActionStart {
        /// Which.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The restored copy is not what the manifest says.
    #[error("the restored copy of {component} does not pass its checks: {first}")]
    ChecksFailed {
        /// The component.
        component: String,
        /// The first check that did not pass.
        first: String,
    },
    /// Sound, and not put in place because of another one.
    #[error("{component} is not put in place: {because}, which goes together with it, failed")]
    Held {
        /// The component.
        component: String,
        /// The one that failed.
        because: String,
    },
    /// Sound, and not put in place because another one of the same target is not.
    #[error("{component} is not put in place: {because}, which goes to the same folder, failed")]
    HeldBeside {
        /// The component.
        component: String,
        /// The one that failed.
        because: String,
    },
    /// A restore that stopped, and that can be gone on with.
    #[error("the restore to {target} is not finished: what there is stands in {folder}")]
    Unfinished {
        /// Where it was to be put.
        target: String,
        /// Where it is staged.
        folder: String,
        /// Why it stopped.
        #[source]
        source: Box<Error>,
    },
    /// A pruning that had begun to remove things.
    #[error("the pruning of tier {tier} stopped midway; what it had removed by then is gone")]
    PruneStopped {
        /// The tier.
        tier: String,
        /// Why it stopped.
        #[source]
        source: Box<Error>,
    },
    /// A swapped component could not be brought back to its former state.
    #[error(
        "{component} is the restored copy: the former state could not be put back, it is kept in {}",
        kept.join(", ")
    )]
    NotBack {
        /// The component.
        component: String,
        /// Where its former state is.
        kept: Vec<String>,
        /// The record of the restore, where others of it did go back.
        journal: Option<PathBuf>,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A restore in place that was cut off cannot be settled.
    #[error(
        "a restore in place of {components} was cut off between the former state and the restored \
         one, and the former one cannot be put back"
    )]
    CutOff {
        /// Its components.
        components: String,
        /// The record of the restore.
        journal: PathBuf,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The snapshot has no readable manifest.
    #[error("snapshot {snapshot} has no manifest that this version reads")]
    Manifest {
        /// The snapshot.
        snapshot: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no ledger of that host.
    #[error("there is no ledger of host {host}, neither here nor in the tier")]
    NoLedger {
        /// The host.
        host: String,
        /// Hosts that the tier has a ledger of.
        others: Vec<String>,
    },
    /// The ledger does not hold together, so that nothing is added to it.
    #[error("the ledger does not verify: {what}")]
    Ledger {
        /// The first finding.
        what: String,
    },
    /// The signing key cannot be used.
    #[error("the signing key {} cannot be used: {why}", path.display())]
    SignKey {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Signing failed.
    #[error("{what} cannot be signed")]
    Sign {
        /// What.
        what: &'static str,
        /// The cause.
        #[source]
        source: SignError,
    },
    /// An entry cannot be sealed.
    #[error("the ledger cannot be continued")]
    Chain(#[from] ChainError),
    /// The tier has another object under the name.
    #[error("{key} in the tier is not what this host would write there")]
    Diverged {
        /// The key.
        key: String,
    },
    /// A signed object cannot be written or read.
    #[error("{what} cannot be encoded")]
    Encode {
        /// What.
        what: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] lifeboat_vault::Error),
    /// The tier failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state folder failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file operation failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A journal failed, or leads not where it is wanted.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The catalog failed.
    #[error("the catalog cannot be used")]
    Catalog(#[from] rusqlite::Error),
    /// A source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The log of a source cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

impl Error {
    /// A failed file operation.
    pub fn io(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { verb, path, source }
    }

    /// A refusal.
    pub fn refused(what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Refused { what: what.into(), hint: hint.into() }
    }

    /// The command or change that mends it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoKey => {
                "set what the plan's [key] names (vault_env, vault_file or vault_command); \
                 `lifeboat init` makes a key file"
                    .to_owned()
            }
            Error::Recipe(error) => return error.hint(),
            Error::Point { source, .. } => point_hint(source),
            Error::UnknownDrill { known, .. } if known.is_empty() => {
                "the plan has no [drill.*] table; `lifeboat drill run` without a name drills \
                 every component"
                    .to_owned()
            }
            Error::UnknownDrill { known, .. } => format!("it has {}", known.join(", ")),
            Error::NothingChosen => "name a component, or look at the plan's components".to_owned(),
            Error::Usage { hint, .. } | Error::Refused { hint, .. } => hint.clone(),
            Error::Foreign { snapshot, vault } => stock_restore(snapshot, vault),
            Error::Manifest { snapshot, .. } => {
                format!("if another tool made it: {}", stock_restore(snapshot, "TIER/vault"))
            }
            Error::NoSnapshot { .. } => "`lifeboat list` shows the snapshots".to_owned(),
            Error::Unmounted { place, .. } => format!(
                "mount the disk of {place}; if the vault is gone for good, remove \
                 `tiers.json` (and `tiers.json.damaged`) from the state folder and back up anew"
            ),
            Error::OtherVault { .. } => {
                "give this plan a tier of its own, or use the other plan; where the vault was \
                 replaced on purpose, remove `tiers.json` from the state folder"
                    .to_owned()
            }
            Error::OtherPlan { .. } => {
                "give this plan a tier and a `plan.state` of its own, or use the other plan; a plan \
                 that was renamed is known by its file: back up once under its last name from this \
                 file, then change the name in it"
                    .to_owned()
            }
            Error::OnHold { tier, successor } => on_hold_hint(tier, successor.as_deref()),
            Error::NotAVault { found, place, .. } => {
                format!("{place} holds {}; give the tier an empty folder", found.join(", "))
            }
            Error::NoVault { .. } => "`lifeboat backup` makes it".to_owned(),
            Error::NoLedger { others, .. } if !others.is_empty() => format!(
                "the tier has the ledger of {}; `--host NAME` chooses one",
                others.join(", ")
            ),
            Error::NoLedger { .. } => {
                "a backup, verification, restore or drill begins it".to_owned()
            }
            Error::Busy { .. } => "wait until it is done; `lifeboat status` shows it".to_owned(),
            Error::Ledger { .. } => "run `lifeboat audit verify` for all findings".to_owned(),
            Error::SignKey { .. } => {
                "restore the file from a copy; or move it away: a new key is made, and the ledger \
                 says so"
                    .to_owned()
            }
            Error::Sign { .. } | Error::Chain(ChainError::Sign(_)) => {
                "mend the command of `[key] sign_command`: nothing is done that is not signed"
                    .to_owned()
            }
            Error::Diverged { .. } => "run `lifeboat audit verify`".to_owned(),
            Error::Catalog(error) => return catalog::hint(error),
            Error::Vault(error) => return vault_hint(error),
            Error::Store(error) => return store_hint(error),
            Error::State(error) => return state_hint(error),
            Error::Io { source, path, .. } => return io_hint(source, path),
            Error::Engine(EngineError::Refused { hint, .. })
            | Error::Log(LogError::Taken { hint, .. } | LogError::Unfit { hint, .. }) => hint.clone(),
            other => return other.flow_hint(),
        })
    }
}

/// True for an error that ends the whole run, not one component.
pub(crate) fn ends_run(error: &Error) -> bool {
    match error {
        Error::Cancelled => true,
        Error::Unfinished { source, .. } => ends_run(source),
        Error::Vault(error) | Error::Source(SourceError::Vault(error)) => {
            matches!(error, lifeboat_vault::Error::Cancelled)
        }
        _ => false,
    }
}
