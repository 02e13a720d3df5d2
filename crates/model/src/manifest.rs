//! `manifest.json`: what a capture contained, read from the live source inside the capture's own
//! transaction, so that it vouches for the source and not merely for the copy.
//!
//! Stored at the root of every snapshot's tree. Carries a format number: a newer one is refused,
//! an older one is read for ever.

use indexmap::IndexMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::position::LogPosition;

/// The format that this version writes. In format 1 the fingerprints of tables are SHA-256, from
/// format 2 on BLAKE3; since format 3 there are positions in logs, and PostgreSQL,
/// since format 4 what commands print, and Git.
pub const FORMAT: u32 = 4;
/// Where the manifest stands in a snapshot's tree.
pub const NAME: &str = "manifest.json";

/// What one capture contained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Format number, [`FORMAT`].
    pub format: u32,
    /// Component name in the plan.
    pub component: String,
    /// Version of Lifeboat that captured.
    pub version: String,
    /// Host that captured.
    pub host: String,
    /// Wall time at which the capture's transaction or walk began: the copy is complete up to here.
    pub started: Timestamp,
    /// Wall time at which it ended.
    pub finished: Timestamp,
    /// From where on its log leads further: replayed from here to any place at or after the
    /// capture's end, the copy is the database at that place. Absent where there is no log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<LogPosition>,
    /// What kind of component, and its content.
    #[serde(flatten)]
    pub content: Content,
}

impl Manifest {
    /// The instant at which reading the source ended: the copy holds nothing newer. (It is complete
    /// up to `started`; in between, a part of what was written may be in it.)
    pub fn read_until(&self) -> Timestamp {
        // A clock that was set back in between makes the later of the two the safe one.
        self.finished.max(self.started)
    }
}

/// The content by kind of component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "engine", rename_all = "lowercase")]
pub enum Content {
    /// A SQLite database.
    Sqlite(SqliteContent),
    /// A file tree.
    Files(FilesContent),
    /// A PostgreSQL server.
    Postgres(PostgresContent),
    /// What a command prints.
    Command(CommandContent),
    /// A Git repository.
    Git(GitContent),
}

impl Content {
    /// The kind of component, as the plan's key says it.
    pub fn engine(&self) -> &'static str {
        match self {
            Content::Sqlite(_) => "sqlite",
            Content::Files(_) => "files",
            Content::Postgres(_) => "postgres",
            Content::Command(_) => "command",
            Content::Git(_) => "git",
        }
    }
}

/// A SQLite database as the live source showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SqliteContent {
    /// Absolute path of the live database.
    pub source: String,
    /// File name in the snapshot's tree (at the root).
    pub file: String,
    /// `PRAGMA page_size`, bytes.
    pub page_size: u32,
    /// Pages in the database.
    pub page_count: u32,
    /// `wal` or `rollback`, by the header of the file.
    pub journal_mode: String,
    /// `PRAGMA user_version`.
    pub user_version: i64,
    /// `PRAGMA application_id`.
    pub application_id: i64,
    /// `PRAGMA encoding`.
    pub encoding: String,
    /// SHA-256 of the schema's SQL in a fixed order, hexadecimal.
    pub schema_sha256: String,
    /// Per table, in name order: rows and content fingerprint.
    pub tables: IndexMap<String, TableContent>,
    /// Rows that point to no parent (`PRAGMA foreign_key_check`) in the source: a faithful copy has
    /// as many. Absent where SQLite cannot check because a declaration does not fit its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_key_violations: Option<u64>,
    /// Newest change, by the column that the plan names: a cross-check, never the measure of RPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_change: Option<String>,
    /// Version of the SQLite library that read it.
    pub sqlite_version: String,
    /// How it was captured: `wal-snapshot`, `batched` or `shared-lock`; `unchanged` if the files
    /// were as they were when an earlier capture read them, and nothing was read again.
    pub method: String,
    /// The longest that a lock held up writers in one piece, milliseconds, measured; 0 in WAL mode.
    pub blocked_ms: u64,
    /// The files as they stood before and after the reading. Absent where they changed meanwhile
    /// or so shortly before that their times need not show the next change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// What tells that a database was not written to since it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// When the content was last really read.
    pub read: Timestamp,
    /// The boot in which it was read: a power cut may lose times and keep content.
    pub boot: String,
    /// The database's file.
    pub file: FileState,
    /// Its `-wal`; absent where there is none or an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<FileState>,
    /// Table and column of `newest_change`, where the plan names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_of: Option<(String, String)>,
}

/// One file by its inode. Times in nanoseconds since 1970, as decimal text (they exceed what JSON
/// numbers hold exactly).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileState {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Length, bytes.
    pub size: u64,
    /// Time of the last change of the content.
    pub mtime: String,
    /// Time of the last change of the inode.
    pub ctime: String,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableContent {
    /// Number of rows.
    pub rows: u64,
    /// Content fingerprint, hexadecimal; how it is computed stands in `docs/format.md`.
    pub fingerprint: String,
}

/// A file tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilesContent {
    /// Captured roots.
    pub roots: Vec<FilesRoot>,
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links and special files.
    pub others: u64,
    /// Sum of the regular files' sizes, bytes.
    pub bytes: u64,
    /// What of `bytes` the source's file system had allocated: less where files have holes, which a
    /// restore makes again. Absent where it was
    /// not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<u64>,
    /// SHA-256 over the sorted list of (path, type, size, content hash list), hexadecimal; how it
    /// is computed stands in `docs/format.md`.
    pub fingerprint: String,
    /// Paths that could not be read, or that changed while they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// One captured root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilesRoot {
    /// Absolute path of the live folder or file.
    pub source: String,
    /// Where it stands in the snapshot's tree.
    pub tree: String,
}

/// A file of the snapshot that a program printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrintedFile {
    /// Its name at the root of the snapshot's tree.
    pub file: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// SHA-256 of what the program printed, hexadecimal.
    pub sha256: String,
}

/// What a command printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandContent {
    /// All of it.
    #[serde(flatten)]
    pub printed: PrintedFile,
}

/// A Git repository as it showed itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitContent {
    /// Where it was reached, without a password.
    pub source: String,
    /// The bundle: `git clone FILE` opens it.
    #[serde(flatten)]
    pub printed: PrintedFile,
    /// The branch that a clone checks out, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Every ref, in name order, with the object that it names.
    pub refs: IndexMap<String, String>,
    /// Commits that are reached from them.
    pub commits: u64,
    /// What of the repository is not in the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A PostgreSQL server as it showed itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostgresContent {
    /// Where it was reached: host or socket folder, and port. Never a user's password.
    pub source: String,
    /// `physical` or `logical`.
    pub mode: String,
    /// `server_version_num`, as 150018.
    pub server_version: u32,
    /// `version()`.
    pub server_version_text: String,
    /// The cluster's system identifier, as decimal text (it exceeds what JSON numbers hold exactly).
    pub system_identifier: String,
    /// Timeline on which the capture was made.
    pub timeline: u32,
    /// Where replay has to begin, as `0/16B3748`. Empty for a logical capture.
    pub start_lsn: String,
    /// Where the copy is consistent at the earliest. Empty for a logical capture.
    pub stop_lsn: String,
    /// Bytes of a segment of the log.
    pub wal_segment_size: u64,
    /// Whether its pages carry checksums.
    pub checksums: bool,
    /// Bytes of the files in the copy.
    pub bytes: u64,
    /// Files in the copy.
    pub files: u64,
    /// Live data directory, absolute, where the server tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<String>,
    /// Tablespaces outside the data directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<Tablespace>,
    /// Databases, in name order.
    pub databases: Vec<PostgresDatabase>,
    /// Settings that a copy needs in order to start, and those that say how it was kept safe.
    pub settings: IndexMap<String, String>,
    /// Rows and content fingerprints by `database.schema.table`, where the plan asks for them. The
    /// fingerprint holds at `fingerprint_lsn`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub tables: IndexMap<String, TableContent>,
    /// The place in the log at which `tables` was read, under a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_lsn: Option<String>,
    /// Newest change, by the column that the plan names: a cross-check, never the measure of RPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_change: Option<String>,
    /// How it was captured: `base-backup` (replication protocol), `local-files`, `dump`.
    pub method: String,
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tablespace {
    /// Its number.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Where it lives, absolute.
    pub location: String,
    /// Where it stands in the snapshot's tree.
    pub tree: String,
}

/// A database of a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostgresDatabase {
    /// Its name.
    pub name: String,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its dump in the snapshot's tree; of a logical capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<String>,
    /// Its extensions, `name version`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
}
