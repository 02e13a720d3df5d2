//! Lines of history that part although the journal has more of the old one: a standby that lagged was
//! promoted, or the server was taken back to an earlier state.
//!
//! What the old line had beyond the parting was production once. An instant is restored on the line
//! that was the live one then; where that cannot be told, it is refused. A place is restored on its
//! own line. All else leads to the journal's end, and what is left behind is said.

use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{EngineError, LogReader, Piece, RecoverTo};

use super::goal::committed_by;
use super::lsn::text as lsn_text;
use super::refused;
use super::way::{BaseLog, Way};

/// A place where lines part, and the journal has more of the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fork {
    /// The first piece of the new line.
    index: usize,
    old: u32,
    new: u32,
    /// Where they part, and up to where the journal has the old one.
    at: u64,
    end: u64,
    /// Up to when the old one is known.
    known: Timestamp,
}

/// The way to a point, and what must be said of the choice.
pub(super) fn lead<'a>(
    reader: &'a dyn LogReader,
    base: &BaseLog<'_>,
    to: &RecoverTo,
) -> Result<(Way<'a>, Option<String>), EngineError> {
    let all = reader.pieces();
    let forks = forks(all);
    let left = forks.last().map(Fork::left_behind);
    match to {
        RecoverTo::Position(at) => {
            Ok((Way::new(reader, up_to_place(all, *at, base.stop), base)?, None))
        }
        RecoverTo::Time(time) => match forks.iter().find(|fork| *time <= fork.known) {
            Some(fork) => {
                // A base beyond the parting leads to the old line alone.
                if let Ok(whole) = Way::new(reader, all, base)
                    && committed_by(&whole, (fork.new, fork.at), *time)?
                {
                    return Err(fork.undecided(*time));
                }
                Ok((Way::new(reader, &all[..fork.index], base)?, Some(fork.live(*time))))
            }
            None => {
                let way = Way::new(reader, all, base)?;
                for fork in &forks {
                    let later = |piece: &Piece| fork.known < piece.time && piece.time <= *time;
                    let lived = all[fork.index..].iter().any(later);
                    if !lived && !committed_by(&way, (fork.new, fork.at), *time)? {
                        return Err(fork.undecided(*time));
                    }
                }
                Ok((way, left))
            }
        },
        _ => Ok((Way::new(reader, all, base)?, left)),
    }
}

fn forks(pieces: &[Piece]) -> Vec<Fork> {
    let mut forks = Vec::new();
    let (mut line, mut end, mut known) = (0, 0, Timestamp::MIN);
    for (index, piece) in pieces.iter().enumerate() {
        let from = piece.from;
        if from.line > line {
            if end > from.offset {
                let (old, new, at) = (line, from.line, from.offset);
                forks.push(Fork { index, old, new, at, end, known });
            }
            (line, end) = (from.line, 0);
        }
        end = end.max(piece.to.offset);
        known = known.max(piece.time);
    }
    forks
}

/// The pieces up to the one that holds a place, or the base's end: nothing behind it is needed, and
/// nothing of a later line.
fn up_to_place(pieces: &[Piece], at: Position, stop: u64) -> &[Piece] {
    let own = pieces.iter().position(|piece| piece.from.line > at.line);
    let own = &pieces[..own.unwrap_or(pieces.len())];
    let holds = |piece: &Piece| {
        piece.to.line == at.line && piece.bytes > 0 && piece.to.offset >= at.offset.max(stop)
    };
    own.iter().position(holds).map_or(own, |index| &own[..=index])
}

impl Fork {
    fn live(&self, time: Timestamp) -> String {
        format!(
            "timeline {} was the live one at {time}, and that is restored; it was left at {} for \
             timeline {} later",
            self.old,
            lsn_text(self.at),
            self.new
        )
    }

    fn left_behind(&self) -> String {
        format!(
            "timeline {} was left at {} for timeline {}: what the journal has of it beyond that is \
             left behind; `--at position:{}` leads there",
            self.old,
            lsn_text(self.at),
            self.new,
            Position::new(self.old, self.end)
        )
    }

    fn undecided(&self, time: Timestamp) -> EngineError {
        refused(
            format!(
                "which timeline was the live one at {time} cannot be told: timeline {} was left at \
                 {} and is known up to {}, {}; timeline {} goes on from {}",
                self.old,
                lsn_text(self.at),
                lsn_text(self.end),
                self.known,
                self.new,
                lsn_text(self.at),
            ),
            "name a place instead: `--at position:` and what `lifeboat list` shows of the two \
             timelines",
        )
    }
}
