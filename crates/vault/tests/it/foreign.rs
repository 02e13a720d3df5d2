//! What the stock restic wrote, we read byte for byte and check. EDO-24: no lock-in, both ways.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{BlobKind, CheckOptions, Error, Id};

use crate::support::{contents, filled_by_restic, key_of, noise, open, restic_backup, restic_ok};

/// Names that break careless programs, and contents of several sizes.
fn make_source(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let names: [&[u8]; 12] = [
        b"plain",
        b"empty",
        b"large",
        b"with space",
        b"quote\"back\\slash",
        b"new\nline\ttab",
        "ümlaut-日本語-🛟".as_bytes(),
        b"not-utf8-\xff\xfe\x80",
        b"-leading-dash",
        b"control-\x01\x7f",
        b"deep/er/and/deeper/file",
        b"text",
    ];
    let mut files = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
        let content = match *name {
            b"empty" => Vec::new(),
            b"large" => noise(1, 5_000_000),
            b"text" => b"the same line again\n".repeat(40_000),
            _ => noise(number as u64, 1000 + number),
        };
        let path = folder.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &content).unwrap();
        files.insert(Path::new("/").join(OsStr::from_bytes(name)), content);
    }
    std::os::unix::fs::symlink("large", folder.join("link")).unwrap();
    files.insert("/link".into(), b"large".to_vec());
    files
}

fn read_all(store: &Arc<MemoryStore>) -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
    let vault = open(store).unwrap();
    let read = |snapshot| {
        let files = contents(&vault, snapshot);
        files.into_iter().map(|(path, content)| (path, content.unwrap())).collect()
    };
    vault.snapshots().unwrap().iter().map(|(_, snapshot)| read(snapshot)).collect()
}

fn check_passes(store: &Arc<MemoryStore>) {
    let vault = open(store).unwrap();
    for read_data in [false, true] {
        let report = vault.check(&CheckOptions { read_data, ..Default::default() }).unwrap();
        assert!(report.passed(), "{report:#?}");
        assert_eq!(report.counts.unreferenced_packs, 0);
    }
    assert!(store.keys("locks").is_empty(), "the check's lock is gone");
}

#[test]
fn restic_repositories_are_read_byte_for_byte() {
    for version in ["1", "2"] {
        let source = tempfile::tempdir().unwrap();
        let repository = tempfile::tempdir().unwrap();
        restic_ok(repository.path(), &["init", "--repository-version", version]);
        let config = restic_ok(repository.path(), &["cat", "config"]);
        let first = make_source(source.path());
        restic_backup(repository.path(), source.path());
        let mut second = first.clone();
        std::fs::write(source.path().join("plain"), "changed").unwrap();
        second.insert("/plain".into(), b"changed".to_vec());
        restic_backup(repository.path(), source.path());
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "second password").unwrap();
        let file = password.path().to_str().unwrap();
        restic_ok(repository.path(), &["key", "add", "--new-password-file", file]);

        let store = Arc::new(MemoryStore::load_from(repository.path()).unwrap());
        let vault = open(&store).unwrap();
        assert_eq!(vault.config().unwrap().version.to_string(), version);
        assert!(config.contains(vault.repository_id()), "{config}");
        assert_eq!(read_all(&store), [first, second]);
        check_passes(&store);
        assert_eq!(store.keys("keys").len(), 2);
    }
}

#[test]
fn snapshots_are_found_by_prefix_and_files_by_path() {
    let source = tempfile::tempdir().unwrap();
    let files = make_source(source.path());
    let store = Arc::new(filled_by_restic(&[source.path(), source.path()]));
    let vault = open(&store).unwrap();
    let all = vault.snapshots().unwrap();
    assert_eq!(all.len(), 2);
    assert!(all[0].1.time <= all[1].1.time);
    let (id, snapshot) = &all[1];
    assert_eq!(vault.find(&id.to_string()).unwrap(), (*id, snapshot.clone()));
    assert_eq!(vault.find(&id.to_string().to_uppercase()[..12]).unwrap().0, *id);
    assert_eq!(vault.snapshot(id).unwrap(), *snapshot);
    assert_eq!(snapshot.tag("component"), Some("media"));
    assert_eq!((snapshot.hostname.as_str(), snapshot.parent), ("elsewhere", Some(all[0].0)));
    for unknown in ["", "zz", "latest", &"0".repeat(64), &format!("{id}0")] {
        assert!(matches!(vault.find(unknown), Err(Error::NotFound { .. })), "{unknown}");
    }
    assert!(matches!(vault.snapshot(&Id::of(b"x")), Err(Error::NotFound { .. })));
    for path in ["deep/er/and/deeper/file", "/deep/er/and/deeper/file", "./plain", "empty"] {
        let key = Path::new("/").join(path.trim_start_matches("./"));
        assert_eq!(vault.read_file(snapshot, path).unwrap(), files[&key], "{path}");
    }
    for path in ["", "/", "deep", "none", "plain/x", "../plain", "deep/../plain", "link"] {
        let read = vault.read_file(snapshot, path);
        assert!(matches!(read, Err(Error::NotFound { .. })), "{path}: {read:?}");
    }
}

#[test]
fn an_ambiguous_prefix_names_what_it_fits() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("x"), "x").unwrap();
    let store = filled_by_restic(&[source.path()]);
    // Two names with a common beginning; their content does not matter for finding them.
    for end in ["1", "2"] {
        store.plant(&format!("snapshots/{}{end}", "ab".repeat(31) + "a"), "x");
    }
    let vault = open(&Arc::new(store)).unwrap();
    match vault.find("abab") {
        Err(Error::Ambiguous { ids, .. }) => assert_eq!(ids.len(), 2),
        other => panic!("{other:?}"),
    }
}

/// rustic marks packs before it deletes them; a later writer must not rely on them.
#[test]
fn unknown_fields_of_other_programs_are_passed_over() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("x"), noise(3, 1000)).unwrap();
    let store = Arc::new(filled_by_restic(&[source.path()]));
    let seed = open(&store).unwrap().seed().unwrap();
    let key = key_of(&seed);
    let name = store.keys("index").pop().unwrap();
    let mut json = None;
    store.tamper(&name, |body| {
        let plain = key.open(&body).unwrap();
        json = Some(lifeboat_vault::compress::decompress_bounded(&plain[1..], 1 << 20).unwrap());
        None
    });
    let mut index: serde_json::Value = serde_json::from_slice(&json.unwrap()).unwrap();
    let packs = index["packs"].take();
    index["packs"] = serde_json::json!([]);
    index["packs_to_delete"] = packs;
    index["something_new"] = serde_json::json!({"a": [1, 2, 3]});
    let body = key.seal(&serde_json::to_vec(&index).unwrap()).unwrap();
    store.plant(&format!("index/{}", Id::of(&body)), body);
    let vault = open(&store).unwrap();
    let (_, snapshot) = vault.snapshots().unwrap().pop().unwrap();
    assert!(matches!(vault.load_blob(BlobKind::Tree, &snapshot.tree), Err(Error::Damaged { .. })));
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(!report.passed());
}
