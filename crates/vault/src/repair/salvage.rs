//! Saving what is intact of packs whose header is damaged.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};

use super::Salvaged;
use super::plan::Save;
use crate::error::Result;
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob, pack_key};
use crate::vault::{Vault, open_blob};

/// A pack that an index object names and whose header is damaged.
pub(super) struct Broken {
    pub pack: Id,
    pub size: u64,
    /// What the index says of it, by offset.
    pub blobs: Vec<PackedBlob>,
    pub why: String,
}

type Name = (BlobKind, Id);

/// What came of broken packs.
#[derive(Default)]
pub(super) struct Outcome {
    /// Packs that the store cannot read now, and why.
    pub unread: Vec<(Broken, String)>,
    /// The others; `lost` is not counted yet.
    salvaged: Vec<Salvaged>,
    /// Blobs that are not intact in those, by the place of their pack in the list.
    failed: Vec<(usize, Name)>,
    saved: HashSet<Name>,
}

/// Hands every blob that is proven by its hash to `save`, one pack in memory at a time.
pub(super) fn salvage(vault: &Vault, broken: Vec<Broken>, save: Save<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for one in broken {
        vault.stop_if_cancelled()?;
        match read(vault, &one) {
            Ok(body) => outcome.take(vault, one, &body, save)?,
            Err(ReadFailure::Damaged(flaw)) => outcome.unread.push((one, flaw.why)),
            Err(ReadFailure::Store(error)) => return Err(error),
        }
    }
    Ok(outcome)
}

/// The pack up to the end of its last blob, or as far as it goes.
fn read(vault: &Vault, one: &Broken) -> Result<Bytes, ReadFailure> {
    let end = one.blobs.iter().map(end).max().unwrap_or(0).min(one.size);
    if end == 0 {
        return Ok(Bytes::new());
    }
    let body = vault.store().get_range(&pack_key(&one.pack), 0, end)?;
    // A store that breaks its promise has not said how the pack is.
    if body.len() as u64 == end { Ok(body) } else { Err(Flaw::truncated().into()) }
}

/// Where a sealed blob ends in its pack.
fn end(blob: &PackedBlob) -> u64 {
    u64::from(blob.offset) + u64::from(blob.length)
}

impl Outcome {
    fn take(&mut self, vault: &Vault, one: Broken, body: &[u8], save: Save<'_>) -> Result<()> {
        let (mut saved, at) = (0, self.salvaged.len());
        for blob in &one.blobs {
            let name = (blob.kind, blob.id);
            match body.get(blob.offset as usize..end(blob) as usize) {
                Some(sealed) if proves(vault, blob, sealed) => {
                    save(blob, sealed)?;
                    self.saved.insert(name);
                    saved += 1;
                }
                _ => self.failed.push((at, name)),
            }
        }
        self.salvaged.push(Salvaged { pack: one.pack, why: one.why, saved, lost: 0 });
        Ok(())
    }

    /// The packs, and how many blobs are lost with each: those that lie in none of the `listed`.
    pub fn count<'a>(mut self, listed: impl Iterator<Item = &'a Vec<PackedBlob>>) -> Vec<Salvaged> {
        let mut lost: HashSet<Name> = self.failed.iter().map(|(_, name)| *name).collect();
        lost.retain(|name| !self.saved.contains(name));
        if !lost.is_empty() {
            for blob in listed.flatten() {
                lost.remove(&(blob.kind, blob.id));
            }
        }
        for (at, name) in self.failed {
            self.salvaged[at].lost += u64::from(lost.contains(&name));
        }
        self.salvaged
    }
}

fn proves(vault: &Vault, blob: &PackedBlob, sealed: &[u8]) -> bool {
    let copy = BytesMut::from(sealed);
    open_blob(vault.key(), &blob.id, blob.uncompressed_length, copy).is_ok()
}
