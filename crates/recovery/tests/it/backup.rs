//! Backup: what gets a snapshot, what is said, and what an unfit place leads to.

use std::fs;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::Error;
use lifeboat_recovery::flows::{
    At, BackupRequest, Destination, ListRequest, RestoreRequest, audit_log, backup, list,
    plan_backup, restore, status,
};
use lifeboat_recovery::report::ComponentOutcome;
use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::Store;
use lifeboat_vault::StoreErrorKind;

use crate::bench::{Backing, Bench, KEY, bench, files, tree};
use std::sync::Arc;

fn all() -> BackupRequest {
    BackupRequest::default()
}

fn run(b: &Bench, tier: &Arc<impl Backing + 'static>) -> lifeboat_recovery::report::BackupReport {
    backup(&b.world(tier), &all()).expect("the backup runs")
}

#[test]
fn a_run_gives_every_component_a_snapshot_of_one_run() {
    let (b, tier) = (bench(), bench().tier());
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert_eq!(report.warnings, Vec::<String>::new());
    let outcomes: Vec<_> =
        report.components.iter().map(|c| (c.component.as_str(), c.outcome)).collect();
    let saved = ComponentOutcome::Saved;
    assert_eq!(outcomes, [("orders", saved), ("media", saved)], "in recovery order");
    assert!(report.run.starts_with("20261121T120000Z-"), "{}", report.run);
    assert_eq!(report.components[0].level, Some("V1"), "read back (EDO-09, EDO-10)");
    assert_eq!(report.components[0].artefact.as_deref(), Some("orders_full_20261121_120000"));

    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.len(), 2);
    for snapshot in &listed.snapshots {
        assert_eq!(snapshot.run.as_ref(), Some(&report.run));
        assert!(!snapshot.foreign);
        assert_eq!(snapshot.level.as_deref(), Some("V1"));
    }
    let log = audit_log(&b.world(&tier), 10).unwrap();
    let said: Vec<_> =
        log.entries.iter().map(|e| (e.action.as_str(), e.outcome.as_str())).collect();
    assert_eq!(said, [("ledger", "begun"), ("backup", "started"), ("backup", "done")]);
    assert!(log.entries.iter().all(|e| e.operator == "olga" && e.shipped));
}

#[test]
fn the_plan_says_how_much_work_compression_is_worth() {
    // Words that people wrote: made-up ones gain nothing from more work.
    let text = include_str!("../../../../docs/guide.md");
    let stored = |degree: &str| {
        let (mut b, tier) = (bench(), bench().tier());
        b.plan = b.plan.replace("rto =", &format!("compression = \"{degree}\"\nrto ="));
        b.live.lock().unwrap().data.insert("media".to_owned(), files(&[("text", text)]));
        let report = run(&b, &tier);
        assert_eq!(report.exit(), Exit::Done, "{report:#?}");
        report.components[1].bytes_added
    };
    let (fast, best) = (stored("fast"), stored("best"));
    assert!(best < fast, "{best} {fast}");
}

/// Totals that were announced, bytes.
#[derive(Default)]
struct Totals(std::sync::Mutex<Vec<u64>>);

impl lifeboat_vault::Monitor for Totals {
    fn total(&self, stage: lifeboat_vault::Stage, bytes: u64, _: u64) {
        assert_eq!(stage, lifeboat_vault::Stage::Backup);
        self.0.lock().unwrap().push(bytes);
    }
    fn advance(&self, _: lifeboat_vault::Stage, _: u64, _: u64) {}
    fn note(&self, _: &str) {}
}

/// The time left needs a total: files are expected to be as many bytes as the last time.
#[test]
fn files_announce_the_size_of_their_parent() {
    let (b, tier) = (bench(), bench().tier());
    let announced = || {
        let totals = Arc::new(Totals::default());
        let mut world = b.world(&tier);
        world.monitor = totals.clone();
        let report = backup(&world, &all()).unwrap();
        (report, std::mem::take(&mut *totals.0.lock().unwrap()))
    };
    let (first, nothing_known) = announced();
    assert_eq!(nothing_known, Vec::<u64>::new());
    b.pass(60);
    let expected: Vec<u64> = first.components.iter().map(|c| listed_bytes(&b, &tier, c)).collect();
    assert!(expected.len() == 2 && expected.iter().all(|bytes| *bytes > 0));
    assert_eq!(announced().1, expected);
}

fn listed_bytes(
    b: &Bench,
    tier: &Arc<impl Backing + 'static>,
    saved: &lifeboat_recovery::report::ComponentBackup,
) -> u64 {
    let listed = list(&b.world(tier), &ListRequest::default()).unwrap();
    let row = listed.snapshots.iter().find(|s| Some(&s.snapshot) == saved.snapshot.as_ref());
    row.unwrap().bytes.unwrap()
}

#[test]
fn the_second_run_takes_the_first_as_parent() {
    let (b, tier) = (bench(), bench().tier());
    let first = run(&b, &tier);
    b.pass(60);
    let second = run(&b, &tier);
    assert_eq!(second.components[0].parent, first.components[0].snapshot);
    assert_ne!(second.run, first.run);
}

#[test]
fn one_component_that_fails_does_not_stop_the_others_exit_1() {
    let (b, tier) = (bench(), bench().tier());
    b.live().missing.push("orders".into());
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Failed);
    assert_eq!(report.components[0].outcome, ComponentOutcome::Failed);
    let error = report.components[0].error.as_ref().unwrap();
    assert_eq!(error.message, "/app/orders is missing");
    assert!(error.hint.is_some());
    assert_eq!(report.components[1].outcome, ComponentOutcome::Saved);
    let log = audit_log(&b.world(&tier), 1).unwrap();
    assert_eq!(log.entries[0].outcome, "failed");
}

#[test]
fn what_was_skipped_makes_a_partial_snapshot_exit_3() {
    let (b, tier) = (bench(), bench().tier());
    b.live().problems.insert("media".into(), vec!["c.jpg: permission denied".into()]);
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Problems);
    assert_eq!(report.components[1].outcome, ComponentOutcome::Partial);
    assert_eq!(report.components[1].problems.len(), 1);
    let listed = list(&b.world(&tier), &ListRequest { component: Some("media".into()) }).unwrap();
    assert!(listed.snapshots[0].partial, "a partial backup never looks whole");
}

#[test]
fn verify_right_after_the_backup_proves_each_new_snapshot() {
    let (b, tier) = (bench(), bench().tier());
    let request = BackupRequest { verify: true, ..all() };
    let report = backup(&b.world(&tier), &request).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    for component in &report.components {
        assert_eq!(component.level, Some("V4"));
        let proof = component.verification.as_ref().unwrap();
        assert_eq!((proof.verdict, proof.foreign), (Verdict::Pass, false), "it is this run's own");
        assert_eq!(proof.run.as_ref(), Some(&report.run));
    }
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert!(listed.snapshots.iter().all(|s| s.level.as_deref() == Some("V4")));
    assert!(tree(&b.state().join("scratch")).is_empty(), "the scratch folder is empty again");

    b.live().spoil = Some("media".into());
    let report = backup(&b.world(&tier), &request).unwrap();
    assert_eq!(report.exit(), Exit::Unverified);
}

#[test]
fn a_clock_that_was_set_back_is_said_and_recorded() {
    let (b, tier) = (bench(), bench().tier());
    run(&b, &tier);
    b.set_back(7200);
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Done);
    assert!(report.warnings.iter().any(|w| w.contains("was the clock set back?")), "{report:#?}");
    let log = audit_log(&b.world(&tier), 1).unwrap();
    assert!(log.entries[0].detail["warnings"].to_string().contains("set back"));
    // The newest by the ledger, not by the clock, is what a restore takes.
    let seen = status(&b.world(&tier)).unwrap();
    let newest = seen.components[0].newest.as_ref().unwrap();
    assert_eq!(Some(&newest.snapshot), report.components[0].snapshot.as_ref());
}

#[test]
fn a_dry_run_writes_nothing_at_all() {
    let (b, tier) = (bench(), bench().tier());
    let planned = plan_backup(&b.world(&tier), &all()).unwrap();
    assert!(planned.makes_vault);
    assert_eq!(planned.components.len(), 2);
    assert!(tier.keys("").is_empty());
    assert!(!b.state().exists());
    assert!(b.log().is_empty(), "the source was not read");

    run(&b, &tier);
    let (keys, local) = (tier.keys(""), tree(&b.state()));
    let planned = plan_backup(&b.world(&tier), &all()).unwrap();
    assert!(!planned.makes_vault && planned.components[0].parent.is_some());
    assert_eq!(tier.keys(""), keys);
    assert_eq!(tree(&b.state()), local);
}

#[test]
fn names_and_schedules() {
    let (b, tier) = (bench(), bench().tier());
    let error = |request: &BackupRequest| backup(&b.world(&tier), request).unwrap_err();
    let unknown = error(&BackupRequest { components: vec!["ordres".into()], ..all() });
    assert_eq!(unknown.exit(), Exit::NotFound);
    assert_eq!(unknown.hint().as_deref(), Some("did you mean `orders`?"));
    let unknown = error(&BackupRequest { schedule: Some("x".into()), ..all() });
    assert_eq!(unknown.exit(), Exit::Usage);

    let request = BackupRequest { schedule: Some("nightly".into()), ..all() };
    let report = backup(&b.world(&tier), &request).unwrap();
    assert_eq!(report.components.len(), 2);
    let one = BackupRequest { components: vec!["media".into()], ..all() };
    assert_eq!(backup(&b.world(&tier), &one).unwrap().components.len(), 1);
}

#[test]
fn a_second_process_on_the_same_component_is_told_exit_7() {
    let (b, tier) = (bench(), bench().tier());
    run(&b, &tier);
    let lock = b.state().join("locks/orders.lock");
    let held = lifeboat_recovery::state::FileLock::try_exclusive(&lock).unwrap().unwrap();
    let error = backup(&b.world(&tier), &all()).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    drop(held);
    run(&b, &tier);
}

#[test]
fn a_stop_request_keeps_what_is_done_exit_5() {
    let (b, tier) = (bench(), bench().tier());
    b.live().cancel_at = Some("media".into());
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Interrupted);
    assert_eq!(report.components[0].outcome, ComponentOutcome::Saved);
    assert_eq!(report.components[1].outcome, ComponentOutcome::Failed);
    let log = audit_log(&b.world(&tier), 1).unwrap();
    assert_eq!(log.entries[0].outcome, "stopped");
}

// ---- bad places

#[test]
fn an_unmounted_tier_is_unreachable_and_nothing_is_written_exit_8() {
    let (b, tier) = (bench(), bench().tier());
    run(&b, &tier);
    *b.mounted.lock().unwrap() = false;
    let keys = tier.keys("");
    let error = backup(&b.world(&tier), &all()).unwrap_err();
    assert!(matches!(error, Error::Unmounted { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.hint().unwrap().contains("mount"));
    assert_eq!(tier.keys(""), keys);
    *b.mounted.lock().unwrap() = true;
    // The attempt stands in the ledger all the same.
    let log = audit_log(&b.world(&tier), 2).unwrap();
    assert_eq!(log.entries[1].outcome, "failed");
    assert!(log.entries[1].detail["error"].as_str().unwrap().contains("known to be there"));
}

/// A disk that is mounted at `vault/`, and is not now: a second vault there would bar the real one.
#[test]
fn a_bare_vault_folder_is_no_place_for_a_second_vault() {
    let (b, tier) = (bench(), bench().tier());
    run(&b, &tier);
    let bare = b.tier();
    bare.create("vault/thesis.doc", &[bytes::Bytes::new()]).unwrap();
    let error = backup(&b.world(&bare), &all()).unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable, "{error:?}");
    assert_eq!(bare.keys(""), ["vault/thesis.doc"], "nothing was written");
    run(&b, &tier);

    // Nothing known of it: other things of that name are not adopted.
    let fresh = bench();
    let error = backup(&fresh.world(&bare), &all()).unwrap_err();
    assert!(matches!(&error, Error::NotAVault { found, .. } if found == &["vault/thesis.doc"]));
    assert_eq!(error.exit(), Exit::Refused);
    assert_eq!(bare.keys(""), ["vault/thesis.doc"]);
}

#[test]
fn the_vault_of_another_plan_is_refused_exit_4() {
    let (a, tier) = (bench(), bench().tier());
    run(&a, &tier);
    // Another plan with the same key, and without local state: the ledger tells.
    let mut other = bench();
    other.plan = other.plan.replace("\"Shop\"", "\"Blog\"");
    let keys = tier.keys("");
    let error = backup(&other.world(&tier), &all()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().contains("another plan") && error.to_string().contains("Shop"));
    assert_eq!(tier.keys(""), keys, "nothing was changed");

    // With local state: the vault is not the one that is known.
    let own = other.tier();
    run(&other, &own);
    let error = backup(&other.world(&tier), &all()).unwrap_err();
    assert!(matches!(error, Error::OtherVault { .. }), "{error:?}");
    assert_eq!(tier.keys(""), keys);
}

#[test]
fn a_wrong_or_missing_key_is_a_usage_error_exit_2() {
    let (mut b, tier) = (bench(), bench().tier());
    run(&b, &tier);
    let keys = tier.keys("");
    b.key = Some(KEY.replace('0', "9"));
    assert_eq!(backup(&b.world(&tier), &all()).unwrap_err().exit(), Exit::Usage);
    b.key = None;
    assert_eq!(backup(&b.world(&tier), &all()).unwrap_err().exit(), Exit::Usage);
    assert_eq!(tier.keys(""), keys);
    let text = format!("{:?}", b.world(&tier).key);
    assert!(!text.contains(KEY));
}

#[test]
fn a_folder_of_other_things_is_no_tier_exit_4() {
    let (b, tier) = (bench(), bench().tier());
    tier.plant("holiday.jpg", "x");
    let error = backup(&b.world(&tier), &all()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.hint().unwrap().contains("holiday.jpg"));
    assert_eq!(tier.keys(""), ["holiday.jpg"]);
}

#[test]
fn a_full_disk_is_said_and_the_next_run_goes_on() {
    let b = bench();
    let tier = Arc::new(FaultyStore::new(MemoryStore::new(b.clock.clone())));
    run(&b, &tier);
    b.set("media", "big.jpg", &"x".repeat(100_000));
    tier.no_space_after(200);
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Failed);
    let error = report.components[1].error.as_ref().unwrap();
    assert_eq!(error.message, "no space left");
    assert!(error.hint.as_ref().unwrap().contains("free some space"));
    assert!(report.warnings.iter().any(|w| w.contains("could not be brought to tier")));
    tier.disarm();
    let report = run(&b, &tier);
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert!(audit_log(&b.world(&tier), 99).unwrap().entries.iter().all(|e| e.shipped));
}

#[test]
fn a_tier_that_refuses_access_is_unreachable_exit_8() {
    let b = bench();
    let tier = Arc::new(FaultyStore::new(MemoryStore::new(b.clock.clone())));
    tier.arm(Fault::always(Verb::Create, "", StoreErrorKind::Denied));
    let error = backup(&b.world(&tier), &all()).unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.hint().unwrap().contains("owner and mode"));
}

fn renamed(b: &mut Bench, from: &str, to: &str) {
    b.plan = b.plan.replace(&format!("name = \"{from}\""), &format!("name = \"{to}\""));
}

/// The name in the plan is the plan's to change: every machine that has the new one goes on.
#[test]
fn a_renamed_plan_keeps_its_vault_on_a_bare_machine_too() {
    let (mut b, tier) = (bench(), bench().tier());
    fs::create_dir_all(b.app()).unwrap();
    fs::write(b.app().join("lifeboat.toml"), "the plan").unwrap();
    run(&b, &tier);
    renamed(&mut b, "Shop", "Store");
    let report = run(&b, &tier);
    assert!(
        report.warnings.iter().any(|w| w.contains("renamed from Shop to Store")),
        "{report:#?}"
    );
    assert!(!run(&b, &tier).warnings.iter().any(|w| w.contains("renamed")), "said once");

    fs::remove_dir_all(b.state()).unwrap();
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.len(), 6);
    assert!(!listed.warnings.iter().any(|w| w.contains("another plan")), "{:?}", listed.warnings);
    assert_eq!(run(&b, &tier).exit(), Exit::Done);
}

/// A second plan in the same folder shares the state folder unless it says otherwise: it gets no
/// vault by that.
#[test]
fn a_second_plan_file_does_not_back_up_into_the_first_ones_vault_exit_4() {
    let (mut b, tier) = (bench(), bench().tier());
    fs::create_dir_all(b.app()).unwrap();
    fs::write(b.app().join("lifeboat.toml"), "the plan").unwrap();
    run(&b, &tier);
    let (keys, local) = (tier.keys(""), tree(&b.state()));
    renamed(&mut b, "Shop", "Blog");
    b.plan_file = "blog.toml".into();
    for error in [
        backup(&b.world(&tier), &all()).unwrap_err(),
        plan_backup(&b.world(&tier), &all()).unwrap_err(),
    ] {
        assert_eq!(error.exit(), Exit::Refused, "{error:?}");
        assert!(error.to_string().contains("Shop"), "{error}");
        assert!(error.hint().unwrap().contains("plan.state"), "{:?}", error.hint());
    }
    *b.mounted.lock().unwrap() = false;
    assert_eq!(backup(&b.world(&tier), &all()).unwrap_err().exit(), Exit::Refused);
    *b.mounted.lock().unwrap() = true;
    assert_eq!((tier.keys(""), tree(&b.state())), (keys.clone(), local.clone()), "nothing changed");

    // What only reads says so and reads; nothing of it is recorded.
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.len(), 2);
    assert!(listed.warnings.iter().any(|w| w.contains("another plan")), "{:?}", listed.warnings);
    let to = b.folder.path().join("out");
    let report = restore(&b.world(&tier), &restore_to("media", to.clone())).unwrap();
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert!(report.warnings.iter().any(|w| w.contains("not recorded")), "{:?}", report.warnings);
    assert!(to.join("a.jpg").exists());
    let ledger = |tree: &std::collections::BTreeMap<String, Vec<u8>>| {
        tree.iter().filter(|(name, _)| name.ends_with(".jsonl")).map(|e| e.1.clone()).next()
    };
    assert_eq!((tier.keys(""), ledger(&tree(&b.state()))), (keys, ledger(&local)));
    // On a bare machine the ledger in the tier tells, and a restore does not change that.
    fs::remove_dir_all(b.state()).unwrap();
    let to = b.folder.path().join("bare");
    let report = restore(&b.world(&tier), &restore_to("media", to)).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("another plan")), "{:?}", report.warnings);
    assert_eq!(backup(&b.world(&tier), &all()).unwrap_err().exit(), Exit::Refused);

    // The first plan moved to another file and keeps its name: the same plan.
    renamed(&mut b, "Blog", "Shop");
    assert_eq!(run(&b, &tier).exit(), Exit::Done);
}

fn restore_to(component: &str, target: std::path::PathBuf) -> RestoreRequest {
    RestoreRequest {
        components: vec![component.to_owned()],
        all: false,
        at: At::Newest,
        verified_only: false,
        base: None,
        prepare_only: false,
        to: Destination::Folder(target),
        path: None,
        keep_failed: false,
    }
}
