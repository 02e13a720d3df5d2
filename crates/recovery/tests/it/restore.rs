//! Restore: beside, judged, put there last; nothing half-restored looks finished.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::Error;
use lifeboat_recovery::flows::{
    At, BackupRequest, Destination, ListRequest, RestoreRequest, VerifyRequest, audit_log, backup,
    list, plan_backup, plan_restore, restore, status, verify,
};
use lifeboat_recovery::prove::WHOLE;
use lifeboat_recovery::report::RestoreReport;
use lifeboat_testkit::MemoryStore;

use crate::bench::{Bench, bench, tree};

fn saved() -> (Bench, Arc<MemoryStore>) {
    let b = bench();
    let tier = b.tier();
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    b.pass(90);
    (b, tier)
}

fn to(b: &Bench, name: &str) -> PathBuf {
    b.folder.path().join("target").join(name)
}

fn one(component: &str, target: PathBuf) -> RestoreRequest {
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

fn every(target: PathBuf) -> RestoreRequest {
    RestoreRequest { components: Vec::new(), all: true, ..one("", target) }
}

fn run(b: &Bench, tier: &Arc<MemoryStore>, request: &RestoreRequest) -> RestoreReport {
    restore(&b.world(tier), request).unwrap()
}

fn refused(b: &Bench, tier: &Arc<MemoryStore>, request: &RestoreRequest) -> Error {
    restore(&b.world(tier), request).unwrap_err()
}

#[test]
fn a_component_comes_back_as_it_was_without_lifeboats_own_file() {
    let (b, tier) = saved();
    let target = to(&b, "orders");
    let report = run(&b, &tier, &one("orders", target.clone()));
    assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Done), "{report:#?}");
    let found = tree(&target);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["orders.txt", "rows"]);
    assert_eq!(found, b.live().data["orders"]);
    let component = &report.components[0];
    let lost = component.rpo_seconds.map(f64::floor);
    assert_eq!(lost, Some(90.0), "from the capture's start to the restore");
    assert!(report.rto_seconds.is_some());
    assert!(component.checks.iter().any(|c| c.name == "orders present"));
    assert_eq!(tree(target.parent().unwrap()).keys().filter(|k| k.contains("partial")).count(), 0);
    let log = audit_log(&b.world(&tier), 1).unwrap();
    assert_eq!(
        (log.entries[0].action.as_str(), log.entries[0].outcome.as_str()),
        ("restore", "done")
    );
    // A copy that was proven in a restore is proven.
    let listed = list(&b.world(&tier), &ListRequest { component: Some("orders".into()) }).unwrap();
    assert_eq!(listed.snapshots[0].level.as_deref(), Some("V4"));
}

#[test]
fn all_components_with_the_skew_between_them() {
    let (b, tier) = saved();
    let only = BackupRequest { components: vec!["media".into()], ..BackupRequest::default() };
    backup(&b.world(&tier), &only).unwrap();
    let plan = b.plan.replace(
        "checks = [{",
        "checks = [{ name = \"each row has its file\", query = \"rows\", exists_in = \"media\" }, {",
    );
    let b = Bench { plan, ..b };
    let target = to(&b, "everything");
    let report = run(&b, &tier, &every(target.clone()));
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert_eq!(tree(&target.join("orders")), b.live().data["orders"]);
    assert_eq!(tree(&target.join("media")), b.live().data["media"]);
    assert_eq!(report.skew_seconds.map(f64::floor), Some(90.0));
    assert_eq!(report.skew[0].behind_seconds.floor(), 90.0);
    assert_eq!(report.together[0].verdict, Verdict::Pass);

    // A row whose file is not there fails its component, and the other comes back.
    b.live().data.get_mut("media").unwrap().remove("b.jpg");
    backup(&b.world(&tier), &only).unwrap();
    let target = to(&b, "again");
    let report = run(&b, &tier, &every(target.clone()));
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified));
    assert!(report.together[0].found.contains("b.jpg"));
    assert!(!target.join("orders").exists() && target.join("media").exists());
    // Alone the question cannot be asked, which is said.
    let report = run(&b, &tier, &one("orders", to(&b, "alone")));
    assert_eq!(report.exit(), Exit::Done);
    assert!(report.warnings.iter().any(|w| w.contains("each row has its file")));
}

#[test]
fn at_an_instant_or_a_snapshot() {
    let (b, tier) = saved();
    let first = b.clock.clone();
    let early = lifeboat_vault::Clock::wall(&*first);
    b.pass(100);
    b.set("orders", "rows", "newer\n");
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let at = |at: At, name: &str| {
        let request = RestoreRequest { at, ..one("orders", to(&b, name)) };
        run(&b, &tier, &request);
        tree(&to(&b, name))["rows"].clone()
    };
    assert_eq!(at(At::Newest, "a"), b"newer\n");
    assert_eq!(at(At::Time(early), "b"), b"a.jpg\nb.jpg\n");
    let listed = list(&b.world(&tier), &ListRequest { component: Some("orders".into()) }).unwrap();
    let oldest = listed.snapshots.last().unwrap().snapshot.clone();
    assert_eq!(at(At::Snapshot(oldest[..8].to_owned()), "c"), b"a.jpg\nb.jpg\n");

    let before: jiff::Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let request = |at| RestoreRequest { at, ..one("orders", to(&b, "d")) };
    assert_eq!(refused(&b, &tier, &request(At::Time(before))).exit(), Exit::NotFound);
    let unknown = request(At::Snapshot("00000000".into()));
    assert_eq!(refused(&b, &tier, &unknown).exit(), Exit::NotFound);
    let error = refused(
        &b,
        &tier,
        &RestoreRequest { at: At::Snapshot(oldest), ..one("media", to(&b, "d")) },
    );
    assert!(error.to_string().contains("one of component orders"), "{error}");
    assert!(!to(&b, "d").exists());
}

/// `--at T` never brings back what was written after T, though the capture began before.
#[test]
fn an_instant_inside_a_capture_takes_the_one_before() {
    let (b, tier) = saved();
    b.set("orders", "rows", "newer\n");
    b.live().slow.insert("orders".into(), 600);
    let began = lifeboat_vault::Clock::wall(&*b.clock);
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let after = lifeboat_vault::Clock::wall(&*b.clock);
    let at = |time, name: &str| {
        let request = RestoreRequest { at: At::Time(time), ..one("orders", to(&b, name)) };
        let report = run(&b, &tier, &request);
        (tree(&to(&b, name))["rows"].clone(), report.components[0].passed_over.clone())
    };
    let within = began + jiff::SignedDuration::from_secs(300);
    let (rows, passed_over) = at(within, "within");
    assert_eq!(rows, b"a.jpg\nb.jpg\n", "the newer one was still being read");
    assert!(passed_over[0].why.contains("holds data up to"), "{passed_over:?}");
    assert_eq!(at(after, "after").0, b"newer\n");
    // The tier alone tells the same; and so do the manifests, where the ledger does not say it.
    let bare = bench();
    bare.pass(9999);
    let request = RestoreRequest { at: At::Time(within), ..one("orders", to(&bare, "a")) };
    run(&bare, &tier, &request);
    assert_eq!(tree(&to(&bare, "a"))["rows"], b"a.jpg\nb.jpg\n");
    let catalog = rusqlite::Connection::open(b.state().join("catalog.db")).unwrap();
    catalog.execute("update snapshots set read_until = null", []).unwrap();
    assert_eq!(at(within, "manifests").0, b"a.jpg\nb.jpg\n");
    assert_eq!(at(after, "manifests after").0, b"newer\n");
}

#[test]
fn verified_only_takes_what_was_proven() {
    let (b, tier) = saved();
    let request = RestoreRequest { verified_only: true, ..one("orders", to(&b, "a")) };
    let error = refused(&b, &tier, &request);
    assert_eq!(error.exit(), Exit::NotFound);
    assert!(error.hint().unwrap().contains("not verified"), "{:?}", error.hint());
    verify(&b.world(&tier), &VerifyRequest::default()).unwrap();
    b.pass(10);
    b.set("orders", "rows", "newer, unproven\n");
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    run(&b, &tier, &request);
    assert_eq!(tree(&to(&b, "a"))["rows"], b"a.jpg\nb.jpg\n");
}

#[test]
fn a_part_of_a_component() {
    let (b, tier) = saved();
    let part = |path: &str, name: &str| RestoreRequest {
        path: Some(path.into()),
        ..one("media", to(&b, name))
    };
    let report = run(&b, &tier, &part("a.jpg", "a"));
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert_eq!(tree(&to(&b, "a")).keys().collect::<Vec<_>>(), ["a.jpg"]);
    let listed = list(&b.world(&tier), &ListRequest { component: Some("media".into()) }).unwrap();
    assert_eq!(
        listed.snapshots[0].level.as_deref(),
        Some("V1"),
        "a part proves nothing of the whole"
    );
    let report = run(&b, &tier, &part("none.jpg", "b"));
    assert_ne!(report.exit(), Exit::Done);
    assert!(!to(&b, "b").exists());
}

#[test]
fn a_copy_that_fails_its_checks_never_appears() {
    let (b, tier) = saved();
    b.live().spoil = Some("orders".into());
    let target = to(&b, "a");
    let report = run(&b, &tier, &one("orders", target.clone()));
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified));
    assert!(!target.exists());
    assert_eq!(report.rto_seconds, None, "what did not come back has no recovery time");
    assert_eq!(report.components[0].rpo_seconds, None);
    assert!(serde_json::to_value(&report).unwrap()["rto_seconds"].is_null());
    assert!(tree(target.parent().unwrap()).is_empty(), "and leaves nothing beside it");
    assert!(
        report.components[0].error.as_ref().unwrap().message.contains("fingerprint")
            || report.components[0].error.as_ref().unwrap().message.contains("files")
    );

    let request = RestoreRequest { keep_failed: true, ..one("orders", target.clone()) };
    let request = RestoreRequest {
        at: At::Snapshot(report.components[0].snapshot.clone().unwrap()),
        ..request
    };
    let report = run(&b, &tier, &request);
    let kept = PathBuf::from(report.components[0].failed_copy.clone().unwrap());
    assert!(!target.exists() && kept.join("spoilt").exists());
    assert!(kept.to_string_lossy().contains(".lifeboat-partial-"), "{kept:?}");
}

/// Promise 1: a checker that finds nothing to check is no pass.
#[test]
fn a_checker_that_looks_at_nothing_keeps_the_copy_back() {
    let (b, tier) = saved();
    b.live().blind = true;
    let report = run(&b, &tier, &one("orders", to(&b, "a")));
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::Unverified));
    assert!(!to(&b, "a").exists());
    let checked = verify(&b.world(&tier), &VerifyRequest::default()).unwrap();
    assert_eq!((checked.verdict, checked.exit()), (Verdict::Inconclusive, Exit::Unverified));
}

#[test]
fn a_failed_check_of_the_plan_keeps_the_copy_back() {
    let (b, tier) = saved();
    let plan = b.plan.replace("min = 1", "min = 100");
    let b = Bench { plan, ..b };
    let report = run(&b, &tier, &one("orders", to(&b, "a")));
    assert_eq!(report.exit(), Exit::Unverified);
    assert!(!to(&b, "a").exists());
    let error = report.components[0].error.as_ref().unwrap();
    assert!(error.message.contains("orders present"), "{error:?}");
    // The snapshot itself is sound: it is not marked as bad.
    let listed = list(&b.world(&tier), &ListRequest { component: Some("orders".into()) }).unwrap();
    assert_eq!(listed.snapshots[0].verdict, Some(Verdict::Pass));
}

#[test]
fn a_damaged_snapshot_fails_and_the_others_come_back() {
    let (b, tier) = saved();
    let before = tier.keys("vault/data");
    b.set("orders", "rows", "new and soon damaged\n");
    let only = BackupRequest { components: vec!["orders".into()], ..BackupRequest::default() };
    backup(&b.world(&tier), &only).unwrap();
    for key in tier.keys("vault/data").iter().filter(|key| !before.contains(key)) {
        tier.tamper(key, |_| None);
    }
    let target = to(&b, "a");
    let report = run(&b, &tier, &every(target.clone()));
    assert_eq!(report.exit(), Exit::Unverified, "{report:#?}");
    assert!(!target.join("orders").exists());
    assert_eq!(tree(&target.join("media")), b.live().data["media"]);
}

/// A target never holds a part of the components: all of them come by one rename. Here the second
/// could not be put beside the first.
#[test]
fn several_components_are_put_in_place_at_once_or_not_at_all() {
    let (b, tier) = saved();
    let target = to(&b, "a");
    b.live().plant = Some(target.join("media/not ours"));
    let error = refused(&b, &tier, &every(target.clone()));
    assert!(error.to_string().contains("put in place"), "{error}");
    assert_eq!(tree(&target).keys().collect::<Vec<_>>(), ["media/", "media/not ours/"]);
    assert_eq!(tree(target.parent().unwrap()).keys().filter(|k| k.contains("partial")).count(), 0);
    b.live().plant = None;
    // One that failed is kept apart, where it was asked for, and is not delivered with the rest.
    b.live().spoil = Some("orders".into());
    let target = to(&b, "b");
    let report = run(&b, &tier, &RestoreRequest { keep_failed: true, ..every(target.clone()) });
    assert_eq!(tree(&target).keys().filter(|k| k.starts_with("orders")).count(), 0);
    assert_eq!(tree(&target.join("media")), b.live().data["media"]);
    let kept = report.components.iter().find_map(|c| c.failed_copy.clone()).unwrap();
    assert!(PathBuf::from(kept).join("spoilt").exists());
}

// ---- where it may not write

#[test]
fn targets_that_are_refused_exit_4() {
    let (b, tier) = saved();
    let app = b.app();
    fs::create_dir_all(app.join("media/sub")).unwrap();
    fs::create_dir_all(to(&b, "full")).unwrap();
    fs::write(to(&b, "full").join("x"), b"mine").unwrap();
    fs::write(b.folder.path().join("file"), b"mine").unwrap();
    std::os::unix::fs::symlink(app.join("media"), b.folder.path().join("link")).unwrap();
    let cases = [
        (to(&b, "full"), "is not empty"),
        (b.folder.path().join("file"), "is not a folder"),
        (app.join("media/sub/new"), "lies inside the source"),
        (app.join("orders"), "lies inside the source"),
        (b.folder.path().join("link/new"), "lies inside the source"),
        (app.join("media/../media/x"), "lies inside the source"),
        (b.state().join("x"), "lies inside the state folder"),
    ];
    for (target, why) in cases {
        let error = refused(&b, &tier, &one("orders", target.clone()));
        assert_eq!(error.exit(), Exit::Refused, "{target:?}");
        assert!(error.to_string().contains(why), "{target:?}: {error}");
        assert!(error.hint().is_some());
    }
    assert_eq!(fs::read(to(&b, "full").join("x")).unwrap(), b"mine");
    assert!(!app.join("media/sub/new").exists());
    // A folder that would hold the source.
    let plan = b.plan.replace("paths = [\"media\"]", "paths = [\"lost/app/media\"]");
    let b = Bench { plan, ..b };
    let error = refused(&b, &tier, &one("orders", b.app().join("lost")));
    assert!(error.to_string().contains("the source") && error.to_string().contains("lies inside"));
}

/// Also a tier that this version does not carry out, and the folder of a key.
#[test]
fn no_target_inside_any_tier_or_beside_a_key() {
    let (mut b, tier) = saved();
    let folder = |name: &str| to(&b, name).display().to_string();
    let further = format!(
        "[key]\nvault_file = \"{}/vault.key\"\nidentity_file = \"id.txt\"\n[tier.second]\nurl = \
         \"{}\"\n[tier.local]",
        folder("keys"),
        folder("second")
    );
    b.plan = b.plan.replace("[tier.local]", &further);
    for (name, why) in [
        ("second/new", "lies inside tier"),
        ("second", "lies inside tier"),
        ("keys/new", "lies inside the folder of a key"),
    ] {
        let error = refused(&b, &tier, &one("orders", to(&b, name)));
        assert_eq!(error.exit(), Exit::Refused, "{name}");
        assert!(error.to_string().contains(why), "{name}: {error}");
    }
    // The folder of the plan is the application's own, whatever key lies in it.
    let report = run(&b, &tier, &one("orders", b.app().join("restored")));
    assert_eq!(report.exit(), Exit::Done);
}

/// A data directory of PostgreSQL, whether a server runs there now or not, and whoever's it is.
#[test]
fn no_target_on_the_data_of_a_server() {
    let (mut b, tier) = saved();
    let live = to(&b, "live");
    fs::create_dir_all(live.join("pgdata")).unwrap();
    fs::write(live.join("pgdata/PG_VERSION"), b"15\n").unwrap();
    // Production's own, by the plan: also while its server is down.
    b.plan += &format!(
        "\n[component.crm]\npostgres = {{ dsn_env = \"DSN\", data_dir = \"{}\" }}\n",
        live.join("pgdata").display()
    );
    let over = |folder: &Path| RestoreRequest {
        to: Destination::Over { folder: folder.to_owned(), delete: false },
        ..one("orders", folder.to_owned())
    };
    for folder in [live.clone(), live.join("pgdata"), live.join("pgdata/base")] {
        let error = refused(&b, &tier, &over(&folder));
        assert_eq!(error.exit(), Exit::Refused, "{folder:?}");
        assert!(error.to_string().contains("the source"), "{folder:?}: {error}");
    }
    // One that no plan names, as long as it runs: asked of the adapter.
    let elsewhere = to(&b, "elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(elsewhere.join("mine"), b"mine").unwrap();
    let mut world = b.world(&tier);
    let used = elsewhere.clone();
    world.adapters.in_use =
        Arc::new(move |folder| (folder == used).then(|| "a server runs there".to_owned()));
    let error = restore(&world, &over(&elsewhere)).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().contains("is in use: a server runs there"), "{error}");
    assert_eq!(tree(&elsewhere).len(), 1);
}

#[test]
fn an_existing_empty_folder_is_a_fine_target() {
    let (b, tier) = saved();
    let target = to(&b, "empty");
    fs::create_dir_all(target.join("lost+found")).unwrap();
    fs::remove_dir(target.join("lost+found")).unwrap();
    let report = run(&b, &tier, &one("orders", target.clone()));
    assert_eq!(report.exit(), Exit::Done);
    assert_eq!(tree(&target), b.live().data["orders"]);
}

#[test]
fn without_room_it_is_refused_before_anything_is_written_exit_4() {
    let (b, tier) = saved();
    *b.free.lock().unwrap() = Some(10);
    let error = refused(&b, &tier, &one("orders", to(&b, "a")));
    assert_eq!(error.exit(), Exit::Refused);
    assert!(!b.folder.path().join("target").exists());
    *b.free.lock().unwrap() = None;
    assert_eq!(
        run(&b, &tier, &one("orders", to(&b, "a"))).exit(),
        Exit::Done,
        "unknown is no refusal"
    );
}

#[test]
fn what_a_killed_restore_left_is_removed_at_the_next_start() {
    let (b, tier) = saved();
    let left = to(&b, "a.lifeboat-partial-0badcafe");
    fs::create_dir_all(left.join("data")).unwrap();
    let records = b.state().join("staging");
    fs::create_dir_all(&records).unwrap();
    let record = serde_json::json!({"format": 1, "folder": left, "purpose": "restore"});
    fs::write(records.join("0badcafe.json"), record.to_string()).unwrap();
    let report = run(&b, &tier, &one("orders", to(&b, "b")));
    assert!(
        report.warnings.iter().any(|w| w.contains("left by a restore")),
        "{:?}",
        report.warnings
    );
    assert!(!left.exists());
}

#[test]
fn a_stop_request_leaves_nothing_behind_exit_5() {
    let (b, tier) = saved();
    b.cancel.cancel();
    let error = refused(&b, &tier, &one("orders", to(&b, "a")));
    assert_eq!(error.exit(), Exit::Interrupted);
    assert!(tree(&b.folder.path().join("target")).is_empty());
}

/// The proof of a tree is a part of its restore: what stands there already is for the next run.
#[test]
fn a_stop_request_in_the_proof_keeps_what_was_restored() {
    let (b, tier) = saved();
    b.live().cancel_at = Some("media".into());
    let error = refused(&b, &tier, &one("media", to(&b, "a")));
    assert_eq!(error.exit(), Exit::Interrupted);
    let kept = tree(&b.folder.path().join("target"));
    let bodies: Vec<_> = kept.values().collect();
    let media = b.live().data["media"].clone();
    assert!(media.values().all(|body| bodies.contains(&body)), "{:?}", kept.keys());
}

/// What was hashed neither in memory nor in the target is not called whole, and is not delivered.
#[test]
fn a_tree_that_was_not_read_back_to_its_end_is_not_called_whole() {
    let (b, tier) = saved();
    b.live().unread = true;
    let report = run(&b, &tier, &one("media", to(&b, "a")));
    let entry = &report.components[0];
    let whole = entry.checks.iter().find(|check| check.name == WHOLE).unwrap();
    assert_eq!(whole.verdict, Verdict::Inconclusive, "{whole:?}");
    assert!(whole.found.contains("read back"), "{whole:?}");
    assert_ne!(report.exit(), Exit::Done);
    assert!(!to(&b, "a").exists());
}

#[test]
fn a_dry_run_shows_the_steps_and_writes_nothing() {
    let (b, tier) = saved();
    let (keys, local) = (tier.keys(""), tree(&b.state()));
    let planned = plan_restore(&b.world(&tier), &every(to(&b, "a"))).unwrap();
    assert_eq!(planned.components.len(), 2);
    assert!(planned.bytes_needed > 0 && planned.components[0].steps.len() > 2);
    assert_eq!((tier.keys(""), tree(&b.state())), (keys, local));
    assert!(!to(&b, "a").exists());
}

#[test]
fn a_bare_machine_restores_from_the_tier_alone() {
    let (b, tier) = saved();
    let bare = bench();
    bare.pass(500);
    let target = to(&bare, "everything");
    let report = run(&bare, &tier, &every(target.clone()));
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert_eq!(tree(&target.join("media")), b.live().data["media"]);
}

/// Two hosts of one plan and tier: their ledgers' numbers are no common order, and their data is
/// not each other's.
#[test]
fn each_host_gets_its_own_newest_and_a_new_one_gets_the_newest_of_all() {
    let (b, tier) = saved();
    let mut other = bench();
    other.host = "shop-2".into();
    other.pass(600);
    other.set("media", "a.jpg", "theirs");
    backup(&other.world(&tier), &BackupRequest::default()).unwrap();
    b.pass(1200);
    b.set("media", "a.jpg", "ours, newer");
    let newest = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(!newest.warnings.iter().any(|w| w.contains("set back")), "{:?}", newest.warnings);
    let id = newest.components.iter().find(|c| c.component == "media").unwrap().snapshot.clone();
    b.pass(60);

    let report = run(&b, &tier, &one("media", to(&b, "ours")));
    let came = &report.components[0];
    assert_eq!(came.snapshot, id, "{report:#?}");
    assert_eq!(fs::read(to(&b, "ours").join("a.jpg")).unwrap(), b"ours, newer");
    assert_eq!(report.warnings, Vec::<String>::new());
    let seen = status(&b.world(&tier)).unwrap();
    let media = seen.components.iter().find(|c| c.component == "media").unwrap();
    assert_eq!(media.newest.as_ref().map(|point| point.snapshot.clone()), id);
    let next = plan_backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    let media = next.components.iter().find(|c| c.component == "media").unwrap();
    assert_eq!(media.parent, id);

    // The other host has its own, older one; that there is a newer one is said.
    other.pass(3600);
    let report = run(&other, &tier, &one("media", to(&other, "theirs")));
    assert_eq!(fs::read(to(&other, "theirs").join("a.jpg")).unwrap(), b"theirs");
    let said =
        |report: &RestoreReport, what: &str| report.warnings.iter().any(|w| w.contains(what));
    assert!(said(&report, "host shop-1 took a newer one"), "{:?}", report.warnings);
    assert!(!said(&report, "set back"), "{:?}", report.warnings);

    // A host that has none of its own takes the newest of all, and says whose it is.
    let mut third = bench();
    third.host = "shop-3".into();
    third.pass(7200);
    let report = run(&third, &tier, &one("media", to(&third, "any")));
    assert_eq!(report.components[0].snapshot, id);
    assert!(said(&report, "was taken on host shop-1"), "{:?}", report.warnings);
    assert!(!said(&report, "set back"), "{:?}", report.warnings);
}
