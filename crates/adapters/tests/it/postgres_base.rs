//! Copies of real servers, judged by PostgreSQL's own tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::postgres::{CaptureMode, Dsn, PostgresOptions, PostgresSource};
use lifeboat_model::manifest::{Content, PostgresContent};
use lifeboat_recovery::ports::{Capture, CaptureContext, Source, SourceError};
use lifeboat_testkit::postgres::{Server, Version};
use lifeboat_testkit::{MemoryStore, SimClock};
use lifeboat_vault::{
    BackupOptions, BackupSummary, Cancel, Clock, Environment, Id, KeyStrength, NoMonitor, Password,
    RestoreOptions, SnapshotMeta, Vault,
};
use tempfile::TempDir;

use crate::postgres_kit::options;

/// A vault, and what came out of it.
pub struct Bench {
    vault: Vault,
    folder: TempDir,
    pub problems: Vec<String>,
}

impl Bench {
    pub fn new() -> Bench {
        let clock = SystemClock::new();
        let store = Arc::new(MemoryStore::new(Arc::new(SimClock::at(clock.wall()))));
        let environment = Environment {
            clock: Arc::new(clock),
            monitor: Arc::new(NoMonitor),
            cancel: Cancel::default(),
            host: "host".to_owned(),
            user: "user".to_owned(),
            pid: std::process::id(),
        };
        let password = Password::new("test");
        let (locks, strength) = (Arc::clone(&store), KeyStrength::Generated);
        let vault = Vault::init(store, locks, &password, strength, environment, None).unwrap();
        let folder = tempfile::Builder::new().prefix("lifeboat-base-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Bench { vault, folder, problems: Vec::new() }
    }

    pub fn capture(
        &mut self,
        options: PostgresOptions,
        parent: Option<Id>,
    ) -> Result<(Capture, BackupSummary), SourceError> {
        let clock = SystemClock::new();
        let cancel = Cancel::default();
        let context =
            CaptureContext { clock: &clock, monitor: &NoMonitor, cancel: &cancel, host: "host" };
        let options_of = BackupOptions { parent, ..BackupOptions::default() };
        let mut session = self.vault.backup(options_of).unwrap();
        let capture = PostgresSource::new("orders", options).capture(&mut session, &context)?;
        self.problems = session.problems().iter().map(ToString::to_string).collect();
        let meta = SnapshotMeta { time: clock.wall(), tags: Vec::new(), paths: Vec::new() };
        Ok((capture, session.finish(meta).unwrap()))
    }

    pub fn restore(&self, summary: &BackupSummary, name: &str) -> PathBuf {
        let target = self.folder.path().join(name);
        let snapshot = self.vault.snapshot(&summary.snapshot).unwrap();
        self.vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
        target
    }
}

pub fn content(capture: &Capture) -> &PostgresContent {
    match &capture.manifest.content {
        Content::Postgres(content) => content,
        other => panic!("{other:?}"),
    }
}

/// PostgreSQL's own judgement: every file by the manifest, and the log that makes it consistent.
pub fn verify(version: Version, data: &Path) {
    // The wheel's one of version 18 ends by a signal whatever it is given.
    if version == Version::V18 {
        return;
    }
    let done = Command::new(version.program("pg_verifybackup")).arg(data).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}: {}", done.status, String::from_utf8_lossy(&said));
}

/// Starts the copy and asks.
pub fn ask(version: Version, data: &Path, sql: &str) -> String {
    let mut copy = Server::on(version, data);
    let folder = data.join("../tablespaces");
    if folder.is_dir() {
        drop(Server::on(version, &folder));
    }
    copy.configure(&[("archive_mode", "off"), ("wal_level", "replica")]);
    copy.start_again();
    copy.psql(sql)
}

#[test]
fn a_copy_over_the_wire_passes_the_servers_own_judgement_and_starts() {
    for version in Version::ALL {
        let server = Server::build(version).initdb("--data-checksums").start();
        server.pgbench_init(1);
        server.psql(
            "create unlogged table fleeting as select generate_series(1, 100000) as n;
             create extension if not exists plpgsql",
        );
        let place = server.make_folder("space");
        server.psql(&format!("create tablespace side location '{}'", place.display()));
        server.psql("create table t tablespace side as select generate_series(1, 50000) as n");
        let load = server.pgbench(&["-T", "60", "-c", "2"]);
        let mut bench = Bench::new();
        let mut wire = options(&server);
        wire.data_dir = Some(PathBuf::from("/nonexistent"));
        let (capture, summary) = bench.capture(wire, None).unwrap();
        load.stop();
        let content = content(&capture);
        assert_eq!((&content.mode[..], &content.method[..]), ("physical", "base-backup"));
        assert_eq!(content.tablespaces[0].name, "side");
        assert!(content.checksums && content.bytes > 20 << 20 && content.files > 900);
        let postgres = content.databases.iter().find(|one| one.name == "postgres").unwrap();
        assert!(postgres.extensions[0].starts_with("plpgsql "));
        assert_eq!(capture.manifest.position.as_ref().unwrap().position.line, 1);
        assert!(bench.problems.is_empty(), "{:?}", bench.problems);
        let copy = bench.restore(&summary, "copy");
        verify(version, &copy.join("pgdata"));
        assert!(place.join("PG_VERSION").symlink_metadata().is_err());
        let sums = "select (select sum(tbalance) from pgbench_tellers) = \
            (select coalesce(sum(delta), 0) from pgbench_history), (select count(*) from t), \
            (select count(*) from fleeting)";
        assert_eq!(ask(version, &copy.join("pgdata"), sums), "t|50000|0");
    }
}

#[test]
fn pages_that_did_not_change_are_stored_once() {
    let server = Server::start(Version::V15, &[]);
    server.pgbench_init(5);
    let mut bench = Bench::new();
    let (_, first) = bench.capture(options(&server), None).unwrap();
    server.psql("update pgbench_branches set bbalance = 1");
    let (_, second) = bench.capture(options(&server), Some(first.snapshot)).unwrap();
    assert!(second.bytes_added * 8 < first.bytes_added, "{first:?} {second:?}");
    verify(Version::V15, &bench.restore(&second, "copy").join("pgdata"));
}

#[test]
fn a_standby_is_copied_and_its_promotion_meanwhile_is_refused() {
    let primary = Server::start(Version::V15, &[]);
    primary.pgbench_init(10);
    let standby = primary.standby(&[]);
    let mut bench = Bench::new();
    let wire = || PostgresOptions { data_dir: Some("/nonexistent".into()), ..options(&standby) };
    let (_, summary) = bench.capture(wire(), None).unwrap();
    verify(Version::V15, &bench.restore(&summary, "copy").join("pgdata"));
    let promoted =
        std::thread::scope(|scope| {
            scope.spawn(|| {
            crate::postgres_kit::until(&standby,
                "select count(*) > 0 from pg_stat_progress_basebackup where backup_streamed > 0");
            standby.promote();
        });
            bench.capture(wire(), None)
        });
    let SourceError::Unfit { what, .. } = promoted.unwrap_err() else { panic!() };
    assert!(what.contains("promoted"), "{what}");
}

#[test]
fn configuration_elsewhere_is_in_the_copy() {
    let mut server = Server::start(Version::V15, &[]);
    let place = server.make_folder("etc");
    fs::create_dir(place.join("conf.d")).unwrap();
    fs::write(place.join("conf.d/mine.conf"), "work_mem = '5MB'\n").unwrap();
    fs::rename(server.data().join("pg_hba.conf"), place.join("pg_hba.conf")).unwrap();
    server.configure(&[
        ("hba_file", place.join("pg_hba.conf").to_str().unwrap()),
        ("include_dir", place.join("conf.d").to_str().unwrap()),
    ]);
    server.restart();
    assert_eq!(server.psql("show work_mem"), "5MB");
    let mut bench = Bench::new();
    let (_, summary) = bench.capture(options(&server), None).unwrap();
    let copy = bench.restore(&summary, "copy");
    assert!(fs::read_to_string(copy.join("config/pg_hba.conf")).unwrap().contains("trust"));
    assert_eq!(fs::read_to_string(copy.join("config/mine.conf")).unwrap(), "work_mem = '5MB'\n");
}

#[test]
fn a_dump_counts_when_its_program_ended_well() {
    let server = Server::build(Version::V15)
        .tcp()
        .hba("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        .start();
    server.psql("create role reader login password 'hunter2 '' x' in role pg_read_all_data");
    server.psql("create database \"o'rders\"");
    server.psql_in("o'rders", "create table t as select generate_series(1, 1000) as n");
    let mut bench = Bench::new();
    let logical = |dsn: &str| {
        let dsn = Dsn::parse(dsn).unwrap();
        PostgresOptions { mode: CaptureMode::Logical, ..PostgresOptions::new(dsn, "Test") }
    };
    let (capture, summary) = bench.capture(logical(&server.dsn()), None).unwrap();
    assert!(bench.problems.is_empty());
    let of = content(&capture);
    assert_eq!((&of.mode[..], capture.manifest.position.clone()), ("logical", None));
    let database = of.databases.iter().find(|one| one.name == "o'rders").unwrap();
    let copy = bench.restore(&summary, "copy");
    let globals = fs::read_to_string(copy.join("dump/globals.sql")).unwrap();
    assert!(globals.contains("CREATE ROLE reader") && globals.contains("SCRAM-SHA-256$"));
    let dump = copy.join(database.dump.as_ref().unwrap().trim_start_matches('/'));
    let listed =
        Command::new(Version::V15.program("pg_restore")).arg("-l").arg(dump).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("TABLE DATA public t"));
    // By a role that is no superuser, with a password.
    let dsn = format!(
        "host=127.0.0.1 port={} user=reader password='hunter2 \\' x' dbname=postgres",
        server.port()
    );
    let (_, summary) = bench.capture(logical(&dsn), None).unwrap();
    assert!(bench.problems.is_empty(), "{:?}", bench.problems);
    let copy = bench.restore(&summary, "with");
    assert!(fs::read_to_string(copy.join("dump/globals.sql")).unwrap().contains("SCRAM"));
    server.psql("revoke pg_read_all_data from reader");
    server.psql_in("o'rders", "grant select on t to reader");
    let (_, summary) = bench.capture(logical(&dsn), None).unwrap();
    assert!(bench.problems[0].contains("without their passwords"), "{:?}", bench.problems);
    let copy = bench.restore(&summary, "second");
    assert!(!fs::read_to_string(copy.join("dump/globals.sql")).unwrap().contains("SCRAM"));
    // A dump that breaks off is none.
    server.psql("create table locked_out (n int)");
    let SourceError::Unfit { what, .. } = bench.capture(logical(&dsn), None).unwrap_err() else {
        panic!()
    };
    assert!(what.contains("permission denied") && !what.contains("hunter2"), "{what}");
    let missing = PostgresOptions { databases: vec!["no".into()], ..logical(&server.dsn()) };
    assert!(matches!(bench.capture(missing, None), Err(SourceError::Missing { .. })));
}

#[test]
fn a_copy_read_from_the_disk_passes_the_servers_own_judgement_and_starts() {
    for version in Version::ALL {
        let server =
            Server::build(version).initdb("--data-checksums").initdb("--wal-segsize=4").start();
        server.pgbench_init(2);
        server.psql("create unlogged table fleeting as select generate_series(1, 100000) as n");
        let place = server.make_folder("space");
        server.psql(&format!("create tablespace side location '{}'", place.display()));
        server.psql("create table t tablespace side as select generate_series(1, 50000) as n");
        server.psql("checkpoint");
        let load = server.pgbench(&["-T", "60", "-c", "2"]);
        let mut bench = Bench::new();
        let (capture, summary) = bench.capture(options(&server), None).unwrap();
        load.stop();
        let content = content(&capture);
        assert_eq!((&content.method[..], content.wal_segment_size), ("local-files", 4 << 20));
        assert_eq!(content.tablespaces[0].location, place.to_string_lossy());
        assert!(bench.problems.is_empty(), "{:?}", bench.problems);
        let copy = bench.restore(&summary, "copy");
        verify(version, &copy.join("pgdata"));
        let fleeting = server.psql("select pg_relation_filepath('fleeting')");
        assert!(server.data().join(&fleeting).is_file());
        assert!(!copy.join("pgdata").join(&fleeting).exists(), "an unlogged table's rows");
        for gone in ["postmaster.pid", "pg_replslot/x", "tablespace_map"] {
            assert!(!copy.join("pgdata").join(gone).exists(), "{gone}");
        }
        let sums = "select (select sum(tbalance) from pgbench_tellers) = \
            (select coalesce(sum(delta), 0) from pgbench_history), (select count(*) from t), \
            (select count(*) from fleeting)";
        assert_eq!(ask(version, &copy.join("pgdata"), sums), "t|50000|0");
    }
}

#[test]
fn a_page_with_a_wrong_checksum_is_named_and_the_rest_is_there() {
    let mut server = Server::build(Version::V15).initdb("--data-checksums").start();
    server.psql("create table t as select generate_series(1, 10000) as n");
    let path = server.data().join(server.psql("select pg_relation_filepath('t')"));
    server.stop();
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * 8192 + 5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    server.start_again();
    assert!(server.try_psql("postgres", "select count(*) from t").is_err(), "the server sees it");
    let mut bench = Bench::new();
    bench.capture(options(&server), None).unwrap();
    let [said] = &bench.problems[..] else { panic!("{:?}", bench.problems) };
    assert!(said.contains(path.to_str().unwrap()) && said.ends_with("checksum: 3"), "{said}");
    // Over the wire the server itself looks.
    let wire = PostgresOptions { data_dir: Some("/nonexistent".into()), ..options(&server) };
    let (_, summary) = bench.capture(wire, None).unwrap();
    assert!(bench.problems[0].contains("checksum"), "{:?}", bench.problems);
    verify(Version::V15, &bench.restore(&summary, "copy").join("pgdata"));
}

#[test]
fn a_directory_is_read_only_where_it_is_really_that_servers() {
    let (server, other) = (Server::start(Version::V15, &[]), Server::start(Version::V15, &[]));
    let mut bench = Bench::new();
    let wrong = PostgresOptions { data_dir: Some(other.data().to_owned()), ..options(&server) };
    let (capture, _) = bench.capture(wrong, None).unwrap();
    assert_eq!(content(&capture).method, "base-backup");
    // A role that may replicate and look, no more.
    server.psql("create role backup login replication in role pg_monitor");
    let dsn = Dsn::parse(&server.dsn_as("backup", "postgres")).unwrap();
    let (capture, summary) = bench.capture(PostgresOptions::new(dsn, "Test"), None).unwrap();
    assert_eq!(content(&capture).method, "base-backup");
    verify(Version::V15, &bench.restore(&summary, "copy").join("pgdata"));
    assert_eq!(
        server.psql("select count(*) from pg_replication_slots"),
        "0",
        "nothing stays behind"
    );
}
