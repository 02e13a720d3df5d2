//! Mending the index from the packs' headers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_testkit::{CrashStore, Fault, FaultyStore, MemoryStore, Verb, environment};
use lifeboat_vault::crypto::Key;
use lifeboat_vault::index::{IndexFile, IndexPack};
use lifeboat_vault::{
    BlobKind, CheckOptions, Error, Gap, Id, MasterSeed, PruneOptions, PruneReport, RepairOptions,
    RepairReport, Snapshot, Store, StoreErrorKind, Vault,
};

use crate::support::{backup, contents, init, mortal, noise, open, restic_check, restic_ok};

/// A vault with two snapshots in it.
fn filled() -> (Arc<MemoryStore>, MasterSeed, tempfile::TempDir) {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let source = tempfile::tempdir().unwrap();
    let mut parent = None;
    for round in 0..2u64 {
        for file in 0..24 {
            let content = noise(round * 100 + file, 6_000);
            std::fs::write(source.path().join(format!("f{round}{file}")), content).unwrap();
        }
        parent = Some(backup(&vault, source.path(), parent).0.snapshot);
    }
    let seed = vault.seed().unwrap();
    (store, seed, source)
}

/// The pack of a kind that holds most: several blobs.
fn largest(store: &MemoryStore, key: &Key, kind: BlobKind) -> String {
    let size = |name: &String| store.stat(name).unwrap().size;
    crate::support::packs_of(store, key, kind).into_iter().max_by_key(size).unwrap()
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

type Change = fn(Vec<u8>) -> Vec<u8>;

/// Whatever of its header is gone: the length, the header itself, a bit of it, half of the pack.
const BROKEN: [(&str, Change); 4] = [
    ("by a byte", |mut body| {
        body.pop();
        body
    }),
    ("in the header", |body| body[..body.len() - 9].to_vec()),
    ("flipped", |mut body| {
        let at = body.len() - 30;
        body[at] ^= 1;
        body
    }),
    ("by half", |body| body[..body.len() / 2].to_vec()),
];

/// Every file of every snapshot; nothing where it cannot be read.
fn readable(
    store: &Arc<MemoryStore>,
    seed: &MasterSeed,
) -> Vec<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let vault = reopen(store, seed);
    let files = |snapshot| contents(&vault, snapshot).into_iter().map(|(path, c)| (path, c.ok()));
    vault.snapshots().unwrap().iter().map(|(_, snapshot)| files(snapshot).collect()).collect()
}

/// Readers need no header. What could be read before a repair can be read after it, whatever is
/// wrong with a pack; the pack is named, its intact part stored again, and nothing removed.
#[test]
fn what_is_intact_of_a_broken_pack_is_still_read() {
    let (store, seed, source) = filled();
    let key = crate::support::key_of(&seed);
    let options = RepairOptions { read_all: true };
    for kind in [BlobKind::Data, BlobKind::Tree] {
        let pack = largest(&store, &key, kind);
        let id: Id = pack.rsplit('/').next().unwrap().parse().unwrap();
        for (how, change) in BROKEN {
            let image = Arc::new(store.image());
            image.tamper(&pack, |body| Some(change(body)));
            let before = readable(&image, &seed);
            let planned = reopen(&image, &seed).plan_repair(&options).unwrap();
            let stored = image.keys("data");
            let hands = reopen(&image, &seed).maintain(image.clone()).unwrap();
            let report = hands.repair_index(&options).unwrap();
            drop(hands);
            let context = format!("{kind} {how}: {report:#?}");
            assert_eq!(readable(&image, &seed), before, "{context}");
            assert_eq!(planned.salvaged, report.salvaged, "{context}");
            let [salvaged] = &report.salvaged[..] else { panic!("{context}") };
            assert_eq!(salvaged.pack, id, "{context}");
            assert!(!salvaged.why.is_empty() && report.unreadable.is_empty(), "{context}");
            let cut = how == "by half";
            assert_eq!((salvaged.lost > 0, report.lost_something()), (cut, cut), "{context}");
            assert!(stored.iter().all(|name| image.keys("data").contains(name)), "{context}");
            assert!(!named(&image, &seed).contains(&id), "{context}");
            if cut {
                assert!(before.iter().flat_map(BTreeMap::values).any(Option::is_none), "{context}");
                // The next backup stores what was lost, and all is whole again. (Trees hold times
                // of folders that others write to.)
                backup(&reopen(&image, &seed), source.path(), None);
            }
            if !(cut && kind == BlobKind::Tree) {
                passes(&image, &seed);
            }
        }
    }
}

/// What is lost is no longer listed, so that any backup stores it again; the stock restic reads all
/// the rest.
#[test]
fn restic_restores_what_is_intact_of_a_cut_pack() {
    let (store, seed, _source) = filled();
    let key = crate::support::key_of(&seed);
    let pack = largest(&store, &key, BlobKind::Data);
    store.tamper(&pack, |body| Some(body[..body.len() / 2].to_vec()));
    let snapshots = reopen(&store, &seed).snapshots().unwrap();
    let (id, before) = snapshots
        .iter()
        .map(|(id, _)| id.to_string())
        .zip(readable(&store, &seed))
        .find(|(_, files)| files.values().any(Option::is_none))
        .unwrap();
    assert!(repair(&store, &seed).salvaged[0].saved > 0);
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let mut arguments = vec!["restore", &id, "--target", target.path().to_str().unwrap()];
    let lost = before.iter().filter(|(_, content)| content.is_none());
    let lost: Vec<&str> = lost.map(|(path, _)| path.to_str().unwrap()).collect();
    for path in &lost {
        arguments.extend(["--exclude", path]);
    }
    restic_ok(folder.path(), &arguments);
    assert!(!lost.is_empty() && lost.len() < before.len(), "{lost:?}");
    for (path, content) in before.iter().filter(|(_, content)| content.is_some()) {
        let path = target.path().join(path.strip_prefix("/").unwrap());
        assert!(std::fs::read(&path).ok() == *content, "{}", path.display());
    }
}

/// Pruning, which refuses a vault with a cut pack and says what to run, works after that.
#[test]
fn pruning_sends_to_the_repair_and_works_after_it() {
    let (store, seed, _source) = filled();
    let key = crate::support::key_of(&seed);
    let pack = largest(&store, &key, BlobKind::Data);
    store.tamper(&pack, |body| Some(body[..body.len() - 9].to_vec()));
    let prune = || reopen(&store, &seed).maintain(store.clone()).unwrap().prune(&<_>::default());
    let Err(refused) = prune() else { panic!("a pack is cut") };
    assert!(matches!(refused, Error::Incomplete { gap: Gap::Pack, .. }), "{refused:?}");
    let hint = refused.hint().unwrap();
    assert!(hint.contains("`lifeboat repair index` stores again what is intact"), "{hint}");
    let report = repair(&store, &seed);
    assert!(!report.lost_something() && report.salvaged.len() == 1, "{report:?}");
    prune().unwrap();
    store.clock().advance(Duration::from_secs(48 * 3600));
    let pruned = prune().unwrap();
    assert!(pruned.deleted.packs >= 1 && !store.keys("data").contains(&pack), "{pruned:?}");
    passes(&store, &seed);
    assert!(repair(&store, &seed).was_whole());
}

/// A snapshot was forgotten, its packs are marked, and it came back.
struct Again {
    store: Arc<MemoryStore>,
    seed: MasterSeed,
    snapshot: Snapshot,
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

impl Again {
    fn new() -> Again {
        let (store, seed, source) = filled();
        let files = readable(&store, &seed).remove(0);
        let vault = reopen(&store, &seed);
        let all: Vec<Id> = vault.snapshots().unwrap().iter().map(|(id, _)| *id).collect();
        let (first, snapshot) = vault.snapshots().unwrap().remove(0);
        let object = format!("snapshots/{first}");
        let body = store.get(&object).unwrap();
        std::fs::remove_dir_all(source.path()).unwrap();
        std::fs::create_dir(source.path()).unwrap();
        std::fs::write(source.path().join("other"), noise(77, 50_000)).unwrap();
        backup(&vault, source.path(), None);
        let hands = vault.maintain(store.clone()).unwrap();
        hands.forget(&all, &all).unwrap();
        assert!(hands.prune(&PruneOptions::default()).unwrap().marked.packs > 0);
        drop(hands);
        store.plant(&object, body);
        Again { store, seed, snapshot, files }
    }

    fn prune(&self) -> lifeboat_vault::Result<PruneReport> {
        let hands = reopen(&self.store, &self.seed).maintain(self.store.clone()).unwrap();
        hands.prune(&PruneOptions::default())
    }

    #[track_caller]
    fn reads_whole(&self) {
        let files = contents(&reopen(&self.store, &self.seed), &self.snapshot);
        let files: BTreeMap<PathBuf, Option<Vec<u8>>> =
            files.into_iter().map(|(path, content)| (path, content.ok())).collect();
        assert_eq!(files, self.files);
    }
}

/// A marked pack may be needed: what its mark says of it is salvaged like a listed one.
#[test]
fn a_marked_pack_with_a_broken_header_is_salvaged() {
    let again = Again::new();
    let Again { store, seed, .. } = &again;
    let listed = named(store, seed);
    let marked =
        |name: &String| !listed.contains(&name.rsplit('/').next().unwrap().parse().unwrap());
    let packs = crate::support::packs_of(store, &crate::support::key_of(seed), BlobKind::Data);
    let pack = packs.into_iter().find(marked).unwrap();
    store.tamper(&pack, |body| Some(body[..body.len() - 9].to_vec()));
    let report = repair(store, seed);
    assert!(report.salvaged.len() == 1 && !report.lost_something(), "{report:#?}");
    again.reads_whole();
}

/// A mark that lists other blobs than its packs hold: nothing goes back into the index by it.
#[test]
fn a_mark_is_not_believed_against_the_packs_header() {
    let again = Again::new();
    let Again { store, seed, .. } = &again;
    let key = crate::support::key_of(seed);
    for name in store.keys("index") {
        let (id, body) = changed(store, &key, &name, |file| {
            // Trees are read before anything is decided, and refused there.
            let of_data = |pack: &&mut IndexPack| pack.blobs[0].kind == BlobKind::Data;
            for pack in file.packs_to_delete.iter_mut().filter(of_data) {
                let ids: Vec<Id> = pack.blobs.iter().map(|blob| blob.id).collect();
                let turned = ids.iter().cycle().skip(1);
                pack.blobs.iter_mut().zip(turned).for_each(|(blob, id)| blob.id = *id);
            }
        });
        store.tamper(&name, |_| None);
        store.plant(&format!("index/{id}"), body);
    }
    let before = store.keys("");
    let refused = again.prune();
    let Err(Error::Incomplete { gap: Gap::Index, what }) = &refused else { panic!("{refused:?}") };
    assert!(what.contains("the mark of pack"), "{what}");
    assert_eq!(store.keys(""), before);
    repair(store, seed);
    again.reads_whole();
    again.prune().unwrap();
    again.reads_whole();
    passes(store, seed);
}

/// An index object changed and sealed again.
fn changed(
    store: &MemoryStore,
    key: &Key,
    name: &str,
    change: impl FnOnce(&mut IndexFile),
) -> (Id, Vec<u8>) {
    let plain = key.open(&store.get(name).unwrap()).unwrap();
    let mut file = IndexFile::parse(&zstd::decode_all(&plain[1..]).unwrap()).unwrap();
    change(&mut file);
    let json = serde_json::to_vec(&file).unwrap();
    let frame = zstd::encode_all(&json[..], 3).unwrap();
    let body = key.seal(&[&[2][..], &frame].concat()).unwrap();
    (Id::of(&body), body)
}

/// An index object or a pack that the store cannot read at this moment may be whole. The one ends
/// the repair before anything was changed, the other's entry stays.
#[test]
fn what_cannot_be_read_now_is_not_replaced() {
    let (store, seed, _source) = filled();
    let key = crate::support::key_of(&seed);
    let pack = largest(&store, &key, BlobKind::Data);
    store.tamper(&pack, |body| Some(body[..body.len() - 9].to_vec()));
    let index = store.keys("index").remove(0);
    let before = readable(&store, &seed);
    let gaps = [
        (StoreErrorKind::Denied, Some(Gap::Unread)),
        (StoreErrorKind::Other, Some(Gap::Unread)),
        (StoreErrorKind::NotFound, Some(Gap::Changed)),
        (StoreErrorKind::Unreachable, None),
    ];
    for (kind, gap) in gaps {
        let (stored, failed) = repair_failing(&store, &seed, &index, kind);
        match (failed, gap) {
            (Err(Error::Incomplete { gap, .. }), Some(wanted)) => assert_eq!(gap, wanted),
            (Err(Error::Store(_)), None) => {}
            (other, _) => panic!("{kind:?}: {other:?}"),
        }
        assert_eq!(stored.keys(""), store.keys(""), "{kind:?}");
    }
    for kind in [StoreErrorKind::Denied, StoreErrorKind::Other] {
        let (stored, report) = repair_failing(&store, &seed, &pack, kind);
        let report = report.unwrap();
        let id: Id = pack.rsplit('/').next().unwrap().parse().unwrap();
        assert!(report.kept.len() == 1 && report.kept[0].0 == id, "{report:#?}");
        assert!(report.lost_something() && report.salvaged.is_empty(), "{report:#?}");
        assert_eq!(stored.keys(""), store.keys(""), "{kind:?}");
        assert_eq!(readable(&stored, &seed), before);
    }
}

/// A header that can be read and is damaged, and data that cannot be read: the entry stays.
#[test]
fn a_pack_whose_data_cannot_be_read_now_stays_listed() {
    let (store, seed, _source) = filled();
    let key = crate::support::key_of(&seed);
    let pack = largest(&store, &key, BlobKind::Data);
    store.tamper(&pack, |body| Some(body[..body.len() - 9].to_vec()));
    let before = readable(&store, &seed);
    let faulty = Arc::new(FaultyStore::new(store.image()));
    let fault = Fault::always(Verb::Get, &pack, StoreErrorKind::Other);
    faulty.arm(Fault { after: 1, ..fault });
    let (stored, report) = repair_on(faulty, &seed);
    let report = report.unwrap();
    assert!(report.kept.len() == 1 && report.salvaged.is_empty(), "{report:#?}");
    assert_eq!(stored.keys(""), store.keys(""));
    assert_eq!(readable(&stored, &seed), before);
}

/// A blob inside the pack that is damaged as well is not carried on under its name.
#[test]
fn a_blob_that_is_not_proven_is_not_salvaged() {
    let (store, seed, source) = filled();
    let key = crate::support::key_of(&seed);
    let pack = largest(&store, &key, BlobKind::Data);
    store.tamper(&pack, |mut body| {
        body[100] ^= 1;
        body.truncate(body.len() - 9);
        Some(body)
    });
    let before = readable(&store, &seed);
    let report = repair(&store, &seed);
    assert_eq!(report.salvaged[0].lost, 1, "{report:#?}");
    assert!(report.salvaged[0].saved > 0 && report.lost_something(), "{report:#?}");
    assert_eq!(readable(&store, &seed), before);
    backup(&reopen(&store, &seed), source.path(), None);
    passes(&store, &seed);
}

/// A repair of a copy in which every reading of one object fails.
fn repair_failing(
    store: &MemoryStore,
    seed: &MasterSeed,
    object: &str,
    kind: StoreErrorKind,
) -> (Arc<MemoryStore>, lifeboat_vault::Result<RepairReport>) {
    let faulty = Arc::new(FaultyStore::new(store.image()));
    faulty.arm(Fault::always(Verb::Get, object, kind));
    repair_on(faulty, seed)
}

/// A repair that reads every header, and what is stored after it.
fn repair_on(
    store: Arc<FaultyStore<MemoryStore>>,
    seed: &MasterSeed,
) -> (Arc<MemoryStore>, lifeboat_vault::Result<RepairReport>) {
    let env = environment(store.inner().clock().clone());
    let vault = Vault::open_with_seed(store.clone(), Some(store.clone()), seed, env).unwrap();
    let hands = vault.maintain(store.clone()).unwrap();
    let report = hands.repair_index(&RepairOptions { read_all: true });
    drop((hands, vault));
    (Arc::new(store.inner().image()), report)
}

/// Two index objects that each list a part of a pack are put together.
#[test]
fn parts_of_a_pack_in_two_index_objects_are_put_together() {
    let (store, seed, _source) = filled();
    let key = crate::support::key_of(&seed);
    let before = readable(&store, &seed);
    for name in store.keys("index") {
        let halves = [0, 1].map(|part| {
            changed(&store, &key, &name, |file| {
                for pack in &mut file.packs {
                    let mut number = 0;
                    pack.blobs.retain(|_| {
                        number += 1;
                        number % 2 == part
                    });
                }
                file.packs.retain(|pack| !pack.blobs.is_empty());
            })
        });
        store.tamper(&name, |_| None);
        for (id, body) in halves {
            store.plant(&format!("index/{id}"), body);
        }
    }
    for pack in crate::support::packs_of(&store, &key, BlobKind::Data) {
        store.tamper(&pack, |body| Some(body[..body.len() - 9].to_vec()));
    }
    assert_eq!(readable(&store, &seed), before);
    let report = repair(&store, &seed);
    assert!(!report.lost_something() && !report.salvaged.is_empty(), "{report:#?}");
    assert_eq!(readable(&store, &seed), before);
}

fn named(store: &Arc<MemoryStore>, seed: &MasterSeed) -> BTreeSet<Id> {
    let key = crate::support::key_of(seed);
    let mut names = BTreeSet::new();
    for name in store.keys("index") {
        let plain = key.open(&store.get(&name).unwrap()).unwrap();
        let json = zstd::decode_all(&plain[1..]).unwrap();
        let file = IndexFile::parse(&json).unwrap();
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
    crashes(|store, _| {
        store.tamper(&store.keys("index")[0], |mut body| {
            body[40] ^= 1;
            Some(body)
        });
    });
}

/// The same where a pack is salvaged.
#[test]
fn a_crash_while_a_pack_is_salvaged() {
    crashes(|store, seed| {
        let key = crate::support::key_of(seed);
        let pack = largest(store, &key, BlobKind::Data);
        store.tamper(&pack, |body| Some(body[..body.len() - 9].to_vec()));
    });
}

fn crashes(damage: impl FnOnce(&MemoryStore, &MasterSeed)) {
    let (store, seed, _source) = filled();
    let before = readable(&store, &seed);
    damage(&store, &seed);
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
        assert_eq!(readable(&image, &seed), before);
        repair(&image, &seed);
        assert_eq!(readable(&image, &seed), before);
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
