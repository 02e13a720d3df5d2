use super::*;

fn id(number: u64) -> Id {
    Id::of(&number.to_le_bytes())
}

fn blob(number: u64, kind: BlobKind, offset: u32) -> PackedBlob {
    PackedBlob { kind, id: id(number), offset, length: 100, uncompressed_length: 0 }
}

/// Blob n is in pack n / 10, at 100 * (n % 10); every tenth is a tree.
fn filled(blobs: u64, threads: usize) -> Index {
    let mut builders = [IndexBuilder::default(), IndexBuilder::default()];
    for pack in 0..blobs / 10 {
        let content = (0..10).map(|n| {
            let kind = if n == 0 { BlobKind::Tree } else { BlobKind::Data };
            blob(pack * 10 + n, kind, n as u32 * 100)
        });
        builders[pack as usize % 2].add_pack(&id(pack + (1 << 32)), content);
    }
    let [mut first, second] = builders;
    first.merge(second);
    first.finish(threads)
}

#[test]
fn every_blob_is_found_and_no_other() {
    for (blobs, threads) in [(0, 1), (10, 1), (1000, 2), (200_000, 4)] {
        let index = filled(blobs, threads);
        for n in 0..blobs {
            let kind = if n % 10 == 0 { BlobKind::Tree } else { BlobKind::Data };
            let found = index.lookup(kind, &id(n)).unwrap();
            assert_eq!(found.pack, id(n / 10 + (1 << 32)));
            assert_eq!(found.offset, (n % 10) as u32 * 100);
            let other = if n % 10 == 0 { BlobKind::Data } else { BlobKind::Tree };
            assert!(!index.contains(other, &id(n)));
        }
        for n in blobs..blobs + 1000 {
            assert_eq!(index.lookup(BlobKind::Data, &id(n)), None);
        }
        let mut seen = 0;
        index.for_each_pack(|_, blobs| {
            assert_eq!(blobs.len(), 10);
            assert!(blobs.windows(2).all(|pair| pair[0].offset + 100 == pair[1].offset));
            seen += blobs.len() as u64;
        });
        assert_eq!(seen, blobs);
    }
}

#[test]
fn blobs_of_this_run_are_found() {
    let index = filled(10, 1);
    assert!(!index.contains(BlobKind::Data, &id(100)));
    index.insert(&id(9), &[blob(100, BlobKind::Data, 7)]);
    assert!(index.contains(BlobKind::Data, &id(100)));
    assert!(!index.contains(BlobKind::Tree, &id(100)));
    assert_eq!(index.lookup(BlobKind::Data, &id(100)).unwrap().offset, 7);
}

#[test]
fn blobs_of_missing_packs_count_as_not_stored() {
    let index = filled(30, 1);
    let mut sizes = HashMap::new();
    index.for_each_pack(|pack, blobs| {
        sizes.insert(*pack, crate::pack::pack_size(blobs));
    });
    assert!(index.distrust_missing(&sizes).is_empty());
    sizes.remove(&id(1 << 32));
    *sizes.get_mut(&id((1 << 32) + 1)).unwrap() -= 1;
    assert_eq!(index.distrust_missing(&sizes).len(), 2);
    assert!(!index.contains(BlobKind::Data, &id(1)));
    assert!(!index.contains(BlobKind::Data, &id(11)));
    assert!(index.contains(BlobKind::Data, &id(21)));
    // Still named for messages, and stored again by the next backup.
    assert_eq!(index.lookup(BlobKind::Data, &id(1)).unwrap().pack, id(1 << 32));
    index.insert(&id(99), &[blob(1, BlobKind::Data, 0)]);
    assert_eq!(index.lookup(BlobKind::Data, &id(1)).unwrap().pack, id(99));
    assert_eq!(index.locations(BlobKind::Data, &id(1)).len(), 2);
}
