//! Status: what would be lost now, and how that is known.

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    BackupRequest, DrillRequest, VerifyRequest, backup, drill, status, verify,
};
use lifeboat_recovery::report::{ComponentState, StatusReport};
use lifeboat_testkit::MemoryStore;
use std::sync::Arc;

use crate::bench::{Bench, bench, tree};

fn see(b: &Bench, tier: &Arc<MemoryStore>) -> StatusReport {
    status(&b.world(tier)).unwrap()
}

fn state(b: &Bench, tier: &Arc<MemoryStore>) -> (ComponentState, Exit) {
    let report = see(b, tier);
    (report.state, report.check_exit())
}

#[test]
fn from_nothing_to_proven() {
    let (b, tier) = (bench(), bench().tier());
    assert_eq!(state(&b, &tier), (ComponentState::Unprotected, Exit::ObjectiveMissed));
    assert!(!b.state().exists() && tier.keys("").is_empty(), "a look leaves no trace");

    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(state(&b, &tier), (ComponentState::Unproven, Exit::Done));
    verify(&b.world(&tier), &VerifyRequest::default()).unwrap();
    assert_eq!(state(&b, &tier), (ComponentState::Ok, Exit::Done));
    let report = see(&b, &tier);
    assert!(report.components[0].live_rpo_seconds.is_some_and(|live| live < 60.0));
    assert_eq!(report.components[0].rpo_rule.as_deref(), Some("the plan"));
    assert_eq!(report.next_runs[0].times.len(), 5);
    assert_eq!(report.next_runs[0].times[0].to_string(), "2026-11-22T02:00:00Z");

    b.pass(86_400 + 1);
    assert_eq!(state(&b, &tier), (ComponentState::ObjectiveMissed, Exit::ObjectiveMissed));
    assert!(see(&b, &tier).components[0].reasons[0].contains("would be lost now"));
}

#[test]
fn a_failed_drill_or_verification_shows() {
    let (b, tier) = (bench(), bench().tier());
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    b.live().spoil = Some("media".into());
    drill(&b.world(&tier), &DrillRequest::default()).unwrap();
    let report = see(&b, &tier);
    let media = &report.components[1];
    assert_eq!(media.last_drill.as_ref().unwrap().verdict, Verdict::Fail);
    assert_eq!(media.newest, None, "its only snapshot failed: nothing to restore by itself");
    assert_eq!(report.check_exit(), Exit::ObjectiveMissed);
    b.live().spoil = None;
    b.pass(5);
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let report = see(&b, &tier);
    assert_eq!(report.components[1].state, ComponentState::Failing);
    assert_eq!(report.check_exit(), Exit::Problems);
    drill(&b.world(&tier), &DrillRequest::default()).unwrap();
    assert_eq!(state(&b, &tier), (ComponentState::Ok, Exit::Done));
}

#[test]
fn a_partial_snapshot_shows() {
    let (b, tier) = (bench(), bench().tier());
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    b.live().problems.insert("media".into(), vec!["x: permission denied".into()]);
    b.pass(60);
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(state(&b, &tier), (ComponentState::Partial, Exit::Problems));
    // What it lacks would be lost: only the whole one before counts.
    let lost = |report: &StatusReport, name: &str| {
        let one = report.components.iter().find(|one| one.component == name).unwrap();
        one.live_rpo_seconds
    };
    let report = see(&b, &tier);
    assert!(lost(&report, "media").unwrap() >= 60.0, "{report:#?}");
    assert!(lost(&report, "orders").unwrap() < 60.0, "{report:#?}");
}

/// Where no snapshot is whole, nobody knows what would be lost.
#[test]
fn without_a_whole_snapshot_the_live_rpo_is_unknown_and_not_met() {
    let (b, tier) = (bench(), bench().tier());
    b.live().problems.insert("media".into(), vec!["x: permission denied".into()]);
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(state(&b, &tier), (ComponentState::ObjectiveMissed, Exit::ObjectiveMissed));
    let report = see(&b, &tier);
    let media = report.components.iter().find(|one| one.component == "media").unwrap();
    assert_eq!(media.live_rpo_seconds, None);
    assert!(media.reasons.iter().any(|why| why.contains("no snapshot is whole")), "{media:#?}");
}

#[test]
fn a_tier_that_does_not_answer_is_said_and_the_catalog_answers() {
    let (b, tier) = (bench(), bench().tier());
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    *b.mounted.lock().unwrap() = false;
    let local = tree(&b.state());
    let report = see(&b, &tier);
    assert_eq!(report.tier_error.as_ref().unwrap().code, Exit::Unreachable.code());
    assert!(report.components[0].newest.is_some());
    assert!(report.state >= ComponentState::Failing, "{:?}", report.state);
    assert_eq!(report.check_exit(), Exit::Problems);
    assert_eq!(tree(&b.state()).len(), local.len());
}

#[test]
fn a_clock_that_was_set_back_makes_the_live_rpo_unknown_and_not_met() {
    let (b, tier) = (bench(), bench().tier());
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    drill(&b.world(&tier), &DrillRequest::default()).unwrap();
    b.set_back(3600);
    let report = see(&b, &tier);
    let last = report.components[0].last_drill.as_ref().unwrap();
    assert_eq!(last.age_seconds, None, "not 0: it is not known");
    assert_eq!(report.components[0].live_rpo_seconds, None);
    assert_eq!(report.components[0].state, ComponentState::ObjectiveMissed);
}

#[test]
fn the_reports_have_stable_names() {
    let (b, tier) = (bench(), bench().tier());
    let saved = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let drilled = drill(&b.world(&tier), &DrillRequest::default()).unwrap();
    let seen = see(&b, &tier);
    let json = |value: serde_json::Value, schema: &str, keys: &[&str]| {
        assert_eq!((value["schema"].as_str(), value["version"].as_u64()), (Some(schema), Some(1)));
        for key in keys {
            assert!(value.pointer(key).is_some(), "{schema} has {key}: {value:#}");
        }
    };
    json(
        serde_json::to_value(saved).unwrap(),
        "lifeboat/backup",
        &["/run", "/components/0/snapshot", "/components/0/problems", "/warnings", "/tier/name"],
    );
    json(
        serde_json::to_value(drilled).unwrap(),
        "lifeboat/drill",
        &["/verdict", "/components/0/rto_seconds", "/components/0/rpo_seconds", "/evidence/sha256"],
    );
    json(
        serde_json::to_value(seen).unwrap(),
        "lifeboat/status",
        &["/components/0/live_rpo_seconds", "/components/0/last_drill/rto_seconds", "/interrupted"],
    );
}

/// What was interrupted is history once it ran to its end, also where that end had problems.
#[test]
fn an_interruption_is_answered_by_a_run_with_problems() {
    let (b, tier) = (bench(), bench().tier());
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    // What a killed process leaves: its entry, its record, and nobody who holds the lock.
    let world = b.world(&tier);
    let mut ledger =
        lifeboat_recovery::ledger::Ledger::open(&world, None, &mut Vec::new()).unwrap();
    drop(ledger.start("backup", "orders, media", Default::default()).unwrap());
    drop(ledger);
    assert_eq!(see(&b, &tier).interrupted.len(), 1);
    b.live().missing.push("media".into());
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(see(&b, &tier).interrupted.len(), 1, "it failed: it was not done again");
    b.live().missing.clear();
    let only = BackupRequest { components: vec!["orders".into()], ..BackupRequest::default() };
    backup(&b.world(&tier), &only).unwrap();
    assert_eq!(see(&b, &tier).interrupted.len(), 1, "half of it is not all of it");
    b.live().problems.insert("media".into(), vec!["x: permission denied".into()]);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Problems);
    assert!(see(&b, &tier).interrupted.is_empty(), "{:#?}", see(&b, &tier).interrupted);
}

/// The one thing in the state folder that no tier can give back.
#[test]
fn a_vault_key_in_the_state_folder_is_said() {
    let (mut b, tier) = (bench(), bench().tier());
    let said = |b: &Bench| see(b, &tier).findings.iter().any(|f| f.contains("vault key lies in"));
    assert!(!said(&b));
    b.plan = b.plan.replace("[tier.local]", "[key]\nvault_file = \"vault.key\"\n[tier.local]");
    assert!(!said(&b));
    b.plan = b.plan.replace("\"vault.key\"", "\".lifeboat/vault.key\"");
    assert!(said(&b));
}
