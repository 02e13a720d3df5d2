//! The stages of a backup: packs side by side, one barrier, blobs at random, nothing read twice.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_testkit::{FaultyStore, MemoryStore, Verb, environment};
use lifeboat_vault::{
    BackupOptions, BackupSummary, BlobKind, Entry, Error, FileMeta, Id, Store, StoreError, Vault,
};

use crate::support::{backup, backup_with, init, meta, open_on, restic_check, snapshot_of};
use crate::trees::{noise, set_time};

/// A store on which the first packs wait a moment for each other.
struct Watched {
    inner: Arc<MemoryStore>,
    seen: Mutex<Seen>,
    arrived: Condvar,
}

#[derive(Default)]
struct Seen {
    packs: usize,
    under_way: usize,
    most: usize,
    /// Other objects that were made while a pack was under way.
    early: Vec<String>,
}

impl Watched {
    fn new(inner: Arc<MemoryStore>) -> Arc<Self> {
        Arc::new(Self { inner, seen: Mutex::default(), arrived: Condvar::new() })
    }

    fn pack_begins(&self) {
        let mut seen = self.seen.lock().unwrap();
        (seen.packs, seen.under_way) = (seen.packs + 1, seen.under_way + 1);
        seen.most = seen.most.max(seen.under_way);
        self.arrived.notify_all();
        if seen.packs <= 2 {
            let alone = |seen: &mut Seen| seen.most < 2;
            drop(self.arrived.wait_timeout_while(seen, Duration::from_millis(500), alone).unwrap());
        }
    }
}

impl Store for Watched {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let is_pack = key.starts_with("data/");
        if is_pack {
            self.pack_begins();
        } else if self.seen.lock().unwrap().under_way > 0 {
            self.seen.lock().unwrap().early.push(key.to_owned());
        }
        let created = self.inner.create(key, parts);
        if is_pack {
            self.seen.lock().unwrap().under_way -= 1;
        }
        created
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.inner.stat(key)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[test]
fn packs_go_up_side_by_side_and_all_before_the_index() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(12 << 20, 1)).unwrap();
    for uploads in [1, 2] {
        let store = Arc::new(MemoryStore::default());
        drop(init(&store));
        let watched = Watched::new(store.clone());
        let env = environment(store.clock().clone());
        let vault = open_on(watched.clone(), store.clone(), env).unwrap();
        let options = BackupOptions { pack_bytes: 1 << 20, uploads, ..<_>::default() };
        backup_with(&vault, folder.path(), options);
        let seen = watched.seen.lock().unwrap();
        assert_eq!(seen.most, uploads, "of {} packs", seen.packs);
        assert!(seen.packs > 6 && seen.early.is_empty(), "{:?}", seen.early);
        restic_check(&store);
    }
}

/// The only uploader panics at the first pack while the second one waits for it: the backup fails, and
/// does not wait for ever.
#[test]
fn an_uploader_that_dies_is_not_waited_for() {
    let store = Arc::new(MemoryStore::default());
    drop(init(&store));
    let faulty = Arc::new(FaultyStore::new(store.image()));
    let env = environment(store.clock().clone());
    let vault = open_on(faulty.clone(), faulty.clone(), env).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let options = BackupOptions { uploads: 1, ..<_>::default() };
        let mut session = vault.backup(options).unwrap();
        let bytes = noise(100_000, 1);
        let file = FileMeta::private(jiff::Timestamp::UNIX_EPOCH);
        session.add_bytes(Path::new("file"), &bytes, file).unwrap();
        faulty.kills_at(Verb::Create, "data/", 0);
        // The pack of the data, then that of the tree.
        let ended = session.finish(meta(Path::new("/file"))).map(drop);
        faulty.disarm();
        done.send((ended, faulty.inner().keys("snapshots"))).unwrap();
    });
    let ended = ended.recv_timeout(Duration::from_secs(60));
    let (ended, snapshots) = ended.expect("it waits for a thread that is gone");
    assert!(matches!(&ended, Err(Error::Invalid(why)) if why.contains("died")), "{ended:?}");
    assert!(snapshots.is_empty());
}

/// The pack of each blob of a file, in the file's order.
fn packs_of_file(vault: &Vault, summary: &BackupSummary, path: &Path) -> Vec<Id> {
    let node = vault.node(&snapshot_of(vault, summary), path).unwrap();
    let pack = |id: &Id| vault.locate(BlobKind::Data, id).unwrap()[0].pack;
    node.content.iter().flatten().map(pack).collect()
}

/// The sizes in one pack are not those of one file in its order (eprint 2025/532).
#[test]
fn the_blobs_of_a_file_are_spread_over_packs_at_random() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, noise(40 << 20, 1)).unwrap();
    let mut patterns = Vec::new();
    for _ in 0..2 {
        let vault = init(&Arc::new(MemoryStore::default()));
        // One worker meets the blobs in order: what is out of order then is so by chance.
        let options = BackupOptions { readers: 1, pack_bytes: 8 << 20, ..<_>::default() };
        let (summary, _) = backup_with(&vault, folder.path(), options);
        let packs = packs_of_file(&vault, &summary, &path);
        let mut known: Vec<Id> = Vec::new();
        let mut pattern = Vec::new();
        for pack in &packs {
            let place = known.iter().position(|other| other == pack).unwrap_or(known.len());
            if place == known.len() {
                known.push(*pack);
            }
            pattern.push(place);
        }
        let changes = packs.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes > known.len() + 2, "one after the other: {pattern:?}");
        patterns.push(pattern);
    }
    assert_ne!(patterns[0], patterns[1], "the same places twice");
}

/// Bytes that the kernel handed to this thread so far, from whatever file.
fn bytes_read_by_this_thread() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

/// By the kernel's own count, not by ours (EDO-10).
#[test]
fn what_did_not_change_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..200 {
        let path = folder.path().join(number.to_string());
        fs::write(&path, noise(20_000, number)).unwrap();
        set_time(&path, 1_700_000_000, 0);
    }
    fs::write(folder.path().join("large"), noise(6 << 20, 1000)).unwrap();
    set_time(&folder.path().join("large"), 1_700_000_000, 0);
    let vault = init(&Arc::new(MemoryStore::default()));
    // The only worker is the thread that calls.
    let read = |parent| {
        let options = BackupOptions { parent, readers: 1, ..<_>::default() };
        let before = bytes_read_by_this_thread();
        let (summary, _) = backup_with(&vault, folder.path(), options);
        (summary, bytes_read_by_this_thread() - before)
    };
    let size = 200 * 20_000 + (6 << 20);
    let (first, bytes) = read(None);
    assert!(bytes >= size, "the count sees what is read: {bytes}");
    let (second, bytes) = read(Some(first.snapshot));
    assert_eq!((second.files_unmodified, second.bytes_read), (201, 0));
    // The lists of users and groups, and the count itself.
    assert!(bytes < 100_000, "{bytes} bytes were read");
    assert_eq!(backup(&vault, folder.path(), Some(second.snapshot)).0.bytes_read, 0);
}
