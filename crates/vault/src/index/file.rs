//! Index objects as stored: JSON that lists packs and the blobs in them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};

/// An index object's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    /// Index objects that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Vec<Id>>,
    /// Packs and their blobs.
    #[serde(default)]
    pub packs: Vec<IndexPack>,
    /// Packs that are about to be deleted, by our pruning or rustic's. Never read for
    /// deduplication; restic passes over the field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs_to_delete: Vec<IndexPack>,
}

/// One pack in an index object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPack {
    /// Name of the pack.
    pub id: Id,
    /// Its blobs.
    #[serde(default)]
    pub blobs: Vec<IndexBlob>,
    /// When it was marked for deletion, by the marker's clock.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::node::time::optional"
    )]
    pub time: Option<Timestamp>,
}

impl IndexPack {
    /// A pack as an index lists it.
    pub fn new(id: Id, blobs: &[PackedBlob]) -> Self {
        IndexPack { id, blobs: blobs.iter().map(IndexBlob::from).collect(), time: None }
    }
}

/// One blob in an index object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexBlob {
    /// SHA-256 of the content.
    pub id: Id,
    /// Data or tree.
    #[serde(rename = "type")]
    pub kind: BlobKind,
    /// Where the sealed blob begins, in bytes.
    pub offset: u32,
    /// Bytes of the sealed blob.
    pub length: u32,
    /// Bytes of the content, where it is compressed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncompressed_length: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl From<&PackedBlob> for IndexBlob {
    fn from(blob: &PackedBlob) -> Self {
        IndexBlob {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length,
        }
    }
}

impl From<&IndexBlob> for PackedBlob {
    fn from(blob: &IndexBlob) -> Self {
        PackedBlob {
            kind: blob.kind,
            id: blob.id,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length,
        }
    }
}

impl IndexFile {
    /// Adds a pack.
    pub fn push(&mut self, pack: Id, blobs: &[PackedBlob]) {
        self.packs.push(IndexPack::new(pack, blobs));
    }

    /// Number of blobs listed.
    pub fn blob_count(&self) -> usize {
        self.packs.iter().map(|pack| pack.blobs.len()).sum()
    }

    /// Reads the decrypted and decompressed object. Format 1 wrote a bare list of packs in its
    /// first days; restic has dropped that, and so have we.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let file: IndexFile =
            serde_json::from_slice(json).map_err(|error| format!("not an index: {error}"))?;
        let packs = file.packs.iter().chain(&file.packs_to_delete);
        for blob in packs.flat_map(|pack| &pack.blobs) {
            if !is_possible(blob.offset, blob.length) {
                return Err(format!("blob {} has an impossible place", blob.id));
            }
        }
        Ok(file)
    }
}

/// True if a sealed blob can have this place.
pub(super) fn is_possible(offset: u32, length: u32) -> bool {
    offset.checked_add(length).is_some() && length as usize >= crate::crypto::OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        let json = r#"{
          "supersedes": ["ed54ae36197f4745ebc4b54d10e0f623eaaaedd03013eb7ae90df881b7781452"],
          "packs": [{
            "id": "73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c",
            "blobs": [
              {"id": "3ec79977ef0cf5de7b08cd12b874cd0f62bbaf7f07f3497a5b1bbcc8cb39b1ce",
               "type": "data", "offset": 0, "length": 38},
              {"id": "9ccb846e60d90d4eb915848add7aa7ea1e4bbabfc60e573db9f7bfb2789afbae",
               "type": "tree", "offset": 38, "length": 112, "uncompressed_length": 511}
            ]}]}"#;
        let file = IndexFile::parse(json.as_bytes()).unwrap();
        assert_eq!(file.blob_count(), 2);
        assert_eq!(file.packs[0].blobs[1].uncompressed_length, 511);
        assert_eq!(IndexFile::parse(&serde_json::to_vec(&file).unwrap()).unwrap(), file);
        let bad = json.replace("\"length\": 38", "\"length\": 4294967295");
        assert!(
            IndexFile::parse(bad.replace("\"offset\": 0", "\"offset\": 9").as_bytes()).is_err()
        );
        assert!(IndexFile::parse(json.replace("tree", "leaf").as_bytes()).is_err());
    }

    /// What a mark says is written back into the index where its pack is needed again.
    #[test]
    fn places_in_marks_are_judged_too() {
        let mark = |offset: u32, length: u32| {
            let blob = IndexBlob {
                id: Id::of(b"blob"),
                kind: BlobKind::Data,
                offset,
                length,
                uncompressed_length: 0,
            };
            let pack = IndexPack { id: Id::of(b"pack"), blobs: vec![blob], time: None };
            let file = IndexFile { packs_to_delete: vec![pack], ..IndexFile::default() };
            serde_json::to_vec(&file).unwrap()
        };
        assert!(IndexFile::parse(&mark(0, 40)).is_ok());
        assert!(IndexFile::parse(&mark(u32::MAX, 40)).is_err());
        assert!(IndexFile::parse(&mark(0, 31)).is_err());
    }
}
