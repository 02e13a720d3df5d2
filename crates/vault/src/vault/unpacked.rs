//! Objects that hold one JSON document: keys, config, index, snapshots, locks.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use super::{Vault, into_mutable};
use crate::cache::Kept;
use crate::compress;
use crate::crypto::{self, Key};
use crate::error::{Error, Result};
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::store::Store;

/// Folders of objects named by their SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Folder {
    Keys,
    Index,
    Snapshots,
    Locks,
    Data,
}

impl Folder {
    pub fn name(self) -> &'static str {
        match self {
            Folder::Keys => "keys",
            Folder::Index => "index",
            Folder::Snapshots => "snapshots",
            Folder::Locks => "locks",
            Folder::Data => "data",
        }
    }

    /// Where objects of this folder are cached, if they are.
    fn kept(self) -> Option<Kept> {
        match self {
            Folder::Index => Some(Kept::Index),
            Folder::Snapshots => Some(Kept::Snapshots),
            Folder::Keys | Folder::Locks | Folder::Data => None,
        }
    }

    pub fn key(self, id: &Id) -> String {
        match self {
            Folder::Data => crate::pack::pack_key(id),
            _ => format!("{}/{id}", self.name()),
        }
    }
}

/// An object in a listing whose name is an id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub id: Id,
    pub size: u64,
    pub modified: jiff::Timestamp,
}

/// A longer JSON document than this is taken for damage.
pub(super) const DOCUMENT_LIMIT: usize = 1 << 30;
/// First byte of a compressed document.
const COMPRESSED: u8 = 2;

/// The JSON inside a decrypted object.
pub(crate) fn decode(plain: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    match plain.first() {
        Some(b'{' | b'[') => Ok(plain.into()),
        Some(&COMPRESSED) => compress::decompress_bounded(&plain[1..], DOCUMENT_LIMIT)
            .map(Cow::from)
            .map_err(|error| error.to_string()),
        Some(other) => Err(format!("unknown encoding {other}")),
        None => Err("empty".into()),
    }
}

/// The zstd frame in a decrypted object that is compressed.
pub(super) fn compressed(plain: &[u8]) -> Option<&[u8]> {
    plain.split_first().filter(|(first, _)| **first == COMPRESSED).map(|(_, frame)| frame)
}

/// Seals a JSON document as format 2 has it.
pub(crate) fn encode(key: &Key, json: &[u8]) -> Result<Vec<u8>> {
    let mut plain = vec![COMPRESSED];
    plain.extend(compress::compress(json, compress::DEFAULT_LEVEL)?);
    key.seal(&plain)
}

/// Reads an object and holds its bytes against its name.
pub(crate) fn read_named(
    store: &dyn Store,
    folder: Folder,
    id: &Id,
) -> std::result::Result<Bytes, ReadFailure> {
    let body = store.get(&folder.key(id)).map_err(ReadFailure::from)?;
    if body.is_empty() {
        return Err(Flaw::empty().into());
    }
    if Id::of(&body) != *id {
        return Err(Flaw::changed("its bytes are not those that it was named by").into());
    }
    Ok(body)
}

impl Vault {
    /// Objects of a folder. Names that are not ids are passed over: they are not ours.
    pub(crate) fn list(&self, folder: Folder) -> Result<Vec<Stored>> {
        list(&**self.store(), folder)
    }

    /// The JSON of an index, snapshot or lock object. If the store has just listed it with a size,
    /// a cached one will do.
    pub(crate) fn load_document(
        &self,
        folder: Folder,
        id: &Id,
        listed: Option<u64>,
    ) -> std::result::Result<Vec<u8>, ReadFailure> {
        let plain = self.load_plain(folder, id, listed)?;
        Ok(decode(&plain).map_err(Flaw::changed)?.into_owned())
    }

    /// The decrypted bytes of an object, held against its name.
    pub(super) fn load_plain(
        &self,
        folder: Folder,
        id: &Id,
        listed: Option<u64>,
    ) -> std::result::Result<Bytes, ReadFailure> {
        let mut body = into_mutable(self.load_sealed(folder, id, listed)?);
        let opened = self.key().open_in_place(&mut body);
        let length = opened.map_err(|error| Flaw::changed(error.to_string()))?.len();
        Ok(body.freeze().slice(crypto::IV_LENGTH..crypto::IV_LENGTH + length))
    }

    fn load_sealed(
        &self,
        folder: Folder,
        id: &Id,
        listed: Option<u64>,
    ) -> std::result::Result<Bytes, ReadFailure> {
        let (Some(cache), Some(kept), Some(size)) = (self.cache(), folder.kept(), listed) else {
            return read_named(&**self.store(), folder, id);
        };
        if let Some(body) = cache.get(kept, id, size) {
            return Ok(body);
        }
        let body = read_named(&**self.store(), folder, id)?;
        cache.put(kept, id, &body);
        Ok(body)
    }

    /// Stores a JSON document under its SHA-256.
    pub(crate) fn save_document(&self, folder: Folder, document: &impl Serialize) -> Result<Id> {
        let (id, body) = self.seal_document(folder, document)?;
        self.store().create(&folder.key(&id), std::slice::from_ref(&body))?;
        if let (Some(cache), Some(kept)) = (self.cache(), folder.kept()) {
            cache.put(kept, &id, &body);
        }
        Ok(id)
    }

    /// The sealed bytes of a JSON document and their id.
    pub(crate) fn seal_document(
        &self,
        folder: Folder,
        document: &impl Serialize,
    ) -> Result<(Id, Bytes)> {
        let json = serde_json::to_vec(document).map_err(|error| {
            Error::Invalid(format!("cannot write an object of {}: {error}", folder.name()))
        })?;
        let sealed = encode(self.key(), &json)?;
        Ok((Id::of(&sealed), sealed.into()))
    }
}

/// See [`Vault::list`].
pub(crate) fn list(store: &dyn Store, folder: Folder) -> Result<Vec<Stored>> {
    let entries = store.list(folder.name())?;
    Ok(entries
        .iter()
        .filter_map(|entry| {
            let (_, name) = entry.key.rsplit_once('/')?;
            let id: Id = name.parse().ok()?;
            // Capitals or a wrong folder make another key, which would not be found again.
            let stored = Stored { id, size: entry.size, modified: entry.modified };
            (folder.key(&id) == entry.key).then_some(stored)
        })
        .collect())
}
