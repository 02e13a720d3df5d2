//! Writes a small vault with this version's code, to be frozen in `testdata/formats/`.
//!
//! `cargo run -p lifeboat-vault --example freeze_vault -- testdata/formats/vault-N`
//! (`scripts/freeze-vault N`). Refuses a folder that exists: a frozen vault is never edited.

#![allow(clippy::unwrap_used, reason = "a tool for developers, which may fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::{
    BackupOptions, Chunking, FileMeta, Id, KeepAll, KeyStrength, Password, Root, SnapshotMeta,
    Vault, WalkSpec,
};

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the folder to write"));
    assert!(!folder.exists(), "{} exists: a frozen vault is never edited", folder.display());
    let store = Arc::new(MemoryStore::default());
    let env = environment(store.clock().clone());
    let password = Password::new("frozen");
    let strength = KeyStrength::Generated;
    let vault = Vault::init(store.clone(), store.clone(), &password, strength, env, None).unwrap();
    vault.add_key(&Password::new("second"), strength).unwrap();
    let source = tempfile::tempdir().unwrap();
    let mut truth: BTreeMap<Id, BTreeMap<PathBuf, Id>> = BTreeMap::new();
    let mut parent = None;
    for round in 0..2u8 {
        let mut files = write_source(source.path(), round);
        let (id, extra) = capture(&vault, source.path(), parent, round);
        files.extend(extra);
        let ids = files.into_iter().map(|(path, content)| (path, Id::of(&content)));
        truth.insert(id, ids.collect());
        parent = Some(id);
    }
    drop(vault);
    store.save_to(&folder.join("repository")).unwrap();
    let json = serde_json::to_vec_pretty(&truth).unwrap();
    std::fs::write(folder.join("content.json"), json).unwrap();
}

/// Files of several sorts; returns the content that a reader must find by its path.
fn write_source(folder: &Path, round: u8) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut incompressible = Vec::new();
    for block in 0..100u32 {
        incompressible.extend_from_slice(Id::of(&block.to_le_bytes()).as_bytes());
    }
    let files: [(&str, Vec<u8>); 5] = [
        ("plain.txt", format!("round {round}\n").into_bytes()),
        ("empty", Vec::new()),
        ("sub/text", b"the same line again\n".repeat(2000)),
        ("sub/incompressible", incompressible),
        ("odd \"name\"\\ ümlaut\n", b"odd".to_vec()),
    ];
    let mut truth = BTreeMap::new();
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &content).unwrap();
        truth.insert(Path::new("/media").join(name), content);
    }
    if round == 0 {
        std::os::unix::fs::symlink("plain.txt", folder.join("link")).unwrap();
    }
    truth.insert("/media/link".into(), b"plain.txt".to_vec());
    truth
}

fn capture(
    vault: &Vault,
    source: &Path,
    parent: Option<Id>,
    round: u8,
) -> (Id, BTreeMap<PathBuf, Vec<u8>>) {
    let mut session = vault.backup(BackupOptions { parent, ..Default::default() }).unwrap();
    let root = Root { source: source.to_owned(), tree: "media".into() };
    let filter = Arc::new(KeepAll);
    session.add_paths(&WalkSpec { roots: vec![root], filter, one_file_system: false }).unwrap();
    let time = jiff::Timestamp::from_second(1_767_323_045 + i64::from(round) * 3600).unwrap();
    let manifest = br#"{"format":1}"#.to_vec();
    session.add_bytes(Path::new("manifest.json"), &manifest, FileMeta::private(time)).unwrap();
    let pages: Vec<u8> = (0..20_000u32).flat_map(|n| (n / 1000).to_le_bytes()).collect();
    let path = Path::new("orders.db");
    let chunking = Chunking::Fixed(65536);
    session.add_stream(path, FileMeta::private(time), chunking, &mut &*pages).unwrap();
    assert_eq!(session.problems(), []);
    let tags = ["component=frozen", "run=20260102-030405", "schedule=nightly"];
    let tags = tags.map(str::to_owned).to_vec();
    let summary = session.finish(SnapshotMeta { time, tags, paths: vec!["/srv".into()] }).unwrap();
    let extra = [("/manifest.json", manifest), ("/orders.db", pages)];
    (summary.snapshot, extra.map(|(path, content)| (path.into(), content)).into())
}
