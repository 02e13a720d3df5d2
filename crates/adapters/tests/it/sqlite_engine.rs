//! What the engine says of restored copies: right ones pass, each kind of damage is found, and
//! looking changes nothing.

use std::path::Path;

use lifeboat_adapters::sqlite::SqliteEngine;
use lifeboat_model::manifest::{Content, FilesContent, Manifest, SqliteContent};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{Engine, EngineError};
use rusqlite::Connection;

use crate::sqlite_kit::{Bench, engine, faults, manifest, stock};

const SHOP: &str = "PRAGMA user_version=3; PRAGMA foreign_keys=OFF;
CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(id INTEGER PRIMARY KEY, p REFERENCES parent, t);
CREATE INDEX by_t ON child(t);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
  INSERT INTO parent SELECT i FROM n;
INSERT INTO child SELECT id, id, 'row ' || id FROM parent; INSERT INTO child VALUES (9999, 77777, 'orphan');";

/// A captured shop: the folder of the copy and what the manifest says.
fn shop() -> (Bench, SqliteContent) {
    let bench = Bench::new();
    let live = bench.open(&format!("PRAGMA journal_mode=WAL; {SHOP}"));
    let captured = bench.capture();
    drop(live);
    (bench, captured.content)
}

fn folder(bench: &Bench) -> std::path::PathBuf {
    bench.copy().parent().expect("folder").to_owned()
}

#[test]
fn a_right_copy_passes_and_is_not_touched() {
    let (bench, content) = shop();
    let before = std::fs::read(bench.copy()).expect("read");
    assert_eq!(before[18..20], [2, 2], "the copy of a WAL database says WAL");
    assert_eq!(content.foreign_key_violations, Some(1), "the source's own orphan");
    assert_eq!(faults(&folder(&bench), &content), Vec::<String>::new());
    let answer = engine().query(&folder(&bench), "SELECT count(*), NULL, 1.5, x'ab' FROM child");
    let row = ["3001", "", "1.5", "ab"].map(|cell| (!cell.is_empty()).then(|| cell.to_owned()));
    assert_eq!(answer.expect("answer").rows, [row.to_vec()]);
    assert_eq!(before, std::fs::read(bench.copy()).expect("read"));
    assert_eq!(std::fs::read_dir(folder(&bench)).expect("folder").count(), 1, "nothing beside it");
}

#[test]
fn an_empty_database_is_checked_and_not_waved_through() {
    let bench = Bench::new();
    std::fs::write(bench.live(), b"").expect("write");
    let content = bench.capture().content;
    let checks = engine().content(&folder(&bench), &manifest(&content));
    let tables = checks.iter().find(|check| check.name == "tables").expect("asked");
    assert_eq!((tables.verdict, tables.found.as_str()), (Verdict::Pass, "0 tables"));
    assert_eq!(faults(&folder(&bench), &content), Vec::<String>::new());
    let full = shop().0;
    std::fs::copy(full.copy(), bench.copy()).expect("copy");
    assert!(!faults(&folder(&bench), &content).is_empty(), "a full one is not an empty one");
}

/// Every difference that a restore could bring, made with SQLite itself on the copy.
#[test]
fn every_difference_is_found_and_named() {
    for (change, named) in [
        ("DELETE FROM child WHERE id = 5", "table child"),
        ("UPDATE child SET t = 'row 6' WHERE id = 5", "table child"),
        (
            "UPDATE child SET t = CASE id WHEN 5 THEN 'row 6' ELSE 'row 5' END WHERE id IN (5, 6)",
            "table child",
        ),
        ("DELETE FROM parent WHERE id = 4", "foreign_key_check"),
        ("DROP TABLE parent", "tables"),
        ("CREATE TABLE more(a)", "tables"),
        ("PRAGMA user_version = 4", "user_version"),
        ("PRAGMA application_id = 4", "application_id"),
        ("DROP INDEX by_t", "schema"),
        ("PRAGMA page_size = 8192; PRAGMA journal_mode=DELETE; VACUUM", "page size"),
    ] {
        let (bench, content) = shop();
        let copy = Connection::open(bench.copy()).expect("open");
        copy.execute_batch("PRAGMA foreign_keys=OFF; PRAGMA journal_mode=DELETE;").expect("mode");
        copy.execute_batch(change).expect(change);
        drop(copy);
        let found = faults(&folder(&bench), &content);
        assert!(
            found.iter().any(|fault| fault.starts_with(&format!("{named}:"))),
            "{change}: {found:?}"
        );
    }
}

fn damaged(damage: impl Fn(&Path)) -> Vec<String> {
    let (bench, content) = shop();
    damage(&bench.copy());
    faults(&folder(&bench), &content)
}

/// `SELECT 1` succeeds on a missing file and on garbage; our checks do not.
#[test]
fn x19_missing_truncated_garbage_and_flipped_copies_are_found() {
    let scratch = tempfile::tempdir().expect("folder");
    let garbage = scratch.path().join("garbage.db");
    std::fs::write(&garbage, vec![7; 50_000]).expect("write");
    assert_eq!(stock(&garbage, "SELECT 1"), "1", "the trap is real");
    assert_eq!(stock(&scratch.path().join("missing.db"), "SELECT 1"), "1", "the trap is real");

    let missing = damaged(|copy| std::fs::remove_file(copy).expect("remove"));
    assert!(missing.iter().any(|fault| fault.starts_with("integrity_check:")), "{missing:?}");
    assert!(missing.iter().any(|fault| fault.starts_with("content:")), "{missing:?}");
    let noise = damaged(|copy| std::fs::write(copy, vec![7; 50_000]).expect("write"));
    assert!(noise.iter().any(|fault| fault.contains("not a database")), "{noise:?}");
    let emptied = damaged(|copy| std::fs::write(copy, b"").expect("write"));
    assert!(emptied.iter().any(|fault| fault.starts_with("file size:")), "{emptied:?}");
    assert!(emptied.iter().any(|fault| fault.starts_with("tables:")), "{emptied:?}");
    for cut in [1, 4096, 40_000] {
        let short = damaged(|copy| {
            let bytes = std::fs::read(copy).expect("read");
            std::fs::write(copy, &bytes[..bytes.len() - cut]).expect("write");
        });
        assert!(short.iter().any(|fault| fault.starts_with("file size:")), "{cut}: {short:?}");
    }
    let wiped = damaged(|copy| {
        let mut bytes = std::fs::read(copy).expect("read");
        let page = bytes.len() / 2 / 4096 * 4096;
        bytes[page..page + 4096].fill(0);
        std::fs::write(copy, bytes).expect("write");
    });
    assert!(!wiped.is_empty());
    let logged =
        damaged(|copy| std::fs::write(copy.with_extension("db-wal"), b"log").expect("write"));
    assert!(logged.iter().any(|fault| fault.starts_with("nothing beside the file:")), "{logged:?}");
}

#[test]
fn x19_a_query_asks_a_database_and_only_asks() {
    let (bench, _) = shop();
    let before = std::fs::read(bench.copy()).expect("read");
    let other = bench.folder.path().join("other.db");
    for sql in [
        "DELETE FROM child",
        "CREATE TEMP TABLE t(a)",
        "PRAGMA user_version = 9",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = 1",
        &format!("ATTACH '{}' AS other", other.display()),
        &format!("VACUUM INTO '{}'", other.display()),
        "SELECT 1; DELETE FROM child",
        "SELECT 1; SELECT 2",
        "",
        "SELECT load_extension('x')",
        "SELECT nothing FROM nowhere",
    ] {
        engine().query(&folder(&bench), sql).expect_err(sql);
    }
    assert!(!other.exists());
    assert_eq!(before, std::fs::read(bench.copy()).expect("read"));
    for sql in [
        "SELECT 1 -- only one;",
        "PRAGMA user_version",
        "SELECT 1;",
        "WITH a AS (SELECT 1) SELECT * FROM a",
    ] {
        assert_eq!(engine().query(&folder(&bench), sql).expect(sql).rows.len(), 1);
    }
    std::fs::write(bench.copy(), vec![7; 50_000]).expect("write");
    engine().query(&folder(&bench), "SELECT 1").expect_err("garbage answers nothing");
    std::fs::remove_file(bench.copy()).expect("remove");
    let missing = engine().query(&folder(&bench), "SELECT 1").expect_err("nothing answers nothing");
    assert!(matches!(missing, EngineError::Refused { .. }), "{missing:?}");
    assert!(!bench.copy().exists(), "and is not made");
}

#[test]
fn a_question_without_end_is_ended() {
    let (bench, _) = shop();
    let clock = std::sync::Arc::new(lifeboat_adapters::SystemClock::new());
    let engine = SqliteEngine::new("app.db", clock, std::time::Duration::from_millis(50));
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let error = engine.query(&folder(&bench), endless).expect_err("late");
    assert!(error.to_string().contains("not answered within"), "{error}");
}

#[test]
fn virtual_tables_can_be_asked_on_the_copy() {
    let bench = Bench::new();
    drop(bench.open(
        "CREATE VIRTUAL TABLE words USING fts5(body); INSERT INTO words VALUES ('the quick brown fox');
         CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1); INSERT INTO boxes VALUES (1, 0, 1);",
    ));
    let content = bench.capture().content;
    assert_eq!(faults(&folder(&bench), &content), Vec::<String>::new());
    for sql in
        ["SELECT * FROM words WHERE words MATCH 'quick'", "SELECT id FROM boxes WHERE x0 < 5"]
    {
        assert_eq!(engine().query(&folder(&bench), sql).expect(sql).rows.len(), 1);
    }
}

/// What only the application could tell is inconclusive, never pass.
#[test]
fn an_unknown_collation_is_inconclusive() {
    let bench = Bench::new();
    let live = bench.open("");
    live.create_collation("FRENCH", |a: &str, b: &str| b.cmp(a)).expect("collation");
    live.execute_batch(
        "CREATE TABLE t(a TEXT COLLATE FRENCH PRIMARY KEY); INSERT INTO t VALUES ('a'), ('b');",
    )
    .expect("table");
    drop(live);
    let content = bench.capture().content;
    let checks = engine().structure(&folder(&bench), &manifest(&content));
    let integrity = checks.iter().find(|check| check.name == "integrity_check").expect("asked");
    assert_eq!(integrity.verdict, Verdict::Inconclusive, "{}", integrity.found);
    let content_checks = engine().content(&folder(&bench), &manifest(&content));
    assert!(content_checks.iter().all(|check| check.verdict == Verdict::Pass), "rows can be told");
}

#[test]
fn a_manifest_of_another_kind_fails() {
    let (bench, content) = shop();
    let files = FilesContent {
        roots: Vec::new(),
        files: 0,
        folders: 0,
        others: 0,
        bytes: 0,
        allocated: None,
        fingerprint: String::new(),
        problems: Vec::new(),
    };
    let wrong = Manifest { content: Content::Files(files), ..manifest(&content) };
    for checks in
        [engine().structure(&folder(&bench), &wrong), engine().content(&folder(&bench), &wrong)]
    {
        assert_eq!(Verdict::of(checks.iter().map(|check| check.verdict)), Verdict::Fail);
    }
}

#[test]
fn copies_with_awkward_names_are_found() {
    use std::os::unix::ffi::OsStrExt;
    for name in [&b"a?b#c%20d.db"[..], b"not \xff utf8.db"] {
        let (bench, content) = shop();
        let named = folder(&bench).join(std::ffi::OsStr::from_bytes(name));
        std::fs::rename(bench.copy(), &named).expect("rename");
        let file = String::from_utf8_lossy(name).into_owned();
        assert_eq!(
            faults(&folder(&bench), &SqliteContent { file, ..content }),
            Vec::<String>::new()
        );
    }
}
