//! A recovered copy takes the place of the live data directory, and gives it back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use lifeboat_adapters::postgres::PostgresInPlace;
use lifeboat_model::manifest::Content;
use lifeboat_recovery::ports::{Engine, InPlace, RecoverTo, WriterProof};
use lifeboat_testkit::postgres::{Server, Version};
use lifeboat_vault::NoMonitor;

use super::kit::*;

#[test]
fn a_copy_takes_the_place_of_a_stopped_server_and_gives_it_back() {
    let mut server = Server::start(Version::V15, SETTINGS);
    let place = server.make_folder("fast");
    server.psql(&format!("create tablespace fast location '{}'", place.display()));
    server.psql("create table t (id int) tablespace fast");
    let mut base = Base::of(Version::V15, &server);
    let mut journal = base.journal(&server);
    server.psql("insert into t values (1)");
    journal.pull(&server, 5000);
    server.psql("insert into t values (2)");
    let engine = engine();
    base.recover_by(&engine, Some(&journal), &RecoverTo::Newest).unwrap();
    engine.settle(&base.copy).unwrap();
    let Content::Postgres(content) = &mut base.manifest.content else { unreachable!() };
    content.data_directory = Some(server.data().display().to_string());
    let swapper = PostgresInPlace::new(content, Arc::new(NoMonitor)).unwrap();
    // While it runs nothing is touched.
    let running = swapper.writers().unwrap();
    assert!(matches!(&running, WriterProof::Running(who) if who[0].contains("postgres")));
    let error = swapper.swap(&base.copy, &base.manifest, "now").unwrap_err();
    assert!(is_refused(&error), "{}", words(&error));
    assert_eq!(server.psql("select count(*) from t"), "2");
    let owner = fs::metadata(server.data()).unwrap();
    server.stop();
    assert_eq!(swapper.writers().unwrap(), WriterProof::Stopped);
    let kept = swapper.swap(&base.copy, &base.manifest, "now").unwrap();
    assert_eq!(kept.len(), 2, "data directory and tablespace");
    let now = fs::metadata(server.data()).unwrap();
    assert_eq!((now.uid(), now.mode()), (owner.uid(), owner.mode()));
    server.start_again();
    assert_eq!(server.psql("select count(*) from t"), "1");
    server.psql("insert into t values (3)");
    assert!(swapper.undo(&kept).is_err(), "a server runs");
    server.stop();
    swapper.undo(&kept).unwrap();
    server.start_again();
    assert_eq!(server.psql("select string_agg(id::text, ',' order by id) from t"), "1,2");
}
