//! Between the first look for other locks and the second: somebody holds an exclusive lock before
//! ours appears, and removes what we would rely on (EDO-12).

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::{
    BackupOptions, CheckOptions, CopyOptions, Error, LockStore, Maintenance, MaxUnused,
    PruneOptions, RepairOptions, Result, Store, StoreError, Vault,
};

use crate::support::{backup, init, meta, noise, open, open_on, restic_check, walk};

type Deed = Box<dyn FnOnce() + Send>;

/// Locks of a store where somebody does something just before the first one appears.
struct Before {
    store: Arc<MemoryStore>,
    deed: Mutex<Option<Deed>>,
    lists_at_once: bool,
}

impl LockStore for Before {
    fn create_lock(&self, key: &str, body: Bytes) -> std::result::Result<(), StoreError> {
        let deed = self.deed.lock().unwrap().take();
        if let Some(deed) = deed {
            deed();
        }
        self.store.create_lock(key, body)
    }
    fn remove_lock(&self, key: &str) -> std::result::Result<(), StoreError> {
        self.store.remove_lock(key)
    }
    fn lists_at_once(&self) -> bool {
        self.lists_at_once
    }
}

/// A vault whose index is loaded, and where this is done just before its first lock appears.
fn vault_after(store: &Arc<MemoryStore>, lists_at_once: bool, deed: Deed) -> Vault {
    let deed = Mutex::new(Some(deed));
    let locks = Arc::new(Before { store: store.clone(), deed, lists_at_once });
    let vault = open_on(store.clone(), locks, environment(store.clock().clone())).unwrap();
    vault.load_index().unwrap();
    vault
}

/// Everything that nothing needs goes at once.
fn all_at_once() -> PruneOptions {
    PruneOptions {
        max_unused: MaxUnused::Bytes(0),
        grace: Duration::ZERO,
        ..PruneOptions::default()
    }
}

fn folder_of(seed: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..4 {
        std::fs::write(folder.path().join(format!("f{number}")), noise(seed + number, 60_000))
            .unwrap();
    }
    folder
}

/// A vault with the data of a folder that no snapshot needs any more, and the folder.
fn forgotten() -> (Arc<MemoryStore>, tempfile::TempDir) {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (goes, stays) = (folder_of(100), folder_of(200));
    let id = backup(&vault, goes.path(), None).0.snapshot;
    backup(&vault, stays.path(), None);
    vault.maintain(store.clone()).unwrap().forget(&[id], &[]).unwrap();
    (store, goes)
}

/// Takes the exclusive lock; what comes of it lies where it is told.
fn taken(store: &Arc<MemoryStore>, held: &Arc<Mutex<Option<Maintenance>>>) -> Deed {
    let (store, held) = (store.clone(), held.clone());
    Box::new(move || {
        let hands = open(&store).unwrap().maintain(store.clone()).unwrap();
        *held.lock().unwrap() = Some(hands);
    })
}

/// A whole pruning, its lock included.
fn pruned(store: &Arc<MemoryStore>) -> Deed {
    let store = store.clone();
    Box::new(move || {
        let hands = open(&store).unwrap().maintain(store.clone()).unwrap();
        assert!(hands.prune(&all_at_once()).unwrap().deleted.packs > 0);
    })
}

fn back_up(vault: &Vault, source: &Path) -> Result<()> {
    let mut session = vault.backup(BackupOptions::default())?;
    session.add_paths(&walk(source))?;
    session.finish(meta(source)).map(drop)
}

#[track_caller]
fn passes(store: &Arc<MemoryStore>) {
    let report = open(store).unwrap().check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(store);
}

/// Whoever made his lock between our two looks is seen by the second one, waited for or not.
#[test]
fn the_second_look_sees_who_came_in_between() {
    for (lists_at_once, exclusive) in [(true, true), (true, false), (false, true), (false, false)] {
        let store = Arc::new(MemoryStore::default());
        init(&store);
        let late = Arc::new(store.image());
        let theirs = match exclusive {
            true => open(&late).unwrap().lock_for_writing().unwrap(),
            false => open(&late).unwrap().lock_exclusively().unwrap(),
        };
        let (key, to) = (theirs.key().unwrap(), store.clone());
        let body = late.get(&key).unwrap();
        let plant = Box::new(move || to.create_lock(&key, body).unwrap());
        let vault = vault_after(&store, lists_at_once, plant);
        let ours = if exclusive { vault.lock_exclusively() } else { vault.lock_for_writing() };
        assert!(matches!(ours, Err(Error::Locked(_))), "{ours:?}");
        assert_eq!(store.keys("locks"), [theirs.key().unwrap()], "ours is gone");
    }
}

/// A pruning that holds its lock when ours appears, and has ended when we write: nothing was read.
#[test]
fn what_came_and_went_before_the_second_look_is_read_by_nobody() {
    for lists_at_once in [true, false] {
        let (store, goes) = forgotten();
        let held = Arc::default();
        let vault = vault_after(&store, lists_at_once, taken(&store, &held));
        let session = vault.backup(BackupOptions::default());
        let hands = held.lock().unwrap().take().expect("the lock was taken");
        let refused = matches!(session, Err(Error::Locked(_)));
        // One that began all the same, and that the pruning does not see, would end like this.
        let report = hands.prune(&all_at_once());
        drop(hands);
        let ended = session.and_then(|mut session| {
            session.add_paths(&walk(goes.path()))?;
            session.finish(meta(goes.path()))
        });
        assert!(ended.is_err());
        passes(&store);
        assert!(refused, "a backup began beside an exclusive lock");
        assert!(report.unwrap().deleted.packs > 0);
        back_up(&vault, goes.path()).unwrap();
        passes(&store);
        assert!(store.keys("locks").is_empty());
    }
}

/// A whole pruning before our lock appears: what it removed is stored again.
#[test]
fn what_was_pruned_before_our_lock_appeared_is_stored_again() {
    for lists_at_once in [true, false] {
        let (store, goes) = forgotten();
        let vault = vault_after(&store, lists_at_once, pruned(&store));
        back_up(&vault, goes.path()).unwrap();
        passes(&store);
    }
}

/// The same of a copy, into the vault and out of it.
#[test]
fn a_copy_reads_nothing_before_its_locks_count() {
    let elsewhere = |source: &Path| {
        let store = Arc::new(MemoryStore::default());
        backup(&init(&store), source, None);
        store
    };
    let copy = |from: &Vault, to: &Vault| from.copy_to(to, CopyOptions::default())?.finish();
    for lists_at_once in [true, false] {
        let (store, goes) = forgotten();
        let other = open(&elsewhere(goes.path())).unwrap();
        let held = Arc::default();
        let into = vault_after(&store, lists_at_once, taken(&store, &held));
        let session = other.copy_to(&into, CopyOptions::default());
        let hands = held.lock().unwrap().take().expect("the lock was taken");
        let refused = matches!(session, Err(Error::Locked(_)));
        let report = hands.prune(&all_at_once());
        drop(hands);
        assert!(session.and_then(lifeboat_vault::CopySession::finish).is_err());
        passes(&store);
        assert!(refused, "a copy began beside an exclusive lock");
        assert!(report.unwrap().deleted.packs > 0);

        let (store, goes) = forgotten();
        let into = vault_after(&store, lists_at_once, pruned(&store));
        let other = open(&elsewhere(goes.path())).unwrap();
        assert_eq!(copy(&other, &into).unwrap().copied.len(), 1);
        passes(&store);

        let from = vault_after(&store, lists_at_once, taken(&store, &held));
        let empty = Arc::new(MemoryStore::default());
        let refused = copy(&from, &init(&empty));
        assert!(matches!(refused, Err(Error::Locked(_))), "{refused:?}");
        assert!(empty.keys("snapshots").is_empty());
    }
}

/// Whoever reads is sure of it too: a check and a restore do not begin beside an exclusive lock.
#[test]
fn a_reader_does_not_begin_beside_an_exclusive_lock() {
    let (store, _) = forgotten();
    let held = Arc::default();
    let vault = vault_after(&store, true, taken(&store, &held));
    assert!(matches!(vault.check(&CheckOptions::default()), Err(Error::Locked(_))));
}

/// A lock that appears beside an exclusive one, as where a listing is later than anybody waits.
#[test]
fn nothing_is_removed_once_another_lock_is_seen() {
    let (store, _) = forgotten();
    let vault = open(&store).unwrap();
    let ids: Vec<_> = vault.snapshots().unwrap().into_iter().map(|(id, _)| id).collect();
    let late = Arc::new(store.image());
    let theirs = open(&late).unwrap().lock_for_writing().unwrap();
    let key = theirs.key().unwrap();
    // So that a repair has something to mend and a forgetting leaves something.
    backup(&vault, folder_of(300).path(), None);
    store.tamper(&store.keys("index")[0], |_| None);
    let hands = vault.maintain(store.clone()).unwrap();
    store.create_lock(&key, late.get(&key).unwrap()).unwrap();
    let before = store.keys("");
    let tries: [Result<()>; 3] = [
        hands.forget(&ids, &[]),
        hands.prune(&all_at_once()).map(drop),
        hands.repair_index(&RepairOptions::default()).map(drop),
    ];
    for refused in tries {
        assert!(matches!(refused, Err(Error::Locked(_))), "{refused:?}");
    }
    assert_eq!(store.keys(""), before);
    store.remove_lock(&key).unwrap();
    hands.repair_index(&RepairOptions::default()).unwrap();
    hands.forget(&ids, &[]).unwrap();
    hands.prune(&all_at_once()).unwrap();
    drop((hands, theirs));
    passes(&store);
}

/// A lock that somebody took away a moment ago: he may have pruned since.
#[test]
fn no_snapshot_is_written_without_our_lock_in_the_store() {
    let (store, goes) = forgotten();
    let unlock = |store: &MemoryStore| {
        store.keys("locks").iter().for_each(|key| store.tamper(key, |_| None));
    };
    let before = store.keys("snapshots");
    let mut session = open(&store).unwrap().backup(BackupOptions::default()).unwrap();
    session.add_paths(&walk(goes.path())).unwrap();
    unlock(&store);
    let ended = session.finish(meta(goes.path()));
    assert!(matches!(ended, Err(Error::LockLost { .. })), "{ended:?}");
    assert_eq!(store.keys("snapshots"), before);

    let destination = Arc::new(MemoryStore::default());
    let to = init(&destination);
    for side in [&store, &destination] {
        let session = open(&store).unwrap().copy_to(&to, CopyOptions::default()).unwrap();
        unlock(side);
        let ended = session.finish();
        assert!(matches!(ended, Err(Error::LockLost { .. })), "{ended:?}");
        assert!(destination.keys("snapshots").is_empty());
    }
}
