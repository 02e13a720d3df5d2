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
