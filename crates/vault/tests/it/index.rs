//! The index in bounded memory, of what is stored and of what is being stored.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_testkit::{CrashStore, Fault, FaultyStore, MemoryStore, Verb, environment};
use lifeboat_vault::index::{Index, IndexBuilder};
use lifeboat_vault::{
    BackupOptions, BackupSession, BlobKind, CheckOptions, Chunking, Entry, Error, FileMeta, Id,
    PackedBlob, Result, SnapshotMeta, Store, StoreError, StoreErrorKind, Vault,
};

use crate::counting::{bytes_of, most_of_all};
use crate::support::{init, open_on, restic_check};

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

#[test]
fn a_million_new_blobs_take_at_most_64_bytes_each() {
    let blobs = 1_000_000;
    let (index, held, most) = bytes_of(|| {
        let index = Index::default();
        for pack in 0..blobs / 20 {
            let content: Vec<PackedBlob> = (pack * 20..(pack + 1) * 20).map(blob).collect();
            index.insert(&Id::of(&(pack + (1 << 40)).to_le_bytes()), &content);
        }
        index
    });
    let each = held as f64 / blobs as f64;
    println!("{each:.1} bytes a blob, {:.1} at most", most as f64 / blobs as f64);
    assert!(each <= RESIDENT as f64, "{each:.1} bytes a blob");
    // Names of packs double; nothing else does.
    assert!(most <= held + (4 << 20), "{most} bytes at most, {held} in the end");
    for number in 0..blobs {
        let found = index.lookup(blob(number).kind, &blob(number).id).unwrap();
        assert_eq!((found.offset, found.length), (blob(number).offset, 1000));
        assert_eq!(found.pack, Id::of(&(number / 20 + (1 << 40)).to_le_bytes()));
    }
    assert!(!index.contains(BlobKind::Data, &Id::of(b"another")));
}

/// Content that repeats nothing, in chunks of [`CHUNK`] bytes.
struct Noise {
    state: u64,
    left: usize,
}

const CHUNK: u32 = 256;

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.left);
        for part in buffer[..length].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            part.copy_from_slice(&self.state.to_le_bytes()[..part.len()]);
        }
        self.left -= length;
        Ok(length)
    }
}

/// Adds one file of so many new blobs; a later one takes its place in the tree.
fn add_blobs(session: &mut BackupSession, seed: u64, blobs: usize) -> Result<()> {
    let state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut noise = Noise { state, left: blobs * CHUNK as usize };
    let meta = FileMeta::private(Timestamp::UNIX_EPOCH);
    session.add_stream(Path::new("file"), meta, Chunking::Fixed(CHUNK), &mut noise).map(drop)
}

/// Swallows packs and index objects, so that they do not count.
struct Sink(Arc<MemoryStore>);

impl Store for Sink {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.0.get(key)
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.0.get_range(key, offset, len)
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let swallowed = key.starts_with("data/") || key.starts_with("index/");
        if swallowed { Ok(()) } else { self.0.create(key, parts) }
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

/// One worker and small buffers, so that what is counted are the blobs.
fn small(index_blobs: usize) -> BackupOptions {
    BackupOptions {
        readers: 1,
        uploads: 1,
        budget_bytes: 1,
        pack_bytes: 1 << 20,
        index_blobs,
        read_back: false,
        ..BackupOptions::default()
    }
}

fn summary(time: i64) -> SnapshotMeta {
    let time = Timestamp::from_second(1_767_323_045 + time).unwrap();
    SnapshotMeta { time, tags: Vec::new(), paths: vec!["/file".into()] }
}

/// The most that a backup of so many new blobs holds at a time, in bytes.
fn most_of_a_backup(blobs: usize) -> usize {
    const A_FILE: usize = 10_000;
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let environment = environment(store.clock().clone());
    let vault = open_on(Arc::new(Sink(store.clone())), store.clone(), environment).unwrap();
    let mut session = vault.backup(small(10_000)).unwrap();
    let ((), most) = most_of_all(|| {
        for file in 0..blobs / A_FILE {
            add_blobs(&mut session, file as u64, A_FILE).unwrap();
        }
        let summary = session.finish(summary(0)).unwrap();
        assert!(summary.blobs_added as usize > blobs, "{summary:?}");
    });
    most
}

#[test]
fn a_backup_grows_by_at_most_64_bytes_a_new_blob() {
    let (few, many) = (100_000, 380_000);
    let most = [few, many].map(most_of_a_backup);
    let each = (most[1] as f64 - most[0] as f64) / (many - few) as f64;
    println!("{most:?} bytes at most: {each:.1} bytes a blob");
    assert!(each <= RESIDENT as f64, "{each:.1} bytes a blob");
}

/// EDO-04: a backup that is broken off leaves what the next one need not store again, and an index
/// object that was written on the way names nothing that is not there.
#[test]
fn index_objects_are_written_while_the_backup_runs() {
    let recording = Arc::new(CrashStore::recording(MemoryStore::default()));
    let environment = environment(Arc::default());
    let strength = lifeboat_vault::KeyStrength::Generated;
    let password = crate::support::password();
    let env = environment.clone();
    let vault =
        Vault::init(recording.clone(), recording.clone(), &password, strength, env, None).unwrap();
    recording.take_images();
    let mut session = vault.backup(small(1000)).unwrap();
    add_blobs(&mut session, 0, 20_000).unwrap();
    drop(session);
    let image = Arc::new(recording.take_images().pop().unwrap());
    let written = image.keys("index").len();
    assert!(written > 1, "{written} index objects");
    let vault = open_on(image.clone(), image.clone(), environment).unwrap();
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.damage.is_empty(), "{report:#?}");
    restic_check(&image);

    let mut session = vault.backup(small(1000)).unwrap();
    add_blobs(&mut session, 0, 20_000).unwrap();
    let again = session.finish(summary(1)).unwrap();
    assert!(again.blobs_added < 12_000, "most of it was there: {again:?}");
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(&image);
}

/// Without our lock a prune may run: it would remove packs that an index object names afterwards.
#[test]
fn no_index_object_is_written_under_a_lock_that_is_lost() {
    let store = Arc::new(FaultyStore::new(init_alone()));
    let environment = environment(store.inner().clock().clone());
    let vault = open_on(store.clone(), store.clone(), environment).unwrap();
    let mut session = vault.backup(small(1000)).unwrap();
    add_blobs(&mut session, 0, 10_000).unwrap();
    store.arm(Fault::always(Verb::CreateLock, "", StoreErrorKind::Unreachable));
    store.inner().clock().advance(Duration::from_secs(23 * 60));
    let named = store.inner().keys("index").len();
    let ended = add_blobs(&mut session, 1, 20_000).and_then(|()| session.finish(summary(0)));
    assert!(matches!(ended, Err(Error::LockLost { .. })), "{ended:?}");
    // One may have been on its way.
    assert!(store.inner().keys("index").len() <= named + 1);
    assert!(store.inner().keys("snapshots").is_empty());
}

fn init_alone() -> MemoryStore {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    store.image()
}
