//! A copy as a whole: how its server runs, what it is examined by, how it is handed over.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use lifeboat_adapters::postgres::install::Installations;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{Engine, RecoverTo};
use lifeboat_testkit::postgres::{Server, Version};

use super::kit::*;
use crate::postgres_kit::until;

/// Every setting that keeps a started copy to itself, and those that its replay needs.
const ASKED: &str = "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings \
    where name in ('archive_mode', 'max_logical_replication_workers', 'shared_preload_libraries', \
    'primary_conninfo', 'synchronous_standby_names', 'listen_addresses', 'max_connections', \
    'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', \
    'max_locks_per_transaction', 'track_commit_timestamp', 'dynamic_shared_memory_type')";

#[test]
fn a_started_copy_keeps_to_itself_while_it_recovers() {
    let server = Server::build(Version::V15)
        .set("wal_keep_size", "1GB")
        .set("track_commit_timestamp", "on")
        .set("archive_mode", "on")
        .set("archive_command", "exit 1")
        .set("max_connections", "137")
        .set("max_worker_processes", "13")
        .set("max_wal_senders", "17")
        .set("max_prepared_transactions", "19")
        .set("max_locks_per_transaction", "77")
        .set("shared_preload_libraries", "auto_explain")
        .set("listen_addresses", "127.0.0.1")
        .initdb("--wal-segsize=1")
        .start();
    // What somebody set by hand may name what is not here at all.
    server.psql("alter system set primary_conninfo = 'host=production'");
    server.psql("create table t (id int)");
    let base = Base::of(Version::V15, &server);
    let mut journal = base.journal(&server);
    // More than a server reads ahead before it replays.
    for _ in 0..4 {
        server.psql("insert into t select generate_series(1, 20000)");
    }
    journal.pull(&server, 1 << 20);
    let last = journal.pieces.len() as u64 - 1;
    let seen = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&seen);
    journal.hook = at_second_read(last, move || {
        assert_eq!(ask_sandbox(Version::V15, "select pg_is_in_recovery()"), "t");
        *told.lock().unwrap() = ask_sandbox(Version::V15, ASKED);
    });
    base.recover(Some(&journal), &RecoverTo::Newest).unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        "archive_mode=off dynamic_shared_memory_type=mmap listen_addresses= max_connections=137 max_locks_per_transaction=77 \
         max_logical_replication_workers=0 max_prepared_transactions=19 max_wal_senders=17 \
         max_worker_processes=13 primary_conninfo= shared_preload_libraries= \
         synchronous_standby_names= track_commit_timestamp=on"
    );
    let auto = fs::read_to_string(base.data().join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("production") && auto.contains("exit 255"), "{auto}");
    let copy = base.started();
    let auto = fs::read_to_string(base.data().join("postgresql.auto.conf")).unwrap();
    assert!(auto.contains("production"), "its own settings are not back: {auto}");
    assert_eq!(copy.psql("select count(*) from t"), "80000");
    // The times of commits are still known.
    let times = "select count(distinct pg_xact_commit_timestamp(xmin)) from t";
    assert_eq!(copy.psql(times), "4");
}

/// Nothing of ours is left in a copy that is handed over.
fn assert_clean(base: &Base) {
    let mut stack = vec![base.data()];
    while let Some(folder) = stack.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.contains("lifeboat") && !name.ends_with(".signal"), "{name}");
            if entry.file_type().unwrap().is_dir() {
                stack.push(entry.path());
            }
        }
    }
    let mode = fs::metadata(base.data()).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o700);
}

fn examined(version: Version, settings: &[&str]) {
    let mut build = Server::build(version).initdb("--data-checksums");
    for setting in settings {
        build = build.initdb(setting);
    }
    let server = SETTINGS.iter().fold(build, |to, (name, value)| to.set(name, value)).start();
    server.psql("create database shop");
    server.psql_in("shop", "create table orders (id int primary key, note text)");
    server.psql_in("shop", "create index on orders using hash (note)");
    server.psql_in("shop", "create unlogged table cache (id int)");
    server.psql_in("shop", "insert into cache values (1)");
    server.psql("checkpoint");
    let base = Base::of(version, &server);
    let mut journal = base.journal(&server);
    server.psql_in("shop", "insert into orders select g, 'n' || g from generate_series(1, 3000) g");
    server.psql_in("shop", "insert into orders values (0, null), (-1, '')");
    journal.pull(&server, 8192);
    let engine = engine();
    let recovered = base.recover_by(&engine, Some(&journal), &RecoverTo::Newest).unwrap();
    let stands_in = engine.content(&base.copy, &base.manifest);
    assert_eq!(stands_in, recovered.checks);
    let structure = engine.structure(&base.copy, &base.manifest);
    all_pass(&structure);
    assert!(check(&structure, "databases").found.starts_with("2 databases answer"));
    assert!(check(&structure, "page checksums").found.ends_with("0 of them bad"));
    if version == Version::V15 {
        all_pass(&recovered.checks);
        let coverage = &check(&structure, "pg_amcheck").found;
        // The hash index is not looked at, and that is said.
        assert!(coverage.contains("1 relation of other kinds"), "{coverage}");
    } else {
        assert!(check(&structure, "databases").found.contains("no amcheck"));
    }
    let answer = engine.query(&base.copy, "select count(*) from orders;").unwrap();
    assert_eq!(answer.rows, [[Some("3002".to_owned())]]);
    let answer = engine.query(&base.copy, "select note from orders where id < 1 order by id");
    assert_eq!(answer.unwrap().rows, [[Some(String::new())], [None]]);
    let written = engine.query(&base.copy, "delete from orders returning id").unwrap_err();
    assert!(words(&written).contains("read-only"), "{}", words(&written));
    engine.settle(&base.copy).unwrap();
    assert_clean(&base);
    let copy = base.started();
    assert_eq!(copy.psql_in("shop", "select count(*) from orders"), "3002");
    assert_eq!(copy.psql_in("shop", "select count(*) from cache"), "0", "unlogged: reset");
    let left = copy.psql_in("shop", "select count(*) from pg_extension where extname = 'amcheck'");
    assert_eq!(left, "0", "the extension stayed");
}

#[test]
fn a_copy_is_examined_asked_and_handed_over() {
    examined(Version::V15, &[]);
}

#[test]
fn so_it_is_with_version_16() {
    examined(Version::V16, &["--wal-segsize=1"]);
}

#[test]
fn so_it_is_with_version_18() {
    examined(Version::V18, &["--wal-segsize=1"]);
}

#[test]
fn tablespaces_stand_beside_and_stay_apart_from_production() {
    let server = Server::start(Version::V15, SETTINGS);
    let place = server.make_folder("fast");
    server.psql(&format!("create tablespace fast location '{}'", place.display()));
    server.psql("create table t (id int) tablespace fast");
    let base = Base::of(Version::V15, &server);
    let mut journal = base.journal(&server);
    server.psql("insert into t select generate_series(1, 1000)");
    journal.pull(&server, 1 << 16);
    // As a local capture has it: links and list lead to production's own folder.
    let oid = server.psql("select oid from pg_tablespace where spcname = 'fast'");
    let link = base.data().join("pg_tblspc").join(&oid);
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&place, &link).unwrap();
    fs::write(base.data().join("tablespace_map"), format!("{oid} {}\n", place.display())).unwrap();
    // It lists every file; that one came later.
    fs::remove_file(base.data().join("backup_manifest")).unwrap();
    let before = fs::metadata(&place).unwrap().ctime_nsec();
    base.recover(Some(&journal), &RecoverTo::Newest).unwrap();
    assert_eq!(fs::read_link(&link).unwrap().to_str().unwrap(), format!("../../tablespaces/{oid}"));
    let moved = base.copy.with_file_name("moved");
    fs::rename(&base.copy, &moved).unwrap();
    engine().settle(&moved).unwrap();
    let mut copy = Server::on(Version::V15, &moved.join("pgdata"));
    copy.start_again();
    assert_eq!(copy.psql("select count(*) from t"), "1000");
    copy.psql("insert into t values (0)");
    assert_eq!(server.psql("select count(*) from t"), "1000");
    assert_eq!(fs::metadata(&place).unwrap().ctime_nsec(), before);
}

#[test]
fn a_tablespace_that_was_made_later_is_not_taken_over() {
    let server = Server::start(Version::V15, SETTINGS);
    let base = Base::of(Version::V15, &server);
    let mut journal = base.journal(&server);
    let place = server.make_folder("later");
    server.psql(&format!("create tablespace later location '{}'", place.display()));
    server.psql("create table t (id int) tablespace later");
    journal.pull(&server, 1 << 16);
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("tablespace"), "{}", words(&error));
    assert_eq!(server.psql("select count(*) from t"), "0");
    base.assert_does_not_start();
}

#[test]
fn a_tablespace_that_was_made_during_the_base_is_not_taken_over() {
    let server = Server::start(Version::V15, SETTINGS);
    let place = server.make_folder("meanwhile");
    let base = Base::during(Version::V15, &server, &["--max-rate=6M"], || {
        until(
            &server,
            "select count(*) = 1 from pg_stat_progress_basebackup \
             where phase = 'streaming database files'",
        );
        server.psql(&format!("create tablespace meanwhile location '{}'", place.display()));
        server.psql("create table t (id int) tablespace meanwhile");
        let still = "select count(*) from pg_stat_progress_basebackup where backup_streamed > 0";
        assert_eq!(server.psql(still), "1", "the base was over before");
    });
    let log = fs::read(
        base.data()
            .join("pg_wal")
            .join(server.psql(&format!("select pg_walfile_name('{}')", shown(base.start)))),
    );
    let name = place.to_string_lossy().into_owned();
    let names = |log: &[u8]| log.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    assert!(names(&log.unwrap()), "it was not made between the base's start and its end");
    // A link that came with the base is refused by itself.
    for link in fs::read_dir(base.data().join("pg_tblspc")).unwrap().flatten() {
        fs::remove_file(link.path()).unwrap();
    }
    let before = fs::metadata(&place).unwrap().ctime_nsec();
    // The base alone; and with a journal that begins inside of it.
    let mut journal = Journal::from(&server, base.stop);
    server.psql("insert into t values (1)");
    journal.pull(&server, 1 << 16);
    for (log, to) in [(None, RecoverTo::Base), (Some(&journal), RecoverTo::Newest)] {
        let log = log.map(|log| log as &dyn lifeboat_recovery::ports::LogReader);
        let error = base.recover(log, &to).unwrap_err();
        assert!(is_refused(&error) && words(&error).contains("tablespace"), "{}", words(&error));
        let (unfinished, control) = ("global/pg_control.unfinished", "global/pg_control");
        fs::rename(base.data().join(unfinished), base.data().join(control)).unwrap();
    }
    assert_eq!(fs::metadata(&place).unwrap().ctime_nsec(), before);
    assert_eq!(server.psql("select count(*) from t"), "1");
}

#[test]
fn what_lies_behind_the_target_does_not_hold_it_up() {
    let build = Server::build(Version::V15).initdb("--wal-segsize=1");
    let server = SETTINGS.iter().fold(build, |to, (name, value)| to.set(name, value)).start();
    server.psql("create table t (id int)");
    let base = Base::of(Version::V15, &server);
    let mut journal = base.journal(&server);
    server.psql("insert into t select generate_series(1, 20000)");
    let at = journal.pull(&server, 60_000);
    let (count, instant) = (journal.pieces.len(), now());
    pause(20);
    server.psql("insert into t values (0)");
    let place = server.make_folder("later");
    server.psql(&format!("create tablespace later location '{}'", place.display()));
    journal.pull(&server, 60_000);
    let to_place = |at| RecoverTo::Position(Position::new(1, at));
    let copies = [base.again(), base.again(), base.again()];
    let rows = |copy: &Base| copy.started().psql("select count(*) from t");
    copies[0].recover(Some(&journal), &RecoverTo::Time(instant)).unwrap();
    assert_eq!(rows(&copies[0]), "20000");
    // The refusal's own hint can be followed.
    let error = copies[1].recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    let said = words(&error);
    let before = said.split("lsn:").nth(1).unwrap().split('`').next().unwrap();
    let before = lifeboat_adapters::postgres::lsn::parse(before).unwrap();
    let copy = base.again();
    copy.recover(Some(&journal), &to_place(before)).unwrap();
    assert_eq!(rows(&copy), "20001");
    server.psql("insert into t select generate_series(1, 20000)");
    journal.pull(&server, 60_000);
    journal.hook = Box::new(move |seq| match seq as usize >= count {
        true => Err(lifeboat_recovery::ports::EngineError::Refused {
            what: "a range behind the target is damaged".to_owned(),
            hint: String::new(),
        }),
        false => Ok(()),
    });
    copies[2].recover(Some(&journal), &to_place(at)).unwrap();
    assert_eq!(rows(&copies[2]), "20000");
    // What is needed is still needed.
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(words(&error).contains("behind the target is damaged"), "{}", words(&error));
}

#[test]
fn productions_event_triggers_do_not_fire_on_the_copy() {
    let server = Server::start(Version::V15, SETTINGS);
    server.psql("create database strict");
    let trigger = "create table fired (what text);
        create function note_it() returns event_trigger language plpgsql as
        $$ begin insert into public.fired values (tg_tag); end $$;
        create event trigger noting on ddl_command_end execute function note_it();";
    for database in ["postgres", "strict"] {
        server.psql_in(database, trigger);
    }
    server.psql_in("strict", "alter event trigger noting enable always");
    for database in ["postgres", "strict"] {
        server.psql_in(database, "delete from fired");
    }
    server.psql("create table t as select generate_series(1, 1000) as id");
    assert_eq!(server.psql("select count(*) from fired"), "1", "the trigger does not fire");
    server.psql("delete from fired");
    let base = Base::of(Version::V15, &server);
    let engine = engine();
    base.recover_by(&engine, None, &RecoverTo::Base).unwrap();
    let structure = engine.structure(&base.copy, &base.manifest);
    let amcheck = check(&structure, "pg_amcheck");
    assert!(amcheck.found.contains("strict"), "{amcheck:?}");
    all_pass(&structure);
    let copy = base.started();
    for database in ["postgres", "strict"] {
        assert_eq!(copy.psql_in(database, "select count(*) from fired"), "0", "{database}");
        let left = "select count(*) from pg_extension where extname = 'amcheck'";
        assert_eq!(copy.psql_in(database, left), "0");
    }
}

#[test]
fn where_its_version_is_missing_a_copy_is_staged_for_another_machine() {
    let server = Server::build(Version::V15)
        .initdb("--wal-segsize=1")
        .set("wal_keep_size", "1GB")
        .set("shared_preload_libraries", "auto_explain")
        .set("archive_cleanup_command", "touch cleaned-up")
        .start();
    server.psql("create table t (id int)");
    let base = Base::of(Version::V15, &server);
    let mut journal = base.journal(&server);
    server.psql("insert into t select generate_series(1, 50000)");
    journal.pull(&server, 100_000);
    let nothing = lifeboat_adapters::postgres::PostgresEngine::new(
        Installations::default(),
        Arc::new(lifeboat_adapters::SystemClock::new()),
        lifeboat_vault::Cancel::default(),
        std::time::Duration::from_secs(1),
    );
    let error = base.recover_by(&nothing, Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("apt-get install postgresql-15"));
    let staged = base.recover_with(&nothing, Some(&journal), &RecoverTo::Newest, true).unwrap();
    assert_eq!(staged.position, None);
    let reaches = staged.notes.iter().find(|note| note.contains("shared_preload_libraries"));
    assert!(reaches.is_some(), "{:?}", staged.notes);
    let auto = fs::read_to_string(base.data().join("postgresql.auto.conf")).unwrap();
    assert!(auto.contains("listen_addresses = ''"), "{auto}");
    let mut copy = Server::on(Version::V15, &base.data());
    let _ = std::process::Command::new("chown").args(["-R", "postgres"]).arg(&base.copy).status();
    copy.start_again();
    for _ in 0..500 {
        if copy.psql("select pg_is_in_recovery()") == "f" {
            break;
        }
        pause(20);
    }
    assert_eq!(copy.psql("select count(*) from t"), "50000");
    // As it stands it keeps to itself, whatever production's configuration says.
    let asked = "select string_agg(setting, '' order by name) from pg_settings where name in \
        ('archive_cleanup_command', 'primary_conninfo', \
        'session_preload_libraries', 'shared_preload_libraries')";
    assert_eq!(copy.psql(asked), "");
    assert_eq!(copy.psql("show max_logical_replication_workers"), "0");
    assert!(!base.data().join("cleaned-up").exists());
}
