//! A database that was not written to is not read again; one that was, is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::{NewestChange, SqliteOptions, SqliteSource};
use lifeboat_model::manifest::{Content, NAME, SqliteContent};
use lifeboat_recovery::ports::{CaptureContext, Source};
use lifeboat_testkit::{MemoryStore, SimClock};
use lifeboat_vault::{
    BackupOptions, Cancel, Clock, Environment, FileMeta, Id, KeyStrength, NoMonitor, Password,
    SnapshotMeta, Vault,
};

use crate::sqlite_kit::{Bench, faults};

const ROWS: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b);
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
     INSERT INTO t SELECT i, randomblob(300) FROM n;";

/// A database and a vault; time is some seconds after everything that the test wrote.
struct Case {
    bench: Bench,
    vault: Vault,
    clock: Arc<SimClock>,
    parent: Option<Id>,
    newest: Option<NewestChange>,
}

impl Case {
    fn new() -> Self {
        let clock = Arc::new(SimClock::at(SystemClock::new().wall()));
        let store = Arc::new(MemoryStore::new(Arc::clone(&clock)));
        let environment = Environment {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            monitor: Arc::new(NoMonitor),
            cancel: Cancel::default(),
            host: "host".to_owned(),
            user: "user".to_owned(),
            pid: std::process::id(),
        };
        let (locks, password) = (Arc::clone(&store), Password::new("test"));
        let vault = Vault::init(store, locks, &password, KeyStrength::Generated, environment, None)
            .expect("vault");
        Case { bench: Bench::new(), vault, clock, parent: None, newest: None }
    }

    /// Sets the clock to `seconds` after now.
    fn later(&self, seconds: i64) {
        let now: Timestamp = SystemClock::new().wall();
        let target = now + jiff::SignedDuration::from_secs(seconds);
        self.clock.step_wall(target.duration_since(self.clock.wall()));
    }

    /// A backup with the former one as parent; the bytes read from the source, and what came back
    /// out of the vault was compared with the manifest.
    fn backup(&mut self) -> SqliteContent {
        let options = BackupOptions { parent: self.parent, ..BackupOptions::default() };
        let mut session = self.vault.backup(options).expect("session");
        let cancel = Cancel::default();
        let context = CaptureContext {
            clock: &*self.clock,
            monitor: &NoMonitor,
            cancel: &cancel,
            host: "host",
        };
        let mut options = SqliteOptions::new(self.bench.live());
        options.newest_change = self.newest.clone();
        let capture =
            SqliteSource::new("app", options).capture(&mut session, &context).expect("captured");
        let body = serde_json::to_vec(&capture.manifest).expect("manifest");
        let meta = FileMeta::private(self.clock.wall());
        session.add_bytes(Path::new(NAME), &body, meta).expect("manifest");
        let meta = SnapshotMeta { time: self.clock.wall(), tags: Vec::new(), paths: Vec::new() };
        let summary = session.finish(meta).expect("snapshot");
        self.parent = Some(summary.snapshot);
        let snapshot = self.vault.snapshot(&summary.snapshot).expect("snapshot");
        let bytes = self.vault.read_file(&snapshot, "app.db").expect("stored");
        std::fs::write(self.bench.copy(), bytes).expect("copy");
        let Content::Sqlite(content) = capture.manifest.content else { panic!() };
        assert_eq!(faults(&self.bench.copy(), &content), Vec::<String>::new());
        content
    }
}

#[test]
fn an_unchanged_database_is_taken_over_and_a_commit_is_seen() {
    for mode in ["WAL", "DELETE"] {
        let mut case = Case::new();
        let live = case.bench.open(&format!("PRAGMA journal_mode={mode}; {ROWS}"));
        case.later(10);
        let first = case.backup();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot");
        assert_eq!(first.seen.as_ref().map(|seen| seen.boot.as_str()), Some(boot.trim()), "{mode}");
        let second = case.backup();
        assert_eq!(second.method, "unchanged", "{mode}");
        assert_eq!(second.tables, first.tables);
        // Seen by its time alone: the row keeps its length, and in WAL mode only the log moves.
        live.execute_batch("UPDATE t SET b = randomblob(300) WHERE a = 7").expect("update");
        case.later(20);
        let third = case.backup();
        assert_ne!(third.method, "unchanged", "{mode}");
        assert_ne!(third.tables, first.tables, "{mode}");
        if mode == "WAL" {
            live.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoint");
            case.later(30);
            assert_ne!(case.backup().method, "unchanged", "the file is another one now");
        }
        assert_eq!(case.backup().method, "unchanged", "{mode}");
    }
}

#[test]
fn times_that_could_hide_a_change_are_not_relied_on() {
    let mut case = Case::new();
    drop(case.bench.open(ROWS));
    case.later(0);
    assert_eq!(case.backup().seen, None, "changed a moment before it was read");
    case.later(10);
    assert_ne!(case.backup().method, "unchanged");
    assert_eq!(case.backup().method, "unchanged");
}

#[test]
fn once_a_day_the_database_is_read_whatever_its_times_say() {
    let mut case = Case::new();
    drop(case.bench.open(ROWS));
    case.later(10);
    case.backup();
    case.clock.advance(Duration::from_secs(23 * 3600));
    assert_eq!(case.backup().method, "unchanged");
    case.clock.advance(Duration::from_secs(3600));
    assert_ne!(case.backup().method, "unchanged", "a day after it was last read, not taken over");
    case.clock.step_wall(jiff::SignedDuration::from_hours(-1));
    assert_ne!(case.backup().method, "unchanged", "a clock set back tells nothing");
}

#[test]
fn a_writer_under_way_another_file_or_another_question_means_reading() {
    let mut case = Case::new();
    drop(case.bench.open(ROWS));
    case.later(10);
    case.backup();
    assert_eq!(case.backup().method, "unchanged");
    case.newest = Some(NewestChange { table: "t".into(), column: "a".into() });
    let asked = case.backup();
    assert_eq!((asked.method.as_str(), asked.newest_change.as_deref()), ("batched", Some("3000")));
    assert_eq!(case.backup().newest_change.as_deref(), Some("3000"));
    // The same bytes and time in another file.
    let (live, other) = (case.bench.live(), case.bench.folder.path().join("other"));
    let time = std::fs::metadata(&live).and_then(|found| found.modified()).expect("time");
    std::fs::copy(&live, &other).expect("copy");
    let file = std::fs::File::options().write(true).open(&other).expect("open");
    file.set_modified(time).expect("time");
    drop(file);
    std::fs::rename(&other, &live).expect("rename");
    case.later(20);
    assert_ne!(case.backup().method, "unchanged");
    assert_eq!(case.backup().method, "unchanged");
    // A journal in the mode PERSIST, its header zeroed: not hot, but somebody's.
    std::fs::write(case.bench.folder.path().join("app.db-journal"), [0; 512]).expect("journal");
    assert_ne!(case.backup().method, "unchanged");
}
