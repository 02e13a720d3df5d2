//! Whether one object follows another.

use super::header::{Header, Kind};
use crate::chain::Hash;

/// Why an object does not follow the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// It is of another chain.
    #[error("it belongs to another chain")]
    Chain,
    /// Its number is not the next one.
    #[error("its number does not follow")]
    Seq,
    /// It follows another object than the one that is there.
    #[error("it follows another object than the one before it")]
    Prev,
    /// It begins elsewhere than the one before ended.
    #[error("it begins elsewhere than the one before it ended")]
    Position,
}

/// Checks that `next` follows `before`, whose header line has the hash `hash`. A gap follows too: it
/// begins where the one before ended.
///
/// # Errors
/// [`Break`]
pub fn follows(before: &Header, hash: &Hash, next: &Header) -> Result<(), Break> {
    if next.chain != before.chain {
        return Err(Break::Chain);
    }
    if before.seq.checked_add(1) != Some(next.seq) {
        return Err(Break::Seq);
    }
    if next.prev != *hash {
        return Err(Break::Prev);
    }
    let joined = match next.kind {
        // The old line may have been left before its delivered end.
        Kind::Branch => next.from.line == before.to.line && next.from.offset <= before.to.offset,
        _ => next.from == before.to,
    };
    let forward = match next.kind {
        Kind::Range => next.to.line == next.from.line && next.to.offset > next.from.offset,
        Kind::Branch => next.to.line > next.from.line,
        // The other way only where the source was set back, and says so.
        Kind::Gap => next.to != next.from,
        Kind::Start | Kind::Keepalive | Kind::Stop => next.to == next.from,
    };
    if joined && forward { Ok(()) } else { Err(Break::Position) }
}
