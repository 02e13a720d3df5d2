//! Measures the engine alone: `vaultbench init|backup|restore REPO [DIR]`, key in `RESTIC_PASSWORD`.
#![allow(
    clippy::disallowed_methods,
    reason = "a driver by hand, which has no composition root to ask for time or environment"
)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_vault::{
    BackupOptions, Cancel, Clock, Entry, Environment, KeepAll, KeyStrength, LockStore, NoMonitor,
    Password, RestoreOptions, Root, SnapshotMeta, Store, StoreError, StoreErrorKind, Vault,
    WalkSpec,
};

type Failure = Box<dyn std::error::Error>;

struct Local(PathBuf);

impl Local {
    fn failed(&self, verb: &'static str, key: &str, error: io::Error) -> StoreError {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => StoreErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => StoreErrorKind::Exists,
            io::ErrorKind::StorageFull => StoreErrorKind::NoSpace,
            _ => StoreErrorKind::Other,
        };
        let place = self.describe();
        StoreError { kind, verb, key: key.to_owned(), place, source: Some(error.into()) }
    }

    fn write(&self, key: &str, parts: &[Bytes]) -> io::Result<()> {
        let path = self.0.join(key);
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(temporary, path)
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let metadata = path.metadata()?;
        let key = path.strip_prefix(&self.0).unwrap_or(path).to_string_lossy().into_owned();
        let modified = Timestamp::try_from(metadata.modified()?).unwrap_or_default();
        Ok(Entry { key, size: metadata.len(), modified })
    }

    fn walk(&self, folder: &Path, found: &mut Vec<Entry>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { self.walk(&path, found)? } else { found.push(self.entry(&path)?) }
        }
        Ok(())
    }
}

impl Store for Local {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let bytes = fs::read(self.0.join(key)).map_err(|error| self.failed("get", key, error))?;
        Ok(bytes.into())
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let read = || -> io::Result<Bytes> {
            let mut bytes = vec![0; len as usize];
            File::open(self.0.join(key))?.read_exact_at(&mut bytes, offset)?;
            Ok(bytes.into())
        };
        read().map_err(|error| self.failed("get", key, error))
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.write(key, parts).map_err(|error| self.failed("create", key, error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        self.walk(&self.0.join(prefix), &mut found)
            .map_err(|error| self.failed("list", prefix, error))?;
        found.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(found)
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.entry(&self.0.join(key)).map_err(|error| self.failed("stat", key, error))
    }

    fn describe(&self) -> String {
        self.0.display().to_string()
    }
}

impl LockStore for Local {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.create(key, &[body])
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        fs::remove_file(self.0.join(key)).map_err(|error| self.failed("delete", key, error))
    }
}

struct SystemClock(Instant);

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (verb, repository) = match &arguments[..] {
        [verb, repository, ..] => (verb.as_str(), PathBuf::from(repository)),
        _ => return Err("vaultbench init|backup|restore REPO [DIR]".into()),
    };
    let folder = arguments.get(2).map(|folder| Path::new(folder).to_owned()).unwrap_or_default();
    let password = Password::new(std::env::var("RESTIC_PASSWORD")?);
    let local = Arc::new(Local(repository));
    let clock = SystemClock(Instant::now());
    let environment = Environment {
        clock: Arc::new(clock),
        monitor: Arc::new(NoMonitor),
        cancel: Cancel::default(),
        host: "bench".to_owned(),
        user: "bench".to_owned(),
        pid: std::process::id(),
    };
    if verb == "init" {
        Vault::init(local.clone(), local, &password, KeyStrength::Generated, environment, None)?;
        return Ok(());
    }
    let begun = Instant::now();
    let vault = Vault::open(local.clone(), Some(local), &password, environment)?;
    println!("open    {:6.3} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    match verb {
        "backup" => backup(&vault, &folder)?,
        "restore" => restore(&vault, &folder)?,
        _ => return Err("no such verb".into()),
    }
    println!("{verb} {:6.3} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn backup(vault: &Vault, folder: &Path) -> Result<(), Failure> {
    let folder = folder.canonicalize()?;
    let parent = vault.snapshots()?.last().map(|(id, _)| *id);
    let read_back = std::env::var_os("NO_READ_BACK").is_none();
    let options = BackupOptions { parent, read_back, ..BackupOptions::default() };
    let time = Timestamp::now();
    let mut session = vault.backup(options)?;
    let tree = folder.strip_prefix("/")?.to_owned();
    let root = Root { source: folder.clone(), tree };
    session.add_paths(&WalkSpec {
        roots: vec![root],
        filter: Arc::new(KeepAll),
        one_file_system: false,
    })?;
    for problem in session.problems() {
        println!("{problem}");
    }
    let summary = session.finish(SnapshotMeta { time, tags: Vec::new(), paths: vec![folder] })?;
    println!("{summary:#?}");
    Ok(())
}

fn restore(vault: &Vault, folder: &Path) -> Result<(), Failure> {
    let snapshots = vault.snapshots()?;
    let (_, snapshot) = snapshots.last().ok_or("no snapshot")?;
    let report = vault.restore(snapshot, &RestoreOptions::default(), folder)?;
    println!("{report:#?}");
    Ok(())
}
