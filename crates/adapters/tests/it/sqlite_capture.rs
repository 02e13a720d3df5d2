//! What a capture takes: every page, every kind of table and value, in every journal mode.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use lifeboat_adapters::sqlite::{CaptureError, NewestChange, SqliteOptions};
use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::Engine;
use rusqlite::Connection;

use crate::sqlite_kit::{Bench, Notes, capture_to, capture_with, engine, manifest, same, stock};

/// Every kind of table and value that a fingerprint must know.
const EVERYTHING: &str = r#"
CREATE TABLE plain(a, b TEXT, c REAL, d BLOB);
INSERT INTO plain VALUES (1, 'one', 1.5, x'00ff'), (NULL, '', -0.0, zeroblob(100000)),
  (9223372036854775807, 'ü', 1e300, NULL), ('mixed', CAST(x'ff41fe' AS TEXT), 3, 'text in a blob');
CREATE TABLE "odd ""name"" [x]; --"("select", "a b", 'quo''te');
INSERT INTO "odd ""name"" [x]; --" VALUES (1, 2, 3);
CREATE TABLE keyed(a TEXT, b INTEGER, c, PRIMARY KEY (b, a)) WITHOUT ROWID;
INSERT INTO keyed VALUES ('x', 2, 'first'), ('y', 1, 'second'), ('a', 2, 'third');
CREATE TABLE backwards(a INTEGER, b, PRIMARY KEY (a DESC)) WITHOUT ROWID;
INSERT INTO backwards VALUES (1, 'x'), (2, 'y');
CREATE TABLE strict(a INTEGER PRIMARY KEY AUTOINCREMENT, b ANY) STRICT;
INSERT INTO strict(b) VALUES (1), ('1'), (1.0);
CREATE TABLE derived(a, v AS (a * 2) VIRTUAL, s AS (a * 3) STORED);
INSERT INTO derived(a) VALUES (1), (2);
CREATE TABLE hides(rowid TEXT, _rowid_ TEXT, oid TEXT);
INSERT INTO hides VALUES ('a', 'b', 'c');
CREATE TABLE empty(a);
CREATE VIRTUAL TABLE words USING fts5(body);
INSERT INTO words VALUES ('the quick brown fox');
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
INSERT INTO boxes VALUES (1, 0, 1);
CREATE INDEX by_b ON plain(b);
CREATE VIEW seen AS SELECT a FROM plain;
CREATE TRIGGER echo AFTER INSERT ON empty BEGIN SELECT 1; END;
PRAGMA user_version = 42; PRAGMA application_id = 77;
ANALYZE;
"#;

#[test]
fn a_database_with_everything_is_copied_whole() {
    for mode in ["DELETE", "WAL", "TRUNCATE", "PERSIST"] {
        let bench = Bench::new();
        let live = bench.open(&format!("PRAGMA journal_mode={mode};"));
        live.execute_batch(EVERYTHING).expect("everything");
        let captured = bench.capture();
        let content = &captured.content;
        let names: Vec<&str> = content.tables.keys().map(String::as_str).collect();
        for name in [
            "plain",
            "odd \"name\" [x]; --",
            "keyed",
            "backwards",
            "strict",
            "derived",
            "hides",
            "empty",
            "words_data",
            "words_content",
            "boxes_node",
            "boxes_rowid",
            "sqlite_sequence",
            "sqlite_stat1",
        ] {
            assert!(names.contains(&name), "{mode}: {name} is missing in {names:?}");
        }
        assert!(!names.contains(&"words") && !names.contains(&"seen"), "{names:?}");
        assert_eq!(content.tables["plain"].rows, 4);
        assert_eq!(content.tables["empty"].rows, 0);
        assert_eq!((content.user_version, content.application_id), (42, 77));
        assert_eq!(content.encoding, "UTF-8");
        assert_eq!(content.foreign_key_violations, Some(0));
        let size = std::fs::metadata(bench.copy()).expect("copy").len();
        assert_eq!(size, u64::from(content.page_size) * u64::from(content.page_count));
        assert_eq!(content.journal_mode == "wal", mode == "WAL");
        assert_eq!(content.method, if mode == "WAL" { "wal-snapshot" } else { "batched" });
        assert_eq!(captured.blocked.is_none(), mode == "WAL");
        // Exact: in rollback mode the file itself, in WAL mode what a checkpoint makes of it.
        if mode == "WAL" {
            live.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoint");
        }
        drop(live);
        assert!(same(&bench.live(), &bench.copy()), "{mode}: bytes differ");
        assert_eq!(stock(&bench.copy(), "PRAGMA integrity_check"), "ok");
    }
}

/// The fingerprint must not depend on how the rows were read: in one piece or in many.
#[test]
fn pieces_and_one_piece_give_the_same_fingerprint() {
    let fill = "CREATE TABLE t(a INTEGER PRIMARY KEY, b);
        CREATE TABLE w(a TEXT COLLATE NOCASE, b INTEGER, c, PRIMARY KEY(a, b)) WITHOUT ROWID;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
        INSERT INTO t SELECT i * 3 - 100000, hex(randomblob(20)) FROM n;
        INSERT INTO w SELECT CASE a % 2 WHEN 0 THEN 'k' ELSE 'K' END || (a % 50), a, b FROM t;
        INSERT INTO w SELECT CAST(x'ff' AS TEXT) || (a % 9), a, b FROM t;";
    let bench = Bench::new();
    drop(bench.open(&format!("PRAGMA journal_mode=DELETE; {fill}")));
    let pieces = bench.capture().content;
    assert_eq!(pieces.method, "batched");
    bench.open("PRAGMA journal_mode=WAL;");
    let whole = bench.capture().content;
    assert_eq!(whole.method, "wal-snapshot");
    assert_eq!(pieces.tables, whole.tables);
    assert_eq!(pieces.tables["w"].rows, 240_000);
    assert_eq!(pieces.schema_sha256, whole.schema_sha256);
}

#[test]
fn a_change_of_any_kind_changes_the_fingerprint() {
    let bench = Bench::new();
    let live = bench.open("PRAGMA journal_mode=WAL;");
    live.execute_batch(EVERYTHING).expect("everything");
    let before = bench.capture().content;
    for (change, table) in [
        ("UPDATE plain SET rowid = rowid + 10 WHERE a = 1", "plain"),
        ("UPDATE plain SET c = 0.0 WHERE a IS NULL", "plain"),
        ("UPDATE plain SET b = CAST(b AS BLOB) WHERE a = 1", "plain"),
        ("UPDATE plain SET a = 1.0 WHERE a = 1", "plain"),
        (
            "UPDATE keyed SET c = CASE c WHEN 'first' THEN 'third' WHEN 'third' THEN 'first' ELSE c END",
            "keyed",
        ),
        ("UPDATE backwards SET b = 'z' WHERE a = 1", "backwards"),
        ("UPDATE derived SET a = 5 WHERE a = 2", "derived"),
        ("UPDATE hides SET oid = 'd'", "hides"),
        ("INSERT INTO words VALUES ('jumps')", "words_data"),
        ("UPDATE sqlite_sequence SET seq = 99", "sqlite_sequence"),
    ] {
        live.execute_batch(&format!("SAVEPOINT s; {change}; RELEASE s")).expect(change);
        let after = bench.capture().content;
        assert_ne!(before.tables[table], after.tables[table], "{change}");
        assert_eq!(before.schema_sha256, after.schema_sha256, "{change}");
    }
    live.execute_batch("DROP VIEW seen").expect("drop");
    assert_ne!(before.schema_sha256, bench.capture().content.schema_sha256);
}

#[test]
fn page_sizes_encodings_vacuum_and_foreign_keys() {
    for (pragmas, page_size) in [
        ("PRAGMA page_size=512;", 512),
        ("PRAGMA page_size=65536;", 65536),
        ("PRAGMA page_size=1024; PRAGMA auto_vacuum=FULL; PRAGMA encoding='UTF-16be';", 1024),
    ] {
        let bench = Bench::new();
        let live = bench.open(&format!(
            "{pragmas} CREATE TABLE parent(id INTEGER PRIMARY KEY); PRAGMA foreign_keys=OFF;
             CREATE TABLE child(p REFERENCES parent(id), t TEXT); INSERT INTO parent VALUES (1);
             INSERT INTO child VALUES (1, 'ok'), (2, 'lost'), (3, 'lost too'), (NULL, 'none');"
        ));
        let content = bench.capture().content;
        assert_eq!(content.page_size, page_size);
        assert_eq!(content.foreign_key_violations, Some(2));
        assert!(same(&bench.live(), &bench.copy()));
        live.execute_batch("DELETE FROM child; PRAGMA page_size=8192; VACUUM").expect("vacuum");
        let content = bench.capture().content;
        assert_eq!(content.page_size, 8192);
        assert_eq!(content.foreign_key_violations, Some(0));
        assert!(same(&bench.live(), &bench.copy()));
    }
}

#[test]
fn a_mismatched_foreign_key_is_not_counted_as_none() {
    let bench = Bench::new();
    bench.open(
        "PRAGMA foreign_keys=OFF; CREATE TABLE p(a); CREATE TABLE c(x REFERENCES p(a));
         INSERT INTO c VALUES (1);",
    );
    assert_eq!(bench.capture().content.foreign_key_violations, None);
}

#[test]
fn an_empty_file_is_an_empty_database_and_is_said_aloud() {
    let bench = Bench::new();
    std::fs::write(bench.live(), b"").expect("write");
    let notes = Notes::default();
    let captured =
        capture_with(&SqliteOptions::new(bench.live()), &bench.copy(), &notes).expect("captured");
    assert_eq!((captured.content.page_count, captured.content.tables.len()), (0, 0));
    assert_eq!(std::fs::metadata(bench.copy()).expect("copy").len(), 0);
    assert!(notes.text().contains("empty database"), "{}", notes.text());
    assert_eq!(std::fs::read_dir(bench.folder.path()).expect("folder").count(), 2, "nothing made");
}

/// SQLite would delete the `-wal` of an emptied database on opening it.
#[test]
fn an_emptied_database_keeps_its_log() {
    let bench = Bench::new();
    let live = bench.open("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (1);");
    std::fs::copy(bench.live().with_extension("db-wal"), bench.folder.path().join("saved"))
        .expect("copy");
    drop(live);
    std::fs::write(bench.live(), b"").expect("empty it");
    std::fs::copy(bench.folder.path().join("saved"), bench.live().with_extension("db-wal"))
        .expect("copy");
    let refused = capture_to(&bench.live(), &bench.copy()).expect_err("refused");
    assert!(matches!(refused, CaptureError::Unfit { .. }), "{refused:?}");
    assert!(same(&bench.live().with_extension("db-wal"), &bench.folder.path().join("saved")));
}

#[test]
fn names_that_trip_others() {
    let names: [&[u8]; 5] = [
        b"a?mode=memory.db",
        b"a#b%20c.db",
        b"file:x.db",
        b"not \xff utf8.db",
        b" spaces 'and\" quotes.db",
    ];
    for name in names {
        let bench = Bench::new();
        let path = bench.folder.path().join(OsStr::from_bytes(name));
        let scratch = bench.open("CREATE TABLE t(a); INSERT INTO t VALUES (7);");
        drop(scratch);
        std::fs::rename(bench.live(), &path).expect("rename");
        let captured = capture_to(&path, &bench.copy()).expect("captured");
        assert_eq!(captured.content.tables["t"].rows, 1);
        assert!(same(&path, &bench.copy()));
    }
}

#[test]
fn a_symbolic_link_leads_to_the_database_and_its_log() {
    let bench = Bench::new();
    let live = bench.open("PRAGMA journal_mode=WAL; CREATE TABLE t(a);");
    live.execute_batch("INSERT INTO t VALUES (1)").expect("insert");
    let other = tempfile::tempdir().expect("folder");
    let link = other.path().join("current.db");
    std::os::unix::fs::symlink(bench.live(), &link).expect("link");
    let captured = capture_to(&link, &bench.copy()).expect("captured");
    assert_eq!(captured.content.tables["t"].rows, 1);
    assert_eq!(captured.content.file, "current.db");
    assert_eq!(captured.real_path, bench.live().canonicalize().expect("real"));
}

#[test]
fn the_newest_change_is_read_where_the_plan_names_a_column() {
    let bench = Bench::new();
    bench.open("CREATE TABLE t(at TEXT); INSERT INTO t VALUES ('2026-01-01'), ('2026-03-01'), ('2026-02-01');");
    let mut options = SqliteOptions::new(bench.live());
    options.newest_change = Some(NewestChange { table: "t".into(), column: "at".into() });
    let captured = capture_with(&options, &bench.copy(), &Notes::default()).expect("captured");
    assert_eq!(captured.content.newest_change.as_deref(), Some("2026-03-01"));
    options.newest_change = Some(NewestChange { table: "t".into(), column: "nowhere".into() });
    let refused = capture_with(&options, &bench.copy(), &Notes::default()).expect_err("refused");
    assert!(format!("{refused:?}").contains("nowhere"), "{refused:?}");
}

/// An application's own collations and functions are not known to a backup.
#[test]
fn unknown_collations_and_functions_do_not_hinder() {
    let bench = Bench::new();
    let live = bench.open("");
    live.create_collation("FRENCH", |a: &str, b: &str| b.cmp(a)).expect("collation");
    live.execute_batch(
        "CREATE TABLE t(a TEXT COLLATE FRENCH); CREATE INDEX i ON t(a);
         CREATE TABLE w(a TEXT COLLATE FRENCH PRIMARY KEY, b) WITHOUT ROWID;
         INSERT INTO t VALUES ('a'), ('c'), ('b'); INSERT INTO w VALUES ('a', 1), ('c', 2), ('b', 3);",
    )
    .expect("tables");
    drop(live);
    let content = bench.capture().content;
    assert_eq!((content.tables["t"].rows, content.tables["w"].rows), (3, 3));
    assert!(same(&bench.live(), &bench.copy()));
}

/// The page with SQLite's lock bytes stands at 1 GiB; it is never used and must be there as zeros.
#[test]
fn a_database_beyond_one_gibibyte_has_its_lock_page() {
    let bench = Bench::new();
    let live = bench.open("PRAGMA page_size=65536; PRAGMA journal_mode=DELETE; CREATE TABLE t(a);");
    // A sparse way there: a file that is long already, whose header says so.
    live.execute_batch("INSERT INTO t VALUES (1)").expect("insert");
    drop(live);
    let file = std::fs::OpenOptions::new().write(true).open(bench.live()).expect("open");
    let pages: u32 = (1 << 14) + 3;
    file.set_len(u64::from(pages) * 65536).expect("grow");
    std::os::unix::fs::FileExt::write_all_at(&file, &pages.to_be_bytes(), 28).expect("header");
    drop(file);
    let live = Connection::open(bench.live()).expect("open");
    let count: u32 = live.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("count");
    assert_eq!(count, pages);
    drop(live);
    let content = bench.capture().content;
    assert_eq!(content.page_count, pages);
    let sizes =
        [bench.live(), bench.copy()].map(|path| std::fs::metadata(path).expect("file").len());
    assert_eq!(sizes[0], sizes[1]);
    for (place, pages) in [(0, 8), (u64::from((1u32 << 14) - 1) * 65536, 4)] {
        use std::os::unix::fs::FileExt;
        let [live, copy] = [bench.live(), bench.copy()].map(|path| {
            let mut bytes = vec![1; pages * 65536];
            let file = std::fs::File::open(path).expect("open");
            let length = bytes.len().min((sizes[0] - place) as usize);
            file.read_exact_at(&mut bytes[..length], place).expect("read");
            bytes
        });
        assert!(live == copy, "bytes differ at {place}");
    }
}

/// The bytes of the definition by other hands: Python's own SQLite, `SELECT` alone.
const SECOND_OPINION: &str = r#"
import sqlite3, struct, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?immutable=1", uri=True)
db.text_factory = bytes
def cell(v):
    if v is None: return b"\0"
    if isinstance(v, int): return b"\1" + struct.pack("<q", v)
    if isinstance(v, float): return b"\2" + struct.pack("<d", v)
    # text comes as bytes, blobs are told apart by typeof()
    raise TypeError
def sized(tag, v): return bytes([tag]) + struct.pack("<Q", len(v)) + v
def name(n): n = n.encode(); return struct.pack("<Q", len(n)) + n
def quote(n): return '"' + n.replace('"', '""') + '"'
table, key, columns = sys.argv[3], sys.argv[4], sys.argv[5:]
rowid = key == "rowid"
put = sys.stdout.buffer.write
put(b"lifeboat sqlite table %s\n" % sys.argv[2].encode() + name(table) + bytes([rowid]))
put(struct.pack("<I", len(columns)) + b"".join(map(name, columns)))
shown = (["rowid"] if rowid else []) + [quote(c) for c in columns]
asked = ", ".join(f"{c}, typeof({c})" for c in shown)
rows = 0
for row in db.execute(f"SELECT {asked} FROM {quote(table)} ORDER BY {key}"):
    for value, kind in zip(row[::2], row[1::2]):
        put(sized({b"text": 3, b"blob": 4}[kind], value) if kind in (b"text", b"blob") else cell(value))
    rows += 1
put(b"\xff" + struct.pack("<Q", rows))
"#;

/// What the fingerprint of a table in manifests of this format is a hash of, and its rows.
fn stream(copy: &std::path::Path, format: u32, (table, key, columns): Described<'_>) -> Vec<u8> {
    let output = std::process::Command::new("python3")
        .args(["-c", SECOND_OPINION])
        .arg(copy)
        .args([&format.to_string(), table, key])
        .args(columns)
        .output()
        .expect("python3 is needed: apt-get install python3");
    assert!(output.status.success(), "{table}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A table's name, what its rows are sorted by, and its columns.
type Described<'a> = (&'a str, &'a str, &'a [&'a str]);

#[test]
fn a_second_implementation_finds_the_same_fingerprints() {
    let bench = Bench::new();
    let live = bench.open("");
    live.execute_batch(EVERYTHING).expect("everything");
    drop(live);
    let content = bench.capture().content;
    for (table, key, columns) in [
        ("plain", "rowid", &["a", "b", "c", "d"][..]),
        ("odd \"name\" [x]; --", "rowid", &["select", "a b", "quo'te"]),
        ("keyed", "b, a", &["a", "b", "c"]),
        ("backwards", "a DESC", &["a", "b"]),
        ("strict", "rowid", &["a", "b"]),
        ("derived", "rowid", &["a", "s"]),
        ("sqlite_sequence", "rowid", &["name", "seq"]),
    ] {
        let stream = stream(&bench.copy(), 2, (table, key, columns));
        let found = blake3::hash(&stream).to_hex();
        assert_eq!(found.as_str(), content.tables[table].fingerprint, "{table}");
        let rows = stream[stream.len() - 8..].try_into().expect("eight bytes");
        assert_eq!(u64::from_le_bytes(rows), content.tables[table].rows, "{table}");
    }
}

/// A manifest of an older format is judged by the fingerprints that it has.
#[test]
fn fingerprints_of_format_1_are_still_judged() {
    let bench = Bench::new();
    let live =
        bench.open("CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, x'07')");
    drop(live);
    let content = bench.capture().content;
    let old = stream(&bench.copy(), 1, ("t", "rowid", &["a", "b"]));
    let mut manifest = manifest(&content);
    manifest.format = 1;
    let folder = bench.copy().parent().expect("folder").to_owned();
    let judged = |manifest: &Manifest| {
        let checks = engine().content(&folder, manifest);
        checks.into_iter().find(|check| check.name == "table t").expect("asked").verdict
    };
    assert_eq!(judged(&manifest), Verdict::Fail, "a new fingerprint in an old manifest");
    let Content::Sqlite(content) = &mut manifest.content else { panic!("a database") };
    content.tables["t"].fingerprint = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&old));
    assert_eq!(judged(&manifest), Verdict::Pass);
    manifest.format = 2;
    assert_eq!(judged(&manifest), Verdict::Fail, "an old fingerprint in a new manifest");
    manifest.format = 1;
    drop(bench.open("UPDATE t SET b = x'08'"));
    std::fs::copy(bench.live(), bench.copy()).expect("copy");
    assert_eq!(judged(&manifest), Verdict::Fail, "another row");
}
