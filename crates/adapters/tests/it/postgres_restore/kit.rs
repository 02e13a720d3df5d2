//! A server, a base of it, and a journal made of its own log files.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_adapters::SystemClock;
use lifeboat_adapters::postgres::PostgresEngine;
use lifeboat_adapters::postgres::install::Installations;
use lifeboat_adapters::postgres::lsn::{parse as lsn, text as lsn_text};
use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, Manifest, PostgresContent, Tablespace};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{
    Engine, EngineError, LogFacts, LogReader, Piece, RecoverContext, RecoverTo, Recovered,
};
use lifeboat_testkit::postgres::{Server, Version};
use lifeboat_vault::{Cancel, Clock, NoMonitor};
use tempfile::TempDir;

/// Asked at each read of a piece, by its number.
pub type Hook = Box<dyn Fn(u64) -> Result<(), EngineError> + Send + Sync>;

/// A journal in memory.
pub struct Journal {
    pub lineage: String,
    pub line: u32,
    pub at: u64,
    pub pieces: Vec<Piece>,
    bytes: Vec<Bytes>,
    pub histories: Vec<(u32, Bytes)>,
    pub hook: Hook,
    pub reads: AtomicU32,
    facts: LogFacts,
}

pub fn now() -> Timestamp {
    SystemClock::new().wall()
}

pub fn pause(millis: u64) {
    SystemClock::new().sleep(Duration::from_millis(millis));
}

pub fn ask_lsn(server: &Server, sql: &str) -> u64 {
    lsn(&server.psql(sql)).unwrap()
}

impl Journal {
    /// One that begins at a place of the server's log.
    pub fn from(server: &Server, at: u64) -> Journal {
        let line = server.psql("select timeline_id from pg_control_checkpoint()").parse().unwrap();
        Journal {
            lineage: format!("{:016x}", identifier(server).parse::<u64>().unwrap()),
            line,
            at,
            pieces: Vec::new(),
            bytes: Vec::new(),
            histories: Vec::new(),
            hook: Box::new(|_| Ok(())),
            reads: AtomicU32::new(0),
            facts: LogFacts::new(),
        }
    }

    /// Takes what the server has flushed, in pieces of at most `cut` bytes, as of now.
    pub fn pull(&mut self, server: &Server, cut: u64) -> u64 {
        let size = segment_size(server);
        let to = ask_lsn(server, "select pg_current_wal_flush_lsn()");
        self.take(&server.data().join("pg_wal"), size, to, cut);
        to
    }

    /// The same up to a place, out of the files of a server that may be gone.
    pub fn take(&mut self, folder: &Path, size: u64, to: u64, cut: u64) {
        while self.at < to {
            let end = to.min(self.at + cut).min((self.at / size + 1) * size);
            let number = self.at / size;
            let each = (1 << 32) / size;
            let name = format!("{:08X}{:08X}{:08X}", self.line, number / each, number % each);
            let mut bytes = vec![0; (end - self.at) as usize];
            let file = fs::File::open(folder.join(name)).unwrap();
            file.read_exact_at(&mut bytes, self.at % size).unwrap();
            self.push(end, bytes.into(), now());
        }
    }

    fn push(&mut self, to: u64, bytes: Bytes, time: Timestamp) {
        self.pieces.push(Piece {
            seq: self.pieces.len() as u64,
            from: Position::new(self.line, self.at),
            to: Position::new(self.line, to),
            time,
            bytes: bytes.len() as u64,
            facts: LogFacts::new(),
        });
        self.bytes.push(bytes);
        self.at = to;
    }

    /// The server had written nothing more at `time`.
    pub fn keepalive(&mut self, time: Timestamp) {
        self.push(self.at, Bytes::new(), time);
    }

    /// The log goes on on another line from where it is.
    pub fn branch(&mut self, server: &Server, line: u32) {
        let path = server.data().join(format!("pg_wal/{line:08X}.history"));
        self.histories.push((line, fs::read(path).unwrap().into()));
        self.line = line;
    }

    pub fn newest(&self) -> Timestamp {
        self.pieces.last().unwrap().time
    }
}

impl LogReader for Journal {
    fn start(&self) -> LogPosition {
        LogPosition { lineage: self.lineage.clone(), position: self.pieces[0].from }
    }
    fn facts(&self) -> &LogFacts {
        &self.facts
    }
    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
    fn read(&self, piece: &Piece) -> Result<Bytes, EngineError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        (self.hook)(piece.seq)?;
        Ok(self.bytes[piece.seq as usize].clone())
    }
    fn histories(&self) -> Result<Vec<(u32, Bytes)>, EngineError> {
        Ok(self.histories.clone())
    }
}

pub fn identifier(server: &Server) -> String {
    server.psql("select system_identifier from pg_control_system()")
}

pub fn segment_size(server: &Server) -> u64 {
    server.psql("select bytes_per_wal_segment from pg_control_init()").parse().unwrap()
}

/// A base, restored to a folder.
pub struct Base {
    pub _folder: TempDir,
    pub version: Version,
    pub copy: PathBuf,
    pub manifest: Manifest,
    pub start: u64,
    pub stop: u64,
}

impl Base {
    /// By `pg_basebackup`.
    pub fn of(version: Version, server: &Server) -> Base {
        Base::during(version, server, &[], || {})
    }

    /// The same with options, while something else goes on.
    pub fn during(
        version: Version,
        server: &Server,
        options: &[&str],
        meanwhile: impl FnOnce(),
    ) -> Base {
        // The name of a staging folder: only that is opened for the server's user.
        let folder = tempfile::Builder::new().prefix("pg.lifeboat-partial-").tempdir().unwrap();
        let copy = folder.path().join("data");
        fs::create_dir(&copy).unwrap();
        let data = server.make_folder(&format!("base-{}", server.psql("select txid_current()")));
        let started = now();
        let mut backup = server.client("pg_basebackup");
        backup.args(["-X", "stream", "-c", "fast", "--no-sync", "-D"]).arg(data.join("pgdata"));
        backup.args(options).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tablespaces = Vec::new();
        for line in server
            .psql("select oid || ' ' || pg_tablespace_location(oid) from pg_tablespace where oid > 16383")
            .lines()
        {
            let (oid, place) = line.split_once(' ').unwrap();
            let to = data.join("tablespaces").join(oid);
            backup.arg(format!("--tablespace-mapping={place}={}", to.display()));
            tablespaces.push(Tablespace {
                oid: oid.parse().unwrap(),
                name: format!("ts{oid}"),
                location: place.to_owned(),
                tree: format!("/tablespaces/{oid}"),
            });
        }
        let running = backup.spawn().unwrap();
        meanwhile();
        let done = running.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let moved = Command::new("cp").arg("-a").arg(data.join(".")).arg(&copy).status().unwrap();
        assert!(moved.success());
        fs::remove_dir_all(&data).unwrap();
        let listed = fs::read(copy.join("pgdata/backup_manifest")).unwrap();
        let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
        let range = &listed["WAL-Ranges"][0];
        let text = |name: &str| range[name].as_str().unwrap().to_owned();
        let content = PostgresContent {
            source: "test".to_owned(),
            mode: "physical".to_owned(),
            server_version: server.psql("show server_version_num").parse().unwrap(),
            server_version_text: server.psql("select version()"),
            system_identifier: identifier(server),
            timeline: range["Timeline"].as_u64().unwrap() as u32,
            start_lsn: text("Start-LSN"),
            stop_lsn: text("End-LSN"),
            wal_segment_size: segment_size(server),
            checksums: server.psql("show data_checksums") == "on",
            bytes: 1,
            files: 1,
            data_directory: None,
            tablespaces,
            databases: Vec::new(),
            settings: indexmap::IndexMap::new(),
            tables: indexmap::IndexMap::new(),
            fingerprint_lsn: None,
            newest_change: None,
            method: "base-backup".to_owned(),
        };
        let (start, stop) = (lsn(&content.start_lsn).unwrap(), lsn(&content.stop_lsn).unwrap());
        let manifest = Manifest {
            format: lifeboat_model::manifest::FORMAT,
            component: "accounts".to_owned(),
            version: "0".to_owned(),
            host: "test".to_owned(),
            started,
            finished: now(),
            position: None,
            content: Content::Postgres(content),
        };
        Base { _folder: folder, version, copy, manifest, start, stop }
    }

    /// The same base in another folder.
    pub fn again(&self) -> Base {
        let folder = tempfile::Builder::new().prefix("pg.lifeboat-partial-").tempdir().unwrap();
        let copy = folder.path().join("data");
        let done = Command::new("cp").arg("-a").arg(&self.copy).arg(&copy).status().unwrap();
        assert!(done.success());
        let manifest = self.manifest.clone();
        Base { _folder: folder, copy, manifest, ..*self }
    }

    pub fn data(&self) -> PathBuf {
        self.copy.join("pgdata")
    }

    /// A journal from the segment on in which the base begins.
    pub fn journal(&self, server: &Server) -> Journal {
        let size = segment_size(server);
        Journal::from(server, self.start / size * size)
    }

    pub fn recover(
        &self,
        log: Option<&dyn LogReader>,
        to: &RecoverTo,
    ) -> Result<Recovered, EngineError> {
        self.recover_by(&engine(), log, to)
    }

    pub fn recover_by(
        &self,
        engine: &PostgresEngine,
        log: Option<&dyn LogReader>,
        to: &RecoverTo,
    ) -> Result<Recovered, EngineError> {
        self.recover_with(engine, log, to, false)
    }

    pub fn recover_with(
        &self,
        engine: &PostgresEngine,
        log: Option<&dyn LogReader>,
        to: &RecoverTo,
        prepare_only: bool,
    ) -> Result<Recovered, EngineError> {
        let done = recover_copy(engine, &self.copy, &self.manifest, (log, to), prepare_only);
        done.map(Option::unwrap)
    }

    /// The copy, started by its plain server, after the last question was asked.
    pub fn started(&self) -> Server {
        engine().settle(&self.copy).unwrap();
        let mut server = Server::on(self.version, &self.data());
        server.start_again();
        server
    }

    /// No server starts it.
    pub fn assert_does_not_start(&self) {
        let mut server = Server::on(self.version, &self.data());
        let why = server.try_start().unwrap_err();
        assert!(why.contains("pg_control"), "{why}");
    }
}

/// Recovers a restored copy of any kind.
pub fn recover(
    engine: &PostgresEngine,
    copy: &Path,
    manifest: &Manifest,
    to: &RecoverTo,
) -> Result<Option<Recovered>, EngineError> {
    recover_copy(engine, copy, manifest, (None, to), false)
}

fn recover_copy(
    engine: &PostgresEngine,
    copy: &Path,
    manifest: &Manifest,
    (log, to): (Option<&dyn LogReader>, &RecoverTo),
    prepare_only: bool,
) -> Result<Option<Recovered>, EngineError> {
    let scratch = copy.with_file_name("scratch");
    fs::create_dir(&scratch).unwrap();
    let context = RecoverContext {
        clock: &SystemClock::new(),
        monitor: &NoMonitor,
        cancel: &Cancel::default(),
        scratch: &scratch,
        prepare_only,
    };
    let done = engine.recover(copy, manifest, log, to, &context);
    fs::remove_dir_all(&scratch).unwrap();
    done
}

/// What the bases before the journal and their log were made with.
pub const SETTINGS: &[(&str, &str)] =
    &[("wal_keep_size", "1GB"), ("track_commit_timestamp", "on"), ("max_connections", "37")];

pub fn engine() -> PostgresEngine {
    let homes: Vec<PathBuf> = Version::ALL.iter().map(|version| version.home()).collect();
    let clock = Arc::new(SystemClock::new());
    PostgresEngine::new(
        Installations::look(&homes),
        clock,
        Cancel::default(),
        Duration::from_secs(30),
    )
    .patience(Duration::from_secs(3))
}

/// Everything that an error says.
pub fn words(error: &EngineError) -> String {
    let mut text = error.to_string();
    if let EngineError::Refused { hint, .. } = error {
        text = format!("{text}; hint: {hint}");
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub fn is_refused(error: &EngineError) -> bool {
    matches!(error, EngineError::Refused { .. })
}

/// The checks, all of which passed.
pub fn all_pass(checks: &[CheckResult]) {
    assert!(!checks.is_empty());
    for check in checks {
        assert_eq!(check.verdict, Verdict::Pass, "{check:?}");
    }
}

pub fn check<'a>(checks: &'a [CheckResult], name: &str) -> &'a CheckResult {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}: {checks:?}"))
}

pub fn reached(recovered: &Recovered) -> u64 {
    recovered.position.as_ref().unwrap().position.offset
}

pub fn shown(lsn: u64) -> String {
    lsn_text(lsn)
}

/// A hook that is called when a piece is read for the second time: the first time is the search for
/// the last record.
pub fn at_second_read(seq: u64, then: impl Fn() + Send + Sync + 'static) -> Hook {
    let reads = AtomicU32::new(0);
    Box::new(move |piece| {
        if piece == seq && reads.fetch_add(1, Ordering::SeqCst) == 1 {
            then();
        }
        Ok(())
    })
}

/// Asks the throw-away server that this process has started, once it answers.
pub fn ask_sandbox(version: Version, sql: &str) -> String {
    let mine = format!(".lifeboat-pg-{}-", std::process::id());
    let mut said = String::new();
    for _ in 0..1000 {
        for entry in fs::read_dir("/tmp").unwrap().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(&mine) {
                continue;
            }
            let done = Command::new(version.program("psql"))
                .args(["-XAtq", "-U", "postgres", "-d", "postgres", "-c", sql, "-h"])
                .arg(entry.path())
                .output()
                .unwrap();
            if done.status.success() {
                return String::from_utf8(done.stdout).unwrap().trim().to_owned();
            }
            let log = fs::read_to_string(entry.path().join("log")).unwrap_or_default();
            said = format!("{}\n{log}", String::from_utf8_lossy(&done.stderr));
        }
        pause(20);
    }
    panic!("the sandbox does not answer: {said}");
}
