//! Any tree comes back as it was.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::MemoryStore;
use lifeboat_vault::RestoreOptions;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::support::{backup, init, snapshot_of};
use crate::trees::{assert_same, noise, set_time};

#[derive(Debug, Clone)]
enum Item {
    File { pieces: Vec<Piece>, mode: u32 },
    Link(Vec<u8>),
    Folder { inside: BTreeMap<Vec<u8>, Item>, mode: u32 },
}

#[derive(Debug, Clone)]
enum Piece {
    Noise(usize, u64),
    Zeros(usize),
    Hole(usize),
    Text(usize),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no name", |byte| !matches!(byte, 0 | b'/'));
    vec(byte, 1..20).prop_filter("no name", |name| !matches!(&name[..], b"." | b".."))
}

fn piece() -> impl Strategy<Value = Piece> {
    let length = prop_oneof![3 => 0..5000usize, 1 => 0..2_000_000usize];
    prop_oneof![
        (length.clone(), any::<u64>()).prop_map(|(length, seed)| Piece::Noise(length, seed)),
        length.clone().prop_map(Piece::Zeros),
        length.clone().prop_map(Piece::Hole),
        length.prop_map(Piece::Text),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        4 => (vec(piece(), 0..5), 0..0o1000u32).prop_map(|(pieces, mode)| Item::File { pieces, mode }),
        1 => vec(1u8..=255, 1..30).prop_map(Item::Link),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        (btree_map(name(), inner, 0..6), 0o700..0o1000u32)
            .prop_map(|(inside, mode)| Item::Folder { inside, mode })
    })
}

fn make(path: &Path, item: &Item, time: i64) {
    match item {
        Item::File { pieces, mode } => {
            let file = File::create(path).unwrap();
            let mut end = 0u64;
            for piece in pieces {
                let bytes = match piece {
                    Piece::Noise(length, seed) => noise(*length, *seed),
                    Piece::Zeros(length) => vec![0; *length],
                    Piece::Text(length) => b"word ".iter().copied().cycle().take(*length).collect(),
                    Piece::Hole(length) => {
                        end += *length as u64;
                        continue;
                    }
                };
                file.write_all_at(&bytes, end).unwrap();
                end += bytes.len() as u64;
            }
            file.set_len(end).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Item::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        Item::Folder { inside, mode } => {
            fs::create_dir(path).unwrap();
            for (number, (name, item)) in inside.iter().enumerate() {
                make(&path.join(OsStr::from_bytes(name)), item, time - 1 - number as i64);
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
    set_time(path, time * 1_000_003, (time.unsigned_abs() % 1_000_000_000) as i64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn any_tree_comes_back(item in item(), time in -2000i64..2000) {
        let folder = tempfile::tempdir().unwrap();
        let source: PathBuf = folder.path().join("source");
        make(&source, &item, time);
        let vault = init(&Arc::new(MemoryStore::default()));
        let (first, problems) = backup(&vault, &source, None);
        prop_assert!(problems.is_empty(), "{:?}", problems);
        let (second, _) = backup(&vault, &source, Some(first.snapshot));
        prop_assert_eq!(second.bytes_read, 0);
        let snapshot = snapshot_of(&vault, &second);
        let target = folder.path().join("target");
        let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
        prop_assert!(report.is_complete() && report.problems.is_empty(), "{:?}", report);
        assert_same(&source, &target.join(source.strip_prefix("/").unwrap()));
        let printed = vault.fingerprint_restored(&snapshot, &target).unwrap();
        prop_assert_eq!(printed, vault.fingerprint(&snapshot).unwrap());
    }
}
