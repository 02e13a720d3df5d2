//! The report of a stream.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_model::position::Position;
use serde::{Deserialize, Serialize};

use super::{Failure, Head, TierRef};
use crate::journal::Standing;

/// Something that is lost for ever between two places of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPart {
    /// Where the log breaks off; nothing where another log begins.
    pub from: Option<Position>,
    /// Where it begins again.
    pub to: Position,
    /// When that was found.
    pub time: Timestamp,
    /// Why.
    pub why: String,
}

/// A base that a stream asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamBase {
    /// The snapshot.
    pub snapshot: Option<String>,
    /// Why there is none.
    pub error: Option<Failure>,
}

/// One component's stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamedComponent {
    /// Component name.
    pub component: String,
    /// The log.
    pub lineage: Option<String>,
    /// Where it began.
    pub from: Option<Position>,
    /// Up to where a tier (or the spool) has it.
    pub to: Option<Position>,
    /// The instant up to which what a tier has proves a copy complete.
    pub complete_up_to: Option<Timestamp>,
    /// Ranges stored.
    pub ranges: u64,
    /// Bytes of log in them.
    pub bytes: u64,
    /// Keepalives stored.
    pub keepalives: u64,
    /// What was lost for ever.
    pub gaps: Vec<LostPart>,
    /// Other lines that the log went on on.
    pub branches: u64,
    /// How often the source was lost, and joined again.
    pub reconnects: u64,
    /// From the receipt of a range's last byte until a tier had it, seconds: 99 of 100 took at most
    /// so long.
    pub stored_after_p99_seconds: Option<f64>,
    /// The longest of them.
    pub stored_after_max_seconds: Option<f64>,
    /// Objects that wait here for a tier.
    pub waiting: u64,
    /// How each tier stands.
    pub tiers: Vec<Standing>,
    /// Bases that were taken because the log began anew or had a gap.
    pub bases: Vec<StreamBase>,
    /// How long it streamed, seconds.
    pub seconds: f64,
    /// What was said on the way, the last twenty.
    pub notes: Vec<String>,
    /// Why it ended before it was to end.
    pub error: Option<Failure>,
}

/// The report of a stream. Schema `lifeboat/stream`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The tiers that it writes to.
    pub tiers: Vec<TierRef>,
    /// The components.
    pub components: Vec<StreamedComponent>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// True if somebody asked to stop.
    pub interrupted: bool,
}

impl StreamReport {
    /// 0 it ended by itself as it was to, and all tiers have all; 3 something is missing somewhere;
    /// 5 somebody asked to stop; else the first failure's own code, 7 first.
    pub fn exit(&self) -> Exit {
        let codes = || self.components.iter().filter_map(|c| c.error.as_ref().map(|e| e.code));
        let own = [
            Exit::Locked,
            Exit::Refused,
            Exit::Usage,
            Exit::NotFound,
            Exit::Unreachable,
            Exit::Unverified,
            Exit::Failed,
        ];
        if let Some(exit) = own.into_iter().find(|exit| codes().any(|code| code == exit.code())) {
            return exit;
        }
        if self.interrupted {
            return Exit::Interrupted;
        }
        let lacks = |c: &StreamedComponent| {
            c.waiting > 0 || c.tiers.iter().any(|tier| tier.lacks != Some(0))
        };
        let unbased =
            |c: &StreamedComponent| c.bases.last().is_some_and(|base| base.snapshot.is_none());
        match self.components.iter().any(|c| lacks(c) || unbased(c) || !c.gaps.is_empty()) {
            true => Exit::Problems,
            false => Exit::Done,
        }
    }
}

/// What a stream would make. Schema `lifeboat/stream-recipe`. Nothing was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStream {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The tiers that it would write to.
    pub tiers: Vec<TierRef>,
    /// The components.
    pub components: Vec<PlannedStreamOf>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// One component of a stream that would begin, or end for good.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStreamOf {
    /// Component name.
    pub component: String,
    /// Where it would go on; nothing where it would begin.
    pub resume: Option<lifeboat_model::position::LogPosition>,
    /// What it would make or change in the source, in words; for `--detach` what it removes.
    pub makes: Vec<String>,
    /// Why it could not.
    pub error: Option<Failure>,
}

/// What was removed from the sources. Schema `lifeboat/stream-detach`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetachReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The components; `makes` is what was removed.
    pub components: Vec<PlannedStreamOf>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl DetachReport {
    /// 0, or the first failure's own code.
    pub fn exit(&self) -> Exit {
        let code = self.components.iter().find_map(|c| c.error.as_ref()).map(|e| e.code);
        let own = [Exit::Locked, Exit::Refused, Exit::Usage, Exit::NotFound, Exit::Unreachable];
        match code {
            None => Exit::Done,
            Some(code) => own.into_iter().find(|exit| exit.code() == code).unwrap_or(Exit::Failed),
        }
    }
}
