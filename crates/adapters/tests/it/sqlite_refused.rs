//! Databases that cannot be captured: each is refused with a sentence and a hint, and left alone.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lifeboat_adapters::sqlite::{CaptureError, SqliteOptions};
use lifeboat_vault::{Cancel, NoMonitor};

use crate::sqlite_kit::{Bench, Notes, capture_to, capture_with, stock};

/// The stock `sqlite3` with a database open, another process as an application would be.
pub struct Other(Child);

impl Other {
    /// Runs `sql` and stays there.
    pub fn open(database: &Path, sql: &str) -> Self {
        let mut child = Command::new("sqlite3")
            .arg("-batch")
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sqlite3 program is needed: apt-get install sqlite3");
        let input = child.stdin.as_mut().expect("input");
        writeln!(input, ".timeout 5000\n{sql}\n.print ready").expect("write");
        let output = child.stdout.take().expect("output");
        let ready = BufReader::new(output).lines().any(|line| line.expect("line") == "ready");
        assert!(ready, "sqlite3 ended");
        Other(child)
    }

    /// Ends it as a crash would: no rollback, no checkpoint, nothing tidied.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

fn refusal(live: &Path) -> (String, String) {
    let copy = live.with_extension("copy");
    let mut options = SqliteOptions::new(live);
    options.patience = Duration::from_millis(100);
    match capture_with(&options, &copy, &Notes::default()).expect_err("refused") {
        CaptureError::Unfit { what, hint } => (format!("unfit: {what}"), hint),
        CaptureError::Busy { what, hint } => (format!("busy: {what}"), hint),
        other => (format!("{other:?}"), String::new()),
    }
}

#[test]
fn a_missing_database_is_missing_and_not_made() {
    let bench = Bench::new();
    let error = capture_to(&bench.live(), &bench.copy()).expect_err("missing");
    assert!(matches!(error, CaptureError::Missing { .. }), "{error:?}");
    assert!(!bench.live().exists(), "X-19: looking must not make it");
    let below = bench.folder.path().join("no/such/folder.db");
    assert!(matches!(capture_to(&below, &bench.copy()), Err(CaptureError::Missing { .. })));
}

#[test]
fn what_is_not_a_database_is_unfit() {
    let noise: Vec<u8> =
        (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for content in [&b"hello"[..], &b"PRAGMA nothing;\n".repeat(100), &noise] {
        let bench = Bench::new();
        std::fs::write(bench.live(), content).expect("write");
        let (what, hint) = refusal(&bench.live());
        assert!(what.starts_with("unfit:") && what.contains("encrypted"), "{what}");
        assert!(!hint.is_empty());
        assert_eq!(std::fs::read(bench.live()).expect("read"), content);
    }
    let bench = Bench::new();
    std::fs::create_dir(bench.live()).expect("folder");
    assert!(refusal(&bench.live()).0.contains("not a regular file"));
}

#[test]
fn a_damaged_database_is_not_captured_as_if_it_were_whole() {
    let bench = Bench::new();
    let live = bench.open("PRAGMA page_size=1024; CREATE TABLE t(a);");
    for _ in 0..200 {
        live.execute_batch("INSERT INTO t VALUES (randomblob(500))").expect("insert");
    }
    drop(live);
    let mut bytes = std::fs::read(bench.live()).expect("read");
    bytes[1024..60_000].fill(0x55);
    std::fs::write(bench.live(), &bytes).expect("damage");
    let (what, _) = refusal(&bench.live());
    assert!(what.starts_with("unfit:") && what.contains("damaged"), "{what}");
}

#[test]
fn a_database_locked_for_good_is_busy() {
    let bench = Bench::new();
    drop(bench.open("CREATE TABLE t(a);"));
    let other = Other::open(&bench.live(), "BEGIN EXCLUSIVE;");
    let (what, hint) = refusal(&bench.live());
    assert!(what.starts_with("busy:"), "{what}");
    assert!(hint.contains("fuser"), "{hint}");
    other.kill();
    capture_to(&bench.live(), &bench.copy()).expect("free again");
    let _other = Other::open(
        &bench.live(),
        "PRAGMA journal_mode=WAL; PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES (1);",
    );
    assert!(refusal(&bench.live()).0.starts_with("busy:"));
}

/// A crash in the middle of a transaction leaves a hot journal. Rolling it back is a write, which a
/// backup must not do; copying the file without doing so would give a torn copy.
#[test]
fn a_hot_journal_is_told_and_left_to_the_application() {
    let bench = Bench::new();
    drop(bench.open(
        "CREATE TABLE t(a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
         INSERT INTO t SELECT randomblob(200) FROM n;",
    ));
    Other::open(&bench.live(), "PRAGMA cache_size=5; BEGIN; UPDATE t SET a = zeroblob(200);")
        .kill();
    let journal = bench.live().with_extension("db-journal");
    let before =
        (std::fs::read(bench.live()).expect("db"), std::fs::read(&journal).expect("journal"));
    assert!(!before.1.is_empty(), "the test must have made a hot journal");
    let (what, hint) = refusal(&bench.live());
    assert!(what.starts_with("unfit:") && what.contains("crash"), "{what}");
    assert!(hint.contains("start the application"), "{hint}");
    assert_eq!(before.0, std::fs::read(bench.live()).expect("db"));
    assert_eq!(before.1, std::fs::read(&journal).expect("journal"));
    // What the hint says mends it.
    stock(&bench.live(), "PRAGMA user_version; SELECT count(*) FROM t WHERE a = zeroblob(200)");
    let content = bench.capture().content;
    assert_eq!(content.tables["t"].rows, 9000);
    assert_eq!(stock(&bench.copy(), "SELECT count(*) FROM t WHERE a = zeroblob(200)"), "0");
}

#[test]
fn a_request_to_stop_is_heeded() {
    for mode in ["WAL", "DELETE"] {
        let bench = Bench::new();
        drop(bench.open(&format!(
            "PRAGMA journal_mode={mode}; CREATE TABLE t(a); INSERT INTO t VALUES (1);"
        )));
        let cancel = Cancel::default();
        let clock = lifeboat_adapters::SystemClock::new();
        let options = SqliteOptions::new(bench.live());
        let stopped = lifeboat_adapters::sqlite::capture(
            &options,
            &clock,
            &NoMonitor,
            &cancel,
            &mut |pages| {
                cancel.cancel();
                std::io::copy(pages, &mut std::io::sink()).map(|_| ())
            },
        );
        assert!(matches!(stopped, Err(CaptureError::Cancelled)), "{stopped:?}");
    }
}

/// A taker of bytes that fails, or that does not take all.
#[test]
fn a_taker_that_fails_fails_the_capture() {
    for mode in ["WAL", "DELETE"] {
        let bench = Bench::new();
        drop(bench.open(&format!(
            "PRAGMA journal_mode={mode}; CREATE TABLE t(a); INSERT INTO t VALUES (1);"
        )));
        let clock = lifeboat_adapters::SystemClock::new();
        let options = SqliteOptions::new(bench.live());
        let run = |sink: &mut lifeboat_adapters::sqlite::Sink<'_>| {
            lifeboat_adapters::sqlite::capture(
                &options,
                &clock,
                &NoMonitor,
                &Cancel::default(),
                sink,
            )
        };
        let full = run(&mut |_| Err(std::io::ErrorKind::StorageFull.into()));
        assert!(matches!(full, Err(CaptureError::Sink(_))), "{full:?}");
        let short = run(&mut |pages| pages.read(&mut [0; 100]).map(|_| ()));
        assert!(matches!(short, Err(CaptureError::Sink(_))), "{short:?}");
    }
}

/// What SQLite makes beside a WAL database when it is read must not lock out the application.
#[test]
fn files_made_by_reading_belong_to_the_owner_of_the_database() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    drop(bench.open("PRAGMA journal_mode=WAL; CREATE TABLE t(a);"));
    assert!(!bench.live().with_extension("db-shm").exists());
    // Root may give the file away; anybody else is its owner.
    let _ = std::os::unix::fs::chown(bench.live(), Some(12345), Some(12345));
    let owner = std::fs::metadata(bench.live()).expect("file");
    bench.capture();
    for suffix in ["-wal", "-shm"] {
        let made = std::fs::metadata(bench.folder.path().join(format!("app.db{suffix}")));
        let made = made.expect("SQLite makes both");
        assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()), "{suffix}");
    }
}

/// Runs `work` on a thread of another user. The tests run as root, which may do everything.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    assert!(rustix::process::geteuid().is_root(), "run this test as root: sudo, or unshare -r");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("setresuid");
            work()
        });
        thread.join().expect("thread")
    })
}

fn open_to_all(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        .expect("mode");
}

#[test]
fn a_database_that_may_not_be_read_is_refused() {
    let bench = Bench::new();
    drop(bench.open("CREATE TABLE t(a);"));
    open_to_all(bench.folder.path(), 0o755);
    open_to_all(&bench.live(), 0o600);
    let (what, hint) = as_nobody(|| refusal(&bench.live()));
    assert!(what.starts_with("unfit:") && what.contains("may not be read by this user"), "{what}");
    assert!(hint.contains("root"), "{hint}");
}

/// Made by a third user, the `-shm` would keep the application from writing.
#[test]
fn a_third_user_makes_no_files_beside_a_closed_wal_database() {
    let bench = Bench::new();
    drop(bench.open("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (1);"));
    open_to_all(bench.folder.path(), 0o777);
    let copies = bench.copy();
    open_to_all(copies.parent().expect("folder"), 0o777);
    open_to_all(&bench.live(), 0o644);
    let (what, _) = as_nobody(|| refusal(&bench.live()));
    assert!(what.contains("belongs to another user"), "{what}");
    assert!(
        !bench.live().with_extension("db-shm").exists()
            && !bench.live().with_extension("db-wal").exists()
    );
    // Without a write-ahead log nothing is made, and it is read.
    bench.open("PRAGMA journal_mode=DELETE;");
    let captured = as_nobody(|| capture_to(&bench.live(), &copies)).expect("captured");
    assert_eq!(captured.content.tables["t"].rows, 1);
}

/// A medium that nothing can write is read without locks; with rows in a log that cannot be read
/// there, it is refused.
#[test]
fn a_read_only_medium_is_read_and_its_log_is_not_forgotten() {
    let bench = Bench::new();
    let live = bench.open("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (1);");
    let medium = crate::mounted::Mounted::new("size=8m");
    let (with_log, alone) = (medium.path().join("log.db"), medium.path().join("alone.db"));
    std::fs::copy(bench.live(), &with_log).expect("copy");
    std::fs::copy(bench.live().with_extension("db-wal"), medium.path().join("log.db-wal"))
        .expect("copy");
    drop(live);
    std::fs::copy(bench.live(), &alone).expect("copy");
    medium.remount("remount,ro");
    let captured = capture_to(&alone, &bench.copy()).expect("captured");
    assert_eq!(captured.content.tables["t"].rows, 1);
    assert!(crate::sqlite_kit::same(&alone, &bench.copy()));
    let mut options = SqliteOptions::new(&with_log);
    options.patience = Duration::from_millis(100);
    let refused = capture_with(&options, &bench.copy(), &Notes::default());
    assert!(matches!(refused, Err(CaptureError::Unfit { .. })), "{refused:?}");
}
