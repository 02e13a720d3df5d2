//! Holds: what somebody put on hold stays, in every tier and from every machine, until it is released.

use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::World;
use lifeboat_recovery::flows::{
    self, BackupRequest, CopyRequest, HoldChange, HoldRequest, PruneRequest, VerifyRequest,
};
use lifeboat_recovery::report::PruneReport;
use lifeboat_testkit::MemoryStore;

use crate::bench::{Bench, bench};
use crate::copy::listed;

const HOUR: i64 = 3600;

struct Two {
    b: Bench,
    tier: Arc<MemoryStore>,
    second: Arc<MemoryStore>,
}

impl Two {
    /// Two tiers that keep three hours, with six hourly backups in each.
    fn new() -> Two {
        let mut b = bench();
        let tiers = "keep = \"3h\"\n[tier.second]\nurl = \"/second\"\nkeep = \"3h\"\n";
        b.plan = b.plan.replace("[component.orders]", &format!("{tiers}[component.orders]"));
        let (tier, second) = (b.tier(), b.tier());
        let two = Two { b, tier, second };
        for hour in 0..6 {
            two.backup(hour);
        }
        flows::copy(&two.first(), &CopyRequest::default()).unwrap();
        two.verify();
        two
    }

    fn first(&self) -> World {
        self.b.world_of(&self.tier, &self.second)
    }

    fn other(&self) -> World {
        self.b.in_second(&self.tier, &self.second)
    }

    fn backup(&self, hour: i64) {
        self.b.pass(HOUR);
        self.b.set("media", "a.jpg", &format!("picture of hour {hour}"));
        self.b.set("orders", "orders.txt", &format!("orders of hour {hour}"));
        flows::backup(&self.first(), &BackupRequest::default()).unwrap();
    }

    fn verify(&self) {
        for world in [self.first(), self.other()] {
            let report = flows::verify(&world, &VerifyRequest::default()).unwrap();
            assert_eq!(report.verdict, Verdict::Pass);
        }
    }
}

fn put(what: &str, reason: &str, incident: Option<&str>) -> HoldRequest {
    HoldRequest {
        change: HoldChange::Put,
        what: vec![what.to_owned()],
        reason: reason.to_owned(),
        incident: incident.map(str::to_owned),
    }
}

/// The components, times and reasons of those that are kept by a hold; the number of those that go.
fn outcome(report: &PruneReport) -> (Vec<String>, usize) {
    let why = |why: &&String| why.starts_with("on hold: ");
    let held = report.snapshots.iter().filter(|one| one.kept && one.why.iter().any(|w| why(&w)));
    let held = held.map(|one| one.why.iter().find(why).unwrap().clone());
    (held.collect(), report.snapshots.iter().filter(|one| !one.kept).count())
}

/// By id in one tier and, from the other one, by incident; named in lists, status and dry runs;
/// released with a reason, it goes its way.
#[test]
fn what_is_on_hold_stays_in_every_tier_until_it_is_released() {
    let two = Two::new();
    let oldest = |world: &World| listed(world).pop().unwrap();
    let id = oldest(&two.first()).snapshot;
    let request = put(&id[..10], "evidence", None);
    let before = two.tier.keys("");
    let planned = flows::plan_hold(&two.first(), &request).unwrap();
    assert_eq!((planned.put.len(), planned.holds.len()), (1, 0));
    assert_eq!(two.tier.keys(""), before, "a dry run leaves no trace");
    let report = flows::hold(&two.first(), &request).unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!((report.put.len(), report.holds.len()), (1, 1));
    assert_eq!(report.holds[0].snapshot, id);
    let incident = put("media", "leaked", Some("breach-7"));
    assert_eq!(flows::hold(&two.other(), &incident).unwrap().put.len(), 6);
    for world in [two.first(), two.other()] {
        let (held, gone) = outcome(&flows::plan_prune(&world, &PruneRequest::default()).unwrap());
        assert_eq!((held.len(), gone), (7, 2), "{held:?}");
        assert!(held.contains(&"on hold: evidence".to_owned()), "{held:?}");
        assert!(held.contains(&"on hold: leaked (incident breach-7)".to_owned()), "{held:?}");
        assert!(oldest(&world).hold.is_some());
        assert_eq!(flows::status(&world).unwrap().holds.len(), 7);
    }
    // With the machine's state lost, any tier knows.
    std::fs::remove_dir_all(two.b.state()).unwrap();
    for world in [two.other(), two.first()] {
        let request = BackupRequest::default();
        two.b.pass(60);
        flows::backup(&two.first(), &request).unwrap();
        flows::verify(&two.first(), &VerifyRequest::default()).unwrap();
        let report = flows::prune(&world, &PruneRequest::default()).unwrap();
        assert_eq!(report.exit(), Exit::Done, "{report:#?}");
        assert_eq!((outcome(&report).0.len(), outcome(&report).1), (7, 2), "{report:#?}");
    }
    let release = |what: &str, incident: Option<&str>| {
        let request = put(what, "the insurer has it", incident);
        let what = request.what.into_iter().filter(|what| !what.is_empty()).collect();
        let request = HoldRequest { change: HoldChange::Release, what, ..request };
        flows::hold(&two.first(), &request)
    };
    assert_eq!(release("", Some("breach-8")).unwrap_err().exit(), Exit::Refused);
    assert_eq!(release("", Some("breach-7")).unwrap().released.len(), 6);
    assert_eq!(release(&id, None).unwrap().holds.len(), 0);
    let (held, gone) = outcome(&flows::prune(&two.first(), &PruneRequest::default()).unwrap());
    assert!(held.is_empty() && gone > 1, "{held:?} {gone}");
    let log = flows::audit_log(&two.first(), 100).unwrap();
    let said = |action: &str| log.entries.iter().filter(|entry| entry.action == action).count();
    assert!(said("release") >= 2, "{log:#?}");
}

/// Another machine's hold counts; where its ledger cannot be believed it may hold something.
#[test]
fn nothing_goes_while_somebodys_holds_cannot_be_read() {
    let two = Two::new();
    let mut other = bench();
    other.host = "shop-2".into();
    other.clock = two.b.clock.clone();
    other.plan = two.b.plan.clone();
    let theirs = other.world_of(&two.tier, &two.second);
    let oldest = listed(&theirs).pop().unwrap().snapshot;
    flows::hold(&theirs, &put(&oldest, "theirs", None)).unwrap();
    let planned = flows::plan_prune(&two.first(), &PruneRequest::default()).unwrap();
    assert_eq!(outcome(&planned), (vec!["on hold: theirs".to_owned()], 5), "{planned:#?}");
    let entry = two.tier.keys("ledger/shop-2").into_iter().find(|key| key.contains("entries"));
    let entry = entry.unwrap_or_else(|| two.tier.keys("ledger/shop-2").remove(0));
    two.tier.tamper(&entry, |_| Some(b"not a ledger".to_vec()));
    std::fs::remove_dir_all(two.b.state()).unwrap();
    flows::backup(&two.first(), &BackupRequest::default()).unwrap();
    flows::verify(&two.first(), &VerifyRequest::default()).unwrap();
    let report = flows::prune(&two.first(), &PruneRequest::default()).unwrap();
    assert_eq!((report.exit(), outcome(&report).1), (Exit::Refused, 0), "{report:#?}");
    assert!(report.refused.iter().any(|why| why.contains("the ledger of shop-2")), "{report:#?}");
    // Nor while nothing of it can be.
    for key in two.tier.keys("ledger/shop-2") {
        two.tier.tamper(&key, |_| Some(b"not a ledger".to_vec()));
    }
    let report = flows::prune(&two.first(), &PruneRequest::default()).unwrap();
    assert_eq!((report.exit(), outcome(&report).1), (Exit::Refused, 0), "{report:#?}");
    assert!(report.refused.iter().any(|why| why.contains("of shop-2")), "{report:#?}");
}
