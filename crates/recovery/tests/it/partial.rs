//! A partial backup never looks whole: not to a verification, a drill or a restore (promise 1).

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::check::CheckResult;
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    At, BackupRequest, Destination, DrillRequest, RestoreRequest, VerifyRequest, backup, drill,
    plan_restore, restore, status, verify,
};
use lifeboat_recovery::report::Met;
use lifeboat_testkit::MemoryStore;

use crate::bench::{Bench, bench, tree};

/// A whole snapshot, then one in which `media` lacks two files. Returns the ids of both.
fn partial() -> (Bench, Arc<MemoryStore>, String, String) {
    let b = bench();
    let tier = b.tier();
    let id = |b: &Bench| {
        let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
        report.components[1].snapshot.clone().unwrap()
    };
    let whole = id(&b);
    b.pass(60);
    let problems = ["c.jpg: permission denied", "d.jpg: vanished"].map(str::to_owned);
    b.live().problems.insert("media".into(), problems.into());
    let lacking = id(&b);
    b.pass(60);
    (b, tier, whole, lacking)
}

fn request(to: Destination, at: At) -> RestoreRequest {
    RestoreRequest {
        components: vec!["media".into()],
        all: false,
        at,
        verified_only: false,
        base: None,
        prepare_only: false,
        to,
        path: None,
        keep_failed: false,
    }
}

fn beside(b: &Bench, name: &str) -> PathBuf {
    b.folder.path().join("target").join(name)
}

/// The check that names what is missing, and counts it.
fn named(checks: &[CheckResult]) -> bool {
    checks.iter().any(|check| {
        check.name == "captured whole"
            && check.verdict == Verdict::Inconclusive
            && check.found.contains("2 problems")
            && check.found.contains("c.jpg: permission denied")
    })
}

#[test]
fn a_partial_snapshot_does_not_pass_verification() {
    let (b, tier, _, lacking) = partial();
    for quick in [false, true] {
        let request = VerifyRequest { quick, ..VerifyRequest::default() };
        let report = verify(&b.world(&tier), &request).unwrap();
        assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::Unverified));
        let media = report.snapshots.iter().find(|s| s.snapshot == lacking).unwrap();
        assert!(media.partial && named(&media.checks), "quick {quick}: {media:#?}");
        assert_ne!(media.level, Some("V4"));
        assert_eq!(media.points[8].verdict, Verdict::Inconclusive);
        assert!(report.warnings.iter().any(|w| w.contains("is partial")), "{:?}", report.warnings);
    }
    // It is not damaged either: it stays what a restore takes, and says so.
    let seen = status(&b.world(&tier)).unwrap();
    assert_eq!(seen.components[1].newest.as_ref().unwrap().snapshot, lacking);
    assert!(seen.components[1].reasons[0].contains("the newest whole one is of"), "{seen:#?}");

    // Once a whole one follows, the older one is named and decides nothing.
    b.live().problems.clear();
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let report = verify(&b.world(&tier), &VerifyRequest::default()).unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Done), "{report:#?}");
    let older = report.snapshots.iter().find(|s| s.snapshot == lacking).unwrap();
    assert_eq!((older.partial, older.verdict), (true, Verdict::Inconclusive));
}

#[test]
fn a_drill_of_a_partial_snapshot_does_not_pass() {
    let (b, tier, _, _) = partial();
    let report = drill(&b.world(&tier), &DrillRequest::default()).unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::DrillFailed));
    let media = report.components.iter().find(|c| c.component == "media").unwrap();
    assert!(named(&media.checks), "{media:#?}");
    assert_eq!((media.rpo_seconds, media.rpo.met), (None, Met::Unknown));
    assert!(report.findings.iter().any(|f| f.contains("the newest whole one is")));
}

#[test]
fn a_restore_beside_says_that_it_is_partial_exit_3() {
    let (b, tier, whole, _) = partial();
    let target = beside(&b, "media");
    let report =
        restore(&b.world(&tier), &request(Destination::Folder(target.clone()), At::Newest))
            .unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::Problems));
    let media = &report.components[0];
    assert!(media.partial && named(&media.checks), "{media:#?}");
    assert_eq!(media.rpo_seconds, None, "what it lacks is older");
    assert!(target.exists(), "what there is comes back");
    let said = format!("the newest whole one is {}", &whole[..8]);
    assert!(report.warnings.iter().any(|w| w.contains(&said)), "{:?}", report.warnings);
    // A part of it may be the part that is lacking.
    let part = RestoreRequest {
        path: Some("a.jpg".into()),
        ..request(Destination::Folder(beside(&b, "part")), At::Newest)
    };
    assert_eq!(restore(&b.world(&tier), &part).unwrap().exit(), Exit::Problems);
}

#[test]
fn a_partial_snapshot_replaces_live_data_only_by_its_name_exit_4() {
    let (b, tier, whole, lacking) = partial();
    let live = b.app().join("media");
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("kept.jpg"), b"live").unwrap();
    b.live().log.clear();
    let run = |at| restore(&b.world(&tier), &request(Destination::InPlace, at));
    let now = lifeboat_vault::Clock::wall(&*b.clock);
    for at in [At::Newest, At::Time(now)] {
        let error = run(at.clone()).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused, "{at}");
        let (said, hint) = (error.to_string(), error.hint().unwrap());
        assert!(said.contains(&lacking[..8]) && said.contains("c.jpg"), "{said}");
        assert!(hint.contains(&whole[..8]) && hint.contains("--to DIR"), "{hint}");
        let dry = plan_restore(&b.world(&tier), &request(Destination::InPlace, at));
        assert_eq!(dry.unwrap_err().exit(), Exit::Refused, "a dry run says the same");
    }
    let every = RestoreRequest {
        components: Vec::new(),
        all: true,
        ..request(Destination::InPlace, At::Newest)
    };
    assert_eq!(restore(&b.world(&tier), &every).unwrap_err().exit(), Exit::Refused);
    assert!(b.log().is_empty(), "nothing was stopped or swapped: {:?}", b.log());
    assert_eq!(fs::read(live.join("kept.jpg")).unwrap(), b"live");

    let report = run(At::Snapshot(lacking[..12].to_owned())).unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::Problems));
    assert!(report.components[0].partial && named(&report.components[0].checks));
    assert!(tree(&live).contains_key("a.jpg"));
    assert!(run(At::Snapshot(whole)).unwrap().exit() == Exit::Done);
}

#[test]
fn verification_after_a_partial_backup_keeps_its_code_exit_3() {
    let (b, tier, _, _) = partial();
    let request = BackupRequest { verify: true, ..BackupRequest::default() };
    let report = backup(&b.world(&tier), &request).unwrap();
    assert_eq!(report.exit(), Exit::Problems, "{report:#?}");
    assert!(report.components[1].verification.as_ref().unwrap().partial);
    b.live().spoil = Some("media".into());
    assert_eq!(backup(&b.world(&tier), &request).unwrap().exit(), Exit::Unverified);
}
