//! Mending the index from the packs' headers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_testkit::{CrashStore, MemoryStore, environment};
use lifeboat_vault::{
    CheckOptions, Error, Id, MasterSeed, PruneOptions, RepairOptions, RepairReport, Vault,
};

use crate::support::{backup, init, mortal, noise, open, restic_check, restic_ok};

/// A vault with two snapshots in it.
fn filled() -> (Arc<MemoryStore>, MasterSeed, tempfile::TempDir) {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let source = tempfile::tempdir().unwrap();
    let mut parent = None;
    for round in 0..2u64 {
        for file in 0..4 {
            let content = noise(round * 100 + file, 30_000);
            std::fs::write(source.path().join(format!("f{round}{file}")), content).unwrap();
        }
        parent = Some(backup(&vault, source.path(), parent).0.snapshot);
    }
    let seed = vault.seed().unwrap();
    (store, seed, source)
}

fn reopen(store: &Arc<MemoryStore>, seed: &MasterSeed) -> Vault {
    let env = environment(store.clock().clone());
    Vault::open_with_seed(store.clone(), Some(store.clone()), seed, env).unwrap()
}

fn repair(store: &Arc<MemoryStore>, seed: &MasterSeed) -> RepairReport {
    let hands = reopen(store, seed).maintain(store.clone()).unwrap();
    hands.repair_index(&RepairOptions::default()).unwrap()
}

#[track_caller]
fn passes(store: &Arc<MemoryStore>, seed: &MasterSeed) {
    let report = reopen(store, seed).check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(store);
}

#[test]
fn a_whole_index_is_left_as_it_is() {
    let (store, seed, _source) = filled();
    let before = store.keys("");
    let report = repair(&store, &seed);
    assert!(report.was_whole() && report.index_written == 0, "{report:?}");
    assert_eq!(store.keys(""), before);
    let hands = reopen(&store, &seed).maintain(store.clone()).unwrap();
    let all = hands.repair_index(&RepairOptions { read_all: true }).unwrap();
    assert!(all.was_whole() && all.packs == store.keys("data").len() as u64, "{all:?}");
}

/// Index objects that are lost, damaged or empty: every pack is listed again.
#[test]
fn lost_index_objects_are_made_again() {
    let (store, seed, _source) = filled();
    type Change = fn(Vec<u8>) -> Option<Vec<u8>>;
    let changes: [Change; 3] = [
        |_| None,
        |mut body| {
            body[30] ^= 1;
            Some(body)
        },
        |_| Some(Vec::new()),
    ];
    for change in changes {
        let image = Arc::new(store.image());
        for key in image.keys("index") {
            image.tamper(&key, change);
        }
        let damaged = image.keys("index").len();
        let planned = reopen(&image, &seed).plan_repair(&RepairOptions::default()).unwrap();
        let report = repair(&image, &seed);
        assert_eq!((&planned.added, planned.damaged.len()), (&report.added, damaged));
        assert_eq!(report.added.len(), image.keys("data").len(), "{report:?}");
        assert_eq!(report.damaged.len(), damaged);
        assert!(!report.lost_something());
        passes(&image, &seed);
        assert!(repair(&image, &seed).was_whole());
    }
}

/// Entries of a pack that is gone are dropped and said; pruning refuses before and works after.
#[test]
fn entries_of_missing_packs_are_dropped() {
    let (store, seed, source) = filled();
    let vault = reopen(&store, &seed);
    let key = crate::support::key_of(&seed);
    let pack = crate::support::packs_of(&store, &key, lifeboat_vault::BlobKind::Data).remove(0);
    store.tamper(&pack, |_| None);
    let id: Id = pack.rsplit('/').next().unwrap().parse().unwrap();
    let refused = vault.maintain(store.clone()).unwrap().prune(&PruneOptions::default());
    assert!(matches!(refused, Err(Error::Incomplete { .. })), "{refused:?}");
    let report = repair(&store, &seed);
    assert_eq!((report.missing.clone(), report.added.len()), (vec![id], 0), "{report:?}");
    assert!(report.lost_something());
    let again = repair(&store, &seed);
    assert!(again.was_whole(), "{again:?}");
    // The next backup stores what was lost, and all is whole again.
    let vault = reopen(&store, &seed);
    backup(&vault, source.path(), None);
    passes(&store, &seed);
}

/// A pack that another one stands in for, or that is cut, is named.
#[test]
fn a_cut_pack_is_named_and_left_out() {
    let (store, seed, _source) = filled();
    let key = crate::support::key_of(&seed);
    let pack = crate::support::packs_of(&store, &key, lifeboat_vault::BlobKind::Data).remove(0);
    store.tamper(&pack, |body| Some(body[..body.len() - 9].to_vec()));
    let id: Id = pack.rsplit('/').next().unwrap().parse().unwrap();
    let report = repair(&store, &seed);
    assert_eq!(report.unreadable.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
    let names: BTreeSet<Id> = named(&store, &seed);
    assert!(!names.contains(&id) && names.len() + 1 == store.keys("data").len());
}

fn named(store: &Arc<MemoryStore>, seed: &MasterSeed) -> BTreeSet<Id> {
    let key = crate::support::key_of(seed);
    let mut names = BTreeSet::new();
    for name in store.keys("index") {
        use lifeboat_vault::Store;
        let plain = key.open(&store.get(&name).unwrap()).unwrap();
        let json = zstd::decode_all(&plain[1..]).unwrap();
        let file = lifeboat_vault::index::IndexFile::parse(&json).unwrap();
        names.extend(file.packs.iter().map(|pack| pack.id));
    }
    names
}

/// What was marked is listed again, so that nothing that is needed stays hidden; the next pruning
/// marks it anew.
#[test]
fn marked_packs_are_listed_again() {
    let (store, seed, source) = filled();
    let vault = reopen(&store, &seed);
    let all: Vec<Id> = vault.snapshots().unwrap().iter().map(|(id, _)| *id).collect();
    std::fs::remove_dir_all(source.path()).unwrap();
    std::fs::create_dir(source.path()).unwrap();
    std::fs::write(source.path().join("other"), noise(77, 50_000)).unwrap();
    backup(&vault, source.path(), None);
    let hands = vault.maintain(store.clone()).unwrap();
    hands.forget(&all, &all).unwrap();
    let marked = hands.prune(&PruneOptions::default()).unwrap().marked;
    drop(hands);
    let report = repair(&store, &seed);
    assert_eq!(report.unmarked.len() as u64, marked.packs, "{report:?}");
    passes(&store, &seed);
    store.clock().advance(Duration::from_secs(48 * 3600));
    let again = vault.maintain(store.clone()).unwrap().prune(&PruneOptions::default()).unwrap();
    assert_eq!((again.marked, again.deleted.packs), (marked, 0), "{again:?}");
}

/// EDO-04: a crash after each step of a repair.
#[test]
fn a_crash_while_the_index_is_mended() {
    let (store, seed, _source) = filled();
    store.tamper(&store.keys("index")[0], |mut body| {
        body[40] ^= 1;
        Some(body)
    });
    let recording = Arc::new(CrashStore::recording(store.image()));
    let env = mortal(&store);
    let vault =
        Vault::open_with_seed(recording.clone(), Some(recording.clone()), &seed, env).unwrap();
    vault.maintain(recording.clone()).unwrap().repair_index(&RepairOptions::default()).unwrap();
    drop(vault);
    let images = recording.take_images();
    assert!(images.len() >= 4, "{:?}", recording.writes());
    for image in images {
        let image = Arc::new(image);
        repair(&image, &seed);
        passes(&image, &seed);
    }
}

/// The stock restic agrees about what we mended.
#[test]
fn restic_reads_a_mended_index() {
    let (store, seed, _source) = filled();
    for key in store.keys("index") {
        store.tamper(&key, |_| None);
    }
    repair(&store, &seed);
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let said = restic_ok(folder.path(), &["rebuild-index"]);
    assert!(!said.contains("adding pack file"), "{said}");
    let target = folder.path().join("target");
    restic_ok(folder.path(), &["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(Path::new(&target).is_dir());
    drop(open(&store).unwrap());
}
