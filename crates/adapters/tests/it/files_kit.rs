//! What tests of file components share: a tree, a vault in a local tier, a capture, a restore.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::files::{FilesEngine, FilesOptions, FilesSource};
use lifeboat_adapters::store::LocalPlace;
use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, FilesContent, Manifest};
use lifeboat_recovery::ports::{CaptureContext, Engine, Place, Source, SourceError};
use lifeboat_vault::{
    BackupOptions, BackupSummary, Cancel, Environment, FileMeta, KeyStrength, Monitor, NoMonitor,
    Password, RestoreOptions, RestoreReport, Snapshot, SnapshotMeta, Stage, Vault,
};
use tempfile::TempDir;

/// The key of the vault, which the stock `restic` opens too.
pub const PASSWORD: &str = "correct horse battery staple";

/// Keeps what is said aloud.
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

/// A folder with an application `app` in it, and a tier `tier` beside it.
pub struct Kit {
    guard: TempDir,
    pub vault: Vault,
    pub notes: Arc<Notes>,
}

/// A snapshot and what was told of it.
pub struct Taken {
    pub summary: BackupSummary,
    pub snapshot: Snapshot,
    pub manifest: Manifest,
}

impl Taken {
    pub fn content(&self) -> &FilesContent {
        match &self.manifest.content {
            Content::Files(content) => content,
            _ => panic!("not files"),
        }
    }
}

impl Kit {
    pub fn new() -> Kit {
        let guard = TempDir::new().unwrap();
        let place = LocalPlace::new(guard.path().join("tier"), Arc::new(SystemClock::new()));
        let opened = place.open(true).unwrap();
        let environment = Environment {
            clock: Arc::new(SystemClock::new()),
            monitor: Arc::new(NoMonitor),
            cancel: Cancel::default(),
            host: "testhost".into(),
            user: "tester".into(),
            pid: std::process::id(),
        };
        let password = Password::new(PASSWORD);
        let strength = KeyStrength::Generated;
        let vault = Vault::init(opened.vault, opened.locks, &password, strength, environment, None);
        std::fs::create_dir(guard.path().join("app")).unwrap();
        Kit { guard, vault: vault.unwrap(), notes: Arc::default() }
    }

    /// The folder of everything, without symbolic links.
    pub fn base(&self) -> PathBuf {
        self.guard.path().canonicalize().unwrap()
    }

    /// A path in the application.
    pub fn app(&self, path: &str) -> PathBuf {
        self.base().join("app").join(path)
    }

    /// Makes a file in the application, with the folders above it.
    pub fn write(&self, path: &str, body: impl AsRef<[u8]>) -> PathBuf {
        let path = self.app(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, body).unwrap();
        path
    }

    /// The component of these paths of the application.
    pub fn options(&self, paths: &[&str]) -> FilesOptions {
        FilesOptions {
            component: "media".into(),
            roots: paths.iter().map(|path| (self.app(path), Path::new("/").join(path))).collect(),
            include: Vec::new(),
            exclude: Vec::new(),
            one_file_system: false,
            keep_out: Vec::new(),
        }
    }

    pub fn capture(&self, options: FilesOptions) -> Result<Taken, SourceError> {
        let clock = SystemClock::new();
        let parent = self.vault.snapshots()?.last().map(|(id, _)| *id);
        let mut session = self.vault.backup(BackupOptions { parent, ..Default::default() })?;
        let context = CaptureContext {
            clock: &clock,
            monitor: &*self.notes,
            cancel: &Cancel::default(),
            host: "testhost",
        };
        let capture = FilesSource::new(options).capture(&mut session, &context)?;
        let manifest = serde_json::to_vec(&capture.manifest).unwrap();
        let meta = FileMeta::private(capture.manifest.started);
        session.add_bytes(Path::new("/manifest.json"), &manifest, meta)?;
        let meta = SnapshotMeta {
            time: capture.manifest.started,
            tags: vec!["component=media".into()],
            paths: Vec::new(),
        };
        let summary = session.finish(meta)?;
        let snapshot = self.vault.snapshot(&summary.snapshot)?;
        Ok(Taken { summary, snapshot, manifest: capture.manifest })
    }

    /// Restores beside the application, without the manifest, as a restore does.
    pub fn restore(&self, taken: &Taken, to: &str) -> (PathBuf, RestoreReport) {
        let target = self.base().join(to);
        let report =
            self.vault.restore(&taken.snapshot, &RestoreOptions::default(), &target).unwrap();
        std::fs::remove_file(target.join("manifest.json")).unwrap();
        (target, report)
    }

    pub fn engine(&self, taken: &Taken) -> FilesEngine {
        FilesEngine::new(self.vault.clone(), taken.snapshot.clone())
    }

    /// All checks of a copy: structure, then content; asked at once they say the same.
    pub fn judge(&self, taken: &Taken, copy: &Path) -> Vec<CheckResult> {
        let engine = self.engine(taken);
        let mut checks = engine.structure(copy, &taken.manifest);
        checks.extend(engine.content(copy, &taken.manifest));
        let (mut at_once, content) = engine.examine(copy, &taken.manifest);
        at_once.extend(content);
        assert_eq!(at_once, checks);
        checks
    }
}
