//! What the SQLite tests share: a real clock, captures into files, the stock `sqlite3` as judge,
//! and a busy application.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::{CaptureError, Captured, SqliteEngine, SqliteOptions, capture};
use lifeboat_model::manifest::{Content, FORMAT, Manifest, SqliteContent};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::Engine;
use lifeboat_vault::{Cancel, Monitor, Stage};
use rusqlite::Connection;

/// Keeps the notes.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub fn text(&self) -> String {
        self.0.lock().expect("notes").join("\n")
    }
}

impl Monitor for Notes {
    fn total(&self, _: Stage, _: u64, _: u64) {}
    fn advance(&self, _: Stage, _: u64, _: u64) {}
    fn note(&self, line: &str) {
        self.0.lock().expect("notes").push(line.to_owned());
    }
}

/// Captures into `to`; a repeated try replaces what an earlier one wrote.
pub fn capture_with(
    options: &SqliteOptions,
    to: &Path,
    notes: &Notes,
) -> Result<Captured, CaptureError> {
    capture(options, &SystemClock::new(), notes, &Cancel::default(), &mut |pages| {
        let mut file = std::fs::File::create(to)?;
        let mut buffer = vec![0; 1 << 20];
        let zeros = buffer.clone();
        let mut length = 0;
        loop {
            match pages.read(&mut buffer)? {
                0 => return file.set_len(length),
                // Zeros become holes: some tests have long empty files.
                count if buffer[..count] == zeros[..count] => {
                    file.seek(SeekFrom::Current(count as i64))?;
                    length += count as u64;
                }
                count => {
                    file.write_all(&buffer[..count])?;
                    length += count as u64;
                }
            }
        }
    })
}

pub fn capture_to(live: &Path, to: &Path) -> Result<Captured, CaptureError> {
    capture_with(&SqliteOptions::new(live), to, &Notes::default())
}

/// A folder with a live database and room for its copy.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Bench { folder: tempfile::tempdir().expect("folder") }
    }
    pub fn live(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }
    pub fn copy(&self) -> PathBuf {
        let copies = self.folder.path().join("copy");
        std::fs::create_dir_all(&copies).expect("folder");
        copies.join("app.db")
    }
    pub fn open(&self, setup: &str) -> Connection {
        let connection = Connection::open(self.live()).expect("open");
        connection.busy_timeout(Duration::from_secs(20)).expect("timeout");
        connection.execute_batch(setup).expect("setup");
        connection
    }
    pub fn capture(&self) -> Captured {
        capture_to(&self.live(), &self.copy()).expect("captured")
    }
}

/// A manifest around what a capture found.
pub fn manifest(content: &SqliteContent) -> Manifest {
    Manifest {
        format: FORMAT,
        component: "app".to_owned(),
        version: "test".to_owned(),
        host: "test".to_owned(),
        started: jiff::Timestamp::UNIX_EPOCH,
        finished: jiff::Timestamp::UNIX_EPOCH,
        position: None,
        content: Content::Sqlite(content.clone()),
    }
}

/// The engine under test.
pub fn engine() -> SqliteEngine {
    SqliteEngine::new("app.db", Arc::new(SystemClock::new()), Duration::from_secs(5))
}

/// Names of the checks that did not pass, both levels.
pub fn faults(copy: &Path, content: &SqliteContent) -> Vec<String> {
    let (engine, manifest) = (engine(), manifest(content));
    let (structure, content) = (engine.structure(copy, &manifest), engine.content(copy, &manifest));
    assert!(!structure.is_empty() && !content.is_empty(), "zero checks prove nothing");
    let all = structure.into_iter().chain(content);
    all.filter(|check| check.verdict != Verdict::Pass)
        .map(|check| format!("{}: {} instead of {}", check.name, check.found, check.expected))
        .collect()
}

/// Asks the stock `sqlite3` program; a second opinion that shares no code with ours.
pub fn stock(database: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3")
        .arg("-batch")
        .arg(database)
        .arg(sql)
        .stdin(Stdio::null())
        .output()
        .expect("the sqlite3 program is needed: apt-get install sqlite3");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "sqlite3: {error}");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// True if two files are equal, byte for byte.
pub fn same(left: &Path, right: &Path) -> bool {
    std::fs::read(left).expect("read") == std::fs::read(right).expect("read")
}
