//! The duties of the store traits as tests. Every implementation runs them, the fakes too: only a
//! fake that passes may stand in for a real store.
//!
//! Each function takes a maker of fresh, empty stores and panics at the first broken duty.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use lifeboat_vault::{DeleteStore, LockStore, Store, StoreError, StoreErrorKind};

/// The duties of [`Store`].
pub fn store(make: impl Fn() -> Arc<dyn Store>) {
    reads_what_was_created(&*make());
    ranges_are_exact(&*make());
    missing_objects(&*make());
    create_never_changes(&*make());
    one_creator_wins(&*make());
    listing(&*make());
    bad_keys(&*make());
    assert!(!make().describe().is_empty(), "a store says where it is");
}

/// The duties of [`DeleteStore`].
pub fn delete(make: impl Fn() -> (Arc<dyn Store>, Arc<dyn DeleteStore>)) {
    let (store, deleter) = make();
    put(&*store, "data/aa/one", b"1");
    put(&*store, "data/aa/two", b"2");
    deleter.delete("data/aa/one").unwrap_or_else(|error| panic!("delete: {error:?}"));
    expect(store.get("data/aa/one"), StoreErrorKind::NotFound, "get after delete");
    expect(deleter.delete("data/aa/one"), StoreErrorKind::NotFound, "delete twice");
    assert_eq!(keys(&*store, ""), ["data/aa/two"]);
    put(&*store, "data/aa/one", b"again");
    assert_eq!(&got(&*store, "data/aa/one")[..], b"again");
    assert!(deleter.delete("data/../config").is_err(), "delete outside the root");
}

/// The duties of [`LockStore`].
pub fn lock(make: impl Fn() -> (Arc<dyn Store>, Arc<dyn LockStore>)) {
    let (store, locks) = make();
    put(&*store, "data/aa/one", b"1");
    locks.create_lock("locks/abc", Bytes::from_static(b"lock")).expect("create a lock");
    assert_eq!(&got(&*store, "locks/abc")[..], b"lock");
    assert_eq!(keys(&*store, "locks"), ["locks/abc"]);
    let again = locks.create_lock("locks/abc", Bytes::from_static(b"other"));
    expect(again, StoreErrorKind::Exists, "create a lock twice");
    assert_eq!(&got(&*store, "locks/abc")[..], b"lock");
    for key in ["data/aa/two", "config", "lock/abc", "locksabc", "locks", "locks/../config", ""] {
        let made = locks.create_lock(key, Bytes::from_static(b"x"));
        assert!(made.is_err(), "a lock at {key:?} must be refused");
    }
    for key in ["data/aa/one", "locks/../data/aa/one", "locks/", "locks"] {
        assert!(locks.remove_lock(key).is_err(), "removing {key:?} as a lock must be refused");
    }
    assert_eq!(keys(&*store, ""), ["data/aa/one", "locks/abc"]);
    locks.remove_lock("locks/abc").expect("remove a lock");
    expect(locks.remove_lock("locks/abc"), StoreErrorKind::NotFound, "remove a lock twice");
    assert!(keys(&*store, "locks").is_empty());
}

fn put(store: &dyn Store, key: &str, body: &[u8]) {
    let parts = [Bytes::copy_from_slice(body)];
    store.create(key, &parts).unwrap_or_else(|error| panic!("create {key}: {error:?}"));
}

fn got(store: &dyn Store, key: &str) -> Bytes {
    store.get(key).unwrap_or_else(|error| panic!("get {key}: {error:?}"))
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let list = store.list(prefix).unwrap_or_else(|error| panic!("list {prefix}: {error:?}"));
    list.into_iter().map(|entry| entry.key).collect()
}

#[track_caller]
fn expect<T>(result: Result<T, StoreError>, kind: StoreErrorKind, what: &str) {
    match result {
        Ok(_) => panic!("{what}: succeeded, expected {kind:?}"),
        Err(error) => assert_eq!(error.kind, kind, "{what}: {error:?}"),
    }
}

fn reads_what_was_created(store: &dyn Store) {
    let parts = ["ab", "", "cde"].map(Bytes::from);
    store.create("config", &parts).expect("create in parts");
    assert_eq!(&got(store, "config")[..], b"abcde");
    store.create("index/empty", &[]).expect("create an empty object");
    assert!(got(store, "index/empty").is_empty());
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    put(store, "data/ff/large", &large);
    assert_eq!(got(store, "data/ff/large"), large);
    let entry = store.stat("data/ff/large").expect("stat");
    assert_eq!((entry.key.as_str(), entry.size), ("data/ff/large", large.len() as u64));
}

fn ranges_are_exact(store: &dyn Store) {
    put(store, "data/00/x", b"0123456789");
    let range = |offset, len| store.get_range("data/00/x", offset, len);
    for (offset, len) in [(0, 10), (0, 1), (3, 4), (9, 1), (0, 0), (10, 0)] {
        let found = range(offset, len).unwrap_or_else(|error| panic!("{offset}+{len}: {error:?}"));
        let end = (offset + len) as usize;
        assert_eq!(found[..], b"0123456789"[offset as usize..end], "{offset}+{len}");
    }
    for (offset, len) in [(0, 11), (9, 2), (10, 1), (11, 1), (u64::MAX, 2), (5, u64::MAX)] {
        expect(range(offset, len), StoreErrorKind::Short, &format!("range {offset}+{len}"));
    }
}

fn missing_objects(store: &dyn Store) {
    put(store, "data/00/x", b"x");
    for key in ["data/00/y", "data/01/x", "config", "keys/none"] {
        expect(store.get(key), StoreErrorKind::NotFound, &format!("get {key}"));
        expect(store.get_range(key, 0, 1), StoreErrorKind::NotFound, &format!("range of {key}"));
        expect(store.stat(key), StoreErrorKind::NotFound, &format!("stat {key}"));
    }
    assert!(store.get("data/00").is_err(), "a folder is not an object");
    assert!(store.stat("data/00").is_err(), "a folder is not an object");
}

fn create_never_changes(store: &dyn Store) {
    put(store, "snapshots/s", b"first");
    let again = store.create("snapshots/s", &[Bytes::from_static(b"second")]);
    expect(again, StoreErrorKind::Exists, "create over an object");
    let same = store.create("snapshots/s", &[Bytes::from_static(b"first")]);
    expect(same, StoreErrorKind::Exists, "create over an equal object");
    assert_eq!(&got(store, "snapshots/s")[..], b"first");
    assert_eq!(keys(store, ""), ["snapshots/s"], "no rest of the refused write is listed");
}

fn one_creator_wins(store: &dyn Store) {
    const CREATORS: usize = 8;
    for round in 0..10 {
        let key = format!("data/cc/{round}");
        let winners = AtomicUsize::new(0);
        let barrier = std::sync::Barrier::new(CREATORS);
        let winner = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CREATORS)
                .map(|creator| {
                    let (key, winners, barrier) = (&key, &winners, &barrier);
                    scope.spawn(move || {
                        let body = vec![creator as u8; 100_000];
                        barrier.wait();
                        match store.create(key, &[body.into()]) {
                            Ok(()) => {
                                winners.fetch_add(1, Ordering::SeqCst);
                                Some(creator as u8)
                            }
                            Err(error) => {
                                assert_eq!(error.kind, StoreErrorKind::Exists, "{error:?}");
                                None
                            }
                        }
                    })
                })
                .collect();
            let results = threads.into_iter().filter_map(|thread| thread.join().expect("creator"));
            results.last()
        });
        assert_eq!(winners.load(Ordering::SeqCst), 1, "exactly one of {CREATORS} creators wins");
        let body = got(store, &key);
        assert!(body.len() == 100_000 && body.iter().all(|byte| Some(*byte) == winner));
    }
}

fn listing(store: &dyn Store) {
    assert!(keys(store, "").is_empty(), "an empty store lists nothing");
    assert!(keys(store, "snapshots").is_empty(), "a missing folder lists nothing");
    let mut all: Vec<String> = (0..300u32)
        .map(|n| format!("data/{:02x}/{n:04}", n % 7))
        .chain(["config", "data2/x", "keys/k", "index/i-0", "index/i", "index/i.1"].map(Into::into))
        .collect();
    for key in all.iter().rev() {
        put(store, key, key.as_bytes());
    }
    all.sort();
    assert_eq!(keys(store, ""), all, "everything, in key order");
    let data: Vec<String> = all.iter().filter(|key| key.starts_with("data/")).cloned().collect();
    assert_eq!(keys(store, "data"), data, "a prefix is a folder, not the start of a name");
    assert_eq!(keys(store, "data/03").len(), 43);
    assert!(keys(store, "dat").is_empty());
    for entry in store.list("").expect("list") {
        assert_eq!(entry.size, entry.key.len() as u64, "size of {}", entry.key);
        assert_eq!(store.stat(&entry.key).expect("stat"), entry, "list and stat agree");
    }
}

fn bad_keys(store: &dyn Store) {
    for key in ["", "/etc/passwd", "../x", "data/../../x", "data//x", "data/", "data/./x"] {
        assert!(store.create(key, &[Bytes::from_static(b"x")]).is_err(), "create {key:?}");
        assert!(store.get(key).is_err(), "get {key:?}");
        assert!(store.get_range(key, 0, 0).is_err(), "range of {key:?}");
    }
    assert!(keys(store, "").is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CrashStore, FaultyStore, MemoryStore};

    fn run_all<S: Store + DeleteStore + LockStore + 'static>(make: impl Fn() -> S) {
        store(|| Arc::new(make()));
        delete(|| {
            let store = Arc::new(make());
            (store.clone(), store)
        });
        lock(|| {
            let store = Arc::new(make());
            (store.clone(), store)
        });
    }

    #[test]
    fn memory_store_keeps_the_contract() {
        run_all(MemoryStore::default);
    }

    #[test]
    fn faulty_store_without_faults_keeps_the_contract() {
        run_all(|| FaultyStore::new(MemoryStore::default()));
    }

    #[test]
    fn crash_store_that_does_not_crash_keeps_the_contract() {
        run_all(|| CrashStore::recording(MemoryStore::default()));
    }

    /// The suite can fail: a store that answers short reads is caught.
    #[test]
    #[should_panic(expected = "0+10")]
    fn a_lying_store_breaks_the_contract() {
        store(|| {
            let store = FaultyStore::new(MemoryStore::default());
            store.truncate_reads();
            Arc::new(store)
        });
    }

    #[test]
    #[should_panic(expected = "exactly one")]
    fn a_store_with_two_winners_breaks_the_contract() {
        struct Careless(MemoryStore);
        impl Store for Careless {
            fn get(&self, key: &str) -> Result<Bytes, StoreError> {
                self.0.get(key)
            }
            fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
                self.0.get_range(key, offset, len)
            }
            fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
                match self.0.create(key, parts) {
                    Err(_) if key.starts_with("data/cc") => Ok(()),
                    result => result,
                }
            }
            fn list(&self, prefix: &str) -> Result<Vec<lifeboat_vault::Entry>, StoreError> {
                self.0.list(prefix)
            }
            fn stat(&self, key: &str) -> Result<lifeboat_vault::Entry, StoreError> {
                self.0.stat(key)
            }
            fn describe(&self) -> String {
                self.0.describe()
            }
        }
        store(|| Arc::new(Careless(MemoryStore::default())));
    }
}
