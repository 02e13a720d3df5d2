//! The flows: each reads as a table of contents.

mod backup;
mod bootstrap;
mod copy;
mod drill;
mod export;
mod exposure;
mod hold;
mod key;
mod kit;
mod kit_drill;
mod look;
mod metadata;
mod point;
mod proof;
mod prune;
mod prune_journal;
mod repair;
mod request;
mod restore;
mod stream;
mod verify;
mod verify_journal;
mod wal;
mod way;

pub use backup::{backup, plan_backup, run_id};
pub use bootstrap::{BootstrapRequest, bootstrap};
pub use copy::{copy, plan_copy};
pub use drill::{drill, plan_drill};
pub use export::{ExportRequest, ExportTo, export, plan_export};
pub use hold::{hold, holds, plan_hold};
pub use key::{
    key_add, key_compromised, key_rotate, plan_key_add, plan_key_compromised, plan_key_rotate,
};
pub use kit::{KIT_FILES, KitPages, KitRequest, TierAccess, make_kit, plan_kit};
pub use kit_drill::{KitDrillRequest, KitRun, RunStep, kit_drill};
pub use look::{drill_list, list, status};
pub use metadata::backup_metadata;
pub use prune::{plan_prune, prune};
pub use repair::{plan_repair, repair_index};
pub use request::{
    At, AuditRequest, BackupRequest, CopyRequest, Destination, DrillRequest, HoldChange,
    HoldRequest, KeyRequest, ListRequest, PruneRequest, RestoreRequest, StreamRequest,
    VerifyRequest,
};
pub use restore::{check_target, plan_restore, restore, restore_stream};
pub use stream::{Live, detach, plan_stream, stream, wanted_base};
pub use verify::verify;
pub use wal::{Fetched, WalPushed, wal_fetch, wal_push};

pub use crate::ledger::audit::audit_verify;
pub use crate::ledger::log::{audit_log, audit_log_of};
