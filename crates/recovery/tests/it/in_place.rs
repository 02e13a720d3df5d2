//! In place: the safe order, the old state kept, and the way back from every step (X-18, EDO-24).

use std::fs;
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{At, BackupRequest, Destination, RestoreRequest, backup, restore};
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
            &["stop-it", "swap", "start-it", "undo", "released", "start-it"],
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
fn a_stop_request_ends_it_and_names_what_was_not_tried_exit_5() {
    let (b, tier) = three();
    b.live().cancel_at = Some("orders".into());
    let report = every(&b, &tier);
    assert_eq!(report.exit(), Exit::Interrupted, "{report:#?}");
    assert!(report.warnings.iter().any(|w| w == "settings was not tried"), "{report:#?}");
    assert!(["orders", "media", "settings"].iter().all(|name| !replaced(&b, name)));
}
