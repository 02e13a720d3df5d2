//! Restores along a journal: to the newest point, to instants, places and names; and refusals.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::World;
use lifeboat_recovery::flows::{
    At, Destination, DrillRequest, RestoreRequest, drill, plan_restore, restore,
};
use lifeboat_recovery::report::RestoreReport;

use crate::bench::{Bench, tree};
use crate::fake_log::Happens;
use crate::stream::{once, served};

pub fn request(b: &Bench, at: At, to: &str) -> RestoreRequest {
    RestoreRequest {
        components: vec!["shop".to_owned()],
        all: false,
        at,
        base: None,
        verified_only: false,
        prepare_only: false,
        to: Destination::Folder(b.folder.path().join(to)),
        path: None,
        keep_failed: false,
    }
}

fn files_of(b: &Bench, to: &str) -> BTreeMap<String, String> {
    tree(&b.folder.path().join(to))
        .into_iter()
        .map(|(name, body)| (name, String::from_utf8(body).unwrap()))
        .collect()
}

pub fn body(b: &Bench, to: &str, name: &str) -> String {
    files_of(b, to).remove(name).unwrap_or_else(|| panic!("no {name} in {to}"))
}

pub fn restored(b: &Bench, world: &World, at: At, to: &str) -> RestoreReport {
    let report = restore(world, &request(b, at, to)).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    report
}

/// A base, then three changes a minute apart, each streamed; the instants right after them.
fn three_changes(b: &Bench, world: &World) -> Vec<Timestamp> {
    once(world);
    let mut instants = Vec::new();
    for number in 1..=3 {
        b.pass(60);
        b.write("shop", "a", &format!("change {number}"));
        let report = once(world);
        instants.push(report.components[0].complete_up_to.unwrap());
    }
    instants
}

#[test]
fn without_a_point_the_newest_is_restored() {
    let (b, tier) = served();
    let world = b.world(&tier);
    three_changes(&b, &world);
    b.pass(5);
    let report = restored(&b, &world, At::Newest, "new");
    assert_eq!(body(&b, "new", "a"), "change 3");
    assert_eq!(body(&b, "new", "b"), "1", "what was not changed is from the base");
    let shop = &report.components[0];
    let way = shop.way.as_ref().unwrap();
    assert!(way.pieces >= 3 && way.reached.is_some(), "{way:#?}");
    assert!(shop.rpo_seconds.unwrap() < 60.0, "{shop:#?}");
    assert!(b.live().settled > 0, "the copy was left in good order before it was delivered");
    assert!(!b.folder.path().join("new/scratch").exists());
}

#[test]
fn every_instant_of_the_window_has_its_own_state() {
    let (b, tier) = served();
    let world = b.world(&tier);
    let instants = three_changes(&b, &world);
    b.pass(60);
    for (at, instant) in instants.iter().enumerate() {
        let to = format!("at{at}");
        restored(&b, &world, At::Time(*instant), &to);
        assert_eq!(body(&b, &to, "a"), format!("change {}", at + 1));
    }
}

#[test]
fn an_instant_beyond_the_journal_is_refused_exit_4() {
    let (b, tier) = served();
    let world = b.world(&tier);
    three_changes(&b, &world);
    b.pass(3600);
    let wanted = b.clock_now() - SignedDuration::from_secs(60);
    let error = restore(&world, &request(&b, At::Time(wanted), "never")).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused, "{error}");
    assert!(error.hint().unwrap().contains("newest point"), "{:?}", error.hint());
    assert!(!b.folder.path().join("never").exists());
}

#[test]
fn an_instant_before_the_first_base_is_not_found_exit_6() {
    let (b, tier) = served();
    let world = b.world(&tier);
    let before = b.clock_now() - SignedDuration::from_secs(60);
    three_changes(&b, &world);
    let error = restore(&world, &request(&b, At::Time(before), "never")).unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound, "{error}");
}

#[test]
fn a_restore_across_a_gap_is_refused_and_says_what_can_be_had_exit_4() {
    let (b, tier) = served();
    let world = b.world(&tier);
    let instants = three_changes(&b, &world);
    b.pass(60);
    // No base after it: what follows cannot be had.
    b.live().missing.push("shop".to_owned());
    b.live().servers.get_mut("shop").unwrap().happens = vec![Happens::Gap("lost".to_owned())];
    once(&world);
    b.pass(60);
    b.write("shop", "a", "after the gap");
    let after = once(&world).components[0].complete_up_to.unwrap();
    b.pass(60);
    let error = restore(&world, &request(&b, At::Time(after), "never")).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused, "{error}");
    assert!(error.to_string().contains("broken between the base and"), "{error}");
    assert!(error.hint().unwrap().contains("nearest point"), "{:?}", error.hint());
    // The newest that can be had lies before the gap, and that is said.
    let report = restored(&b, &world, At::Newest, "new");
    assert_eq!(body(&b, "new", "a"), "change 3");
    assert!(report.warnings.iter().any(|w| w.contains("gap")), "{:?}", report.warnings);
    restored(&b, &world, At::Time(instants[1]), "old");
    assert_eq!(body(&b, "old", "a"), "change 2");
    // With a base after it what follows is whole again.
    b.live().missing.clear();
    once(&world);
    b.write("shop", "a", "after the base");
    b.pass(60);
    once(&world);
    restored(&b, &world, At::Newest, "newer");
    assert_eq!(body(&b, "newer", "a"), "after the base");
}

#[test]
fn places_and_names_lead_to_their_states() {
    let (b, tier) = served();
    let world = b.world(&tier);
    three_changes(&b, &world);
    let end = b.live().servers["shop"].end;
    b.pass(60);
    restored(&b, &world, At::Position(Some(1), end - 10), "place");
    assert_eq!(body(&b, "place", "a"), "change 2");
    restored(&b, &world, At::Position(None, end - 20), "lsn");
    assert_eq!(body(&b, "lsn", "a"), "change 1");
    restored(&b, &world, At::Name("change 2".to_owned()), "name");
    assert_eq!(body(&b, "name", "a"), "change 2");
    let report = restore(&world, &request(&b, At::Name("no such".to_owned()), "never")).unwrap();
    assert_eq!(report.verdict, Verdict::Fail, "never another point instead");
    assert!(!b.folder.path().join("never").exists());
    let beyond = request(&b, At::Position(Some(1), end + 1000), "never");
    assert_eq!(restore(&world, &beyond).unwrap_err().exit(), Exit::Refused);
}

#[test]
fn a_dry_run_shows_base_and_way_and_writes_nothing() {
    let (b, tier) = served();
    let world = b.world(&tier);
    let instants = three_changes(&b, &world);
    b.pass(60);
    let planned = plan_restore(&world, &request(&b, At::Time(instants[0]), "dry")).unwrap();
    let shop = &planned.components[0];
    let way = shop.way.as_ref().unwrap();
    assert_eq!(way.lineage, "5fe1");
    assert!(way.target.is_some() && way.pieces >= 1 && way.bytes > 0, "{way:#?}");
    assert!(shop.steps.iter().any(|step| step.contains("replay the journal")), "{:?}", shop.steps);
    assert!(!b.folder.path().join("dry").exists());
}

#[test]
fn only_what_was_proven_is_restored_when_that_is_asked_for() {
    let (b, tier) = served();
    let world = b.world(&tier);
    three_changes(&b, &world);
    b.pass(5);
    restored(&b, &world, At::Newest, "first");
    b.write("shop", "a", "unproven");
    once(&world);
    b.pass(5);
    let mut wanted = request(&b, At::Newest, "proven");
    wanted.verified_only = true;
    let report = restore(&world, &wanted).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!(body(&b, "proven", "a"), "change 3", "a restore had gone so far");
    restored(&b, &world, At::Newest, "newest");
    assert_eq!(body(&b, "newest", "a"), "unproven");
}

#[test]
fn a_drill_rehearses_the_newest_and_older_points_by_a_seed() {
    let (b, tier) = served();
    let world = b.world(&tier);
    three_changes(&b, &world);
    b.pass(5);
    let asked = DrillRequest { seed: Some(7), ..DrillRequest::default() };
    let report = drill(&world, &asked).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    let shop = &report.components[0];
    assert!(shop.way.is_some(), "{shop:#?}");
    assert_eq!((shop.points.len(), report.seed), (1, Some(7)), "{shop:#?}");
    let point = &shop.points[0];
    assert_eq!(point.verdict, Verdict::Pass, "{point:#?}");
    assert!(point.at < b.clock_now() && point.way.is_some());
    let again = drill(&world, &asked).unwrap();
    assert_eq!(again.components[0].points[0].at, point.at, "the same seed, the same point");
    let evidence = report.evidence.unwrap();
    let text = std::fs::read_to_string(&evidence.path).unwrap();
    assert!(text.contains("seed 7") && text.contains(&point.at.to_string()), "{text}");
}

#[test]
fn a_log_that_goes_on_on_another_line_is_followed() {
    let (b, tier) = served();
    let world = b.world(&tier);
    three_changes(&b, &world);
    b.live().servers.get_mut("shop").unwrap().happens = vec![Happens::Branch];
    let report = once(&world);
    assert_eq!(report.components[0].branches, 1, "{report:#?}");
    b.write("shop", "a", "on the second line");
    once(&world);
    b.pass(1);
    let report = restored(&b, &world, At::Newest, "new");
    assert_eq!(body(&b, "new", "a"), "on the second line");
    let way = report.components[0].way.as_ref().unwrap();
    assert_eq!(way.reached.as_ref().unwrap().position.line, 2, "{way:#?}");
}
