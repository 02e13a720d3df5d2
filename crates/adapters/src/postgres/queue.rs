//! Log that has come and was not given away yet: given away in pieces that end with their segment.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::LogFacts;

use super::tail::{self, Tail};

/// The most that is given away in one piece.
const PIECE: u64 = 16 << 20;

/// Log in order, from a place on.
#[derive(Debug)]
pub(crate) struct Queue {
    at: Position,
    segment: u64,
    parts: VecDeque<(Bytes, Option<Timestamp>)>,
    length: u64,
    /// Up to when all that was given away is complete.
    complete: Timestamp,
    /// By what it is known again.
    tail: Option<Tail>,
    line: String,
}

/// A piece of log.
pub(crate) struct Piece {
    pub(crate) from: Position,
    pub(crate) to: Position,
    pub(crate) bytes: Bytes,
    pub(crate) complete: Timestamp,
    pub(crate) facts: LogFacts,
}

impl Queue {
    /// From a place on; `line` is the mark of its timeline.
    pub(crate) fn new(at: Position, line: String, segment: u64, complete: Timestamp) -> Queue {
        let parts = VecDeque::new();
        Queue { at, segment, parts, length: 0, complete, tail: None, line }
    }

    /// What the log before it is known by.
    pub(crate) fn follow(&mut self, tail: Option<Tail>) {
        self.tail = tail;
    }

    /// End of what was given away.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// Goes on at another place; nothing is left of the old one.
    pub(crate) fn rebase(&mut self, at: Position, line: String) {
        (self.at, self.line, self.tail) = (at, line, None);
        self.parts.clear();
        self.length = 0;
    }

    pub(crate) fn push(&mut self, bytes: Bytes, complete: Option<Timestamp>) {
        self.length += bytes.len() as u64;
        self.parts.push_back((bytes, complete));
    }

    /// The source wrote nothing more until then.
    pub(crate) fn idle(&mut self, asked: Timestamp) -> Timestamp {
        self.complete = self.complete.max(asked);
        self.complete
    }

    /// True if waiting for more makes the next piece no longer.
    pub(crate) fn is_full(&self) -> bool {
        self.length >= self.limit()
    }

    fn limit(&self) -> u64 {
        PIECE.min(self.segment - self.at.offset % self.segment)
    }

    /// The next piece: what is there, up to the end of its segment. `beside` tells up to when all is
    /// in the log up to a place.
    pub(crate) fn take(&mut self, beside: impl FnOnce(u64) -> Timestamp) -> Option<Piece> {
        let wanted = self.length.min(self.limit());
        if wanted == 0 {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(wanted as usize);
        while (bytes.len() as u64) < wanted {
            let (mut part, complete) = self.parts.pop_front()?;
            let missing = wanted as usize - bytes.len();
            if part.len() > missing {
                bytes.extend_from_slice(&part.split_to(missing));
                // What is said of its end holds for its end only.
                self.parts.push_front((part, complete));
            } else {
                bytes.extend_from_slice(&part);
                self.complete = complete.map_or(self.complete, |time| time.max(self.complete));
            }
        }
        let from = self.at;
        self.length -= wanted;
        self.at.offset += wanted;
        let complete = self.idle(beside(self.at.offset));
        self.tail = Tail::of(from, &bytes).or(self.tail.take());
        let facts = tail::facts(complete, self.tail.as_ref(), &self.line);
        Some(Piece { from, to: self.at, bytes: bytes.freeze(), complete, facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn pieces_end_with_their_segment_and_claim_no_more_than_they_hold() {
        let mut queue = Queue::new(Position::new(1, 1000), "1 x".to_owned(), 1024, time(1));
        let none = |_| Timestamp::MIN;
        queue.push(Bytes::from(vec![1; 20]), Some(time(5)));
        assert!(!queue.is_full());
        queue.push(Bytes::from(vec![2; 1040]), Some(time(9)));
        assert!(queue.is_full());
        let first = queue.take(none).unwrap();
        assert_eq!((first.from.offset, first.to.offset, first.complete), (1000, 1024, time(5)));
        assert_eq!(first.bytes, [vec![1; 20], vec![2; 4]].concat());
        let second = queue.take(none).unwrap();
        assert_eq!((second.to.offset, second.complete), (2048, time(5)));
        let third = queue.take(none).unwrap();
        assert_eq!((third.to.offset, third.bytes.len(), third.complete), (2060, 12, time(9)));
        assert!(queue.take(none).is_none());
    }
}
