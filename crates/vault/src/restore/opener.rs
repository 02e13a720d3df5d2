//! From sealed bytes to proven content, several blobs at a time, with buffers that are used again.

use std::borrow::Cow;

use zstd::bulk::Decompressor;

use super::Rehash;
use crate::compress;
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::id::Id;

/// Above this declared size a blob is not decompressed into reserved memory.
const EAGER_LIMIT: usize = 16 << 20;
/// Content that is opened together, unless it is fewer blobs than are hashed side by side.
const TOGETHER: usize = 512 << 10;
const SIDE_BY_SIDE: usize = 3;

/// A blob as it lies in a pack.
pub(super) struct Sealed<'a> {
    pub(super) id: Id,
    /// The declared length of compressed content, else 0.
    pub(super) uncompressed_length: u32,
    /// Is overwritten.
    pub(super) bytes: &'a mut [u8],
}

impl Sealed<'_> {
    fn content_length(&self) -> usize {
        match self.uncompressed_length as usize {
            0 => self.bytes.len(),
            length => length,
        }
    }

    /// Bytes to reserve for what it decompresses to.
    fn room(&self) -> usize {
        let length = self.uncompressed_length as usize;
        if length > EAGER_LIMIT { 0 } else { length }
    }
}

/// How many of the first blobs are to be opened together.
pub(super) fn together(blobs: &[Sealed<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |(at, blob): &(usize, &Sealed<'_>)| {
        bytes += blob.content_length();
        *at == 0 || bytes <= if *at < SIDE_BY_SIDE { EAGER_LIMIT } else { TOGETHER }
    };
    blobs.iter().enumerate().take_while(fits).count()
}

/// One thread's decompressor.
pub(super) struct Opener {
    decompressor: Decompressor<'static>,
    content: Vec<u8>,
    rehash: Rehash,
}

impl Opener {
    pub(super) fn new(rehash: Rehash) -> Result<Self> {
        let decompressor = Decompressor::new()
            .map_err(|error| Error::Invalid(format!("zstd cannot start: {error}")))?;
        Ok(Self { decompressor, content: Vec::new(), rehash })
    }

    /// The content of each of the blobs, if it is what its id says, where that is asked here.
    pub(super) fn open<'a>(
        &'a mut self,
        key: &Key,
        blobs: &'a mut [Sealed<'_>],
    ) -> Vec<Result<Cow<'a, [u8]>, String>> {
        let ids: Vec<Id> = blobs.iter().map(|blob| blob.id).collect();
        let room = blobs.iter().map(Sealed::room).sum();
        if self.content.len() < room {
            self.content.resize(room, 0);
        }
        let mut content = &mut self.content[..];
        let mut opened = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let (own, rest) = std::mem::take(&mut content).split_at_mut(blob.room());
            content = rest;
            opened.push(open(&mut self.decompressor, key, blob, own));
        }
        match self.rehash {
            Rehash::BeforeWriting => prove(&ids, opened),
            Rehash::InTheTarget => opened,
        }
    }
}

/// The content of one blob, unproven. `room` is for what was compressed.
fn open<'a>(
    decompressor: &mut Decompressor<'static>,
    key: &Key,
    blob: &'a mut Sealed<'_>,
    room: &'a mut [u8],
) -> Result<Cow<'a, [u8]>, String> {
    let plain = &*key.open_in_place(blob.bytes).map_err(|error| error.to_string())?;
    match blob.uncompressed_length as usize {
        0 => Ok(Cow::Borrowed(plain)),
        length if length > EAGER_LIMIT => {
            let content = compress::decompress_exact(plain, length);
            content.map(Cow::Owned).map_err(|error| error.to_string())
        }
        length => match decompressor.decompress_to_buffer(plain, room) {
            Ok(found) if found == length => Ok(Cow::Borrowed(room)),
            _ => Err("the compressed bytes are damaged".to_owned()),
        },
    }
}

/// Compares what was opened with its ids.
fn prove<'a>(
    ids: &[Id],
    mut opened: Vec<Result<Cow<'a, [u8]>, String>>,
) -> Vec<Result<Cow<'a, [u8]>, String>> {
    let contents: Vec<&[u8]> =
        opened.iter().map(|content| content.as_deref().unwrap_or_default()).collect();
    let found = Id::of_all(&contents);
    for ((content, id), found) in opened.iter_mut().zip(ids).zip(found) {
        if content.is_ok() && found != *id {
            *content = Err("its content has another SHA-256".to_owned());
        }
    }
    opened
}
