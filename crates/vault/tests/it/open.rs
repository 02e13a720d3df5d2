//! Making and opening vaults.

use std::sync::Arc;

use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, ReadOnlyStore, Verb, environment};
use lifeboat_vault::{Error, KeyStrength, MasterSeed, Password, Store, StoreErrorKind, Vault};

use crate::support::{
    PASSWORD, init, key_of, noting, open, open_on, password, restic, restic_check, restic_ok,
    restic_with,
};

#[test]
fn restic_accepts_a_new_vault_and_its_second_key() {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    vault.add_key(&Password::new("second"), KeyStrength::Generated).unwrap();
    restic_check(&store);
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let config = restic_ok(folder.path(), &["cat", "config", "--no-lock"]);
    assert!(config.contains(vault.repository_id()), "{config}");
    assert!(config.contains("\"version\": 2"), "{config}");
    assert!(restic_with(folder.path(), "second", &["snapshots"]).status.success());
    assert!(!restic_with(folder.path(), "third", &["snapshots"]).status.success());
    let second = Password::new("second");
    let again = Vault::open(store.clone(), None, &second, environment(store.clock().clone()));
    assert_eq!(again.unwrap().master_fingerprint(), vault.master_fingerprint());
}

#[test]
fn wrong_password_no_repository_and_double_init() {
    let store = Arc::new(MemoryStore::default());
    assert!(matches!(open(&store), Err(Error::NotARepository { .. })));
    assert!(!Vault::exists(&*store).unwrap());
    init(&store);
    assert!(Vault::exists(&*store).unwrap());
    let env = || environment(store.clock().clone());
    let wrong = Vault::open(store.clone(), None, &Password::new("wrong"), env());
    let error = wrong.unwrap_err();
    assert!(matches!(error, Error::WrongPassword { .. }) && error.hint().is_some());
    let strength = KeyStrength::Generated;
    let again = Vault::init(store.clone(), store.clone(), &password(), strength, env(), None);
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));
}

#[test]
fn a_newer_format_is_refused() {
    // A config of version 3 under a known master key: the key file is restic's, the config ours.
    let store = Arc::new(MemoryStore::default());
    let key = key_of(&init(&store).seed().unwrap());
    let json = br#"{"version":3,"id":"0","chunker_polynomial":"new kind of cut"}"#;
    store.tamper("config", |_| Some(key.seal(json).unwrap()));
    assert!(matches!(open(&store), Err(Error::NewerFormat { found: 3, known: 2 })));
}

#[test]
fn vaults_of_one_seed_share_key_and_cuts() {
    let first = Arc::new(MemoryStore::default());
    let vault = init(&first);
    let bytes = vault.seed().unwrap().to_bytes();
    let seed = MasterSeed::from_bytes(&bytes).unwrap();
    let second = Arc::new(MemoryStore::default());
    let env = || environment(second.clock().clone());
    let other = Password::new("another password");
    let strength = KeyStrength::Generated;
    let copy =
        Vault::init(second.clone(), second.clone(), &other, strength, env(), Some(&seed)).unwrap();
    assert_eq!(copy.master_fingerprint(), vault.master_fingerprint());
    assert_ne!(copy.repository_id(), vault.repository_id());
    assert_eq!(
        copy.config().unwrap().chunker_polynomial,
        vault.config().unwrap().chunker_polynomial
    );
    // When all keys of one tier are lost, the other tier's seed opens it.
    for key in first.keys("keys") {
        first.tamper(&key, |_| None);
    }
    assert!(matches!(open(&first), Err(Error::Damaged { .. })));
    let rescued = Vault::open_with_seed(first, None, &copy.seed().unwrap(), env()).unwrap();
    assert_eq!(rescued.repository_id(), vault.repository_id());
}

#[test]
fn a_damaged_key_file_does_not_hide_a_good_one() {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    vault.add_key(&password(), KeyStrength::Generated).unwrap();
    let image = store.image();
    for damaged in store.keys("keys") {
        type Change = fn(Vec<u8>) -> Option<Vec<u8>>;
        let changes: [Change; 5] = [
            |_| None,
            |_| Some(Vec::new()),
            |body| Some(body[..body.len() / 2].to_vec()),
            |body| Some(String::from_utf8(body).unwrap().replace("scrypt", "scrupt").into_bytes()),
            |body| {
                let text = String::from_utf8(body).unwrap();
                Some(text.replace("\"N\":32768", "\"N\":1125899906842624").into_bytes())
            },
        ];
        for change in changes {
            let store = Arc::new(image.image());
            store.tamper(&damaged, change);
            assert!(open(&store).is_ok());
        }
    }
    // With both damaged it is damage and not a wrong password.
    for key in image.keys("keys") {
        image.tamper(&key, |body| Some(body[..40].to_vec()));
    }
    assert!(matches!(open(&Arc::new(image)), Err(Error::Damaged { .. })));
}

#[test]
fn a_vault_without_config_is_read_but_not_written() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    store.plant("snapshots/x", "there is something to lose");
    store.plant(&format!("snapshots/{}", "a".repeat(64)), "there is something to lose");
    for change in [None, Some(Vec::new()), Some(vec![1; 40])] {
        let store = Arc::new(store.image());
        store.tamper("config", |_| change);
        let (environment, notes) = noting(&store);
        let vault = open_on(store.clone(), store.clone(), environment).unwrap();
        assert!(notes.all().contains("config is damaged"), "{}", notes.all());
        assert_eq!(vault.repository_id(), "");
        assert!(vault.snapshots().is_ok());
        assert!(matches!(vault.lock_for_writing(), Err(Error::Damaged { .. })));
    }
}

/// EDO-04: a crash between the two writes of init leaves a place where init works again, with one
/// master key only.
#[test]
fn an_interrupted_init_is_taken_up() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let clock = store.inner().clock().clone();
    let make = |password: &Password| {
        let env = environment(clock.clone());
        Vault::init(store.clone(), store.clone(), password, KeyStrength::Generated, env, None)
    };
    store.arm(Fault::nth(Verb::Create, 2, StoreErrorKind::Unreachable));
    assert!(matches!(make(&password()), Err(Error::Store(_))));
    assert!(!Vault::exists(&*store).unwrap());
    assert!(matches!(make(&Password::new("other")), Err(Error::WrongPassword { .. })));
    make(&password()).unwrap();
    assert_eq!(store.inner().keys("keys").len(), 1);
    restic_check(store.inner());
}

#[test]
fn store_failures_are_not_taken_for_damage() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let env = environment(store.inner().clock().clone());
    store.arm(Fault::always(Verb::Stat, "", StoreErrorKind::Unreachable));
    let opened = open_on(store.clone(), store.clone(), env.clone());
    assert!(matches!(opened, Err(Error::Store(_))), "an unmounted disk is not an empty place");
    store.disarm();
    store.no_space_after(10);
    let strength = KeyStrength::Generated;
    let full = Vault::init(store.clone(), store.clone(), &password(), strength, env, None);
    assert!(matches!(full, Err(Error::NoSpace(_))));
    assert!(store.inner().keys("").is_empty());
}

#[test]
fn reading_needs_no_writing() {
    let store = Arc::new(MemoryStore::default());
    init(&store);
    let read_only = Arc::new(ReadOnlyStore::new(store.clone()));
    let env = environment(store.clock().clone());
    let vault = Vault::open(read_only.clone(), None, &password(), env).unwrap();
    vault.load_index().unwrap();
    let _lock = vault.lock_for_reading().unwrap();
    assert!(vault.snapshots().unwrap().is_empty());
    assert!(matches!(vault.lock_for_writing(), Err(Error::ReadOnly)));
    assert!(matches!(vault.add_key(&password(), KeyStrength::Generated), Err(Error::ReadOnly)));
    assert_eq!(read_only.write_attempts(), 0);
    assert_eq!(
        read_only.create("config", &[]).unwrap_err().kind,
        StoreErrorKind::Denied,
        "the wrapper refuses"
    );
}

#[test]
fn secrets_are_in_no_message() {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let shown = format!("{vault:?} {:?} {:?}", vault.seed().unwrap(), password());
    assert!(!shown.contains(PASSWORD));
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let master = restic(folder.path(), &["cat", "masterkey", "--no-lock"]);
    let master: serde_json::Value = serde_json::from_slice(&master.stdout).unwrap();
    let secret = master["encrypt"].as_str().unwrap();
    assert!(secret.len() == 44 && !shown.contains(secret));
}
