//! Vaults of released formats, frozen in `testdata/formats/` and never edited: what was once
//! written is read for ever.
//!
//! `scripts/freeze-vault` writes a new one when a format changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::{CheckOptions, Id, Password, RestoreOptions, Vault};

use crate::support::{contents, restic_with};

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/formats")
}

/// Every frozen vault is read; so is the list of them, so that none is forgotten.
#[test]
fn every_frozen_vault_is_read() {
    let mut found: Vec<String> = std::fs::read_dir(formats())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("vault-"))
        .collect();
    found.sort();
    assert_eq!(found, ["vault-2"]);
    for name in found {
        read_frozen(&formats().join(name));
    }
}

fn read_frozen(folder: &Path) {
    // `content.json`: snapshot id to path to SHA-256 of the content.
    let truth = std::fs::read(folder.join("content.json")).unwrap();
    let truth: BTreeMap<Id, BTreeMap<PathBuf, Id>> = serde_json::from_slice(&truth).unwrap();
    let repository = folder.join("repository");
    let store = Arc::new(MemoryStore::load_from(&repository).unwrap());
    for password in ["frozen", "second"] {
        let env = environment(store.clock().clone());
        let vault = Vault::open(store.clone(), None, &Password::new(password), env).unwrap();
        let snapshots = vault.snapshots().unwrap();
        assert_eq!(snapshots.len(), truth.len());
        for (id, snapshot) in &snapshots {
            let found: BTreeMap<PathBuf, Id> = contents(&vault, snapshot)
                .into_iter()
                .map(|(path, content)| (path, Id::of(&content.unwrap())))
                .collect();
            assert_eq!(found, truth[id]);
            assert_eq!(snapshot.tag("component"), Some("frozen"));
            let target = tempfile::tempdir().unwrap();
            let target = target.path().join("target");
            let report = vault.restore(snapshot, &RestoreOptions::default(), &target).unwrap();
            assert!(report.is_complete(), "{report:?}");
        }
        let report = vault.check(&CheckOptions::default()).unwrap();
        assert!(report.passed(), "{report:#?}");
    }
    let copy = tempfile::tempdir().unwrap();
    store.save_to(copy.path()).unwrap();
    let check = restic_with(copy.path(), "frozen", &["check", "--read-data"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
