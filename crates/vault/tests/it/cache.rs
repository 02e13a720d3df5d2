//! The local cache: never needed, never believed, safe to delete, bounded, private.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::cache::DEFAULT_LIMIT;
use lifeboat_vault::{
    BlobKind, Cache, CheckOptions, Entry, Error, Id, Snapshot, Store, StoreError, Vault,
};

use crate::support::{
    Contents, backup, contents, filled_by_restic, init, key_of, noise, noting, open, open_at_once,
    open_on, packs_of, restic_check, snapshot_of,
};

/// Writes down what is read.
struct Reads(Arc<MemoryStore>, Mutex<Vec<String>>);

impl Reads {
    fn of(store: &Arc<MemoryStore>) -> Arc<Reads> {
        Arc::new(Reads(store.clone(), Mutex::default()))
    }

    /// Since the last call, in the folders named.
    fn take(&self, folders: &[&str]) -> Vec<String> {
        let mut reads = std::mem::take(&mut *self.1.lock().unwrap());
        reads.retain(|key| folders.iter().any(|folder| key.starts_with(folder)));
        reads
    }
}

impl Store for Reads {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.1.lock().unwrap().push(key.to_owned());
        self.0.get(key)
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.1.lock().unwrap().push(key.to_owned());
        self.0.get_range(key, offset, len)
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.0.create(key, parts)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.0.list(prefix)
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.0.stat(key)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

struct Kit {
    store: Arc<MemoryStore>,
    reads: Arc<Reads>,
    source: tempfile::TempDir,
    place: tempfile::TempDir,
    repository: String,
    snapshot: Id,
    truth: Contents,
}

impl Kit {
    /// A vault with two snapshots that were taken without a cache.
    fn new() -> Kit {
        let source = tempfile::tempdir().unwrap();
        for number in 0..60u64 {
            let folder = source.path().join(format!("folder{}", number % 6));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{number}")), noise(number, 3000)).unwrap();
        }
        let store = Arc::new(MemoryStore::default());
        let vault = init(&store);
        let first = backup(&vault, source.path(), None).0;
        std::fs::write(source.path().join("more"), noise(99, 5000)).unwrap();
        let second = backup(&vault, source.path(), Some(first.snapshot)).0;
        let truth = contents(&vault, &snapshot_of(&vault, &second));
        let (reads, place) = (Reads::of(&store), tempfile::tempdir().unwrap());
        let repository = vault.repository_id().to_owned();
        Kit { store, reads, source, place, repository, snapshot: second.snapshot, truth }
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("cache")
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.folder(), DEFAULT_LIMIT, self.store.clock().clone()).unwrap()
    }

    fn open(&self) -> Vault {
        let environment = environment(self.store.clock().clone());
        let vault = open_on(self.reads.clone(), self.store.clone(), environment).unwrap();
        vault.with_cache(&self.cache())
    }

    fn newest(&self, vault: &Vault) -> Snapshot {
        let all = vault.snapshots().unwrap();
        all.into_iter().find(|(id, _)| *id == self.snapshot).unwrap().1
    }

    /// Reads everything of the newest snapshot.
    #[track_caller]
    fn read_all(&self) {
        let vault = self.open();
        assert_eq!(contents(&vault, &self.newest(&vault)), self.truth);
    }

    fn trees(&self) -> Vec<String> {
        let key = key_of(&open(&self.store).unwrap().seed().unwrap());
        packs_of(&self.store, &key, BlobKind::Tree)
    }

    /// Key in the store and path of each cached object.
    fn cached(&self) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        let vault = self.folder().join(&self.repository);
        for folder in ["index", "snapshots", "trees"] {
            for entry in std::fs::read_dir(vault.join(folder)).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let key = match folder {
                    "trees" => format!("data/{}/{name}", &name[..2]),
                    _ => format!("{folder}/{name}"),
                };
                found.push((key, vault.join(folder).join(name)));
            }
        }
        found.sort();
        found
    }
}

#[test]
fn what_is_cached_is_not_fetched_again() {
    let kit = Kit::new();
    kit.read_all();
    let trees = kit.trees();
    let cached: Vec<String> = kit.cached().into_iter().map(|(key, _)| key).collect();
    let mut wanted = [kit.store.keys("index"), kit.store.keys("snapshots"), trees.clone()].concat();
    wanted.sort();
    assert_eq!(cached, wanted);
    kit.reads.take(&[]);
    kit.read_all();
    let reads = kit.reads.take(&["index", "snapshots", "data"]);
    assert!(!reads.is_empty(), "data are not cached");
    let again: Vec<&String> = reads.iter().filter(|key| wanted.contains(key)).collect();
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn a_backup_fills_the_cache_and_takes_the_parents_trees_from_it() {
    let kit = Kit::new();
    let vault = kit.open();
    let first = backup(&vault, kit.source.path(), Some(kit.snapshot)).0;
    std::fs::write(kit.source.path().join("new"), noise(7, 4000)).unwrap();
    let second = backup(&kit.open(), kit.source.path(), Some(first.snapshot)).0;
    let before = kit.store.keys("");
    kit.reads.take(&[]);
    // What was written is cached: nothing is read but the parent's snapshot, which no listing
    // named, and what is written now, to be proved.
    let third = backup(&kit.open(), kit.source.path(), Some(second.snapshot)).0;
    assert_eq!(third.files_new, 0, "the parent's trees were known");
    let mut reads = kit.reads.take(&["index", "snapshots", "data"]);
    reads.retain(|key| before.contains(key));
    assert_eq!(reads, [format!("snapshots/{}", second.snapshot)]);
    restic_check(&kit.store);
}

#[test]
fn what_is_cached_are_the_stored_bytes_for_their_owner_alone() {
    let kit = Kit::new();
    std::fs::create_dir(kit.folder()).unwrap();
    std::fs::set_permissions(kit.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    kit.read_all();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&kit.folder()), 0o700);
    assert!(kit.folder().join("CACHEDIR.TAG").exists());
    assert!(!kit.cached().is_empty());
    for (key, path) in kit.cached() {
        assert_eq!(std::fs::read(&path).unwrap(), kit.store.get(&key).unwrap(), "{key}");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}

/// Each cached object is changed, cut, emptied, prolonged and swapped with another: nothing of it is
/// believed, and what was cached is right again.
#[test]
fn a_cached_object_that_is_not_the_one_of_its_name_is_fetched_again() {
    let kit = Kit::new();
    kit.read_all();
    for (key, path) in kit.cached() {
        let good = std::fs::read(&path).unwrap();
        let mut changed = good.clone();
        for at in (0..changed.len()).step_by(50) {
            changed[at] ^= 1;
        }
        let mut longer = good.clone();
        longer.push(0);
        let others = kit.cached();
        let other = others.iter().find(|(other, _)| *other != key && other[..4] == key[..4]);
        let other = std::fs::read(&other.unwrap().1).unwrap();
        let tree = key.starts_with("data");
        let cut = good[..good.len() / 2].to_vec();
        for wrong in [changed, cut, Vec::new(), longer, other] {
            // A tree pack's bytes behind its trees are not looked at.
            if tree && wrong.len() == good.len() + 1 {
                continue;
            }
            std::fs::write(&path, &wrong).unwrap();
            let (env, notes) = noting(&kit.store);
            let vault = open_on(kit.reads.clone(), kit.store.clone(), env).unwrap();
            let vault = vault.with_cache(&kit.cache());
            assert_eq!(contents(&vault, &kit.newest(&vault)), kit.truth, "{key}");
            assert!(!notes.all().contains("damaged"), "{key}: {}", notes.all());
            assert_eq!(std::fs::read(&path).unwrap(), good, "{key}");
        }
    }
}

#[test]
fn the_listing_says_what_exists() {
    let kit = Kit::new();
    kit.read_all();
    let name = format!("snapshots/{}", kit.snapshot);
    let good = kit.store.get(&name).unwrap();
    let seen = |vault: &Vault| vault.snapshots().unwrap().iter().any(|(id, _)| *id == kit.snapshot);

    // Cut in the store: the good copy in the cache does not hide it.
    kit.store.plant(&name, good[..good.len() / 2].to_vec());
    assert_eq!(kit.open().list_snapshots().unwrap().damaged.len(), 1);
    kit.store.plant(&name, good.to_vec());
    kit.read_all();

    // Gone from the store.
    kit.store.tamper(&name, |_| None);
    let vault = kit.open();
    assert!(matches!(vault.snapshot(&kit.snapshot), Err(Error::NotFound { .. })));
    assert!(!seen(&vault));
    assert!(kit.cached().iter().all(|(key, _)| *key != name), "it is kept for nobody");
    kit.store.plant(&name, good.to_vec());

    // Index objects, too: without them the packs' own headers say what there is.
    for index in kit.store.keys("index") {
        kit.store.tamper(&index, |_| None);
    }
    let (env, notes) = noting(&kit.store);
    let vault = open_on(kit.reads.clone(), kit.store.clone(), env).unwrap();
    let vault = vault.with_cache(&kit.cache());
    vault.load_index().unwrap();
    assert!(notes.all().contains("packs that no index names"), "{}", notes.all());
}

#[test]
fn a_tree_that_only_the_cache_has_is_stored_again() {
    let kit = Kit::new();
    kit.read_all();
    for pack in kit.trees() {
        kit.store.tamper(&pack, |_| None);
    }
    let summary = backup(&kit.open(), kit.source.path(), Some(kit.snapshot)).0;
    // Without the cache.
    let vault = open(&kit.store).unwrap();
    let found = contents(&vault, &snapshot_of(&vault, &summary));
    assert_eq!(found, kit.truth);
}

#[test]
fn a_check_does_not_look_at_the_cache() {
    let kit = Kit::new();
    kit.read_all();
    for key in [kit.store.keys("index"), kit.store.keys("snapshots"), kit.trees()].concat() {
        let good = kit.store.get(&key).unwrap();
        let mut changed = good.to_vec();
        changed[30] ^= 1;
        kit.store.plant(&key, changed);
        let options = CheckOptions { read_data: false, ..CheckOptions::default() };
        let report = kit.open().check(&options).unwrap();
        assert!(!report.passed(), "{key}");
        kit.store.plant(&key, good.to_vec());
    }
    assert!(kit.open().check(&CheckOptions::default()).unwrap().passed());
}

#[test]
fn what_removes_does_not_look_at_the_cache() {
    let kit = Kit::new();
    kit.read_all();
    for pack in kit.trees() {
        kit.store.tamper(&pack, |_| None);
    }
    let vault = kit.open();
    let root = kit.newest(&vault).tree;
    assert!(vault.tree(&root).is_ok(), "the cache still has it");
    let maintenance = vault.maintain(kit.store.clone()).unwrap();
    assert!(maintenance.vault().tree(&root).is_err());
}

/// Deleted again and again, whole or in parts, while several readers share it.
#[test]
fn it_may_be_deleted_at_any_moment() {
    let kit = Kit::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..6).for_each(|_| kit.read_all()))).collect();
        let deleter = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                for (_, path) in kit.cached().into_iter().step_by(2) {
                    let _ = std::fs::remove_file(path);
                }
                if std::fs::remove_dir_all(kit.folder()).is_ok() {
                    times += 1;
                }
            }
            times
        });
        let failed = readers.into_iter().filter_map(|reader| reader.join().err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
        assert!(deleter.join().unwrap() > 0, "nothing was deleted meanwhile");
    });
    kit.read_all();
}

fn bytes_in(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let data = entry.metadata().unwrap();
        sum += if data.is_dir() { bytes_in(&entry.path()) } else { data.len() };
    }
    sum
}

#[test]
fn what_was_not_used_for_longest_makes_room() {
    let kit = Kit::new();
    let tag = 43;
    let limit = 40_000;
    let opened = open_at_once(&kit.store).unwrap();
    let again = || {
        let cache = Cache::open(&kit.folder(), limit, kit.store.clock().clone()).unwrap();
        opened.with_cache(&cache)
    };
    let first = format!("snapshots/{}", kit.snapshot);
    let mut kept = 0;
    for turn in 0..60u64 {
        kit.store.clock().advance(std::time::Duration::from_secs(60));
        std::fs::write(kit.source.path().join("more"), noise(turn, 100)).unwrap();
        let vault = again();
        // Each listing uses what is cached of it, so that trees go first.
        vault.snapshots().unwrap();
        backup(&vault, kit.source.path(), None);
        let bytes = bytes_in(&kit.folder()) - tag;
        assert!(bytes <= limit, "{bytes} bytes in turn {turn}");
        kept = kept.max(bytes);
    }
    assert!(kept > limit / 2, "it is used: {kept}");
    let cached: Vec<String> = kit.cached().into_iter().map(|(key, _)| key).collect();
    assert!(cached.contains(&first), "used all the time");
    assert!(!kit.trees().iter().all(|key| cached.contains(key)), "something had to go");
}

#[test]
fn a_cache_that_is_only_read_is_left_as_it_is() {
    let kit = Kit::new();
    let clock = kit.store.clock().clone();
    let cache = Cache::open_to_read(&kit.folder(), clock.clone());
    let vault = open(&kit.store).unwrap().with_cache(&cache);
    assert_eq!(contents(&vault, &kit.newest(&vault)), kit.truth);
    assert!(!kit.folder().exists());

    kit.read_all();
    let state = || -> Vec<_> {
        let of = |path: &PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
        kit.cached().into_iter().map(|(key, path)| (key, of(&path))).collect()
    };
    let wrong = kit.cached().into_iter().find(|(key, _)| key.starts_with("index"));
    let (key, wrong) = wrong.unwrap();
    std::fs::write(&wrong, b"wrong").unwrap();
    let before = state();
    clock.advance(std::time::Duration::from_secs(3600));
    let environment = environment(clock);
    let vault = open_on(kit.reads.clone(), kit.store.clone(), environment).unwrap();
    kit.reads.take(&[]);
    let vault = vault.with_cache(&cache);
    assert_eq!(contents(&vault, &kit.newest(&vault)), kit.truth);
    let read = kit.reads.take(&["index", "snapshots"]);
    assert_eq!(read, [key], "the others are in the cache");
    assert_eq!(state(), before);
    assert_eq!(std::fs::read(&wrong).unwrap(), b"wrong");
}

#[test]
fn a_cache_that_cannot_be_written_is_no_failure() {
    let kit = Kit::new();
    let cache = kit.cache();
    std::fs::remove_dir_all(kit.folder()).unwrap();
    std::fs::write(kit.folder(), "in the way").unwrap();
    let (environment, notes) = noting(&kit.store);
    let vault = open_on(kit.store.clone(), kit.store.clone(), environment).unwrap();
    let vault = vault.with_cache(&cache);
    assert_eq!(contents(&vault, &kit.newest(&vault)), kit.truth);
    assert_eq!(notes.all().matches("going on without the cache").count(), 1, "{}", notes.all());
    assert!(Cache::open(&kit.folder(), 1 << 20, kit.store.clock().clone()).is_err());
}

#[test]
fn what_restic_wrote_is_cached_too() {
    let kit = Kit::new();
    let store = Arc::new(filled_by_restic(&[kit.source.path()]));
    let reads = Reads::of(&store);
    let mut found = Vec::new();
    for turn in 0..2 {
        let environment = environment(store.clock().clone());
        let vault = open_on(reads.clone(), store.clone(), environment).unwrap();
        let vault = vault.with_cache(&kit.cache());
        let snapshot = vault.snapshots().unwrap().pop().unwrap().1;
        found.push(contents(&vault, &snapshot));
        assert!(found[turn].values().all(Result::is_ok));
        assert_eq!(reads.take(&["index", "snapshots"]).is_empty(), turn == 1);
    }
    assert_eq!(found[0].len(), kit.truth.len());
    assert_eq!(found[0], found[1]);
}
