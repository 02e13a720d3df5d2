//! Where a file is cut into blobs.
//!
//! Trees are cut by content (FastCDC, 512 KiB to 8 MiB, 1 MiB on average) with a gear table that
//! is derived from the repository's secret seed, so that chunk sizes tell an onlooker nothing about
//! known files. Database streams are cut at fixed, page-aligned offsets. Any cut is valid restic.
//!
//! A file cut by content is also cut at every multiple of [`SEGMENT`], so that all cores can work
//! on one big file and still find the same cuts. The cuts depend on the bytes alone, never on how
//! they were read or where the file has holes.

mod gear;

use std::sync::OnceLock;

use fastcdc::v2020::MASKS;
use sha2::{Digest, Sha256};

use gear::Gear;

/// Smallest chunk cut by content, bytes (the end of a segment may be shorter).
pub const MIN: usize = 512 << 10;
/// Average chunk aimed at, bytes.
pub const AVERAGE: usize = 1 << 20;
/// Largest chunk, bytes: restic's own limit.
pub const MAX: usize = 8 << 20;
/// Files are cut at every multiple of this, bytes.
pub const SEGMENT: u64 = 64 << 20;

/// Stricter mask below the average, looser above ("normalised chunking", level 1).
const MASK_SMALL: u64 = MASKS[21];
const MASK_LARGE: u64 = MASKS[19];

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunking {
    /// By content.
    Content,
    /// Every so many bytes, at most [`MAX`].
    Fixed(u32),
}

/// Cuts by content with one repository's gear table.
pub struct Chunker {
    gear: Gear,
    zeros: OnceLock<usize>,
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Chunker { .. }")
    }
}

impl Chunker {
    /// The chunker of the repository whose secret chunk seed this is. Entry *i* of the gear table
    /// is the first 8 bytes (little endian) of SHA-256(`lifeboat gear 1` ‖ seed ‖ *i*).
    pub fn new(seed: &[u8; 32]) -> Self {
        let mut gear = [0; 256];
        for (index, entry) in (0u8..=255).zip(&mut gear) {
            let digest = Sha256::new()
                .chain_update(b"lifeboat gear 1")
                .chain_update(seed)
                .chain_update([index])
                .finalize();
            let mut first = [0; 8];
            first.copy_from_slice(&digest[..8]);
            *entry = u64::from_le_bytes(first);
        }
        Self { gear: Gear::new(gear), zeros: OnceLock::new() }
    }

    /// Length of the first chunk of `window`. If it is the whole window, and the window neither
    /// reaches the end of the segment nor holds [`MAX`] bytes, more bytes are needed to tell.
    pub fn cut(&self, window: &[u8]) -> usize {
        self.cut_after(window, 0)
    }

    /// The same, where the first `searched` bytes of the window were a window without a cut.
    pub(crate) fn cut_after(&self, window: &[u8], searched: usize) -> usize {
        let window = &window[..window.len().min(MAX)];
        // FastCDC looks at pairs of bytes: the last one of an odd number is none.
        let end = window.len() & !1;
        let mut from = MIN.max(searched & !1);
        let mut hash = self.gear.of(&window[MIN.min(end)..from.min(end)]);
        for (upto, mask) in [(AVERAGE.min(end), MASK_SMALL), (end, MASK_LARGE)] {
            if from < upto {
                if let Some(cut) = self.gear.find(window, from..upto, &mut hash, mask) {
                    return cut;
                }
                from = upto;
            }
        }
        window.len()
    }

    /// Length of the chunk that an endless run of zeros is cut into.
    pub fn zero_run(&self) -> usize {
        *self.zeros.get_or_init(|| self.cut(&vec![0; MAX]))
    }
}

/// The first bytes as chunks of these lengths, at most as many as there are, and the rest.
pub(crate) fn split<'a>(bytes: &'a [u8], lengths: &[usize]) -> (Vec<&'a [u8]>, &'a [u8]) {
    let mut rest = bytes;
    let next = |length: &usize| {
        let (chunk, after) = rest.split_at_checked(*length)?;
        rest = after;
        Some(chunk)
    };
    (lengths.iter().map_while(next).collect(), rest)
}

/// True if all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // Word by word in blocks, so that the compiler uses wide registers and data ends it early.
    let (blocks, rest) = bytes.as_chunks::<128>();
    blocks.iter().all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, mut state: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn cuts(chunker: &Chunker, mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !bytes.is_empty() {
            let length = chunker.cut(bytes);
            lengths.push(length);
            bytes = &bytes[length..];
        }
        lengths
    }

    #[test]
    fn chunks_have_the_promised_sizes() {
        let lengths = cuts(&Chunker::new(&[7; 32]), &noise(64 << 20, 42));
        let (_, all_but_last) = lengths.split_last().unwrap();
        assert!(all_but_last.iter().all(|length| (MIN..=MAX).contains(length)), "{lengths:?}");
        let average = (64 << 20) / lengths.len();
        assert!((700 << 10..1600 << 10).contains(&average), "{average}");
    }

    /// The cuts are those of FastCDC, by another implementation of it, whatever the content, its
    /// length, and how much of it was searched before.
    #[test]
    fn the_cuts_are_those_of_fastcdc() {
        let chunker = Chunker::new(&[5; 32]);
        let gear = *chunker.gear.table();
        let theirs = |window: &[u8]| {
            let (small, large) = (MASK_SMALL, MASK_LARGE);
            let shifted = gear.map(|entry| entry << 1);
            fastcdc::v2020::cut_gear(
                window,
                MIN,
                AVERAGE,
                MAX,
                small,
                large,
                small << 1,
                large << 1,
                &gear,
                &shifted,
            )
            .1
        };
        let mut records = noise(12 << 20, 8);
        for record in records.chunks_mut(100) {
            let length = record.len();
            record[8.min(length)..].fill(b' ');
        }
        let mut cut_early = 0;
        for bytes in [noise(12 << 20, 7), records, vec![0; 9 << 20]] {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = theirs(rest);
                assert_eq!(chunker.cut(rest), length);
                cut_early += usize::from(length < rest.len() && length < MAX);
                for window in [length - length / 3, length - 1, length + 1, length + 2, MIN + 1] {
                    let window = &rest[..window.min(rest.len())];
                    assert_eq!(chunker.cut(window), theirs(window), "of {}", window.len());
                }
                for searched in
                    [MIN / 2, MIN + 77, AVERAGE, length - 1, length].map(|s| s.min(length))
                {
                    assert_eq!(chunker.cut_after(rest, searched), length, "after {searched}");
                }
                rest = &rest[length..];
            }
        }
        assert!(cut_early > 10, "{cut_early}");
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let chunker = Chunker::new(&[7; 32]);
        let bytes = noise(32 << 20, 1);
        let mut longer = b"inserted".to_vec();
        longer.extend_from_slice(&bytes);
        let tail = |lengths: Vec<usize>| lengths.into_iter().rev().take(20).collect::<Vec<_>>();
        assert_eq!(tail(cuts(&chunker, &bytes)), tail(cuts(&chunker, &longer)));
    }

    #[test]
    fn another_seed_cuts_elsewhere() {
        let bytes = noise(8 << 20, 3);
        assert_ne!(cuts(&Chunker::new(&[1; 32]), &bytes), cuts(&Chunker::new(&[2; 32]), &bytes),);
    }

    #[test]
    fn a_cut_needs_no_more_than_it_asks_for() {
        let chunker = Chunker::new(&[9; 32]);
        let bytes = noise(12 << 20, 5);
        let whole = chunker.cut(&bytes);
        assert_eq!(chunker.cut(&bytes[..whole + 1]), whole);
        let zeros = chunker.zero_run();
        let mut mixed = vec![0; zeros];
        mixed.extend_from_slice(&bytes);
        assert_eq!(chunker.cut(&mixed), zeros);
    }

    #[test]
    fn zeros_are_told_from_data() {
        let mut bytes = vec![0; 1000];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for position in [0, 127, 128, 999] {
            bytes[position] = 1;
            assert!(!is_zero(&bytes));
            bytes[position] = 0;
        }
    }
}
