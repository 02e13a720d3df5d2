//! Captures beside a busy application: only whole transactions, no stalls, in every journal mode.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::{CaptureError, Captured, SqliteOptions, capture};
use lifeboat_vault::{Cancel, Clock, NoMonitor};
use rusqlite::Connection;

use crate::sqlite_kit::{Bench, Notes, capture_with, faults, stock};

/// The writer's books: every transaction moves an amount between two accounts, writes one line in
/// each of two journals, and updates the count. Half a transaction breaks one of the sums.
const BOOKS: &str = "
CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
  INSERT INTO account SELECT i, 1000, hex(randomblob(150)) FROM n;
CREATE TABLE debit(id INTEGER PRIMARY KEY, account INTEGER, amount INTEGER);
CREATE TABLE credit(id INTEGER PRIMARY KEY, account INTEGER, amount INTEGER);
CREATE INDEX credit_account ON credit(account);
CREATE TABLE counted(transactions INTEGER NOT NULL);
INSERT INTO counted VALUES (0);";

/// An application that writes until it is dropped.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    committed: Arc<AtomicU64>,
    /// The longest that one transaction took, microseconds.
    slowest: Arc<AtomicU32>,
}

impl Writer {
    /// Writes as quickly as it may, waiting `pause` after each transaction.
    fn start(database: PathBuf, pause: Duration) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let slowest = Arc::new(AtomicU32::new(0));
        let (halt, count, worst) =
            (Arc::clone(&stop), Arc::clone(&committed), Arc::clone(&slowest));
        let thread = std::thread::spawn(move || {
            let connection = Connection::open(database).expect("open");
            connection.busy_timeout(Duration::from_secs(60)).expect("timeout");
            connection.execute_batch("PRAGMA synchronous=NORMAL").expect("pragma");
            let clock = SystemClock::new();
            for number in 0_i64.. {
                if halt.load(Ordering::Relaxed) {
                    return;
                }
                let start = clock.monotonic();
                transfer(&connection, number).expect("transfer");
                let took = (clock.monotonic() - start).as_micros() as u32;
                worst.fetch_max(took, Ordering::Relaxed);
                count.fetch_add(1, Ordering::Relaxed);
                clock.sleep(pause);
            }
        });
        Writer { stop, thread: Some(thread), committed, slowest }
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    fn wait_for(&self, count: u64) {
        while self.committed() < count {
            SystemClock::new().sleep(Duration::from_millis(1));
        }
    }

    fn slowest(&self) -> Duration {
        Duration::from_micros(u64::from(self.slowest.swap(0, Ordering::Relaxed)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().expect("thread").join();
        assert!(joined.is_ok() || std::thread::panicking(), "the writer failed");
    }
}

fn transfer(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let (from, to, amount) = (number * 7 % 500 + 1, number * 13 % 500 + 1, number % 10);
    let run = |sql: &str, values: &[i64]| {
        connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))
    };
    run("BEGIN IMMEDIATE", &[])?;
    run("UPDATE account SET balance = balance - ?1 WHERE id = ?2", &[amount, from])?;
    run("INSERT INTO debit(account, amount) VALUES (?1, ?2)", &[from, amount])?;
    run("UPDATE account SET balance = balance + ?1 WHERE id = ?2", &[amount, to])?;
    run("INSERT INTO credit(account, amount) VALUES (?1, ?2)", &[to, amount])?;
    run("UPDATE counted SET transactions = transactions + 1", &[])?;
    run("COMMIT", &[]).map(|_| ())
}

/// Fails unless the copy holds whole transactions only and equals its manifest; the stock `sqlite3`
/// says so too. Returns the number of transactions in it.
fn whole_transactions(copy: &Path, captured: &Captured) -> u64 {
    assert_eq!(faults(copy, &captured.content), Vec::<String>::new());
    let sums = stock(
        copy,
        "SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM debit) - transactions,
         (SELECT count(*) FROM credit) - transactions,
         (SELECT sum(amount) FROM debit) - (SELECT sum(amount) FROM credit),
         (SELECT sum(account IS NULL) FROM debit) FROM counted",
    );
    let sums: Vec<&str> = sums.split('|').collect();
    assert_eq!(sums[..3], ["500000", "0", "0"], "half a transaction is in the copy");
    assert!(matches!(sums[3], "0" | ""), "{sums:?}");
    assert_eq!(stock(copy, "PRAGMA integrity_check"), "ok");
    stock(copy, "SELECT transactions FROM counted").parse().expect("number")
}

fn captures_beside_a_writer(count: usize) -> Duration {
    let bench = Bench::new();
    drop(bench.open(&format!("PRAGMA journal_mode=WAL; {BOOKS}")));
    let writer = Writer::start(bench.live(), Duration::from_micros(100));
    writer.wait_for(50);
    let clock = SystemClock::new();
    writer.slowest();
    let (mut last, start, first) = (0, clock.monotonic(), writer.committed());
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let before = writer.committed();
        let captured = bench.capture();
        let after = writer.committed();
        slowest = slowest.max(writer.slowest());
        let inside = whole_transactions(&bench.copy(), &captured);
        assert!(before <= inside && inside <= after + 1, "{before} <= {inside} <= {after}");
        assert!(inside >= last);
        last = inside;
        writer.slowest(); // The judges above are heavy; their time is nobody's stall.
    }
    let rate = (writer.committed() - first) as f64 / (clock.monotonic() - start).as_secs_f64();
    eprintln!("{count} captures, {rate:.0} transactions/s beside them, longest {slowest:?}");
    slowest
}

/// Only whole transactions, and the writer never stalled for longer than 50 ms. A machine with other
/// work may pause the writer by itself, so a stall counts if it comes in three rounds out of three.
#[test]
fn wal_captures_hold_whole_transactions_and_stall_nobody() {
    let rounds: Vec<Duration> = (0..3).map(|_| captures_beside_a_writer(5)).collect();
    let least = rounds.iter().min().expect("rounds");
    assert!(*least < Duration::from_millis(50), "a writer was held up for {rounds:?}");
}

#[test]
#[ignore = "long form, run by scripts/soak"]
fn a_hundred_wal_captures_in_a_row() {
    let slowest = captures_beside_a_writer(100);
    assert!(slowest < Duration::from_millis(50), "a writer was held up for {slowest:?}");
}

/// A clock whose every look is used by somebody to commit: between any two steps of a capture that
/// ask the time, the database changes.
struct Meddling(Mutex<Connection>, SystemClock, AtomicU64);

impl Meddling {
    fn commit(&self) {
        if self.2.load(Ordering::Relaxed) > 0 {
            self.2.fetch_sub(1, Ordering::Relaxed);
            transfer(&self.0.lock().expect("connection"), 3).expect("transfer");
        }
    }
}

impl Clock for Meddling {
    fn wall(&self) -> jiff::Timestamp {
        self.commit();
        self.1.wall()
    }
    fn monotonic(&self) -> Duration {
        self.commit();
        self.1.monotonic()
    }
    fn sleep(&self, span: Duration) {
        self.1.sleep(span);
    }
}

/// The manifest is of the very state that was copied, even if somebody commits between the two
/// transactions that read them: once, a few times, or always.
#[test]
fn manifest_and_copy_are_of_one_state_whenever_others_commit() {
    for commits in [1, 2, 3, 4, 5, 8, 20, 1000] {
        let bench = Bench::new();
        let live = bench.open(&format!("PRAGMA journal_mode=WAL; {BOOKS}"));
        let clock = Meddling(Mutex::new(live), SystemClock::new(), AtomicU64::new(commits));
        let options = SqliteOptions::new(bench.live());
        let captured = capture(&options, &clock, &NoMonitor, &Cancel::default(), &mut |pages| {
            clock.commit();
            std::io::copy(pages, &mut std::fs::File::create(bench.copy())?).map(|_| ())
        });
        whole_transactions(&bench.copy(), &captured.expect("captured"));
    }
}

/// In rollback mode, with pauses between transactions or without, all that is captured is whole.
#[test]
fn rollback_captures_hold_whole_transactions() {
    for (mode, pause) in [("DELETE", 0), ("TRUNCATE", 3), ("PERSIST", 150)] {
        let bench = Bench::new();
        drop(bench.open(&format!("PRAGMA journal_mode={mode}; {BOOKS}")));
        let live = bench.live();
        let writer = Writer::start(live.clone(), Duration::from_millis(pause));
        writer.wait_for(5);
        for _ in 0..4 {
            let before = writer.committed();
            let captured = bench.capture();
            let inside = whole_transactions(&bench.copy(), &captured);
            assert!(inside >= before);
            assert!(captured.blocked.is_some());
            assert!(["batched", "shared-lock"].contains(&captured.content.method.as_str()));
        }
    }
}

/// A database that nobody leaves alone for long, and a limit that its size cannot keep.
#[test]
fn a_pass_that_would_block_too_long_is_refused_with_a_hint() {
    let bench = Bench::new();
    drop(bench.open(&format!(
        "PRAGMA journal_mode=DELETE; {BOOKS} CREATE TABLE ballast(a);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
         INSERT INTO ballast SELECT randomblob(2000) FROM n;"
    )));
    let writer = Writer::start(bench.live(), Duration::ZERO);
    let mut options = SqliteOptions::new(bench.live());
    options.max_block = Duration::from_millis(2);
    let notes = Notes::default();
    writer.wait_for(5);
    let before = writer.committed();
    let refused = capture_with(&options, &bench.copy(), &notes).expect_err("refused");
    let CaptureError::Busy { what, hint } = &refused else { panic!("{refused:?}") };
    assert!(what.contains("max_block"), "{what}");
    assert!(hint.contains("journal_mode=WAL"), "{hint}");
    writer.wait_for(before + 1); // It goes on: no lock was left behind.
    options.max_block = Duration::from_secs(20);
    let captured = capture_with(&options, &bench.copy(), &notes).expect("captured");
    whole_transactions(&bench.copy(), &captured);
    if captured.content.method == "shared-lock" {
        assert!(captured.content.blocked_ms > 0);
        assert!(notes.text().contains("changed while it was read in pieces (try 3 of 3)"));
    }
}

/// Somebody who takes the lock when told and gives it back when waited for, two seconds later by
/// this clock.
struct Hog(Mutex<Connection>, AtomicBool, AtomicU64);

impl Hog {
    fn lock(&self) {
        let change = "BEGIN EXCLUSIVE; UPDATE ballast SET a = randomblob(2000) WHERE rowid = 1";
        // Refused in the last pass, which holds the lock itself.
        let locked = self.0.lock().expect("connection").execute_batch(change).is_ok();
        self.1.store(locked, Ordering::Relaxed);
    }
}

impl Clock for Hog {
    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.2.fetch_add(1, Ordering::Relaxed))
    }
    fn sleep(&self, span: Duration) {
        let locked = self.1.swap(false, Ordering::Relaxed);
        let span = if locked { Duration::from_secs(2) } else { span };
        self.2.fetch_add(span.as_micros() as u64, Ordering::Relaxed);
        if locked {
            self.0.lock().expect("connection").execute_batch("COMMIT").expect("commit");
        }
    }
}

/// Time in which others keep us waiting is none in which we would keep them waiting: a database that
/// is locked most of the time is not refused for it.
#[test]
fn waiting_for_locks_does_not_count_as_blocking() {
    let bench = Bench::new();
    let live = bench.open(&format!(
        "PRAGMA journal_mode=DELETE; {BOOKS} CREATE TABLE ballast(a);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO ballast SELECT randomblob(2000) FROM n; PRAGMA synchronous=OFF;"
    ));
    live.busy_timeout(Duration::ZERO).expect("timeout");
    let hog = Hog(Mutex::new(live), AtomicBool::new(false), AtomicU64::new(0));
    let mut options = SqliteOptions::new(bench.live());
    options.max_block = Duration::from_secs(1);
    let captured = capture(&options, &hog, &NoMonitor, &Cancel::default(), &mut |pages| {
        let mut file = std::fs::File::create(bench.copy())?;
        std::io::copy(&mut pages.take(1 << 20), &mut file)?;
        hog.lock();
        std::io::copy(pages, &mut file).map(|_| ())
    });
    let captured = captured.expect("captured");
    assert_eq!(captured.content.method, "shared-lock", "three tries must have been void");
    assert!(captured.content.blocked_ms < 1000, "{} ms", captured.content.blocked_ms);
    whole_transactions(&bench.copy(), &captured);
}

/// Vacuuming, growing and shrinking under the capture.
#[test]
fn a_vacuum_during_the_capture_does_not_tear_the_copy() {
    for mode in ["WAL", "DELETE"] {
        let bench = Bench::new();
        drop(bench.open(&format!("PRAGMA journal_mode={mode}; {BOOKS}")));
        let (stop, live) = (Arc::new(AtomicBool::new(false)), bench.live());
        let halt = Arc::clone(&stop);
        let vacuum = std::thread::spawn(move || {
            let connection = Connection::open(live).expect("open");
            connection.busy_timeout(Duration::from_secs(60)).expect("timeout");
            for number in 0.. {
                if halt.load(Ordering::Relaxed) {
                    return;
                }
                let size = if number % 2 == 0 { "(SELECT 1)" } else { "(SELECT 1 WHERE 0)" };
                connection
                    .execute_batch(&format!(
                        "BEGIN; CREATE TABLE IF NOT EXISTS bulk(a); DELETE FROM bulk;
                         INSERT INTO bulk SELECT zeroblob(20000) FROM account, {size}; COMMIT; VACUUM;"
                    ))
                    .expect("vacuum");
            }
        });
        let mut sizes = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let captured = bench.capture();
            sizes.insert(captured.content.page_count);
            whole_transactions(&bench.copy(), &captured);
        }
        stop.store(true, Ordering::Relaxed);
        vacuum.join().expect("vacuum");
    }
}

/// The mode changes while the capture begins; each copy is whole and says how it was made.
#[test]
fn switching_the_journal_mode_does_not_tear_the_copy() {
    let bench = Bench::new();
    let live = bench.open(&format!("PRAGMA journal_mode=WAL; {BOOKS}"));
    for (number, mode) in ["DELETE", "WAL", "DELETE", "WAL"].into_iter().enumerate() {
        let found: String = live
            .query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get(0))
            .expect("switched");
        assert_eq!(found, mode.to_lowercase(), "a capture's connection was left open");
        transfer(&live, number as i64).expect("transfer");
        let captured = bench.capture();
        assert_eq!(captured.content.journal_mode == "wal", mode == "WAL");
        assert_eq!(whole_transactions(&bench.copy(), &captured), number as u64 + 1);
    }
}

/// a plain copy of a live WAL database lacks what is in the log; ours has it.
#[test]
fn x17_a_plain_copy_lacks_rows_that_ours_has() {
    let bench = Bench::new();
    let live =
        bench.open("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE early(a);");
    live.execute_batch(
        "PRAGMA wal_checkpoint(TRUNCATE); CREATE TABLE late(a); INSERT INTO late VALUES (1), (2);",
    )
    .expect("late");
    let plain = bench.folder.path().join("plain.db");
    std::fs::copy(bench.live(), &plain).expect("copy");
    assert_eq!(stock(&plain, "SELECT count(*) FROM sqlite_schema WHERE name = 'late'"), "0");
    let captured = bench.capture();
    assert_eq!(captured.content.tables["late"].rows, 2);
    assert_eq!(stock(&bench.copy(), "SELECT count(*) FROM late"), "2");
}

/// The capture leaves production as it was: no checkpoint, no byte of database or log changed.
#[test]
fn a_capture_changes_nothing_and_checkpoints_nothing() {
    let bench = Bench::new();
    let live =
        bench.open("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a);");
    live.execute_batch("INSERT INTO t VALUES (1)").expect("insert");
    let log = bench.live().with_extension("db-wal");
    let before = (std::fs::read(bench.live()).expect("db"), std::fs::read(&log).expect("log"));
    assert!(!before.1.is_empty());
    bench.capture();
    assert_eq!(
        before,
        (std::fs::read(bench.live()).expect("db"), std::fs::read(&log).expect("log"))
    );
    // As the last connection, too: a crashed application's log stays for its own recovery.
    let crashed = tempfile::tempdir().expect("folder");
    let database = crashed.path().join("app.db");
    std::fs::copy(bench.live(), &database).expect("copy");
    std::fs::copy(&log, crashed.path().join("app.db-wal")).expect("copy");
    let copy = crashed.path().join("copy.db");
    let captured =
        capture_with(&SqliteOptions::new(&database), &copy, &Notes::default()).expect("captured");
    assert_eq!(captured.content.tables["t"].rows, 1);
    assert_eq!(before.0, std::fs::read(&database).expect("db"));
    assert_eq!(before.1, std::fs::read(crashed.path().join("app.db-wal")).expect("log"));
}
