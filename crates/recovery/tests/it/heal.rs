//! A damaged tier is made good from the other one.

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::World;
use lifeboat_recovery::flows::{self, CopyRequest, VerifyRequest};
use lifeboat_recovery::tier::Access;
use lifeboat_testkit::MemoryStore;
use lifeboat_vault::Store;

use crate::copy::{Pair, listed};

fn verified(world: &World) -> Verdict {
    flows::verify(world, &VerifyRequest::default()).unwrap().verdict
}

fn remove(tier: &MemoryStore, pack: &str) {
    tier.tamper(pack, |_| None);
}

fn change(tier: &MemoryStore, pack: &str) {
    tier.tamper(pack, |mut body| {
        let middle = body.len() / 2;
        body[middle] ^= 1;
        Some(body)
    });
}

/// Each pack of the second tier in turn, and after it the same with the first one, from the second.
#[test]
fn what_a_verification_of_a_tier_found_the_next_copy_heals() {
    for harm in [remove, change] {
        let pair = Pair::new();
        pair.backups(2);
        pair.copy();
        assert_eq!(verified(&pair.other()), Verdict::Pass);
        for pack in pair.second.keys("vault/data") {
            harm(&pair.second, &pack);
            pair.b.pass(60);
            assert_eq!(verified(&pair.other()), Verdict::Fail, "{pack}");
            let planned = flows::plan_copy(&pair.first(), &CopyRequest::default()).unwrap();
            assert!(!planned.read_again.is_empty(), "{planned:#?}");
            let report = pair.copy();
            assert_eq!(report.exit(), Exit::Done, "{report:#?}");
            assert_eq!((report.copied.len(), report.present, report.damaged.len()), (0, 4, 1));
            assert!(pack.ends_with(&report.damaged[0].pack) && report.damaged[0].healed);
            assert_eq!(report.warnings, Vec::<String>::new());
            pair.b.pass(60);
            assert_eq!(verified(&pair.other()), Verdict::Pass, "{pack}");
            // Once it is verified nothing is read again.
            let again = pair.copy();
            assert_eq!((again.read_again.len(), again.damaged.len(), again.packs), (0, 0, 0));
        }
        // The other way round: the first tier's originals.
        let pack = pair.tier.keys("vault/data").remove(0);
        harm(&pair.tier, &pack);
        assert_eq!(verified(&pair.first()), Verdict::Fail);
        let back = CopyRequest { what: Vec::new(), to: Some("local".into()) };
        let report = flows::copy(&pair.other(), &back).unwrap();
        assert!(report.exit() == Exit::Done && report.damaged.len() == 1, "{report:#?}");
        pair.b.pass(60);
        assert_eq!(verified(&pair.first()), Verdict::Pass);
    }
}

/// Nobody has verified there: what reading alone finds is looked for where a snapshot is named.
#[test]
fn a_copy_that_is_named_by_its_id_is_read_again() {
    let pair = Pair::new();
    pair.backups(1);
    pair.copy();
    for pack in pair.second.keys("vault/data") {
        change(&pair.second, &pack);
    }
    assert!(pair.copy().damaged.is_empty(), "an ordinary copy reads no data there");
    let what: Vec<String> = listed(&pair.first()).into_iter().map(|one| one.snapshot).collect();
    let named = CopyRequest { what, to: None };
    let report = flows::copy(&pair.first(), &named).unwrap();
    assert_eq!((report.exit(), report.read_again.len()), (Exit::Done, 2), "{report:#?}");
    assert!(!report.damaged.is_empty() && report.damaged.iter().all(|one| one.healed));
    assert_eq!(verified(&pair.other()), Verdict::Pass);
}

/// Somebody is at work there: the data is brought, and the damaged pack is said to be listed still.
#[test]
fn a_damaged_pack_is_taken_out_when_nobody_is_at_work_there() {
    let pair = Pair::new();
    pair.backups(1);
    pair.copy();
    let pack = pair.second.keys("vault/data").remove(0);
    pair.second.tamper(&pack, |body| Some(body[..body.len() / 2].to_vec()));
    let vault = pair.other().open_tier(Access::Write).unwrap().unwrap().vault;
    let lock = vault.lock_for_reading().unwrap();
    assert!(lock.key().is_some_and(|key| pair.second.stat(&format!("vault/{key}")).is_ok()));
    let report = pair.copy();
    assert_eq!(report.exit(), Exit::Problems, "{report:#?}");
    assert!(report.damaged.len() == 1 && !report.damaged[0].healed, "{report:#?}");
    assert!(report.warnings.iter().any(|line| line.contains("copy again")), "{report:#?}");
    drop((lock, vault));
    let report = pair.copy();
    assert!(report.exit() == Exit::Done && report.damaged[0].healed, "{report:#?}");
    assert_eq!(verified(&pair.other()), Verdict::Pass);
}

/// What the first tier has lost too stays damage, and stays said.
#[test]
fn what_both_tiers_have_lost_is_said_exit_3() {
    let pair = Pair::new();
    pair.backups(1);
    pair.copy();
    let pack = pair.second.keys("vault/data").remove(0);
    remove(&pair.second, &pack);
    remove(&pair.tier, &pack);
    let report = pair.copy();
    assert_eq!(report.exit(), Exit::Problems, "{report:#?}");
    assert!(report.damaged.len() == 1 && report.damaged[0].lost > 0, "{report:#?}");
}
