//! What a capture does: chains, cuts, streams, merging, and ending badly.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, SimClock, Verb, environment};
use lifeboat_vault::{
    BackupOptions, Chunking, Clock, Environment, Error, FileMeta, Id, KeepAll, KeyStrength,
    NodeKind, RestoreOptions, Root, StoreErrorKind, Vault, WalkSpec,
};

use crate::support::{
    backup, backup_with, init, meta, open_on, password, restic_check, snapshot_of, walk,
};
use crate::trees::{assert_same, gnarly, noise, set_time};

/// The sorted names in a snapshot's folder.
fn names(vault: &Vault, tree: &Id) -> Vec<String> {
    let nodes = vault.tree(tree).unwrap().nodes;
    nodes.into_iter().map(|node| node.name.into_string().unwrap()).collect()
}

#[test]
fn an_unchanged_tree_is_not_read_and_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (first, _) = backup(&vault, &source, None);
    let (second, _) = backup(&vault, &source, Some(first.snapshot));
    assert_eq!(second.bytes_read, 0);
    assert_eq!(second.files_unmodified, first.files_new);
    assert_eq!(second.bytes_processed, first.bytes_processed);
    // Only the folders above the source may look otherwise: others make files in /tmp.
    assert!(second.blobs_added <= 3, "{second:?}");
    let (first, second) = (snapshot_of(&vault, &first), snapshot_of(&vault, &second));
    let node = |snapshot| vault.node(snapshot, &source).unwrap();
    assert_eq!(node(&first), node(&second));
    assert_eq!(vault.fingerprint(&first).unwrap(), vault.fingerprint(&second).unwrap());
    restic_check(&store);
}

#[test]
fn what_changed_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path();
    for name in ["same", "size", "mtime", "replaced", "touched"] {
        fs::write(source.join(name), noise(1000, 1)).unwrap();
        set_time(&source.join(name), 1_700_000_000, 0);
    }
    let vault = init(&Arc::new(MemoryStore::default()));
    let (first, _) = backup(&vault, source, None);
    fs::write(source.join("size"), noise(1001, 1)).unwrap();
    set_time(&source.join("size"), 1_700_000_000, 0);
    set_time(&source.join("mtime"), 1_700_000_000, 1);
    fs::write(source.join("new"), noise(1000, 2)).unwrap();
    fs::rename(source.join("new"), source.join("replaced")).unwrap();
    set_time(&source.join("replaced"), 1_700_000_000, 0);
    // Content of the same size under the old time: only the inode's own time tells.
    fs::write(source.join("touched"), noise(1000, 3)).unwrap();
    set_time(&source.join("touched"), 1_700_000_000, 0);
    let (second, _) = backup(&vault, source, Some(first.snapshot));
    assert_eq!((second.files_unmodified, second.files_changed), (1, 4));
    let snapshot = snapshot_of(&vault, &second);
    assert_eq!(vault.read_file(&snapshot, source.join("touched")).unwrap(), noise(1000, 3));

    let options = BackupOptions {
        parent: Some(first.snapshot),
        ignore_ctime: true,
        ignore_inode: true,
        ..BackupOptions::default()
    };
    let (lenient, _) = backup_with(&vault, source, options);
    assert_eq!((lenient.files_unmodified, lenient.files_changed), (3, 2));
}

/// A file changed within a time stamp's step of the parent is read again, although it looks equal.
#[test]
fn a_change_too_close_to_the_parent_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"content").unwrap();
    let changed: jiff::Timestamp = file.metadata().unwrap().modified().unwrap().try_into().unwrap();
    let clock = Arc::new(SimClock::at(changed + jiff::SignedDuration::from_secs(60)));
    let vault = init(&Arc::new(MemoryStore::new(clock.clone())));
    let at = |time| {
        let mut session = vault.backup(BackupOptions::default()).unwrap();
        session.add_paths(&walk(folder.path())).unwrap();
        let mut meta = meta(folder.path());
        meta.time = time;
        session.finish(meta).unwrap().snapshot
    };
    let (close, later) = (at(changed), at(clock.wall()));
    assert_eq!(backup(&vault, folder.path(), Some(close)).0.bytes_read, 7);
    assert_eq!(backup(&vault, folder.path(), Some(later)).0.bytes_read, 0);
}

/// Blobs that the parent refers to, but the vault has lost, are stored again.
#[test]
fn a_lost_pack_is_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(100_000, 1)).unwrap();
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (first, _) = backup(&vault, folder.path(), None);
    // The parent's trees are still there and say that the file is the same.
    let blob = Id::of(&noise(100_000, 1));
    let location = vault.locate(lifeboat_vault::BlobKind::Data, &blob).unwrap()[0];
    store.tamper(&lifeboat_vault::pack::pack_key(&location.pack), |_| None);
    let (second, _) = backup(&vault, folder.path(), Some(first.snapshot));
    assert_eq!(second.bytes_read, 100_000);
    let snapshot = snapshot_of(&vault, &second);
    let path = folder.path().join("file");
    assert_eq!(vault.read_file(&snapshot, path).unwrap(), noise(100_000, 1));
}

/// The cuts depend neither on the number of workers nor on whether a file or a stream is cut, and
/// one file is worked on by all of them.
#[test]
fn cuts_are_the_same_however_they_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let content = noise(150 << 20, 5);
    fs::write(folder.path().join("big"), &content).unwrap();
    let vault = init(&Arc::new(MemoryStore::default()));
    let mut lists = Vec::new();
    for readers in [1, 2, 5] {
        let options = BackupOptions { readers, budget_bytes: 400 << 20, ..<_>::default() };
        let (summary, _) = backup_with(&vault, folder.path(), options);
        let snapshot = snapshot_of(&vault, &summary);
        let node = vault.node(&snapshot, folder.path().join("big")).unwrap();
        assert_eq!(node.size, content.len() as u64);
        lists.push(node.content.unwrap());
        assert_eq!(summary.blobs_added > 100, readers == 1, "{summary:?}");
    }
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    let meta_of_file = FileMeta::of(&folder.path().join("big")).unwrap();
    let stream =
        session.add_stream(Path::new("/big"), meta_of_file, Chunking::Content, &mut &content[..]);
    assert_eq!(stream.unwrap().size, content.len() as u64);
    let summary = session.finish(meta(folder.path())).unwrap();
    let snapshot = snapshot_of(&vault, &summary);
    lists.push(vault.node(&snapshot, "big").unwrap().content.unwrap());
    assert!(lists.windows(2).all(|pair| pair[0] == pair[1]));
    let mut dumped = Vec::new();
    vault.dump(&snapshot, "big", &mut dumped).unwrap();
    assert!(dumped == content);
}

#[test]
fn streams_are_cut_at_fixed_offsets_and_deduplicated() {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let mut content = noise(10_000_001, 8);
    content[2 << 20..4 << 20].fill(0);
    let store_stream = |content: &[u8]| {
        let mut session = vault.backup(BackupOptions::default()).unwrap();
        let time = "2024-01-01T00:00:00Z".parse().unwrap();
        let chunking = Chunking::Fixed(64 << 10);
        let path = Path::new("orders.db");
        let file = session.add_stream(path, FileMeta::private(time), chunking, &mut &*content);
        assert_eq!(file.unwrap().blobs, content.len().div_ceil(64 << 10));
        session.add_bytes(Path::new("manifest.json"), b"{}", FileMeta::private(time)).unwrap();
        session.finish(meta(Path::new("/data/orders.db"))).unwrap()
    };
    let first = store_stream(&content);
    assert!(first.bytes_added < 8_200_000, "{first:?}");
    content[5_000_000] ^= 1;
    let second = store_stream(&content);
    // One page, the manifest is the same, and the tree.
    assert_eq!(second.blobs_added, 2);
    let snapshot = snapshot_of(&vault, &second);
    assert_eq!(names(&vault, &snapshot.tree), ["manifest.json", "orders.db"]);
    assert_eq!(vault.read_file(&snapshot, "/orders.db").unwrap(), content);
    restic_check(&store);
}

/// A reader that fails adds nothing, and the session can go on.
#[test]
fn a_failing_stream_adds_nothing() {
    struct Broken(usize);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::other("the dump has failed"));
            }
            let count = buffer.len().min(self.0);
            self.0 -= count;
            buffer[..count].fill(7);
            Ok(count)
        }
    }
    let vault = init(&Arc::new(MemoryStore::default()));
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    let time = "2024-01-01T00:00:00Z".parse().unwrap();
    let meta_of_file = FileMeta::private(time);
    let path = Path::new("dump");
    let failed =
        session.add_stream(path, meta_of_file.clone(), Chunking::Content, &mut Broken(9 << 20));
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    session.add_bytes(Path::new("other"), b"x", meta_of_file).unwrap();
    let summary = session.finish(meta(Path::new("/x"))).unwrap();
    let snapshot = snapshot_of(&vault, &summary);
    assert_eq!(names(&vault, &snapshot.tree), ["other"]);
}

/// Entries of several calls make one tree; later ones replace earlier ones; folders above a root
/// look like the source's.
#[test]
fn calls_are_merged_into_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    for path in ["data/media/a", "data/media/deep/b", "data/other/c", "conf/d"] {
        fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
        fs::write(base.join(path), path).unwrap();
    }
    fs::set_permissions(base.join("data"), std::os::unix::fs::PermissionsExt::from_mode(0o711))
        .unwrap();
    set_time(&base.join("data"), 1_000_000_000, 5);
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    let spec = |roots: &[(&str, &str)]| WalkSpec {
        roots: roots
            .iter()
            .map(|(source, tree)| Root { source: base.join(source), tree: tree.into() })
            .collect(),
        filter: Arc::new(KeepAll),
        one_file_system: false,
    };
    let time = "2024-01-01T00:00:00Z".parse().unwrap();
    let counts = session.add_paths(&spec(&[("data/media", "data/media"), ("conf/d", "/etc/d")]));
    assert_eq!(counts.unwrap().files, 3);
    session.add_bytes(Path::new("data/media/deep/new"), b"new", FileMeta::private(time)).unwrap();
    session.add_bytes(Path::new("data/media/a"), b"replaced", FileMeta::private(time)).unwrap();
    session.add_paths(&spec(&[("data/other", "data/other"), ("data", "data")])).unwrap();
    let before = session.fingerprint();
    session.add_bytes(Path::new("manifest.json"), b"{}", FileMeta::private(time)).unwrap();
    assert_eq!(session.fingerprint(), before);
    let summary = session.finish(meta(base)).unwrap();
    restic_check(&store);

    let snapshot = snapshot_of(&vault, &summary);
    assert_eq!(vault.fingerprint(&snapshot).unwrap(), before);
    let target = base.join("target");
    vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert_eq!(names(&vault, &snapshot.tree), ["data", "etc", "manifest.json"]);
    let read = |path: &str| fs::read_to_string(target.join(path)).unwrap();
    // The whole of `data` came later than the replaced file inside it.
    assert_eq!(read("data/media/a"), "data/media/a");
    assert_eq!(read("data/media/deep/new"), "new");
    assert_eq!(read("data/media/deep/b"), "data/media/deep/b");
    assert_eq!(read("data/other/c"), "data/other/c");
    assert_eq!(read("etc/d"), "conf/d");
    let node = vault.node(&snapshot, "data").unwrap();
    assert_eq!((node.unix_mode(), node.mtime.as_second()), (0o711, 1_000_000_000));
    assert_eq!(vault.fingerprint_restored(&snapshot, &target).unwrap(), before);
}

#[test]
fn a_root_can_be_the_whole_tree_or_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    let vault = init(&Arc::new(MemoryStore::default()));
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    let roots = vec![
        Root { source: source.clone(), tree: "/".into() },
        Root { source: source.join("text"), tree: "renamed".into() },
    ];
    let spec = WalkSpec { roots, filter: Arc::new(KeepAll), one_file_system: false };
    session.add_paths(&spec).unwrap();
    let summary = session.finish(meta(&source)).unwrap();
    let snapshot = snapshot_of(&vault, &summary);
    let target = folder.path().join("target");
    vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert_eq!(fs::read(target.join("renamed")).unwrap(), fs::read(source.join("text")).unwrap());
    fs::remove_file(target.join("renamed")).unwrap();
    // The root of a tree has no metadata of its own.
    set_time(&target, 1_234_567_890, 42);
    assert_same(&source, &target);
}

#[test]
fn a_missing_root_is_named_and_a_filter_leaves_out() {
    struct NoLogs;
    impl lifeboat_vault::Filter for NoLogs {
        fn keep(&self, absolute: &Path, is_folder: bool) -> bool {
            !(absolute.extension().is_some_and(|ending| ending == "log")
                || is_folder && absolute.ends_with("cache"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for path in ["a.log", "b", "cache/c", "deep/d.log", "deep/cache"] {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), path).unwrap();
    }
    let vault = init(&Arc::new(MemoryStore::default()));
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    let root = |source: &Path, tree: &str| Root { source: source.to_owned(), tree: tree.into() };
    let roots = vec![root(folder.path(), "all"), root(Path::new("/nonexistent/x"), "gone")];
    let spec = WalkSpec { roots, filter: Arc::new(NoLogs), one_file_system: false };
    session.add_paths(&spec).unwrap();
    let problems: Vec<_> = session.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["/nonexistent/x: vanished"]);
    let summary = session.finish(meta(folder.path())).unwrap();
    let snapshot = snapshot_of(&vault, &summary);
    let folder_names =
        |path: &str| names(&vault, &vault.node(&snapshot, path).unwrap().subtree.unwrap());
    assert_eq!(names(&vault, &snapshot.tree), ["all"]);
    assert_eq!(folder_names("all"), ["b", "deep"]);
    assert_eq!(folder_names("all/deep"), ["cache"]);
}

/// `one_file_system` keeps where another one is mounted as an empty folder.
#[test]
fn other_file_systems_are_left_out() {
    struct Only(std::path::PathBuf);
    impl lifeboat_vault::Filter for Only {
        fn keep(&self, absolute: &Path, _: bool) -> bool {
            absolute == Path::new("/dev/shm") || absolute.starts_with(&self.0)
        }
    }
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(folder.path().join("file"), b"content").unwrap();
    let vault = init(&Arc::new(MemoryStore::default()));
    let mut entries = Vec::new();
    for one_file_system in [false, true] {
        let mut session = vault.backup(BackupOptions::default()).unwrap();
        let roots = vec![Root { source: "/dev".into(), tree: "dev".into() }];
        let filter = Arc::new(Only(folder.path().to_owned()));
        session.add_paths(&WalkSpec { roots, filter, one_file_system }).unwrap();
        let summary = session.finish(meta(folder.path())).unwrap();
        let snapshot = snapshot_of(&vault, &summary);
        let node = vault.node(&snapshot, "dev/shm").unwrap();
        assert_eq!(node.kind, NodeKind::Dir);
        entries.push(vault.tree(&node.subtree.unwrap()).unwrap().nodes.len());
    }
    assert_eq!(entries, [1, 0], "is /dev/shm a file system of its own here?");
}

fn faulty() -> (Arc<FaultyStore<MemoryStore>>, Environment) {
    let memory = MemoryStore::default();
    let environment = environment(memory.clock().clone());
    let store = Arc::new(FaultyStore::new(memory));
    let strength = KeyStrength::Generated;
    Vault::init(store.clone(), store.clone(), &password(), strength, environment.clone(), None)
        .unwrap();
    (store, environment)
}

/// Nothing but unreferenced packs is left, and the lock is gone.
#[track_caller]
fn assert_nothing_visible(store: &MemoryStore) {
    for visible in ["snapshots", "index", "locks"] {
        assert_eq!(store.keys(visible), [] as [&str; 0]);
    }
}

#[test]
fn a_full_store_leaves_nothing_visible() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(60 << 20, 3)).unwrap();
    for space in [0, 10 << 20, 40 << 20, (60 << 20) + 5_000] {
        let (store, environment) = faulty();
        let vault = open_on(store.clone(), store.clone(), environment).unwrap();
        store.no_space_after(space);
        let mut session = vault.backup(BackupOptions::default()).unwrap();
        let walked = session.add_paths(&walk(folder.path()));
        let error = match walked {
            Err(error) => {
                drop(session);
                error
            }
            Ok(_) => session.finish(meta(folder.path())).unwrap_err(),
        };
        assert!(matches!(error, Error::NoSpace(_)), "{space}: {error:?}");
        assert_nothing_visible(store.inner());
        store.disarm();
        backup(&vault, folder.path(), None);
        restic_check(store.inner());
    }
}

#[test]
fn every_failing_write_leaves_nothing_visible() {
    let folder = tempfile::tempdir().unwrap();
    gnarly(&folder.path().join("source"));
    let (store, environment) = faulty();
    let vault = open_on(store.clone(), store.clone(), environment).unwrap();
    for prefix in ["data", "index", "snapshots"] {
        store.arm(Fault::always(Verb::Create, prefix, StoreErrorKind::Unreachable));
        let mut session = vault.backup(BackupOptions::default()).unwrap();
        session.add_paths(&walk(folder.path())).unwrap();
        let error = session.finish(meta(folder.path())).unwrap_err();
        assert!(matches!(error, Error::Store(_)), "{prefix}: {error:?}");
        assert_eq!(store.inner().keys("snapshots"), [] as [&str; 0]);
        assert_eq!(store.inner().keys("locks"), [] as [&str; 0]);
        store.disarm();
    }
    restic_check(store.inner());
}

/// A pack that reads back otherwise than it was written fails the backup before it is referred to.
#[test]
fn a_store_that_lies_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(100_000, 3)).unwrap();
    let (store, environment) = faulty();
    let vault = open_on(store.clone(), store.clone(), environment).unwrap();
    store.truncate_reads();
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    session.add_paths(&walk(folder.path())).unwrap();
    let error = session.finish(meta(folder.path())).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    assert_nothing_visible(store.inner());
    // Without reading back it goes through: the check is what finds it.
    let options = BackupOptions { read_back: false, ..BackupOptions::default() };
    backup_with(&vault, folder.path(), options);
}

#[test]
fn a_request_to_stop_leaves_nothing_visible() {
    struct StopAt(lifeboat_vault::Cancel);
    impl lifeboat_vault::Monitor for StopAt {
        fn total(&self, _: lifeboat_vault::Stage, _: u64, _: u64) {}
        fn advance(&self, _: lifeboat_vault::Stage, bytes: u64, _: u64) {
            if bytes > 0 {
                self.0.cancel();
            }
        }
        fn note(&self, _: &str) {}
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(30 << 20, 3)).unwrap();
    let (store, mut environment) = faulty();
    environment.monitor = Arc::new(StopAt(environment.cancel.clone()));
    let vault = open_on(store.clone(), store.clone(), environment).unwrap();
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    let stopped = session.add_paths(&walk(folder.path()));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert!(matches!(session.finish(meta(folder.path())), Err(Error::Cancelled)));
    assert_nothing_visible(store.inner());
}

/// Dropped halfway, a session gives back its lock and leaves packs only.
#[test]
fn a_dropped_session_leaves_nothing_visible() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(40 << 20, 3)).unwrap();
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let mut session = vault.backup(BackupOptions::default()).unwrap();
    session.add_paths(&walk(folder.path())).unwrap();
    assert_eq!(store.keys("locks").len(), 1);
    drop(session);
    assert_nothing_visible(&store);
    // The next one may take up what the first one left, and then names it.
    backup(&vault, folder.path(), None);
    restic_check(&store);
}

/// Holes are neither read nor stored, data between them is.
#[test]
fn holes_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    for at in [0, 100 << 20, (1 << 30) - 5000] {
        file.write_all_at(&noise(5000, at), at).unwrap();
    }
    let vault = init(&Arc::new(MemoryStore::default()));
    let (summary, _) = backup(&vault, folder.path(), None);
    assert!(summary.bytes_read < 64 << 20, "{summary:?}");
    assert!(summary.bytes_added < 100_000, "{summary:?}");
    // A file of the same bytes without holes is cut the same way.
    fs::write(folder.path().join("dense"), fs::read(&path).unwrap()).unwrap();
    let (again, _) = backup(&vault, folder.path(), None);
    let snapshot = snapshot_of(&vault, &again);
    let content = |name| vault.node(&snapshot, folder.path().join(name)).unwrap().content;
    assert_eq!(content("sparse"), content("dense"));
}
