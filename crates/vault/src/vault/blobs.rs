//! Reading blobs: ranged, decrypted, decompressed within bounds, and hashed again.

use bytes::{Bytes, BytesMut};

use super::Vault;
use crate::cache::{Kept, LARGEST_PACK, VaultCache};
use crate::compress;
use crate::crypto::{self, Key};
use crate::error::{Error, Result};
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::index::Location;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::store::Store;

/// Holes up to this many bytes between wanted blobs are read along.
const GAP_LIMIT: u64 = 64 << 10;
/// One read is at most this long, unless a single blob is longer.
pub(crate) const READ_LIMIT: u64 = 8 << 20;

/// A blob that was proved to be the one, as it is and as it was packed.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// The content, whose SHA-256 is the blob's id.
    pub content: Bytes,
    /// What was sealed: the content, or the content compressed.
    pub payload: Bytes,
    /// Bytes of the content if the payload is compressed, else 0.
    pub uncompressed_length: u32,
}

/// How a sealed blob is opened: by key, id and uncompressed length.
type Open<T> = fn(&Key, &Id, u32, BytesMut) -> std::result::Result<T, String>;

/// The content of a sealed blob, see [`open_both`].
pub(crate) fn open_blob(
    key: &Key,
    id: &Id,
    uncompressed_length: u32,
    sealed: BytesMut,
) -> std::result::Result<Bytes, String> {
    open_both(key, id, uncompressed_length, sealed).map(|opened| opened.content)
}

/// Opens a sealed blob and proves that it is the one: the content's SHA-256 is its id.
pub(crate) fn open_both(
    key: &Key,
    id: &Id,
    uncompressed_length: u32,
    mut sealed: BytesMut,
) -> std::result::Result<Opened, String> {
    let length = key.open_in_place(&mut sealed).map_err(|error| error.to_string())?.len();
    let payload = sealed.freeze().slice(crypto::IV_LENGTH..crypto::IV_LENGTH + length);
    let content: Bytes = match uncompressed_length {
        0 => payload.clone(),
        length => compress::decompress_exact(&payload, length as usize)
            .map_err(|error| error.to_string())?
            .into(),
    };
    if Id::of(&content) != *id {
        return Err("its content has another SHA-256".into());
    }
    Ok(Opened { content, payload, uncompressed_length })
}

/// Bytes that can be changed in place, without a copy where the store gave them away.
pub(crate) fn into_mutable(bytes: Bytes) -> BytesMut {
    bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

impl Vault {
    /// A blob's content, proved by its SHA-256. If the first pack that holds it is damaged, others
    /// that hold it are tried; if the index does not know it, or only packs that are not there any
    /// more, the index is read again, at last from the packs' own headers.
    pub fn load_blob(&self, kind: BlobKind, id: &Id) -> Result<Bytes> {
        self.load_blob_as(kind, id, open_blob)
    }

    fn load_blob_as<T>(&self, kind: BlobKind, id: &Id, open: Open<T>) -> Result<T> {
        let state = self.index_state()?;
        let mut locations = self.locate(kind, id)?;
        let mut failure = None;
        let mut tried = 0;
        loop {
            for location in &locations[tried..] {
                match self.read_blob(kind, id, location, open) {
                    Err(error @ Error::Damaged { .. }) => failure = failure.or(Some(error)),
                    result => return result,
                }
            }
            // Another process may have stored it elsewhere and removed these packs since.
            tried = locations.len();
            if let Some(newer) = self.newer_index(&state)? {
                let known = |place: &Location| locations.contains(place);
                let places = newer.index.locations(kind, id);
                let new: Vec<Location> = places.into_iter().filter(|at| !known(at)).collect();
                locations.extend(new);
            }
            if locations.len() == tried {
                return Err(failure.unwrap_or_else(|| {
                    let why = "no pack is known to hold it";
                    Error::damaged(format!("{kind} blob {}", id.short()), why)
                }));
            }
        }
    }

    /// Where a blob lies; empty if nowhere.
    pub fn locate(&self, kind: BlobKind, id: &Id) -> Result<Vec<Location>> {
        let mut state = self.index_state()?;
        let found = state.index.locations(kind, id);
        if !found.is_empty() {
            return Ok(found);
        }
        if state.rebuilt {
            match self.newer_index(&state)? {
                Some(newer) => state = newer,
                None => return Ok(found),
            }
        } else {
            // Written by another process since, or the index object was lost.
            state = self.reload_index(&state, false)?;
        }
        let found = state.index.locations(kind, id);
        if !found.is_empty() || state.rebuilt {
            return Ok(found);
        }
        self.note(&format!("no index names the {kind} blob {}", id.short()));
        Ok(self.reload_index(&state, true)?.index.locations(kind, id))
    }

    fn read_blob<T>(
        &self,
        kind: BlobKind,
        id: &Id,
        location: &Location,
        open: Open<T>,
    ) -> Result<T> {
        if let (Some(cache), BlobKind::Tree) = (self.cache(), kind)
            && let Some(content) = self.read_cached_tree(cache, id, location, open)?
        {
            return Ok(content);
        }
        let object = || format!("{kind} blob {} in pack {}", id.short(), location.pack.short());
        let (offset, length) = (u64::from(location.offset), u64::from(location.length));
        let sealed = read_range(&**self.store(), &location.pack, offset, length)
            .map_err(|failure| failure.into_error(object()))?;
        open(self.key(), id, location.uncompressed_length, into_mutable(sealed))
            .map_err(|why| Error::damaged(object(), why))
    }

    /// A tree out of a cached pack. A pack that is not there is fetched whole: more trees of it
    /// will be wanted. None where the cache is of no help.
    fn read_cached_tree<T>(
        &self,
        cache: &VaultCache,
        id: &Id,
        location: &Location,
        open: Open<T>,
    ) -> Result<Option<T>> {
        let (offset, length) = (u64::from(location.offset), u64::from(location.length));
        let open = |sealed: Bytes| {
            open(self.key(), id, location.uncompressed_length, into_mutable(sealed))
        };
        let cached = || {
            let opened = cache.get_range(&location.pack, offset, length).map(open)?;
            if opened.is_err() {
                cache.remove(Kept::Trees, &location.pack);
            }
            opened.ok()
        };
        if let Some(content) = cached() {
            return Ok(Some(content));
        }
        if !cache.is_filled() {
            return Ok(None);
        }
        cache.one_at_a_time(&location.pack, || {
            // Another thread may have fetched it meanwhile.
            if let Some(content) = cached() {
                return Ok(Some(content));
            }
            let Some(body) = self.fetch_pack_of_trees(&location.pack)? else { return Ok(None) };
            cache.put(Kept::Trees, &location.pack, &body);
            let within = offset + length <= body.len() as u64;
            let sealed = within.then(|| body.slice(offset as usize..(offset + length) as usize));
            Ok(sealed.and_then(|sealed| open(sealed).ok()))
        })
    }

    /// A whole pack, if it is not too long and is the one of its name. What is wrong with it shows
    /// when it is read by itself.
    fn fetch_pack_of_trees(&self, pack: &Id) -> Result<Option<Bytes>> {
        let key = pack::pack_key(pack);
        let fetched = self.store().stat(&key).and_then(|entry| {
            let short = entry.size <= LARGEST_PACK;
            short.then(|| self.store().get(&key)).transpose()
        });
        match fetched.map_err(ReadFailure::from) {
            Ok(body) => Ok(body.filter(|body| Id::of(body) == *pack)),
            Err(ReadFailure::Damaged(_)) => Ok(None),
            Err(ReadFailure::Store(error)) => Err(error),
        }
    }

    /// Reads several blobs of one pack in as few reads as make sense and hands each to `visit`, in
    /// order of their offsets. A damaged stretch is read again blob by blob, and a damaged blob is
    /// looked for in other packs, so that as much as possible comes through. `visit` stops the rest
    /// by an error of its own.
    pub(crate) fn load_blobs_of_pack(
        &self,
        pack: &Id,
        blobs: &[PackedBlob],
        visit: impl FnMut(&PackedBlob, Result<Bytes>) -> Result<()>,
    ) -> Result<()> {
        self.load_blobs_of_pack_as(pack, blobs, open_blob, visit)
    }

    /// The same, opened in another way.
    pub(crate) fn load_blobs_of_pack_as<T>(
        &self,
        pack: &Id,
        blobs: &[PackedBlob],
        open: Open<T>,
        mut visit: impl FnMut(&PackedBlob, Result<T>) -> Result<()>,
    ) -> Result<()> {
        let mut blobs = blobs.to_vec();
        blobs.sort_unstable_by_key(|blob| blob.offset);
        for group in groups(&blobs) {
            self.stop_if_cancelled()?;
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let start = u64::from(first.offset);
            let end = u64::from(last.offset) + u64::from(last.length);
            match read_range(&**self.store(), pack, start, end - start) {
                Ok(bytes) => {
                    let mut rest = into_mutable(bytes);
                    let mut at = start;
                    for blob in group {
                        let skip = u64::from(blob.offset) - at;
                        drop(rest.split_to(skip as usize));
                        let sealed = rest.split_to(blob.length as usize);
                        at = u64::from(blob.offset) + u64::from(blob.length);
                        let opened = open(self.key(), &blob.id, blob.uncompressed_length, sealed)
                            .or_else(|_| self.load_blob_as(blob.kind, &blob.id, open));
                        visit(blob, opened)?;
                    }
                }
                Err(ReadFailure::Damaged(_)) => {
                    for blob in group {
                        visit(blob, self.load_blob_as(blob.kind, &blob.id, open))?;
                    }
                }
                Err(ReadFailure::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads several blobs of one pack and hands each to `visit` sealed as it is stored, after its
    /// content was proved by its SHA-256. One that is damaged there is taken from another pack.
    pub(crate) fn copy_blobs_of_pack(
        &self,
        pack: &Id,
        blobs: &[PackedBlob],
        mut visit: impl FnMut(&PackedBlob, Bytes) -> Result<()>,
    ) -> Result<()> {
        let mut blobs = blobs.to_vec();
        blobs.sort_unstable_by_key(|blob| blob.offset);
        for group in groups(&blobs) {
            self.stop_if_cancelled()?;
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let start = u64::from(first.offset);
            let end = u64::from(last.offset) + u64::from(last.length);
            let bytes = match read_range(&**self.store(), pack, start, end - start) {
                Ok(bytes) => Some(bytes),
                Err(ReadFailure::Damaged(_)) => None,
                Err(ReadFailure::Store(error)) => return Err(error),
            };
            for blob in group {
                let from = (u64::from(blob.offset) - start) as usize;
                let sealed = bytes.as_ref().map(|b| b.slice(from..from + blob.length as usize));
                match sealed.filter(|sealed| self.proves(blob, sealed)) {
                    Some(sealed) => visit(blob, sealed)?,
                    None => {
                        let (blob, sealed) = self.copy_from_elsewhere(blob)?;
                        visit(&blob, sealed)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn proves(&self, blob: &PackedBlob, sealed: &Bytes) -> bool {
        let copy = BytesMut::from(&sealed[..]);
        open_blob(self.key(), &blob.id, blob.uncompressed_length, copy).is_ok()
    }

    fn copy_from_elsewhere(&self, wanted: &PackedBlob) -> Result<(PackedBlob, Bytes)> {
        for place in self.locate(wanted.kind, &wanted.id)? {
            let (offset, length) = (u64::from(place.offset), u64::from(place.length));
            let blob = PackedBlob {
                offset: place.offset,
                length: place.length,
                uncompressed_length: place.uncompressed_length,
                ..*wanted
            };
            match read_range(&**self.store(), &place.pack, offset, length) {
                Ok(sealed) if self.proves(&blob, &sealed) => return Ok((blob, sealed)),
                Ok(_) | Err(ReadFailure::Damaged(_)) => {}
                Err(ReadFailure::Store(error)) => return Err(error),
            }
        }
        let object = format!("{} blob {}", wanted.kind, wanted.id.short());
        Err(Error::damaged(object, "no pack holds it whole"))
    }
}

/// Cuts blobs, sorted by offset, into stretches that are read at once. Blobs that overlap (only a
/// damaged index says so) are read apart.
fn groups(blobs: &[PackedBlob]) -> impl Iterator<Item = &[PackedBlob]> {
    let mut start = blobs.first().map_or(0, |blob| u64::from(blob.offset));
    let ends = |blob: &PackedBlob| u64::from(blob.offset) + u64::from(blob.length);
    blobs.chunk_by(move |a, b| {
        let next = u64::from(b.offset);
        let together =
            next >= ends(a) && next - ends(a) <= GAP_LIMIT && ends(b) - start <= READ_LIMIT;
        if !together {
            start = next;
        }
        together
    })
}

/// Part of a pack, exactly as long as asked.
fn read_range(
    store: &dyn Store,
    pack: &Id,
    offset: u64,
    length: u64,
) -> std::result::Result<Bytes, ReadFailure> {
    let bytes = store.get_range(&pack::pack_key(pack), offset, length)?;
    // A store that breaks its promise must not make us slice out of bounds.
    if bytes.len() as u64 != length {
        return Err(Flaw::truncated().into());
    }
    Ok(bytes)
}
