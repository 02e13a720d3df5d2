//! Sealed blobs gather in open packs; a full one goes to the uploaders.
//!
//! A blob joins one of a few open packs at random, so that the order and the sizes in a pack tell
//! an onlooker nothing about one file. Data and trees are kept apart.

use std::sync::Mutex;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::budget::ByteBudget;
use super::buffers::{Buffer, Buffers};
use super::upload::{FullPack, Uploads};
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::sync::lock;

/// Room beyond the target size that a pack's last blob and the header mostly need.
const SLACK: usize = 1 << 20;

/// A pack that still takes blobs.
pub(crate) struct OpenPack {
    buffer: Buffer,
    blobs: Vec<PackedBlob>,
    hasher: Sha256,
}

/// The open packs of one backup.
pub(crate) struct Packer {
    target: usize,
    spread: usize,
    budget: ByteBudget,
    buffers: Buffers,
    data: Mutex<Shelf>,
    trees: Mutex<Shelf>,
}

/// Packs that no worker holds at the moment, and how many are held.
#[derive(Default)]
struct Shelf {
    open: Vec<OpenPack>,
    out: usize,
}

impl Packer {
    /// Packs of about `target` bytes; data blobs are spread over `spread` of them.
    pub(crate) fn new(target: usize, spread: usize, budget: ByteBudget) -> Self {
        Self {
            target,
            spread: spread.max(1),
            budget,
            buffers: Buffers::default(),
            data: Mutex::default(),
            trees: Mutex::default(),
        }
    }

    /// Bytes of the budget that one pack takes.
    pub(crate) fn pack_cost(target: usize) -> usize {
        target + SLACK
    }

    /// Seals `payload` into an open pack. `uncompressed` is the content's length if the payload is
    /// compressed, else 0. Returns the sealed blob's bytes.
    pub(crate) fn add(
        &self,
        uploads: &Uploads,
        key: &Key,
        kind: BlobKind,
        id: Id,
        payload: &[u8],
        uncompressed: usize,
    ) -> Result<usize> {
        let mut pack = self.take(kind)?;
        let start = pack.buffer.len();
        key.seal_into(payload, &mut pack.buffer)?;
        let sealed = &pack.buffer[start..];
        pack.hasher.update(sealed);
        let length = sealed.len();
        pack.blobs.push(PackedBlob {
            kind,
            id,
            offset: number(start)?,
            length: number(length)?,
            uncompressed_length: number(uncompressed)?,
        });
        if pack.buffer.len() >= self.target {
            self.shelf(kind).out -= 1;
            uploads.send(pack.finish(key)?)?;
        } else {
            let mut shelf = self.shelf(kind);
            shelf.out -= 1;
            shelf.open.push(pack);
        }
        Ok(length)
    }

    /// Sends every open pack, small ones of a kind together. No worker may hold one.
    pub(crate) fn flush(&self, uploads: &Uploads, key: &Key) -> Result<()> {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            let mut open = std::mem::take(&mut self.shelf(kind).open).into_iter();
            let Some(mut pack) = open.next() else { continue };
            for next in open {
                if pack.buffer.len() + next.buffer.len() <= self.target + SLACK {
                    pack.append(next)?;
                } else {
                    uploads.send(std::mem::replace(&mut pack, next).finish(key)?)?;
                }
            }
            uploads.send(pack.finish(key)?)?;
        }
        Ok(())
    }

    fn take(&self, kind: BlobKind) -> Result<OpenPack> {
        let spread = if kind == BlobKind::Data { self.spread } else { 1 };
        let pick = random_below(spread)?;
        {
            let mut shelf = self.shelf(kind);
            let open = shelf.open.len();
            let reuse = pick < open || (open > 0 && open + shelf.out >= spread);
            shelf.out += 1;
            if reuse {
                return Ok(shelf.open.swap_remove(pick % open));
            }
        }
        let permit = self.budget.acquire(Self::pack_cost(self.target)).ok_or(Error::Cancelled)?;
        Ok(OpenPack {
            buffer: self.buffers.take(Self::pack_cost(self.target), permit),
            blobs: Vec::new(),
            hasher: Sha256::new(),
        })
    }

    fn shelf(&self, kind: BlobKind) -> std::sync::MutexGuard<'_, Shelf> {
        lock(match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        })
    }
}

impl OpenPack {
    fn append(&mut self, other: OpenPack) -> Result<()> {
        let start = number(self.buffer.len())?;
        self.buffer.extend_from_slice(&other.buffer);
        self.hasher.update(&*other.buffer);
        for mut blob in other.blobs {
            blob.offset = blob.offset.checked_add(start).ok_or_else(too_large)?;
            self.blobs.push(blob);
        }
        Ok(())
    }

    fn finish(mut self, key: &Key) -> Result<FullPack> {
        let tail = pack::seal_header(key, &self.blobs)?;
        self.hasher.update(&tail);
        self.buffer.extend_from_slice(&tail);
        let id = Id::from_bytes(self.hasher.finalize().into());
        Ok(FullPack { id, body: Bytes::from_owner(self.buffer), blobs: self.blobs })
    }
}

fn number(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| too_large())
}

fn too_large() -> Error {
    Error::Invalid("a pack would become larger than 4 GiB".to_owned())
}

fn random_below(bound: usize) -> Result<usize> {
    if bound < 2 {
        return Ok(0);
    }
    Ok(getrandom::u32()? as usize % bound)
}
