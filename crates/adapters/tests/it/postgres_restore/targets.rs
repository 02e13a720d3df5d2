//! Every kind of target, and the targets that cannot be had.

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::RecoverTo;
use lifeboat_testkit::postgres::{Server, Version};

use super::kit::*;

/// A server with rows before and after its base, a row a transaction.
struct Scene {
    server: Server,
    base: Base,
    journal: Journal,
}

impl Scene {
    fn make() -> Scene {
        let server = Server::start(Version::V15, SETTINGS);
        server.psql("create table t (id int primary key)");
        server.psql("insert into t values (0)");
        let base = Base::of(Version::V15, &server);
        let journal = base.journal(&server);
        Scene { server, base, journal }
    }

    fn insert(&mut self, id: u32) -> u64 {
        self.server.psql(&format!("insert into t values ({id})"));
        self.journal.pull(&self.server, 4000)
    }

    fn committed(&self, id: u32) -> Timestamp {
        let sql = format!(
            "select (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint from t where id = {id}"
        );
        Timestamp::from_microsecond(self.server.psql(&sql).parse().unwrap()).unwrap()
    }

    fn rows(&self) -> String {
        self.base.started().psql("select string_agg(id::text, ',' order by id) from t")
    }
}

#[test]
fn newest_is_the_last_whole_record_of_the_journal() {
    let mut scene = Scene::make();
    let end = (1..=20).map(|id| scene.insert(id)).last().unwrap();
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap();
    all_pass(&recovered.checks);
    assert_eq!(shown(reached(&recovered)), shown(end));
    assert_eq!(recovered.complete_up_to, Some(scene.journal.newest()));
    assert_eq!(recovered.position.as_ref().unwrap().position.line, 1);
    let rows: Vec<String> = (0..=20).map(|id: u32| id.to_string()).collect();
    assert_eq!(scene.rows(), rows.join(","));
}

#[test]
fn a_time_takes_what_was_committed_at_it_and_nothing_later() {
    let mut scene = Scene::make();
    for id in 1..=5 {
        scene.insert(id);
    }
    let (at, later) = (scene.committed(3), scene.committed(4));
    assert!(at < later);
    // The zone is a matter of how it is written: an instant is one everywhere.
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Time(at)).unwrap();
    all_pass(&recovered.checks);
    assert_eq!(recovered.complete_up_to, Some(at));
    assert_eq!(scene.rows(), "0,1,2,3");
}

#[test]
fn just_before_a_commit_is_without_it() {
    let mut scene = Scene::make();
    for id in 1..=5 {
        scene.insert(id);
    }
    let before = scene.committed(3) - SignedDuration::from_micros(1);
    scene.base.recover(Some(&scene.journal), &RecoverTo::Time(before)).unwrap();
    assert_eq!(scene.rows(), "0,1,2");
}

#[test]
fn a_quiet_database_is_brought_to_a_time_after_its_last_commit() {
    let mut scene = Scene::make();
    scene.insert(1);
    // Log, but no commit.
    scene.server.psql("checkpoint");
    scene.journal.pull(&scene.server, 4000);
    pause(30);
    let asked = now();
    pause(10);
    // Without a sign of life the journal says nothing of that instant.
    let refused = scene.base.recover(Some(&scene.journal), &RecoverTo::Time(asked)).unwrap_err();
    assert!(is_refused(&refused) && words(&refused).contains("beyond"), "{}", words(&refused));
    let mut scene = Scene::make();
    scene.insert(1);
    pause(30);
    let asked = now();
    scene.journal.keepalive(now());
    assert!(scene.committed(1) < asked, "something was committed later");
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Time(asked)).unwrap();
    assert!(recovered.notes.iter().any(|note| note.contains("nothing was committed after")));
    assert_eq!(recovered.complete_up_to, Some(asked));
    assert_eq!(scene.rows(), "0,1");
}

#[test]
fn a_server_whose_clock_is_ahead_is_stopped_by_its_own_clock() {
    let mut scene = Scene::make();
    scene.insert(1);
    scene.insert(2);
    // All was received, by our clock, an hour before the server says it was committed.
    for piece in &mut scene.journal.pieces {
        piece.time -= SignedDuration::from_hours(1);
    }
    scene.base.manifest.finished -= SignedDuration::from_hours(1);
    scene.base.manifest.started -= SignedDuration::from_hours(1);
    let at = scene.committed(1);
    assert!(scene.journal.newest() < at, "the clocks agree");
    scene.base.recover(Some(&scene.journal), &RecoverTo::Time(at)).unwrap();
    assert_eq!(scene.rows(), "0,1");
}

#[test]
fn a_position_is_reached_exactly() {
    let mut scene = Scene::make();
    let ends: Vec<u64> = (1..=5).map(|id| scene.insert(id)).collect();
    let at = Position::new(1, ends[2]);
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Position(at)).unwrap();
    assert_eq!(shown(reached(&recovered)), shown(ends[2]));
    assert!(recovered.complete_up_to.unwrap() < scene.journal.newest());
    assert_eq!(scene.rows(), "0,1,2,3");
}

#[test]
fn a_restore_point_is_found_by_its_name() {
    let mut scene = Scene::make();
    scene.insert(1);
    let point = ask_lsn(&scene.server, "select pg_create_restore_point('before deploy')");
    scene.insert(2);
    let name = RecoverTo::Name("before deploy".to_owned());
    let recovered = scene.base.recover(Some(&scene.journal), &name).unwrap();
    assert_eq!(shown(reached(&recovered)), shown(point));
    assert_eq!(scene.rows(), "0,1");
}

#[test]
fn a_name_that_nobody_gave_is_not_reached() {
    let mut scene = Scene::make();
    scene.insert(1);
    let name = RecoverTo::Name("never".to_owned());
    let error = scene.base.recover(Some(&scene.journal), &name).unwrap_err();
    assert!(words(&error).contains("before configured recovery target"), "{}", words(&error));
    scene.base.assert_does_not_start();
}

#[test]
fn a_transaction_is_the_last_one() {
    let mut scene = Scene::make();
    scene.insert(1);
    scene.insert(2);
    let id = scene.server.psql("select xmin from t where id = 1").parse().unwrap();
    scene.base.recover(Some(&scene.journal), &RecoverTo::Transaction(id)).unwrap();
    assert_eq!(scene.rows(), "0,1");
}

#[test]
fn the_base_alone_is_consistent() {
    let mut scene = Scene::make();
    scene.insert(1);
    let recovered = scene.base.recover(Some(&scene.journal), &RecoverTo::Base).unwrap();
    assert!(reached(&recovered) >= scene.base.stop);
    assert_eq!(recovered.complete_up_to, Some(scene.base.manifest.started));
    assert_eq!(scene.rows(), "0");
    assert_eq!(scene.journal.reads.into_inner(), 0, "the journal was read");
}

#[test]
fn targets_that_cannot_be_had_are_refused() {
    let mut scene = Scene::make();
    scene.insert(1);
    let before = scene.base.manifest.started - SignedDuration::from_secs(1);
    let future = now() + SignedDuration::from_secs(60);
    let end = scene.journal.at;
    for (to, said) in [
        (RecoverTo::Time(before), "before the end of the base"),
        (RecoverTo::Time(future), "in the future"),
        (RecoverTo::Position(Position::new(1, scene.base.stop - 8)), "before the end of the base"),
        (RecoverTo::Position(Position::new(1, end + 8)), "beyond"),
        (RecoverTo::Position(Position::new(2, end)), "is not on the way"),
    ] {
        let error = scene.base.recover(Some(&scene.journal), &to).unwrap_err();
        assert!(is_refused(&error) && words(&error).contains(said), "{to:?}: {}", words(&error));
    }
    let error = scene.base.recover(None, &RecoverTo::Time(now())).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("no journal"), "{}", words(&error));
    scene.journal.lineage = format!("{:016x}", 42);
    let error = scene.base.recover(Some(&scene.journal), &RecoverTo::Newest).unwrap_err();
    assert!(is_refused(&error) && words(&error).contains("system identifier"), "{}", words(&error));
    scene.base.assert_does_not_start();
}
