//! Drills: a green one means something, and none leaves a trace.

use std::fs;
use std::sync::Arc;

use lifeboat_model::chain::{Evidence, Signed};
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    AuditRequest, BackupRequest, DrillRequest, audit_log, audit_verify, backup, drill, drill_list,
    plan_drill, plan_restore, status,
};
use lifeboat_recovery::report::{DrillReport, FindingKind, Met};
use lifeboat_testkit::{CrashStore, MemoryStore};

use crate::bench::{Bench, bench, tree};

fn saved() -> (Bench, Arc<MemoryStore>) {
    let b = bench();
    let tier = b.tier();
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    b.pass(600);
    (b, tier)
}

fn run(b: &Bench, tier: &Arc<MemoryStore>) -> DrillReport {
    drill(&b.world(tier), &DrillRequest::default()).unwrap()
}

fn no_sandbox(b: &Bench) {
    assert!(tree(&b.state().join("sandbox")).is_empty(), "the sandbox is gone");
}

#[test]
fn a_drill_that_passes_is_measured_judged_signed_and_leaves_nothing() {
    let (b, tier) = saved();
    let keys = tier.keys("vault");
    b.live().log.clear();
    let report = run(&b, &tier);
    assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Done), "{report:#?}");
    assert!(report.sandbox_removed && report.objectives_met);
    no_sandbox(&b);
    for component in &report.components {
        let rpo = component.rpo_seconds.map(f64::floor);
        assert_eq!(rpo, Some(600.0), "T0 − the start of the capture");
        assert!(component.rto_seconds.is_some());
        assert_eq!((component.rto.met, component.rpo.met), (Met::Met, Met::Met));
        assert_eq!(component.rto.rule.as_deref(), Some("the plan"));
        assert!(!component.checks.is_empty());
    }
    assert!(b.log().is_empty(), "no source, no command: {:?}", b.log());
    assert_eq!(tier.keys("vault"), keys, "the vault was only read, no lock was taken");

    let kept = report.evidence.as_ref().unwrap();
    let signed = Signed::<Evidence>::read(&fs::read(&kept.path).unwrap()).unwrap();
    signed.verify(&[]).unwrap();
    assert_eq!(signed.hash().to_string(), kept.sha256);
    assert_eq!(signed.document.verdict, Verdict::Pass);
    assert_eq!(signed.document.recipe, report.recipe);
    assert!(tier.keys("ledger/shop-1/evidence").contains(kept.object.as_ref().unwrap()));
    let log = audit_log(&b.world(&tier), 1).unwrap();
    assert_eq!(log.entries[0].detail["evidence"]["sha256"], kept.sha256);

    // Evidence that is changed afterwards is found.
    let text = fs::read_to_string(&kept.path).unwrap().replace("\"pass\"", "\"fail\"");
    fs::write(&kept.path, text).unwrap();
    let audit = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
    assert_eq!(audit.verdict, Verdict::Fail);
    assert_eq!(audit.findings[0].kind, FindingKind::Evidence);
}

/// What is rehearsed cannot be harmed by the rehearsal.
#[test]
fn a_drill_takes_no_lock_and_writes_nothing_to_the_vault() {
    let (b, tier) = saved();
    let watched = Arc::new(CrashStore::recording(tier.image()));
    let report = drill(&b.world(&watched), &DrillRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    let writes = watched.writes();
    assert!(writes.iter().all(|write| write.starts_with("create ledger/")), "{writes:?}");
    assert_eq!(writes.len(), 3, "evidence, entries, checkpoint: {writes:?}");
}

#[test]
fn the_recipe_is_that_of_a_restore_in_anger() {
    let (b, tier) = saved();
    let rehearsed = plan_drill(&b.world(&tier), &DrillRequest::default()).unwrap();
    let request = lifeboat_recovery::flows::RestoreRequest {
        components: Vec::new(),
        all: true,
        at: Default::default(),
        verified_only: false,
        base: None,
        prepare_only: false,
        to: lifeboat_recovery::flows::Destination::Folder(b.folder.path().join("x")),
        path: None,
        keep_failed: false,
    };
    let in_anger = plan_restore(&b.world(&tier), &request).unwrap();
    assert_eq!(rehearsed.recipe, in_anger.recipe);
    assert!(!b.state().join("sandbox").exists());
}

#[test]
fn an_objective_that_is_missed_exit_10() {
    let (mut b, tier) = saved();
    b.plan = b.plan.replace("rpo = \"1d\"", "rpo = \"5m\"");
    let report = run(&b, &tier);
    assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::ObjectiveMissed));
    assert_eq!(report.components[0].rpo.met, Met::Missed);
    let log = audit_log(&b.world(&tier), 1).unwrap();
    assert_eq!(log.entries[0].outcome, "objective missed");
}

#[test]
fn without_objectives_nothing_is_missed() {
    let (mut b, tier) = saved();
    b.plan = b.plan.replace("rto = \"4h\"\nrpo = \"1d\"\n", "");
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Done);
    assert_eq!(report.components[0].rto.met, Met::None);
}

/// A green drill means something: on a damaged vault it is red.
#[test]
fn a_drill_on_a_damaged_vault_fails_exit_11() {
    for change in [None, Some(9)] {
        let (b, tier) = saved();
        for pack in tier.keys("vault/data") {
            tier.tamper(&pack, |mut body| {
                body[change?] ^= 1;
                Some(body)
            });
        }
        let report = run(&b, &tier);
        assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::DrillFailed));
        assert!(!report.objectives_met, "what is not known is not met");
        for component in &report.components {
            assert_eq!((component.rto_seconds, component.rpo_seconds), (None, None));
            assert_eq!(component.rto.met, Met::Unknown);
        }
        no_sandbox(&b);
        let signed =
            Signed::<Evidence>::read(&fs::read(&report.evidence.unwrap().path).unwrap()).unwrap();
        assert_eq!(signed.document.verdict, Verdict::Fail, "a red drill has evidence too");
    }
}

#[test]
fn a_check_that_fails_or_cannot_be_asked_exit_11() {
    let (mut b, tier) = saved();
    b.plan = b.plan.replace("min = 1", "min = 100");
    let report = run(&b, &tier);
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::DrillFailed));
    b.plan = b.plan.replace("query = \"count\"", "query = \"select nonsense\"");
    assert_eq!(run(&b, &tier).exit(), Exit::DrillFailed);
    b.live().spoil = Some("media".into());
    let report = run(&b, &tier);
    let media = report.components.iter().find(|c| c.component == "media").unwrap();
    assert_eq!(media.verdict, Verdict::Fail);
    assert_eq!(media.rpo_seconds, None, "a copy that differs is proven up to no instant");
    no_sandbox(&b);
}

#[test]
fn a_component_without_a_snapshot_fails_and_the_others_are_rehearsed() {
    let b = bench();
    let tier = b.tier();
    let only = BackupRequest { components: vec!["media".into()], ..BackupRequest::default() };
    backup(&b.world(&tier), &only).unwrap();
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::DrillFailed);
    let verdicts: Vec<_> =
        report.components.iter().map(|c| (c.component.as_str(), c.verdict)).collect();
    assert_eq!(verdicts, [("media", Verdict::Pass), ("orders", Verdict::Fail)]);
}

#[test]
fn a_drill_of_nothing_fails() {
    let (mut b, tier) = saved();
    b.plan = b
        .plan
        .replace("[drill.weekly]\ncomponents = [\"*\"]", "[drill.weekly]\ncomponents = [\"gone\"]");
    let report = drill(
        &b.world(&tier),
        &DrillRequest { names: vec!["weekly".into()], ..Default::default() },
    )
    .unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::DrillFailed));
}

#[test]
fn two_components_are_judged_together() {
    let (mut b, tier) = saved();
    b.plan = b.plan.replace(
        "checks = [{",
        "checks = [{ name = \"each row has its file\", query = \"rows\", exists_in = \"media\" }, {",
    );
    assert_eq!(run(&b, &tier).exit(), Exit::Done);
    b.live().data.get_mut("media").unwrap().remove("a.jpg");
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::DrillFailed);
    assert_eq!(report.together[0].verdict, Verdict::Fail);
}

#[test]
fn without_room_it_is_refused_exit_4() {
    let (b, tier) = saved();
    *b.free.lock().unwrap() = Some(10);
    let error = drill(&b.world(&tier), &DrillRequest::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(!b.state().join("sandbox").exists());
}

#[test]
fn a_stopped_drill_removes_its_sandbox_exit_5() {
    let (b, tier) = saved();
    b.cancel.cancel();
    let error = drill(&b.world(&tier), &DrillRequest::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
    no_sandbox(&b);
}

#[test]
fn names_of_drills_and_components() {
    let (b, tier) = saved();
    let named = |names: &[&str]| DrillRequest {
        names: names.iter().map(ToString::to_string).collect(),
        ..DrillRequest::default()
    };
    let report = drill(&b.world(&tier), &named(&["weekly"])).unwrap();
    assert_eq!((report.drill.as_deref(), report.components.len()), (Some("weekly"), 2));
    let report = drill(&b.world(&tier), &named(&["media"])).unwrap();
    assert_eq!((report.drill, report.components.len()), (None, 1));
    let error = drill(&b.world(&tier), &named(&["monthly"])).unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound);
    assert!(error.hint().unwrap().contains("weekly"));
    let error = drill(&b.world(&tier), &named(&["weekly", "media"])).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);

    let listed = drill_list(&b.world(&tier)).unwrap();
    assert_eq!(listed.drills.len(), 3, "a row a component");
    assert_eq!(listed.planned[0].last_verdict, Some(Verdict::Pass));
    assert_eq!(listed.planned[0].next_runs[0].to_string(), "2026-12-05T04:00:00Z");
    let seen = status(&b.world(&tier)).unwrap();
    assert_eq!(seen.components[1].last_drill.as_ref().unwrap().verdict, Verdict::Pass);
}

#[test]
fn a_sandbox_of_the_plan_is_used() {
    let (mut b, tier) = saved();
    let place = b.folder.path().join("big-disk/sandbox");
    b.plan = b.plan.replace(
        "[drill.weekly]",
        &format!("[drill.weekly]\nsandbox = {:?}", place.display().to_string()),
    );
    let request = DrillRequest { names: vec!["weekly".into()], ..DrillRequest::default() };
    assert_eq!(drill(&b.world(&tier), &request).unwrap().exit(), Exit::Done);
    assert!(place.exists() && tree(&place).is_empty());
    assert!(!b.state().join("sandbox").exists());
}

/// Named and not carried out: no verdict on it, and none on the whole.
#[test]
fn a_named_component_that_is_not_carried_out_is_inconclusive_exit_11() {
    let (mut b, tier) = saved();
    b.plan = format!("{}\n[component.my]\nmysql = {{ dsn_env = \"PG\" }}\n", b.plan)
        + "[drill.both]\ncomponents = [\"media\", \"my\"]\n";
    let run = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        drill(&b.world(&tier), &DrillRequest { names, ..DrillRequest::default() }).unwrap()
    };
    for names in [&["my"][..], &["media", "my"], &["both"]] {
        let report = run(names);
        assert_eq!(report.verdict, Verdict::Inconclusive, "{names:?}: {report:#?}");
        assert_eq!(report.exit(), Exit::DrillFailed);
        let pg = report.components.iter().find(|c| c.component == "my").unwrap();
        assert_eq!((pg.verdict, pg.rto_seconds), (Verdict::Inconclusive, None));
        assert!(pg.checks[0].found.contains("not carried out"), "{pg:#?}");
    }
    // Where everything is asked for, it is said, and the rest is judged.
    for names in [&[][..], &["weekly"]] {
        let report = run(names);
        assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Problems), "{names:?}");
        assert!(report.left_out[0].contains("my") && report.components.len() == 2);
        assert!(report.findings.iter().any(|f| f.contains("my")), "{:?}", report.findings);
    }
    assert_eq!(run(&["media"]).exit(), Exit::Done, "not asked for");
}

/// Copies of the data that stay behind are no pass.
#[test]
fn a_sandbox_that_stays_is_no_pass_exit_11() {
    let (b, tier) = saved();
    b.live().stuck = Some(b.state().join("staging"));
    let report = run(&b, &tier);
    assert!(!report.sandbox_removed);
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::DrillFailed));
    assert!(report.findings.iter().any(|f| f.contains("could not be removed")));
    let signed =
        Signed::<Evidence>::read(&fs::read(&report.evidence.unwrap().path).unwrap()).unwrap();
    assert_eq!(signed.document.verdict, Verdict::Inconclusive);
}

#[test]
fn a_sandbox_among_what_a_drill_must_not_touch_is_refused_exit_4() {
    let (b, tier) = saved();
    let key = b.folder.path().join("keys/vault.key");
    fs::create_dir_all(key.parent().unwrap()).unwrap();
    fs::write(&key, b"secret").unwrap();
    let other = b.folder.path().join("tier");
    let cases = [
        (b.app().join("media/sandbox"), "the source"),
        (b.app(), "lies inside the sandbox"),
        (other.join("x"), "tier"),
        (b.state().join("ledger"), "the state folder"),
        (b.folder.path().join("keys"), "the key file"),
    ];
    for (place, why) in cases {
        let plan = b
            .plan
            .replace("url = \"/tier\"", &format!("url = {:?}", other.display().to_string()))
            .replace(
                "[drill.weekly]",
                &format!("[drill.weekly]\nsandbox = {:?}", place.display().to_string()),
            );
        let plan = format!("{plan}\n[key]\nvault_file = {:?}\n", key.display().to_string());
        let world = Bench { plan, folder: tempfile::tempdir().unwrap(), ..bench() };
        let mut world = world.world(&tier);
        world.plan_folder = b.app();
        world.state = lifeboat_recovery::state::State::new(b.state());
        let before = tree(b.folder.path());
        let request = DrillRequest { names: vec!["weekly".into()], ..DrillRequest::default() };
        let error = drill(&world, &request).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused, "{place:?}: {error}");
        assert!(error.to_string().contains(why), "{place:?}: {error}");
        assert!(error.hint().unwrap().contains("sandbox"));
        assert_eq!(plan_drill(&world, &request).unwrap_err().exit(), Exit::Refused);
        assert_eq!(tree(b.folder.path()), before, "nothing was begun");
    }
}
