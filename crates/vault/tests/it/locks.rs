//! Locks: ours, restic's, and those of the dead.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb, environment};
use lifeboat_vault::{
    Clock, Environment, Error, Id, LockGuard, Result, Store, StoreErrorKind, Vault,
};

use crate::support::{init, key_of, noting, open, open_at_once, open_on, restic, restic_ok};

/// A process id that certainly belongs to nobody: a child that has ended and was waited for.
fn dead_pid() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

fn vault_of(store: &Arc<MemoryStore>, change: impl FnOnce(&mut Environment)) -> Vault {
    let mut environment = environment(store.clock().clone());
    change(&mut environment);
    open_on(store.clone(), store.clone(), environment).unwrap()
}

fn vault(store: &Arc<MemoryStore>) -> Vault {
    open(store).unwrap()
}

fn vault_at_once(store: &Arc<MemoryStore>) -> Vault {
    open_at_once(store).unwrap()
}

/// Ways to open a vault whose locks wait a moment, and whose locks look again at once.
const OPENINGS: [fn(&Arc<MemoryStore>) -> Vault; 2] = [vault, vault_at_once];

/// Where a listing is never older than what was made, nobody waits; elsewhere they do.
#[test]
fn only_a_store_that_may_list_late_is_waited_for() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let waited = |opening: fn(&Arc<MemoryStore>) -> Vault| {
        let before = store.clock().monotonic();
        let vault = opening(&store);
        drop(vault.lock_for_writing().unwrap());
        drop(vault.lock_exclusively().unwrap());
        store.clock().monotonic() - before
    };
    assert_eq!(waited(vault_at_once), Duration::ZERO);
    assert_eq!(waited(vault), Duration::from_millis(400));
}

#[test]
fn shared_locks_go_together_and_exclusive_ones_do_not() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let first = vault(&store).lock_for_writing().unwrap();
    let second = vault(&store).lock_for_reading().unwrap();
    assert_eq!(store.keys("locks").len(), 2);
    let refused = vault(&store).lock_exclusively().unwrap_err();
    let Error::Locked(by) = &refused else { panic!("{refused}") };
    assert_eq!((by.host.as_str(), by.user.as_str()), ("testhost", "tester"));
    assert_eq!((by.pid, by.exclusive), (std::process::id(), false));
    let text = refused.to_string();
    for part in ["testhost", "tester", &by.pid.to_string(), "2026-01-02T03:04:05"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(store.keys("locks").len(), 2, "a refused lock leaves nothing");
    drop((first, second));
    assert!(store.keys("locks").is_empty());
    let exclusive = vault(&store).lock_exclusively().unwrap();
    assert!(matches!(vault(&store).lock_for_reading(), Err(Error::Locked(_))));
    drop(exclusive);
    vault(&store).lock_for_reading().unwrap();
}

#[test]
fn restic_sees_our_locks_and_we_see_its() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let exclusive = vault(&store).lock_exclusively().unwrap();
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let key = store.keys("locks").pop().unwrap();
    let id = key.strip_prefix("locks/").unwrap();
    let shown = restic_ok(folder.path(), &["cat", "lock", id, "--no-lock"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["exclusive"], true);
    assert_eq!(shown["hostname"], "testhost");
    assert_eq!(shown["pid"], std::process::id());
    drop(exclusive);
}

/// A conflict in restic's own eyes: with the real time in our lock restic refuses to prune.
#[test]
fn restic_respects_our_fresh_lock() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let now = std::fs::metadata(tempfile::NamedTempFile::new().unwrap().path()).unwrap();
    let now = jiff::Timestamp::try_from(now.modified().unwrap()).unwrap();
    let clock = Arc::new(lifeboat_testkit::SimClock::at(now));
    let vault = open_on(store.clone(), store.clone(), environment(clock)).unwrap();
    let _shared = vault.lock_for_writing().unwrap();
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let output = restic(folder.path(), &["prune"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("already locked"), "{text}");
    assert!(text.contains("testhost") && text.contains("tester"), "{text}");
}

#[test]
fn a_lock_of_a_dead_process_or_an_old_one_is_removed() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let living = store.image();
    let dead = dead_pid();
    let left = vault_of(&store, |environment| environment.pid = dead).lock_exclusively().unwrap();
    let image = Arc::new(store.image());
    drop(left);
    let (environment, notes) = noting(&image);
    let vault = open_on(image.clone(), image.clone(), environment).unwrap();
    let ours = vault.lock_exclusively().unwrap();
    assert!(notes.all().contains("its process is gone"), "{}", notes.all());
    drop(ours);
    assert!(image.keys("locks").is_empty());

    // The same process id on another host says nothing; age does.
    let store = Arc::new(living);
    let elsewhere = |environment: &mut Environment| {
        environment.host = "elsewhere".into();
        environment.pid = dead;
    };
    let left = vault_of(&store, elsewhere).lock_exclusively().unwrap();
    let image = Arc::new(store.image());
    drop(left);
    assert!(matches!(vault_of(&image, |_| {}).lock_for_reading(), Err(Error::Locked(_))));
    image.clock().advance(Duration::from_secs(30 * 60 + 1));
    vault_of(&image, |_| {}).lock_exclusively().unwrap();
    assert!(image.keys("locks").is_empty());
}

/// Clocks jump; a process of this host that lives holds what it holds.
#[test]
fn a_living_process_keeps_its_lock_whatever_the_clock_says() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    // A neighbour: a process that lives, and that does not renew anything by our clock.
    let mut neighbour = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = neighbour.id();
    let left = vault_of(&store, |environment| environment.pid = pid).lock_exclusively().unwrap();
    let image = Arc::new(store.image());
    drop(left);
    image.clock().advance(Duration::from_secs(48 * 3600));
    let refused = vault_of(&image, |_| {}).lock_for_reading();
    let Err(Error::Locked(by)) = refused else { panic!("taken from a living process") };
    assert_eq!(by.pid, pid);
    image.clock().step_wall(jiff::SignedDuration::from_hours(-96));
    assert!(matches!(vault_of(&image, |_| {}).lock_exclusively(), Err(Error::Locked(_))));
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
    vault_of(&image, |_| {}).lock_exclusively().unwrap();
    assert!(image.keys("locks").is_empty());
}

/// An exclusive lock as restic makes it: it says nothing of its process but the number.
fn plant_of_restic(store: &MemoryStore, host: &str, pid: u32) -> String {
    let json = serde_json::json!({
        "time": store.clock().wall().to_string(),
        "exclusive": true,
        "hostname": host,
        "username": "root",
        "pid": pid,
    });
    let vault = open_on_image(store);
    let sealed = key_of(&vault.seed().unwrap()).seal(json.to_string().as_bytes()).unwrap();
    let key = format!("locks/{}", Id::of(&sealed));
    store.plant(&key, sealed);
    key
}

fn open_on_image(store: &MemoryStore) -> Vault {
    let image = Arc::new(store.image());
    open(&image).unwrap()
}

/// A process that lives under this name, and does nothing.
fn process_called(name: &Path) -> Child {
    std::os::unix::fs::symlink("/bin/sleep", name).unwrap();
    // Some systems have one program for many names.
    Command::new(name).arg0("sleep").arg("600").spawn().unwrap()
}

/// A restic that is halted, or asleep with its machine, renews nothing: it lives all the same.
#[test]
fn a_living_restic_keeps_its_lock_whatever_the_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    for (name, lives) in [("restic", true), ("restic_0.18.1_linux_amd64", true), ("another", false)]
    {
        let store = Arc::new(MemoryStore::default());
        init(&store);
        let mut process = process_called(&folder.path().join(name));
        let key = plant_of_restic(&store, "testhost", process.id());
        store.clock().advance(Duration::from_secs(29 * 60));
        assert!(matches!(vault(&store).lock_for_writing(), Err(Error::Locked(_))), "{name}");
        store.clock().advance(Duration::from_secs(48 * 3600));
        let taken = vault(&store).lock_for_writing();
        // Of a number that any process may have by now only the age tells.
        assert_eq!(matches!(taken, Err(Error::Locked(_))), lives, "{name}: {taken:?}");
        assert_eq!(store.keys("locks").contains(&key), lives, "{name}");
        drop(taken);
        process.kill().unwrap();
        process.wait().unwrap();
        drop(vault(&store).lock_exclusively().unwrap());
        assert!(store.keys("locks").is_empty());
    }
}

/// Our clock alone takes nobody's lock: the store's own times must say so too.
#[test]
fn a_clock_that_is_ahead_takes_no_lock() {
    for readable in [true, false] {
        let store = Arc::new(MemoryStore::default());
        init(&store);
        let key = match readable {
            true => plant_of_restic(&store, "elsewhere", 1),
            false => {
                let key = format!("locks/{}", "ab".repeat(32));
                store.plant(&key, "not sealed by this key");
                key
            }
        };
        let ahead = store.clock().wall() + jiff::SignedDuration::from_hours(7);
        let ahead = Arc::new(lifeboat_testkit::SimClock::at(ahead));
        let vault = open_on(store.clone(), store.clone(), environment(ahead.clone())).unwrap();
        let refused = |taken: Result<LockGuard>| match readable {
            true => matches!(taken, Err(Error::Locked(_))),
            false => matches!(taken, Err(Error::UnreadableLock { .. })),
        };
        store.clock().advance(Duration::from_secs(29 * 60));
        assert!(refused(vault.lock_for_writing()) && refused(vault.lock_exclusively()));
        assert_eq!(store.keys("locks"), [key]);
        store.clock().advance(Duration::from_secs(2 * 60));
        drop(vault.lock_exclusively().unwrap());
        assert!(store.keys("locks").is_empty());
    }
}

#[test]
fn a_lock_that_cannot_be_read_is_respected_until_it_is_old() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let foreign = format!("locks/{}", "ab".repeat(32));
    store.plant(&foreign, "not sealed by this key");
    let refused = vault(&store).lock_for_reading().unwrap_err();
    assert!(matches!(&refused, Error::UnreadableLock { key, .. } if *key == foreign), "{refused}");
    assert!(store.keys("locks").contains(&foreign));
    store.clock().advance(Duration::from_secs(31 * 60));
    drop(vault(&store).lock_for_reading().unwrap());
    assert!(store.keys("locks").is_empty());
    // What an interrupted upload leaves in some stores is no lock.
    store.plant(&foreign, "");
    drop(vault(&store).lock_for_reading().unwrap());
}

/// The two see each other only when both have made their lock: at least one gives up.
#[test]
fn of_two_exclusive_locks_at_once_at_most_one_is_held() {
    OPENINGS.into_iter().for_each(at_most_one_of_four);
}

fn at_most_one_of_four(opening: fn(&Arc<MemoryStore>) -> Vault) {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let vaults: Vec<Vault> = (0..4).map(|_| opening(&store)).collect();
    for _ in 0..50 {
        let barrier = std::sync::Barrier::new(4);
        let held: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = vaults
                .iter()
                .map(|vault| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        let lock = vault.lock_exclusively();
                        barrier.wait();
                        usize::from(lock.is_ok())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(held <= 1, "{held} exclusive locks at once");
        assert!(store.keys("locks").is_empty());
    }
}

/// A shared lock is sure once it is held: then no exclusive one is held beside it.
#[test]
fn a_shared_lock_and_an_exclusive_one_are_never_held_together() {
    OPENINGS.into_iter().for_each(never_one_of_each);
}

fn never_one_of_each(opening: fn(&Arc<MemoryStore>) -> Vault) {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let vaults: Vec<Vault> = (0..4).map(|_| opening(&store)).collect();
    let mut seen = [0, 0];
    for _ in 0..50 {
        let barrier = std::sync::Barrier::new(4);
        let held = std::sync::Mutex::new([0, 0]);
        std::thread::scope(|scope| {
            for (number, vault) in vaults.iter().enumerate() {
                let (barrier, held) = (&barrier, &held);
                scope.spawn(move || {
                    barrier.wait();
                    let lock = match number % 2 {
                        0 => vault.lock_exclusively(),
                        _ => vault.lock_for_writing(),
                    };
                    held.lock().unwrap()[number % 2] += usize::from(lock.is_ok());
                    barrier.wait();
                });
            }
        });
        let [exclusive, shared] = held.into_inner().unwrap();
        assert!(exclusive == 0 || shared == 0, "{exclusive} exclusive beside {shared} shared");
        seen = [seen[0] + exclusive, seen[1] + shared];
    }
    assert!(seen[0] + seen[1] > 0);
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    for _ in 0..200 {
        if done() {
            return;
        }
        // A real wait: the refresher looks at the clock twice a second.
        let _ = receiver.recv_timeout(Duration::from_millis(50));
    }
    drop(sender);
    panic!("waited in vain until {what}");
}

#[test]
fn a_lock_is_renewed_every_five_minutes() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let lock = vault(&store).lock_for_writing().unwrap();
    let first = lock.key().unwrap();
    for _ in 0..3 {
        let before = lock.key().unwrap();
        store.clock().advance(Duration::from_secs(301));
        wait_until("the lock is renewed", || lock.key().unwrap() != before);
        assert_eq!(store.keys("locks"), [lock.key().unwrap()]);
        lock.verify().unwrap();
    }
    assert_ne!(lock.key().unwrap(), first);
    drop(lock);
    assert!(store.keys("locks").is_empty());
}

#[test]
fn a_lock_that_somebody_removed_is_lost() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let lock = vault(&store).lock_for_writing().unwrap();
    lock.verify().unwrap();
    store.tamper(&lock.key().unwrap(), |_| None);
    store.clock().advance(Duration::from_secs(301));
    wait_until("the loss is noticed", || matches!(lock.verify(), Err(Error::LockLost { .. })));
    drop(lock);
    assert!(store.keys("locks").is_empty());
}

#[test]
fn a_lock_that_cannot_be_renewed_is_lost_before_it_is_stale() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let inner = store.inner();
    let clock = inner.clock().clone();
    let env = environment(clock.clone());
    Vault::init(
        store.clone(),
        store.clone(),
        &crate::support::password(),
        lifeboat_vault::KeyStrength::Generated,
        env.clone(),
        None,
    )
    .unwrap();
    let lock = open_on(store.clone(), store.clone(), env).unwrap().lock_for_writing().unwrap();
    store.arm(Fault::always(Verb::CreateLock, "", StoreErrorKind::Unreachable));
    clock.advance(Duration::from_secs(20 * 60));
    lock.verify().unwrap();
    clock.advance(Duration::from_secs(3 * 60));
    assert!(matches!(lock.verify(), Err(Error::LockLost { .. })));
    store.disarm();
    wait_until("the lock is renewed after all", || lock.verify().is_ok());
}

#[test]
fn a_store_that_does_not_list_gives_no_lock() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let env = environment(store.inner().clock().clone());
    let strength = lifeboat_vault::KeyStrength::Generated;
    let password = crate::support::password();
    let vault = Vault::init(store.clone(), store.clone(), &password, strength, env, None).unwrap();
    store.arm(Fault::always(Verb::List, "locks", StoreErrorKind::Unreachable));
    assert!(matches!(vault.lock_for_writing(), Err(Error::Store(_))));
    store.disarm();
    // The second look fails: our own lock goes away again.
    store.arm(Fault::nth(Verb::List, 2, StoreErrorKind::Unreachable));
    assert!(matches!(vault.lock_exclusively(), Err(Error::Store(_))));
    assert!(store.list("locks").unwrap().is_empty());
    store.arm(Fault::nth(Verb::List, 2, StoreErrorKind::Unreachable));
    assert!(matches!(vault.lock_for_writing(), Err(Error::Store(_))));
    assert!(store.list("locks").unwrap().is_empty());
}
