//! What one thread needs to turn content into stored blobs: zstd contexts and their buffers.
//!
//! Content that will not shrink is recognised by a sample: pieces from all over it. If none of
//! them becomes smaller by a byte, the whole is not tried.
//!
//! How much the thorough level gains over the quick one depends on what it is given: nothing worth
//! twice the time in a database's pages, a part in thirty in programs. Every so many contents one
//! is compressed both ways, and the next ones as it paid.

use std::io;

use zstd::bulk::Compressor;

use crate::compress::{Compression, QUICK_LEVEL};
use crate::error::{Error, Result};
use crate::pack::BlobKind;

/// Content smaller than this is compressed without asking whether it pays: with the quick
/// compressor that takes little longer than the sample, with the other one more than that.
const WORTH_A_SAMPLE: (usize, usize) = (16 << 10, 6 << 10);
/// A sample is so many pieces at least and at most, each of so many bytes.
const PIECES: (usize, usize) = (2, 16);
const PIECE: usize = 1 << 10;
/// What part of the content a sample is, about, where that is fewer pieces.
const SAMPLED: usize = 8;
/// Compression pays if it saves at least this part.
const WORTH_IT: usize = 32;

/// The thorough level pays if it saves at least this part of the content.
const THOROUGH_PAYS: usize = 128;
/// After how many contents it is tried anew whether it does.
const TRIED_EVERY: u32 = 16;

/// Whether the thorough level has paid lately.
#[derive(Debug, Clone, Copy, Default)]
struct Gain {
    pays: bool,
    /// Contents until the next trial.
    trusted: u32,
}

/// How one content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Quick,
    Thorough,
    Both,
}

/// One thread's compressors.
pub(crate) struct Sealer {
    compression: Compression,
    quick: Compressor<'static>,
    thorough: Compressor<'static>,
    compressed: Vec<u8>,
    gain: Gain,
    #[cfg(test)]
    tried: usize,
}

impl Sealer {
    /// Compresses as told.
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        Ok(Self {
            compression,
            quick: Compressor::new(QUICK_LEVEL).map_err(failed)?,
            thorough: Compressor::new(compression.level(usize::MAX)).map_err(failed)?,
            compressed: Vec::new(),
            gain: Gain::default(),
            #[cfg(test)]
            tried: 0,
        })
    }

    /// What to seal for `content`, and the content's length if that is compressed, else 0. Data that
    /// does not shrink is kept as it is; trees always shrink.
    pub(crate) fn pack<'a>(
        &'a mut self,
        kind: BlobKind,
        content: &'a [u8],
    ) -> Result<(&'a [u8], usize)> {
        let quick = self.compression.level(content.len()) == QUICK_LEVEL;
        let worth_a_sample = if quick { WORTH_A_SAMPLE.0 } else { WORTH_A_SAMPLE.1 };
        if kind == BlobKind::Data && content.len() >= worth_a_sample && !self.may_shrink(content)? {
            return Ok((content, 0));
        }
        #[cfg(test)]
        {
            self.tried += 1;
        }
        match self.way(kind, quick) {
            Way::Quick => compress(&mut self.quick, content, &mut self.compressed)?,
            Way::Thorough => compress(&mut self.thorough, content, &mut self.compressed)?,
            Way::Both => {
                compress(&mut self.quick, content, &mut self.compressed)?;
                let quick = self.compressed.len();
                compress(&mut self.thorough, content, &mut self.compressed)?;
                let saved = quick.saturating_sub(self.compressed.len());
                let pays = saved * THOROUGH_PAYS >= content.len();
                self.gain = Gain { pays, trusted: TRIED_EVERY - 1 };
            }
        }
        let pays = self.compressed.len() < content.len() - content.len() / WORTH_IT;
        if pays || kind == BlobKind::Tree {
            Ok((&self.compressed, content.len()))
        } else {
            Ok((content, 0))
        }
    }

    fn way(&mut self, kind: BlobKind, quick: bool) -> Way {
        let may_choose = self.compression == Compression::Default && kind == BlobKind::Data;
        if quick {
            Way::Quick
        } else if !may_choose {
            Way::Thorough
        } else if let Some(trusted) = self.gain.trusted.checked_sub(1) {
            self.gain.trusted = trusted;
            if self.gain.pays { Way::Thorough } else { Way::Quick }
        } else {
            Way::Both
        }
    }

    /// Media, archives and ciphertext are recognised by a few of their bytes.
    fn may_shrink(&mut self, content: &[u8]) -> Result<bool> {
        let pieces = (content.len() / SAMPLED / PIECE).clamp(PIECES.0, PIECES.1);
        let step = content.len().saturating_sub(PIECE) / (pieces - 1);
        for piece in content.windows(PIECE).step_by(step.max(1)).take(pieces) {
            compress(&mut self.quick, piece, &mut self.compressed)?;
            if self.compressed.len() < piece.len() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The compressed content alone is in `into` afterwards.
fn compress(by: &mut Compressor<'_>, content: &[u8], into: &mut Vec<u8>) -> Result<()> {
    into.clear();
    into.reserve(zstd::zstd_safe::compress_bound(content.len()));
    by.compress_to_buffer(content, into).map_err(failed)?;
    Ok(())
}

fn failed(error: io::Error) -> Error {
    Error::Invalid(format!("zstd cannot compress: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::SMALL;

    const ALL: [Compression; 3] = [Compression::Fast, Compression::Default, Compression::Best];

    fn noise(length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        getrandom::fill(&mut noise).unwrap();
        noise
    }

    /// Sentences of which most come again, with other numbers in them.
    fn text(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut word = |_| (0..3 + next(6)).map(|_| b'a' + next(26) as u8).collect::<Vec<_>>();
        let words: Vec<_> = (0..800).map(&mut word).collect();
        let mut text = Vec::with_capacity(length + 100);
        while text.len() < length {
            let first = next(790) as usize;
            text.extend(words[first..first + 3 + next(7) as usize].join(&b' '));
            text.extend(format!(" {}, ", next(10_000)).into_bytes());
        }
        text.truncate(length);
        text
    }

    #[test]
    fn what_does_not_shrink_is_kept_as_it_is() {
        for compression in ALL {
            let mut sealer = Sealer::new(compression).unwrap();
            for length in [0, 1, 1000, 6 << 10, 16 << 10, 20_000, 40_000, 1 << 20, 8 << 20] {
                let noise = noise(length);
                assert_eq!(sealer.pack(BlobKind::Data, &noise).unwrap(), (&noise[..], 0));
            }
            // A tree stays marked as compressed whatever its size.
            assert_eq!(sealer.pack(BlobKind::Tree, &noise(100)).unwrap().1, 100);
        }
    }

    #[test]
    fn incompressible_data_costs_a_sample_only() {
        for compression in ALL {
            let mut sealer = Sealer::new(compression).unwrap();
            for length in [16 << 10, 40_000, 64 << 10, 1 << 20, 8 << 20] {
                sealer.pack(BlobKind::Data, &noise(length)).unwrap();
            }
            assert_eq!(sealer.tried, 0);
        }
    }

    /// Text is found in noise, wherever it stands: a tenth of a large content, half of a small one.
    #[test]
    fn compressible_data_is_not_taken_for_noise() {
        for compression in ALL {
            for length in [200, 6 << 10, 16 << 10, 33_000, 1 << 20, 5 << 20] {
                let mut sealer = Sealer::new(compression).unwrap();
                let text = text(length);
                let level = compression.level(length);
                let (packed, told) = sealer.pack(BlobKind::Data, &text).unwrap();
                assert!(told == length && packed.len() < length * 9 / 10, "{length}");
                assert!(packed == zstd::bulk::compress(&text, level).unwrap());
                assert!(zstd::bulk::decompress(packed, length).unwrap() == text);
                let parts = if length >= 1 << 20 { 10 } else { 2 };
                for part in 0..parts {
                    let mut mixed = noise(length);
                    let part = part * length / parts..(part + 1) * length / parts;
                    mixed[part.clone()].copy_from_slice(&text[part.clone()]);
                    let whole = zstd::bulk::compress(&mixed, level).unwrap().len();
                    let told = sealer.pack(BlobKind::Data, &mixed).unwrap().1;
                    let pays = whole < length - length / WORTH_IT;
                    assert_eq!(told > 0, pays, "{compression:?} {length} {part:?}");
                    assert!(pays || length == 200, "{compression:?} {length} {part:?}");
                }
            }
        }
    }

    /// Records of noise between the same few words gain nothing from a higher level, text does.
    #[test]
    fn the_thorough_level_is_used_where_it_pays() {
        // The same at each run: which level wins is a matter of a few bytes.
        let mut state = 1u64;
        let mut records: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(64 << 10)
        .collect();
        for record in records.chunks_mut(1000) {
            let words = b"please deliver to the door ".repeat(20);
            record.iter_mut().zip(words).for_each(|(byte, word)| *byte = word);
        }
        let levels =
            |content: &[u8]| [1, 3].map(|level| zstd::bulk::compress(content, level).unwrap());
        let [quick, thorough] = levels(&records);
        assert!(quick != thorough && quick.len() < thorough.len() + records.len() / THOROUGH_PAYS);
        // Text that people wrote: this crate's own.
        let text = concat!(
            include_str!("sealer.rs"),
            include_str!("session.rs"),
            include_str!("../sha.rs"),
            include_str!("../crypto.rs"),
            include_str!("../lock.rs"),
            include_str!("../restore/files.rs"),
            include_str!("../restore/stream.rs"),
        )
        .as_bytes();
        let [text_quick, text_thorough] = levels(text);
        assert!(text_quick.len() > text_thorough.len() + text.len() / THOROUGH_PAYS);

        let mut sealer = Sealer::new(Compression::Default).unwrap();
        let mut pack = |content: &[u8]| sealer.pack(BlobKind::Data, content).unwrap().0.to_vec();
        for at in 0..3 * TRIED_EVERY {
            let trial = at % TRIED_EVERY == 0;
            assert!(pack(&records) == *if trial { &thorough } else { &quick }, "{at}");
        }
        // Soon it is noticed that other content comes.
        let packed: Vec<_> = (0..2 * TRIED_EVERY).map(|_| pack(text)).collect();
        assert!(packed[0] == text_thorough, "a trial");
        assert!(packed.iter().all(|packed| *packed == text_thorough));
        let mut late = (0..TRIED_EVERY + 1).map(|_| pack(&records)).skip_while(|p| *p != quick);
        assert!(late.next().is_some());
    }

    #[test]
    fn more_work_makes_it_smaller() {
        let text = text(1 << 20);
        let [fast, default, best] = ALL.map(|compression| {
            let mut sealer = Sealer::new(compression).unwrap();
            sealer.pack(BlobKind::Data, &text).unwrap().0.len()
        });
        assert!(best < default && best < fast, "{best} {default} {fast}");
        let levels =
            ALL.map(|compression| [compression.level(SMALL), compression.level(SMALL + 1)]);
        assert_eq!(levels, [[1, 1], [1, 3], [9, 9]]);
    }
}
