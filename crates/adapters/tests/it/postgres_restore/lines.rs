//! Timelines: a standby that was promoted, in the middle of a segment and at its end.

use std::fs;

use lifeboat_recovery::ports::RecoverTo;
use lifeboat_testkit::postgres::{Server, Version};

use super::kit::*;

/// A primary, its base, and a standby that was promoted after `rows`; the journal follows.
struct Scene {
    primary: Server,
    standby: Server,
    base: Base,
    journal: Journal,
    /// Where the lines parted.
    parted: u64,
}

const SIZE: u64 = 1 << 20;

fn scene(at_boundary: bool) -> Scene {
    let build = Server::build(Version::V15).initdb("--wal-segsize=1");
    let primary = SETTINGS.iter().fold(build, |to, (name, value)| to.set(name, value)).start();
    primary.psql("create table t (id int, line int)");
    let base = Base::of(Version::V15, &primary);
    let mut journal = base.journal(&primary);
    let standby = primary.standby(&[]);
    primary.psql("insert into t select generate_series(1, 20000), 1");
    if at_boundary {
        primary.psql("select pg_switch_wal()");
    }
    let flushed = journal.pull(&primary, 150_000);
    for _ in 0..500 {
        if ask_lsn(&standby, "select pg_last_wal_receive_lsn()") >= flushed {
            break;
        }
        pause(20);
    }
    standby.configure(&[("wal_keep_size", "1GB")]);
    standby.promote();
    let history = fs::read_to_string(standby.data().join("pg_wal/00000002.history")).unwrap();
    let parted =
        lifeboat_adapters::postgres::lsn::parse(history.split_ascii_whitespace().nth(1).unwrap());
    standby.psql("insert into t select generate_series(1, 20000), 2");
    Scene { primary, standby, base, journal, parted: parted.unwrap() }
}

impl Scene {
    /// The journal goes over to the promoted server where the lines parted.
    fn follow(&mut self) {
        self.journal.pieces.retain(|piece| piece.from.offset < self.parted);
        let last = self.journal.pieces.last().unwrap();
        assert_eq!(last.to.offset, self.parted, "the stream ended elsewhere");
        self.journal.at = self.parted;
        self.journal.branch(&self.standby, 2);
        self.journal.pull(&self.standby, 150_000);
    }

    fn recover(&self) -> String {
        let recovered = self.base.recover(Some(&self.journal), &RecoverTo::Newest).unwrap();
        all_pass(&recovered.checks);
        assert_eq!(recovered.position.as_ref().unwrap().position.line, 2);
        assert!(recovered.notes.iter().any(|note| note.contains("from timeline 1 to timeline 2")));
        let copy = self.base.started();
        copy.psql("select line || ':' || count(*) from t group by line order by line")
    }
}

#[test]
fn lines_that_part_in_the_middle_of_a_segment_are_followed() {
    let mut scene = scene(false);
    assert_ne!(scene.parted % SIZE, 0, "they parted at a segment's end");
    scene.follow();
    assert_eq!(scene.recover(), "1:20000\n2:20000");
}

#[test]
fn lines_that_part_between_two_segments_are_followed() {
    let mut scene = scene(true);
    assert_eq!(scene.parted % SIZE, 0, "they parted inside a segment");
    scene.follow();
    assert_eq!(scene.recover(), "1:20000\n2:20000");
}

#[test]
fn the_old_line_is_restored_where_it_is_chosen() {
    let mut scene = scene(false);
    // The old primary went on, and was streamed.
    scene.primary.psql("insert into t select generate_series(1, 500), 1");
    scene.journal.pull(&scene.primary, 150_000);
    assert!(scene.journal.at > scene.parted);
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap();
    assert_eq!(recovered.position.as_ref().unwrap().position.line, 1);
    let copy = scene.base.started();
    assert_eq!(copy.psql("select line || ':' || count(*) from t group by line"), "1:20500");
}

#[test]
fn without_the_history_of_a_line_nothing_is_guessed() {
    let mut scene = scene(false);
    scene.follow();
    scene.journal.histories.clear();
    let error = scene.base.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap_err();
    assert!(words(&error).contains("00000002.history"), "{}", words(&error));
    scene.base.assert_does_not_start();
}

#[test]
fn a_line_that_parted_before_the_base_ended_does_not_lead_on_from_it() {
    let mut scene = scene(false);
    scene.follow();
    // A base of the old primary, taken after the lines parted.
    scene.primary.psql("insert into t select generate_series(1, 20000), 1");
    let late = Base::of(Version::V15, &scene.primary);
    scene.standby.psql("insert into t select generate_series(1, 60000), 2");
    scene.journal.pull(&scene.standby, 150_000);
    assert!(late.stop > scene.parted && late.stop <= scene.journal.at);
    let error = late.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("does not go on"), "{}", words(&error));
}

#[test]
fn a_base_of_the_new_line_is_not_brought_to_the_old_one() {
    let mut scene = scene(false);
    scene.follow();
    let base = Base::of(Version::V15, &scene.standby);
    let mut journal = base.journal(&scene.primary);
    let to = ask_lsn(&scene.primary, "select pg_current_wal_flush_lsn()");
    scene.primary.psql("insert into t select generate_series(1, 60000), 1");
    assert!(to < base.stop);
    journal.pull(&scene.primary, 1 << 20);
    assert!(journal.at > base.stop && journal.line == 1);
    let error = base.recover(Some(&journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("does not go on"), "{}", words(&error));
}

#[test]
fn a_place_on_the_old_line_is_left_from_that_line() {
    let mut scene = scene(false);
    scene.follow();
    let before = scene.journal.pieces.iter().rfind(|piece| piece.to.offset < scene.parted).unwrap();
    assert_eq!(before.to.line, 1);
    let to = RecoverTo::Position(before.to);
    let recovered = scene.base.recover(Some(&scene.journal), &to).unwrap();
    assert_eq!(recovered.position.as_ref().unwrap().position.line, 1);
    assert!(reached(&recovered) <= before.to.offset);
}
