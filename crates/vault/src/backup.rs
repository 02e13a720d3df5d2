//! A backup: captures files and streams into blobs, packs, trees and, last of all, one snapshot.
//!
//! Nothing is visible before [`BackupSession::finish`] has written the snapshot object: packs are
//! stored (and read back) before an index object names them, and all of it is before the snapshot.
//! Every stage is bounded in bytes; of each new blob at most 64 stay resident. A file that could not be read, or changed while it was read, is named in
//! [`BackupSession::problems`]; it never vanishes silently.

pub(crate) mod budget;
mod buffers;
mod claims;
mod engine;
mod folder;
pub(crate) mod halt;
mod known;
mod large;
mod listing;
mod options;
pub(crate) mod packer;
pub(crate) mod register;
mod schedule;
pub(crate) mod sealer;
mod session;
mod skeleton;
mod small;
mod stream;
pub(crate) mod upload;
mod walk;
mod window;
mod worker;

pub use budget::{ByteBudget, Permit};
pub use options::{
    BackupOptions, BackupSummary, FileMeta, Filter, KeepAll, Problem, Root, SnapshotMeta,
    StreamedFile, WalkSpec, WalkSummary,
};
pub use session::BackupSession;
pub(crate) use session::{WRITTEN_VERSION, may_be_written};
