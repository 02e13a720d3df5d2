//! A whole world for the flows in memory: a tier, fake sources and engines, a clock that obeys.
//!
//! A component's live data is a map of names to bytes. Its manifest is that of a file tree with an
//! honest fingerprint, so that what a real engine would find, this one finds. The fake engine
//! answers three questions: `count` (how many files), `rows` (the lines of the file `rows`) and
//! anything else as an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::chain::PlanText;
use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{self, Content, FilesContent, FilesRoot, Manifest};
use lifeboat_model::plan::Plan;
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::{Adapters, Secret, Tier, VaultKey, World};
use lifeboat_recovery::ports::{
    Answer, Capture, CaptureContext, Disk, Engine, EngineError, InPlace, KeyRights, LogError,
    LogReader, Opened, Outcome, Place, Presence, RecoverContext, RecoverTo, Recovered, Request,
    Runner, Source, SourceError, WriterProof,
};
use lifeboat_recovery::state::State;
use lifeboat_testkit::{MemoryStore, SimClock};
use lifeboat_vault::{
    BackupSession, Cancel, DeleteStore, Entry, FileMeta, KeyStrength, LockStore, NoMonitor, Store,
    StoreError, StoreErrorKind,
};
use sha2::{Digest, Sha256};

use crate::fake_log::{self, FakeLog, Server};

pub const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// Two components; `orders` names files of `media`.
pub const PLAN: &str = r#"
[plan]
name = "Shop"
rto = "4h"
rpo = "1d"
[tier.local]
url = "/tier"
[component.orders]
order = 1
files = { paths = ["orders"] }
checks = [{ name = "orders present", query = "count", min = 1 }]
[component.media]
order = 2
files = { paths = ["media"] }
[schedule.nightly]
components = ["*"]
cron = "0 2 * * *"
[drill.weekly]
components = ["*"]
cron = "0 4 * * 6#1"
"#;

type Files = BTreeMap<String, Vec<u8>>;

/// What can be done to a source, an engine and a service.
#[derive(Default)]
pub struct Live {
    pub data: BTreeMap<String, Files>,
    /// Components whose source is missing.
    pub missing: Vec<String>,
    /// What the source says it had to skip.
    pub problems: BTreeMap<String, Vec<String>>,
    /// Names of running writers, as the in-place port finds them.
    pub writers: Vec<String>,
    /// Writers that were stopped, and run again after the start command.
    pub asleep: Vec<String>,
    /// Components of which the former state cannot be put back.
    pub undo_fails: Vec<String>,
    /// The stop command works once.
    pub never_stops_again: bool,
    /// The process dies (panics) after so many more touches of the live world.
    pub dies_after: Option<usize>,
    /// The in-place swap fails.
    pub swap_fails: bool,
    /// Commands that end with another status than 0.
    pub commands: BTreeMap<String, i32>,
    /// Everything that touched the live world, in order.
    pub log: Vec<String>,
    /// Files that the engine plants into a restored copy before it looks: a wrong copy.
    pub spoil: Option<String>,
    /// The engine looks at nothing at all.
    pub blind: bool,
    /// The engine cannot read a copy to its end.
    pub unread: bool,
    /// The records in this folder are made such that no staging folder can be removed for good.
    pub stuck: Option<PathBuf>,
    /// A folder that somebody makes while the last component is judged.
    pub plant: Option<PathBuf>,
    /// Seconds that it takes to read a source.
    pub slow: BTreeMap<String, u64>,
    /// The place in its log that a component's capture names.
    pub positions: BTreeMap<String, LogPosition>,
    /// A stop request is made when this component is captured or checked.
    pub cancel_at: Option<String>,
    /// Components that are servers with a log.
    pub servers: BTreeMap<String, Server>,
    /// Components whose copy was brought along a log.
    pub recovered: Vec<String>,
    /// Copies that were settled.
    pub settled: usize,
}

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub clock: Arc<SimClock>,
    pub live: Arc<Mutex<Live>>,
    pub plan: String,
    /// The plan file's name.
    pub plan_file: String,
    pub host: String,
    pub key: Option<String>,
    pub mounted: Arc<Mutex<bool>>,
    pub free: Arc<Mutex<Option<u64>>>,
    pub cancel: Cancel,
}

/// Now, in the tests.
pub fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub fn bench() -> Bench {
    let live = Live {
        data: BTreeMap::from([
            ("orders".to_owned(), files(&[("rows", "a.jpg\nb.jpg\n"), ("orders.txt", "1 2 3")])),
            ("media".to_owned(), files(&[("a.jpg", "AAAA"), ("b.jpg", "BBBBBB")])),
        ]),
        ..Live::default()
    };
    Bench {
        folder: tempfile::tempdir().unwrap(),
        clock: Arc::new(SimClock::at(noon())),
        live: Arc::new(Mutex::new(live)),
        plan: PLAN.to_owned(),
        plan_file: "lifeboat.toml".to_owned(),
        host: "shop-1".to_owned(),
        key: Some(KEY.to_owned()),
        mounted: Arc::new(Mutex::new(true)),
        free: Arc::new(Mutex::new(Some(1 << 40))),
        cancel: Cancel::default(),
    }
}

pub fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, body)| ((*name).to_owned(), body.as_bytes().to_vec())).collect()
}

/// A store that can delete, for locks.
pub trait Backing: Store + DeleteStore {}
impl<T: Store + DeleteStore> Backing for T {}

impl Bench {
    pub fn tier(&self) -> Arc<MemoryStore> {
        Arc::new(MemoryStore::new(self.clock.clone()))
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("app/.lifeboat")
    }

    pub fn app(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    pub fn clock_now(&self) -> Timestamp {
        lifeboat_vault::Clock::wall(&*self.clock)
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.advance(std::time::Duration::from_secs(seconds as u64));
    }

    pub fn set_back(&self, seconds: i64) {
        self.clock.step_wall(SignedDuration::from_secs(-seconds));
    }

    /// What a new process would be given.
    pub fn world(&self, tier: &Arc<impl Backing + 'static>) -> World {
        fs::create_dir_all(self.app()).unwrap();
        let plan = Plan::parse(&[("lifeboat.toml", &self.plan)]).expect("the plan parses");
        let tier: Arc<dyn Backing> = tier.clone();
        World {
            revision: plan.revision(),
            texts: Arc::new(vec![PlanText {
                name: "lifeboat.toml".to_owned(),
                text: self.plan.clone(),
            }]),
            plan_folder: self.app(),
            plan_file: self.app().join(&self.plan_file),
            state: State::new(plan.state(&self.app())),
            plan: Arc::new(plan),
            clock: self.clock.clone(),
            monitor: Arc::new(NoMonitor),
            cancel: self.cancel.clone(),
            operator: "olga".to_owned(),
            host: self.host.clone(),
            user: "olga".to_owned(),
            pid: std::process::id(),
            tier: Tier {
                name: "local".to_owned(),
                url: "/tier".to_owned(),
                place: Arc::new(MemoryPlace { tier, mounted: self.mounted.clone() }),
            },
            tiers: Vec::new(),
            other_tiers: Vec::new(),
            key: self.key.as_ref().map(|key| VaultKey {
                secret: Secret::new(key.clone()),
                strength: KeyStrength::Generated,
            }),
            identity: None,
            adapters: self.adapters(),
            runner: Arc::new(FakeRunner(self.live.clone())),
            disk: Arc::new(FakeDisk(self.free.clone())),
            rehearsal: None,
            version: "0.1.0-test".to_owned(),
        }
    }

    /// The same with a second tier; `--tier second` is [`Bench::in_second`].
    pub fn world_of(
        &self,
        tier: &Arc<impl Backing + 'static>,
        second: &Arc<impl Backing + 'static>,
    ) -> World {
        let world = self.world(tier);
        let second: Arc<dyn Backing> = second.clone();
        let tiers = vec![
            world.tier.clone(),
            Tier {
                name: "second".to_owned(),
                url: "/second".to_owned(),
                place: Arc::new(MemoryPlace { tier: second, mounted: self.mounted.clone() }),
            },
        ];
        World { tiers, ..world }
    }

    /// In the second tier.
    pub fn in_second(
        &self,
        tier: &Arc<impl Backing + 'static>,
        second: &Arc<impl Backing + 'static>,
    ) -> World {
        let world = self.world_of(tier, second);
        world.with_tier(&world.tiers[1])
    }

    fn adapters(&self) -> Adapters {
        let (live, cancel) = (self.live.clone(), self.cancel.clone());
        let clock = self.clock.clone();
        let source = move |name: &str| -> Result<Box<dyn Source>, SourceError> {
            let (live, clock) = (live.clone(), clock.clone());
            Ok(Box::new(FakeSource(live, name.to_owned(), cancel.clone(), clock)))
        };
        let (live, cancel) = (self.live.clone(), self.cancel.clone());
        let in_place = self.live.clone();
        let app = self.app();
        Adapters {
            source: Arc::new(source),
            log: self.logs(),
            unsettled: Arc::new(|_| None),
            in_use: Arc::new(|_| None),
            engine: Arc::new(move |_, _, _, _| {
                Ok(Box::new(FakeEngine(live.clone(), cancel.clone())))
            }),
            in_place: Arc::new(move |name, _| {
                Ok(Box::new(FakeInPlace(in_place.clone(), app.join(name))))
            }),
        }
    }

    fn logs(&self) -> Arc<lifeboat_recovery::env::MakeLog> {
        let (live, cancel) = (self.live.clone(), self.cancel.clone());
        Arc::new(move |name| {
            let mut world = live.lock().unwrap();
            let Some(server) = world.servers.get_mut(name) else {
                let what = format!("{name} has no log");
                return Err(LogError::Unfit { what, hint: "give it one".to_owned() });
            };
            server.made += 1;
            let (live, component, cancel) = (live.clone(), name.to_owned(), cancel.clone());
            Ok(Box::new(FakeLog { live, component, cursor: Position::default(), cancel }))
        })
    }

    /// A change of a server: of its files, and in its log.
    pub fn write(&self, component: &str, name: &str, body: &str) {
        self.set(component, name, body);
        let mut live = self.live.lock().unwrap();
        live.servers.get_mut(component).expect("a server").write(name, body);
    }

    pub fn set(&self, component: &str, name: &str, body: &str) {
        let mut live = self.live.lock().unwrap();
        let files = live.data.entry(component.to_owned()).or_default();
        files.insert(name.to_owned(), body.as_bytes().to_vec());
    }

    pub fn log(&self) -> Vec<String> {
        self.live.lock().unwrap().log.clone()
    }

    pub fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap()
    }
}

/// Everything below a folder, by relative name; folders end with a slash.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                out.insert(format!("{name}/"), Vec::new());
                walk(root, &path, out);
            } else {
                out.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(folder, folder, &mut out);
    out
}

// ---- the tier

struct MemoryPlace {
    tier: Arc<dyn Backing>,
    mounted: Arc<Mutex<bool>>,
}

impl Place for MemoryPlace {
    fn look(&self) -> Result<Presence, StoreError> {
        if !*self.mounted.lock().unwrap() {
            return Ok(Presence::Empty);
        }
        let keys = self.tier.list("")?;
        let starts = |prefix: &str| keys.iter().any(|entry| entry.key.starts_with(prefix));
        if keys.is_empty() {
            return Ok(Presence::Absent);
        }
        if starts("vault/config") || starts("vault/keys/") {
            return Ok(Presence::Vault);
        }
        let mut names: Vec<String> =
            keys.iter().filter_map(|e| e.key.split('/').next().map(str::to_owned)).collect();
        names.dedup();
        names.truncate(3);
        Ok(Presence::Other(names))
    }

    fn open(&self, make: bool) -> Result<Opened, StoreError> {
        if !*self.mounted.lock().unwrap() && !make {
            return Err(StoreError {
                kind: StoreErrorKind::Unreachable,
                verb: "open",
                key: String::new(),
                place: "memory".to_owned(),
                source: None,
            });
        }
        let below = Arc::new(Below(self.tier.clone()));
        Ok(Opened { store: Arc::new(Whole(self.tier.clone())), vault: below.clone(), locks: below })
    }

    fn deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        Ok(Arc::new(Below(self.tier.clone())))
    }

    fn journal_deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        Ok(Arc::new(Narrow(self.tier.clone(), "journal/")))
    }

    fn key_rights(&self) -> Result<KeyRights, StoreError> {
        Ok(KeyRights {
            keys: Arc::new(Narrow(Arc::new(Below(self.tier.clone())), "keys/")),
            identities: Arc::new(Narrow(self.tier.clone(), "journal/identity")),
        })
    }

    fn folder(&self) -> Option<PathBuf> {
        None
    }
}

/// May delete what begins so.
struct Narrow<S>(Arc<S>, &'static str)
where
    S: DeleteStore + ?Sized;

impl<S: DeleteStore + ?Sized> DeleteStore for Narrow<S> {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        assert!(key.starts_with(self.1), "{key} is not to be deleted");
        self.0.delete(key)
    }
}

struct Whole(Arc<dyn Backing>);

impl Store for Whole {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.0.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.0.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.0.create(key, parts)
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

/// The part of a tier below `vault/`.
struct Below(Arc<dyn Backing>);

impl Below {
    fn key(key: &str) -> String {
        format!("vault/{key}").trim_end_matches('/').to_owned()
    }
    fn strip(mut entry: Entry) -> Entry {
        entry.key = entry.key.trim_start_matches("vault/").to_owned();
        entry
    }
}

impl Store for Below {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.0.get(&Below::key(key))
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.0.get_range(&Below::key(key), offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.0.create(&Below::key(key), parts)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        Ok(self.0.list(&Below::key(prefix))?.into_iter().map(Below::strip).collect())
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.0.stat(&Below::key(key)).map(Below::strip)
    }
    fn describe(&self) -> String {
        format!("{}/vault", self.0.describe())
    }
}

impl DeleteStore for Below {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(&Below::key(key))
    }
}

impl LockStore for Below {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        assert!(key.starts_with("locks/"), "{key} is no lock");
        self.0.create(&Below::key(key), &[body])
    }
    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        assert!(key.starts_with("locks/"), "{key} is no lock");
        self.0.delete(&Below::key(key))
    }
}

// ---- the live world

struct FakeSource(Arc<Mutex<Live>>, String, Cancel, Arc<SimClock>);

fn fingerprint<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sha = Sha256::new();
    for (name, body) in files {
        sha.update(name.as_bytes());
        sha.update([0]);
        sha.update((body.len() as u64).to_le_bytes());
        sha.update(body);
    }
    hex::encode(sha.finalize())
}

impl Source for FakeSource {
    fn capture(
        &mut self,
        session: &mut BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError> {
        let mut live = self.0.lock().unwrap();
        live.log.push(format!("capture {}", self.1));
        if live.missing.contains(&self.1) {
            return Err(SourceError::Missing { what: format!("/app/{}", self.1) });
        }
        let started = context.clock.wall();
        if live.cancel_at.as_ref() == Some(&self.1) {
            self.2.cancel();
        }
        let data = live.data.get(&self.1).cloned().unwrap_or_default();
        for (name, body) in &data {
            session.add_bytes(Path::new(name), body, FileMeta::private(started))?;
        }
        let position = live.servers.get(&self.1).map(|server| LogPosition {
            lineage: server.lineage.clone(),
            position: Position::new(server.line, server.end),
        });
        let slow = live.slow.get(&self.1).copied().unwrap_or(0);
        self.3.advance(std::time::Duration::from_secs(slow));
        let content = FilesContent {
            roots: vec![FilesRoot { source: format!("/app/{}", self.1), tree: "/".to_owned() }],
            files: data.len() as u64,
            folders: 0,
            others: 0,
            bytes: data.values().map(|body| body.len() as u64).sum(),
            allocated: None,
            fingerprint: fingerprint(data.iter().map(|(n, b)| (n.as_str(), b.as_slice()))),
            problems: live.problems.get(&self.1).cloned().unwrap_or_default(),
        };
        Ok(Capture {
            manifest: Manifest {
                format: manifest::FORMAT,
                component: self.1.clone(),
                version: "0.1.0-test".to_owned(),
                host: context.host.to_owned(),
                started,
                finished: context.clock.wall(),
                position: position.or_else(|| live.positions.get(&self.1).cloned()),
                content: Content::Files(content),
            },
            complete_up_to: started,
            blocked: None,
        })
    }
}

struct FakeEngine(Arc<Mutex<Live>>, Cancel);

fn described(manifest: &Manifest) -> &FilesContent {
    match &manifest.content {
        Content::Files(content) => content,
        _ => panic!("the fake engine knows files only"),
    }
}

impl FakeEngine {
    /// What a test wants done to the copy, whichever examination comes first.
    fn spoil(&self, copy: &Path, manifest: &Manifest) {
        if self.0.lock().unwrap().spoil.as_deref() == Some(&manifest.component) {
            fs::write(copy.join("spoilt"), b"not in the manifest").unwrap();
        }
    }
}

impl Engine for FakeEngine {
    fn recover(
        &self,
        copy: &Path,
        manifest: &Manifest,
        log: Option<&dyn LogReader>,
        to: &RecoverTo,
        context: &RecoverContext<'_>,
    ) -> Result<Option<Recovered>, EngineError> {
        assert!(context.scratch.is_dir(), "there is a folder to work in");
        let Some(log) = log else { return Ok(None) };
        let recovered = fake_log::recover(copy, &BTreeMap::new(), log, to)?;
        self.0.lock().unwrap().recovered.push(manifest.component.clone());
        Ok(Some(recovered))
    }

    fn settle(&self, copy: &Path) -> Result<(), EngineError> {
        assert!(copy.is_dir(), "it is settled where it was made");
        self.0.lock().unwrap().settled += 1;
        Ok(())
    }

    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        if self.0.lock().unwrap().blind {
            return Vec::new();
        }
        if let Some(records) = self.0.lock().unwrap().stuck.take() {
            for entry in fs::read_dir(records).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|e| e == "json") {
                    fs::remove_file(&path).unwrap();
                    fs::create_dir(&path).unwrap();
                }
            }
        }
        self.spoil(copy, manifest);
        if self.0.lock().unwrap().recovered.contains(&manifest.component) {
            return vec![CheckResult::compare("files", true, !tree(copy).is_empty())];
        }
        vec![CheckResult::compare("files", described(manifest).files, tree(copy).len())]
    }

    fn content(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        self.spoil(copy, manifest);
        let live = self.0.lock().unwrap();
        if let Some(folder) = live.plant.as_ref().filter(|_| manifest.component == "media") {
            fs::create_dir_all(folder).unwrap();
        }
        if live.cancel_at.as_ref() == Some(&manifest.component) {
            self.1.cancel();
            let stopped = (Verdict::Inconclusive, "a fingerprint", "stopped");
            return vec![CheckResult::new("fingerprint", stopped.0, stopped.1, stopped.2)];
        }
        if live.unread {
            let (verdict, found) = (Verdict::Inconclusive, "the tier went away");
            return vec![CheckResult::new("fingerprint", verdict, "a fingerprint", found)];
        }
        drop(live);
        let found = tree(copy);
        let print = fingerprint(found.iter().map(|(n, b)| (n.as_str(), b.as_slice())));
        vec![CheckResult::compare("fingerprint", &described(manifest).fingerprint, print)]
    }

    fn query(&self, copy: &Path, sql: &str) -> Result<Answer, EngineError> {
        match sql {
            "count" => {
                let count = tree(copy).len().to_string();
                Ok(Answer { rows: vec![vec![Some(count)]] })
            }
            "rows" => {
                let text = fs::read_to_string(copy.join("rows")).unwrap_or_default();
                let rows = text.lines().map(|line| vec![Some(line.to_owned())]).collect();
                Ok(Answer { rows })
            }
            other => {
                Err(EngineError::Failed { what: format!("no such table: {other}"), source: None })
            }
        }
    }
}

struct FakeInPlace(Arc<Mutex<Live>>, PathBuf);

/// Like a real one it holds a lock on the live data until it is gone.
impl Drop for FakeInPlace {
    fn drop(&mut self) {
        self.0.lock().unwrap().log.push("released".to_owned());
    }
}

impl InPlace for FakeInPlace {
    fn writers(&self) -> Result<WriterProof, EngineError> {
        let live = self.0.lock().unwrap();
        let writers = self.held_by(&live);
        Ok(match writers.is_empty() {
            true => WriterProof::Stopped,
            false => WriterProof::Running(writers.to_vec()),
        })
    }

    fn staging_parent(&self) -> PathBuf {
        self.1.parent().unwrap().to_owned()
    }

    fn swap(&self, copy: &Path, _: &Manifest, keep_as: &str) -> Result<Vec<PathBuf>, EngineError> {
        let mut live = self.0.lock().unwrap();
        live.log.push("swap".to_owned());
        if live.swap_fails {
            return Err(EngineError::Failed { what: "the swap failed".to_owned(), source: None });
        }
        self.refuse_writers(&live)?;
        let kept = self.1.with_extension(format!("before-{keep_as}"));
        fs::rename(&self.1, &kept).unwrap();
        fs::rename(copy, &self.1).unwrap();
        die(live);
        Ok(vec![kept])
    }

    fn live(&self) -> Result<String, EngineError> {
        use std::os::unix::fs::MetadataExt;
        Ok(fs::metadata(&self.1).map_or_else(|_| String::new(), |found| found.ino().to_string()))
    }

    fn kept(&self, keep_as: &str) -> Vec<PathBuf> {
        vec![self.1.with_extension(format!("before-{keep_as}"))]
    }

    fn mend(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn undo(&self, kept: &[PathBuf]) -> Result<(), EngineError> {
        let mut live = self.0.lock().unwrap();
        live.log.push("undo".to_owned());
        self.refuse_writers(&live)?;
        if live.undo_fails.iter().any(|name| self.1.ends_with(name)) {
            return Err(EngineError::Failed { what: "the undo failed".to_owned(), source: None });
        }
        fs::remove_dir_all(&self.1).unwrap();
        fs::rename(&kept[0], &self.1).unwrap();
        die(live);
        Ok(())
    }
}

impl FakeInPlace {
    /// The service has nothing of `settings` open.
    fn held_by<'a>(&self, live: &'a Live) -> &'a [String] {
        if self.1.ends_with("settings") { &[] } else { &live.writers }
    }

    /// Like a real one: nothing is moved away under a writer.
    fn refuse_writers(&self, live: &Live) -> Result<(), EngineError> {
        match self.held_by(live) {
            [] => Ok(()),
            who => Err(EngineError::Refused {
                what: format!("{} has the data open", who.join(", ")),
                hint: "stop it".to_owned(),
            }),
        }
    }
}

/// Ends the process, as far as a test can, if its time has come.
fn die(mut live: std::sync::MutexGuard<'_, Live>) {
    let Some(left) = live.dies_after else { return };
    live.dies_after = left.checked_sub(1);
    if left == 0 {
        drop(live);
        std::panic::panic_any("killed");
    }
}

struct FakeRunner(Arc<Mutex<Live>>);

impl Runner for FakeRunner {
    fn run(&self, request: &Request) -> std::io::Result<Outcome> {
        let mut live = self.0.lock().unwrap();
        live.log.push(request.command.clone());
        let status = live.commands.get(&request.command).copied().unwrap_or(0);
        let stops = live.log.iter().filter(|line| *line == "stop-it").count();
        if request.command == "stop-it" && !(live.never_stops_again && stops > 1) {
            let writers = std::mem::take(&mut live.writers);
            live.asleep.extend(writers);
        } else if request.command == "start-it" && status == 0 {
            let asleep = std::mem::take(&mut live.asleep);
            live.writers.extend(asleep);
        }
        die(live);
        Ok(Outcome {
            status: Some(status),
            timed_out: false,
            output: format!("{} said so\n", request.command),
            elapsed: std::time::Duration::ZERO,
        })
    }
}

struct FakeDisk(Arc<Mutex<Option<u64>>>);

impl Disk for FakeDisk {
    fn free(&self, _: &Path) -> Option<u64> {
        *self.0.lock().unwrap()
    }
}
