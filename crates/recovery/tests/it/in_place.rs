//! In place: the safe order, the old state kept, and the way back from every step (X-18, EDO-24).

use std::fs;
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    At, BackupRequest, Destination, RestoreRequest, backup, restore, status,
};
use lifeboat_recovery::report::RestoreReport;
use lifeboat_testkit::MemoryStore;

use crate::bench::{Bench, bench, files, tree};

/// A live service with a stop, a start and a probe command, backed up and then damaged.
fn service() -> (Bench, Arc<MemoryStore>) {
    let mut b = bench();
    b.plan = b.plan.replace(
        "[component.orders]",
        "[component.orders]\nstop = \"stop-it\"\nstart = \"start-it\"\nprobe = \"ask-it\"",
    );
    let tier = b.tier();
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let live = b.app().join("orders");
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("rows"), b"damaged").unwrap();
    b.live().log.clear();
    b.live().writers.push("shop (4711)".into());
    (b, tier)
}

fn request() -> RestoreRequest {
    RestoreRequest {
        components: vec!["orders".into()],
        all: false,
        at: At::Newest,
        verified_only: false,
        base: None,
        prepare_only: false,
        to: Destination::InPlace,
        path: None,
        keep_failed: false,
    }
}

fn run(b: &Bench, tier: &Arc<MemoryStore>) -> RestoreReport {
    restore(&b.world(tier), &request()).unwrap()
}

/// The former state is there, untouched, and nothing else is.
fn untouched(b: &Bench) {
    let live = tree(&b.app().join("orders"));
    assert_eq!(live, files(&[("rows", "damaged")]));
    let names: Vec<_> = fs::read_dir(b.app())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != ".lifeboat")
        .collect();
    assert_eq!(names, ["orders"], "nothing is left beside it");
}

#[test]
fn the_safe_order_and_the_old_state_kept() {
    let (b, tier) = service();
    let report = run(&b, &tier);
    assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Done), "{report:#?}");
    assert_eq!(b.log(), ["stop-it", "swap", "start-it", "ask-it", "released"]);
    assert_eq!(tree(&b.app().join("orders")), b.live().data["orders"]);
    let kept = &report.components[0].kept;
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(format!("{}/rows", kept[0])).unwrap(), b"damaged");
    assert!(report.in_place);
}

#[test]
fn writers_without_a_stop_command_are_a_refusal_exit_4() {
    let (mut b, tier) = service();
    b.plan = b.plan.replace("stop = \"stop-it\"\n", "");
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Refused, "{report:#?}");
    let error = report.components[0].error.as_ref().unwrap();
    assert_eq!(error.message, "orders is in use by shop (4711)");
    assert!(error.hint.as_ref().unwrap().contains("stop"));
    assert_eq!(b.log(), ["released"], "nothing was done");
    untouched(&b);
}

#[test]
fn a_stop_command_that_does_not_stop_them_is_found_out() {
    let (mut b, tier) = service();
    b.plan = b.plan.replace("stop-it", "pretend");
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Refused);
    assert_eq!(b.log(), ["pretend", "released", "start-it"], "started again, nothing swapped");
    untouched(&b);
}

#[test]
fn a_copy_that_fails_is_not_swapped_in_and_the_service_starts_again() {
    let (b, tier) = service();
    b.live().spoil = Some("orders".into());
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Unverified);
    assert_eq!(b.log(), ["stop-it", "released", "start-it"], "no lock is held at the start");
    untouched(&b);
}

#[test]
fn a_failed_swap_start_or_probe_leads_back() {
    type Break = fn(&Bench);
    let cases: [(&str, Break, &[&str]); 3] = [
        ("swap", |b| b.live().swap_fails = true, &["stop-it", "swap", "released", "start-it"]),
        (
            "probe",
            |b| b.live().commands.extend([("ask-it".to_owned(), 1)]),
            &["stop-it", "swap", "start-it", "ask-it", "stop-it", "undo", "released", "start-it"],
        ),
        (
            "start",
            |b| b.live().commands.extend([("start-it".to_owned(), 7)]),
            // What failed to start may be half up.
            &["stop-it", "swap", "start-it", "stop-it", "undo", "released", "start-it"],
        ),
    ];
    for (name, break_it, log) in cases {
        let (b, tier) = service();
        break_it(&b);
        let report = run(&b, &tier);
        assert_eq!(report.exit(), Exit::Failed, "{name}: {report:#?}");
        assert_eq!(b.log(), log, "{name}");
        assert_eq!(report.components[0].target, None);
        untouched(&b);
        if name != "swap" {
            assert!(report.warnings.iter().any(|w| w.contains("the former state is back")));
        }
    }
}

#[test]
fn a_failing_stop_command_changes_nothing() {
    let (b, tier) = service();
    b.live().commands.insert("stop-it".into(), 3);
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Failed);
    let message = &report.components[0].error.as_ref().unwrap().message;
    assert!(message.contains("the stop command of orders") && message.contains("status 3"));
    assert!(!message.contains("stop-it said so"), "errors are kept for years: {message}");
    untouched(&b);
}

#[test]
fn a_part_cannot_be_restored_in_place() {
    let (b, tier) = service();
    let request = RestoreRequest { path: Some("rows".into()), ..request() };
    assert_eq!(restore(&b.world(&tier), &request).unwrap_err().exit(), Exit::Usage);
    untouched(&b);
}

/// `orders` names files of `media`; `settings` stands by itself. All live data is damaged.
fn three() -> (Bench, Arc<MemoryStore>) {
    let mut b = bench();
    b.plan = b.plan.replace(
        "checks = [{",
        "stop = \"stop-it\"\nstart = \"start-it\"\n\
         checks = [{ name = \"each row has its file\", query = \"rows\", exists_in = \"media\" }, {",
    ) + "[component.settings]\norder = 3\nfiles = { paths = [\"settings\"] }\n";
    b.set("settings", "app.toml", "a = 1");
    let tier = b.tier();
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    for name in ["orders", "media", "settings"] {
        fs::create_dir_all(b.app().join(name)).unwrap();
        fs::write(b.app().join(name).join("live"), b"damaged").unwrap();
    }
    b.live().log.clear();
    (b, tier)
}

/// The same, where `media` belongs to the same service and its probe fails.
fn one_service() -> (Bench, Arc<MemoryStore>) {
    let (mut b, tier) = three();
    b.plan = b.plan.replace(
        "[component.media]\n",
        "[component.media]\nstop = \"stop-it\"\nstart = \"start-it\"\nprobe = \"ask-it\"\n",
    );
    b.live().commands.insert("ask-it".into(), 1);
    b.live().writers.push("shop (4711)".into());
    (b, tier)
}

fn every(b: &Bench, tier: &Arc<MemoryStore>) -> RestoreReport {
    let request = RestoreRequest { components: Vec::new(), all: true, ..request() };
    restore(&b.world(tier), &request).unwrap()
}

fn replaced(b: &Bench, name: &str) -> bool {
    !b.app().join(name).join("live").exists()
}

#[test]
fn all_in_place_asks_what_concerns_two_before_any_is_swapped() {
    let (b, tier) = three();
    let report = every(&b, &tier);
    assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Done), "{report:#?}");
    assert_eq!((report.together.len(), report.together[0].verdict), (1, Verdict::Pass));
    assert!(["orders", "media", "settings"].iter().all(|name| replaced(&b, name)));
    let log = b.log();
    assert_eq!(log[..4], ["stop-it", "swap", "swap", "start-it"], "no writer meets half of it");
    let order: Vec<_> = report.components.iter().map(|c| c.component.as_str()).collect();
    assert_eq!(order, ["orders", "media", "settings"], "in recovery order");

    // A row whose file is in no backup: neither of the two goes into place, the third does.
    let (b, tier) = three();
    b.live().data.get_mut("media").unwrap().remove("b.jpg");
    let only = BackupRequest { components: vec!["media".into()], ..BackupRequest::default() };
    backup(&b.world(&tier), &only).unwrap();
    b.live().log.clear();
    let report = every(&b, &tier);
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified), "{report:#?}");
    assert!(report.together[0].found.contains("b.jpg"));
    let verdicts: Vec<_> = report.components.iter().map(|c| c.verdict).collect();
    assert_eq!(verdicts, [Verdict::Fail, Verdict::Skipped, Verdict::Pass]);
    assert!(!replaced(&b, "orders") && !replaced(&b, "media") && replaced(&b, "settings"));
    let held = report.components[1].error.as_ref().unwrap();
    assert!(held.message.contains("orders") && held.hint.as_ref().unwrap().contains("media"));
    assert_eq!(b.log().iter().filter(|line| *line == "swap").count(), 1, "{:?}", b.log());
    assert!(b.log().contains(&"start-it".to_owned()), "the writers run again");
}

#[test]
fn a_component_that_fails_holds_back_only_what_is_judged_with_it() {
    // Whichever of the two fails, the other is held back; the third goes on.
    for (bad, held) in [("orders", "media"), ("media", "orders")] {
        let (b, tier) = three();
        b.live().spoil = Some(bad.into());
        let report = every(&b, &tier);
        assert_eq!(report.exit(), Exit::Unverified, "{bad}: {report:#?}");
        assert!(!replaced(&b, "orders") && !replaced(&b, "media") && replaced(&b, "settings"));
        let of = |name: &str| report.components.iter().find(|c| c.component == name).unwrap();
        assert_eq!((of(bad).verdict, of(held).verdict), (Verdict::Fail, Verdict::Skipped));
        assert_eq!((of("settings").verdict, of(held).target.as_ref()), (Verdict::Pass, None));
        assert!(report.together.is_empty(), "not asked: {:?}", report.together);
        assert_eq!(report.rto_seconds, None);
    }
    // Nothing binds them: the others come back.
    let (mut b, tier) = three();
    b.plan = b.plan.replace("exists_in = \"media\"", "min = 1");
    b.live().spoil = Some("orders".into());
    every(&b, &tier);
    assert!(!replaced(&b, "orders") && replaced(&b, "media") && replaced(&b, "settings"));
}

#[test]
fn what_is_judged_together_goes_back_together() {
    let (b, tier) = three();
    b.live().commands.insert("start-it".into(), 7);
    let report = every(&b, &tier);
    assert_eq!(report.exit(), Exit::Failed, "{report:#?}");
    assert!(!replaced(&b, "orders") && !replaced(&b, "media") && replaced(&b, "settings"));
    assert_eq!(b.log().iter().filter(|line| *line == "undo").count(), 2, "{:?}", b.log());
    assert!(report.components[..2].iter().all(|c| c.target.is_none() && c.kept.is_empty()));
}

#[test]
fn a_failing_probe_takes_a_service_back_under_one_stop() {
    let (b, tier) = one_service();
    let report = every(&b, &tier);
    assert_eq!(report.exit(), Exit::Failed, "{report:#?}");
    assert!(!replaced(&b, "orders") && !replaced(&b, "media") && replaced(&b, "settings"));
    let log = b.log();
    let back = ["stop-it", "swap", "swap", "start-it", "ask-it"];
    assert_eq!(log[..5], back);
    assert_eq!(
        log[5..],
        ["stop-it", "undo", "undo", "released", "released", "start-it", "swap", "released"]
    );
    assert_eq!(b.live().writers, ["shop (4711)"]);
    assert!(records(&b).is_empty());
}

#[test]
fn components_of_one_service_are_swapped_under_one_stop_without_a_check_that_binds_them() {
    let (mut b, tier) = one_service();
    b.plan =
        b.plan.replace("query = \"rows\", exists_in = \"media\"", "query = \"count\", min = 1");
    let report = every(&b, &tier);
    assert_eq!(report.exit(), Exit::Failed, "{report:#?}");
    assert!(!replaced(&b, "orders") && !replaced(&b, "media") && replaced(&b, "settings"));
    // A copy that is not sound holds nothing else back: nothing judges them together.
    let (mut b, tier) = one_service();
    b.plan =
        b.plan.replace("query = \"rows\", exists_in = \"media\"", "query = \"count\", min = 1");
    b.live().commands.clear();
    b.live().spoil = Some("orders".into());
    let report = every(&b, &tier);
    assert_eq!(report.exit(), Exit::Unverified, "{report:#?}");
    assert!(!replaced(&b, "orders") && replaced(&b, "media"));
    assert_eq!(b.log().iter().filter(|it| *it == "start-it").count(), 1, "{:?}", b.log());
    assert_eq!(b.live().writers, ["shop (4711)"]);
}

/// What is written down of restores in place that did not come to an end.
fn records(b: &Bench) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(b.state().join("in-place")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect()
}

#[test]
fn an_undo_that_fails_is_reported_as_it_is_and_the_next_backup_settles_it() {
    for (stuck, other) in [("orders", "media"), ("media", "orders")] {
        let (b, tier) = one_service();
        b.live().undo_fails.push(stuck.into());
        let report = every(&b, &tier);
        assert_eq!(report.exit(), Exit::Failed, "{report:#?}");
        assert!(replaced(&b, stuck) && !replaced(&b, other), "the other one went back");
        let of = |name: &str| report.components.iter().find(|c| c.component == name).unwrap();
        assert_eq!((of(stuck).verdict, of(stuck).kept.len()), (Verdict::Fail, 1), "{report:#?}");
        assert_eq!((of(stuck).target.is_some(), of(other).target.is_none()), (true, true));
        let error = of(stuck).error.as_ref().unwrap();
        assert!(
            error.message.contains("restored copy") && error.line().contains("the undo failed")
        );
        assert!(b.live().writers.is_empty(), "nothing is started on the mix");
        assert!(report.warnings.iter().any(|w| w.contains("start-it")), "{report:#?}");
        // Nothing is saved of the mix while it cannot be mended, and what is not of it is saved.
        let saved = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
        assert_eq!(saved.exit(), Exit::Failed, "{saved:#?}");
        let snapshots = saved.components.iter().filter(|c| c.snapshot.is_some()).count();
        assert_eq!(snapshots, 1, "{saved:#?}");
        let state = status(&b.world(&tier)).unwrap();
        assert!(
            state.findings.iter().any(|it| it.contains(&format!("{stuck} is the restored copy")))
        );
        // With one it is.
        b.live().undo_fails.clear();
        let saved = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
        assert_eq!(saved.exit(), Exit::Done, "{saved:#?}");
        assert!(!replaced(&b, stuck) && !replaced(&b, other) && records(&b).is_empty());
        assert_eq!(b.live().writers, ["shop (4711)"], "and the application runs");
    }
}

#[test]
fn writers_that_do_not_stop_again_leave_the_whole_restored_state() {
    let (b, tier) = one_service();
    b.live().commands.insert("ask-it".into(), 1);
    b.live().never_stops_again = true;
    let report = every(&b, &tier);
    assert_eq!(report.exit(), Exit::Failed, "{report:#?}");
    assert!(replaced(&b, "orders") && replaced(&b, "media"), "no mix");
    for entry in &report.components[..2] {
        assert_eq!((entry.verdict, entry.kept.len()), (Verdict::Fail, 1), "{report:#?}");
        assert!(entry.target.is_some());
    }
    assert!(!b.log().contains(&"undo".to_owned()));
    assert!(records(&b).is_empty(), "it is of one time and said: nothing is settled later");
}

/// Runs a restore that dies after so many touches of the live world; false if it came to its end.
fn dies(b: &Bench, tier: &Arc<MemoryStore>, after: usize) -> bool {
    b.live().dies_after = Some(after);
    let world = b.world(tier);
    let request = RestoreRequest { components: Vec::new(), all: true, ..request() };
    let run = std::panic::AssertUnwindSafe(|| restore(&world, &request));
    let died = std::panic::catch_unwind(run).is_err();
    b.live().dies_after = None;
    died
}

#[test]
fn killed_at_any_step_the_next_backup_finds_all_of_a_group_on_one_side() {
    for probe in [0, 1] {
        let mut touches = 0;
        loop {
            let (b, tier) = one_service();
            b.live().commands.insert("ask-it".into(), probe);
            if !dies(&b, &tier, touches) {
                break;
            }
            let case = format!("probe {probe}, killed after {touches}: {:?}", b.log());
            let left = status(&b.world(&tier)).unwrap();
            // `settings` comes last and by itself: the other two are done by then.
            let whole =
                records(&b).is_empty() || left.findings.iter().any(|it| it.contains("was cut off"));
            assert!(whole, "{case}: {left:#?}");
            let saved = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
            assert_eq!(saved.exit(), Exit::Done, "{case}: {saved:#?}");
            assert_eq!(replaced(&b, "orders"), replaced(&b, "media"), "{case}");
            assert_eq!(b.live().writers, ["shop (4711)"], "{case}: not started again");
            assert!(records(&b).is_empty(), "{case}");
            touches += 1;
        }
        assert!(touches > 5, "{touches}");
    }
}

#[test]
fn a_stop_request_ends_it_and_names_what_was_not_tried_exit_5() {
    let (b, tier) = three();
    b.live().cancel_at = Some("orders".into());
    let report = every(&b, &tier);
    assert_eq!(report.exit(), Exit::Interrupted, "{report:#?}");
    assert!(report.warnings.iter().any(|w| w == "settings was not tried"), "{report:#?}");
    assert!(["orders", "media", "settings"].iter().all(|name| !replaced(&b, name)));
}
