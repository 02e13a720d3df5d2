//! Copies in a second tier: the same snapshots, each alone enough for a recovery.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::World;
use lifeboat_recovery::flows::{
    self, At, AuditRequest, BackupRequest, CopyRequest, Destination, DrillRequest, ListRequest,
    PruneRequest, RestoreRequest, VerifyRequest,
};
use lifeboat_recovery::report::{CopyReport, ListedSnapshot};
use lifeboat_testkit::{CrashStore, MemoryStore};

use crate::bench::{Bench, bench, tree};

const HOUR: i64 = 3600;

pub struct Pair {
    pub b: Bench,
    pub tier: Arc<MemoryStore>,
    pub second: Arc<MemoryStore>,
}

impl Pair {
    /// Two tiers, nothing in either.
    pub fn new() -> Pair {
        Pair::with("")
    }

    /// The second with these further lines in the plan.
    fn with(second: &str) -> Pair {
        let mut b = bench();
        b.plan = b.plan.replace(
            "[component.orders]",
            &format!("[tier.second]\nurl = \"/second\"\n{second}\n[component.orders]"),
        );
        let (tier, second) = (b.tier(), b.tier());
        Pair { b, tier, second }
    }

    pub fn first(&self) -> World {
        self.b.world_of(&self.tier, &self.second)
    }

    pub fn other(&self) -> World {
        self.b.in_second(&self.tier, &self.second)
    }

    /// So many backups of other data, an hour apart.
    pub fn backups(&self, count: u64) {
        for number in 0..count {
            self.b.pass(HOUR);
            let now = self.b.log().len();
            self.b.set("media", "a.jpg", &format!("picture {number} {now} "));
            self.b.set("orders", "orders.txt", &format!("orders {number} {now}"));
            let report = flows::backup(&self.first(), &BackupRequest::default()).unwrap();
            assert_eq!(report.exit(), Exit::Done, "{report:#?}");
        }
    }

    pub fn copy(&self) -> CopyReport {
        flows::copy(&self.first(), &CopyRequest::default()).unwrap()
    }
}

pub fn listed(world: &World) -> Vec<ListedSnapshot> {
    flows::list(world, &ListRequest::default()).unwrap().snapshots
}

fn verified(world: &World) -> Verdict {
    let request = VerifyRequest { all: true, ..VerifyRequest::default() };
    flows::verify(world, &request).unwrap().verdict
}

pub fn restore(world: &World, component: &str, at: At, to: &Path) -> Exit {
    let request = RestoreRequest {
        components: vec![component.to_owned()],
        all: false,
        at,
        verified_only: false,
        base: None,
        prepare_only: false,
        to: Destination::Folder(to.to_owned()),
        path: None,
        keep_failed: false,
    };
    match flows::restore(world, &request) {
        Ok(report) => report.exit(),
        Err(error) => error.exit(),
    }
}

#[test]
fn a_second_tier_is_enough_alone_and_a_second_copy_copies_nothing() {
    let pair = Pair::new();
    pair.backups(3);
    let planned = flows::plan_copy(&pair.first(), &CopyRequest::default()).unwrap();
    assert!(planned.dry_run && planned.makes_vault && planned.copied.len() == 6, "{planned:#?}");
    assert_eq!(pair.second.keys(""), Vec::<String>::new(), "a dry run leaves no trace");
    let report = pair.copy();
    assert_eq!((report.exit(), report.copied.len()), (Exit::Done, 6), "{report:#?}");
    assert!(report.makes_vault && report.warnings.is_empty(), "{report:#?}");
    assert_eq!((report.packs, report.packs > 0), (report.packs_whole, true), "byte for byte");
    assert!(!pair.second.keys("ledger/shop-1/entries").is_empty(), "the ledger came along");
    let vault = pair.second.keys("vault");
    let again = pair.copy();
    assert_eq!((again.copied.len(), again.present, again.packs), (0, 6, 0), "{again:#?}");
    assert_eq!(pair.second.keys("vault"), vault, "nothing came twice");

    let there = listed(&pair.other());
    assert!(there.len() == 6 && there.iter().all(|one| !one.foreign && one.copy_of.is_some()));
    assert!(there.iter().all(|one| one.level.as_deref() == Some("V1")), "proven by nobody yet");
    assert_eq!(verified(&pair.other()), Verdict::Pass);
    assert_eq!(verified(&pair.first()), Verdict::Pass, "the first tier has lost nothing");
    let audit = flows::audit_verify(&pair.other(), &AuditRequest::default()).unwrap();
    assert_eq!(audit.verdict, Verdict::Pass, "{audit:#?}");
    let drill = flows::drill(&pair.other(), &DrillRequest::default()).unwrap();
    assert_eq!(drill.verdict, Verdict::Pass, "{drill:#?}");

    // The machine burns, and the first tier with it.
    fs::remove_dir_all(pair.b.state()).unwrap();
    let there = listed(&pair.other());
    assert!(there.iter().all(|one| !one.foreign), "{there:#?}");
    let out = pair.b.folder.path().join("out");
    assert_eq!(restore(&pair.other(), "media", At::Newest, &out), Exit::Done);
    assert_eq!(tree(&out)["a.jpg"], pair.b.live().data["media"]["a.jpg"]);
    let audit = flows::audit_verify(&pair.other(), &AuditRequest::default()).unwrap();
    assert!(audit.verdict == Verdict::Pass && audit.findings.is_empty(), "{audit:#?}");
    assert!(!audit.key_trusted, "nobody vouches for the key: {audit:#?}");
}

/// The order is that of the ledger which recorded the snapshots, not that of the copies.
#[test]
fn an_older_snapshot_that_is_copied_later_is_not_the_newest() {
    let pair = Pair::new();
    pair.backups(3);
    let newest = listed(&pair.first())[0].clone();
    let component = newest.component.clone().unwrap();
    let only = CopyRequest { what: vec![newest.snapshot[..12].to_owned()], to: None };
    assert_eq!(flows::copy(&pair.first(), &only).unwrap().copied.len(), 1);
    assert_eq!(pair.copy().copied.len(), 5);
    let chosen = |world: &World| {
        let status = flows::status(world).unwrap();
        let one = status.components.into_iter().find(|one| one.component == component);
        one.unwrap().newest.unwrap()
    };
    assert_eq!(chosen(&pair.other()).time, newest.time);
    assert_ne!(chosen(&pair.other()).snapshot, newest.snapshot);
    // What is named by the id that it has in the first tier is found in the second too.
    let old = listed(&pair.first()).pop().unwrap();
    let out = pair.b.folder.path().join("old");
    let at = At::Snapshot(old.snapshot[..16].to_owned());
    assert_eq!(restore(&pair.other(), old.component.as_ref().unwrap(), at, &out), Exit::Done);
    let what = vec![old.snapshot.clone()];
    let request = VerifyRequest { what, ..VerifyRequest::default() };
    assert_eq!(flows::verify(&pair.other(), &request).unwrap().verdict, Verdict::Pass);
}

/// Whoever copies it, a snapshot stays that of the host that took it.
#[test]
fn a_copy_of_another_hosts_snapshot_is_not_ours() {
    let pair = Pair::new();
    pair.backups(1);
    let mut other = bench();
    (other.host, other.plan) = ("shop-2".into(), pair.b.plan.clone());
    other.pass(2 * HOUR);
    other.set("media", "a.jpg", "of the other host");
    flows::backup(&other.world(&pair.tier), &BackupRequest::default()).unwrap();
    pair.b.pass(3 * HOUR);
    assert_eq!(pair.copy().copied.len(), 4);
    let out = pair.b.folder.path().join("out");
    assert_eq!(restore(&pair.other(), "media", At::Newest, &out), Exit::Done);
    assert_eq!(tree(&out)["a.jpg"], pair.b.live().data["media"]["a.jpg"], "our own comes first");
    // The ledger of the other host came along: a bare machine believes it as it is.
    fs::remove_dir_all(pair.b.state()).unwrap();
    assert!(listed(&pair.other()).iter().all(|one| !one.foreign));
    let request = AuditRequest { host: Some("shop-2".into()), key: None };
    let audit = flows::audit_verify(&pair.other(), &request).unwrap();
    assert!(audit.findings.is_empty() && audit.anchored_to.is_some(), "{audit:#?}");
}

#[test]
fn what_no_ledger_knows_stays_foreign() {
    let pair = Pair::new();
    pair.backups(1);
    fs::remove_dir_all(pair.b.state()).unwrap();
    for key in pair.tier.keys("ledger") {
        pair.tier.tamper(&key, |_| None);
    }
    let report = pair.copy();
    assert!(report.copied.len() == 2 && report.copied.iter().all(|one| one.foreign));
    assert!(listed(&pair.other()).iter().all(|one| one.foreign));
    let out = pair.b.folder.path().join("out");
    assert_eq!(restore(&pair.other(), "media", At::Newest, &out), Exit::NotFound);
}

/// What was found wrong with a snapshot is wrong with its copy.
#[test]
fn a_failed_snapshot_does_not_become_good_by_being_copied() {
    let pair = Pair::new();
    pair.backups(2);
    pair.b.live().spoil = Some("media".into());
    assert_eq!(verified(&pair.first()), Verdict::Fail);
    pair.b.live().spoil = None;
    pair.copy();
    let out = pair.b.folder.path().join("out");
    assert_eq!(restore(&pair.other(), "media", At::Newest, &out), Exit::NotFound);
    assert_eq!(restore(&pair.other(), "orders", At::Newest, &out), Exit::Done);
}

#[test]
fn what_was_pruned_there_does_not_come_back() {
    let pair = Pair::with("keep = \"3h\"");
    pair.backups(5);
    assert_eq!(pair.copy().copied.len(), 10);
    assert_eq!(verified(&pair.other()), Verdict::Pass);
    let pruned = flows::prune(&pair.other(), &PruneRequest::default()).unwrap();
    assert_eq!(pruned.exit(), Exit::Done, "{pruned:#?}");
    let gone = pruned.snapshots.iter().filter(|one| !one.kept).count();
    assert!(gone > 0, "{pruned:#?}");
    let again = pair.copy();
    assert_eq!((again.copied.len(), again.removed_there), (0, gone as u64), "{again:#?}");
    assert_eq!(listed(&pair.first()).len(), 10);
    // By its name it does.
    let oldest = listed(&pair.first()).pop().unwrap();
    let only = CopyRequest { what: vec![oldest.snapshot], to: None };
    assert_eq!(flows::copy(&pair.first(), &only).unwrap().copied.len(), 1);
}

#[test]
fn what_is_not_whole_is_left_out_and_said_exit_3() {
    let pair = Pair::new();
    pair.backups(2);
    let lost = pair.tier.keys("vault/snapshots").remove(0);
    pair.tier.tamper(&lost, |_| None);
    let report = pair.copy();
    assert_eq!((report.exit(), report.copied.len()), (Exit::Problems, 3), "{report:#?}");
    assert!(lost.ends_with(&report.left_out[0].snapshot) && report.left_out.len() == 1);
    // Its copy would do: what arrived before is not missed.
    let whole = Pair::new();
    whole.backups(1);
    whole.copy();
    let lost = whole.tier.keys("vault/snapshots").remove(0);
    whole.tier.tamper(&lost, |_| None);
    assert_eq!(whole.copy().exit(), Exit::Done);
}

#[test]
fn places_that_do_not_fit_are_refused() {
    let pair = Pair::new();
    let to = |name: &str| CopyRequest { what: vec![], to: Some(name.to_owned()) };
    let exit = |world: &World, request: &CopyRequest| flows::copy(world, request).map(|r| r.exit());
    assert_eq!(exit(&pair.first(), &to("second")).unwrap_err().exit(), Exit::NotFound);
    assert!(pair.second.keys("").is_empty(), "nothing to copy makes nothing");
    pair.backups(1);
    assert_eq!(exit(&pair.first(), &to("local")).unwrap_err().exit(), Exit::Usage);
    assert_eq!(exit(&pair.first(), &to("third")).unwrap_err().exit(), Exit::Usage);
    let alone = pair.b.world(&pair.tier);
    assert_eq!(exit(&alone, &CopyRequest::default()).unwrap_err().exit(), Exit::Usage);
    let none = CopyRequest { what: vec!["nothing".into()], to: None };
    assert_eq!(exit(&pair.first(), &none).unwrap_err().exit(), Exit::NotFound);
    assert!(pair.second.keys("").is_empty(), "nothing to copy makes nothing");
    // The very vault, copied as files.
    let image = Pair { second: Arc::new(pair.tier.image()), ..pair };
    let error = exit(&image.first(), &to("second")).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused, "{error}");
}

/// A disk that is not mounted is no empty tier.
#[test]
fn a_known_second_tier_that_is_gone_is_unreachable_exit_8() {
    let pair = Pair::new();
    pair.backups(1);
    pair.copy();
    let emptied = Pair { second: pair.b.tier(), ..pair };
    let error = flows::copy(&emptied.first(), &CopyRequest::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable, "{error}");
    assert!(emptied.second.keys("").is_empty());
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The process is killed after any write into the second tier: the next copy goes on, and knows
/// everything that had arrived.
#[test]
fn a_copy_may_be_killed_after_each_write() {
    let pair = Pair::new();
    pair.backups(1);
    let before = tempfile::tempdir().unwrap();
    copy_folder(&pair.b.state(), before.path());
    let source = pair.tier.image();
    let recording = Arc::new(CrashStore::recording(pair.second.image()));
    let world = pair.b.world_of(&pair.tier, &recording);
    assert_eq!(flows::copy(&world, &CopyRequest::default()).unwrap().copied.len(), 2);
    let (writes, images) = (recording.writes(), recording.take_images());
    assert!(writes.iter().any(|write| write.starts_with("create vault/snapshots")), "{writes:?}");
    for (write, image) in writes.iter().zip(images) {
        let mut b = bench();
        b.plan = pair.b.plan.clone();
        b.pass(3 * HOUR);
        copy_folder(before.path(), &b.state());
        let killed = Pair { b, tier: Arc::new(source.image()), second: Arc::new(image) };
        let report = flows::copy(&killed.first(), &CopyRequest::default());
        let report = report.unwrap_or_else(|error| panic!("after {write}: {error}"));
        assert_eq!(report.exit(), Exit::Done, "after {write}: {report:#?}");
        assert_eq!(report.copied.len() as u64 + report.present, 2, "after {write}: {report:#?}");
        let there = listed(&killed.other());
        assert_eq!(there.len(), 2, "after {write}: {there:#?}");
        assert!(there.iter().all(|one| !one.foreign), "after {write}: {there:#?}");
        assert_eq!(verified(&killed.other()), Verdict::Pass, "after {write}");
        let audit = flows::audit_verify(&killed.other(), &AuditRequest::default()).unwrap();
        assert_eq!(audit.verdict, Verdict::Pass, "after {write}: {audit:#?}");
    }
}
