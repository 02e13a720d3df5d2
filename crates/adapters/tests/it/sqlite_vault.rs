//! From the live database through a vault to a checked copy.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::{SqliteOptions, SqliteSource};
use lifeboat_recovery::ports::{Capture, CaptureContext, Source, SourceError};
use lifeboat_testkit::{MemoryStore, SimClock};
use lifeboat_vault::{
    BackupOptions, Cancel, Clock, Environment, Error, KeyStrength, NoMonitor, NodeKind, Password,
    Snapshot, SnapshotMeta, Vault,
};
use rusqlite::Connection;

use crate::sqlite_kit::{Bench, faults, same};
use crate::stream_kit::{BOOKS, Base, Scene, Stream, transfer};

fn vault(cancel: &Cancel) -> Vault {
    let store = Arc::new(MemoryStore::new(Arc::new(SimClock::at(SystemClock::new().wall()))));
    let environment = Environment {
        clock: Arc::new(SystemClock::new()),
        monitor: Arc::new(NoMonitor),
        cancel: cancel.clone(),
        host: "host".to_owned(),
        user: "user".to_owned(),
        pid: std::process::id(),
    };
    let password = Password::new("test");
    let (locks, strength) = (Arc::clone(&store), KeyStrength::Generated);
    Vault::init(store, locks, &password, strength, environment, None).expect("vault")
}

fn capture(
    vault: &Vault,
    options: SqliteOptions,
    cancel: &Cancel,
) -> Result<(Capture, Snapshot), SourceError> {
    capture_by(vault, options, cancel, &SystemClock::new())
}

fn capture_by(
    vault: &Vault,
    options: SqliteOptions,
    cancel: &Cancel,
    clock: &dyn Clock,
) -> Result<(Capture, Snapshot), SourceError> {
    let context = CaptureContext { clock, monitor: &NoMonitor, cancel, host: "host" };
    let mut session = vault.backup(BackupOptions::default()).expect("session");
    let capture = SqliteSource::new("app", options).capture(&mut session, &context)?;
    let meta = SnapshotMeta { time: clock.wall(), tags: Vec::new(), paths: Vec::new() };
    let summary = session.finish(meta).expect("snapshot");
    Ok((capture, vault.snapshot(&summary.snapshot).expect("snapshot")))
}

fn fetch(vault: &Vault, snapshot: &Snapshot, name: &str, to: &Path) {
    std::fs::write(to, vault.read_file(snapshot, name).expect("stored")).expect("write");
}

#[test]
fn a_capture_comes_back_from_the_vault_as_it_was() {
    for mode in ["WAL", "DELETE"] {
        let bench = Bench::new();
        let live = bench.open(&format!(
            "PRAGMA journal_mode={mode}; CREATE TABLE t(a INTEGER PRIMARY KEY, b);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO t SELECT i, randomblob(300) FROM n;"
        ));
        std::fs::set_permissions(bench.live(), std::os::unix::fs::PermissionsExt::from_mode(0o640))
            .expect("mode");
        let (cancel, before) = (Cancel::default(), SystemClock::new().wall());
        let vault = vault(&cancel);
        let (capture, snapshot) =
            capture(&vault, SqliteOptions::new(bench.live()), &cancel).expect("captured");
        assert!(
            before <= capture.complete_up_to && capture.complete_up_to <= capture.manifest.finished
        );
        assert_eq!(capture.manifest.started, capture.complete_up_to);
        assert_eq!(capture.blocked.is_some(), mode == "DELETE");
        let node = vault.node(&snapshot, "app.db").expect("node");
        assert_eq!((node.kind, node.unix_mode()), (NodeKind::File, 0o640));
        fetch(&vault, &snapshot, "app.db", &bench.copy());
        let lifeboat_model::manifest::Content::Sqlite(content) = &capture.manifest.content else {
            panic!()
        };
        assert_eq!(faults(&bench.copy(), content), Vec::<String>::new());
        if mode == "WAL" {
            live.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoint");
        }
        assert!(same(&bench.live(), &bench.copy()), "{mode}");
    }
}

/// Void tries leave nothing of themselves in the tree: the last one counts.
#[test]
fn a_void_try_is_replaced_by_the_one_that_counts() {
    let bench = Bench::new();
    drop(bench.open(
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         INSERT INTO t SELECT i, randomblob(300) FROM n;",
    ));
    let (stop, live) = (Cancel::default(), bench.live());
    let halt = stop.clone();
    let writer = std::thread::spawn(move || {
        let connection = Connection::open(live).expect("open");
        connection.busy_timeout(Duration::from_secs(60)).expect("timeout");
        connection.execute_batch("PRAGMA synchronous=OFF").expect("pragma");
        while !halt.is_cancelled() {
            connection.execute("UPDATE t SET b = randomblob(300) WHERE a = 7", []).expect("update");
            SystemClock::new().sleep(Duration::from_millis(2));
        }
    });
    let cancel = Cancel::default();
    let vault = vault(&cancel);
    let mut options = SqliteOptions::new(bench.live());
    options.max_block = Duration::from_secs(60);
    let captured = capture(&vault, options, &cancel);
    stop.cancel();
    writer.join().expect("writer");
    let (capture, snapshot) = captured.expect("captured");
    fetch(&vault, &snapshot, "app.db", &bench.copy());
    let lifeboat_model::manifest::Content::Sqlite(content) = &capture.manifest.content else {
        panic!()
    };
    assert_eq!(content.method, "shared-lock", "three tries must have been void");
    assert!(content.blocked_ms > 0);
    assert_eq!(faults(&bench.copy(), content), Vec::<String>::new());
}

#[test]
fn refusals_and_stops_keep_their_kind() {
    let bench = Bench::new();
    let cancel = Cancel::default();
    let vault = vault(&cancel);
    let options = SqliteOptions::new(PathBuf::from("/nowhere/at/all.db"));
    assert!(matches!(capture(&vault, options, &cancel), Err(SourceError::Missing { .. })));
    std::fs::write(bench.live(), b"not a database").expect("write");
    let refused = capture(&vault, SqliteOptions::new(bench.live()), &cancel);
    assert!(matches!(refused, Err(SourceError::Unfit { .. })));
    std::fs::remove_file(bench.live()).expect("remove");
    drop(bench.open("CREATE TABLE t(a); INSERT INTO t VALUES (1);"));
    let context_cancel = Cancel::default();
    context_cancel.cancel();
    let stopped = capture(&vault, SqliteOptions::new(bench.live()), &context_cancel);
    assert!(matches!(stopped, Err(SourceError::Vault(Error::Cancelled))));
}

fn streamed(scene: &Scene) -> SqliteOptions {
    let mut options = SqliteOptions::new(scene.live());
    options.stream = Some(scene.state());
    options
}

/// A base that is taken beside a stream knows from where in the journal it is led on; one that is
/// taken without a living stream does not, for nobody vouches for what it missed.
#[test]
fn a_base_beside_a_living_stream_knows_its_position() {
    let scene = Scene::new();
    let app = scene.open(&format!("PRAGMA journal_mode=WAL; {BOOKS}"));
    let cancel = Cancel::default();
    let vault = vault(&cancel);
    let position = |found: Result<(Capture, Snapshot), SourceError>| {
        found.expect("captured").0.manifest.position
    };
    assert_eq!(position(capture(&vault, streamed(&scene), &cancel)), None);
    let mut stream = scene.stream();
    stream.drain();
    transfer(&app, 1).expect("transfer");
    stream.drain();
    let (end, done) = (scene.journal().end(), AtomicBool::new(false));
    let (captured, mut stream) = std::thread::scope(|scope| {
        let streaming = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                stream.tick();
            }
            stream
        });
        let captured = capture(&vault, streamed(&scene), &cancel);
        done.store(true, Ordering::SeqCst);
        (captured, streaming.join().expect("stream"))
    });
    let (capture_found, snapshot) = captured.expect("captured");
    assert_eq!(capture_found.manifest.position, Some(end));
    let folder = scene.folder.path().join("base");
    std::fs::create_dir_all(&folder).expect("folder");
    fetch(&vault, &snapshot, "app.db", &folder.join("app.db"));
    let lifeboat_model::manifest::Content::Sqlite(content) = &capture_found.manifest.content else {
        panic!()
    };
    let base = Base { folder, content: content.clone(), manifest: capture_found.manifest.clone() };
    for number in 2..=9 {
        transfer(&app, number).expect("transfer");
    }
    stream.drain();
    scene.equal(&base);
    drop(stream);
    assert_eq!(position(capture(&vault, streamed(&scene), &cancel)), None);
}

/// Lets something happen at the third look at the time.
struct Meanwhile<'a>(SystemClock, Mutex<(u32, Box<dyn FnMut() + Send + 'a>)>);

impl Clock for Meanwhile<'_> {
    fn wall(&self) -> jiff::Timestamp {
        let mut inside = self.1.lock().expect("lock");
        inside.0 += 1;
        if inside.0 == 3 {
            (inside.1)();
        }
        self.0.wall()
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
    fn sleep(&self, span: Duration) {
        self.0.sleep(span);
    }
}

/// The stream had to compare pages while the base was read: a page may have changed and changed
/// back unseen, so the base gets no position.
#[test]
fn a_base_beside_a_stream_in_doubt_has_no_position() {
    for doubt in [false, true] {
        let scene = Scene::new();
        let app = scene.open(&format!("PRAGMA journal_mode=WAL; {BOOKS}"));
        let mut stream: Stream = scene.stream();
        transfer(&app, 1).expect("transfer");
        stream.drain();
        let cancel = Cancel::default();
        let vault = vault(&cancel);
        let mut seen = Vec::new();
        let (scene_there, stream_there, ways) = (&scene, &mut stream, &mut seen);
        let meanwhile = move || {
            app.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").expect("copied");
            stream_there.drain();
            for _ in 0..if doubt { 2 } else { 1 } {
                app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("truncate");
            }
            transfer(&app, 2).expect("transfer");
            stream_there.drain();
            *ways = scene_there.journal().ways();
        };
        let clock = Meanwhile(SystemClock::new(), Mutex::new((0, Box::new(meanwhile))));
        let captured = capture_by(&vault, streamed(&scene), &cancel, &clock).expect("captured");
        drop(clock);
        assert_eq!(seen.last().map(String::as_str), Some(if doubt { "difference" } else { "log" }));
        assert_eq!(captured.0.manifest.position.is_none(), doubt);
    }
}
