//! Verification: what is damaged is found, named, remembered, and never chosen by itself.

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    At, BackupRequest, Destination, ListRequest, RestoreRequest, VerifyRequest, audit_log, backup,
    list, restore, verify,
};
use lifeboat_recovery::report::{BackupReport, VerifyReport};
use lifeboat_testkit::MemoryStore;
use std::sync::Arc;

use crate::bench::{Bench, bench, tree};

fn saved(b: &Bench, tier: &Arc<MemoryStore>) -> BackupReport {
    b.pass(60);
    let report = backup(&b.world(tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    report
}

fn check(b: &Bench, tier: &Arc<MemoryStore>, request: &VerifyRequest) -> VerifyReport {
    verify(&b.world(tier), request).unwrap()
}

fn all() -> VerifyRequest {
    VerifyRequest::default()
}

/// The pack that holds a component's newest data: the one that the second backup added.
fn newest_packs(before: &[String], tier: &MemoryStore) -> Vec<String> {
    tier.keys("vault/data").into_iter().filter(|key| !before.contains(key)).collect()
}

#[test]
fn sound_snapshots_pass_v1_to_v4_with_ten_points_cso_82() {
    let (b, tier) = (bench(), bench().tier());
    saved(&b, &tier);
    let report = check(&b, &tier, &all());
    assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Done), "{report:#?}");
    assert!(report.vault.read_data && report.vault.bytes_read > 0);
    assert_eq!(report.snapshots.len(), 2);
    for snapshot in &report.snapshots {
        assert_eq!(snapshot.level, Some("V4"));
        let names: Vec<_> = snapshot.points.iter().map(|p| (p.number, p.verdict)).collect();
        assert_eq!(names, (1..=10).map(|n| (n, Verdict::Pass)).collect::<Vec<_>>());
    }
    assert!(tree(&b.state().join("scratch")).is_empty());
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert!(listed.snapshots.iter().all(|s| s.level.as_deref() == Some("V4")));
    assert!(tier.keys("vault/locks").is_empty(), "no lock is left");
}

#[test]
fn nothing_to_verify_is_a_failure_and_not_a_pass() {
    let (b, tier) = (bench(), bench().tier());
    let error = verify(&b.world(&tier), &all()).unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound, "no vault at all");

    // A vault without snapshots, and then one without a component's.
    b.live().missing.extend(["orders".to_owned(), "media".to_owned()]);
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let report = check(&b, &tier, &all());
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified));
    b.live().missing.clear();
    let only = BackupRequest { components: vec!["media".into()], ..BackupRequest::default() };
    backup(&b.world(&tier), &only).unwrap();
    let report = check(&b, &tier, &all());
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.warnings.iter().any(|w| w == "component orders has no snapshot"));
}

#[test]
fn quick_looks_at_the_structure_only_and_says_so() {
    let (b, tier) = (bench(), bench().tier());
    saved(&b, &tier);
    let report = check(&b, &tier, &VerifyRequest { quick: true, ..all() });
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert!(!report.vault.read_data);
    for snapshot in &report.snapshots {
        assert_eq!(snapshot.level, Some("V1"));
        assert_ne!(snapshot.points[3].verdict, Verdict::Pass, "not downloaded, not passed");
    }
}

#[test]
fn one_snapshot_by_its_id_edo_29() {
    let (b, tier) = (bench(), bench().tier());
    let first = saved(&b, &tier);
    b.set("orders", "rows", "a.jpg\n");
    saved(&b, &tier);
    let id = first.components[0].snapshot.clone().unwrap();
    let report = check(&b, &tier, &VerifyRequest { what: vec![id[..10].to_owned()], ..all() });
    assert_eq!((report.verdict, report.snapshots.len()), (Verdict::Pass, 1));
    assert_eq!(report.snapshots[0].snapshot, id);
    let component = check(&b, &tier, &VerifyRequest { what: vec!["media".into()], ..all() });
    assert_eq!(component.snapshots.len(), 1);
    let every = check(&b, &tier, &VerifyRequest { all: true, ..all() });
    assert!(every.snapshots.iter().all(|s| s.restored) && every.snapshots.len() == 4);
    let unknown = VerifyRequest { what: vec!["0123456789".into()], ..all() };
    assert_eq!(verify(&b.world(&tier), &unknown).unwrap_err().exit(), Exit::NotFound);
}

#[test]
fn a_damaged_pack_is_found_named_and_its_snapshot_is_passed_over() {
    let (b, tier) = (bench(), bench().tier());
    let first = saved(&b, &tier);
    let before = tier.keys("vault/data");
    b.set("orders", "rows", "only in the second\n");
    let second = saved(&b, &tier);
    for pack in newest_packs(&before, &tier) {
        tier.tamper(&pack, |mut body| {
            body[20] ^= 1;
            Some(body)
        });
    }
    let report = check(&b, &tier, &all());
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified));
    assert!(!report.vault.damage.is_empty());
    let bad = second.components[0].snapshot.clone().unwrap();
    assert!(report.vault.damage.iter().any(|d| d.snapshots.contains(&bad)), "{:#?}", report.vault);
    let found = report.snapshots.iter().find(|s| s.snapshot == bad).unwrap();
    assert_eq!((found.verdict, found.level == Some("V4")), (Verdict::Fail, false));
    let old = first.components[0].snapshot.clone().unwrap();
    let found = report.snapshots.iter().find(|s| s.snapshot == old).unwrap();
    assert_eq!(found.verdict, Verdict::Pass, "older ones are not concerned");

    // Recorded: a restore without --at takes the older one, and says why.
    let target = b.folder.path().join("out");
    let request = RestoreRequest {
        components: vec!["orders".into()],
        all: false,
        at: At::Newest,
        verified_only: false,
        base: None,
        prepare_only: false,
        to: Destination::Folder(target.clone()),
        path: None,
        keep_failed: false,
    };
    let restored = restore(&b.world(&tier), &request).unwrap();
    assert_eq!(restored.exit(), Exit::Done, "{restored:#?}");
    assert_eq!(restored.components[0].snapshot.as_ref(), Some(&old));
    assert_eq!(tree(&target)["rows"], b"a.jpg\nb.jpg\n");
    // And the catalog is rebuilt with the same knowledge.
    std::fs::remove_file(b.state().join("catalog.db")).unwrap();
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    let bad = listed.snapshots.iter().find(|s| s.snapshot == bad).unwrap();
    assert_eq!(bad.verdict, Some(Verdict::Fail));
}

#[test]
fn a_snapshot_object_that_was_taken_away_is_missed() {
    let (b, tier) = (bench(), bench().tier());
    let report = saved(&b, &tier);
    saved(&b, &tier);
    let id = report.components[0].snapshot.clone().unwrap();
    tier.tamper(&format!("vault/snapshots/{id}"), |_| None);
    let report = check(&b, &tier, &all());
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(
        report.vault.damage.iter().any(|d| d.object.contains(&id)),
        "{:#?}",
        report.vault.damage
    );
}

/// a copy that restores well and is not what the source was.
#[test]
fn a_copy_that_differs_from_its_manifest_fails_at_v4() {
    let (b, tier) = (bench(), bench().tier());
    saved(&b, &tier);
    b.live().spoil = Some("media".into());
    let report = check(&b, &tier, &all());
    assert_eq!(report.verdict, Verdict::Fail);
    let media = report.snapshots.iter().find(|s| s.component == "media").unwrap();
    assert_eq!((media.verdict, media.level), (Verdict::Fail, Some("V2")));
    assert!(media.checks.iter().any(|c| c.name == "fingerprint" && c.verdict == Verdict::Fail));
}

#[test]
fn an_unusual_size_is_said_and_an_empty_snapshot_fails() {
    let (b, tier) = (bench(), bench().tier());
    for _ in 0..4 {
        saved(&b, &tier);
    }
    b.set("media", "huge.jpg", &"x".repeat(5000));
    saved(&b, &tier);
    let report = check(&b, &tier, &all());
    assert_eq!(report.verdict, Verdict::Pass, "new data is not a fault: {report:#?}");
    assert!(report.warnings.iter().any(|w| w.contains("is unusual")), "{:?}", report.warnings);
    let media = report.snapshots.iter().find(|s| s.component == "media").unwrap();
    assert_eq!(media.points[1].verdict, Verdict::Inconclusive);

    b.live().data.get_mut("media").unwrap().clear();
    saved(&b, &tier);
    let report = check(&b, &tier, &all());
    assert_eq!(report.verdict, Verdict::Fail, "0 bytes");
}

#[test]
fn without_room_it_is_refused_before_anything_is_read_exit_4() {
    let (b, tier) = (bench(), bench().tier());
    saved(&b, &tier);
    *b.free.lock().unwrap() = Some(1000);
    let error = verify(&b.world(&tier), &all()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().contains("1000 bytes free"));
    let log = audit_log(&b.world(&tier), 1).unwrap();
    assert_eq!(
        (log.entries[0].action.as_str(), log.entries[0].outcome.as_str()),
        ("verify", "refused")
    );
    let quick = check(&b, &tier, &VerifyRequest { quick: true, ..all() });
    assert_eq!(quick.verdict, Verdict::Pass);
}

/// A snapshot that stock restic made is listed as foreign and never chosen by itself.
#[test]
fn a_foreign_snapshot_is_listed_and_not_chosen() {
    let (b, tier) = (bench(), bench().tier());
    let ours = saved(&b, &tier);
    // The same plan on a host whose ledger never reached the tier.
    let other = bench();
    other.pass(9999);
    let lost = Arc::new(tier.image());
    let foreign = backup(&other.world(&lost), &BackupRequest::default()).unwrap();
    for key in lost.keys("vault") {
        if !tier.keys("vault").contains(&key) {
            use lifeboat_vault::Store;
            tier.plant(&key, lost.get(&key).unwrap());
        }
    }
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.iter().filter(|s| s.foreign).count(), 2, "{listed:#?}");
    let foreign = foreign.components[0].snapshot.clone().unwrap();
    let restored = |at: At, name: &str| {
        let request = RestoreRequest {
            components: vec!["orders".into()],
            all: false,
            at,
            verified_only: false,
            base: None,
            prepare_only: false,
            to: Destination::Folder(b.folder.path().join(name)),
            path: None,
            keep_failed: false,
        };
        restore(&b.world(&tier), &request).unwrap()
    };
    let newest = restored(At::Newest, "newest");
    assert_eq!(newest.components[0].snapshot, ours.components[0].snapshot);
    let named = restored(At::Snapshot(foreign[..8].to_owned()), "named");
    assert_eq!(named.components[0].snapshot, Some(foreign));
    assert!(named.warnings.iter().any(|w| w.contains("foreign")), "{:?}", named.warnings);
}

/// The newest snapshot is gone or spoilt: whoever asks for its component is told, and why.
#[test]
fn a_lost_newest_snapshot_is_named_where_its_component_is_asked_for() {
    for (change, why) in [(false, "missing"), (true, "damaged")] {
        let (b, tier) = (bench(), bench().tier());
        let first = saved(&b, &tier).components[0].snapshot.clone().unwrap();
        let second = saved(&b, &tier).components[0].snapshot.clone().unwrap();
        let key = format!("vault/snapshots/{second}");
        tier.tamper(&key, |mut body| {
            body[0] ^= 1;
            change.then_some(body)
        });
        for what in ["orders", &second[..12]] {
            let request = VerifyRequest { what: vec![what.to_owned()], ..all() };
            let report = check(&b, &tier, &request);
            assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified), "{why}");
            assert!(report.vault.damage.iter().any(|d| d.object.contains(&second)), "{report:#?}");
            let said = |w: &String| w.contains(&second[..8]) && w.contains(why);
            assert!(report.warnings.iter().any(said), "{why}: {:?}", report.warnings);
        }
        let other = VerifyRequest { what: vec!["media".into()], ..all() };
        assert_eq!(check(&b, &tier, &other).verdict, Verdict::Pass, "media is not concerned");

        let request = |at: At, name: &str| RestoreRequest {
            components: vec!["orders".into()],
            all: false,
            at,
            verified_only: false,
            base: None,
            prepare_only: false,
            to: Destination::Folder(b.folder.path().join(name)),
            path: None,
            keep_failed: false,
        };
        let report = restore(&b.world(&tier), &request(At::Newest, "newest")).unwrap();
        let orders = &report.components[0];
        assert_eq!(orders.snapshot.as_ref(), Some(&first), "an older point, and it is said");
        assert_eq!(orders.passed_over[0].snapshot, second);
        assert!(orders.passed_over[0].why.contains(why), "{orders:#?}");
        assert!(report.warnings.iter().any(|w| w.contains(&second[..8])), "{:?}", report.warnings);
        let named = request(At::Snapshot(second[..12].to_owned()), "named");
        let error = restore(&b.world(&tier), &named).unwrap_err();
        assert_eq!(error.exit(), Exit::Unverified, "known, and not to be had");

        let seen = lifeboat_recovery::flows::status(&b.world(&tier)).unwrap();
        assert!(seen.components[0].reasons.iter().any(|r| r.contains(why)), "{seen:#?}");
        // A host that only has the tier is told the same.
        let bare = bench();
        bare.pass(9999);
        let report = check(&bare, &tier, &VerifyRequest { what: vec!["orders".into()], ..all() });
        assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    }
}
