//! zstd with one context a thread, and bounds on what a hostile frame can make of memory.

use std::cell::RefCell;
use std::io::Read;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::{Error, Result};

/// Compression level that restic uses by default.
pub const DEFAULT_LEVEL: i32 = 3;
/// Contents up to this size, bytes, gain too little from a higher level than [`QUICK_LEVEL`]: one or
/// two parts in a hundred, for half as much time again.
pub(crate) const SMALL: usize = 32 << 10;
/// The lowest level that is used.
pub(crate) const QUICK_LEVEL: i32 = 1;

/// How much work goes into making data smaller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// As little as pays: zstd level 1.
    Fast,
    /// zstd level 3, as restic's default, where it saves a hundredth more than level 1, and level 1
    /// elsewhere: for small contents, and for what a trial shows to gain less.
    #[default]
    Default,
    /// Much: zstd level 9.
    Best,
}

impl Compression {
    /// The zstd level for a content of `length` bytes.
    pub const fn level(self, length: usize) -> i32 {
        match self {
            Compression::Fast => QUICK_LEVEL,
            Compression::Default if length <= SMALL => QUICK_LEVEL,
            Compression::Default => DEFAULT_LEVEL,
            Compression::Best => 9,
        }
    }
}

/// Above this declared size a frame is decompressed step by step, not into one allocation.
const EAGER_LIMIT: usize = 16 << 20;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Why a frame could not be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// Not a zstd frame, or a damaged one.
    #[error("the compressed bytes are damaged")]
    Damaged,
    /// The content has another length than declared, or more than allowed.
    #[error("the decompressed length is not the declared one")]
    Length,
}

/// `data` as one zstd frame.
pub fn compress(data: &[u8], level: i32) -> Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((at, compressor)) if *at == level => compressor,
            _ => {
                let compressor = Compressor::new(level).map_err(failed)?;
                &mut slot.insert((level, compressor)).1
            }
        };
        compressor.compress(data).map_err(failed)
    })
}

fn failed(error: std::io::Error) -> Error {
    Error::Invalid(format!("zstd cannot compress: {error}"))
}

/// The content of a frame whose content has exactly `length` bytes.
pub fn decompress_exact(frame: &[u8], length: usize) -> Result<Vec<u8>, DecompressError> {
    if length > EAGER_LIMIT {
        let content = decompress_bounded(frame, length)?;
        return if content.len() == length { Ok(content) } else { Err(DecompressError::Length) };
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().map_err(|_| DecompressError::Damaged)?),
        };
        let content =
            decompressor.decompress(frame, length).map_err(|_| DecompressError::Damaged)?;
        if content.len() == length { Ok(content) } else { Err(DecompressError::Length) }
    })
}

/// The content of a frame, refused above `limit` bytes.
pub fn decompress_bounded(frame: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(frame).map_err(|_| DecompressError::Damaged)?;
    let mut content = Vec::new();
    decoder
        .by_ref()
        .take(limit as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|_| DecompressError::Damaged)?;
    if content.len() > limit { Err(DecompressError::Length) } else { Ok(content) }
}

/// The content of a frame as a stream. A damaged frame is an error of reading.
pub(crate) fn reader(frame: &[u8]) -> Result<impl Read, DecompressError> {
    zstd::stream::read::Decoder::with_buffer(frame).map_err(|_| DecompressError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_bounds() {
        let data = b"lifeboat ".repeat(1000);
        for level in [1, 3, 1] {
            let frame = compress(&data, level).unwrap();
            assert!(frame.len() < data.len() / 10);
            assert_eq!(decompress_exact(&frame, data.len()).unwrap(), data);
            assert_eq!(decompress_bounded(&frame, data.len()).unwrap(), data);
            assert!(decompress_exact(&frame, data.len() - 1).is_err());
            assert!(decompress_exact(&frame, data.len() + 1).is_err());
            assert!(decompress_bounded(&frame, data.len() - 1).is_err());
            assert!(decompress_exact(&frame[..frame.len() - 3], data.len()).is_err());
        }
        assert!(decompress_bounded(b"not a frame", 100).is_err());
    }
}
