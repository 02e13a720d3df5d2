//! What is wrong with a journal, and what stands beside the way.

use jiff::Timestamp;
use lifeboat_model::position::Position;
use serde::Serialize;

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// Not there, and the listing was whole.
    Missing,
    /// Not what it should be.
    Damaged,
    /// Signed by nobody who is trusted.
    Foreign,
    /// Written by a newer version.
    Newer,
    /// It does not follow the one before it.
    Unlinked,
    /// Another stream's records, beside the way: not used.
    Beside,
    /// No object of a journal.
    Strange,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The lineage.
    pub lineage: String,
    /// First and last number concerned.
    pub seq: (u32, u32),
    /// The object, or what is missing, in words.
    pub object: String,
    /// What kind of thing.
    pub kind: FaultKind,
    /// One sentence.
    pub why: String,
}

impl Fault {
    /// True if it may have taken records away: what stands beside the way has not.
    pub fn takes_away(&self) -> bool {
        !matches!(self.kind, FaultKind::Beside | FaultKind::Strange)
    }
}

/// A break that the stream itself recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The lineage.
    pub lineage: String,
    /// Where the log breaks off.
    pub from: Position,
    /// Where it begins again.
    pub to: Position,
    /// When that was found.
    pub time: Timestamp,
    /// Why.
    pub why: String,
}

/// A part of the log without a break: from any base in it every later point of it can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The lineage.
    pub lineage: String,
    /// Its first place.
    pub from: Position,
    /// Its last place.
    pub to: Position,
    /// When its first record was received.
    pub since: Timestamp,
    /// The instant up to which it proves a copy complete.
    pub until: Option<Timestamp>,
    /// Bytes of log.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// It is on the way to the newest point of its lineage.
    pub main: bool,
}
