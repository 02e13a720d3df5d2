//! Dumps of a real server, loaded for their checks and asked.

use std::fs;

use lifeboat_adapters::postgres::{CaptureMode, PostgresOptions};
use lifeboat_recovery::ports::{Engine, RecoverTo};
use lifeboat_testkit::postgres::{Server, Version};

use super::kit::*;
use crate::postgres_base::{Bench, content};
use crate::postgres_kit::options;

/// Roles, two databases, an extension, a database and a table in a tablespace, a view that is filled.
fn production() -> Server {
    let server = Server::start(Version::V15, SETTINGS);
    let place = server.make_folder("fast");
    server.psql(&format!("create tablespace fast location '{}'", place.display()));
    server.psql("create role owners; create role app login password 'secret' in role owners");
    server.psql("alter role app set search_path = 'nothing'");
    server.psql("create database shop owner app");
    server.psql("create database bills tablespace fast");
    let shop = "create extension pg_trgm;
        create table orders (id int primary key, note text);
        alter table orders owner to app;
        create index on orders using gin (note gin_trgm_ops);
        insert into orders select g, 'order ' || g from generate_series(1, 3000) g;
        create table lines (of int references orders, what text) tablespace fast;
        insert into lines select g, 'a line' from generate_series(1, 100) g;
        create materialized view totals as select count(*) as orders from orders;
        create function noted() returns event_trigger language plpgsql as
            $$ begin raise exception 'it fires'; end $$;
        create event trigger noting on ddl_command_end execute function noted()";
    server.psql_in("shop", shop);
    let bills = "create table bills (id int)";
    server.psql_in("bills", bills);
    server.psql("alter role postgres set default_transaction_read_only = on");
    server
}

#[test]
fn dumps_are_loaded_counted_asked_and_delivered_as_they_are() {
    let server = production();
    let logical = PostgresOptions { mode: CaptureMode::Logical, ..options(&server) };
    let mut bench = Bench::new();
    let (capture, summary) = bench.capture(logical, None).unwrap();
    assert!(bench.problems.is_empty(), "{:?}", bench.problems);
    assert_eq!(content(&capture).databases.len(), 3);
    let copy = bench.restore(&summary, "copy");
    let (engine, manifest) = (engine(), &capture.manifest);
    assert_eq!(recover(&engine, &copy, manifest, &RecoverTo::Newest).unwrap(), None);
    let error = recover(&engine, &copy, manifest, &RecoverTo::Time(now())).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("no log"), "{}", words(&error));
    let (structure, found) = engine.examine(&copy, manifest);
    all_pass(&structure);
    all_pass(&found);
    let loaded = &check(&structure, "dumps loaded").found;
    assert_eq!(loaded, "3 databases, 3 tables");
    let ask = |sql: &str| engine.query(&copy, sql).unwrap().rows[0][0].clone().unwrap();
    assert_eq!(ask("select count(*) from shop.public.orders"), "3000");
    assert_eq!(ask("select orders from shop.public.totals"), "3000");
    assert_eq!(ask("select count(*) from bills.public.bills"), "0");
    assert_eq!(
        ask("select count(*) from shop.public.orders where note % 'order 7'"),
        ask("select count(*) from shop.public.orders where similarity(note, 'order 7') >= 0.3")
    );
    let owner = "select tableowner from pg_tables where tablename = 'bills'";
    assert_eq!(ask(owner), "postgres");
    let member = "select pg_has_role('app', 'owners', 'member')::text";
    assert_eq!(ask(member), "true");
    engine.settle(&copy).unwrap();
    // Nothing is left beside the dumps, and production's folder is as it was.
    let beside: Vec<_> = fs::read_dir(copy.parent().unwrap()).unwrap().flatten().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    let mut names: Vec<_> =
        fs::read_dir(copy.join("dump")).unwrap().flatten().map(|it| it.file_name()).collect();
    names.sort();
    assert_eq!(names, ["bills.dump", "globals.sql", "postgres.dump", "shop.dump"]);
    assert_eq!(server.psql_in("shop", "select count(*) from lines"), "100");
}

#[test]
fn a_dump_that_does_not_load_is_no_copy() {
    let server = production();
    let logical = PostgresOptions { mode: CaptureMode::Logical, ..options(&server) };
    let mut bench = Bench::new();
    let (capture, summary) = bench.capture(logical, None).unwrap();
    let copy = bench.restore(&summary, "copy");
    let path = copy.join("dump/shop.dump");
    let dump = fs::read(&path).unwrap();
    fs::write(&path, &dump[..dump.len() - dump.len() / 4]).unwrap();
    let engine = engine();
    let (structure, found) = engine.examine(&copy, &capture.manifest);
    let loaded = check(&structure, "dumps loaded");
    assert_eq!(loaded.verdict, lifeboat_model::verdict::Verdict::Fail, "{loaded:?} {found:?}");
    assert!(loaded.found.contains("shop"), "{loaded:?}");
    engine.settle(&copy).unwrap();
}
