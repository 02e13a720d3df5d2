//! What an audit finds with nothing but a tier, a vault key and a fingerprint.

use std::fs;
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    AuditRequest, BackupRequest, DrillRequest, audit_verify, backup, drill,
};
use lifeboat_recovery::report::{AuditVerifyReport, FindingKind};
use lifeboat_recovery::seal::Sealer;
use lifeboat_testkit::MemoryStore;
use lifeboat_vault::Store;

use crate::bench::{Bench, KEY, bench};

/// Two backups, a drill, a backup; then the state folder is lost. The fingerprint was kept.
fn lost() -> (Bench, Arc<MemoryStore>, String) {
    let b = bench();
    let tier = b.tier();
    for step in 0..4 {
        b.pass(60);
        let world = b.world(&tier);
        let exit = match step {
            2 => drill(&world, &DrillRequest::default()).expect("the drill runs").exit(),
            _ => backup(&world, &BackupRequest::default()).expect("the backup runs").exit(),
        };
        assert_eq!(exit, Exit::Done);
    }
    let key = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap().key.unwrap();
    fs::remove_dir_all(b.state()).unwrap();
    (b, tier, key)
}

fn audit(b: &Bench, tier: &Arc<MemoryStore>, key: &str) -> AuditVerifyReport {
    let request = AuditRequest { key: Some(key.to_owned()), host: None };
    audit_verify(&b.world(tier), &request).expect("the audit runs")
}

fn sealer(tier: &MemoryStore) -> Sealer {
    Sealer::unlock(&tier.get("journal/identity.age").unwrap(), KEY).unwrap()
}

fn replaced(tier: &MemoryStore, key: &str, change: impl FnOnce(String) -> String) {
    let seal = sealer(tier);
    tier.tamper(key, |body| {
        let plain = String::from_utf8(seal.open(&body).unwrap()).unwrap();
        let changed = change(plain.clone());
        assert_ne!(plain, changed);
        Some(seal.seal(changed.as_bytes()).unwrap())
    });
}

#[test]
fn untouched_it_passes_and_says_what_a_tier_alone_cannot_show() {
    let (b, tier, key) = lost();
    let report = audit(&b, &tier, &key);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!((report.entries, report.anchored_to), (9, Some(9)));
    for said in ["leave no trace", "of 1 pieces of evidence that the ledger names, 1 in tier"] {
        assert!(report.statement.iter().any(|s| s.contains(said)), "{:?}", report.statement);
    }
    assert!(!b.state().exists(), "an audit leaves no trace");
}

type Change = fn(&MemoryStore);

fn entries(tier: &MemoryStore) -> Vec<String> {
    tier.keys("ledger/shop-1/entries")
}

fn remove(tier: &MemoryStore, key: &str) {
    tier.tamper(key, |_| None);
}

fn remove_last(tier: &MemoryStore, folder: &str) {
    remove(tier, tier.keys(&format!("ledger/shop-1/{folder}")).last().unwrap());
}

/// What a change of the tier is found as, and at which entry.
type Found = (&'static str, Change, FindingKind, Option<u64>);

fn each_is_found(matrix: &[Found]) {
    for (name, change, kind, seq) in matrix {
        let (b, tier, key) = lost();
        change(&tier);
        let report = audit(&b, &tier, &key);
        assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified), "{name}");
        let found = report.findings.iter().find(|f| f.kind == *kind);
        let found = found.unwrap_or_else(|| panic!("{name}: {:#?}", report.findings));
        assert!(seq.is_none() || found.seq == *seq, "{name}: {found:?} should be entry {seq:?}");
        assert_eq!(found.place, "local", "{name}: the tier's name");
    }
}

// Objects of the entries: 1 to 3, 4 to 5, 6 to 7 (the drill), 8 to 9.
#[test]
fn the_tier_alone_shows_what_was_done_to_it() {
    each_is_found(&[
        ("removed", |t| remove(t, &entries(t)[1]), FindingKind::Removed, Some(4)),
        ("first removed", |t| remove(t, &entries(t)[0]), FindingKind::Removed, Some(1)),
        ("cut off", |t| remove_last(t, "entries"), FindingKind::Truncated, Some(8)),
        (
            "all entries gone",
            |t| entries(t).iter().for_each(|key| remove(t, key)),
            FindingKind::Truncated,
            Some(1),
        ),
        (
            "edited",
            |t| replaced(t, &entries(t)[1], |plain| plain.replace("olga", "anna")),
            FindingKind::Edited,
            Some(4),
        ),
        (
            "reordered",
            |t| {
                replaced(t, &entries(t)[0], |plain| {
                    let lines: Vec<&str> = plain.lines().collect();
                    format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2])
                });
            },
            FindingKind::Reordered,
            None,
        ),
    ]);
}

#[test]
fn the_tier_alone_shows_what_was_done_to_checkpoints_and_evidence() {
    each_is_found(&[
        (
            "the last line of the last object",
            |t| {
                replaced(t, entries(t).last().unwrap(), |plain| {
                    format!("{}\n", plain.lines().next().unwrap())
                });
                remove_last(t, "checkpoints");
            },
            FindingKind::Unreadable,
            None,
        ),
        (
            "an old checkpoint under a newer name",
            |t| {
                let all = t.keys("ledger/shop-1/checkpoints");
                let old = t.get(&all[0]).unwrap();
                t.tamper(all.last().unwrap(), |_| Some(old.to_vec()));
            },
            FindingKind::Unreadable,
            None,
        ),
        ("evidence removed", |t| remove_last(t, "evidence"), FindingKind::Evidence, Some(7)),
        (
            "evidence edited",
            |t| {
                let key = t.keys("ledger/shop-1/evidence").remove(0);
                replaced(t, &key, |plain| plain.replace("olga", "anna"));
            },
            FindingKind::Evidence,
            Some(7),
        ),
    ]);
}

/// Entries cut off together with their checkpoints: the evidence still remembers them.
#[test]
fn evidence_remembers_entries_that_were_cut_off() {
    let (b, tier, key) = lost();
    for folder in ["entries", "checkpoints"] {
        for object in tier.keys(&format!("ledger/shop-1/{folder}")).split_off(2) {
            tier.tamper(&object, |_| None);
        }
    }
    let report = audit(&b, &tier, &key);
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    let found = report.findings.iter().find(|f| f.kind == FindingKind::Truncated).unwrap();
    assert!(found.what.contains("was made after entry 6"), "{found:?}");
    // Without it nothing tells, and the statement says so.
    for object in tier.keys("ledger/shop-1/evidence") {
        tier.tamper(&object, |_| None);
    }
    let report = audit(&b, &tier, &key);
    assert_eq!((report.verdict, report.entries), (Verdict::Pass, 5));
    assert!(report.statement.iter().any(|s| s.contains("leave no trace")));
}

/// With the local state, what only the tier shows counts as well.
#[test]
fn a_tier_that_lost_its_end_is_found_beside_a_whole_local_ledger() {
    let b = bench();
    let tier = b.tier();
    for _ in 0..2 {
        b.pass(60);
        backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    }
    let last = tier.keys("ledger/shop-1/entries").pop().unwrap();
    tier.tamper(&last, |_| None);
    let report = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    let found = report.findings.iter().find(|f| f.kind == FindingKind::Truncated).unwrap();
    assert_eq!((found.place.as_str(), found.seq), ("local", Some(4)));
}

#[test]
fn a_whole_chain_of_another_host_under_this_name_is_found() {
    let (b, tier, key) = lost();
    let other = b.tier();
    for object in tier.keys("") {
        let to = object.replace("ledger/shop-1/", "ledger/shop-9/");
        other.plant(&to, tier.get(&object).unwrap());
    }
    let request = AuditRequest { key: Some(key), host: Some("shop-9".into()) };
    let report = audit_verify(&b.world(&other), &request).unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.findings.iter().any(|f| f.kind == FindingKind::ForeignHost));
}
