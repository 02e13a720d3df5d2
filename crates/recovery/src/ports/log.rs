//! The log of a database: read from production as it is written ([`LogSource`]), and replayed onto
//! a restored base ([`LogReader`], [`Recovered`]).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_vault::{Cancel, Clock, Monitor};
use serde_json::Value;

use super::EngineError;

/// Facts that an engine keeps with a record of its log: salts, checksums, a file's name. Texts and
/// whole numbers only; what exceeds 53 bits is text.
pub type LogFacts = BTreeMap<String, Value>;

/// What a stream needs besides the database itself.
pub struct LogContext<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Notes.
    pub monitor: &'a dyn Monitor,
    /// Stop request.
    pub cancel: &'a Cancel,
}

/// The end of a component's journal: where a stream is to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// Up to where the journal reaches.
    pub at: LogPosition,
    /// The facts of its last range or gap.
    pub facts: LogFacts,
    /// The instant up to which its last range or keepalive proves it complete, if known.
    pub proven: Option<Timestamp>,
}

/// How a stream joins what the journal has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joint {
    /// Exactly at its end.
    Seamless,
    /// What lies between its end and the place where the stream begins is lost for ever.
    Gap {
        /// Why, one clause: `the slot was dropped`.
        why: String,
    },
    /// Another log than the journal's, or the first one: nothing before is continued.
    NewLineage {
        /// Why, one clause.
        why: String,
    },
}

/// A stream that has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct LogStart {
    /// From where on the source will deliver.
    pub at: LogPosition,
    /// How that joins the journal's end.
    pub joint: Joint,
    /// What the journal keeps of the source: `engine`, version, segment size …
    pub facts: LogFacts,
    /// What must be said aloud.
    pub warnings: Vec<String>,
    /// True if the source keeps what was not acknowledged (a slot, a binlog): the stream then has
    /// no spool of its own.
    pub source_keeps: bool,
}

/// A piece of the log, committed and in order.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRange {
    /// Where it begins: where the one before ended.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// When its last byte was received, wall time: all that was committed by then, as far as the
    /// source had said so, is in it or before it.
    pub time: Timestamp,
    /// The log itself, as the engine takes it back.
    pub bytes: Bytes,
    /// Facts to keep with it.
    pub facts: LogFacts,
}

/// What a source has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// A piece of the log.
    Range(LogRange),
    /// Asked at `time`, the source had written nothing beyond `at`.
    Idle {
        /// The end of what was delivered.
        at: Position,
        /// When the source said so, wall time.
        time: Timestamp,
    },
    /// The log goes on on another line (a timeline): `from` is where the old one was left, which may
    /// lie before what was delivered of it. To be stored before anything of the new line.
    Branch {
        /// The place on the old line.
        from: Position,
        /// The same place on the new line.
        to: Position,
        /// When it was received.
        time: Timestamp,
        /// The history of the new line as the server tells it (`0000000N.history`).
        history: Bytes,
    },
    /// What lies between is lost for ever; the source goes on at `to`.
    Gap {
        /// Where the log breaks off.
        from: Position,
        /// Where it begins again.
        to: Position,
        /// When that was found.
        time: Timestamp,
        /// Why, one clause.
        why: String,
    },
    /// Something to say aloud; the stream goes on.
    Notice(String),
}

/// How the source stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogHealth {
    /// Bytes that the source has written and not yet delivered.
    pub behind: Option<u64>,
    /// How long the source keeps what is not acknowledged, at the present pace.
    pub room: Option<Duration>,
    /// What must be said aloud.
    pub warnings: Vec<String>,
}

/// Why a stream cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Worth another try: the server restarts, the network is gone, a lock is held.
    #[error("{what}")]
    Lost {
        /// One sentence.
        what: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Somebody else streams this component.
    #[error("{what}")]
    Taken {
        /// One sentence.
        what: String,
        /// What can be done.
        hint: String,
    },
    /// It will not work before somebody mends it.
    #[error("{what}")]
    Unfit {
        /// One sentence.
        what: String,
        /// The command or change that mends it.
        hint: String,
    },
}

/// A component's log as it is written. Changes no row and no schema; what it makes in the server is
/// undone by [`LogSource::detach`].
pub trait LogSource: Send {
    /// What [`LogSource::start`] would make or change in the source, in words; for `--dry-run`.
    fn would_make(&mut self, resume: Option<&Resume>) -> Result<Vec<String>, LogError>;
    /// Joins the log at the journal's end, or where the source still has it.
    fn start(
        &mut self,
        resume: Option<&Resume>,
        context: &LogContext<'_>,
    ) -> Result<LogStart, LogError>;
    /// The next event. Waits for new log at most `wait`, and gathers for at most that long.
    fn next(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<LogEvent, LogError>;
    /// All up to `to` is in a tier (or in the spool): the source may let go of it.
    fn durable(&mut self, to: Position) -> Result<(), LogError>;
    /// Keeps the connection alive and the source told while nothing can be stored; reads no log.
    fn wait(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<(), LogError>;
    /// How the source stands.
    fn health(&mut self) -> Result<LogHealth, LogError>;
    /// Leaves the source so that the stream can go on later.
    fn stop(&mut self) -> Result<(), LogError>;
    /// Removes from the source what streams made in it, and says what that was. `dry` only says.
    fn detach(&mut self, dry: bool) -> Result<Vec<String>, LogError>;
}

/// Up to where a base is to be brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoverTo {
    /// As far as the journal leads without a break.
    Newest,
    /// Everything committed by this instant, and nothing later.
    Time(Timestamp),
    /// A place in the log.
    Position(Position),
    /// A restore point by its name (PostgreSQL: `pg_create_restore_point`).
    Name(String),
    /// Up to and with this transaction.
    Transaction(u64),
    /// Only until the base is consistent.
    Base,
}

/// One verified piece of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Number in the chain.
    pub seq: u64,
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// Receive time of its last byte, or of the keepalive.
    pub time: Timestamp,
    /// Bytes of log in it; 0 for a keepalive.
    pub bytes: u64,
    /// The engine's facts.
    pub facts: LogFacts,
}

/// The way from a base to a point through one lineage: every piece signed, chained and without a
/// gap from the base's position on.
pub trait LogReader: Send + Sync {
    /// The lineage, and where the way begins.
    fn start(&self) -> LogPosition;
    /// The facts of the stream's start.
    fn facts(&self) -> &LogFacts;
    /// The pieces, in order: contiguous but for branches, from the one that leads on from the base's
    /// position to the end of the journal, the first gap, or an hour after a wanted instant.
    fn pieces(&self) -> &[Piece];
    /// The content of a piece, verified. An error is never "there is none".
    fn read(&self, piece: &Piece) -> Result<Bytes, EngineError>;
    /// Histories of lines that the way uses: (line, content).
    fn histories(&self) -> Result<Vec<(u32, Bytes)>, EngineError>;
}

/// What a recovery needs.
pub struct RecoverContext<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Progress.
    pub monitor: &'a dyn Monitor,
    /// Stop request.
    pub cancel: &'a Cancel,
    /// A private folder (0700) for sockets, logs and staged pieces, on the copy's file system,
    /// removed afterwards.
    pub scratch: &'a std::path::Path,
    /// Stage everything, start nothing: where the server's version is missing.
    pub prepare_only: bool,
}

/// How far a recovery came.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// The place in the log that the copy stands at.
    pub position: Option<LogPosition>,
    /// The instant up to which the copy is proven complete, if that is known.
    pub complete_up_to: Option<Timestamp>,
    /// Checks that it passed on the way: reached position and line asserted, the base's own manifest,
    /// the rolling checksum. Stand in for the comparison with the capture's manifest, for the copy
    /// is newer than it. Never empty.
    pub checks: Vec<CheckResult>,
    /// What must be said aloud: the line that was chosen, a target that became a position.
    pub notes: Vec<String>,
}
