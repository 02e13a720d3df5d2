//! The catalog is an index: what the facts say, and never in the way.

use jiff::Timestamp;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::catalog::{Catalog, Listed};
use lifeboat_recovery::facts::{Fact, Level, SnapshotFact, VerifiedFact};

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn listed(id: &str, second: i64) -> Listed {
    Listed {
        id: id.into(),
        component: Some("orders".into()),
        run: Some("r".into()),
        schedule: None,
        time: time(second),
        host: "h".into(),
    }
}

fn taken(id: &str, second: i64) -> Fact {
    Fact::Snapshot(SnapshotFact {
        snapshot: id.into(),
        vault: "v".into(),
        component: "orders".into(),
        run: "r".into(),
        schedule: None,
        time: time(second),
        complete_up_to: time(second),
        read_until: Some(time(second)),
        bytes: 10,
        files: 1,
        bytes_added: 5,
        partial: false,
        copy: None,
    })
}

fn verified(id: &str, asked: Level, level: Option<Level>, verdict: Verdict) -> Fact {
    Fact::Verified(VerifiedFact { snapshot: id.into(), time: time(100), asked, level, verdict })
}

#[test]
fn a_failure_stays_until_a_look_as_deep_passes() {
    let mut catalog = Catalog::in_memory().unwrap();
    catalog.take_listing("v", &[listed("a", 1)], &[]).unwrap();
    catalog.apply("h", 1, "x", &[taken("a", 1)]).unwrap();
    let state = |c: &Catalog| {
        let row = c.snapshots().unwrap().remove(0);
        (row.level, row.failed, row.verdict)
    };
    assert_eq!(state(&catalog), (Some(Level::V1), None, None));
    let steps = [
        (verified("a", Level::V4, Some(Level::V4), Verdict::Pass), (Some(Level::V4), None)),
        (verified("a", Level::V4, Some(Level::V2), Verdict::Fail), (Some(Level::V2), Some(4))),
        (verified("a", Level::V1, Some(Level::V1), Verdict::Pass), (Some(Level::V2), Some(4))),
        (verified("a", Level::V4, None, Verdict::Inconclusive), (Some(Level::V2), Some(4))),
        (verified("a", Level::V4, Some(Level::V4), Verdict::Pass), (Some(Level::V4), None)),
    ];
    for (n, (fact, (level, failed))) in steps.into_iter().enumerate() {
        catalog.apply("h", 2 + n as u64, "x", &[fact]).unwrap();
        let (found, found_failed, _) = state(&catalog);
        assert_eq!((found, found_failed.map(|l| l as i64)), (level, failed), "step {n}");
    }
}

#[test]
fn a_snapshot_that_no_ledger_knows_is_foreign() {
    let mut catalog = Catalog::in_memory().unwrap();
    catalog.take_listing("v", &[listed("a", 1), listed("b", 2)], &[]).unwrap();
    catalog.apply("h", 1, "x", &[taken("a", 1)]).unwrap();
    let rows = catalog.snapshots().unwrap();
    let foreign: Vec<_> = rows.iter().map(|r| (r.id.as_str(), r.foreign())).collect();
    assert_eq!(foreign, [("b", true), ("a", false)], "newest first");
    assert_eq!(catalog.applied("h").unwrap(), Some((1, "x".into())));
}

#[test]
fn what_the_vault_no_longer_lists_is_not_offered() {
    let mut catalog = Catalog::in_memory().unwrap();
    catalog.take_listing("v", &[listed("a", 1), listed("b", 2)], &[]).unwrap();
    catalog.take_listing("v", &[listed("b", 2)], &[]).unwrap();
    assert_eq!(catalog.snapshots().unwrap().len(), 1);
}

#[test]
fn a_damaged_or_newer_file_is_set_aside_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (mut catalog, note) = Catalog::open(&path).unwrap();
    assert_eq!(note, None);
    catalog.take_listing("v", &[listed("a", 1)], &[]).unwrap();
    drop(catalog);
    assert_eq!(Catalog::open(&path).unwrap().0.snapshots().unwrap().len(), 1);

    std::fs::write(&path, b"this is not a database, it only looks like a file".repeat(100))
        .unwrap();
    let (catalog, note) = Catalog::open(&path).unwrap();
    assert!(note.unwrap().contains("damaged"));
    assert!(catalog.snapshots().unwrap().is_empty());
    drop(catalog);

    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("pragma user_version = 99").unwrap();
    drop(db);
    assert!(Catalog::open(&path).unwrap().1.is_some());
}

/// Only a damaged file is set aside: what is busy or may not be used stays as it is.
#[test]
fn a_catalog_that_is_busy_or_has_no_room_is_left_alone() {
    use lifeboat_model::exit::Exit;
    use std::time::Duration;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (mut catalog, _) = Catalog::open(&path).unwrap();
    catalog.take_listing("v", &[listed("a", 1)], &[]).unwrap();
    drop(catalog);
    let before = std::fs::read(&path).unwrap();

    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("begin exclusive").unwrap();
    let error = Catalog::open_within(&path, Duration::from_millis(50)).err().unwrap();
    assert_eq!(error.exit(), Exit::Locked, "{error:?}");
    assert!(error.hint().unwrap().contains("in use"), "{:?}", error.hint());
    other.execute_batch("rollback").unwrap();
    drop(other);

    // A folder where the file should be cannot be opened, and is not renamed away.
    let odd = folder.path().join("odd.db");
    std::fs::create_dir(&odd).unwrap();
    let error = Catalog::open(&odd).err().unwrap();
    assert_eq!(error.exit(), Exit::Failed, "{error:?}");
    assert!(error.hint().unwrap().contains("owner, mode and mount"), "{:?}", error.hint());
    assert!(odd.is_dir());

    assert_eq!(std::fs::read(&path).unwrap(), before);
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "nothing was set aside");
    assert_eq!(Catalog::open(&path).unwrap().0.snapshots().unwrap().len(), 1);
}
