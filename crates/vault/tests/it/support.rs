//! What several tests need: vaults in memory and the stock `restic`.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::{
    BackupOptions, BackupSummary, Environment, Id, KeepAll, KeyStrength, LockStore, Monitor,
    Password, Problem, Result, Root, Snapshot, SnapshotMeta, Stage, Store, Vault, WalkSpec,
};

pub const PASSWORD: &str = "correct horse battery staple";

pub fn password() -> Password {
    Password::new(PASSWORD)
}

/// Keeps the lines that a vault says.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Monitor for Notes {
    fn total(&self, _: Stage, _: u64, _: u64) {}
    fn advance(&self, _: Stage, _: u64, _: u64) {}
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

pub fn noting(store: &MemoryStore) -> (Environment, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let mut environment = environment(store.clock().clone());
    environment.monitor = notes.clone();
    (environment, notes)
}

pub fn init(store: &Arc<MemoryStore>) -> Vault {
    let environment = environment(store.clock().clone());
    let strength = KeyStrength::Generated;
    Vault::init(store.clone(), store.clone(), &password(), strength, environment, None).unwrap()
}

pub fn open(store: &Arc<MemoryStore>) -> Result<Vault> {
    let environment = environment(store.clock().clone());
    open_on(store.clone(), store.clone(), environment)
}

pub fn open_on(
    store: Arc<dyn Store>,
    locks: Arc<dyn LockStore>,
    environment: Environment,
) -> Result<Vault> {
    Vault::open(store, Some(locks), &password(), environment)
}

/// The stock restic on a repository in a folder.
pub fn restic(repository: &Path, arguments: &[&str]) -> Output {
    restic_with(repository, PASSWORD, arguments)
}

pub fn restic_with(repository: &Path, password: &str, arguments: &[&str]) -> Output {
    let output = Command::new("restic")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .env("RESTIC_PASSWORD", password)
        .arg("--no-cache")
        .arg("-r")
        .arg(repository)
        .args(arguments)
        .output();
    match output {
        Ok(output) => output,
        Err(error) => {
            panic!("cannot run restic ({error}): install it with `apt-get install restic`")
        }
    }
}

#[track_caller]
pub fn restic_ok(repository: &Path, arguments: &[&str]) -> String {
    let output = restic(repository, arguments);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "restic {arguments:?}: {text}");
    text
}

/// `restic check --read-data` finds nothing to say.
#[track_caller]
pub fn restic_check(store: &MemoryStore) {
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let text = restic_ok(folder.path(), &["check", "--read-data", "--no-lock"]);
    assert!(text.contains("no errors were found"), "{text}");
}

/// One capture of a folder under its own path, and its problems.
pub fn backup(vault: &Vault, source: &Path, parent: Option<Id>) -> (BackupSummary, Vec<Problem>) {
    backup_with(vault, source, BackupOptions { parent, ..BackupOptions::default() })
}

pub fn backup_with(
    vault: &Vault,
    source: &Path,
    options: BackupOptions,
) -> (BackupSummary, Vec<Problem>) {
    let mut session = vault.backup(options).unwrap();
    session.add_paths(&walk(source)).unwrap();
    let problems = session.problems().to_vec();
    (session.finish(meta(source)).unwrap(), problems)
}

pub fn walk(source: &Path) -> WalkSpec {
    let tree = source.strip_prefix("/").unwrap().to_owned();
    let roots = vec![Root { source: source.to_owned(), tree }];
    WalkSpec { roots, filter: Arc::new(KeepAll), one_file_system: false }
}

pub fn meta(source: &Path) -> SnapshotMeta {
    let time = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
    SnapshotMeta { time, tags: vec!["component=test".into()], paths: vec![source.to_owned()] }
}

pub fn snapshot_of(vault: &Vault, summary: &BackupSummary) -> Snapshot {
    vault.snapshot(&summary.snapshot).unwrap()
}
