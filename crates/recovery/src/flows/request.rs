//! What can be asked of the flows.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_vault::MaxUnused;
use lifeboat_vault::check::Subset;

use crate::env::VaultKey;

/// Asks for a backup.
#[derive(Debug, Clone, Default)]
pub struct BackupRequest {
    /// Component names; empty for all, or for those of the schedule.
    pub components: Vec<String>,
    /// The schedule that asks; its name becomes a tag.
    pub schedule: Option<String>,
    /// Go on through V2-V4 on the new snapshots.
    pub verify: bool,
}

/// Asks for a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyRequest {
    /// Component names or snapshot ids (or prefixes); empty for every component.
    pub what: Vec<String>,
    /// Every snapshot, not only the newest of each component.
    pub all: bool,
    /// Structure only: no data is read, nothing is restored.
    pub quick: bool,
    /// Read only these of the packs, and restore nothing.
    pub subset: Option<Subset>,
}

impl VerifyRequest {
    /// No snapshot is proven by this: not all of its data is read.
    pub fn structure_only(&self) -> bool {
        self.quick || self.subset.is_some()
    }
}

/// Which point in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum At {
    /// The newest snapshot that the ledger knows and that did not fail a verification.
    #[default]
    Newest,
    /// The newest such one that holds nothing later than this instant: reading its source had ended.
    Time(Timestamp),
    /// This one: an id or a prefix.
    Snapshot(String),
    /// This place in a component's log, on this line of its history, or on the one that leads there.
    Position(Option<u32>, u64),
    /// The restore point of this name.
    Name(String),
    /// Up to and with this transaction.
    Transaction(u64),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            At::Newest => f.write_str("newest"),
            At::Time(time) => write!(f, "{time}"),
            At::Snapshot(id) => f.write_str(id),
            At::Position(Some(line), offset) => {
                write!(f, "position:{}", Position::new(*line, *offset))
            }
            At::Position(None, offset) => {
                write!(f, "lsn:{:X}/{:X}", offset >> 32, offset & 0xffff_ffff)
            }
            At::Name(name) => write!(f, "name:{name}"),
            At::Transaction(number) => write!(f, "xid:{number}"),
        }
    }
}

/// Where restored data goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A new or empty folder; with `all`, one folder a component in it.
    Folder(PathBuf),
    /// A folder in which something may stand: only what differs is written.
    Over {
        /// The folder.
        folder: PathBuf,
        /// What is not of the snapshot is removed. Else it stays, and is named.
        delete: bool,
    },
    /// A stream, see [`restore_stream`](super::restore_stream).
    Stream,
    /// In place of the live data, which is kept aside.
    InPlace,
}

/// Asks for a restore.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Component names.
    pub components: Vec<String>,
    /// Every component of the plan; `components` is empty.
    pub all: bool,
    /// Which point.
    pub at: At,
    /// The base to begin from: an id or a prefix; else it is chosen.
    pub base: Option<String>,
    /// Only snapshots that passed V4, and of the journal no more than was proven by a restore.
    pub verified_only: bool,
    /// Stage the copy and all that its recovery needs, and start nothing.
    pub prepare_only: bool,
    /// Where to.
    pub to: Destination,
    /// Only this file or folder of the component's tree.
    pub path: Option<PathBuf>,
    /// Leave a copy that failed its checks where it was staged.
    pub keep_failed: bool,
}

/// Asks for a stream.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// Component names; empty for all that the plan streams.
    pub components: Vec<String>,
    /// End once everything that is there is stored.
    pub once: bool,
    /// End after so long.
    pub span: Option<std::time::Duration>,
    /// Take a base where the log begins anew or had a gap.
    pub base: bool,
}

impl Default for StreamRequest {
    fn default() -> StreamRequest {
        StreamRequest { components: Vec::new(), once: false, span: None, base: true }
    }
}

/// Asks for a drill.
#[derive(Debug, Clone, Default)]
pub struct DrillRequest {
    /// Names of drills in the plan, or of components; empty for every component.
    pub names: Vec<String>,
    /// Which point.
    pub at: At,
    /// Chooses the older points that are rehearsed; by the clock if left out.
    pub seed: Option<u64>,
}

/// Asks for a pruning.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// For a look only: decide as if it were then; now if left out.
    pub at: Option<Timestamp>,
    /// Waste that may stay; the vault's default if left out.
    pub max_unused: Option<MaxUnused>,
    /// How long marked data waits; the vault's default if left out.
    pub grace: Option<std::time::Duration>,
    /// The ids of all that may go, if somebody was asked: nothing goes if another would go too.
    pub agreed: Option<BTreeSet<String>>,
}

/// What is done about holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldChange {
    /// Put on hold.
    Put,
    /// Take the hold away.
    Release,
}

impl HoldChange {
    /// The word in the ledger.
    pub fn action(self) -> &'static str {
        match self {
            HoldChange::Put => "hold",
            HoldChange::Release => "release",
        }
    }

    /// The outcome in the ledger.
    pub fn outcome(self) -> &'static str {
        match self {
            HoldChange::Put => "on hold",
            HoldChange::Release => "released",
        }
    }
}

/// Asks for holds to be put or taken away.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// Which.
    pub change: HoldChange,
    /// Component names (all their snapshots that are there) or snapshot ids (or prefixes); for a
    /// release nothing: all of the incident.
    pub what: Vec<String>,
    /// Why.
    pub reason: String,
    /// The incident that they belong to.
    pub incident: Option<String>,
}

/// Asks for a copy of snapshots in another tier.
#[derive(Debug, Clone, Default)]
pub struct CopyRequest {
    /// Component names or snapshot ids (or prefixes); empty for everything.
    pub what: Vec<String>,
    /// The tier that they go to; the only other one if left out.
    pub to: Option<String>,
}

/// Asks for another key of the vaults.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    /// The new key.
    pub new: VaultKey,
    /// The file that it was read from, for what is left to be done by hand.
    pub file: PathBuf,
    /// Only this tier; all of the plan that have a vault if left out.
    pub tier: Option<String>,
    /// The tier of the new vault, where the old one's master key may be known.
    pub to: Option<String>,
}

/// Asks for a list of snapshots.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Only this component's.
    pub component: Option<String>,
}

/// Asks whether the ledger holds together.
#[derive(Debug, Clone, Default)]
pub struct AuditRequest {
    /// Whose chain; this host's if left out.
    pub host: Option<String>,
    /// The fingerprint of the signing key, from outside (the recovery kit).
    pub key: Option<String>,
}
