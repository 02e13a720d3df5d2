//! Pruning by the plan's rules (promise 2: it never makes a disaster worse).

use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    self, At, BackupRequest, Destination, ListRequest, PruneRequest, RestoreRequest, VerifyRequest,
};
use lifeboat_recovery::report::PruneReport;
use lifeboat_testkit::MemoryStore;
use lifeboat_vault::RepairOptions;

use crate::bench::{Bench, bench};

const DAY: i64 = 24 * 3600;

/// Everything is kept for three days.
fn short_memory() -> (Bench, Arc<MemoryStore>) {
    let mut b = bench();
    b.plan = b.plan.replace("url = \"/tier\"", "url = \"/tier\"\nkeep = \"3d\"");
    let tier = b.tier();
    (b, tier)
}

/// One backup a day, each of other data.
fn days(b: &Bench, tier: &Arc<MemoryStore>, count: u64) {
    for day in 0..count {
        b.pass(DAY);
        b.set("media", "a.jpg", &format!("picture of day {day} of {count} "));
        b.set("orders", "orders.txt", &format!("orders of day {day} of {count}"));
        let report = flows::backup(&b.world(tier), &BackupRequest::default()).unwrap();
        assert_eq!(report.exit(), Exit::Done);
    }
}

fn verify(b: &Bench, tier: &Arc<MemoryStore>) -> Verdict {
    flows::verify(&b.world(tier), &VerifyRequest::default()).unwrap().verdict
}

fn prune(b: &Bench, tier: &Arc<MemoryStore>) -> PruneReport {
    flows::prune(&b.world(tier), &PruneRequest::default()).unwrap()
}

fn gone(report: &PruneReport) -> Vec<String> {
    let going = report.snapshots.iter().filter(|snapshot| !snapshot.kept);
    going.map(|snapshot| snapshot.snapshot.clone()).collect()
}

#[test]
fn what_the_rules_do_not_keep_goes_and_is_no_loss() {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    let before = tier.keys("");
    let planned = flows::plan_prune(&b.world(&tier), &PruneRequest::default()).unwrap();
    assert!(planned.dry_run && planned.data.is_some());
    assert_eq!(tier.keys(""), before, "a dry run leaves no trace");
    let report = prune(&b, &tier);
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert_eq!((gone(&report), report.snapshots.len()), (gone(&planned), 12));
    assert_eq!(gone(&report).len(), 6, "{:#?}", report.snapshots);
    assert!(report.snapshots.iter().all(|snapshot| !snapshot.why.is_empty()));
    let data = report.data.as_ref().unwrap();
    assert!(data.marked.packs > 0 && data.deleted.packs == 0, "{data:?}");
    // Neither list nor status nor verify take what went for lost.
    let listed = flows::list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.len(), 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    let status = flows::status(&b.world(&tier)).unwrap();
    assert!(status.components.iter().all(|c| c.snapshots == 3), "{:#?}", status.components);
    // On a machine without the local state neither.
    std::fs::remove_dir_all(b.state()).unwrap();
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    b.pass(DAY + 1);
    let second = prune(&b, &tier);
    assert!(second.data.unwrap().deleted.packs > 0);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
}

/// The newest proven one stays, however old; nothing goes where nothing is proven.
#[test]
fn the_newest_verified_one_is_never_removed() {
    let (b, tier) = short_memory();
    days(&b, &tier, 2);
    let unproven = prune(&b, &tier);
    assert_eq!(unproven.exit(), Exit::Refused, "{unproven:#?}");
    assert!(unproven.refused.iter().all(|why| why.contains("no snapshot is verified")));
    assert!(gone(&unproven).is_empty() && unproven.data.is_none());
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    let proven: Vec<String> = flows::list(&b.world(&tier), &ListRequest::default())
        .unwrap()
        .snapshots
        .into_iter()
        .filter(|snapshot| snapshot.level.as_deref() == Some("V4"))
        .map(|snapshot| snapshot.snapshot)
        .collect();
    assert_eq!(proven.len(), 2);
    days(&b, &tier, 6);
    let report = prune(&b, &tier);
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    let removed = gone(&report);
    assert!(!removed.is_empty() && proven.iter().all(|id| !removed.contains(id)));
    for id in proven {
        let request = RestoreRequest {
            components: vec!["media".into()],
            all: false,
            at: At::Snapshot(id),
            verified_only: false,
            to: Destination::Folder(b.folder.path().join("back")),
            path: None,
            keep_failed: false,
        };
        // One of the two is of the other component; it is refused for that, and not as missing.
        let restored = flows::restore(&b.world(&tier), &request);
        assert!(restored.map_or_else(|e| e.exit() != Exit::Unverified, |_| true));
    }
}

/// Nothing at all goes while a newer backup fails.
#[test]
fn nothing_goes_while_backups_fail() {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    b.pass(60);
    b.live().missing.push("orders".to_owned());
    flows::backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let vault = tier.keys("vault");
    let report = prune(&b, &tier);
    assert_eq!((report.exit(), gone(&report)), (Exit::Refused, vec![]), "{report:#?}");
    assert!(report.refused.iter().any(|why| why == "orders: the last backup failed"));
    assert_eq!(tier.keys("vault"), vault);
    b.live().missing.clear();
    flows::backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(!gone(&prune(&b, &tier)).is_empty());
}

/// A snapshot that a ledger records and that is not listed makes the listing partial.
#[test]
fn nothing_goes_while_a_snapshot_is_lost() {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    let lost = tier.keys("vault/snapshots").remove(0);
    tier.tamper(&lost, |_| None);
    let vault = tier.keys("vault");
    let report = prune(&b, &tier);
    assert_eq!((report.exit(), gone(&report)), (Exit::Refused, vec![]), "{report:#?}");
    assert_eq!(tier.keys("vault"), vault);
}

/// A clock that jumped ahead makes everything look old: the newest proven one stays all the same,
/// and a clock that was set back refuses.
#[test]
fn a_clock_that_was_set_back_removes_nothing() {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    b.set_back(3 * DAY);
    let vault = tier.keys("vault");
    let refused = flows::prune(&b.world(&tier), &PruneRequest::default());
    match refused {
        Ok(report) => assert_eq!(report.exit(), Exit::Refused),
        Err(error) => assert_eq!(error.exit(), Exit::Refused),
    }
    assert_eq!(tier.keys("vault"), vault);
}

#[test]
fn the_index_is_mended_by_name() {
    let (b, tier) = short_memory();
    days(&b, &tier, 2);
    let options = RepairOptions::default();
    let whole = flows::repair_index(&b.world(&tier), &options).unwrap();
    assert_eq!((whole.exit(), whole.added.len()), (Exit::Done, 0));
    for key in tier.keys("vault/index") {
        tier.tamper(&key, |_| None);
    }
    let planned = flows::plan_repair(&b.world(&tier), &options).unwrap();
    assert!(planned.dry_run && tier.keys("vault/index").is_empty());
    let mended = flows::repair_index(&b.world(&tier), &options).unwrap();
    assert_eq!(mended.added.len() as u64, mended.packs);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
}

/// A look at part of the data proves no snapshot.
#[test]
fn a_subset_proves_no_snapshot() {
    let (b, tier) = short_memory();
    days(&b, &tier, 1);
    let subset = Some("100%@4".parse().unwrap());
    let request = VerifyRequest { subset, ..VerifyRequest::default() };
    let report = flows::verify(&b.world(&tier), &request).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert!(report.vault.notes.iter().any(|note| note.contains("100%@4")), "{:?}", report.vault);
    assert!(report.snapshots.iter().all(|s| !s.restored && s.level == Some("V1")));
    assert_eq!(prune(&b, &tier).exit(), Exit::Refused);
}

/// Of another host's snapshots none goes, and what it removed itself is no loss here.
#[test]
fn another_hosts_snapshots_stay_and_its_pruning_is_no_loss() {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    let mut other = bench();
    other.host = "shop-2".into();
    other.clock = b.clock.clone();
    other.plan = b.plan.clone();
    days(&other, &tier, 1);
    assert_eq!(verify(&other, &tier), Verdict::Pass);
    let theirs = prune(&other, &tier);
    assert_eq!((theirs.exit(), gone(&theirs)), (Exit::Done, vec![]), "{theirs:#?}");
    assert_eq!(theirs.snapshots.len(), 14);
    let ours = prune(&b, &tier);
    assert_eq!(ours.exit(), Exit::Done, "{ours:#?}");
    assert!(!gone(&ours).is_empty());
    assert_eq!(verify(&other, &tier), Verdict::Pass);
    assert_eq!(prune(&other, &tier).exit(), Exit::Done);
}

/// What became due after the question was not agreed to.
#[test]
fn only_what_was_agreed_to_goes() {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    let planned = flows::plan_prune(&b.world(&tier), &PruneRequest::default()).unwrap();
    let agreed = Some(gone(&planned).into_iter().collect());
    let request = PruneRequest { agreed, ..PruneRequest::default() };
    b.pass(DAY);
    let vault = tier.keys("vault");
    let refused = flows::prune(&b.world(&tier), &request).unwrap();
    assert_eq!((refused.exit(), gone(&refused)), (Exit::Refused, vec![]), "{refused:#?}");
    assert_eq!(tier.keys("vault"), vault);
    let planned = flows::plan_prune(&b.world(&tier), &PruneRequest::default()).unwrap();
    let agreed = Some(gone(&planned).into_iter().collect());
    let request = PruneRequest { agreed, ..PruneRequest::default() };
    assert_eq!(gone(&flows::prune(&b.world(&tier), &request).unwrap()), gone(&planned));
}
