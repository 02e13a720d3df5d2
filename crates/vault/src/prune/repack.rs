//! Storing again what is needed of wasteful packs. Sealed blobs are taken over as they are, once
//! their content was proved by its SHA-256.

use bytes::Bytes;

use crate::backup::upload::{FullPack, StoredPack, put};
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::monitor::Stage;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::parallel;
use crate::vault::Vault;

/// A pack and what is needed of it.
pub(super) struct Source {
    pub pack: Id,
    pub size: u64,
    pub blobs: Vec<PackedBlob>,
}

/// Stores the blobs in new packs, on several threads; returns those packs. No index object names
/// them yet.
pub(super) fn repack(
    vault: &Vault,
    sources: &[Source],
    pack_bytes: usize,
) -> Result<Vec<StoredPack>> {
    let monitor = &vault.environment().monitor;
    monitor.total(Stage::Prune, sources.iter().map(|s| s.size).sum(), sources.len() as u64);
    let share = sources.len().div_ceil(parallel::threads()).max(1);
    let portions: Vec<&[Source]> = sources.chunks(share).collect();
    let stored = parallel::map(&portions, parallel::threads(), |portion| {
        let mut writer = Writer::new(vault, pack_bytes);
        for source in *portion {
            vault.stop_if_cancelled()?;
            vault.copy_blobs_of_pack(&source.pack, &source.blobs, |blob, sealed| {
                writer.add(blob, &sealed)
            })?;
            monitor.advance(Stage::Prune, source.size, 1);
        }
        writer.finish()
    })?;
    Ok(stored.into_iter().flatten().collect())
}

/// One open pack of each kind; full ones are stored, and no index object names them yet.
pub(crate) struct Writer<'a> {
    vault: &'a Vault,
    pack_bytes: usize,
    open: [Open; 2],
    stored: Vec<StoredPack>,
}

#[derive(Default)]
struct Open {
    body: Vec<u8>,
    blobs: Vec<PackedBlob>,
}

impl<'a> Writer<'a> {
    pub fn new(vault: &'a Vault, pack_bytes: usize) -> Self {
        Writer { vault, pack_bytes, open: <_>::default(), stored: Vec::new() }
    }

    /// Adds a blob that was proven, sealed as it was stored.
    pub fn add(&mut self, blob: &PackedBlob, sealed: &[u8]) -> Result<()> {
        let at = usize::from(blob.kind == BlobKind::Tree);
        let open = &mut self.open[at];
        let offset = u32::try_from(open.body.len())
            .map_err(|_| Error::Invalid("a pack would become larger than 4 GiB".to_owned()))?;
        open.body.extend_from_slice(sealed);
        open.blobs.push(PackedBlob { offset, ..*blob });
        if open.body.len() >= self.pack_bytes { self.close(at) } else { Ok(()) }
    }

    fn close(&mut self, at: usize) -> Result<()> {
        let open = std::mem::take(&mut self.open[at]);
        if open.blobs.is_empty() {
            return Ok(());
        }
        let pack = seal(self.vault.key(), open)?;
        put(&**self.vault.store(), &pack, true)?;
        self.stored.push((pack.id, pack.blobs));
        Ok(())
    }

    /// Stores the rest; all packs that were written.
    pub fn finish(mut self) -> Result<Vec<StoredPack>> {
        self.close(0)?;
        self.close(1)?;
        Ok(self.stored)
    }
}

fn seal(key: &Key, open: Open) -> Result<FullPack> {
    let Open { mut body, blobs } = open;
    body.extend_from_slice(&pack::seal_header(key, &blobs)?);
    Ok(FullPack { id: Id::of(&body), body: Bytes::from(body), blobs })
}
