//! The rolling hash of FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", 2020), several stretches at a time.
//!
//! Each byte shifts the hash by one bit, so it depends on the last 64 bytes alone. One stretch after
//! the other waits for its own sums; four neighbouring ones, each begun 64 bytes early, do not.

use std::ops::Range;

/// Bytes that the hash depends on.
const REACH: usize = 64;
/// Stretches that are hashed side by side, and the bytes of each.
const LANES: usize = 4;
const STRETCH: usize = 1024;

/// The table of the hash.
pub(super) struct Gear([u64; 256]);

impl Gear {
    pub(super) fn new(table: [u64; 256]) -> Self {
        Self(table)
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &[u64; 256] {
        &self.0
    }

    fn step(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.0[usize::from(byte)])
    }

    /// The hash of these bytes.
    pub(super) fn of(&self, bytes: &[u8]) -> u64 {
        let last = &bytes[bytes.len().saturating_sub(REACH)..];
        last.iter().fold(0, |hash, byte| self.step(hash, *byte))
    }

    /// The first place in the range at which the hash, up to and with its byte, has no bit of the
    /// mask. `hash` is that of what comes before the range, and afterwards that up to its end.
    pub(super) fn find(
        &self,
        bytes: &[u8],
        range: Range<usize>,
        hash: &mut u64,
        mask: u64,
    ) -> Option<usize> {
        let mut at = range.start;
        let (groups, _) = bytes[range.clone()].as_chunks::<{ LANES * STRETCH }>();
        for group in groups {
            match self.beside(group, *hash, mask) {
                Some(end) => *hash = end,
                None => break,
            }
            at += group.len();
        }
        for (place, byte) in (at..).zip(&bytes[at..range.end]) {
            *hash = self.step(*hash, *byte);
            if *hash & mask == 0 {
                return Some(place);
            }
        }
        None
    }

    /// The hash at the end of the group; nothing if there is a place that is looked for.
    fn beside(&self, group: &[u8; LANES * STRETCH], hash: u64, mask: u64) -> Option<u64> {
        let (lanes, _) = group.as_chunks::<STRETCH>();
        let [a, b, c, d] = lanes else { return None };
        let before = |lane: &[u8; STRETCH]| self.of(lane);
        let mut hashes = [hash, before(a), before(b), before(c)];
        let mut found = false;
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            for (hash, byte) in hashes.iter_mut().zip([a, b, c, d]) {
                *hash = self.step(*hash, *byte);
                found |= *hash & mask == 0;
            }
        }
        (!found).then_some(hashes[LANES - 1])
    }
}
