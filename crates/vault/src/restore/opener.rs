//! From sealed bytes to proven content, with buffers that are used again.

use zstd::bulk::Decompressor;

use crate::compress;
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::id::Id;

/// Above this declared size a blob is not decompressed into one reserved buffer.
const EAGER_LIMIT: usize = 16 << 20;

/// One thread's decompressor.
pub(super) struct Opener {
    decompressor: Decompressor<'static>,
    content: Vec<u8>,
}

impl Opener {
    pub(super) fn new() -> Result<Self> {
        let decompressor = Decompressor::new()
            .map_err(|error| Error::Invalid(format!("zstd cannot start: {error}")))?;
        Ok(Self { decompressor, content: Vec::new() })
    }

    /// The content of a sealed blob, if it is what the id says. `sealed` is overwritten.
    pub(super) fn open<'a>(
        &'a mut self,
        key: &Key,
        id: &Id,
        uncompressed_length: u32,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], String> {
        let plain = &*key.open_in_place(sealed).map_err(|error| error.to_string())?;
        let length = uncompressed_length as usize;
        let content = match length {
            0 => plain,
            length if length > EAGER_LIMIT => {
                self.content =
                    compress::decompress_exact(plain, length).map_err(|error| error.to_string())?;
                &self.content
            }
            length => {
                self.content.clear();
                self.content.reserve(length);
                self.decompressor
                    .decompress_to_buffer(plain, &mut self.content)
                    .map_err(|_| "the compressed bytes are damaged".to_owned())?;
                &self.content
            }
        };
        if Id::of(content) != *id {
            return Err("its content has another SHA-256".to_owned());
        }
        Ok(content)
    }
}
