//! What one thread needs to turn content into stored blobs: a zstd context and its buffers.

use std::io;

use zstd::bulk::Compressor;

use crate::error::{Error, Result};
use crate::pack::BlobKind;

/// Content smaller than this is compressed without asking whether it pays.
const WORTH_A_SAMPLE: usize = 6 << 10;
/// A sample is so many slices, each so many bytes at least and at most.
const SLICES: usize = 4;
const SLICE: std::ops::RangeInclusive<usize> = 512..=4 << 10;
/// Compression pays if it saves at least this part.
const WORTH_IT: usize = 32;

/// One thread's compressor.
pub(crate) struct Sealer {
    compressor: Compressor<'static>,
    sampler: Compressor<'static>,
    compressed: Vec<u8>,
    sample: Vec<u8>,
}

impl Sealer {
    /// Compresses with a zstd level.
    pub(crate) fn new(level: i32) -> Result<Self> {
        Ok(Self {
            compressor: Compressor::new(level).map_err(failed)?,
            sampler: Compressor::new(1).map_err(failed)?,
            compressed: Vec::new(),
            sample: Vec::with_capacity(SLICES * SLICE.end()),
        })
    }

    /// What to seal for `content`, and the content's length if that is compressed, else 0. Data that
    /// does not shrink is kept as it is; trees always shrink.
    pub(crate) fn pack<'a>(
        &'a mut self,
        kind: BlobKind,
        content: &'a [u8],
    ) -> Result<(&'a [u8], usize)> {
        if kind == BlobKind::Data
            && content.len() >= WORTH_A_SAMPLE
            && !self.sample_shrinks(content)?
        {
            return Ok((content, 0));
        }
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(content.len()));
        self.compressor.compress_to_buffer(content, &mut self.compressed).map_err(failed)?;
        if pays(self.compressed.len(), content.len()) || kind == BlobKind::Tree {
            Ok((&self.compressed, content.len()))
        } else {
            Ok((content, 0))
        }
    }

    /// Media, archives and ciphertext are recognised by a few of their pages.
    fn sample_shrinks(&mut self, content: &[u8]) -> Result<bool> {
        self.sample.clear();
        let slice = (content.len() / 32).clamp(*SLICE.start(), *SLICE.end());
        let step = (content.len() - slice) / (SLICES - 1);
        for start in (0..SLICES).map(|number| number * step) {
            self.sample.extend_from_slice(&content[start..start + slice]);
        }
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(self.sample.len()));
        self.sampler.compress_to_buffer(&self.sample, &mut self.compressed).map_err(failed)?;
        Ok(pays(self.compressed.len(), self.sample.len()))
    }
}

fn pays(compressed: usize, content: usize) -> bool {
    compressed < content - content / WORTH_IT
}

fn failed(error: io::Error) -> Error {
    Error::Invalid(format!("zstd cannot compress: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_kept_as_it_is() {
        let mut sealer = Sealer::new(3).unwrap();
        let mut noise = vec![0; 1 << 20];
        getrandom::fill(&mut noise).unwrap();
        assert_eq!(sealer.pack(BlobKind::Data, &noise).unwrap(), (&noise[..], 0));
        assert_eq!(sealer.pack(BlobKind::Data, &noise[..1000]).unwrap(), (&noise[..1000], 0));
        assert_eq!(sealer.pack(BlobKind::Data, b"").unwrap(), (&b""[..], 0));
        // A tree stays marked as compressed whatever its size.
        assert_eq!(sealer.pack(BlobKind::Tree, &noise[..100]).unwrap().1, 100);

        let text = b"the same words again and again ".repeat(10_000);
        let (packed, length) = sealer.pack(BlobKind::Data, &text).unwrap();
        assert!(length == text.len() && packed.len() < text.len() / 10);
        assert_eq!(zstd::bulk::decompress(packed, length).unwrap(), text);
    }
}
