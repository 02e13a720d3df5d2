//! The index in bounded memory.

use lifeboat_vault::index::{Index, IndexBuilder};
use lifeboat_vault::{BlobKind, Id, PackedBlob};

use crate::counting::bytes_of;

/// Bytes that a blob may take once the index is loaded: the promise of the house.
const RESIDENT: usize = 64;

fn blob(number: u64) -> PackedBlob {
    PackedBlob {
        kind: if number.is_multiple_of(10) { BlobKind::Tree } else { BlobKind::Data },
        id: Id::of(&number.to_le_bytes()),
        offset: number as u32 % 20 * 1000,
        length: 1000,
        uncompressed_length: 2000,
    }
}

/// As the loader does: object after object into one builder. Packs are small ones.
fn load(blobs: u64) -> Index {
    let mut all = IndexBuilder::default();
    for object in 0..blobs / 50_000 {
        let mut one = IndexBuilder::default();
        for pack in object * 2500..(object + 1) * 2500 {
            let pack_id = Id::of(&(pack + (1 << 40)).to_le_bytes());
            one.add_pack(&pack_id, (pack * 20..(pack + 1) * 20).map(blob));
        }
        all.merge(one);
    }
    all.finish(1)
}

#[test]
fn a_million_blobs_take_at_most_64_bytes_each() {
    let blobs = 1_000_000;
    let (index, held, most) = bytes_of(|| load(blobs));
    let each = held as f64 / blobs as f64;
    println!("{each:.1} bytes a blob, {:.1} at most while loading", most as f64 / blobs as f64);
    assert!(each <= RESIDENT as f64, "{each:.1} bytes a blob");
    // Tables grow by doubling; beside that stands one object and the names of the packs.
    assert!(most <= blobs as usize * (2 * 48 + 16), "{most} bytes while loading");
    for number in (0..blobs).step_by(997) {
        let found = index.lookup(blob(number).kind, &blob(number).id).unwrap();
        assert_eq!(found.offset, blob(number).offset);
    }
}
