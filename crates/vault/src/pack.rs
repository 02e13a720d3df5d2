//! Pack headers: which blobs a pack holds, so that the index can be rebuilt from packs alone.
//!
//! A pack is `blob || … || sealed header || length of the sealed header (u32, little-endian)`.

use serde::{Deserialize, Serialize};

use crate::crypto::{self, Key};
use crate::error::Result;
use crate::id::Id;

/// Bytes of a header entry without and with an uncompressed length.
const PLAIN_ENTRY: usize = 1 + 4 + 32;
const COMPRESSED_ENTRY: usize = PLAIN_ENTRY + 4;
/// Bytes of the length at the end.
pub const LENGTH_FIELD: usize = 4;
/// restic refuses larger headers.
pub const MAX_HEADER: usize = 16 << 20;
/// Bytes at a pack's end that are read at first: the header of a pack with up to 127 blobs.
pub const EAGER_TAIL: u64 = (crypto::OVERHEAD + LENGTH_FIELD + 127 * COMPRESSED_ENTRY) as u64;

/// What a blob holds. A pack holds one kind only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// The JSON of a folder.
    Tree,
}

impl std::fmt::Display for BlobKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BlobKind::Data => "data",
            BlobKind::Tree => "tree",
        })
    }
}

/// A blob inside a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackedBlob {
    /// Data or tree.
    pub kind: BlobKind,
    /// SHA-256 of the plain, uncompressed content.
    pub id: Id,
    /// Where the sealed blob begins in the pack, in bytes.
    pub offset: u32,
    /// Bytes of the sealed blob.
    pub length: u32,
    /// Bytes of the content if it is compressed, else 0.
    pub uncompressed_length: u32,
}

impl PackedBlob {
    /// Bytes of the plain, uncompressed content.
    pub fn content_length(&self) -> u32 {
        match self.uncompressed_length {
            0 => self.length.saturating_sub(crypto::OVERHEAD as u32),
            length => length,
        }
    }
}

/// Key of a pack object.
pub fn pack_key(id: &Id) -> String {
    let name = id.to_string();
    format!("data/{}/{name}", &name[..2])
}

/// The tail of a pack: sealed header and its length.
pub fn seal_header(key: &Key, blobs: &[PackedBlob]) -> Result<Vec<u8>> {
    let mut tail = key.seal(&encode_header(blobs))?;
    let length = tail.len() as u32;
    tail.extend_from_slice(&length.to_le_bytes());
    Ok(tail)
}

/// The header's plain bytes; offsets are implied by order.
pub fn encode_header(blobs: &[PackedBlob]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blobs.len() * COMPRESSED_ENTRY);
    for blob in blobs {
        let compressed = blob.uncompressed_length != 0;
        out.push(u8::from(blob.kind == BlobKind::Tree) | u8::from(compressed) << 1);
        out.extend_from_slice(&blob.length.to_le_bytes());
        if compressed {
            out.extend_from_slice(&blob.uncompressed_length.to_le_bytes());
        }
        out.extend_from_slice(blob.id.as_bytes());
    }
    out
}

/// Reads the header's plain bytes. Entries of format version 1 are those without compression.
pub fn decode_header(mut plain: &[u8]) -> Result<Vec<PackedBlob>, String> {
    let mut blobs = Vec::with_capacity(plain.len() / PLAIN_ENTRY);
    let mut offset = 0u32;
    while let Some((kind, rest)) = plain.split_first() {
        let (kind, compressed) = match kind {
            0 => (BlobKind::Data, false),
            1 => (BlobKind::Tree, false),
            2 => (BlobKind::Data, true),
            3 => (BlobKind::Tree, true),
            other => return Err(format!("header entry of unknown kind {other}")),
        };
        let cut = || "header ends inside an entry".to_owned();
        let (length, rest) = take_u32(rest).ok_or_else(cut)?;
        let (uncompressed_length, rest) =
            if compressed { take_u32(rest).ok_or_else(cut)? } else { (0, rest) };
        let (id, rest) = rest.split_first_chunk::<32>().ok_or_else(cut)?;
        blobs.push(PackedBlob {
            kind,
            id: Id::from_bytes(*id),
            offset,
            length,
            uncompressed_length,
        });
        offset = offset.checked_add(length).ok_or("header describes more than 4 GiB")?;
        plain = rest;
    }
    Ok(blobs)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// Where the sealed header lies, judged by the pack's last bytes.
pub fn header_length(tail: &[u8], pack_size: u64) -> Result<usize, String> {
    let (_, length) = tail.split_last_chunk::<LENGTH_FIELD>().ok_or("too short for a pack")?;
    let length = u32::from_le_bytes(*length) as usize;
    if length < crypto::OVERHEAD {
        return Err("header length is too small".into());
    }
    if length > MAX_HEADER || length as u64 + LENGTH_FIELD as u64 > pack_size {
        return Err("header length is larger than the pack".into());
    }
    Ok(length)
}

/// Opens the header of a pack of `pack_size` bytes whose end is `tail`. `Ok(None)` means that
/// `tail` is too short and more of the end is needed.
pub fn open_header(
    key: &Key,
    tail: &[u8],
    pack_size: u64,
) -> Result<Option<Vec<PackedBlob>>, String> {
    let length = header_length(tail, pack_size)?;
    let Some(start) = tail.len().checked_sub(length + LENGTH_FIELD) else { return Ok(None) };
    let sealed = &tail[start..tail.len() - LENGTH_FIELD];
    let plain = key.open(sealed).map_err(|error| format!("header: {error}"))?;
    let blobs = decode_header(&plain)?;
    let described: u64 = blobs.iter().map(|blob| u64::from(blob.length)).sum();
    if described + length as u64 + LENGTH_FIELD as u64 != pack_size {
        return Err("header does not describe a pack of this size".into());
    }
    if blobs.iter().any(|blob| (blob.length as usize) < crypto::OVERHEAD) {
        return Err("header has a blob that is too short to be one".into());
    }
    Ok(Some(blobs))
}

/// Size of a pack that holds these blobs, in bytes.
pub fn pack_size<'a>(blobs: impl IntoIterator<Item = &'a PackedBlob>) -> u64 {
    let fixed = (crypto::OVERHEAD + LENGTH_FIELD) as u64;
    blobs.into_iter().fold(fixed, |size, blob| {
        let entry =
            if blob.uncompressed_length == 0 { PLAIN_ENTRY } else { COMPRESSED_ENTRY } as u64;
        size + u64::from(blob.length) + entry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> Vec<PackedBlob> {
        let mut offset = 0;
        [(BlobKind::Data, 40, 0), (BlobKind::Data, 112, 511), (BlobKind::Tree, 60, 900)]
            .into_iter()
            .map(|(kind, length, uncompressed_length)| {
                let id = Id::of(&[length as u8]);
                let blob = PackedBlob { kind, id, offset, length, uncompressed_length };
                offset += length;
                blob
            })
            .collect()
    }

    #[test]
    fn header_round_trip_through_a_pack() {
        let key = Key::generate().unwrap();
        let mut pack = vec![7u8; 212];
        pack.extend_from_slice(&seal_header(&key, &blobs()).unwrap());
        let size = pack.len() as u64;
        assert_eq!(pack_size(&blobs()), size);
        assert_eq!(open_header(&key, &pack, size).unwrap().unwrap(), blobs());
        assert_eq!(open_header(&key, &pack[200..], size).unwrap().unwrap(), blobs());
        assert_eq!(open_header(&key, &pack[230..], size).unwrap(), None);
        assert!(open_header(&key, &pack, size + 1).is_err());
        assert!(open_header(&key, &[], 0).is_err());
        pack[215] ^= 1;
        assert!(open_header(&key, &pack, size).is_err());
    }

    #[test]
    fn cut_headers_are_refused() {
        let plain = encode_header(&blobs());
        for length in 1..plain.len() {
            if let Ok(found) = decode_header(&plain[..length]) {
                assert!(found.len() < 3 && found[..] == blobs()[..found.len()]);
            }
        }
        assert!(decode_header(&[9]).is_err());
        assert_eq!(pack_key(&Id::of(b"abc"))[..10], *"data/ba/ba");
    }
}
