//! Fingerprints under a lock: right, short, and never in the way of the backup.

use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::postgres::{Connection, Login, PostgresOptions, Purpose, fingerprint};
use lifeboat_testkit::postgres::{Server, Version};
use lifeboat_vault::{Cancel, Clock};

use crate::postgres_base::{Bench, content};
use crate::postgres_kit::{options, until};

fn locked(server: &Server, limit: Duration) -> PostgresOptions {
    PostgresOptions { locked: Some(limit), ..options(server) }
}

#[test]
fn fingerprints_are_those_of_the_same_content_anywhere() {
    let (server, other) = (Server::start(Version::V15, &[]), Server::start(Version::V18, &[]));
    for one in [&server, &other] {
        one.psql("create table t (n int, f float8, b bytea, at timestamptz, x text)");
        one.psql("create table \"odd . name\" (n int)");
    }
    let rows = "select n, n / 7.0, decode('00ff', 'hex'), '2026-01-01'::timestamptz + n * interval '1 hour', \
        case when n % 3 = 0 then null else 'ä' || n end from generate_series(1, 5000) as n";
    server.psql(&format!("insert into t {rows}"));
    other.psql(&format!("insert into t {rows} order by n desc"));
    let mut bench = Bench::new();
    let (capture, _) = bench.capture(locked(&server, Duration::from_secs(10)), None).unwrap();
    let of = content(&capture);
    assert!(of.fingerprint_lsn.is_some() && capture.blocked.is_some());
    let table = &of.tables["postgres.public.t"];
    assert_eq!((table.rows, of.tables["postgres.public.\"odd . name\""].rows), (5000, 0));
    let (dsn, cancel) = (options(&other).dsn, Cancel::default());
    let login = Login {
        dsn: &dsn,
        name: "test",
        purpose: Purpose::Sql,
        database: None,
        passfile: None,
        cancel: &cancel,
    };
    let mut sql = Connection::open(&login).unwrap();
    assert_eq!(&fingerprint(&mut sql, "public", "t").unwrap(), table);
    other.psql("update t set x = 'b' where n = 77");
    assert_ne!(&fingerprint(&mut sql, "public", "t").unwrap(), table);
    // A column of any name stands for itself alone, and a cast that somebody made is not asked.
    other.psql("create table c (r int, t text)");
    other.psql("insert into c values (null, 'a'), (1, 'b')");
    other.psql("create function lie(c) returns text language sql as $$ select 'same' $$");
    other.psql("create cast (c as text) with function lie(c)");
    let before = fingerprint(&mut sql, "public", "c").unwrap();
    other.psql("update c set t = 'z' where r is null");
    assert_ne!(fingerprint(&mut sql, "public", "c").unwrap(), before);
}

#[test]
fn a_database_that_takes_no_connections_costs_no_fingerprints() {
    let server = Server::start(Version::V15, &[]);
    server.psql("create table t as select generate_series(1, 10) as n");
    server.psql("create database closed");
    server.psql("alter database closed allow_connections = false");
    let mut bench = Bench::new();
    let (capture, _) = bench.capture(locked(&server, Duration::from_secs(10)), None).unwrap();
    assert_eq!(content(&capture).tables.len(), 1, "{:?}", bench.problems);
}

#[test]
fn a_lock_that_is_not_had_in_time_costs_the_fingerprints_and_nothing_else() {
    let server = Server::start(Version::V15, &[]);
    server.psql("create table t as select generate_series(1, 1000) as n");
    let clock = SystemClock::new();
    let limit = Duration::from_millis(700);
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| server.psql("begin; update t set n = n; select pg_sleep(20); commit"));
        until(&server, "select count(*) = 1 from pg_stat_activity where wait_event = 'PgSleep'");
        // Who comes behind our request waits no longer than we are allowed to.
        let other = scope.spawn(|| {
            until(
                &server,
                "select count(*) > 0 from pg_locks where mode = 'ShareLock' and not granted",
            );
            let began = clock.monotonic();
            server.psql("insert into t values (0)");
            clock.monotonic() - began
        });
        let mut bench = Bench::new();
        let (capture, _) = bench.capture(locked(&server, limit), None).unwrap();
        let of = content(&capture);
        assert!(of.tables.is_empty() && of.fingerprint_lsn.is_none());
        assert!(bench.problems.is_empty());
        let waited = other.join().unwrap();
        assert!(waited < limit + Duration::from_secs(1), "{waited:?}");
        server.psql(
            "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'",
        );
        assert!(writer.join().is_err(), "the race really happened: it was still writing");
    });
}
