//! Floor 1: reads and writes restic repositories (format version 2) over a narrow [`Store`].
//!
//! Knows nothing of plans and is useful as a library by itself.

pub mod backup;
pub mod cache;
pub mod check;
pub mod chunk;
pub mod clock;
pub mod compress;
pub mod config;
mod copy;
pub mod crypto;
mod discard;
mod environment;
mod error;
pub mod fingerprint;
mod flaw;
mod id;
pub mod index;
mod key;
mod lock;
pub mod maintenance;
pub mod meta;
pub mod monitor;
pub mod node;
pub mod pack;
mod parallel;
mod pieces;
mod polynomial;
pub mod process;
pub mod prune;
pub mod repair;
mod restore;
mod sha;
mod snapshot;
pub mod store;
mod sync;
mod vault;

pub use backup::{
    BackupOptions, BackupSession, BackupSummary, FileMeta, Filter, KeepAll, Problem, Root,
    SnapshotMeta, StreamedFile, WalkSpec, WalkSummary,
};
pub use cache::Cache;
pub use check::{CheckOptions, CheckReport};
pub use chunk::Chunking;
pub use clock::Clock;
pub use compress::Compression;
pub use config::Config;
pub use copy::{
    CopiedSnapshot, CopyCounts, CopyOptions, CopyPlan, CopyReport, CopySession, DamagedPack,
    LOST_LISTED, LeftOut, LostBlob,
};
pub use environment::Environment;
pub use error::{Error, Gap, LockedBy, Result};
pub use flaw::Wrong;
pub use id::{Id, ParseIdError};
pub use index::{Index, Location};
pub use key::{KeyFile, KeyStrength, MasterSeed, Password};
pub use lock::LockGuard;
pub use maintenance::Maintenance;
pub use monitor::{Cancel, Monitor, NoMonitor, Stage};
pub use node::{Node, NodeKind, Tree};
pub use pack::{BlobKind, PackedBlob};
pub use polynomial::Polynomial;
pub use prune::{MaxUnused, PlannedPrune, PruneOptions, PruneReport};
pub use repair::{RepairOptions, RepairReport, Salvaged};
pub use restore::{Existing, Rehash, RestoreOptions, RestoreReport, StreamOptions, TarStream};
pub use snapshot::Snapshot;
pub use store::{Advice, DeleteStore, Entry, LockStore, Store, StoreError, StoreErrorKind};
pub use vault::{DamagedSnapshot, KeyInfo, KeyRotation, SnapshotList, Vault};
