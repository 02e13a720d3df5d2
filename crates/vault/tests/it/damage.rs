//! The damage matrix: each kind of object, damaged in each way, is found and named, and everything
//! else can still be restored. AUD-12, AUD-13.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::check::{Damage, ObjectKind, Wrong};
use lifeboat_vault::{
    BlobKind, CheckOptions, CheckReport, Error, Id, KeyStrength, MasterSeed, Password, Snapshot,
    Store, Vault,
};

use crate::support::{
    Contents, contents, filled_by_restic, init, key_of, noise, noting, open, open_on, packs_of,
    password,
};

/// Two snapshots that share nothing: `a` is damaged, `b` is what must come through.
struct Fixture {
    store: MemoryStore,
    seed: MasterSeed,
    a: (Id, Snapshot),
    b: (Id, Snapshot),
    contents: [Contents; 2],
    /// Keys of objects that only `a` needs.
    data_pack: String,
    tree_pack: String,
    index: String,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let sources = [1, 2].map(|number| {
            let folder = tempfile::tempdir().unwrap();
            for name in ["one", "two", "sub/three", "sub/four", "other/five"] {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let seed = number * 100 + name.len() as u64 * 7 + name.as_bytes()[0] as u64;
                std::fs::write(path, noise(seed, 300_000)).unwrap();
            }
            folder
        });
        let first = filled_by_restic(&[sources[0].path()]);
        let folder = tempfile::tempdir().unwrap();
        first.save_to(folder.path()).unwrap();
        crate::support::restic_backup(folder.path(), sources[1].path());
        let store = Arc::new(MemoryStore::load_from(folder.path()).unwrap());
        let vault = open(&store).unwrap();
        vault.add_key(&Password::new("second"), KeyStrength::Generated).unwrap();
        let [a, b]: [(Id, Snapshot); 2] = vault.snapshots().unwrap().try_into().unwrap();
        let contents = [&a, &b].map(|(_, snapshot)| contents(&vault, snapshot));
        assert!(contents.iter().all(|files| files.len() == 5 && files.values().all(Result::is_ok)));
        let seed = vault.seed().unwrap();
        let key = key_of(&seed);
        let one = |mut keys: Vec<String>| {
            assert!(!keys.is_empty());
            keys.remove(0)
        };
        let data_pack = one(packs_of(&first, &key, BlobKind::Data));
        let tree_pack = one(packs_of(&first, &key, BlobKind::Tree));
        let index = one(first.keys("index"));
        drop(vault);
        let store = store.image();
        Fixture { store, seed, a, b, contents, data_pack, tree_pack, index }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Missing,
    Emptied,
    Truncated,
    Flipped,
    Swapped,
}

const WAYS: [Way; 5] = [Way::Missing, Way::Emptied, Way::Truncated, Way::Flipped, Way::Swapped];

impl Way {
    fn apply(self, store: &MemoryStore, key: &str, other: &[u8]) {
        store.tamper(key, |mut body| match self {
            Way::Missing => None,
            Way::Emptied => Some(Vec::new()),
            Way::Truncated => {
                body.truncate(body.len() * 2 / 3);
                Some(body)
            }
            Way::Flipped => {
                let at = body.len() / 2;
                body[at] ^= 0x10;
                Some(body)
            }
            Way::Swapped => {
                assert_ne!(body, other);
                Some(other.to_vec())
            }
        });
    }
}

fn options(read_data: bool) -> CheckOptions {
    let expected = vec![fixture().a.0, fixture().b.0];
    CheckOptions { read_data, expected, ..Default::default() }
}

fn checked(vault: &Vault, read_data: bool) -> CheckReport {
    vault.check(&options(read_data)).unwrap()
}

fn name_of(key: &str) -> &str {
    key.rsplit('/').next().unwrap()
}

/// The one damage of a report, which is of this kind.
#[track_caller]
fn the_damage<'a>(report: &'a CheckReport, kind: ObjectKind, name: &str) -> &'a Damage {
    assert!(!report.passed());
    let [damage] = &report.damage[..] else { panic!("{:#?}", report.damage) };
    assert_eq!((damage.kind, damage.name.as_str()), (kind, name), "{damage:#?}");
    assert!(!damage.why.is_empty() && damage.to_string().contains(&kind.to_string()));
    damage
}

#[track_caller]
fn reads_whole(vault: &Vault, which: usize) {
    let (_, snapshot) = [&fixture().a, &fixture().b][which];
    assert_eq!(contents(vault, snapshot), fixture().contents[which]);
}

#[test]
fn without_damage_it_passes() {
    let store = Arc::new(fixture().store.image());
    let vault = open(&store).unwrap();
    for read_data in [false, true] {
        let report = checked(&vault, read_data);
        assert!(report.passed(), "{report:#?}");
        assert_eq!(report.whole_snapshots, [fixture().a.0, fixture().b.0]);
        let counts = report.counts;
        assert_eq!((counts.keys, counts.indexes, counts.snapshots), (2, 2, 2));
        assert_eq!((counts.trees, counts.data_blobs), (6, 10));
        assert_eq!(counts.packs_read, if read_data { counts.packs } else { 0 });
        assert_eq!(counts.blobs_read, if read_data { 16 } else { 0 });
    }
}

#[test]
fn config_in_every_way() {
    let other = Arc::new(MemoryStore::default());
    init(&other);
    let other = other.get("config").unwrap();
    for way in WAYS {
        let store = Arc::new(fixture().store.image());
        way.apply(&store, "config", &other);
        let vault = open(&store).unwrap();
        for read_data in [false, true] {
            the_damage(&checked(&vault, read_data), ObjectKind::Config, "config");
        }
        reads_whole(&vault, 0);
        reads_whole(&vault, 1);
    }
}

#[test]
fn key_in_every_way() {
    let keys = fixture().store.keys("keys");
    for damaged in &keys {
        let other = keys.iter().find(|key| *key != damaged).unwrap();
        let other = fixture().store.get(other).unwrap();
        for way in WAYS {
            let store = Arc::new(fixture().store.image());
            way.apply(&store, damaged, &other);
            // One of the two passwords, or the seed of another tier, still opens it.
            let env = environment(store.clock().clone());
            let passwords = [password(), Password::new("second")];
            let opened = passwords
                .iter()
                .filter_map(|password| {
                    Vault::open(store.clone(), Some(store.clone()), password, env.clone()).ok()
                })
                .next();
            let vault = opened.expect("one password opens it");
            let by_seed = Vault::open_with_seed(store.clone(), None, &fixture().seed, env).unwrap();
            assert_eq!(by_seed.master_fingerprint(), vault.master_fingerprint());
            if way == Way::Missing {
                // Nobody knows how many there were: the remaining key is good.
                assert!(checked(&vault, false).passed());
            } else {
                the_damage(&checked(&vault, false), ObjectKind::Key, name_of(damaged));
            }
            reads_whole(&vault, 0);
        }
    }
    let store = Arc::new(fixture().store.image());
    for key in &keys {
        store.tamper(key, |_| None);
    }
    assert!(matches!(open(&store), Err(Error::Damaged { .. })));
    let env = environment(store.clock().clone());
    let vault = Vault::open_with_seed(store, None, &fixture().seed, env).unwrap();
    the_damage(&checked(&vault, true), ObjectKind::Key, "");
    reads_whole(&vault, 1);
}

#[test]
fn index_in_every_way_and_everything_is_still_read() {
    let keys = fixture().store.keys("index");
    let other = keys.iter().find(|key| **key != fixture().index).unwrap();
    let other = fixture().store.get(other).unwrap();
    for way in WAYS {
        let store = Arc::new(fixture().store.image());
        way.apply(&store, &fixture().index, &other);
        let (environment, notes) = noting(&store);
        let vault = open_on(store.clone(), store.clone(), environment).unwrap();
        reads_whole(&vault, 0);
        reads_whole(&vault, 1);
        assert!(notes.all().contains("index"), "the fallback is said aloud: {}", notes.all());
        for read_data in [false, true] {
            let report = checked(&vault, read_data);
            let name = if way == Way::Missing { "" } else { name_of(&fixture().index) };
            let damage = the_damage(&report, ObjectKind::Index, name);
            assert!(damage.lost_blobs.is_empty() && damage.snapshots.is_empty());
            assert_eq!(report.whole_snapshots.len(), 2);
        }
    }
    let store = Arc::new(fixture().store.image());
    for key in &keys {
        store.tamper(key, |_| None);
    }
    let vault = open(&store).unwrap();
    reads_whole(&vault, 0);
    let report = checked(&vault, true);
    the_damage(&report, ObjectKind::Index, "");
}

#[test]
fn snapshot_in_every_way() {
    let key = format!("snapshots/{}", fixture().a.0);
    let other = fixture().store.get(&format!("snapshots/{}", fixture().b.0)).unwrap();
    for way in WAYS {
        let store = Arc::new(fixture().store.image());
        way.apply(&store, &key, &other);
        let (environment, notes) = noting(&store);
        let vault = open_on(store.clone(), store.clone(), environment).unwrap();
        assert_eq!(vault.snapshots().unwrap(), std::slice::from_ref(&fixture().b));
        if way != Way::Missing {
            assert!(notes.all().contains(&fixture().a.0.short()), "{}", notes.all());
        }
        for read_data in [false, true] {
            let report = checked(&vault, read_data);
            the_damage(&report, ObjectKind::Snapshot, name_of(&key));
            assert_eq!(report.whole_snapshots, [fixture().b.0]);
        }
        reads_whole(&vault, 1);
    }
}

/// Files that cannot be read, as the vault itself finds when it reads them.
fn unreadable(vault: &Vault) -> BTreeSet<PathBuf> {
    let files = contents(vault, &fixture().a.1);
    files.into_iter().filter(|(_, content)| content.is_err()).map(|(path, _)| path).collect()
}

fn pack_in_every_way(damaged: &str, kind: BlobKind, found_by_structure: &[Way]) {
    let key = key_of(&fixture().seed);
    let packs = packs_of(&fixture().store, &key, kind);
    let other = packs.iter().find(|key| *key != damaged).unwrap();
    let other = fixture().store.get(other).unwrap();
    for way in WAYS {
        let store = Arc::new(fixture().store.image());
        way.apply(&store, damaged, &other);
        let vault = open(&store).unwrap();
        let lost = unreadable(&vault);
        assert!(!lost.is_empty());
        reads_whole(&vault, 1);
        let report = checked(&vault, true);
        let damage = the_damage(&report, ObjectKind::Pack, name_of(damaged));
        let wrong = match way {
            Way::Missing => Wrong::Missing,
            Way::Emptied => Wrong::Empty,
            Way::Truncated => Wrong::Truncated,
            Way::Flipped => Wrong::Changed,
            Way::Swapped => damage.wrong,
        };
        assert_eq!(damage.wrong, wrong, "{damage:#?}");
        // The report names exactly the files that cannot be read, in the snapshot that has them.
        let named: BTreeSet<PathBuf> = damage.files.iter().map(|file| file.path.clone()).collect();
        assert_eq!(named, lost, "{way:?}");
        assert_eq!(damage.snapshots, [fixture().a.0]);
        assert_eq!(damage.file_count, lost.len() as u64);
        assert_eq!(report.whole_snapshots, [fixture().b.0]);
        let structure = checked(&vault, false);
        assert_eq!(structure.passed(), !found_by_structure.contains(&way), "{way:?}");
    }
}

#[test]
fn data_pack_in_every_way() {
    // The other pack has another size, which the structure shows; a flipped bit needs all data read.
    let found = [Way::Missing, Way::Emptied, Way::Truncated, Way::Swapped];
    let pack = &fixture().data_pack;
    let sizes = fixture().store.list("data").unwrap();
    let same = |size| sizes.iter().filter(|entry| entry.size == size).count() > 1;
    let size = fixture().store.stat(pack).unwrap().size;
    let found = if same(size) { &found[..3] } else { &found[..] };
    pack_in_every_way(pack, BlobKind::Data, found);
}

#[test]
fn tree_pack_in_every_way() {
    pack_in_every_way(&fixture().tree_pack, BlobKind::Tree, &WAYS);
}

#[test]
fn a_damaged_header_loses_nothing_but_is_named() {
    let store = Arc::new(fixture().store.image());
    store.tamper(&fixture().data_pack, |mut body| {
        let at = body.len() - 30;
        body[at] ^= 1;
        Some(body)
    });
    let vault = open(&store).unwrap();
    let report = checked(&vault, true);
    let damage = the_damage(&report, ObjectKind::Pack, name_of(&fixture().data_pack));
    assert!(damage.lost_blobs.is_empty() && damage.why.contains("header"), "{damage:#?}");
    assert_eq!(report.whole_snapshots.len(), 2);
    reads_whole(&vault, 0);
}

#[test]
fn several_damages_at_once_are_all_named() {
    let store = Arc::new(fixture().store.image());
    Way::Flipped.apply(&store, &fixture().data_pack, &[]);
    Way::Missing.apply(&store, &fixture().tree_pack, &[]);
    Way::Emptied.apply(&store, "config", &[]);
    Way::Truncated.apply(&store, &store.keys("keys")[1], &[]);
    Way::Flipped.apply(&store, &fixture().index, &[]);
    Way::Flipped.apply(&store, &format!("snapshots/{}", fixture().b.0), &[]);
    let env = environment(store.clock().clone());
    let vault = Vault::open_with_seed(store, None, &fixture().seed, env).unwrap();
    let report = checked(&vault, true);
    let kinds: BTreeSet<ObjectKind> = report.damage.iter().map(|damage| damage.kind).collect();
    let all = [ObjectKind::Config, ObjectKind::Key, ObjectKind::Snapshot, ObjectKind::Index];
    assert!(all.iter().all(|kind| kinds.contains(kind)), "{:#?}", report.damage);
    assert!(report.whole_snapshots.is_empty());
}

#[test]
fn zero_objects_are_no_pass() {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    for read_data in [false, true] {
        let report = vault.check(&CheckOptions { read_data, ..Default::default() }).unwrap();
        assert!(report.damage.is_empty());
        assert!(!report.passed(), "an empty vault proves nothing");
    }
}

#[test]
fn only_chosen_snapshots() {
    let store = Arc::new(fixture().store.image());
    Way::Flipped.apply(&store, &fixture().data_pack, &[]);
    let vault = open(&store).unwrap();
    let only = |id| CheckOptions { only: Some(vec![id]), ..Default::default() };
    assert!(!vault.check(&only(fixture().a.0)).unwrap().passed());
    let report = vault.check(&only(fixture().b.0)).unwrap();
    assert!(report.passed(), "{report:#?}");
    assert!(report.counts.packs_read < report.counts.packs);
    let report = vault.check(&only(Id::of(b"unknown"))).unwrap();
    assert_eq!(report.damage[0].wrong, Wrong::Missing);
}

/// A pack that no index names is left of a backup that was broken off: counted, not damage.
#[test]
fn unreferenced_packs_are_counted() {
    let store = Arc::new(fixture().store.image());
    Way::Missing.apply(&store, &format!("snapshots/{}", fixture().a.0), &[]);
    store.plant(&format!("data/ff/{}", "f".repeat(64)), "an orphan");
    let vault = open(&store).unwrap();
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.counts.unreferenced_packs, 3);
    assert!(report.counts.unreferenced_bytes > 1_000_000);
}

/// A store that does not answer is an error and neither damage nor a pass.
#[test]
fn an_unreachable_store_is_no_verdict() {
    use lifeboat_testkit::{Fault, FaultyStore, Verb};
    use lifeboat_vault::StoreErrorKind;
    let store = Arc::new(FaultyStore::new(fixture().store.image()));
    let env = environment(store.inner().clock().clone());
    let vault = Vault::open(store.clone(), None, &password(), env).unwrap();
    let faults = [
        (Verb::List, "data"),
        (Verb::List, "snapshots"),
        (Verb::Get, "data"),
        (Verb::Get, "index"),
        (Verb::Get, &fixture().data_pack),
    ];
    for (verb, prefix) in faults {
        store.arm(Fault::always(verb, prefix, StoreErrorKind::Unreachable));
        let result = vault.check(&CheckOptions::default());
        assert!(matches!(result, Err(Error::Store(_))), "{verb:?} {prefix}: {result:?}");
        store.disarm();
    }
    // A bad sector under one object is damage to that object.
    let name = name_of(&fixture().data_pack).to_owned();
    store.arm(Fault::always(Verb::Get, &fixture().data_pack, StoreErrorKind::Other));
    let report = checked(&vault, true);
    assert_eq!(the_damage(&report, ObjectKind::Pack, &name).wrong, Wrong::Unreadable);
    store.disarm();
    // A store that lies about lengths is caught.
    store.truncate_reads();
    assert!(contents(&vault, &fixture().a.1).values().all(Result::is_err));
}

/// A pack whose blobs are opened, changed by `change` and sealed again under its old name: every
/// MAC is right, as somebody with the key, or a program with a fault, could have written it.
fn resealed(pack: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Arc<MemoryStore> {
    let key = key_of(&fixture().seed);
    let store = Arc::new(fixture().store.image());
    store.tamper(pack, |body| {
        let blobs = lifeboat_vault::pack::open_header(&key, &body, body.len() as u64);
        let blobs = blobs.unwrap().unwrap();
        let range = |at: usize| {
            let start = blobs[at].offset as usize;
            start..start + blobs[at].length as usize
        };
        let mut plain: Vec<Vec<u8>> =
            (0..blobs.len()).map(|at| key.open(&body[range(at)]).unwrap()).collect();
        change(&mut plain);
        let mut body = body.clone();
        for (at, plain) in plain.iter().enumerate() {
            body[range(at)].copy_from_slice(&key.seal(plain).unwrap());
        }
        Some(body)
    });
    store
}

/// CSO-82: every blob is hashed again; a right MAC alone proves nothing about which blob it is.
#[test]
fn authentic_bytes_of_another_blob_are_refused() {
    let pack = &fixture().data_pack;
    // The files are incompressible and equally long, and so are their blobs.
    let store = resealed(pack, |plain| plain.swap(0, 1));
    let vault = open(&store).unwrap();
    let lost = unreadable(&vault);
    assert_eq!(lost.len(), 2, "{lost:?}");
    let report = checked(&vault, true);
    let damage = the_damage(&report, ObjectKind::Pack, name_of(pack));
    assert_eq!(damage.lost_blobs.len(), 2);
    assert!(damage.why.contains("SHA-256"), "{damage:#?}");
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let options = lifeboat_vault::RestoreOptions::default();
    let restored = vault.restore(&fixture().a.1, &options, &target).unwrap();
    let named: BTreeSet<PathBuf> = restored.damaged.iter().map(|file| file.path.clone()).collect();
    let lost = lost.iter().map(|path| target.join(path.strip_prefix("/").unwrap()));
    assert_eq!(named, lost.collect());
    assert!(named.iter().all(|path| !path.exists()));
}

/// The same content sealed anew: nothing is lost, but the pack is not the one that it was named by.
#[test]
fn a_pack_that_is_not_the_one_of_its_name_is_found() {
    let pack = &fixture().data_pack;
    let store = resealed(pack, |_| {});
    let vault = open(&store).unwrap();
    let report = checked(&vault, true);
    let damage = the_damage(&report, ObjectKind::Pack, name_of(pack));
    assert!(damage.lost_blobs.is_empty(), "{damage:#?}");
    assert_eq!(damage.why, "its SHA-256 is not its name");
    reads_whole(&vault, 0);
}

/// An index that leaves out a data pack: with the pack there, everything is still read; without it
/// the blobs are named that nobody holds.
#[test]
fn data_that_no_index_names_is_found() {
    let pack = name_of(&fixture().data_pack);
    let key = key_of(&fixture().seed);
    let store = Arc::new(fixture().store.image());
    let plain = key.open(&store.get(&fixture().index).unwrap()).unwrap();
    let json = lifeboat_vault::compress::decompress_bounded(&plain[1..], 1 << 20).unwrap();
    let mut index: serde_json::Value = serde_json::from_slice(&json).unwrap();
    index["packs"].as_array_mut().unwrap().retain(|entry| entry["id"] != pack);
    let body = key.seal(&serde_json::to_vec(&index).unwrap()).unwrap();
    store.tamper(&fixture().index, |_| None);
    store.plant(&format!("index/{}", Id::of(&body)), body);
    for read_data in [false, true] {
        let report = checked(&open(&store).unwrap(), read_data);
        the_damage(&report, ObjectKind::Index, "");
        assert_eq!(report.whole_snapshots.len(), 2);
    }
    reads_whole(&open(&store).unwrap(), 0);

    store.tamper(&fixture().data_pack, |_| None);
    let vault = open(&store).unwrap();
    let lost = unreadable(&vault);
    let report = checked(&vault, false);
    assert!(!report.damage.is_empty(), "{report:#?}");
    assert!(report.damage.iter().all(|damage| damage.kind == ObjectKind::Blob));
    let named: BTreeSet<PathBuf> =
        report.damage.iter().flat_map(|damage| &damage.files).map(|f| f.path.clone()).collect();
    assert_eq!(named, lost);
    assert_eq!(report.whole_snapshots, [fixture().b.0]);
    reads_whole(&vault, 1);
}

/// Reading part of the packs: the parts together find what one full reading finds, and the report
/// says what was read.
#[test]
fn a_subset_of_the_packs() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..24 {
        std::fs::write(folder.path().join(format!("f{number}")), noise(number, 60_000)).unwrap();
    }
    let store = Arc::new(MemoryStore::default());
    let vault = crate::support::init(&store);
    let options = lifeboat_vault::BackupOptions { pack_bytes: 64 << 10, ..<_>::default() };
    crate::support::backup_with(&vault, folder.path(), options);
    let packs = store.keys("data");
    assert!(packs.len() > 10);
    let key = key_of(&vault.seed().unwrap());
    let damaged = packs_of(&store, &key, BlobKind::Data).remove(0);
    store.tamper(&damaged, |mut body| {
        body[50] ^= 1;
        Some(body)
    });
    let check = |text: &str| {
        let subset = Some(text.parse().unwrap());
        vault.check(&CheckOptions { subset, ..CheckOptions::default() }).unwrap()
    };
    let parts: Vec<_> = (1..=4).map(|n| check(&format!("{n}/4"))).collect();
    // By chance a part may hold none.
    let own = || parts.iter().filter(|part| !part.stands_in);
    assert_eq!(own().map(|part| part.counts.packs_read).sum::<u64>(), packs.len() as u64);
    assert_eq!(own().filter(|part| !part.damage.is_empty()).count(), 1);
    assert!(parts.iter().all(|part| part.counts.packs_read > 0));
    let tiny = (1..=256).map(|n| check(&format!("{n}/256")));
    for part in tiny.filter(|part| part.stands_in) {
        assert_eq!((part.counts.packs_read, part.passed()), (1, part.damage.is_empty()));
    }
    let half = check("50%@3");
    assert_eq!(half.counts.packs_read, (packs.len() as u64).div_ceil(2));
    assert_eq!(half.subset.unwrap().to_string(), "50%@3");
    let seeds: Vec<bool> = (0..12).map(|n| check(&format!("50%@{n}")).passed()).collect();
    assert!(seeds.contains(&true) && seeds.contains(&false), "the seed decides: {seeds:?}");
    assert!(!check("100%").passed());
}
