//! The log of real servers: under load, across kills, switches and losses.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lifeboat_adapters::postgres::PostgresOptions;
use lifeboat_model::journal::{HISTORY, HISTORY_OF};
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{Joint, LogContext, LogError, LogEvent, LogSource};
use lifeboat_testkit::postgres::{Server, Version};
use lifeboat_vault::{Clock, NoMonitor};

use crate::postgres_kit::{Tape, options, place, until};

fn slot(tape: &Tape, column: &str) -> String {
    format!("select {column} from pg_replication_slots where slot_name = '{}'", tape.log.slot())
}

fn restart(tape: &Tape) -> String {
    format!("restart_lsn from pg_replication_slots where slot_name = '{}'", tape.log.slot())
}

#[test]
fn kills_of_server_and_connection_lose_nothing_under_load() {
    let segment = 1 << 20;
    let mut server =
        Server::build(Version::V15).initdb("--wal-segsize=1").set("wal_keep_size", "2GB").start();
    let mut tape = Tape::new(&server);
    let start = tape.start().unwrap();
    assert!(matches!(start.joint, Joint::NewLineage { .. }));
    assert_eq!(start.at.position.offset % segment, 0, "the first page of a segment names it");
    assert_eq!(start.facts["segment_size"], segment);
    server.pgbench_init(1);
    let mut breaks = 0;
    for round in 0..6 {
        let load = server.pgbench(&["-T", "30", "-c", "2"]);
        for _ in 0..12 {
            tape.step(50, true).unwrap();
        }
        if round % 2 == 0 {
            server.psql("select pg_terminate_backend(active_pid) from pg_replication_slots");
        } else {
            server.kill();
        }
        // What had come before the cut is still there to be taken.
        while tape.step(50, false).is_ok() {}
        drop(load);
        if round % 2 == 1 {
            server.start_again();
        }
        let again = tape.start_again();
        assert_eq!(again.joint, Joint::Seamless, "{again:?}");
        breaks += 1;
    }
    tape.drain();
    assert_eq!(breaks, 6);
    assert!(tape.at().position.offset >= place(&server, "pg_current_wal_flush_lsn()") - 200);
    let compared = tape.compare(0, &server, segment);
    assert!(compared > 2 << 20, "{compared} bytes");
    let crossed = |event: &LogEvent| match event {
        LogEvent::Range(range) => range.from.offset / segment != (range.to.offset - 1) / segment,
        _ => false,
    };
    assert!(!tape.events.iter().any(crossed), "no range crosses the end of a segment");
}

#[test]
fn the_server_hears_of_nothing_that_is_not_durable() {
    let server = Server::start(Version::V15, &[]);
    let mut tape = Tape::new(&server);
    let start = tape.start().unwrap().at.position;
    let kept = place(&server, &restart(&tape));
    server.psql("create table t as select generate_series(1, 10000) as n");
    while !matches!(tape.step(50, false).unwrap(), LogEvent::Idle { .. }) {}
    assert!(tape.at().position.offset > kept + 100_000, "log came");
    tape.clock.sleep(Duration::from_millis(300));
    let told = "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication";
    assert_eq!(server.psql(told), "0/0", "nothing is durable yet");
    assert_eq!(place(&server, &restart(&tape)), kept);
    let durable = Position::new(1, start.offset + 50_000);
    tape.log.durable(durable).unwrap();
    until(
        &server,
        &format!("select flush_lsn = '0/0'::pg_lsn + {} from pg_stat_replication", durable.offset),
    );
    // Of another timeline nothing is said.
    tape.log.durable(Position::new(2, durable.offset + 1)).unwrap();
    tape.clock.sleep(Duration::from_millis(300));
    assert_eq!(place(&server, &restart(&tape)), durable.offset);
}

#[test]
fn an_idle_server_is_known_to_be_complete_and_a_busy_one_only_as_far_as_read() {
    let server = Server::start(Version::V18, &[]);
    let mut tape = Tape::new(&server);
    tape.start().unwrap();
    tape.drain();
    server.psql("create table t (at timestamptz)");
    // Nobody reads while this is committed.
    server.psql("insert into t select clock_timestamp() from generate_series(1, 200000)");
    let committed = tape.clock.wall();
    tape.clock.sleep(Duration::from_millis(1500));
    let mut seen = 0;
    loop {
        match tape.step(50, true).unwrap() {
            LogEvent::Range(range)
                if tape.at().position.offset < place(&server, "pg_current_wal_flush_lsn()") =>
            {
                assert!(range.time < committed, "log that is not read yet is not claimed");
                seen += 1;
            }
            LogEvent::Range(_) => {}
            LogEvent::Idle { time, .. } => {
                assert!(time > committed);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(seen > 0, "the race really happened: {} events", tape.events.len());
}

#[test]
fn what_was_delivered_and_not_stored_is_not_claimed_by_the_next_session() {
    let server = Server::build(Version::V15).initdb("--wal-segsize=1").start();
    let mut tape = Tape::new(&server);
    tape.start().unwrap();
    server.psql("create table t (n int)");
    tape.drain();
    let before = tape.clock.wall();
    server.psql("insert into t select generate_series(1, 40000)");
    // Delivered, but no tier takes it.
    let mut held = 0;
    let cancel = tape.cancel.clone();
    let clock = tape.clock;
    let context = LogContext { clock: &clock, monitor: &NoMonitor, cancel: &cancel };
    let mut known = before;
    while let LogEvent::Range(range) = tape.log.next(Duration::from_millis(300), &context).unwrap()
    {
        (held, known) = (held + 1, range.time);
        if range.to.offset >= place(&server, "pg_current_wal_flush_lsn()") {
            break;
        }
    }
    assert!(held > 2 && known > before, "{held} pieces, complete up to {known}");
    server.psql("select pg_terminate_backend(active_pid) from pg_replication_slots");
    while tape.log.next(Duration::from_millis(50), &context).is_ok() {}
    assert_eq!(tape.start_again().joint, Joint::Seamless);
    let LogEvent::Range(first) = tape.step(300, false).unwrap() else { panic!("no range") };
    assert!(first.to.offset < place(&server, "pg_current_wal_flush_lsn()"), "it is all");
    assert!(first.time < before, "{} is claimed of a piece; {before}", first.time);
    tape.drain();
}

/// What an idle server was known to be complete up to stays known: the order of instants in the
/// journal is not broken by a stream that starts again.
#[test]
fn a_stream_that_starts_again_claims_what_the_last_keepalive_proved() {
    let server = Server::start(Version::V15, &[]);
    let mut tape = Tape::new(&server);
    tape.start().unwrap();
    server.psql("create table t (n int)");
    tape.drain();
    let LogEvent::Idle { time, .. } = tape.step(300, true).unwrap() else { panic!("it is quiet") };
    tape.log.stop().unwrap();
    server.psql("insert into t values (1)");
    // Another process: nothing is remembered but what the journal has.
    tape.follow(&server);
    assert_eq!(tape.start_again().joint, Joint::Seamless);
    let LogEvent::Range(first) = tape.step(300, true).unwrap() else { panic!("no range") };
    assert!(first.time >= time, "{} after {time}", first.time);
}

#[test]
fn a_switched_segment_comes_whole_with_its_zeros() {
    let server = Server::start(Version::V16, &[("wal_keep_size", "1GB")]);
    let mut tape = Tape::new(&server);
    tape.start().unwrap();
    server.psql("create table t (n int)");
    server.psql("select pg_switch_wal()");
    server.psql("insert into t values (1)");
    tape.drain();
    let (_, bytes) = &tape.lines[0];
    assert!(bytes.len() > 16 << 20, "a whole segment and more");
    assert!(bytes[(16 << 20) - 8192..16 << 20].iter().all(|byte| *byte == 0), "a tail of zeros");
    assert_eq!(tape.compare(0, &server, 16 << 20), bytes.len());
}

#[test]
fn a_dropped_slot_is_a_gap_only_where_log_is_missing() {
    let server = Server::build(Version::V15)
        .initdb("--wal-segsize=1")
        .set("max_wal_size", "4MB")
        .set("min_wal_size", "2MB")
        .start();
    let mut tape = Tape::new(&server);
    tape.start().unwrap();
    tape.drain();
    let drop_slot = |tape: &mut Tape| {
        tape.log.stop().unwrap();
        until(&server, &slot(tape, "not active"));
        server.psql(&format!("select pg_drop_replication_slot('{}')", tape.log.slot()));
    };
    drop_slot(&mut tape);
    server.psql("create table t (n int)");
    let start = tape.start_again();
    assert_eq!(start.joint, Joint::Seamless, "the log was still there");
    assert!(start.warnings.iter().any(|said| said.contains("dropped")), "{:?}", start.warnings);
    tape.drain();
    drop_slot(&mut tape);
    let end = tape.at().position;
    for _ in 0..8 {
        server.psql("insert into t values (1); select pg_switch_wal()");
    }
    server.psql("checkpoint; checkpoint");
    let start = tape.start_again();
    let Joint::Gap { why } = &start.joint else { panic!("{start:?}") };
    assert!(why.contains("dropped"), "{why}");
    assert!(start.at.position > end && start.at.position.offset.is_multiple_of(1 << 20));
    server.psql("insert into t values (2)");
    tape.drain();
    // Somebody drops it and makes it anew, later than the journal's end.
    drop_slot(&mut tape);
    for _ in 0..8 {
        server.psql("insert into t values (1); select pg_switch_wal()");
    }
    server.psql("checkpoint; checkpoint");
    let make = format!("select pg_create_physical_replication_slot('{}', true)", tape.log.slot());
    server.psql(&make);
    let start = tape.start_again();
    let Joint::Gap { why } = &start.joint else { panic!("{start:?}") };
    assert!(why.contains("anew"), "{why}");
}

#[test]
fn a_slot_that_the_server_gave_up_is_said_and_made_anew() {
    let server = Server::build(Version::V15)
        .initdb("--wal-segsize=1")
        .set("max_slot_wal_keep_size", "2MB")
        .set("max_wal_size", "4MB")
        .set("min_wal_size", "2MB")
        .start();
    let mut tape = Tape::new(&server);
    let start = tape.start().unwrap();
    assert!(start.warnings.iter().any(|said| said.contains("max_slot_wal_keep_size")));
    tape.drain();
    let health = tape.log.health().unwrap();
    assert!(health.behind.is_some() && health.warnings.is_empty(), "{health:?}");
    tape.log.stop().unwrap();
    server.psql("create table t (n int)");
    for _ in 0..8 {
        server.psql("insert into t values (1); select pg_switch_wal()");
    }
    server.psql("checkpoint");
    until(&server, &slot(&tape, "wal_status = 'lost'"));
    let start = tape.start_again();
    let Joint::Gap { why } = &start.joint else { panic!("{start:?}") };
    assert!(why.contains("gave up"), "{why}");
    assert_eq!(server.psql(&slot(&tape, "wal_status")), "reserved");
    tape.drain();
}

#[test]
fn a_promoted_standby_goes_on_on_its_own_timeline() {
    let mut primary = Server::start(Version::V15, &[("wal_keep_size", "1GB")]);
    primary.psql("create table t (n int)");
    let standby = primary.standby(&[]);
    let mut tape = Tape::new(&primary);
    tape.start().unwrap();
    primary.psql("insert into t values (1)");
    tape.drain();
    until(
        &standby,
        &format!(
            "select pg_last_wal_receive_lsn() >= '{}'",
            primary.psql("select pg_current_wal_flush_lsn()")
        ),
    );
    // The journal gets what the standby never does.
    standby.psql("alter system set primary_conninfo = ''");
    standby.reload();
    until(&primary, "select count(*) = 1 from pg_stat_replication");
    primary.psql("insert into t select generate_series(1, 1000)");
    tape.drain();
    let beyond = tape.at().position;
    primary.kill();
    standby.promote();
    standby.psql("insert into t values (2)");
    tape.follow(&standby);
    let start = tape.start_again();
    assert_eq!((start.joint, start.at.position), (Joint::Seamless, beyond));
    let LogEvent::Branch { from, to, history, .. } = tape.step(50, true).unwrap() else { panic!() };
    assert!(from.offset < beyond.offset, "the old timeline was left before the journal's end");
    assert_eq!((from.line, to.line, from.offset), (1, 2, to.offset));
    assert!(String::from_utf8_lossy(&history).starts_with("1\t"));
    // It stands at the old timeline's end, and tells the new one's history.
    assert_eq!(start.facts[HISTORY].as_str().map(str::as_bytes), Some(&history[..]));
    assert_eq!(start.facts[HISTORY_OF], 2);
    tape.drain();
    assert!(tape.compare(1, &standby, 16 << 20) > 100);
    // The old primary comes back: its log leads nowhere.
    primary.start_again();
    tape.follow(&primary);
    let LogError::Unfit { what, .. } = tape.start().unwrap_err() else { panic!() };
    assert!(what.contains("not the primary"), "{what}");
}

#[test]
fn a_standby_is_promoted_while_its_log_is_read() {
    let mut primary = Server::start(Version::V15, &[]);
    let keep = [("wal_keep_size", "1GB"), ("hot_standby_feedback", "off")];
    let mut standby = primary.standby(&keep);
    let mut third = standby.standby(&keep);
    let fourth = third.standby(&keep);
    let mut tape = Tape::new(&standby);
    tape.start().unwrap();
    primary.psql("create table t as select 1");
    until(&standby, "select count(*) = 1 from pg_class where relname = 't'");
    primary.kill();
    standby.promote();
    standby.psql("insert into t values (2)");
    while !tape.events.iter().any(|event| matches!(event, LogEvent::Branch { .. })) {
        if let Err(error) = tape.step(100, true) {
            assert!(matches!(error, LogError::Lost { .. }), "{error:?}");
            assert_eq!(tape.start_again().joint, Joint::Seamless);
        }
    }
    tape.drain();
    assert_eq!(tape.at().position.line, 2);
    assert!(tape.compare(1, &standby, 16 << 20) > 100);
    // Twice more, while nobody reads: across a whole timeline.
    tape.log.stop().unwrap();
    let both = |server: &Server, rows: u32| {
        until(server, &format!("select count(*) = {rows} from t"));
    };
    both(&third, 2);
    standby.kill();
    third.promote();
    third.psql("insert into t values (3)");
    both(&fourth, 3);
    third.kill();
    fourth.promote();
    fourth.psql("insert into t values (4)");
    tape.follow(&fourth);
    assert_eq!(tape.start_again().joint, Joint::Seamless);
    tape.drain();
    let lines: Vec<u32> = tape.lines.iter().map(|(at, _)| at.line).collect();
    assert_eq!(lines, [1, 2, 3, 4]);
}

#[test]
fn a_standby_that_receives_nothing_proves_nothing_of_its_primary() {
    let primary = Server::start(Version::V15, &[("wal_keep_size", "1GB")]);
    // It asks its primary after half of that.
    let standby = primary.standby(&[("wal_receiver_timeout", "2s")]);
    let mut tape = Tape::new(&standby);
    let start = tape.start().unwrap();
    assert!(start.warnings.iter().any(|said| said.contains("a standby")), "{start:?}");
    primary.psql("create table t as select generate_series(1, 10000) as n");
    let committed = tape.clock.wall();
    for _ in 0..200 {
        tape.step(50, true).unwrap();
        if tape.complete > committed {
            break;
        }
    }
    assert!(tape.complete > committed, "what the primary says is never believed");
    assert_eq!(standby.psql("select count(*) from t"), "10000");
    standby.psql("alter system set primary_conninfo = ''");
    standby.reload();
    until(&primary, "select count(*) = 0 from pg_stat_replication");
    let before = tape.clock.wall();
    primary.psql("insert into t values (0)");
    tape.clock.sleep(Duration::from_millis(1500));
    tape.drain();
    tape.step(600, true).unwrap();
    assert!(tape.complete < before, "{} is claimed; {before}", tape.complete);
    let wire = PostgresOptions { data_dir: Some("/nonexistent".into()), ..options(&standby) };
    let (capture, _) = crate::postgres_base::Bench::new().capture(wire, None).unwrap();
    assert!(capture.manifest.started < before && capture.complete_up_to < before);
    assert!(capture.manifest.finished > before);
}

#[test]
fn two_standbys_promoted_to_one_timeline_are_two_logs() {
    let mut primary = Server::start(Version::V15, &[("wal_keep_size", "1GB")]);
    primary.psql("create table t (n int)");
    let (one, other) = (primary.standby(&[]), primary.standby(&[]));
    let mut tape = Tape::new(&primary);
    tape.start().unwrap();
    tape.drain();
    let flushed = primary.psql("select pg_current_wal_flush_lsn()");
    for standby in [&one, &other] {
        until(standby, &format!("select pg_last_wal_replay_lsn() >= '{flushed}'"));
    }
    primary.kill();
    one.promote();
    one.psql("insert into t values (1)");
    tape.follow(&one);
    assert_eq!(tape.start_again().joint, Joint::Seamless);
    tape.drain();
    // The same again goes on.
    tape.follow(&one);
    assert_eq!(tape.start_again().joint, Joint::Seamless);
    one.psql("insert into t values (1)");
    tape.drain();
    assert_eq!(tape.at().position.line, 2);
    other.promote();
    other.psql("insert into t select generate_series(1, 1000)");
    assert!(place(&other, "pg_current_wal_flush_lsn()") > tape.at().position.offset);
    tape.follow(&other);
    let start = tape.start_again();
    let Joint::NewLineage { why } = &start.joint else { panic!("{start:?}") };
    assert!(why.contains("two standbys"), "{why}");
    tape.drain();
}

#[test]
fn an_older_state_that_has_written_on_is_another_log() {
    let mut server = Server::start(Version::V15, &[]);
    server.psql("create table t (n int)");
    let mut tape = Tape::new(&server);
    tape.start().unwrap();
    tape.drain();
    tape.log.stop().unwrap();
    until(&server, &slot(&tape, "not active"));
    server.stop();
    let older = server.data().with_file_name("older");
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy(server.data(), &older);
    server.start_again();
    tape.follow(&server);
    assert_eq!(tape.start_again().joint, Joint::Seamless);
    server.psql("insert into t values (1)");
    tape.drain();
    server.kill();
    std::fs::remove_dir_all(server.data()).unwrap();
    copy(&older, server.data());
    server.start_again();
    server.psql("insert into t select generate_series(1, 10000)");
    assert!(place(&server, "pg_current_wal_flush_lsn()") > tape.at().position.offset);
    tape.follow(&server);
    let start = tape.start_again();
    let Joint::NewLineage { why } = &start.joint else { panic!("{start:?}") };
    assert!(why.contains("older state"), "{why}");
}

#[test]
fn of_two_streams_one_is_told_of_the_other() {
    let server = Server::start(Version::V15, &[]);
    let (mut one, mut other) = (Tape::new(&server), Tape::new(&server));
    one.start().unwrap();
    let LogError::Taken { what, hint } = other.start().unwrap_err() else { panic!() };
    assert!(what.contains("another stream") && hint.contains("stop"), "{what}");
    server.psql("create table t (n int)");
    one.drain();
    let LogError::Taken { .. } = other.log.detach(false).unwrap_err() else { panic!() };
    assert_eq!(other.log.detach(true).unwrap().len(), 1);
    assert_eq!(one.log.detach(false).unwrap().len(), 1);
    assert_eq!(server.psql("select count(*) from pg_replication_slots"), "0");
    assert!(one.log.detach(false).unwrap().is_empty());
    assert_eq!(one.log.would_make(None).unwrap().len(), 1);
}

#[test]
fn a_stream_is_never_the_standby_that_commits_wait_for() {
    let server = Server::start(
        Version::V15,
        &[("synchronous_standby_names", "*"), ("synchronous_commit", "local")],
    );
    let mut tape = Tape::new(&server);
    let start = tape.start().unwrap();
    assert!(
        start.warnings.iter().any(|said| said.contains("synchronous_standby_names")),
        "{start:?}"
    );
    tape.drain();
    assert_eq!(
        server.psql("select application_name, sync_state from pg_stat_replication"),
        "lifeboat/orders|sync"
    );
    let plain = Server::start(Version::V15, &[("synchronous_standby_names", "other")]);
    let mut tape = Tape::new(&plain);
    plain.psql("select 1");
    let start = tape.start().unwrap();
    assert!(!start.warnings.iter().any(|said| said.contains("synchronous")), "{start:?}");
}

#[test]
fn while_no_tier_can_be_written_the_server_neither_loses_patience_nor_waits_for_us() {
    let mut server = Server::start(Version::V15, &[("wal_sender_timeout", "1s")]);
    let mut tape = Tape::new(&server);
    tape.start().unwrap();
    tape.drain();
    let pid = server.psql("select pid from pg_stat_replication");
    server.psql("create table t as select generate_series(1, 100000) as n");
    let context = LogContext { clock: &tape.clock, monitor: &NoMonitor, cancel: &tape.cancel };
    tape.log.wait(Duration::from_secs(3), &context).unwrap();
    assert_eq!(server.psql("select pid from pg_stat_replication"), pid, "the same connection");
    tape.drain();
    // Something that is not acknowledged: an orderly stop would wait for it for ever.
    server.psql("insert into t values (1)");
    tape.step(200, false).unwrap();
    let clock = tape.clock;
    let context = LogContext { clock: &tape.clock, monitor: &NoMonitor, cancel: &tape.cancel };
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| {
            let began = clock.monotonic();
            server.stop();
            clock.monotonic() - began
        });
        let waited = tape.log.wait(Duration::from_secs(20), &context);
        assert!(matches!(waited, Err(LogError::Lost { .. })), "{waited:?}");
        assert!(stopping.join().unwrap() < Duration::from_secs(10));
    });
}

#[test]
fn servers_that_cannot_be_streamed_say_why() {
    let unfit = |server: &Server, dsn: &str| {
        let mut tape = Tape::new(server);
        let mut options = options(server);
        options.dsn = lifeboat_adapters::postgres::Dsn::parse(dsn).unwrap();
        tape.log = lifeboat_adapters::postgres::PostgresLog::new("orders", options);
        match tape.start().unwrap_err() {
            LogError::Unfit { what, hint } => format!("{what}; {hint}"),
            other => panic!("{other:?}"),
        }
    };
    let minimal =
        Server::start(Version::V15, &[("wal_level", "minimal"), ("max_wal_senders", "0")]);
    assert!(unfit(&minimal, &minimal.dsn()).contains("wal_level = minimal"));
    let full =
        Server::start(Version::V15, &[("max_replication_slots", "1"), ("max_wal_senders", "2")]);
    full.psql("create role plain login; select pg_create_physical_replication_slot('other')");
    assert!(unfit(&full, &full.dsn()).contains("no free replication slot"));
    let said = unfit(&full, &full.dsn_as("plain", "postgres"));
    assert!(said.contains("right to replicate") && said.contains("alter role"), "{said}");
    full.psql("select pg_drop_replication_slot('other')");
    Tape::new(&full).start().unwrap();
}

#[test]
fn another_cluster_begins_another_lineage() {
    let (one, other) = (Server::start(Version::V15, &[]), Server::start(Version::V16, &[]));
    let mut tape = Tape::new(&one);
    let first = tape.start().unwrap();
    tape.drain();
    tape.follow(&other);
    let second = tape.start().unwrap();
    let Joint::NewLineage { why } = &second.joint else { panic!("{second:?}") };
    assert!(why.contains("another cluster"), "{why}");
    assert_ne!(first.at.lineage, second.at.lineage);
    tape.drain();
}
