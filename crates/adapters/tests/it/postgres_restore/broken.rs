//! What cannot be had ends in an error and in a copy that does not start: never in a short one.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lifeboat_adapters::postgres::{PostgresEngine, server_around};
use lifeboat_recovery::ports::{EngineError, RecoverTo};
use lifeboat_testkit::postgres::{Server, Version};
use lifeboat_vault::Clock;

use super::kit::*;

/// Several segments of one megabyte after the base, with rows in each.
fn scene() -> (Server, Base, Journal) {
    let build = Server::build(Version::V15).initdb("--wal-segsize=1");
    let server = SETTINGS.iter().fold(build, |to, (name, value)| to.set(name, value)).start();
    server.psql("create table t (id int)");
    let base = Base::of(Version::V15, &server);
    let mut journal = base.journal(&server);
    for _ in 0..6 {
        server.psql("insert into t select generate_series(1, 10000)");
        journal.pull(&server, 200_000);
    }
    (server, base, journal)
}

fn down() -> EngineError {
    EngineError::Failed { what: "the store is down".to_owned(), source: None }
}

/// The piece in the middle of the journal: neither the first nor the last segment has it.
fn middle(journal: &Journal) -> u64 {
    let segment = |piece: &lifeboat_recovery::ports::Piece| piece.from.offset >> 20;
    let middle = &journal.pieces[journal.pieces.len() / 2];
    let (first, last) = (&journal.pieces[0], journal.pieces.last().unwrap());
    assert!(segment(first) < segment(middle) && segment(middle) < segment(last) - 1);
    middle.seq
}

#[test]
fn a_store_that_is_down_for_a_while_only_delays() {
    down_for(Duration::from_millis(1500), engine());
}

#[test]
#[ignore = "long form, run by scripts/soak"]
fn a_store_that_is_down_for_two_minutes_only_delays() {
    // As patient as the program is.
    down_for(Duration::from_secs(120), engine().patience(Duration::from_secs(300)));
}

fn down_for(time: Duration, engine: PostgresEngine) {
    let (_server, base, mut journal) = scene();
    let middle = middle(&journal);
    let failures = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&failures);
    let clock = lifeboat_adapters::SystemClock::new();
    let since = std::sync::OnceLock::new();
    journal.hook = Box::new(move |seq| {
        // From the moment at which it is asked for.
        if seq == middle && clock.monotonic() < *since.get_or_init(|| clock.monotonic()) + time {
            count.fetch_add(1, Ordering::SeqCst);
            return Err(down());
        }
        Ok(())
    });
    let recovered = base.recover_by(&engine, Some(&journal), &RecoverTo::Newest).unwrap();
    all_pass(&recovered.checks);
    assert!(failures.load(Ordering::SeqCst) > 0, "the store was never down");
    assert_eq!(base.started().psql("select count(*) from t"), "60000");
}

#[test]
fn a_store_that_stays_down_ends_in_an_error_and_promotes_nothing() {
    let (_server, base, mut journal) = scene();
    let middle = middle(&journal);
    journal.hook = Box::new(move |seq| if seq == middle { Err(down()) } else { Ok(()) });
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(words(&error).contains("the store is down"), "{}", words(&error));
    assert!(!base.data().join("pg_wal/00000002.history").exists(), "it was promoted");
    base.assert_does_not_start();
}

#[test]
fn a_corrupted_piece_ends_in_an_error() {
    let (_server, base, mut journal) = scene();
    let middle = middle(&journal);
    let refusal = || EngineError::Refused {
        what: "range 7 does not match its hash".to_owned(),
        hint: "`lifeboat verify`".to_owned(),
    };
    journal.hook = Box::new(move |seq| if seq == middle { Err(refusal()) } else { Ok(()) });
    let begun = lifeboat_adapters::SystemClock::new();
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(words(&error).contains("does not match its hash"), "{}", words(&error));
    assert!(begun.monotonic() < Duration::from_secs(60));
    base.assert_does_not_start();
}

#[test]
fn a_hole_in_the_journal_is_no_end() {
    let (_server, base, mut journal) = scene();
    let middle = middle(&journal) as usize;
    journal.pieces.remove(middle);
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(words(&error).contains("hole"), "{}", words(&error));
    base.assert_does_not_start();
}

#[test]
fn a_journal_that_begins_after_the_base_ended_is_refused() {
    let (_server, base, mut journal) = scene();
    let begins = |journal: &Journal| journal.pieces[0].from.offset;
    while begins(&journal) <= base.stop {
        journal.pieces.remove(0);
    }
    assert!(begins(&journal) > base.stop);
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("does not lead on"), "{}", words(&error));
    base.assert_does_not_start();
}

#[test]
fn a_journal_that_begins_inside_the_base_goes_on_with_the_bases_own_log() {
    let server = Server::start(Version::V15, SETTINGS);
    server.psql("create table t (id int)");
    let base = Base::of(Version::V15, &server);
    // In the middle of the base's segment: what is before it has only the base.
    let mut journal = Journal::from(&server, base.start + 8);
    server.psql("insert into t select generate_series(1, 100)");
    journal.pull(&server, 5000);
    assert!(journal.pieces[0].from.offset > base.start);
    base.recover(Some(&journal), &RecoverTo::Newest).unwrap();
    assert_eq!(base.started().psql("select count(*) from t"), "100");
}

#[test]
fn a_base_that_is_not_as_its_manifest_says_is_not_started() {
    let (_server, base, journal) = scene();
    let data = base.data();
    // A page of a table, deep in it: the server would start.
    let path = fs::read_dir(data.join("base/1")).unwrap().flatten().map(|entry| entry.path());
    let path = path.filter(|path| path.metadata().unwrap().len() > 65_536).min().unwrap();
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(40_000)).unwrap();
    file.write_all(b"not what it was").unwrap();
    drop(file);
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(words(&error).contains("checksum mismatch"), "{}", words(&error));
    base.assert_does_not_start();
}

#[test]
fn the_directory_of_a_running_server_is_not_touched() {
    let (_server, base, journal) = scene();
    let standing = Server::start(Version::V15, &[]);
    let other = base.copy.with_file_name("other");
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(standing.data(), other.join("pgdata")).unwrap();
    standing.write("backup_label", "");
    let before = fs::metadata(standing.data().join("global/pg_control")).unwrap();
    let base = Base { copy: other, ..base };
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("running server"), "{}", words(&error));
    let after = fs::metadata(standing.data().join("global/pg_control")).unwrap();
    assert_eq!(before.len(), after.len());
    assert_eq!(standing.psql("select 1"), "1");
}

/// Nor taken as a target, at whatever depth it is named.
#[test]
fn a_server_is_found_around_a_folder_as_long_as_it_runs() {
    let mut server = Server::start(Version::V15, &[]);
    let data = fs::canonicalize(server.data()).unwrap();
    let above = data.parent().unwrap();
    let places = [data.clone(), data.join("base"), data.join("new/deep"), above.to_owned()];
    for place in &places {
        let said = server_around(place).unwrap_or_default();
        let process = format!("process {}", server.pid());
        assert!(said.contains("PostgreSQL") && said.contains(&process), "{place:?}: {said:?}");
    }
    // A folder beside it is nobody's; nor is what a killed server has left.
    assert_eq!(server_around(tempfile::tempdir().unwrap().path()), None);
    assert_eq!(server_around(&above.join("beside")), None);
    server.kill();
    assert!(data.join("postmaster.pid").exists());
    for place in &places {
        assert_eq!(server_around(place), None, "{place:?}");
    }
}

#[test]
fn a_copy_that_is_half_recovered_is_not_finished_by_hand() {
    let (_server, base, mut journal) = scene();
    // Further on than a server reads ahead before it replays.
    let middle = journal.pieces[journal.pieces.len() - 6].seq;
    let data = base.data();
    let seen = Arc::new(AtomicU32::new(0));
    let at = Arc::clone(&seen);
    // As it stands in the middle of a recovery, copied while the server waits for that piece.
    journal.hook = Box::new(move |seq| {
        if seq == middle && at.fetch_add(1, Ordering::SeqCst) == 0 {
            assert_eq!(ask_sandbox(Version::V15, "select pg_is_in_recovery()"), "t");
            let beside = data.with_file_name("half");
            // It complains of files that come and go.
            let mut copy = std::process::Command::new("cp");
            copy.arg("-a").arg(&data).arg(&beside).output().unwrap();
        }
        Ok(())
    });
    base.recover(Some(&journal), &RecoverTo::Newest).unwrap();
    assert!(seen.load(Ordering::SeqCst) > 0);
    let half = base.copy.join("half");
    fs::remove_file(half.join("postmaster.pid")).unwrap();
    let why = Server::on(Version::V15, &half).try_start().unwrap_err();
    assert!(why.contains("exit code 255"), "{why}");
}
