//! A way as recipes and reports show it.

use jiff::Timestamp;
use lifeboat_model::recipe::LogStep;

use crate::flows::At;
use crate::journal;
use crate::ports::{LogReader, RecoverTo};
use crate::report::WayReport;

/// The recipe's word for a way.
pub(in crate::flows) fn step(shown: &WayReport) -> LogStep {
    LogStep {
        to: shown.to.clone(),
        lineage: shown.lineage.clone(),
        from: shown.from,
        target: shown.target,
        pieces: shown.pieces,
        bytes: shown.bytes,
    }
}

/// The way as reports show it.
pub(super) fn show(way: &journal::Way, to: &RecoverTo, at: &At, complete: Timestamp) -> WayReport {
    let target = way.target();
    let needed = |seq: u64| target.seq.is_none_or(|last| seq <= last);
    let pieces: Vec<_> = way.pieces().iter().filter(|piece| needed(piece.seq)).collect();
    let known = !matches!(to, RecoverTo::Name(_) | RecoverTo::Transaction(_));
    WayReport {
        to: at.to_string(),
        lineage: way.lineage().to_owned(),
        from: way.start().position,
        target: known.then_some(target.position),
        complete_up_to: known.then_some(complete),
        pieces: pieces.len() as u64,
        bytes: pieces.iter().map(|piece| piece.bytes).sum(),
        range: pieces.first().zip(pieces.last()).map(|(first, last)| (first.seq, last.seq)),
        reached: None,
    }
}
