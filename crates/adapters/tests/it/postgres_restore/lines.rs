//! Timelines: a standby that was promoted, in the middle of a segment and at its end.

use std::fs;

use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::RecoverTo;
use lifeboat_testkit::postgres::{Server, Version};

use super::kit::*;
use crate::postgres_kit::until;

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

/// As it is before the standby is promoted: it has all that the primary has.
fn before(at_boundary: bool) -> Scene {
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
    Scene { primary, standby, base, journal, parted: 0 }
}

fn scene(at_boundary: bool) -> Scene {
    let mut scene = before(at_boundary);
    scene.part();
    scene
}

impl Scene {
    /// The standby is promoted, and goes on.
    fn part(&mut self) {
        self.standby.promote();
        let path = self.standby.data().join("pg_wal/00000002.history");
        let history = fs::read_to_string(path).unwrap();
        let place = history.split_ascii_whitespace().nth(1).unwrap();
        self.parted = lifeboat_adapters::postgres::lsn::parse(place).unwrap();
        self.standby.psql("insert into t select generate_series(1, 20000), 2");
    }

    /// From now on the standby gets nothing.
    fn cut_off(&self) {
        self.standby.psql("alter system set primary_conninfo = ''");
        self.standby.reload();
        until(&self.primary, "select count(*) = 0 from pg_stat_replication");
    }

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

/// The journal has more of the old line than the new one went on from: 300 rows, an instant, and 200
/// rows more. Then the standby is promoted, and the stream follows it. With the instant, and where the
/// log was then.
fn left_behind() -> (Scene, Timestamp, Position) {
    let mut scene = before(false);
    scene.cut_off();
    scene.primary.psql("insert into t select generate_series(1, 300), 1");
    let then = Position::new(1, scene.journal.pull(&scene.primary, 150_000));
    pause(20);
    let instant = now();
    pause(20);
    scene.primary.psql("insert into t select generate_series(1, 200), 1");
    scene.journal.pull(&scene.primary, 150_000);
    pause(20);
    scene.part();
    assert!(then.offset > scene.parted, "nothing was left behind");
    scene.journal.at = scene.parted;
    scene.journal.branch(&scene.standby, 2);
    scene.journal.pull(&scene.standby, 150_000);
    (scene, instant, then)
}

#[test]
fn an_instant_on_a_line_that_was_left_later_is_restored_on_that_line() {
    let (scene, instant, _) = left_behind();
    let to = RecoverTo::Time(instant);
    let recovered = scene.base.recover(Some(&scene.journal), &to).unwrap();
    all_pass(&recovered.checks);
    let said = recovered.notes.iter().find(|note| note.contains("timeline 1 was the live one"));
    assert!(said.is_some_and(|said| said.contains("timeline 2")), "{:?}", recovered.notes);
    assert_eq!(recovered.position.as_ref().unwrap().position.line, 1);
    assert_eq!(recovered.complete_up_to, Some(instant));
    let copy = scene.base.started();
    assert_eq!(copy.psql("select line || ':' || count(*) from t group by line"), "1:20300");
}

#[test]
fn a_place_beyond_the_parting_is_restored_on_its_line() {
    let (scene, _, then) = left_behind();
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Position(then)).unwrap();
    assert_eq!(recovered.position.as_ref().unwrap().position, then);
    let copy = scene.base.started();
    assert_eq!(copy.psql("select line || ':' || count(*) from t group by line"), "1:20300");
}

fn assert_refused(scene: &Scene, instant: Timestamp) {
    let to = RecoverTo::Time(instant);
    let error = scene.base.recover(Some(&scene.journal), &to).unwrap_err();
    let said = words(&error);
    assert!(is_refused(&error), "{said}");
    assert!(said.contains("timeline 1 was left") && said.contains("timeline 2"), "{said}");
    scene.base.assert_does_not_start();
}

#[test]
fn an_instant_of_which_neither_line_is_known_is_refused() {
    let (mut scene, instant, _) = left_behind();
    // All of the old line came an hour before: then nothing for an hour, then the new line.
    let hour = jiff::SignedDuration::from_hours(1);
    for piece in scene.journal.pieces.iter_mut().filter(|piece| piece.from.line == 1) {
        piece.time -= hour;
    }
    scene.base.manifest.started -= hour;
    scene.base.manifest.finished -= hour;
    assert_refused(&scene, instant - hour / 2);
}

#[test]
fn an_instant_at_which_both_lines_lived_is_refused() {
    let mut scene = before(false);
    scene.cut_off();
    scene.part();
    // The old primary was not told, and the stream was not either.
    scene.primary.psql("insert into t select generate_series(1, 300), 1");
    let instant = now();
    scene.journal.keepalive(instant);
    scene.journal.pull(&scene.primary, 150_000);
    scene.journal.at = scene.parted;
    scene.journal.branch(&scene.standby, 2);
    scene.journal.pull(&scene.standby, 150_000);
    assert_refused(&scene, instant);
}

#[test]
fn the_newest_leads_over_a_line_that_was_left_and_says_what_stays_behind() {
    let (scene, ..) = left_behind();
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap();
    let said = recovered.notes.iter().find(|note| note.contains("left behind"));
    assert!(said.is_some_and(|said| said.contains("position:00000001-")), "{recovered:?}");
    let copy = scene.base.started();
    let rows = "select line || ':' || count(*) from t group by line order by line";
    assert_eq!(copy.psql(rows), "1:20000\n2:20000");
}

#[test]
fn an_instant_on_the_new_line_is_restored_on_it() {
    let (mut scene, ..) = left_behind();
    pause(20);
    let instant = now();
    pause(20);
    scene.standby.psql("insert into t values (0, 2)");
    scene.journal.pull(&scene.standby, 150_000);
    let to = RecoverTo::Time(instant);
    let recovered = scene.base.recover(Some(&scene.journal), &to).unwrap();
    assert_eq!(recovered.position.as_ref().unwrap().position.line, 2);
    let copy = scene.base.started();
    let rows = "select line || ':' || count(*) from t group by line order by line";
    assert_eq!(copy.psql(rows), "1:20000\n2:20000");
}

const BY_LINE: &str = "select line || ':' || count(*) from t group by line order by line";

/// A base of the promoted server and the journal from there on, which has no record of the switch:
/// 300 rows, an instant, and 200 rows more.
fn only_the_new_line() -> (Scene, Timestamp) {
    let mut scene = scene(false);
    scene.base = Base::of(Version::V15, &scene.standby);
    scene.journal = scene.base.journal(&scene.standby);
    assert_eq!(scene.journal.line, 2);
    scene.standby.psql("insert into t select generate_series(1, 300), 3");
    scene.journal.pull(&scene.standby, 150_000);
    pause(20);
    let instant = now();
    pause(20);
    scene.standby.psql("insert into t select generate_series(1, 200), 3");
    scene.journal.pull(&scene.standby, 150_000);
    assert!(scene.journal.histories.is_empty());
    (scene, instant)
}

#[test]
fn a_base_of_a_later_line_brings_its_own_history() {
    let (scene, instant) = only_the_new_line();
    let earlier = scene.base.again();
    for (base, to, rows) in
        [(&scene.base, RecoverTo::Newest, 500), (&earlier, RecoverTo::Time(instant), 300)]
    {
        let recovered = base.recover(Some(&scene.journal), &to).unwrap();
        all_pass(&recovered.checks);
        assert_eq!(recovered.position.as_ref().unwrap().position.line, 2);
        let expected = format!("1:20000\n2:20000\n3:{rows}");
        assert_eq!(base.started().psql(BY_LINE), expected, "{to:?}");
    }
}

#[test]
fn a_base_without_its_lines_history_takes_the_journals_or_is_refused() {
    let (mut scene, _) = only_the_new_line();
    let own = scene.base.data().join("pg_wal/00000002.history");
    let history = fs::read(&own).unwrap();
    fs::remove_file(own).unwrap();
    let refused = scene.base.again();
    let error = refused.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap_err();
    let said = words(&error);
    assert!(said.contains("00000002.history") && said.contains("base"), "{said}");
    refused.assert_does_not_start();
    scene.journal.histories.push((2, history.into()));
    scene.base.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap();
    assert_eq!(scene.base.started().psql(BY_LINE), "1:20000\n2:20000\n3:500");
}

#[test]
fn a_line_that_another_server_calls_the_same_does_not_lead_on_from_the_base() {
    let (mut scene, _) = only_the_new_line();
    let elsewhere = shown(scene.parted + 8);
    scene.journal.histories.push((2, format!("1\t{elsewhere}\tno recovery target\n").into()));
    let error = scene.base.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error), "{}", words(&error));
    assert!(words(&error).contains(&elsewhere), "{}", words(&error));
    scene.base.assert_does_not_start();
}
