//! Streams of SQLite databases, and restores along them: what is shipped is what was committed,
//! whatever the log of the database went through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::stream::Limits;
use lifeboat_recovery::ports::{EngineError, Joint, LogError, LogEvent, LogSource, RecoverTo};
use lifeboat_vault::Clock;
use rusqlite::Connection;

use crate::sqlite_kit::stock;
use crate::stream_kit::{
    BOOKS, Journal, Scene, Stream, TICK, at, salts, transfer, whole_transactions,
};

fn wal() -> String {
    format!("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {BOOKS}")
}

/// The WAL has so many committed frames.
fn frames(connection: &Connection) -> i64 {
    connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).expect("frames")
}

fn checkpoint(connection: &Connection, mode: &str) -> (i64, i64, i64) {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let cells = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    connection.query_row(&sql, [], cells).expect("checkpoint")
}

/// Every batch of the journal is a state that the database had, the newest is the live one, and what
/// was asked of a time is what was there then.
#[test]
fn each_batch_restores_to_a_state_that_the_database_had() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    assert!(matches!(stream.joint, Joint::NewLineage { .. }));
    stream.drain();
    let base = scene.base("base");
    let clock = SystemClock::new();
    let (mut next, mut states) = (0, Vec::new());
    for _ in 0..12 {
        for _ in 0..7 {
            next += 1;
            transfer(&app, next).expect("transfer");
        }
        stream.drain();
        states.push((scene.journal().end().position.offset, next, clock.wall()));
    }
    assert!(scene.journal().ways().iter().all(|way| way == "log"), "{:?}", scene.journal().ways());
    for (position, number, time) in &states {
        let (copy, recovered) = base.recover(&scene.journal(), &at(*position)).expect("recovered");
        assert_eq!(whole_transactions(&copy.join("app.db")), *number);
        let recovered = recovered.expect("replayed");
        assert_eq!(recovered.position.expect("position").position.offset, *position);
        let (copy, by_time) =
            base.recover(&scene.journal(), &RecoverTo::Time(*time)).expect("recovered");
        assert_eq!(whole_transactions(&copy.join("app.db")), *number);
        let up_to = by_time.expect("replayed").complete_up_to.expect("known");
        assert!(up_to <= *time && time.duration_since(up_to) < jiff::SignedDuration::from_secs(5));
    }
    scene.equal(&base);
}

/// Pitfall: WAL reset while the agent is up. The log starts over many times under a stream, by the
/// application's own checkpoints and by ours, and every frame is shipped as a frame.
#[test]
fn a_log_that_starts_over_under_a_stream_loses_nothing() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    app.pragma_update(None, "wal_autocheckpoint", 20).expect("pragma");
    let limits = Limits { frames: 30, ..Limits::default() };
    let mut stream = Stream::over(&scene, limits, Arc::new(SystemClock::new())).expect("started");
    stream.drain();
    let base = scene.base("base");
    let mut generations = std::collections::BTreeSet::new();
    for number in 1..=400 {
        transfer(&app, number).expect("transfer");
        generations.insert(salts(&scene.wal()));
        if number % 10 == 0 {
            stream.drain();
        }
    }
    assert!(generations.len() > 3, "the log started over {} times only", generations.len() - 1);
    assert!(scene.journal().ways().iter().all(|way| way == "log"), "{:?}", scene.journal().ways());
    assert!(frames(&app) < 1000, "the log grew: {} frames", frames(&app));
    scene.equal(&base);
}

/// Pitfalls: WAL reset, TRUNCATE, and a reset to the same size while the agent is down. What
/// differs is shipped, not the database.
#[test]
fn what_happened_while_nobody_looked_is_found_by_comparing() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    transfer(&app, 1).expect("transfer");
    stream.drain();
    let mut number = 1;
    for mode in ["TRUNCATE", "RESTART", "PASSIVE"] {
        stream.log.stop().expect("stopped");
        let before = (salts(&scene.wal()), std::fs::metadata(scene.wal()).expect("wal").len());
        assert_eq!(checkpoint(&app, mode).0, 0);
        number += 1;
        transfer(&app, number).expect("transfer");
        let after = (salts(&scene.wal()), std::fs::metadata(scene.wal()).expect("wal").len());
        assert_ne!(before.0, after.0, "{mode}: the log did not start over");
        if mode != "TRUNCATE" {
            assert_eq!(before.1, after.1, "{mode}: the log has another size");
        }
        stream = scene.stream();
        assert_eq!(stream.joint, Joint::Seamless);
        stream.drain();
        scene.equal(&base);
    }
    let journal = scene.journal();
    assert_eq!(journal.ways().iter().filter(|way| *way == "difference").count(), 3);
    let pages = u64::from(base.content.page_count);
    for piece in journal.pieces() {
        assert!(piece.bytes < pages * 4096 / 4, "a restart shipped {} bytes again", piece.bytes);
    }
}

/// A restart when nothing changed ships nothing, and says that it is idle.
#[test]
fn a_restart_ships_nothing_again() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    transfer(&app, 1).expect("transfer");
    stream.drain();
    let before = scene.journal().ways().len();
    for kill in [false, true, false] {
        if kill {
            drop(stream); // Without a word, as a kill does.
        } else {
            stream.log.stop().expect("stopped");
            drop(stream);
        }
        stream = scene.stream();
        assert_eq!(stream.joint, Joint::Seamless);
        stream.drain();
    }
    assert_eq!(scene.journal().ways().len(), before);
}

/// Pitfalls: TRUNCATE and RESTART by the application while the agent is up. It is let through
/// soon, once is seamless, and a jump of the salts leads to a comparison.
#[test]
fn checkpoints_of_the_application_are_let_through_and_a_salt_jump_is_a_doubt() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    let mut number = 0;
    for (mode, times, way) in
        [("RESTART", 1, "log"), ("TRUNCATE", 1, "log"), ("TRUNCATE", 2, "difference")]
    {
        for _ in 0..5 {
            number += 1;
            transfer(&app, number).expect("transfer");
        }
        let done = AtomicBool::new(false);
        let before = salts(&scene.wal());
        std::thread::scope(|scope| {
            let (app, done) = (&app, &done);
            let live = scene.live();
            let other = scope.spawn(move || {
                let other = Connection::open(live).expect("open");
                other.busy_timeout(Duration::from_secs(10)).expect("timeout");
                for _ in 0..times {
                    assert_eq!(checkpoint(&other, mode).0, 0, "{mode} was held up");
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                stream.tick();
            }
            other.join().expect("other");
            stream.drain();
            number += 1;
            transfer(app, number).expect("transfer");
        });
        let jump = salts(&scene.wal())[0].wrapping_sub(before[0]);
        assert!(
            if way == "log" { jump == 1 } else { jump > 1 },
            "{mode}: the salts jumped by {jump}"
        );
        stream.drain();
        assert_eq!(scene.journal().ways().last().map(String::as_str), Some(way), "{mode}");
        scene.equal(&base);
    }
}

/// Pitfall: the last connection of the application closes. Under a stream the log stays;
/// without one SQLite deletes it.
#[test]
fn a_log_that_is_deleted_with_the_last_connection_is_no_loss() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    transfer(&app, 1).expect("transfer");
    drop(app);
    assert!(scene.wal().exists(), "the stream is a connection, too");
    stream.drain();
    let app = scene.open("");
    transfer(&app, 2).expect("transfer");
    stream.drain();
    assert!(scene.journal().ways().iter().all(|way| way == "log"));
    stream.log.stop().expect("stopped");
    drop(stream);
    transfer(&app, 3).expect("transfer");
    drop(app);
    assert!(!scene.wal().exists(), "the log must have been deleted");
    let mut stream = scene.stream();
    stream.drain();
    assert_eq!(scene.journal().ways().last().map(String::as_str), Some("difference"));
    scene.equal(&base);
    assert_eq!(whole_transactions(&scene.live()), 3);
}

/// Pitfall: journal_mode switched, away from WAL while the agent is down (while it is up SQLite
/// refuses that), and to WAL under its eyes.
#[test]
fn a_switched_journal_mode_is_followed() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    let mode = |to: &str| {
        app.query_row(&format!("PRAGMA journal_mode={to}"), [], |row| row.get::<_, String>(0))
    };
    app.busy_timeout(Duration::ZERO).expect("timeout");
    assert!(mode("DELETE").is_err(), "a stream holds the database in WAL mode");
    stream.log.stop().expect("stopped");
    drop(stream);
    assert_eq!(mode("DELETE").expect("switched"), "delete");
    transfer(&app, 1).expect("transfer");
    let mut stream = scene.stream();
    assert!(stream.warnings[0].contains("has no write-ahead log"), "{:?}", stream.warnings);
    stream.drain();
    scene.equal(&base);
    transfer(&app, 2).expect("transfer");
    stream.drain();
    scene.equal(&base);
    assert_eq!(mode("WAL").expect("switched"), "wal");
    transfer(&app, 3).expect("transfer");
    stream.drain();
    transfer(&app, 4).expect("transfer");
    stream.drain();
    assert_eq!(scene.journal().ways().last().map(String::as_str), Some("log"));
    scene.equal(&base);
}

/// Databases with a rollback journal: the change counter is asked, pages are compared.
#[test]
fn a_database_without_a_log_is_compared_when_it_was_written_to() {
    for mode in ["DELETE", "TRUNCATE", "PERSIST"] {
        let scene = Scene::new();
        let app =
            scene.open(&format!("PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF; {BOOKS}"));
        let mut stream = scene.stream();
        stream.drain();
        let base = scene.base("base");
        for number in 1..=20 {
            transfer(&app, number).expect("transfer");
            if number % 7 == 0 {
                stream.drain();
            }
        }
        stream.drain();
        scene.equal(&base);
        let pages =
            scene.journal().pieces().iter().map(|piece| piece.bytes).max().unwrap_or(0) / 4100;
        assert!(
            pages > 0 && pages < u64::from(base.content.page_count) * 3 / 4,
            "{mode}: {pages} pages"
        );
    }
}

/// Pitfalls: VACUUM that grows and shrinks the database, auto_vacuum, and a change of the page
/// size, under a stream.
#[test]
fn vacuum_and_other_sizes_are_followed() {
    for auto in ["NONE", "FULL"] {
        let scene = Scene::new();
        let app = scene.open(&format!("PRAGMA auto_vacuum={auto}; {}", wal()));
        let mut stream = scene.stream();
        stream.drain();
        let base = scene.base("base");
        let pages =
            || app.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).expect("count");
        let small = pages();
        app.execute_batch(
            "CREATE TABLE bulk(a); INSERT INTO bulk SELECT randomblob(3000) FROM account;",
        )
        .expect("grow");
        let large = pages();
        stream.drain();
        scene.equal(&base);
        app.execute_batch("DELETE FROM bulk WHERE rowid % 3; VACUUM;").expect("shrink");
        assert!(small < pages() && pages() < large, "{auto}: {small} {} {large}", pages());
        stream.drain();
        scene.equal(&base);
        app.execute_batch("DROP TABLE bulk; INSERT INTO entry VALUES (1, 1, 1, 0);")
            .expect("shrink");
        if auto == "FULL" {
            assert!(pages() < large / 2, "auto_vacuum did not shrink the database");
        }
        stream.drain();
        scene.equal(&base);
        // Pages that come and go between two looks.
        app.execute_batch(
            "CREATE TABLE bulk(a); INSERT INTO bulk SELECT randomblob(3000) FROM account;
             DROP TABLE bulk; VACUUM;",
        )
        .expect("grow and shrink");
        assert!(pages() < large);
        stream.drain();
        scene.equal(&base);
        assert!(scene.journal().ways().iter().all(|way| way == "log"));
    }
}

#[test]
fn a_changed_page_size_is_followed() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    transfer(&app, 1).expect("transfer");
    stream.drain();
    let before = scene.journal().end().position.offset;
    stream.log.stop().expect("stopped");
    drop(stream);
    app.execute_batch(
        "PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL;",
    )
    .expect("vacuum");
    assert_eq!(stock(&scene.live(), "PRAGMA page_size"), "8192");
    let mut stream = scene.stream();
    assert_eq!(stream.joint, Joint::Seamless);
    stream.drain();
    transfer(&app, 2).expect("transfer");
    stream.drain();
    scene.equal(&base);
    let (copy, _) = base.recover(&scene.journal(), &at(before)).expect("recovered");
    assert_eq!(whole_transactions(&copy.join("app.db")), 1);
    assert_eq!(stock(&copy.join("app.db"), "PRAGMA page_size"), "4096");
}

/// Pitfall: the file is replaced, or restored to an older state, under the stream.
#[test]
fn a_file_that_is_replaced_underneath_is_noticed_and_compared() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    for number in 1..=30 {
        transfer(&app, number).expect("transfer");
    }
    stream.drain();
    let newer = scene.journal().end().position.offset;
    drop(app);
    let old = base.folder.join("app.db");
    std::fs::copy(&old, scene.folder.path().join("back.db")).expect("copy");
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(scene.folder.path().join(format!("app.db{suffix}"))).expect("remove");
    }
    std::fs::rename(scene.folder.path().join("back.db"), scene.live()).expect("rename");
    let app = scene.open("");
    transfer(&app, 1).expect("transfer");
    stream.drain();
    assert!(stream.said.iter().any(|text| text.contains("another file")), "{:?}", stream.said);
    transfer(&app, 2).expect("transfer");
    stream.drain();
    scene.equal(&base);
    assert_eq!(whole_transactions(&scene.live()), 2);
    // What was there before it was set back can still be had.
    let (copy, _) = base.recover(&scene.journal(), &at(newer)).expect("recovered");
    assert_eq!(whole_transactions(&copy.join("app.db")), 30);
}

/// Pitfall: frames that a transaction spilled into the log before its commit are nobody's yet.
#[test]
fn what_is_not_committed_is_not_shipped() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    transfer(&app, 1).expect("transfer");
    stream.drain();
    let (size, end) = (std::fs::metadata(scene.wal()).expect("wal").len(), scene.journal().end());
    app.execute_batch(
        "PRAGMA cache_size=5; BEGIN; CREATE TABLE big(a);
         INSERT INTO big SELECT randomblob(3000) FROM account;",
    )
    .expect("spill");
    let spilled = std::fs::metadata(scene.wal()).expect("wal").len();
    assert!(spilled > size + 100 * 4096, "nothing was spilled: {size} {spilled}");
    stream.drain();
    assert_eq!(scene.journal().end(), end, "what was not committed was shipped");
    app.execute_batch("ROLLBACK; PRAGMA cache_size=2000;").expect("rollback");
    // Written over the frames that were taken back.
    transfer(&app, 2).expect("transfer");
    stream.drain();
    scene.equal(&base);
    assert_eq!(whole_transactions(&scene.live()), 2);
}

/// Pitfall: transactions that do not fit into memory are several ranges, and no restore
/// ends between them, nor takes what a killed stream shipped of one.
#[test]
fn a_batch_of_several_ranges_is_restored_whole_or_not_at_all() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let limits = Limits { part: 64 << 10, ..Limits::default() };
    let over = || Stream::over(&scene, limits, Arc::new(SystemClock::new())).expect("started");
    let mut stream = over();
    stream.drain();
    let base = scene.base("base");
    transfer(&app, 1).expect("transfer");
    stream.drain();
    let before = scene.journal().end().position.offset;
    app.execute_batch("CREATE TEMP TABLE keep AS SELECT id, note FROM account;").expect("keep");
    let large = "BEGIN; UPDATE account SET note = hex(randomblob(150));
        CREATE TABLE big(a); INSERT INTO big SELECT randomblob(3000) FROM account; COMMIT;";
    app.execute_batch(large).expect("large");
    for _ in 0..5 {
        assert!(matches!(stream.tick(), LogEvent::Range(_)));
    }
    let inside = scene.journal().end().position.offset;
    assert_eq!(scene.journal().pieces().last().expect("piece").facts["continues"], true);
    drop(stream);
    let (copy, _) = base.recover(&scene.journal(), &RecoverTo::Newest).expect("recovered");
    assert_eq!(
        stock(&copy.join("app.db"), "SELECT count(*) FROM sqlite_schema WHERE name = 'big'"),
        "0"
    );
    for position in before + 1..=inside {
        let refused = base.recover(&scene.journal(), &at(position));
        assert!(matches!(refused, Err(EngineError::Refused { .. })), "{refused:?}");
    }
    // Killed in the middle; meanwhile some of those pages are what they were before.
    app.execute_batch(
        "UPDATE account SET note = (SELECT note FROM keep WHERE keep.id = account.id);
         DROP TABLE big;",
    )
    .expect("back");
    let mut stream = over();
    assert_eq!(stream.joint, Joint::Seamless);
    stream.drain();
    scene.equal(&base);
    app.execute_batch(large).expect("large");
    transfer(&app, 2).expect("transfer");
    stream.drain();
    let parts = scene
        .journal()
        .pieces()
        .iter()
        .filter(|piece| piece.facts.contains_key("continues"))
        .count();
    assert!(parts > 20, "{parts}");
    scene.equal(&base);
}

/// Pitfall: a long reader of the application keeps the log from starting over. The stream goes on,
/// says so, and makes room when the reader is gone.
#[test]
fn a_long_reader_holds_up_the_log_and_not_the_stream() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let limits = Limits { frames: 20, ..Limits::default() };
    let mut stream = Stream::over(&scene, limits, Arc::new(SystemClock::new())).expect("started");
    stream.drain();
    let base = scene.base("base");
    let reader = scene.open("BEGIN; SELECT count(*) FROM entry;");
    let long = SystemClock::new();
    let start = long.monotonic();
    let mut number = 0;
    while long.monotonic() - start < Duration::from_millis(2500) {
        for _ in 0..10 {
            number += 1;
            transfer(&app, number).expect("transfer");
        }
        stream.drain();
    }
    assert!(frames(&app) > 320, "the reader held nothing up: {}", frames(&app));
    assert!(stream.said.iter().any(|text| text.contains("long transaction")), "{:?}", stream.said);
    assert!(!stream.log.health().expect("health").warnings.is_empty());
    scene.equal(&base);
    reader.execute_batch("ROLLBACK").expect("rollback");
    let before = salts(&scene.wal());
    let start = long.monotonic();
    while salts(&scene.wal()) == before {
        assert!(long.monotonic() - start < Duration::from_secs(20), "the log does not start over");
        stream.drain();
        number += 1;
        transfer(&app, number).expect("transfer");
    }
    stream.drain();
    assert!(scene.journal().ways().iter().all(|way| way == "log"));
    scene.equal(&base);
}

/// Two streams on one database: the second is told to leave.
#[test]
fn a_second_stream_is_refused() {
    let scene = Scene::new();
    let _app = scene.open(&wal());
    let mut stream = scene.stream();
    let second = Stream::over(&scene, Limits::default(), Arc::new(SystemClock::new()));
    let Err(LogError::Taken { what, .. }) = second.map(|_| ()) else { panic!("two streams") };
    assert!(what.contains("being streamed"), "{what}");
    stream.log.stop().expect("stopped");
    scene.stream();
}

/// Two agents with two states: neither takes a frame from the other, and both are right.
#[test]
fn two_agents_do_not_hurt_each_other() {
    let (scene, other) = (Scene::new(), Scene::new());
    let app = scene.open(&wal());
    app.pragma_update(None, "wal_autocheckpoint", 20).expect("pragma");
    std::os::unix::fs::symlink(scene.live(), other.live()).expect("link");
    let limits = Limits { frames: 20, ..Limits::default() };
    let over =
        |scene: &Scene| Stream::over(scene, limits, Arc::new(SystemClock::new())).expect("started");
    let (mut one, mut two) = (over(&scene), over(&other));
    one.drain();
    two.drain();
    let (base, other_base) = (scene.base("base"), other.base("base"));
    for number in 1..=120 {
        transfer(&app, number).expect("transfer");
        if number % 6 == 0 {
            one.drain();
        }
        if number % 10 == 0 {
            two.drain();
        }
    }
    one.drain();
    two.drain();
    scene.equal(&base);
    other.equal(&other_base);
}

/// A clock that somebody sets back by an hour, and forth by two.
struct Jumping(SystemClock, AtomicI64);

impl Clock for Jumping {
    fn wall(&self) -> jiff::Timestamp {
        self.0.wall() + jiff::SignedDuration::from_secs(self.1.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
    fn sleep(&self, span: Duration) {
        self.0.sleep(span);
    }
}

#[test]
fn clock_jumps_neither_stop_a_stream_nor_reorder_it() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let clock = Arc::new(Jumping(SystemClock::new(), AtomicI64::new(0)));
    let mut stream = Stream::over(&scene, Limits::default(), clock.clone()).expect("started");
    stream.drain();
    let base = scene.base("base");
    for (number, jump) in [(1, 0), (2, -3600), (3, 7200), (4, 0)] {
        clock.1.store(jump, Ordering::SeqCst);
        transfer(&app, number).expect("transfer");
        stream.drain();
    }
    let journal = scene.journal();
    let times: Vec<_> = journal.pieces().iter().map(|piece| piece.time).collect();
    assert!(times.windows(2).any(|pair| pair[0] > pair[1]), "the clock did not go back");
    scene.equal(&base);
    // An instant between the last transfer, with the right clock, and the third, an hour or two ahead
    // of it: all four were committed by then, whatever the third one's record says.
    let last = *times.last().expect("ranges");
    assert!(times.iter().any(|time| *time > last + jiff::SignedDuration::from_secs(3600)));
    let (copy, _) = base.recover(&journal, &RecoverTo::Time(last)).expect("recovered");
    let count = "SELECT count(*) FROM entry";
    assert_eq!(stock(&copy.join("app.db"), count), stock(&scene.live(), count));
}

/// Pitfall: ATTACH. A transaction over two databases is in each of their streams; that both streams
/// end at it is nobody's promise.
#[test]
fn databases_that_are_attached_are_each_right_by_themselves() {
    let (scene, other) = (Scene::new(), Scene::new());
    let app = scene.open(&wal());
    drop(other.open(&wal()));
    app.execute_batch(&format!("ATTACH '{}' AS other", other.live().display())).expect("attach");
    let (mut one, mut two) = (scene.stream(), other.stream());
    one.drain();
    two.drain();
    let (base, other_base) = (scene.base("base"), other.base("base"));
    for number in 1..=20 {
        app.execute_batch(&format!(
            "BEGIN; INSERT INTO main.entry VALUES ({number}, 1, 1, 0);
             INSERT INTO other.entry VALUES ({number}, 1, 1, 0); COMMIT;"
        ))
        .expect("both");
        if number == 10 {
            one.drain();
        }
    }
    one.drain();
    two.drain();
    scene.equal(&base);
    other.equal(&other_base);
    for scene in [&scene, &other] {
        assert_eq!(stock(&scene.live(), "SELECT count(*) FROM entry"), "20");
    }
}

/// The state's disk is full: the stream ends with the cause, the application goes on, and once there
/// is room again the stream goes on where the journal ends.
#[test]
fn a_full_disk_stops_the_stream_and_not_the_application() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    transfer(&app, 1).expect("transfer");
    let full = scene.state().join("position.json.new");
    std::os::unix::fs::symlink("/dev/full", &full).expect("link");
    let start = SystemClock::new();
    let begun = start.monotonic();
    let failed = loop {
        match stream.next(TICK) {
            Err(error) => break error,
            Ok(event @ LogEvent::Range(_)) => stream.journal.append(&event),
            Ok(_) => assert!(start.monotonic() - begun < Duration::from_secs(10), "nothing failed"),
        }
    };
    let LogError::Lost { source: Some(cause), .. } = &failed else { panic!("{failed:?}") };
    assert!(cause.to_string().contains("No space left"), "{cause}");
    transfer(&app, 2).expect("the application goes on");
    assert!(matches!(stream.next(TICK), Err(LogError::Lost { .. })));
    std::fs::remove_file(full).expect("remove");
    drop(stream);
    let mut stream = scene.stream();
    assert_eq!(stream.joint, Joint::Seamless);
    stream.drain();
    scene.equal(&base);
}

/// A hot journal is the application's to roll back; the stream says so and begins afterwards.
#[test]
fn a_hot_journal_is_left_to_the_application() {
    let scene = Scene::new();
    drop(scene.open(&format!("PRAGMA journal_mode=DELETE; {BOOKS}")));
    crate::sqlite_refused::Other::open(
        &scene.live(),
        "PRAGMA cache_size=5; BEGIN; UPDATE account SET note = hex(randomblob(150));",
    )
    .kill();
    let hot = scene.folder.path().join("app.db-journal");
    let before = std::fs::read(&hot).expect("journal");
    assert!(!before.is_empty(), "the test must have made a hot journal");
    let refused = Stream::over(&scene, Limits::default(), Arc::new(SystemClock::new()));
    let Err(LogError::Unfit { what, hint }) = refused.map(|_| ()) else { panic!("begun") };
    assert!(what.contains("crash") && hint.contains("start the application"), "{what}: {hint}");
    assert_eq!(before, std::fs::read(&hot).expect("journal"));
    stock(&scene.live(), "SELECT count(*) FROM account");
    scene.stream().drain();
}

/// Pitfall: the application's own SQLite has the WAL-reset bug. The stock one here is 3.40.
#[test]
fn an_old_sqlite_of_the_application_is_said_aloud() {
    let scene = Scene::new();
    stock(&scene.live(), "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (1);");
    let version = stock(&scene.live(), "SELECT sqlite_version()");
    let stream = scene.stream();
    let said = stream.warnings.join("\n");
    assert!(said.contains(&format!("SQLite {version}")) && said.contains("3.51.3"), "{said}");
    drop(stream);
    scene.open("CREATE TABLE u(a);");
    assert_eq!(scene.stream().warnings, Vec::<String>::new());
}

/// `stream --detach` leaves the database as it was found.
#[test]
fn detaching_leaves_the_database_as_it_was_found() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    transfer(&app, 1).expect("transfer");
    drop(app);
    assert!(!scene.wal().exists());
    let before = std::fs::read(scene.live()).expect("read");
    let mut stream = scene.stream();
    stream.drain();
    stream.log.stop().expect("stopped");
    assert_eq!(stream.log.detach(true).expect("dry").len(), usize::from(scene.wal().exists()));
    stream.log.detach(false).expect("detached");
    let names: Vec<_> = std::fs::read_dir(scene.folder.path())
        .expect("list")
        .map(|entry| entry.expect("entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with("app.db"))
        .collect();
    assert_eq!(names, ["app.db"]);
    assert_eq!(before, std::fs::read(scene.live()).expect("read"));
}

/// State that is lost, of another database, or set back: never a wrong continuation, but a new
/// lineage with the reason said.
#[test]
fn a_page_map_that_cannot_be_trusted_begins_a_new_lineage() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    transfer(&app, 1).expect("transfer");
    stream.drain();
    drop(stream);
    let map = scene.state().join("pages.map");
    let good = std::fs::read(&map).expect("map");
    let mut bad = good.clone();
    bad[100] ^= 1;
    let lineage = scene.journal().end().lineage;
    let json = std::fs::read(scene.state().join("pages.json")).expect("json");
    for (file, bytes) in [("pages.map", Some(&bad)), ("pages.map", None), ("pages.json", None)] {
        let path = scene.state().join(file);
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).expect("write"),
            None => std::fs::remove_file(&path).expect("remove"),
        }
        let keep = tempfile::tempdir().expect("folder");
        std::process::Command::new("cp")
            .arg("-a")
            .arg(scene.state())
            .arg(keep.path())
            .status()
            .expect("cp");
        let stream = scene.stream();
        let Joint::NewLineage { why } = &stream.joint else { panic!("{file}: {:?}", stream.joint) };
        assert!(why.contains("page map"), "{why}");
        assert_ne!(scene.journal().end().lineage, lineage);
        drop(stream);
        // Back to where it was, journal and all, for the next.
        std::fs::write(scene.folder.path().join("journal/lineage"), &lineage).expect("write");
        std::fs::write(&map, &good).expect("write");
        std::fs::write(scene.state().join("pages.json"), &json).expect("write");
    }
}

/// A base and ranges that do not belong together, or a journal that lacks one: never a copy that
/// looks finished.
#[test]
fn a_copy_that_is_not_equal_is_not_finished() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    let mut base = scene.base("base");
    for number in 1..=4 {
        // Pages that no later transaction changes.
        app.execute_batch(&format!(
            "CREATE TABLE t{number}(a); INSERT INTO t{number} VALUES (randomblob(9000));"
        ))
        .expect("insert");
        transfer(&app, number).expect("transfer");
        stream.drain();
    }
    let position = base.manifest.position.clone().expect("position");
    let mut reader = scene.journal().reader(&position);
    let lost = reader.pieces.iter().position(|piece| piece.bytes > 0).expect("range") + 2;
    reader.pieces.remove(lost);
    let refused = base.recover_by(&reader, &RecoverTo::Newest).expect_err("one range is missing");
    assert!(refused.to_string().contains("checksum"), "{refused}");
    let copy = base.folder.with_extension("copy").join("app.db");
    let opened = Connection::open(&copy).expect("open");
    let asked = opened.query_row("SELECT count(*) FROM entry", [], |row| row.get::<_, i64>(0));
    assert!(asked.expect_err("it opens").to_string().contains("not a database"));
    // A base from the future of the target.
    base = scene.base("newer");
    base.manifest.position = Some(position.clone());
    let first = scene.journal().pieces().iter().find(|piece| piece.bytes > 0).expect("range").to;
    assert!(base.recover(&scene.journal(), &at(first.offset)).is_err());
    assert!(base.recover(&scene.journal(), &at(position.position.offset)).is_err());
    assert!(
        base.recover(&scene.journal(), &RecoverTo::Time(crate::stream_kit::number(5))).is_err()
    );
    assert!(base.recover(&scene.journal(), &RecoverTo::Name("x".to_owned())).is_err());
    let (copy, _) = base.recover(&scene.journal(), &RecoverTo::Newest).expect("newest");
    assert_eq!(whole_transactions(&copy.join("app.db")), 4);
}

/// Nothing was written since the base: it is proven to be the state up to the last keepalive.
#[test]
fn an_idle_database_is_proven_up_to_the_last_keepalive() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    for number in 0..2 {
        let base = scene.base("base");
        stream.drain();
        let kept = scene.journal().pieces().last().expect("keepalive").time;
        let (_, recovered) = base.recover(&scene.journal(), &RecoverTo::Newest).expect("recovered");
        assert_eq!(recovered.expect("proven").complete_up_to, Some(kept));
        transfer(&app, number + 1).expect("transfer");
        stream.drain();
    }
}

/// An instant after the base was read and before the next batch was: the base is that state, and that
/// is an answer.
#[test]
fn an_instant_between_the_base_and_the_first_batch_is_the_base() {
    let scene = Scene::new();
    let app = scene.open(&wal());
    let mut stream = scene.stream();
    stream.drain();
    transfer(&app, 1).expect("transfer");
    stream.drain();
    let base = scene.base("base");
    transfer(&app, 2).expect("transfer");
    stream.drain();
    let at = base.manifest.finished;
    let journal = scene.journal();
    assert!(journal.pieces().last().expect("a batch").time > at, "it came later");
    let (copy, recovered) = base.recover(&journal, &RecoverTo::Time(at)).expect("recovered");
    let recovered = recovered.expect("an answer");
    assert_eq!(
        (recovered.position, recovered.complete_up_to),
        (base.manifest.position.clone(), None)
    );
    assert_eq!(whole_transactions(&copy.join("app.db")), 1);
}

/// The page that holds SQLite's locks, at 1 GiB, is never shipped.
#[test]
fn the_page_of_locks_is_never_shipped() {
    let scene = Scene::new();
    drop(scene.open("PRAGMA page_size=65536; PRAGMA journal_mode=WAL; CREATE TABLE t(a);"));
    let file = std::fs::OpenOptions::new().write(true).open(scene.live()).expect("open");
    let pages: u32 = (1 << 14) + 1;
    file.set_len(u64::from(pages) * 65536).expect("grow");
    std::os::unix::fs::FileExt::write_all_at(&file, &pages.to_be_bytes(), 28).expect("header");
    drop(file);
    let app = scene.open("");
    let mut stream = scene.stream();
    stream.drain();
    let before = scene.journal().end();
    app.execute_batch("INSERT INTO t VALUES (zeroblob(200000)); CREATE TABLE u(a);").expect("grow");
    let count: u32 = app.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("count");
    assert!(count > pages + 2, "the database did not grow beyond the page: {count}");
    stream.drain();
    let reader = scene.journal().reader(&before);
    let mut numbers = Vec::new();
    for piece in &reader.pieces {
        let bytes = lifeboat_recovery::ports::LogReader::read(&reader, piece).expect("read");
        let of = |page: &[u8]| u32::from_le_bytes(page[..4].try_into().expect("four"));
        numbers.extend(bytes.chunks(65540).map(of));
    }
    assert!(numbers.contains(&(pages + 2)), "{numbers:?}");
    assert!(!numbers.contains(&(pages + 1)) || pages + 1 != 16385, "{numbers:?}");
    assert!(!numbers.contains(&16385), "the page of locks was shipped: {numbers:?}");
}

#[test]
fn journals_begin_where_nothing_is() {
    let folder = tempfile::tempdir().expect("folder");
    assert!(Journal::at(folder.path().join("j")).resume().is_none());
}
