//! What the tests of SQLite streams share: a journal in a folder, a stream into it, an application
//! that counts its transactions, and a judge.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::stream::Limits;
use lifeboat_adapters::sqlite::{SqliteLog, SqliteOptions};
use lifeboat_model::manifest::{Manifest, SqliteContent};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{
    Engine, EngineError, Joint, LogContext, LogError, LogEvent, LogFacts, LogReader, LogSource,
    Piece, RecoverContext, RecoverTo, Recovered, Resume,
};
use lifeboat_vault::{Cancel, Clock};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::sqlite_kit::{Notes, capture_to, engine, manifest, same, stock};

/// Each transaction changes pages of two tables and two indexes and says its number in each.
pub const BOOKS: &str = "
CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, last INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
  INSERT INTO account SELECT i, 1000, 0, hex(randomblob(150)) FROM n;
CREATE TABLE entry(number INTEGER PRIMARY KEY, source INTEGER, target INTEGER, amount INTEGER);
CREATE INDEX entry_source ON entry(source);
CREATE INDEX account_last ON account(last);";

/// One transaction of the application.
pub fn transfer(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let (from, to, amount) = (number * 7 % 500 + 1, number * 13 % 500 + 1, number % 10);
    let run = |sql: &str, values: &[i64]| {
        connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))
    };
    run("BEGIN IMMEDIATE", &[])?;
    run(
        "UPDATE account SET balance = balance - ?1, last = ?3 WHERE id = ?2",
        &[amount, from, number],
    )?;
    run(
        "UPDATE account SET balance = balance + ?1, last = ?3 WHERE id = ?2",
        &[amount, to, number],
    )?;
    run("INSERT INTO entry VALUES (?1, ?2, ?3, ?4)", &[number, from, to, amount])?;
    run("COMMIT", &[]).map(|_| ())
}

/// Fails unless a database holds transactions 1 to some n, all whole; returns n. The stock `sqlite3`
/// judges.
pub fn whole_transactions(database: &Path) -> i64 {
    assert_eq!(stock(database, "PRAGMA integrity_check"), "ok");
    let line = stock(
        database,
        "SELECT (SELECT sum(balance) FROM account), count(*) - ifnull(max(number), 0),
           ifnull(max(number), 0) - (SELECT max(last) FROM account),
           (SELECT count(*) FROM account AS a WHERE balance <> 1000
             - (SELECT ifnull(sum(amount), 0) FROM entry WHERE source = a.id)
             + (SELECT ifnull(sum(amount), 0) FROM entry WHERE target = a.id)),
           ifnull(max(number), 0) FROM entry",
    );
    let cells: Vec<&str> = line.split('|').collect();
    assert_eq!(cells[..4], ["500000", "0", "0", "0"], "a transaction is cut or missing");
    cells[4].parse().expect("number")
}

/// A journal as the tests keep one: a file a range.
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    pub fn at(folder: PathBuf) -> Journal {
        std::fs::create_dir_all(&folder).expect("folder");
        Journal { folder }
    }

    fn lineage(&self) -> Option<String> {
        std::fs::read_to_string(self.folder.join("lineage")).ok()
    }

    fn put(&self, lineage: &str, name: &str, head: &Value, payload: &[u8]) {
        let folder = self.folder.join(lineage);
        std::fs::create_dir_all(&folder).expect("folder");
        let new = folder.join("new");
        let text = head.to_string() + "\n";
        std::fs::write(&new, [text.as_bytes(), payload].concat()).expect("write");
        std::fs::rename(new, folder.join(name)).expect("rename");
    }

    pub fn begin(&self, at: &LogPosition, facts: &LogFacts) {
        let head = json!({ "from": at.position, "to": at.position, "facts": facts });
        self.put(&at.lineage, "start", &head, &[]);
        std::fs::write(self.folder.join("lineage"), &at.lineage).expect("write");
    }

    /// Stores a range or keepalive, as number `seq` of its lineage.
    pub fn append(&self, event: &LogEvent) {
        let lineage = self.lineage().expect("begun");
        let seq = self.pieces().len();
        let (head, payload) = match event {
            LogEvent::Range(range) => {
                let end = self.pieces().last().map(|piece| piece.to);
                assert!(range.to > range.from && end.is_none_or(|end| end == range.from));
                let (from, to, time) = (range.from, range.to, range.time);
                let facts = &range.facts;
                (
                    json!({ "from": from, "to": to, "time": time, "facts": facts }),
                    range.bytes.clone(),
                )
            }
            LogEvent::Idle { at, time } => {
                let facts = LogFacts::new();
                (json!({ "from": at, "to": at, "time": time, "facts": facts }), Bytes::new())
            }
            other => panic!("{other:?}"),
        };
        self.put(&lineage, &format!("{seq:08}"), &head, &payload);
    }

    fn heads(&self) -> Vec<(PathBuf, Value)> {
        let Some(lineage) = self.lineage() else { return Vec::new() };
        let entries = std::fs::read_dir(self.folder.join(lineage)).expect("list");
        let mut names: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
        names.retain(|path| path.file_name().is_some_and(|name| name != "start" && name != "new"));
        names.sort();
        names.into_iter().map(|path| (path.clone(), head(&path))).collect()
    }

    pub fn pieces(&self) -> Vec<Piece> {
        let parse = |value: &Value| value.as_str().expect("text").parse().expect("position");
        let piece = |(seq, (path, head)): (usize, (PathBuf, Value))| Piece {
            seq: seq as u64,
            from: parse(&head["from"]),
            to: parse(&head["to"]),
            time: head["time"].as_str().expect("time").parse().expect("time"),
            bytes: payload(&path).len() as u64,
            facts: serde_json::from_value(head["facts"].clone()).expect("facts"),
        };
        self.heads().into_iter().enumerate().map(piece).collect()
    }

    /// Ranges only, and how each was found: `log` or `difference`.
    pub fn ways(&self) -> Vec<String> {
        let ranges = self.pieces().into_iter().filter(|piece| piece.to > piece.from);
        ranges.map(|piece| piece.facts["way"].as_str().expect("way").to_owned()).collect()
    }

    pub fn resume(&self) -> Option<Resume> {
        let lineage = self.lineage()?;
        let start = head(&self.folder.join(&lineage).join("start"));
        let facts = |value: &Value| serde_json::from_value(value.clone()).expect("facts");
        let last = self.pieces().into_iter().rfind(|piece| piece.to > piece.from);
        let (position, facts) = match last {
            Some(piece) => (piece.to, piece.facts),
            None => {
                (start["to"].as_str().expect("to").parse().expect("to"), facts(&start["facts"]))
            }
        };
        Some(Resume { at: LogPosition { lineage, position }, facts, proven: None })
    }

    pub fn end(&self) -> LogPosition {
        self.resume().expect("begun").at
    }

    /// The way from `base` on.
    pub fn reader(&self, base: &LogPosition) -> Reader {
        let start = head(&self.folder.join(&base.lineage).join("start"));
        let files = self.heads().into_iter().map(|(path, _)| path).collect();
        let pieces = self.pieces();
        let from =
            pieces.iter().position(|piece| piece.to > base.position || piece.from == base.position);
        let pieces = pieces[from.unwrap_or(pieces.len())..].to_vec();
        let facts = serde_json::from_value(start["facts"].clone()).expect("facts");
        Reader { start: base.clone(), facts, pieces, files }
    }
}

fn head(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("read");
    let end = bytes.iter().position(|byte| *byte == b'\n').expect("line");
    serde_json::from_slice(&bytes[..end]).expect("json")
}

fn payload(path: &Path) -> Bytes {
    let bytes = std::fs::read(path).expect("read");
    let end = bytes.iter().position(|byte| *byte == b'\n').expect("line");
    Bytes::from(bytes).slice(end + 1..)
}

pub struct Reader {
    start: LogPosition,
    facts: LogFacts,
    pub pieces: Vec<Piece>,
    files: Vec<PathBuf>,
}

impl LogReader for Reader {
    fn start(&self) -> LogPosition {
        self.start.clone()
    }
    fn facts(&self) -> &LogFacts {
        &self.facts
    }
    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
    fn read(&self, piece: &Piece) -> Result<Bytes, EngineError> {
        Ok(payload(&self.files[piece.seq as usize]))
    }
    fn histories(&self) -> Result<Vec<(u32, Bytes)>, EngineError> {
        Ok(Vec::new())
    }
}

/// A folder that may be another process's to remove.
pub struct Folder(
    PathBuf,
    #[allow(dead_code, reason = "held so that it stays")] Option<tempfile::TempDir>,
);

impl Folder {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A folder with a live database, a stream's state and a journal.
pub struct Scene {
    pub folder: Folder,
}

impl Scene {
    pub fn new() -> Scene {
        let folder = tempfile::tempdir().expect("folder");
        Scene { folder: Folder(folder.path().to_owned(), Some(folder)) }
    }
    /// One that another process has made.
    pub fn at(path: &Path) -> Scene {
        Scene { folder: Folder(path.to_owned(), None) }
    }
    pub fn live(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }
    pub fn wal(&self) -> PathBuf {
        self.folder.path().join("app.db-wal")
    }
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
    pub fn journal(&self) -> Journal {
        Journal::at(self.folder.path().join("journal"))
    }
    pub fn open(&self, setup: &str) -> Connection {
        let connection = Connection::open(self.live()).expect("open");
        connection.busy_timeout(Duration::from_secs(20)).expect("timeout");
        connection.execute_batch(setup).expect("setup");
        connection
    }
    pub fn stream(&self) -> Stream {
        Stream::over(self, Limits::default(), Arc::new(SystemClock::new())).expect("started")
    }
    /// Takes a base that the journal leads on from.
    pub fn base(&self, name: &str) -> Base {
        let position = self.journal().end();
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("folder");
        let captured = capture_to(&self.live(), &folder.join("app.db")).expect("captured");
        let mut manifest = manifest(&captured.content);
        manifest.position = Some(position);
        manifest.started = captured.complete_up_to;
        manifest.finished = SystemClock::new().wall();
        Base { folder, content: captured.content, manifest }
    }
    /// Fails unless the journal makes of `base` the live database, byte for byte.
    pub fn equal(&self, base: &Base) {
        let (copy, recovered) =
            base.recover(&self.journal(), &RecoverTo::Newest).expect("recovered");
        let truth = self.folder.path().join("truth.db");
        capture_to(&self.live(), &truth).expect("captured");
        assert!(recovered.is_some(), "nothing was replayed");
        assert!(same(&truth, &copy.join("app.db")), "the copy is not the live database");
    }
}

pub struct Base {
    pub folder: PathBuf,
    pub content: SqliteContent,
    pub manifest: Manifest,
}

impl Base {
    /// A copy of the base, brought to `to`.
    pub fn recover(
        &self,
        journal: &Journal,
        to: &RecoverTo,
    ) -> Result<(PathBuf, Option<Recovered>), EngineError> {
        let reader = journal.reader(self.manifest.position.as_ref().expect("position"));
        self.recover_by(&reader, to)
    }

    pub fn recover_by(
        &self,
        reader: &dyn LogReader,
        to: &RecoverTo,
    ) -> Result<(PathBuf, Option<Recovered>), EngineError> {
        let copy = self.folder.with_extension("copy");
        drop(std::fs::remove_dir_all(&copy));
        std::fs::create_dir_all(&copy).expect("folder");
        std::fs::copy(self.folder.join("app.db"), copy.join("app.db")).expect("copy");
        let (clock, cancel, scratch) = (SystemClock::new(), Cancel::default(), self.folder.clone());
        let context = RecoverContext {
            clock: &clock,
            monitor: &Notes::default(),
            cancel: &cancel,
            scratch: &scratch,
            prepare_only: false,
        };
        let engine = engine();
        let recovered = engine.recover(&copy, &self.manifest, Some(reader), to, &context)?;
        if let Some(recovered) = &recovered {
            assert!(!recovered.checks.is_empty());
            let checks = engine.structure(&copy, &self.manifest);
            let all = recovered.checks.iter().chain(&checks);
            let failed: Vec<_> = all.filter(|check| check.verdict != Verdict::Pass).collect();
            assert!(failed.is_empty(), "{failed:?}");
        }
        Ok((copy, recovered))
    }
}

/// A stream in this process.
pub struct Stream {
    pub log: SqliteLog,
    pub journal: Journal,
    pub joint: Joint,
    pub warnings: Vec<String>,
    pub notes: Notes,
    pub cancel: Cancel,
    pub clock: Arc<dyn Clock>,
    pub said: Vec<String>,
}

/// Fifty milliseconds: long enough for two looks.
pub const TICK: Duration = Duration::from_millis(50);

impl Stream {
    pub fn over(scene: &Scene, limits: Limits, clock: Arc<dyn Clock>) -> Result<Stream, LogError> {
        let mut options = SqliteOptions::new(scene.live());
        options.patience = Duration::from_millis(500);
        let mut log = SqliteLog::new(options, scene.state()).limited(limits);
        let (journal, notes, cancel) = (scene.journal(), Notes::default(), Cancel::default());
        let context = LogContext { clock: &*clock, monitor: &notes, cancel: &cancel };
        let resume = journal.resume();
        let start = log.start(resume.as_ref(), &context)?;
        match &start.joint {
            Joint::NewLineage { .. } => journal.begin(&start.at, &start.facts),
            _ => assert_eq!(Some(&start.at), resume.as_ref().map(|resume| &resume.at)),
        }
        let (joint, warnings) = (start.joint, start.warnings);
        Ok(Stream { log, journal, joint, warnings, notes, cancel, clock, said: Vec::new() })
    }

    pub fn next(&mut self, wait: Duration) -> Result<LogEvent, LogError> {
        let clock = Arc::clone(&self.clock);
        let context = LogContext { clock: &*clock, monitor: &self.notes, cancel: &self.cancel };
        self.log.next(wait, &context)
    }

    /// The next event into the journal.
    pub fn tick(&mut self) -> LogEvent {
        let event = self.next(TICK).expect("event");
        match &event {
            LogEvent::Notice(text) => self.said.push(text.clone()),
            LogEvent::Range(range) => {
                self.journal.append(&event);
                self.log.durable(range.to).expect("durable");
            }
            other => assert!(matches!(other, LogEvent::Idle { .. }), "{other:?}"),
        }
        event
    }

    /// Until nothing more comes; the keepalive goes into the journal.
    pub fn drain(&mut self) {
        for _ in 0..10_000 {
            if let event @ LogEvent::Idle { .. } = self.tick() {
                self.journal.append(&event);
                return;
            }
        }
        panic!("the stream does not come to rest");
    }
}

pub fn at(offset: u64) -> RecoverTo {
    RecoverTo::Position(Position::new(0, offset))
}

pub fn number(value: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(value as i64)
}

/// The salts of a log by its header; zeros where there is none.
pub fn salts(wal: &Path) -> [u32; 2] {
    let bytes = std::fs::read(wal).unwrap_or_default();
    let word = |at: usize| {
        bytes.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().expect("four")))
    };
    [word(16), word(20)]
}
