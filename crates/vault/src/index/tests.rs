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

/// Ids that differ in the first byte, only after the eighth, or in the last one only.
fn skewed(number: u64) -> Id {
    let mut bytes = [7; 32];
    match number % 3 {
        0 => return id(number),
        1 => bytes[8..16].copy_from_slice(&number.to_be_bytes()),
        _ => bytes[24..].copy_from_slice(&number.to_be_bytes()),
    }
    Id::from_bytes(bytes)
}

#[test]
fn ids_that_begin_alike_are_found_too() {
    for threads in [1, 3] {
        let mut builder = IndexBuilder::default();
        for number in 0..5000 {
            let blob = PackedBlob { id: skewed(number), ..blob(number, BlobKind::Data, 5) };
            builder.add_pack(&id(number % 70), [PackedBlob { length: number as u32, ..blob }]);
        }
        let index = builder.finish(threads);
        for number in 0..5000 {
            let found = index.locations(BlobKind::Data, &skewed(number));
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].pack, found[0].length), (id(number % 70), number as u32));
        }
        assert_eq!(index.locations(BlobKind::Data, &skewed(5001)), []);
    }
}

mod oracle {
    use std::collections::{BTreeSet, HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    type Place = (u64, u32, u32, u32);

    /// An index object: packs with blobs, and earlier objects that it replaces.
    #[derive(Debug, Clone)]
    struct Object {
        packs: Vec<(u64, Vec<PackedBlob>)>,
        supersedes: Vec<prop::sample::Index>,
    }

    fn some_blob() -> impl Strategy<Value = PackedBlob> {
        (0u64..30, any::<bool>(), 0u32..4, 0u32..2).prop_map(
            |(number, tree, offset, compressed)| {
                let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
                let (offset, uncompressed_length) = (offset * 1000, compressed * 5000);
                PackedBlob { kind, id: skewed(number), offset, length: 100, uncompressed_length }
            },
        )
    }

    fn objects() -> impl Strategy<Value = Vec<Object>> {
        let pack = (0u64..10, prop::collection::vec(some_blob(), 0..6));
        let object = (
            prop::collection::vec(pack, 0..5),
            prop::collection::vec(any::<prop::sample::Index>(), 0..2),
        );
        let object = object.prop_map(|(packs, supersedes)| Object { packs, supersedes });
        prop::collection::vec(object, 0..8)
    }

    fn place(number: u64, blob: &PackedBlob) -> Place {
        (number, blob.offset, blob.length, blob.uncompressed_length)
    }

    fn part(object: &Object, supersedes: Vec<Id>) -> IndexPart {
        let mut builder = IndexBuilder::default();
        for (pack, blobs) in &object.packs {
            builder.add_pack(&id(*pack), blobs.iter().copied());
        }
        IndexPart { builder, supersedes, doomed: Vec::new() }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

        /// Duplicates, replaced objects, packs that vanish and blobs of this run: the compact index
        /// answers as plain maps do.
        #[test]
        fn answers_as_plain_maps_do(
            objects in objects(),
            order in any::<u64>(),
            vanished in prop::collection::hash_set(0u64..10, 0..4),
            added in prop::collection::vec((20u64..24, some_blob()), 0..200),
            threads in 1usize..4,
        ) {
            let name = |at: usize| id(1000 + at as u64);
            let supersedes = |at: usize| -> Vec<usize> {
                // An object replaces older ones only.
                objects[at].supersedes.iter().filter(|_| at > 0).map(|old| old.index(at)).collect()
            };
            let replaced: HashSet<usize> = (0..objects.len()).flat_map(supersedes).collect();

            // The plain maps.
            let mut places: HashMap<(BlobKind, Id), BTreeSet<Place>> = HashMap::new();
            let mut packs: HashSet<Id> = HashSet::new();
            for (at, object) in objects.iter().enumerate() {
                if !replaced.contains(&at) {
                    for (pack, blobs) in &object.packs {
                        packs.insert(id(*pack));
                        for blob in blobs {
                            places.entry((blob.kind, blob.id)).or_default().insert(place(*pack, blob));
                        }
                    }
                }
            }

            // The index, its objects gathered in any order.
            let mut gathered = Gathered::default();
            let mut turns: Vec<usize> = (0..objects.len()).collect();
            turns.sort_by_key(|at| (order.rotate_left(*at as u32 * 7) ^ *at as u64) % 17);
            for at in turns {
                let names = supersedes(at).into_iter().map(name).collect();
                gathered.add(name(at), part(&objects[at], names));
            }
            for at in 0..objects.len() {
                prop_assert_eq!(gathered.supersedes(&name(at)), replaced.contains(&at));
            }
            let index = gathered.finish().0.finish(threads);

            let number = |pack: &Id| (0..30).find(|n| id(*n) == *pack).unwrap();
            let found = |kind, id: &Id| -> Vec<Place> {
                let locations = index.locations(kind, id);
                let place = |l: &Location| (number(&l.pack), l.offset, l.length, l.uncompressed_length);
                locations.iter().map(place).collect()
            };
            prop_assert_eq!(index.packs().iter().copied().collect::<HashSet<Id>>(), packs.clone());
            prop_assert_eq!(index.packs().len(), packs.len());
            let mut by_pack: HashMap<(BlobKind, Id), BTreeSet<Place>> = HashMap::new();
            index.for_each_pack(|pack, blobs| for blob in blobs {
                by_pack.entry((blob.kind, blob.id)).or_default().insert(place(number(pack), blob));
            });
            prop_assert_eq!(&by_pack, &places);
            let all = || (0..32).flat_map(|n| [BlobKind::Data, BlobKind::Tree].map(|kind| (kind, skewed(n))));
            for (kind, id) in all() {
                let wanted = places.get(&(kind, id)).cloned().unwrap_or_default();
                let got = found(kind, &id);
                prop_assert_eq!(got.len(), wanted.len());
                prop_assert_eq!(got.iter().copied().collect::<BTreeSet<_>>(), wanted.clone());
                prop_assert_eq!(index.contains(kind, &id), !wanted.is_empty());
                prop_assert_eq!(index.lookup(kind, &id), index.locations(kind, &id).first().copied());
            }

            // Packs vanish from the store.
            let mut sizes = HashMap::new();
            index.for_each_pack(|pack, blobs| {
                if !vanished.contains(&number(pack)) {
                    sizes.insert(*pack, crate::pack::pack_size(blobs));
                }
            });
            let gone: HashSet<u64> = index.distrust_missing(&sizes).iter().map(number).collect();
            let named: HashSet<u64> = packs.iter().map(number).collect();
            prop_assert_eq!(&gone, &vanished.intersection(&named).copied().collect::<HashSet<_>>());
            for (kind, id) in all() {
                let wanted = places.get(&(kind, id)).cloned().unwrap_or_default();
                let stored = wanted.iter().any(|place| !gone.contains(&place.0));
                prop_assert_eq!(index.contains(kind, &id), stored);
                let got = found(kind, &id);
                prop_assert_eq!(got.len(), wanted.len());
                prop_assert_eq!(got.first().is_some_and(|place| !gone.contains(&place.0)), stored);
            }

            // Blobs of this run.
            let mut new: HashMap<(BlobKind, Id), BTreeSet<Place>> = HashMap::new();
            for (pack, blob) in &added {
                index.insert(&id(*pack), &[*blob]);
                new.entry((blob.kind, blob.id)).or_default().insert(place(*pack, blob));
            }
            for (kind, id) in all() {
                let old = places.get(&(kind, id)).cloned().unwrap_or_default();
                let stored = old.iter().any(|place| !gone.contains(&place.0));
                let new = new.get(&(kind, id)).cloned().unwrap_or_default();
                prop_assert_eq!(index.contains(kind, &id), stored || !new.is_empty());
                let got = found(kind, &id);
                // Of several places in this run one is enough.
                prop_assert_eq!(got.len(), old.len() + usize::from(!new.is_empty()));
                if let Some(first) = got.first() {
                    prop_assert!(gone.is_empty() || !gone.contains(&first.0) || new.is_empty() && !stored);
                }
                prop_assert_eq!(index.lookup(kind, &id), index.locations(kind, &id).first().copied());
            }
        }
    }
}
