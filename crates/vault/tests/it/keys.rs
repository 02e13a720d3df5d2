//! Keys: a further password, another one in place of the old, and no moment without a way in.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_testkit::{CrashStore, Fault, FaultyStore, MemoryStore, Verb, environment};
use lifeboat_vault::{
    CheckOptions, DeleteStore, Entry, Environment, Error, KeyStrength, LockStore, Password, Result,
    Store, StoreError, StoreErrorKind, Vault,
};

use crate::support::{
    PASSWORD, backup, init, open, open_on, password, restic_check, restic_ok, restic_with,
};

const NEW: &str = "another horse";

fn new() -> Password {
    Password::new(NEW)
}

fn opens(store: &Arc<MemoryStore>, password: &Password) -> bool {
    let env = environment(store.clock().clone());
    match Vault::open(store.clone(), Some(store.clone()), password, env) {
        Ok(_) => true,
        Err(Error::WrongPassword { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

fn filled() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"content").unwrap();
    backup(&vault, folder.path(), None);
    store
}

fn rotate(on: &(impl DeleteStore + ?Sized), vault: &Vault) -> Result<lifeboat_vault::KeyRotation> {
    vault.rotate_key(&Through(on), &password(), &new(), KeyStrength::Generated)
}

struct Through<'a, S: ?Sized>(&'a S);
impl<S: DeleteStore + ?Sized> DeleteStore for Through<'_, S> {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key)
    }
}

/// Both passwords open it, for restic too.
#[test]
fn a_further_password_opens_the_vault() {
    let store = filled();
    let vault = open(&store).unwrap();
    let id = vault.add_key(&new(), KeyStrength::Generated).unwrap();
    assert_eq!(vault.opened_by(&new()).unwrap(), [id]);
    let keys = vault.keys().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().any(|key| key.id == id && key.user == "tester" && key.damage.is_none()));
    assert!(opens(&store, &password()) && opens(&store, &new()));
    assert!(vault.add_key(&Password::new(""), KeyStrength::Generated).is_err());

    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let listed = restic_ok(folder.path(), &["key", "list"]);
    assert!(listed.contains(&id.to_string()[..8]) && listed.contains("testhost"), "{listed}");
    assert!(restic_with(folder.path(), NEW, &["snapshots"]).status.success());
}

/// After a rotation the stock restic opens with the new password and not with the removed one.
#[test]
fn a_rotation_lets_the_new_password_in_and_the_old_one_not() {
    let store = filled();
    let vault = open(&store).unwrap();
    let before = *vault.key_id().unwrap();
    let third = vault.add_key(&Password::new("third"), KeyStrength::Generated).unwrap();
    let done = rotate(&*store, &vault).unwrap();
    assert_eq!(done.removed, [before]);
    let others: Vec<_> = done.others.iter().map(|key| key.id).collect();
    assert_eq!(others, [third], "what still opens the vault is told");
    assert!(opens(&store, &new()) && !opens(&store, &password()));
    assert!(store.keys("locks").is_empty());

    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    assert!(restic_with(folder.path(), NEW, &["check", "--read-data"]).status.success());
    assert!(!restic_with(folder.path(), PASSWORD, &["snapshots"]).status.success());
    // And restic's own change of password is understood by us.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PASSWORD).unwrap();
    let path = file.path().to_str().unwrap();
    let passwd = restic_with(folder.path(), NEW, &["key", "passwd", "--new-password-file", path]);
    assert!(passwd.status.success());
    let store = Arc::new(MemoryStore::load_from(folder.path()).unwrap());
    assert!(opens(&store, &password()) && !opens(&store, &new()));
}

/// A vault is opened by key objects too whose bytes do not fit their name: where the old password
/// opens one, it goes as well; one of another password stays.
#[test]
fn a_rotation_removes_key_objects_whose_bytes_do_not_fit_their_name() {
    let store = filled();
    let vault = open(&store).unwrap();
    let own = *vault.key_id().unwrap();
    let third = vault.add_key(&Password::new("third"), KeyStrength::Generated).unwrap();
    let touched = |mut body: Vec<u8>| {
        body.push(b'\n');
        Some(body)
    };
    let body = store.get(&format!("keys/{own}")).unwrap();
    let copy = "1".repeat(64);
    store.plant(&format!("keys/{copy}"), body);
    store.tamper(&format!("keys/{own}"), touched);
    store.tamper(&format!("keys/{third}"), touched);
    assert!(opens(&store, &password()) && vault.opened_by(&password()).unwrap().is_empty());

    let done = rotate(&*store, &vault).unwrap();
    assert_eq!(done.removed.len(), 2, "{done:?}");
    assert!(done.removed.contains(&own) && done.removed.contains(&copy.parse().unwrap()));
    assert!(opens(&store, &new()) && opens_not(&store, &password()));
    let others: Vec<_> = done.others.iter().map(|key| (key.id, key.damage.is_some())).collect();
    assert_eq!(others, [(third, true)]);
}

/// With a damaged key object in the vault nobody knows whether the password was wrong.
fn opens_not(store: &Arc<MemoryStore>, password: &Password) -> bool {
    let env = environment(store.clock().clone());
    let opened = Vault::open(store.clone(), Some(store.clone()), password, env);
    matches!(opened, Err(Error::WrongPassword { .. } | Error::Damaged { .. }))
}

/// A key object whose bytes do not fit its name is no way in that stays.
#[test]
fn a_key_object_that_does_not_fit_its_name_is_no_way_in_that_stays() {
    let store = filled();
    let vault = open(&store).unwrap();
    let own = *vault.key_id().unwrap();
    let other = vault.add_key(&new(), KeyStrength::Generated).unwrap();
    store.tamper(&format!("keys/{other}"), |mut body| {
        body.push(b'\n');
        Some(body)
    });
    let refused = vault.remove_key(&*store, &own, &new());
    assert!(matches!(refused, Err(Error::LastKey)), "{refused:?}");
    assert!(opens(&store, &password()));
}

#[test]
fn the_same_password_is_no_rotation() {
    let store = filled();
    let vault = open(&store).unwrap();
    let strength = KeyStrength::Generated;
    let refused = vault.rotate_key(&*store, &password(), &password(), strength);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(vault.keys().unwrap().len(), 1);
}

/// The last key, or one beside which only a damaged one would stay, is not removed.
#[test]
fn the_last_key_is_not_removed() {
    let store = filled();
    let vault = open(&store).unwrap();
    let id = *vault.key_id().unwrap();
    let refused = vault.remove_key(&*store, &id, &password());
    assert!(matches!(refused, Err(Error::LastKey)), "{refused:?}");
    let other = vault.add_key(&new(), KeyStrength::Generated).unwrap();
    let refused = vault.remove_key(&*store, &id, &password());
    assert!(matches!(refused, Err(Error::LastKey)), "what stays was not proven: {refused:?}");
    let whole = store.image();
    store.tamper(&format!("keys/{other}"), |mut body| {
        let at = body.len() / 2;
        body[at] ^= 1;
        Some(body)
    });
    let refused = vault.remove_key(&*store, &id, &new());
    assert!(matches!(refused, Err(Error::LastKey)), "{refused:?}");
    assert!(store.keys("keys").contains(&format!("keys/{id}")));
    let whole = Arc::new(whole);
    open(&whole).unwrap().remove_key(&*whole, &id, &new()).unwrap();
    assert!(opens(&whole, &new()) && !opens(&whole, &password()));
}

/// A store that keeps other bytes of a key than it was given, and says nothing.
struct Garbling(Arc<MemoryStore>);
impl Store for Garbling {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.0.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.0.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let mut body = parts.concat();
        if key.starts_with("keys/") {
            let at = body.len() - 20;
            body[at] = if body[at] == b'A' { b'B' } else { b'A' };
        }
        self.0.create(key, &[body.into()])
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

/// The new key is read back and tried before the old one goes.
#[test]
fn a_new_key_that_does_not_open_leaves_the_old_one() {
    let store = filled();
    let env = environment(store.clock().clone());
    let locks: Arc<dyn LockStore> = store.clone();
    let vault = open_on(Arc::new(Garbling(store.clone())), locks, env).unwrap();
    let failed = rotate(&*store, &vault);
    assert!(matches!(failed, Err(Error::Damaged { .. })), "{failed:?}");
    assert!(opens(&store, &password()) && !opens(&store, &new()));
    let failed = vault.add_key(&new(), KeyStrength::Generated);
    assert!(matches!(failed, Err(Error::Damaged { .. })), "{failed:?}");
}

/// a crash after each write of a rotation. One of the two passwords opens the vault at every
/// moment, and the rotation, run again, ends as it should.
#[test]
fn a_crash_after_any_write_of_a_rotation_locks_nobody_out() {
    let store = filled();
    let recording = Arc::new(CrashStore::recording(store.image()));
    // A process that is gone when the others come.
    let env = Environment { pid: u32::MAX >> 2, ..environment(store.clock().clone()) };
    let vault = open_on(recording.clone(), recording.clone(), env).unwrap();
    rotate(&*recording, &vault).unwrap();
    drop(vault);
    let writes = recording.writes();
    let order: Vec<&str> = writes.iter().map(|w| w.split('/').next().unwrap()).collect();
    assert_eq!(order, ["create locks", "create keys", "remove keys", "remove locks"]);
    for (image, write) in recording.take_images().into_iter().zip(&writes) {
        eprintln!("crash after {write}");
        let image = Arc::new(image);
        let old = opens(&image, &password());
        assert!(old || opens(&image, &new()), "nobody is locked out");
        let report = if old { open(&image) } else { open_new(&image) };
        let report = report.unwrap().check(&CheckOptions::default()).unwrap();
        assert!(report.passed(), "{report:#?}");
        if old {
            restic_check(&image);
            let vault = open(&image).unwrap();
            assert_eq!(rotate(&*image, &vault).unwrap().others, []);
        } else {
            let vault = open_new(&image).unwrap();
            assert_eq!(rotate(&*image, &vault).unwrap().removed, []);
        }
        assert!(opens(&image, &new()) && !opens(&image, &password()));
        assert_eq!(image.keys("keys").len(), 1);
        assert!(image.keys("locks").is_empty());
    }
}

fn open_new(store: &Arc<MemoryStore>) -> Result<Vault> {
    let env = environment(store.clock().clone());
    Vault::open(store.clone(), Some(store.clone()), &new(), env)
}

/// A key that cannot be deleted: the old password still opens, and that is said.
#[test]
fn a_rotation_that_cannot_remove_the_old_key_fails() {
    let inner = filled();
    let store = Arc::new(FaultyStore::new(inner.image()));
    store.arm(Fault::always(Verb::Delete, "keys", StoreErrorKind::Denied));
    let env = environment(inner.clock().clone());
    let vault = open_on(store.clone(), store.clone(), env).unwrap();
    let failed = rotate(&*store, &vault);
    assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
    let after = Arc::new(store.inner().image());
    assert!(opens(&after, &password()) && opens(&after, &new()));
}

/// restic's locks: a rotation excludes others and is kept out by them.
#[test]
fn a_rotation_takes_the_exclusive_lock() {
    let store = filled();
    let vault = open(&store).unwrap();
    let other = open(&store).unwrap();
    let lock = other.lock_for_writing().unwrap();
    assert!(matches!(rotate(&*store, &vault), Err(Error::Locked(_))));
    vault.add_key(&Password::new("third"), KeyStrength::Generated).unwrap();
    drop(lock);
    let _exclusive = other.lock_exclusively().unwrap();
    let refused = vault.add_key(&new(), KeyStrength::Generated);
    assert!(matches!(refused, Err(Error::Locked(_))), "{refused:?}");
}
