//! The local tier on real folders: refusals of the system, a vanished root, a killed upload.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use lifeboat_adapters::SystemClock;
use lifeboat_adapters::store::{LocalPlace, LocalTier, Prefixed, is_writable};
use lifeboat_recovery::ports::{Place, Presence};
use lifeboat_testkit::contract;
use lifeboat_vault::{DeleteStore, LockStore, Store, StoreErrorKind};
use tempfile::TempDir;

use crate::mounted::Mounted;
use crate::nobody;

fn tier() -> (TempDir, Arc<LocalTier>) {
    let folder = TempDir::new().unwrap();
    let tier = LocalTier::create(&folder.path().join("tier")).unwrap();
    (folder, Arc::new(tier))
}

fn put(store: &dyn Store, key: &str, body: &'static [u8]) {
    store.create(key, &[Bytes::from_static(body)]).unwrap();
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().into_iter().map(|e| e.key).collect()
}

#[test]
fn a_local_tier_does_the_duties_of_a_store() {
    let guards = std::cell::RefCell::new(Vec::new());
    let make = || {
        let (guard, tier) = tier();
        guards.borrow_mut().push(guard);
        tier
    };
    contract::store(|| make());
    contract::delete(|| {
        let tier = make();
        (tier.clone(), Arc::new(tier.deleter()))
    });
    contract::lock(|| {
        let tier = make();
        (tier.clone(), Arc::new(tier.locks("")))
    });
    // The part that the vault gets.
    contract::store(|| Arc::new(Prefixed::new(make(), "vault")));
    contract::lock(|| {
        let tier = make();
        (Arc::new(Prefixed::new(tier.clone(), "vault")), Arc::new(tier.locks("vault")))
    });
}

#[test]
fn objects_and_folders_are_closed_to_others() {
    let (_guard, tier) = tier();
    put(&*tier, "vault/data/ab/abcd", b"x");
    for (path, mode) in
        [("", 0o700), ("vault", 0o700), ("vault/data/ab", 0o700), ("vault/data/ab/abcd", 0o600)]
    {
        let found = fs::metadata(tier.root().join(path)).unwrap().mode() & 0o7777;
        assert_eq!(found, mode, "{path:?}: {found:o}");
    }
}

#[test]
fn ranges_are_exact_and_a_short_object_is_an_error() {
    let (_guard, tier) = tier();
    tier.create("a", &[Bytes::from_static(b"0123"), Bytes::from_static(b"456789")]).unwrap();
    assert_eq!(&tier.get("a").unwrap()[..], b"0123456789");
    assert_eq!(&tier.get_range("a", 3, 4).unwrap()[..], b"3456");
    assert_eq!(&tier.get_range("a", 10, 0).unwrap()[..], b"");
    for (offset, len) in [(8, 3), (11, 0), (u64::MAX, 2), (0, 11)] {
        let kind = tier.get_range("a", offset, len).unwrap_err().kind;
        assert_eq!(kind, StoreErrorKind::Short, "{offset} {len}");
    }
}

#[test]
fn an_existing_object_is_never_changed() {
    let (_guard, tier) = tier();
    put(&*tier, "data/a", b"first");
    let error = tier.create("data/a", &[Bytes::from_static(b"second")]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Exists);
    assert_eq!(&tier.get("data/a").unwrap()[..], b"first");
    // The refused upload left nothing behind.
    assert_eq!(fs::read_dir(tier.root().join("data")).unwrap().count(), 1);
}

#[test]
fn what_is_no_key_is_refused() {
    let (_guard, tier) = tier();
    for key in ["", "/a", "a/../b", "a//b", "..", "a/", "a#1", "data/ab#12", "a\u{0}b"] {
        assert!(tier.create(key, &[]).is_err(), "{key:?}");
        assert!(tier.get(key).is_err(), "{key:?}");
    }
    assert_eq!(fs::read_dir(tier.root()).unwrap().count(), 0);
    put(&*tier, "ledger/host.example-1_~%20é/x#y", b"odd but fine");
    assert_eq!(keys(&*tier, "ledger"), ["ledger/host.example-1_~%20é/x#y"]);
    assert_eq!(&tier.get("ledger/host.example-1_~%20é/x#y").unwrap()[..], b"odd but fine");
}

#[test]
fn a_listing_names_the_folder_whole_and_in_order() {
    let (_guard, tier) = tier();
    for key in ["data/b", "data/a/z", "data/a-", "database", "index/1", "data/a.b"] {
        put(&*tier, key, b"1");
    }
    let expected = ["data/a-", "data/a.b", "data/a/z", "data/b"];
    assert_eq!(keys(&*tier, "data"), expected);
    assert_eq!(keys(&*tier, "data/"), expected);
    assert_eq!(keys(&*tier, "").len(), 6);
    assert_eq!(keys(&*tier, "none"), [""; 0]);
}

#[test]
fn a_listing_that_cannot_be_whole_is_an_error() {
    let (_guard, tier) = tier();
    put(&*tier, "data/a", b"1");
    symlink("nowhere", tier.root().join("data/broken")).unwrap();
    assert!(tier.list("").is_err());
    fs::remove_file(tier.root().join("data/broken")).unwrap();
    symlink(".", tier.root().join("data/loop")).unwrap();
    assert!(tier.list("data/").is_err());
}

#[test]
fn a_part_of_a_store_names_keys_without_the_folder() {
    let (_guard, tier) = tier();
    let vault = Prefixed::new(tier.clone(), "vault");
    put(&vault, "data/a", b"1");
    put(&*tier, "ledger/x", b"2");
    assert_eq!(keys(&vault, ""), ["data/a"]);
    assert_eq!(keys(&vault, "data"), ["data/a"]);
    assert_eq!(keys(&*tier, "vault"), ["vault/data/a"]);
    assert_eq!(vault.stat("data/a").unwrap().key, "data/a");
    let error = vault.get("none").unwrap_err();
    assert_eq!((error.kind, error.key.as_str()), (StoreErrorKind::NotFound, "none"));
    assert!(error.place.ends_with("/tier/vault"), "{}", error.place);
    Prefixed::new(Arc::new(tier.deleter()), "vault").delete("data/a").unwrap();
    assert_eq!(keys(&*tier, ""), ["ledger/x"]);
}

/// A change of keys can remove keys and identities, whatever it is asked.
#[test]
fn only_keys_and_identities_go_by_the_right_of_a_change_of_keys() {
    let (dir, tier) = tier();
    let id = "ab".repeat(32);
    let (key, further) = (format!("keys/{id}"), format!("journal/identity-{id}.age"));
    let main = "journal/identity.age".to_owned();
    for key in [format!("vault/{key}"), further.clone(), main.clone()] {
        tier.create(&key, &[Bytes::from_static(b"k")]).unwrap();
    }
    for key in ["vault/config", "vault/keys/ab", "journal/orders.age", "vault/snapshots/1"] {
        tier.create(key, &[Bytes::from_static(b"k")]).unwrap();
    }
    let rights = place(&dir.path().join("tier")).key_rights().unwrap();
    let bad = ["config", "keys/ab", "keys", "keys/../config", "snapshots/1", &further, &main];
    for key in bad {
        let kind = rights.keys.delete(key).unwrap_err().kind;
        assert_eq!(kind, StoreErrorKind::Denied, "{key}");
    }
    let vault_key = format!("vault/{key}");
    let bad =
        ["vault/config", &vault_key, "journal/orders.age", "journal/identity-1.age", "journal"];
    for key in bad {
        let kind = rights.identities.delete(key).unwrap_err().kind;
        assert_eq!(kind, StoreErrorKind::Denied, "{key}");
    }
    rights.keys.delete(&key).unwrap();
    rights.identities.delete(&further).unwrap();
    rights.identities.delete(&main).unwrap();
    assert_eq!(keys(&*tier, "journal"), ["journal/orders.age"]);
    assert_eq!(keys(&*tier, "vault/keys"), ["vault/keys/ab"]);
}

#[test]
fn locks_come_and_go_and_nothing_else_does() {
    let (_guard, tier) = tier();
    put(&*tier, "vault/config", b"c");
    let locks = tier.locks("vault");
    locks.create_lock("locks/1", Bytes::from_static(b"l")).unwrap();
    assert_eq!(keys(&*tier, "vault/locks"), ["vault/locks/1"]);
    for key in ["config", "locks", "locks/", "locks/../config", "locks/a/b", "data/locks/1"] {
        let made = locks.create_lock(key, Bytes::new()).unwrap_err().kind;
        let gone = locks.remove_lock(key).unwrap_err().kind;
        assert_eq!((made, gone), (StoreErrorKind::Denied, StoreErrorKind::Denied), "{key}");
    }
    locks.remove_lock("locks/1").unwrap();
    let again = locks.remove_lock("locks/1").unwrap_err();
    assert_eq!(again.kind, StoreErrorKind::NotFound);
    assert_eq!(keys(&*tier, ""), ["vault/config"]);
}

#[test]
fn a_removed_root_is_unreachable_and_is_not_made_anew() {
    let (_guard, tier) = tier();
    put(&*tier, "data/a", b"1");
    fs::remove_dir_all(tier.root()).unwrap();
    let failures = [
        tier.get("data/a").unwrap_err(),
        tier.stat("data/a").unwrap_err(),
        tier.list("").unwrap_err(),
        tier.create("data/b", &[Bytes::from_static(b"2")]).unwrap_err(),
        tier.deleter().delete("data/a").unwrap_err(),
    ];
    for failure in failures {
        assert_eq!(failure.kind, StoreErrorKind::Unreachable, "{}", failure.verb);
    }
    assert!(!tier.root().exists());
    assert_eq!(LocalTier::open(tier.root()).unwrap_err().kind, StoreErrorKind::Unreachable);
}

#[test]
fn another_folder_in_the_place_of_the_root_is_unreachable() {
    let (_guard, tier) = tier();
    put(&*tier, "data/a", b"1");
    fs::rename(tier.root(), tier.root().with_extension("old")).unwrap();
    fs::create_dir(tier.root()).unwrap();
    let list = tier.list("").unwrap_err();
    let create = tier.create("data/b", &[]).unwrap_err();
    assert_eq!(list.kind, StoreErrorKind::Unreachable);
    assert_eq!(create.kind, StoreErrorKind::Unreachable);
    assert_eq!(fs::read_dir(tier.root()).unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_no_space_and_leaves_nothing() {
    let disk = Mounted::new("size=2m");
    let tier = LocalTier::open(&disk.path()).unwrap();
    put(&tier, "data/small", b"kept");
    let error = tier.create("data/big", &[Bytes::from(vec![7; 3 << 20])]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSpace, "{error:?}");
    assert_eq!(fs::read_dir(disk.path().join("data")).unwrap().count(), 1, "a leftover stayed");
    assert_eq!(&tier.get("data/small").unwrap()[..], b"kept");
    put(&tier, "data/next", b"fits");
}

#[test]
fn a_read_only_disk_is_denied_and_still_read() {
    let disk = Mounted::new("size=2m");
    let tier = Arc::new(LocalTier::open(&disk.path()).unwrap());
    put(&*tier, "vault/config", b"1");
    disk.remount("remount,ro");
    let create = tier.create("vault/data/a", &[]).unwrap_err();
    let same_folder = tier.create("vault/b", &[]).unwrap_err();
    let delete = tier.deleter().delete("vault/config").unwrap_err();
    for error in [create, same_folder, delete] {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error:?}");
    }
    assert_eq!(&tier.get("vault/config").unwrap()[..], b"1");
    assert_eq!(keys(&*tier, ""), ["vault/config"]);
    assert_eq!(place(&disk.path()).look().unwrap(), Presence::Vault);
    assert!(!is_writable(&disk.path()));
    assert_eq!(place(&disk.path()).open(true).unwrap().vault.get("config").unwrap(), "1");
}

#[test]
fn an_unmounted_disk_is_unreachable() {
    let disk = Mounted::new("size=2m");
    let folder = disk.path();
    let inner = Mounted::on(folder.join("inner"), "size=1m");
    let tier = LocalTier::open(&inner.path()).unwrap();
    put(&tier, "data/a", b"1");
    drop(inner);
    assert_eq!(tier.list("").unwrap_err().kind, StoreErrorKind::Unreachable);
    assert_eq!(tier.get("data/a").unwrap_err().kind, StoreErrorKind::Unreachable);
    assert_eq!(tier.create("data/b", &[]).unwrap_err().kind, StoreErrorKind::Unreachable);
    assert_eq!(place(&folder.join("inner")).look().unwrap(), Presence::Empty);
}

#[test]
fn without_permission_it_is_denied() {
    let name = "store::without_permission_it_is_denied";
    let shared = Path::new("/var/tmp");
    if let Some(folder) = nobody::folder() {
        let tier = Arc::new(LocalTier::open(&folder.join("open")).unwrap());
        let read = tier.get("secret").unwrap_err();
        let create = tier.create("new", &[Bytes::from_static(b"x")]).unwrap_err();
        let below = tier.create("below/new", &[Bytes::from_static(b"x")]).unwrap_err();
        let list = tier.list("closed").unwrap_err();
        let delete = tier.deleter().delete("readable").unwrap_err();
        for error in [read, create, below, list, delete] {
            assert_eq!(error.kind, StoreErrorKind::Denied, "{error:?}");
        }
        assert!(tier.list("").is_err(), "a listing without the closed folder would be partial");
        assert_eq!(&tier.get("readable").unwrap()[..], b"r");
        assert_eq!(
            LocalTier::create(&folder.join("open/tier")).unwrap_err().kind,
            StoreErrorKind::Denied
        );
        assert!(!is_writable(&folder.join("open")));
        nobody::seen();
        return;
    }
    let folder = TempDir::new_in(shared).unwrap();
    let open = folder.path().join("open");
    fs::create_dir_all(open.join("closed")).unwrap();
    fs::write(open.join("secret"), b"s").unwrap();
    fs::write(open.join("readable"), b"r").unwrap();
    for (path, mode) in [
        ("", 0o755),
        ("open", 0o755),
        ("open/secret", 0o600),
        ("open/readable", 0o644),
        ("open/closed", 0o700),
    ] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path().join(path), mode).unwrap();
    }
    nobody::run(name, folder.path());
}

const UPLOAD_TO: &str = "LIFEBOAT_TEST_UPLOAD_TO";

#[allow(clippy::disallowed_methods)] // How a test talks to itself in a child process.
fn upload_to() -> Option<PathBuf> {
    std::env::var_os(UPLOAD_TO).map(PathBuf::from)
}

/// strace kills the upload at the link, which is after the last byte was staged and synced.
#[test]
fn an_upload_killed_before_the_link_leaves_no_object() {
    let name = "store::an_upload_killed_before_the_link_leaves_no_object";
    if let Some(folder) = upload_to() {
        let tier = LocalTier::open(&folder).unwrap();
        put(&tier, "vault/config", b"half a pack");
        println!("uploaded");
        return;
    }
    let (_guard, tier) = tier();
    let run = |strace: &[&str]| {
        Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=link,linkat"])
            .args(strace)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(UPLOAD_TO, tier.root())
            .output()
            .expect("strace is missing: apt-get install strace")
    };
    let killed = run(&["-e", "inject=link,linkat:signal=KILL:error=EINTR"]);
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
    assert_eq!(tier.get("vault/config").unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(keys(&*tier, ""), [""; 0]);
    assert!(tier.root().join("vault/config#1").exists(), "the kill came too early or too late");

    // The next upload of the same object works beside the leftover.
    let again = run(&[]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("uploaded"), "{again:?}");
    assert_eq!(&tier.get("vault/config").unwrap()[..], b"half a pack");
    assert_eq!(keys(&*tier, ""), ["vault/config"]);

    // A young leftover may belong to a running upload; an old one is swept, alone.
    let staged = fs::metadata(tier.root().join("vault/config#1")).unwrap().modified().unwrap();
    let staged = Timestamp::try_from(staged).unwrap();
    assert_eq!(tier.sweep(staged + SignedDuration::from_hours(23)).unwrap(), 0);
    assert_eq!(tier.sweep(staged + SignedDuration::from_hours(25)).unwrap(), 1);
    assert_eq!(fs::read_dir(tier.root().join("vault")).unwrap().count(), 1);
    assert_eq!(&tier.get("vault/config").unwrap()[..], b"half a pack");
}

/// A tier may stand in a folder full of other things.
#[test]
fn a_sweep_leaves_alone_what_is_not_ours() {
    let (guard, tier) = tier();
    let id = "ab".repeat(32);
    let ours = [format!("vault/data/ab/{id}#1"), "journal/identity.age#2".to_owned()];
    let elsewhere = guard.path().join("elsewhere");
    let foreign = ["song#1", "vault/notes#1", "photos/track#12", "ledger/x#1"];
    for name in ours.iter().map(String::as_str).chain(foreign) {
        let path = tier.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join(format!("{id}#1")), "").unwrap();
    symlink(&elsewhere, tier.root().join("vault/index")).unwrap();
    symlink("nowhere", tier.root().join("broken")).unwrap();
    symlink("loop", tier.root().join("vault/loop")).unwrap();
    let far = Timestamp::try_from(fs::metadata(tier.root()).unwrap().modified().unwrap()).unwrap()
        + SignedDuration::from_hours(1000);
    assert_eq!(tier.sweep(far).unwrap(), 2);
    assert!(ours.iter().all(|name| !tier.root().join(name).exists()));
    assert!(foreign.iter().all(|name| tier.root().join(name).exists()));
    assert!(elsewhere.join(format!("{id}#1")).exists());
}

fn place(path: &Path) -> LocalPlace {
    LocalPlace::new(path.to_owned(), Arc::new(SystemClock::new()))
}

#[test]
fn a_look_tells_what_stands_there_and_leaves_no_trace() {
    let (guard, tier) = tier();
    let path = guard.path();
    fs::write(path.join("file"), b"").unwrap();
    let look = |path: &Path| place(path).look();
    assert_eq!(look(&path.join("none/below")).unwrap(), Presence::Absent);
    assert_eq!(
        place(&path.join("none")).open(false).err().unwrap().kind,
        StoreErrorKind::Unreachable
    );
    assert!(!path.join("none").exists());
    assert!(look(&path.join("file")).is_err());
    assert!(look(&path.join("file/below")).is_err());
    assert_eq!(look(tier.root()).unwrap(), Presence::Empty);
    fs::create_dir(tier.root().join("lost+found")).unwrap();
    assert_eq!(look(tier.root()).unwrap(), Presence::Empty);
    for name in ["d", "b", "c", "a"] {
        put(&*tier, name, b"");
    }
    let names = ["a", "b", "c"].map(str::to_owned);
    assert_eq!(look(tier.root()).unwrap(), Presence::Other(names.to_vec()));
    put(&*tier, "vault/keys/1", b"");
    assert_eq!(look(tier.root()).unwrap(), Presence::Vault);
    assert!(is_writable(tier.root()));
}

#[test]
fn an_opened_place_has_its_vault_and_the_vault_its_locks() {
    let folder = TempDir::new().unwrap();
    let opened = place(&folder.path().join("a/tier")).open(true).unwrap();
    put(&*opened.vault, "config", b"c");
    opened.locks.create_lock("locks/1", Bytes::new()).unwrap();
    assert_eq!(keys(&*opened.store, ""), ["vault/config", "vault/locks/1"]);
    assert_eq!(keys(&*opened.vault, ""), ["config", "locks/1"]);
}

#[test]
fn many_objects_are_listed_whole() {
    // In memory: a disk takes a minute to make so many files.
    let disk = Mounted::new("size=64m,nr_inodes=150000");
    let tier = LocalTier::open(&disk.path()).unwrap();
    for folder in 0..100 {
        let folder = tier.root().join(format!("data/{folder:02}"));
        fs::create_dir_all(&folder).unwrap();
        for name in 0..1000 {
            fs::write(folder.join(format!("{name:04}")), b"").unwrap();
        }
    }
    let found = tier.list("data/").unwrap();
    assert_eq!(found.len(), 100_000);
    assert!(found.is_sorted_by(|a, b| a.key < b.key));
}
