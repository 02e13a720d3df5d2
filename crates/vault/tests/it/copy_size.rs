//! Copies of snapshots of any size: bounded memory, index objects on the way, plans that read little.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lifeboat_testkit::{CrashStore, MemoryStore, environment};
use lifeboat_vault::{
    BackupOptions, BlobKind, CheckOptions, Chunking, Compression, CopyOptions, Entry, Error,
    FileMeta, Result, Store, StoreError, pack,
};

use crate::copy::{all, empty_vault, filled, options, passes};
use crate::counting::most_of_all;
use crate::support::{
    init, key_of, meta, noise, noting, open, open_on, packs_of, restic_check, restic_ok,
};

/// One snapshot of so many new blobs, a few files to a folder and each folder in the one before: what
/// a level of trees takes is the same however many there are.
fn one_large(files: u64, blobs_a_file: usize) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let small = BackupOptions { pack_bytes: 96 << 10, readers: 1, ..BackupOptions::default() };
    let mut session = vault.backup(small).unwrap();
    for file in 0..files {
        let content = noise(1000 + file, blobs_a_file * 256);
        let path = PathBuf::from("d/".repeat(file as usize / 5)).join(format!("f{file}"));
        let private = FileMeta::private(jiff::Timestamp::UNIX_EPOCH);
        session.add_stream(&path, private, Chunking::Fixed(256), &mut &content[..]).unwrap();
    }
    session.finish(meta(Path::new("/large"))).unwrap();
    store
}

/// However large a snapshot is, what has arrived of it is named as it arrives: by number of blobs,
/// and by size where blobs are large.
#[test]
fn index_objects_are_written_while_a_copy_runs() {
    let source = one_large(20, 1000);
    let by_blobs = CopyOptions { index_blobs: 2000, portion_bytes: u64::MAX, ..options() };
    for every in [by_blobs, CopyOptions { portion_bytes: 700 << 10, ..options() }] {
        let start = empty_vault(None);
        let writes = 60;
        let dying = Arc::new(CrashStore::dying_after(start.image(), writes));
        let to = open_on(dying.clone(), dying.clone(), environment(start.clock().clone())).unwrap();
        let failed = open(&source).unwrap().copy_to(&to, every.clone()).unwrap().finish();
        assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
        drop(to);
        let image = Arc::new(dying.frozen());
        let (packs, indexes) = (image.keys("data").len(), image.keys("index").len());
        assert!(indexes > 2 && packs > 30, "{indexes} index objects, {packs} packs");
        // What is named is there; what is not is a part of it.
        let named = open(&image).unwrap().check(&CheckOptions::default()).unwrap();
        assert!(named.damage.is_empty(), "{named:#?}");
        restic_check(&image);
        let (env, notes) = noting(&image);
        let to = open_on(image.clone(), image.clone(), env).unwrap();
        let report = open(&source).unwrap().copy_to(&to, every).unwrap().finish().unwrap();
        let unnamed = notes.all();
        let unnamed = unnamed.split("reading ").nth(1).map_or("0", |rest| &rest[..2]).trim();
        assert!(unnamed.parse::<usize>().unwrap() < packs / 2, "{unnamed} of {packs}");
        assert_eq!(image.keys("data").len(), packs + report.counts.packs as usize);
        assert_eq!(all(&image), all(&source));
        passes(&image);
    }
}

/// Counts reads of packs. Told to, it swallows packs and index objects, so that they do not count.
struct Watched {
    store: Arc<MemoryStore>,
    swallows: bool,
    reads: AtomicU64,
}

impl Watched {
    fn new(store: Arc<MemoryStore>, swallows: bool) -> Arc<Watched> {
        Arc::new(Watched { store, swallows, reads: AtomicU64::new(0) })
    }

    fn read(&self, key: &str) {
        self.reads.fetch_add(u64::from(key.starts_with("data/")), Ordering::Relaxed);
    }
}

impl Store for Watched {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.read(key);
        self.store.get(key)
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        self.read(key);
        self.store.get_range(key, offset, length)
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let counts = key.starts_with("data/") || key.starts_with("index/");
        if self.swallows && counts { Ok(()) } else { self.store.create(key, parts) }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.store.list(prefix)
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.store.stat(key)
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}

/// One portion, however many blobs: only the destination's index remembers them.
#[test]
fn a_copy_grows_by_at_most_64_bytes_a_new_blob() {
    let most = |files: u64| {
        let (source, start) = (one_large(files, 2000), empty_vault(None));
        let env = environment(start.clock().clone());
        let to = open_on(Watched::new(start.clone(), true), start.clone(), env).unwrap();
        let small = CopyOptions {
            workers: 1,
            uploads: 1,
            budget_bytes: 1,
            index_blobs: 10_000,
            portion_bytes: u64::MAX,
            read_back: false,
            ..options()
        };
        let session = open(&source).unwrap().copy_to(&to, small).unwrap();
        let (report, most) = most_of_all(|| session.finish().unwrap());
        assert!(report.counts.blobs > files * 2000, "{report:?}");
        most
    };
    let (few, many) = (40, 140);
    let most = [few, many].map(most);
    // Beside them stands the order of the source's blobs, 4 bytes each.
    let each = (most[1] as f64 - most[0] as f64) / ((many - few) as f64 * 2000.0) - 4.0;
    println!("{most:?} bytes at most: {each:.1} bytes a blob");
    assert!(each <= 64.0, "{each:.1} bytes a blob");
}

/// A plan reads no data, of what lies about there neither.
#[test]
fn a_plan_reads_trees_alone() {
    let (source, _) = filled();
    let start = empty_vault(None);
    let dying = Arc::new(CrashStore::dying_after(start.image(), 8));
    let to = open_on(dying.clone(), dying.clone(), environment(start.clock().clone())).unwrap();
    let whole = CopyOptions { portion_bytes: u64::MAX, ..options() };
    open(&source).unwrap().copy_to(&to, whole.clone()).unwrap().finish().unwrap_err();
    drop(to);
    let image = Arc::new(dying.frozen());
    assert_eq!((image.keys("data").len(), image.keys("index").len()), (7, 0));
    let watched = Watched::new(image.clone(), false);
    let env = environment(image.clock().clone());
    let to = open_on(watched.clone(), image, env).unwrap();
    let planned = open(&source).unwrap().plan_copy(Some(&to), &whole).unwrap();
    assert_eq!(watched.reads.load(Ordering::Relaxed), 7, "one header a pack");
    // What the headers say is there is not counted.
    let all = open(&source).unwrap().plan_copy(None, &whole).unwrap();
    assert!(planned.bytes < all.bytes, "{} of {}", planned.bytes, all.bytes);
}

/// Blobs of the first format are compressed on the way, both ways only as often as it takes to know
/// what pays: however few of them there are in a pack.
#[test]
fn what_was_learned_of_one_pack_holds_for_the_next() {
    const FILES: u64 = 96;
    const SIZE: usize = 520_000;
    let folder = tempfile::tempdir().unwrap();
    let (live, theirs) = (folder.path().join("live"), folder.path().join("theirs"));
    std::fs::create_dir(&live).unwrap();
    for file in 0..FILES {
        // Records of noise between the same few words gain nothing from a higher level.
        let mut records = noise(file, SIZE);
        for record in records.chunks_mut(1000) {
            let words = b"please deliver to the door ".repeat(20);
            record.iter_mut().zip(words).for_each(|(byte, word)| *byte = word);
        }
        std::fs::write(live.join(file.to_string()), records).unwrap();
    }
    restic_ok(&theirs, &["init", "--repository-version", "1"]);
    restic_ok(&theirs, &["backup", "--pack-size", "4", live.to_str().unwrap()]);
    let source = Arc::new(MemoryStore::load_from(&theirs).unwrap());
    assert!(source.keys("data").len() >= 11, "few blobs a pack");
    let destination = empty_vault(None);
    let alone = CopyOptions { workers: 1, ..CopyOptions::default() };
    open(&source).unwrap().copy_to(&open(&destination).unwrap(), alone).unwrap().finish().unwrap();
    let vault = open(&destination).unwrap();
    let key = key_of(&vault.seed().unwrap());
    let (mut all, mut thorough) = (0, 0);
    for name in packs_of(&destination, &key, BlobKind::Data) {
        let body = destination.get(&name).unwrap();
        for blob in pack::open_header(&key, &body, body.len() as u64).unwrap().unwrap() {
            let content = vault.load_blob(BlobKind::Data, &blob.id).unwrap();
            let sealed = &body[blob.offset as usize..][..blob.length as usize];
            let level = Compression::Default.level(content.len());
            let with = zstd::bulk::compress(&content, level).unwrap();
            all += 1;
            thorough += u64::from(key.open(sealed).unwrap() == with);
        }
    }
    assert_eq!(all, FILES);
    assert!((1..=FILES / 16 + 1).contains(&thorough), "{thorough} of {all} by the thorough level");
}
