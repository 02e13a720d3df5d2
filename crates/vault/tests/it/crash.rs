//! Crashes and full disks: whatever moment a backup ends at, nothing that was there is lost, what
//! is there is whole, the stock restic finds nothing to say, and the next backup works.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::{CrashStore, FaultyStore, MemoryStore, environment};
use lifeboat_vault::{
    BackupOptions, CheckOptions, Error, Id, KeepAll, KeyStrength, LockStore, MasterSeed,
    RestoreOptions, Result, Root, SnapshotMeta, Store, Vault, WalkSpec,
};

use crate::support::{noise, open, password, restic_check};

/// A source that changes from backup to backup, by a seed.
struct Source {
    folder: tempfile::TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
    seed: u64,
}

impl Source {
    fn new(seed: u64) -> Self {
        Source { folder: tempfile::tempdir().unwrap(), files: BTreeMap::new(), seed }
    }

    /// Adds, changes and removes some files.
    fn change(&mut self, count: u64) {
        for number in 0..count {
            self.seed += 1;
            let pick = noise(self.seed, 3);
            let path = PathBuf::from(format!("d{}/f{}", pick[0] % 3, pick[1] % 16));
            let whole = self.folder.path().join(&path);
            if pick[2].is_multiple_of(5) && self.files.remove(&path).is_some() {
                std::fs::remove_file(whole).unwrap();
                continue;
            }
            let length = usize::from(pick[2]) * 700 + number as usize;
            let content = match pick[2] % 3 {
                0 => b"compressible ".repeat(length / 13),
                _ => noise(self.seed << 8, length),
            };
            std::fs::create_dir_all(whole.parent().unwrap()).unwrap();
            std::fs::write(whole, &content).unwrap();
            self.files.insert(path, content);
        }
    }
}

/// Small packs and index objects, so that a backup consists of many writes.
fn options(parent: Option<Id>) -> BackupOptions {
    BackupOptions {
        parent,
        pack_bytes: 96 << 10,
        index_blobs: 8,
        readers: 2,
        ..BackupOptions::default()
    }
}

/// Stands beside the files in each backup.
const MANIFEST: &[u8] = b"{\"format\":1}";

fn backup(vault: &Vault, source: &Path) -> Result<Id> {
    let parent = vault.snapshots()?.pop().map(|(id, _)| id);
    backup_with(vault, source, options(parent))
}

fn backup_with(vault: &Vault, source: &Path, options: BackupOptions) -> Result<Id> {
    let mut session = vault.backup(options)?;
    session.add_paths(&WalkSpec {
        roots: vec![Root { source: source.to_owned(), tree: "media".into() }],
        filter: Arc::new(KeepAll),
        one_file_system: false,
    })?;
    session.add_bytes(Path::new("manifest.json"), MANIFEST, file_meta())?;
    assert_eq!(session.problems(), []);
    let time = vault.snapshots()?.len() as i64 * 3600;
    let time = jiff::Timestamp::from_second(1_767_323_045 + time).unwrap();
    let tags = vec!["component=media".to_owned()];
    Ok(session.finish(SnapshotMeta { time, tags, paths: vec![source.to_owned()] })?.snapshot)
}

fn file_meta() -> lifeboat_vault::FileMeta {
    lifeboat_vault::FileMeta::private(jiff::Timestamp::UNIX_EPOCH)
}

/// What must come back from each snapshot.
type Truth = BTreeMap<Id, BTreeMap<PathBuf, Vec<u8>>>;

fn restored(vault: &Vault, id: &Id) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = vault.snapshot(id).unwrap();
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(report.is_complete() && report.problems.is_empty(), "{report:?}");
    let mut files = BTreeMap::new();
    for group in std::fs::read_dir(target.join("media")).unwrap() {
        for file in std::fs::read_dir(group.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let content = std::fs::read(&path).unwrap();
            files.insert(path.strip_prefix(target.join("media")).unwrap().to_owned(), content);
        }
    }
    files
}

fn open_by(seed: &MasterSeed, store: &Arc<MemoryStore>) -> Vault {
    let env = environment(store.clock().clone());
    Vault::open_with_seed(store.clone(), Some(store.clone()), seed, env).unwrap()
}

/// All that must hold of a store after a crash. The last of `truth` may or may not be there yet.
fn holds(image: &Arc<MemoryStore>, seed: &MasterSeed, truth: &Truth, must: &[Id], source: &Source) {
    let vault = open_by(seed, image);
    let found: Vec<Id> = vault.snapshots().unwrap().into_iter().map(|(id, _)| id).collect();
    assert!(must.iter().all(|id| found.contains(id)), "a snapshot is gone");
    for id in &found {
        assert_eq!(restored(&vault, id), truth[id], "snapshot {}", id.short());
    }
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.damage.is_empty(), "{report:#?}");
    assert_eq!(report.passed(), !found.is_empty());
    restic_check(image);
    // The next backup works, and what the crash left behind does not harm it.
    let next = backup(&vault, source.folder.path()).unwrap();
    assert_eq!(restored(&vault, &next), source.files);
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(image);
}

/// Backups in a row, with a crash after each of their writes. Every `stride`-th image is looked
/// at; the first and last of each backup always are.
fn crash_sweep(seed: u64, backups: usize, changes: u64, stride: usize) {
    let mut source = Source::new(seed << 32);
    let store = Arc::new(MemoryStore::default());
    let vault = crate::support::init(&store);
    let master = vault.seed().unwrap();
    drop(vault);
    let mut truth = Truth::new();
    let mut state = store.image();
    for round in 0..backups {
        source.change(changes);
        let recording = Arc::new(CrashStore::recording(state.image()));
        let env = environment(state.clock().clone());
        let vault = Vault::open_with_seed(recording.clone(), Some(recording.clone()), &master, env)
            .unwrap();
        let must: Vec<Id> = truth.keys().copied().collect();
        let id = backup(&vault, source.folder.path()).unwrap();
        truth.insert(id, source.files.clone());
        drop(vault);
        let writes = recording.writes();
        let images = recording.take_images();
        assert_eq!(writes.len(), images.len());
        in_the_right_order(&writes);
        for (number, (image, write)) in images.into_iter().zip(&writes).enumerate() {
            if number % stride == 0 || number + 2 >= writes.len() {
                eprintln!("seed {seed}, backup {round}, crash after {write}");
                holds(&Arc::new(image), &master, &truth, &must, &source);
            }
        }
        state = recording.frozen();
    }
    assert_eq!(truth.len(), backups);
}

/// Lock, packs, index, snapshot, lock away: the snapshot is the commit point.
/// The lock first and last, the snapshot after all that it needs. Index objects come while packs are
/// still being stored; that each names only what is there the images say.
fn in_the_right_order(writes: &[String]) {
    let starts = |start: &'static str| move |write: &&String| write.starts_with(start);
    let count = |start| writes.iter().filter(starts(start)).count();
    let (last, rest) = writes.split_last().unwrap();
    let (snapshot, rest) = rest.split_last().unwrap();
    assert!(rest[0].starts_with("create locks/"), "{writes:#?}");
    assert!(snapshot.starts_with("create snapshots/"), "{writes:#?}");
    assert!(!last.starts_with("create "), "{writes:#?}");
    assert_eq!(count("create snapshots/"), 1, "{writes:#?}");
    assert!(rest[rest.len() - 1].starts_with("create index/"), "{writes:#?}");
    assert!(count("create data/") > 2, "too few packs for a sweep");
    let named = rest.iter().position(|write| write.starts_with("create index/")).unwrap();
    let during = rest[named..].iter().any(|write| write.starts_with("create data/"));
    assert!(during, "no index object before the last pack: {writes:#?}");
}

/// EDO-04, X-17: a crash after each store write of two backups.
#[test]
fn a_crash_after_any_write_loses_nothing() {
    crash_sweep(1, 2, 14, 1);
}

#[test]
#[ignore = "long form, run by scripts/soak"]
fn soak_crashes_of_many_backups() {
    for seed in 2..6 {
        crash_sweep(seed, 4, 30, 2);
    }
}

/// Making the vault is two writes; after each, making it again works.
#[test]
fn a_crash_while_the_vault_is_made() {
    let recording = Arc::new(CrashStore::recording(MemoryStore::default()));
    let make = |store: Arc<dyn Store>, locks: Arc<dyn LockStore>| {
        let env = environment(Arc::default());
        Vault::init(store, locks, &password(), KeyStrength::Generated, env, None)
    };
    make(recording.clone(), recording.clone()).unwrap();
    let images = recording.take_images();
    assert_eq!(images.len(), 2);
    for (number, image) in images.into_iter().enumerate() {
        let image = Arc::new(image);
        assert_eq!(Vault::exists(&*image).unwrap(), number == 1);
        if number == 0 {
            make(image.clone(), image.clone()).unwrap();
        }
        restic_check(&image);
        open(&image).unwrap();
    }
}

/// The process that sees its store die says so: no success without a snapshot. A lock that cannot
/// be given back is no reason to call the backup failed.
#[test]
fn a_backup_whose_store_dies_is_no_success() {
    let mut source = Source::new(99 << 32);
    source.change(12);
    let store = Arc::new(MemoryStore::default());
    let seed = crate::support::init(&store).seed().unwrap();
    let mut successes = 0;
    for writes in 1.. {
        let dying = Arc::new(CrashStore::dying_after(store.image(), writes));
        let env = environment(store.clock().clone());
        let vault = Vault::open_with_seed(dying.clone(), Some(dying.clone()), &seed, env).unwrap();
        let result = backup(&vault, source.folder.path());
        drop(vault);
        let after = Arc::new(dying.frozen());
        let stored = after.keys("snapshots").len();
        match result {
            Ok(_) => {
                assert_eq!(stored, 1);
                successes += 1;
            }
            Err(error) => {
                assert!(matches!(error, Error::Store(_)), "{error}");
                assert_eq!(stored, 0);
            }
        }
        // Alive to the end, with the lock removed: all writes were swept.
        if after.keys("locks").is_empty() && stored == 1 {
            break;
        }
    }
    assert!(successes > 0);
}

fn full_disk(seed: u64, steps: u64) {
    let mut source = Source::new(seed << 32);
    source.change(20);
    let store = Arc::new(MemoryStore::default());
    let vault = crate::support::init(&store);
    let master = vault.seed().unwrap();
    let first = backup(&vault, source.folder.path()).unwrap();
    drop(vault);
    let mut truth = Truth::from([(first, source.files.clone())]);
    source.change(20);
    let whole = Arc::new(store.image());
    let second = backup(&open_by(&master, &whole), source.folder.path()).unwrap();
    truth.insert(second, source.files.clone());
    let needed = whole.total_bytes() - store.total_bytes();
    for step in 0..steps {
        let faulty = Arc::new(FaultyStore::new(store.image()));
        faulty.no_space_after(needed * step / steps);
        let env = environment(store.clock().clone());
        let vault =
            Vault::open_with_seed(faulty.clone(), Some(faulty.clone()), &master, env).unwrap();
        let result = backup(&vault, source.folder.path());
        assert!(matches!(result, Err(Error::NoSpace(_))), "seed {seed}, step {step}: {result:?}");
        drop(vault);
        assert!(faulty.inner().keys("locks").is_empty(), "the lock is given back");
        let image = Arc::new(faulty.inner().image());
        holds(&image, &master, &truth, &[first], &source);
    }
}

/// ENOSPC in mid-backup, at several fillings.
#[test]
fn a_full_disk_loses_nothing() {
    full_disk(7, 4);
}

#[test]
#[ignore = "long form, run by scripts/soak"]
fn soak_full_disks() {
    for seed in 20..24 {
        full_disk(seed, 20);
    }
}

/// The upload fails behind the caller's back; what the caller is told at the end is that failure,
/// and not that somebody asked to stop.
#[test]
fn a_failed_upload_is_the_reason_that_is_given() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let env = environment(store.inner().clock().clone());
    let strength = KeyStrength::Generated;
    let vault =
        Vault::init(store.clone(), store.clone(), &password(), strength, env, None).unwrap();
    store.no_space_after(0);
    let mut session = vault.backup(options(None)).unwrap();
    let content = noise(1, 120 << 10);
    let added = session.add_bytes(Path::new("deep/in/folders"), &content, file_meta());
    // Time for the uploader to fail, which the caller has no way to see.
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(std::time::Duration::from_millis(200));
    let time = jiff::Timestamp::UNIX_EPOCH;
    let told = match added {
        Ok(()) => session.finish(SnapshotMeta { time, tags: vec![], paths: vec![] }).map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(told, Err(Error::NoSpace(_))), "{told:?}");
}

/// A full or read-only disk takes no lock; a restore works all the same and says so.
#[test]
fn a_restore_from_a_full_disk_works() {
    let mut source = Source::new(5 << 32);
    source.change(5);
    let store = Arc::new(MemoryStore::default());
    let vault = crate::support::init(&store);
    let master = vault.seed().unwrap();
    let id = backup(&vault, source.folder.path()).unwrap();
    drop(vault);
    for kind in [lifeboat_vault::StoreErrorKind::NoSpace, lifeboat_vault::StoreErrorKind::Denied] {
        let faulty = Arc::new(FaultyStore::new(store.image()));
        faulty.arm(lifeboat_testkit::Fault::always(lifeboat_testkit::Verb::CreateLock, "", kind));
        let (env, notes) = crate::support::noting(faulty.inner());
        let vault =
            Vault::open_with_seed(faulty.clone(), Some(faulty.clone()), &master, env).unwrap();
        assert_eq!(restored(&vault, &id), source.files);
        assert!(notes.all().contains("without a lock"), "{}", notes.all());
        assert!(backup(&vault, source.folder.path()).is_err(), "writing needs a lock");
    }
}

/// What a broken-off backup had stored is not stored again, unless its bytes are not right.
#[test]
fn a_broken_off_backup_is_taken_up() {
    let mut source = Source::new(11 << 32);
    source.change(90);
    let store = Arc::new(MemoryStore::default());
    let master = crate::support::init(&store).seed().unwrap();
    let dying = Arc::new(CrashStore::dying_after(store.image(), 12));
    let env = environment(store.clock().clone());
    let vault = Vault::open_with_seed(dying.clone(), Some(dying.clone()), &master, env).unwrap();
    // No index object on the way: the packs alone are left.
    let options = BackupOptions { index_blobs: usize::MAX, ..options(None) };
    assert!(backup_with(&vault, source.folder.path(), options).is_err());
    drop(vault);
    let image = dying.frozen();
    let left = image.keys("data");
    assert!(left.len() >= 10 && image.keys("index").is_empty());
    // One of them is what a failing disk made of it; its header is right.
    image.tamper(&left[0], |mut body| {
        body[20] ^= 1;
        Some(body)
    });
    let before = image.total_bytes();
    let image = Arc::new(image);
    let id = backup(&open_by(&master, &image), source.folder.path()).unwrap();
    let whole = Arc::new(store.image());
    backup(&open_by(&master, &whole), source.folder.path()).unwrap();
    let added = image.total_bytes() - before;
    assert!(added < whole.total_bytes() / 2, "{added} of {}", whole.total_bytes());
    // Known to the next process by index objects, not by looking into packs again.
    image.tamper(&left[0], |_| None);
    let vault = open_by(&master, &image);
    assert_eq!(restored(&vault, &id), source.files);
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(&image);
}

/// With the index lost, the next backup writes it anew.
#[test]
fn the_next_backup_heals_a_lost_index() {
    let mut source = Source::new(12 << 32);
    source.change(20);
    let store = Arc::new(MemoryStore::default());
    let master = crate::support::init(&store).seed().unwrap();
    let first = backup(&open_by(&master, &store), source.folder.path()).unwrap();
    for key in store.keys("index") {
        store.tamper(&key, |_| None);
    }
    let report = open_by(&master, &store).check(&CheckOptions::default()).unwrap();
    assert!(!report.passed());
    let packs = store.keys("data").len();
    let second = backup(&open_by(&master, &store), source.folder.path()).unwrap();
    assert!(store.keys("data").len() <= packs + 1, "nothing but the new root is stored");
    let vault = open_by(&master, &store);
    for id in [first, second] {
        assert_eq!(restored(&vault, &id), source.files);
    }
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(&store);
}

/// A backup that finds packs missing stores what they held again.
#[test]
fn the_next_backup_heals_missing_and_truncated_packs() {
    let mut source = Source::new(6 << 32);
    source.change(20);
    let store = Arc::new(MemoryStore::default());
    let vault = crate::support::init(&store);
    let first = backup(&vault, source.folder.path()).unwrap();
    let packs = store.keys("data");
    store.tamper(&packs[0], |_| None);
    store.tamper(&packs[1], |body| Some(body[..body.len() - 7].to_vec()));
    let vault = open(&store).unwrap();
    assert!(!vault.check(&CheckOptions::default()).unwrap().damage.is_empty());
    // Without a parent every file is read; what is known to be stored is not stored again.
    let mut session = vault.backup(options(None)).unwrap();
    let root = Root { source: source.folder.path().to_owned(), tree: "media".into() };
    let filter = Arc::new(KeepAll);
    session.add_paths(&WalkSpec { roots: vec![root], filter, one_file_system: false }).unwrap();
    // All that the first one had, or what it alone needs of the two packs would stay lost.
    session.add_bytes(Path::new("manifest.json"), MANIFEST, file_meta()).unwrap();
    let time = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let meta = SnapshotMeta { time, tags: vec![], paths: vec![] };
    let second = session.finish(meta).unwrap().snapshot;
    let vault = open(&store).unwrap();
    assert_eq!(restored(&vault, &second), source.files);
    // The blobs are there again, so that the older snapshot is whole as well.
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.whole_snapshots.contains(&second), "{report:#?}");
    assert!(report.whole_snapshots.contains(&first), "{report:#?}");
    assert!(report.damage.iter().all(|damage| damage.lost_blobs.is_empty()));
}

/// Damage to one pack costs the files in it and no others.
#[test]
fn a_restore_goes_round_the_damage() {
    let mut source = Source::new(8 << 32);
    source.change(30);
    let store = Arc::new(MemoryStore::default());
    let vault = crate::support::init(&store);
    let seed = vault.seed().unwrap();
    let id = backup(&vault, source.folder.path()).unwrap();
    drop(vault);
    let key = crate::support::key_of(&seed);
    let pack = crate::support::packs_of(&store, &key, lifeboat_vault::BlobKind::Data).remove(0);
    type Change = fn(Vec<u8>) -> Option<Vec<u8>>;
    let changes: [Change; 3] = [
        |_| None,
        |body| Some(body[..body.len() / 3].to_vec()),
        |mut body| {
            body[40] ^= 4;
            Some(body)
        },
    ];
    for change in changes {
        let image = Arc::new(store.image());
        image.tamper(&pack, change);
        let vault = open_by(&seed, &image);
        let report = vault.check(&CheckOptions::default()).unwrap();
        let named: std::collections::BTreeSet<PathBuf> = report.damage[0]
            .files
            .iter()
            .map(|file| file.path.strip_prefix("/media").unwrap_or(&file.path).to_owned())
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let snapshot = vault.snapshot(&id).unwrap();
        let restore = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
        assert!(!restore.is_complete());
        for (path, content) in &source.files {
            let restored = std::fs::read(target.join("media").join(path));
            if named.contains(path) {
                assert!(restored.is_err(), "{path:?} is damaged and must not be left behind");
            } else {
                assert_eq!(&restored.unwrap(), content);
            }
        }
        assert_eq!(restore.damaged.len(), named.len());
    }
}
