//! What a fuzzer does with its bytes: each target hands them to one parser of what lies in a vault.
//! Whatever they are, the parser answers; and what it takes must mean the same when it is written
//! and read again. The answer is true if the bytes were taken for what they should be.
//!
//! Stand here so that the fuzzer (`fuzz/`) and the ordinary tests run the very same.

use lifeboat_vault::crypto::Key;
use lifeboat_vault::index::{IndexBuilder, IndexFile};
use lifeboat_vault::{
    Config, Id, Index, KeyFile, MasterSeed, PackedBlob, Snapshot, Tree, compress, pack,
};
use serde::Serialize;

/// See the module.
pub type Target = fn(&[u8]) -> bool;

/// The targets, each with the name of its corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("pack_header", pack_header),
    ("index", index),
    ("tree", tree),
    ("snapshot", snapshot),
    ("config", config),
    ("key", key),
    ("document", document),
];

/// Larger than any corpus entry: a frame that says it holds more is not unpacked.
const LIMIT: usize = 1 << 20;

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what was read can be written")
}

/// The bytes as the plain header of a pack, and as the end of a whole pack.
pub fn pack_header(bytes: &[u8]) -> bool {
    let key = Key::from_bytes(&[7; 64]);
    for size in [0, bytes.len() as u64, u64::MAX] {
        let _ = pack::header_length(bytes, size);
        let _ = pack::open_header(&key, bytes, size);
    }
    let mut tail = key.seal(bytes).expect("sealing works");
    let length = u32::try_from(tail.len()).expect("a fuzzer's bytes are few");
    tail.extend(length.to_le_bytes());
    let read = pack::decode_header(bytes);
    let size = read.as_deref().map_or(tail.len() as u64, pack::pack_size);
    let opened = pack::open_header(&key, &tail, size);
    assert!(pack::open_header(&key, &tail, size + 1).is_err(), "a pack of another size");
    let Ok(blobs) = read else {
        assert!(opened.is_err(), "a header that cannot be read was opened");
        return false;
    };
    let written = pack::encode_header(&blobs);
    assert_eq!(pack::decode_header(&written).as_ref(), Ok(&blobs), "written, it says the same");
    // A blob compressed from nothing, which nobody stores, is written as one that is not compressed.
    let odd = written.len() < bytes.len();
    assert!(odd || written == bytes, "a header is written as it was read");
    if let Ok(opened) = opened {
        assert_eq!(opened.as_ref(), Some(&blobs), "the sealed header says the same");
    }
    true
}

/// The bytes as an index, by the parser that knows all of JSON and by the quick one.
pub fn index(bytes: &[u8]) -> bool {
    let parsed = IndexFile::parse(bytes);
    if let Some((builder, supersedes)) = IndexBuilder::from_usual(bytes) {
        let file = parsed.as_ref().expect("the quick way took what is no index");
        assert_eq!(file.supersedes.clone().unwrap_or_default(), supersedes);
        assert!(file.packs_to_delete.is_empty(), "marks were passed over");
        assert_eq!(listed(builder.finish(1)), listed(built(file)));
    }
    let Ok(file) = parsed else { return false };
    assert_eq!(IndexFile::parse(&json(&file)).as_ref(), Ok(&file));
    let index = built(&file);
    for blob in file.packs.iter().flat_map(|pack| &pack.blobs) {
        let place = index.lookup(blob.kind, &blob.id).expect("what is listed is found");
        assert!(file.packs.iter().any(|pack| pack.id == place.pack), "in a pack that is named");
    }
    true
}

fn built(file: &IndexFile) -> Index {
    let mut builder = IndexBuilder::default();
    builder.add_file(file);
    builder.finish(1)
}

fn listed(index: Index) -> Vec<(Id, Vec<PackedBlob>)> {
    let mut packs = Vec::new();
    index.for_each_pack(|pack, blobs| {
        let mut blobs = blobs.to_vec();
        blobs.sort_by_key(|b| {
            (b.offset, b.length, b.uncompressed_length, *b.id.as_bytes(), b.kind as u8)
        });
        packs.push((*pack, blobs));
    });
    packs
}

/// The bytes as a tree.
pub fn tree(bytes: &[u8]) -> bool {
    let Ok(tree) = Tree::from_json(bytes) else { return false };
    for node in &tree.nodes {
        let _ = (node.has_valid_name(), node.unix_mode(), node.link_target());
    }
    let written = tree.to_json().expect("what was read can be written");
    assert_eq!(Tree::from_json(&written).expect("what was written can be read"), tree);
    true
}

/// The bytes as a snapshot.
pub fn snapshot(bytes: &[u8]) -> bool {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(bytes) else { return false };
    let _ = snapshot.tag("component");
    let again: Snapshot = serde_json::from_slice(&json(&snapshot)).expect("it can be read again");
    assert_eq!(again, snapshot);
    true
}

/// The bytes as a config.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(config) = Config::parse(bytes) else { return false };
    assert_eq!(Config::parse(&json(&config)).expect("it can be read again"), config);
    true
}

/// The bytes as a key object, whose cost must be bearable, and as the key of a plan's vaults.
pub fn key(bytes: &[u8]) -> bool {
    if let Some(seed) = MasterSeed::from_bytes(bytes) {
        assert!(MasterSeed::from_bytes(&seed.to_bytes()).is_some());
    }
    let Ok(file) = KeyFile::parse(bytes) else { return false };
    let again = KeyFile::parse(&json(&file)).expect("it can be read again");
    assert_eq!(json(&again), json(&file));
    true
}

/// The bytes as the compressed content of an object or a blob.
pub fn document(bytes: &[u8]) -> bool {
    let bounded = compress::decompress_bounded(bytes, LIMIT);
    let Ok(content) = bounded else { return false };
    assert!(content.len() <= LIMIT, "more than was allowed");
    // A frame whose header lies about its length is refused by this one alone.
    let Ok(exact) = compress::decompress_exact(bytes, content.len()) else { return false };
    assert_eq!(exact, content);
    assert!(compress::decompress_exact(bytes, content.len() + 1).is_err(), "of another length");
    true
}
