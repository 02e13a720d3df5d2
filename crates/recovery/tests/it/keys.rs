//! A further key, another key, and a vault whose key leaked (TEC-31): one key always opens
//! everything, and the old one nothing that it should not.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::{Secret, VaultKey, World};
use lifeboat_recovery::flows::{
    self, At, AuditRequest, BackupRequest, CopyRequest, DrillRequest, KeyRequest, PruneRequest,
    VerifyRequest,
};
use lifeboat_recovery::report::KeyReport;
use lifeboat_recovery::seal::{IDENTITY, Sealer};
use lifeboat_recovery::tier::HOLD;
use lifeboat_testkit::{CrashStore, MemoryStore};
use lifeboat_vault::{KeyStrength, RepairOptions, Store};

use crate::bench::{Bench, KEY, bench, tree};
use crate::copy::{Pair, copy_folder, listed, restore};

const NEW: &str = "aa1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1bb";
const MORE: &str = "cc1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1dd";

fn request(key: &str) -> KeyRequest {
    KeyRequest {
        new: VaultKey { secret: Secret::new(key), strength: KeyStrength::Generated },
        file: "/new.key".into(),
        tier: None,
        to: None,
    }
}

/// The world of the one tier, with this key in the plan.
fn with(b: &mut Bench, tier: &Arc<MemoryStore>, key: &str) -> World {
    b.key = Some(key.to_owned());
    let world = b.world(tier);
    World { tiers: vec![world.tier.clone()], ..world }
}

/// True if this key alone, on a bare machine, opens the vault and all that is sealed.
fn opens_everything(tier: &Arc<MemoryStore>, key: &str) -> bool {
    let mut bare = bench();
    bare.pass(1_000_000);
    let world = with(&mut bare, tier, key);
    let Ok(report) = flows::list(&world, &Default::default()) else { return false };
    assert!(!report.snapshots.is_empty());
    report.snapshots.iter().all(|one| !one.foreign)
}

fn identities(tier: &MemoryStore) -> Vec<String> {
    tier.keys("journal")
}

fn unlocks(tier: &MemoryStore, key: &str) -> bool {
    Sealer::unlock(&tier.get(IDENTITY).unwrap(), key).is_ok()
}

fn backed_up() -> (Bench, Arc<MemoryStore>) {
    let b = bench();
    let tier = b.tier();
    flows::backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    b.pass(60);
    (b, tier)
}

fn exit(result: lifeboat_recovery::Result<KeyReport>) -> Exit {
    result.map_or_else(|error| error.exit(), |report| report.exit())
}

#[test]
fn a_further_key_opens_everything_too() {
    let (mut b, tier) = backed_up();
    let before = tier.keys("");
    let planned = flows::plan_key_add(&with(&mut b, &tier, KEY), &request(NEW)).unwrap();
    assert!(planned.dry_run && !planned.tiers[0].already && planned.tiers[0].others.len() == 1);
    assert_eq!(tier.keys(""), before, "a dry run leaves no trace");
    let report = flows::key_add(&with(&mut b, &tier, KEY), &request(NEW)).unwrap();
    assert!(!report.tiers[0].already && report.next.is_empty(), "{report:#?}");
    assert_eq!((tier.keys("vault/keys").len(), identities(&tier).len()), (2, 2));
    assert!(opens_everything(&tier, KEY) && opens_everything(&tier, NEW));
    assert!(!opens_everything(&tier, MORE));
    let again = flows::key_add(&with(&mut b, &tier, KEY), &request(NEW)).unwrap();
    assert!(again.tiers[0].already, "{again:#?}");
    assert_eq!((tier.keys("vault/keys").len(), identities(&tier).len()), (2, 2));
    assert_eq!(exit(flows::key_add(&with(&mut b, &tier, KEY), &request(KEY))), Exit::Refused);
    let all: Vec<u8> = tree(&b.state()).into_values().flatten().collect();
    for secret in [KEY, NEW] {
        let found = all.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "a key stands in the local state");
    }
}

#[test]
fn a_rotation_lets_the_new_key_in_and_the_old_one_out() {
    let (mut b, tier) = backed_up();
    // A second machine knows the tier as it was.
    let mut other = bench();
    (other.host, other.plan) = ("shop-2".into(), b.plan.clone());
    flows::backup(&other.world(&tier), &BackupRequest::default()).unwrap();
    let planned = flows::plan_key_rotate(&with(&mut b, &tier, KEY), &request(NEW)).unwrap();
    assert_eq!((planned.tiers[0].removed.len(), tier.keys("vault/keys").len()), (1, 1));
    let report = flows::key_rotate(&with(&mut b, &tier, KEY), &request(NEW)).unwrap();
    assert_eq!((report.exit(), &report.warnings), (Exit::Done, &vec![]), "{report:#?}");
    assert_eq!(report.tiers[0].removed.len(), 1);
    assert!(report.next[0].contains("/new.key"), "{:?}", report.next);
    assert!(opens_everything(&tier, NEW) && !opens_everything(&tier, KEY));
    assert_eq!(identities(&tier), [IDENTITY]);
    assert!(unlocks(&tier, NEW) && !unlocks(&tier, KEY));
    assert_eq!(exit(flows::key_rotate(&with(&mut b, &tier, MORE), &request(KEY))), Exit::Usage);
    // Both machines go on with the new key, and with the ledgers.
    for machine in [&mut b, &mut other] {
        machine.pass(120);
        let world = with(machine, &tier, NEW);
        let report = flows::backup(&world, &BackupRequest::default()).unwrap();
        assert!(!report.warnings.iter().any(|w| w.contains("sealed")), "{:#?}", report.warnings);
        let audit = flows::audit_verify(&world, &AuditRequest::default()).unwrap();
        assert_eq!(audit.verdict, Verdict::Pass, "{audit:#?}");
    }
    // It is not rotated to what it is.
    assert_eq!(exit(flows::key_rotate(&with(&mut b, &tier, NEW), &request(NEW))), Exit::Refused);
}

/// An identity that somebody put in its place is not taken, though the key opens it.
#[test]
fn another_identity_under_the_same_key_is_not_taken() {
    let (b, tier) = backed_up();
    let (_, sealed) = Sealer::generate(KEY, false).unwrap();
    tier.plant(IDENTITY, Bytes::from(sealed));
    let report = flows::backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let said = report.warnings.iter().any(|line| line.contains("is not the one that is known"));
    assert!(said, "{:#?}", report.warnings);
}

#[test]
fn keys_of_others_stay() {
    let (mut b, tier) = backed_up();
    flows::key_add(&with(&mut b, &tier, KEY), &request(MORE)).unwrap();
    let report = flows::key_rotate(&with(&mut b, &tier, KEY), &request(NEW)).unwrap();
    assert_eq!(report.tiers[0].others.len(), 1, "{report:#?}");
    assert!(opens_everything(&tier, NEW) && opens_everything(&tier, MORE));
    assert!(!opens_everything(&tier, KEY));
    assert_eq!(identities(&tier).len(), 2);
    // Whoever holds the further key rotates that one, and the first stays.
    flows::key_rotate(&with(&mut b, &tier, MORE), &request(KEY)).unwrap();
    assert!(opens_everything(&tier, NEW) && opens_everything(&tier, KEY));
    assert!(!opens_everything(&tier, MORE) && unlocks(&tier, NEW));
    assert_eq!(identities(&tier).len(), 2);
}

/// Killed after any write: the old or the new key opens everything, and the same command ends it,
/// whichever of the two stands in the plan by then.
#[test]
fn a_rotation_may_be_killed_after_each_write() {
    let (b, tier) = backed_up();
    let before = tempfile::tempdir().unwrap();
    copy_folder(&b.state(), before.path());
    let recording = Arc::new(CrashStore::recording(tier.image()));
    let world = b.world(&recording);
    let world = World { tiers: vec![world.tier.clone()], ..world };
    flows::key_rotate(&world, &request(NEW)).unwrap();
    let (writes, images) = (recording.writes(), recording.take_images());
    assert!(writes.iter().any(|write| write == &format!("remove {IDENTITY}")), "{writes:?}");
    // Neither locks nor the ledger change what a key opens.
    let telling = |write: &str| write.contains("vault/keys/") || write.contains("journal/");
    for (write, image) in writes.iter().zip(images).filter(|(write, _)| telling(write)) {
        // Its process is dead: the next one removes what it locked.
        for lock in image.keys("vault/locks") {
            image.tamper(&lock, |_| None);
        }
        let image = Arc::new(image);
        assert!(
            opens_everything(&image, KEY) || opens_everything(&image, NEW),
            "after {write}: neither key opens everything"
        );
        for in_plan in [KEY, NEW] {
            let tier = Arc::new(image.image());
            let mut b = bench();
            b.pass(3600);
            copy_folder(before.path(), &b.state());
            let world = with(&mut b, &tier, in_plan);
            match flows::key_rotate(&world, &request(NEW)) {
                Ok(_) => {}
                // Nothing was done yet, and the plan's key opens nothing.
                Err(error) if error.exit() == Exit::Usage && in_plan == NEW => continue,
                // Nothing is left to do.
                Err(error) => assert_eq!(error.exit(), Exit::Refused, "after {write}: {error}"),
            }
            let what = format!("after {write}, {in_plan} in the plan");
            assert!(opens_everything(&tier, NEW), "{what}");
            let world = with(&mut b, &tier, NEW);
            let audit = flows::audit_verify(&world, &AuditRequest::default()).unwrap();
            assert_eq!(audit.verdict, Verdict::Pass, "{what}: {audit:#?}");
            if in_plan == KEY {
                assert!(!opens_everything(&tier, KEY) && unlocks(&tier, NEW), "{what}");
                assert_eq!(identities(&tier), [IDENTITY], "{what}");
                assert_eq!(tier.keys("vault/keys").len(), 1, "{what}");
            }
        }
    }
}

#[test]
fn all_tiers_are_rotated_or_none() {
    let mut pair = Pair::new();
    pair.backups(1);
    flows::copy(&pair.first(), &CopyRequest::default()).unwrap();
    let empty = pair.b.tier();
    let unmounted = pair.b.world_of(&pair.tier, &empty);
    assert_eq!(exit(flows::key_rotate(&unmounted, &request(NEW))), Exit::Unreachable);
    assert!(opens_everything(&pair.tier, KEY), "nothing was changed in the first");
    let report = flows::key_rotate(&pair.first(), &request(NEW)).unwrap();
    assert_eq!(report.tiers.len(), 2, "{report:#?}");
    for tier in [&pair.tier, &pair.second] {
        assert!(opens_everything(tier, NEW) && !opens_everything(tier, KEY));
    }
    pair.b.key = Some(NEW.to_owned());
    pair.backups(1);
    assert_eq!(flows::copy(&pair.first(), &CopyRequest::default()).unwrap().copied.len(), 2);
}

fn compromised(pair: &Pair) -> lifeboat_recovery::Result<KeyReport> {
    flows::key_compromised(&pair.first(), &request(NEW))
}

/// What is true of a successor: everything is there, and no old secret opens it.
fn succeeded(pair: &mut Pair, snapshots: usize, what: &str) {
    pair.b.key = Some(NEW.to_owned());
    let world = pair.other();
    let there = listed(&world);
    assert_eq!(there.len(), snapshots, "{what}");
    assert!(there.iter().all(|one| !one.foreign && one.copy_of.is_some()), "{what}");
    assert!(!opens_everything(&pair.second, KEY), "{what}");
    let all = VerifyRequest { all: true, ..VerifyRequest::default() };
    assert_eq!(flows::verify(&world, &all).unwrap().verdict, Verdict::Pass, "{what}");
    let audit = flows::audit_verify(&world, &AuditRequest::default()).unwrap();
    assert_eq!(audit.verdict, Verdict::Pass, "{what}: {audit:#?}");
}

#[test]
fn a_successor_has_everything_and_shares_no_secret() {
    let mut pair = Pair::new();
    pair.backups(3);
    let drill = flows::drill(&pair.first(), &DrillRequest::default()).unwrap();
    assert_eq!(drill.verdict, Verdict::Pass);
    let old = listed(&pair.first()).pop().unwrap();
    let planned = flows::plan_key_compromised(&pair.first(), &request(NEW)).unwrap();
    let new = planned.successor.unwrap();
    assert_eq!((new.copied, new.vault, pair.second.keys("").len()), (6, None, 0));
    let report = compromised(&pair).unwrap();
    let new = report.successor.as_ref().unwrap();
    assert_eq!((report.exit(), new.copied, new.on_hold.len()), (Exit::Done, 6, 1), "{report:#?}");
    let (ours, theirs) = (pair.tier.keys("vault/data"), pair.second.keys("vault/data"));
    assert!(!theirs.is_empty() && theirs.iter().all(|pack| !ours.contains(pack)), "sealed anew");
    let again = compromised(&pair).unwrap().successor.unwrap();
    assert_eq!((again.copied, again.present), (0, 6), "{again:#?}");
    assert_eq!(theirs, pair.second.keys("vault/data"));

    let state = |tier: &str| pair.first().state.known_tier(tier).unwrap().unwrap();
    let (before, after) = (state("local"), state("second"));
    assert!(before.master != after.master && before.recipient != after.recipient);
    assert_eq!(before.successor.unwrap().vault, after.vault);
    assert!(!unlocks(&pair.second, KEY) && unlocks(&pair.second, NEW));

    // The old tier is read and nothing else, with the old key; with the new one not even that.
    let refused = |world: &World| {
        let backup = flows::backup(world, &BackupRequest::default()).unwrap_err();
        let prune = flows::prune(world, &PruneRequest::default()).unwrap_err();
        let planned = flows::plan_prune(world, &PruneRequest::default()).unwrap_err();
        [backup.exit(), prune.exit(), planned.exit()]
    };
    let vault = pair.tier.keys("vault");
    assert_eq!(refused(&pair.first()), [Exit::Refused; 3]);
    assert_eq!(vault, pair.tier.keys("vault"));
    let out = pair.b.folder.path().join("old");
    assert_eq!(restore(&pair.first(), "media", At::Newest, &out), Exit::Done);
    pair.b.key = Some(NEW.to_owned());
    assert_eq!(refused(&pair.first()), [Exit::Refused; 3]);
    let hint = flows::list(&pair.first(), &Default::default()).unwrap_err().hint().unwrap();
    assert!(hint.contains("[tier.second] before [tier.local]"), "{hint}");

    succeeded(&mut pair, 6, "at once");
    // Old ids are found, evidence came along, and life goes on.
    let at = At::Snapshot(old.snapshot[..16].to_owned());
    let out = pair.b.folder.path().join("by-old-id");
    assert_eq!(restore(&pair.other(), old.component.as_ref().unwrap(), at, &out), Exit::Done);
    pair.b.pass(60);
    let backup = flows::backup(&pair.other(), &BackupRequest::default()).unwrap();
    assert_eq!(backup.exit(), Exit::Done, "{backup:#?}");
    let status = flows::status(&pair.other()).unwrap();
    assert!(status.components.iter().all(|one| one.snapshots == 4), "{status:#?}");
    let drill = flows::drill(&pair.other(), &DrillRequest::default()).unwrap();
    assert_eq!(drill.verdict, Verdict::Pass);
    fs::remove_dir_all(pair.b.state()).unwrap();
    assert!(listed(&pair.other()).iter().all(|one| !one.foreign), "from the new tier alone");
}

/// The tier says it to machines that do not know.
#[test]
fn another_machine_does_not_prune_what_is_on_hold() {
    let pair = Pair::new();
    pair.backups(2);
    let all = VerifyRequest { all: true, ..VerifyRequest::default() };
    flows::verify(&pair.first(), &all).unwrap();
    compromised(&pair).unwrap();
    assert!(pair.tier.keys("").contains(&HOLD.to_owned()));
    fs::remove_dir_all(pair.b.state()).unwrap();
    let error = flows::prune(&pair.first(), &PruneRequest::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused, "{error}");
    // It backs up all the same, and is told: whoever can write there could have written that.
    pair.b.pass(60);
    let report = flows::backup(&pair.first(), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|line| line.contains("on hold")), "{report:#?}");
    // The mark of another vault is none.
    pair.tier
        .plant(HOLD, r#"{"format":1,"vault":"x","successor":"y","time":"2026-11-21T12:00:00Z"}"#);
    assert!(flows::plan_prune(&pair.first(), &PruneRequest::default()).is_ok());
    pair.tier.plant(HOLD, "not read");
    assert!(flows::plan_prune(&pair.first(), &PruneRequest::default()).is_err());
}

/// Nor does it mend the index or replace a key there: both remove something.
#[test]
fn another_machine_mends_and_rotates_nothing_on_hold() {
    let pair = Pair::new();
    pair.backups(2);
    compromised(&pair).unwrap();
    let lost = pair.tier.keys("vault/index").remove(0);
    pair.tier.tamper(&lost, |_| None);
    let vault = pair.tier.keys("vault");
    let options = RepairOptions::default();
    let rotate = KeyRequest { tier: Some("local".into()), ..request(MORE) };
    let refused = |what: &str| {
        let world = pair.first();
        let exits = [
            flows::repair_index(&world, &options).map_or_else(|e| e.exit(), |r| r.exit()),
            flows::plan_repair(&world, &options).map_or_else(|e| e.exit(), |r| r.exit()),
            exit(flows::key_rotate(&world, &rotate)),
            exit(flows::plan_key_rotate(&world, &rotate)),
        ];
        assert_eq!(exits, [Exit::Refused; 4], "{what}");
        assert_eq!(vault, pair.tier.keys("vault"), "{what}");
        assert!(opens_everything(&pair.tier, KEY) && !opens_everything(&pair.tier, MORE), "{what}");
    };
    // The machine that knows, where the tier does not say it, and one that only finds the mark.
    let mark = pair.tier.get(HOLD).unwrap();
    pair.tier.tamper(HOLD, |_| None);
    refused("known here");
    fs::remove_dir_all(pair.b.state()).unwrap();
    pair.tier.plant(HOLD, mark);
    refused("marked");
    // Without either it is a vault as any other.
    pair.tier.tamper(HOLD, |_| None);
    let mended = flows::repair_index(&pair.first(), &options).unwrap();
    assert!(mended.exit() == Exit::Done && !mended.added.is_empty(), "{mended:#?}");
    assert_eq!(exit(flows::key_rotate(&pair.first(), &rotate)), Exit::Done);
    assert!(opens_everything(&pair.tier, MORE) && !opens_everything(&pair.tier, KEY));
}

/// A vault that the leaked key opens is no successor.
#[test]
fn a_place_that_opens_with_the_old_key_is_refused() {
    let pair = Pair::new();
    pair.backups(1);
    assert_eq!(exit(flows::key_compromised(&pair.first(), &request(KEY))), Exit::Refused);
    // Its master key is the leaked one.
    flows::copy(&pair.first(), &CopyRequest::default()).unwrap();
    assert_eq!(exit(compromised(&pair)), Exit::Usage, "only the old key opens it");
    let only = KeyRequest { tier: Some("second".into()), ..request(NEW) };
    flows::key_rotate(&pair.first(), &only).unwrap();
    assert_eq!(exit(compromised(&pair)), Exit::Refused);
    assert!(pair.first().state.known_tier("local").unwrap().unwrap().successor.is_none());
    // Its master key is another one, and the old key opens it.
    let pair = Pair::new();
    pair.backups(1);
    let mut made = bench();
    made.plan = pair.b.plan.clone();
    flows::backup(&made.world(&pair.second), &BackupRequest::default()).unwrap();
    flows::key_add(&with(&mut made, &pair.second, KEY), &request(NEW)).unwrap();
    let snapshots = pair.second.keys("vault/snapshots");
    assert_eq!(exit(compromised(&pair)), Exit::Refused);
    assert_eq!(snapshots, pair.second.keys("vault/snapshots"));
}

/// What one tier has pruned, a copy of it may still have.
#[test]
fn every_tier_with_the_leaked_master_key_is_emptied_into_the_successor() {
    let pair = Pair::new();
    pair.backups(2);
    let third = Arc::new(MemoryStore::new(pair.b.clock.clone()));
    let fourth = pair.b.world_of(&pair.tier, &third).tiers[1].clone();
    let third_world = || {
        let world = pair.first();
        let tier = lifeboat_recovery::env::Tier { name: "third".into(), ..fourth.clone() };
        World { tiers: [world.tiers.clone(), vec![tier]].concat(), ..world }
    };
    let to_third = CopyRequest { what: vec![], to: Some("third".into()) };
    // The plan knows it too.
    let mut world = third_world();
    let text =
        pair.b.plan.replace("[tier.second]", "[tier.third]\nurl = \"/third\"\n[tier.second]");
    let plan = lifeboat_model::plan::Plan::parse(&[("lifeboat.toml", &text)]).unwrap();
    world.plan = Arc::new(plan);
    flows::copy(&world, &to_third).unwrap();
    let lost = pair.tier.keys("vault/snapshots").remove(0);
    pair.tier.tamper(&lost, |_| None);
    let request = KeyRequest { to: Some("second".into()), ..request(NEW) };
    let report = flows::key_compromised(&world, &request).unwrap();
    let new = report.successor.unwrap();
    assert_eq!((new.copied, new.on_hold.len()), (4, 2), "{new:#?}");
    assert_eq!(pair.second.keys("vault/snapshots").len(), 4);
    assert!(third.keys("").contains(&HOLD.to_owned()));
}

#[test]
fn a_successor_may_be_killed_after_each_write() {
    let pair = Pair::new();
    pair.backups(1);
    let before = tempfile::tempdir().unwrap();
    copy_folder(&pair.b.state(), before.path());
    let source = pair.tier.image();
    let recording = Arc::new(CrashStore::recording(pair.second.image()));
    flows::key_compromised(&pair.b.world_of(&pair.tier, &recording), &request(NEW)).unwrap();
    let (writes, images) = (recording.writes(), recording.take_images());
    for (write, image) in writes.iter().zip(images) {
        let mut b = bench();
        b.plan = pair.b.plan.clone();
        b.pass(3 * 3600);
        copy_folder(before.path(), &b.state());
        let tier = Arc::new(source.image());
        let mut killed = Pair { b, tier, second: Arc::new(image) };
        assert!(opens_everything(&killed.tier, KEY), "after {write}: the old vault is as it was");
        let report = compromised(&killed);
        let report = report.unwrap_or_else(|error| panic!("after {write}: {error}"));
        let new = report.successor.unwrap();
        assert_eq!(new.copied + new.present, 2, "after {write}: {new:#?}");
        succeeded(&mut killed, 2, &format!("after {write}"));
    }
}
