//! Pruning by the plan's rules (promise 2: it never makes a disaster worse).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    self, At, BackupRequest, Destination, ListRequest, PruneRequest, RestoreRequest, VerifyRequest,
};
use lifeboat_recovery::report::{Failure, PruneReport};
use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{Clock, DeleteStore, Entry, RepairOptions, Store, StoreError, StoreErrorKind};

use crate::bench::{Backing, Bench, bench};
use crate::copy::copy_folder;

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

fn verify(b: &Bench, tier: &Arc<impl Backing + 'static>) -> Verdict {
    flows::verify(&b.world(tier), &VerifyRequest::default()).unwrap().verdict
}

fn prune(b: &Bench, tier: &Arc<impl Backing + 'static>) -> PruneReport {
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
            base: None,
            prepare_only: false,
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

/// Runs of the schedule were missed: either nothing backs up any more, or the clock ran ahead. Old
/// snapshots are all there is, then. Only where they all were: a weekend of a tier's is none.
#[test]
fn nothing_goes_when_backups_have_stopped() {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    b.pass(9 * DAY);
    let report = prune(&b, &tier);
    assert_eq!((report.exit(), gone(&report)), (Exit::Refused, vec![]), "{report:#?}");
    assert!(report.refused.iter().all(|why| why.contains("its backups have stopped")));
    // What would go then is answered for any day, and shows every snapshot of each component.
    let at = Clock::wall(&*b.clock).checked_add(jiff::SignedDuration::from_hours(24)).unwrap();
    let request = PruneRequest { at: Some(at), ..PruneRequest::default() };
    let then = flows::plan_prune(&b.world(&tier), &request).unwrap();
    assert_eq!((then.exit(), then.at), (Exit::Done, Some(at)), "{then:#?}");
    assert_eq!((gone(&then).len(), then.snapshots.len()), (10, 12));
    days(&b, &tier, 1);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    assert_eq!(gone(&prune(&b, &tier)).len(), 12);
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

/// A part of the packs every night: one that holds none is no alarm, and is said.
#[test]
fn every_part_of_a_small_vault_reads_something() {
    let (b, tier) = short_memory();
    days(&b, &tier, 1);
    let packs = tier.keys("vault/data").len();
    let mut empty = 0;
    for number in 1..=40 {
        let subset = Some(format!("{number}/40").parse().unwrap());
        let request = VerifyRequest { subset, ..VerifyRequest::default() };
        let report = flows::verify(&b.world(&tier), &request).unwrap();
        assert_eq!((report.verdict, report.exit()), (Verdict::Pass, Exit::Done), "{report:#?}");
        let said = |text: &str| report.vault.notes.iter().any(|note| note.contains(text));
        assert!(said(&format!("of {packs} packs: subset {number}/40")), "{:?}", report.vault);
        empty += usize::from(said("holds none"));
    }
    assert!((40 - packs..40).contains(&empty), "{empty} of 40 parts, {packs} packs");
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

/// Six days of proven backups and what a pruning of them would remove.
fn due() -> (Bench, Arc<FaultyStore<MemoryStore>>, Vec<String>) {
    let (b, tier) = short_memory();
    days(&b, &tier, 6);
    assert_eq!(verify(&b, &tier), Verdict::Pass);
    let planned = flows::plan_prune(&b.world(&tier), &PruneRequest::default()).unwrap();
    let due = gone(&planned);
    assert_eq!(due.len(), 6);
    (b, Arc::new(FaultyStore::new(tier.image())), due)
}

fn listed(tier: &FaultyStore<MemoryStore>) -> usize {
    tier.inner().keys("vault/snapshots").len()
}

/// EDO-04: killed after it was recorded what goes, before or amid the deletions. What is recorded is
/// carried out by the next run, and nothing looks lost meanwhile, on a machine without the local
/// state neither.
#[test]
fn a_pruning_that_is_killed_between_recording_and_deleting_is_finished_by_the_next() {
    for deletions in [0, 1, 5] {
        let (b, tier, due) = due();
        tier.kills_at(Verb::Delete, "vault/snapshots", deletions);
        let world = b.world(&tier);
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            flows::prune(&world, &PruneRequest::default())
        }));
        assert_eq!(*killed.unwrap_err().downcast::<&str>().unwrap(), "killed");
        drop(world);
        tier.disarm();
        assert_eq!(listed(&tier), 12 - deletions as usize);
        assert_eq!(verify(&b, &tier), Verdict::Pass, "nothing is lost");
        let report = prune(&b, &tier);
        assert_eq!(report.exit(), Exit::Done, "{report:#?}");
        let left = &due[..];
        assert!(gone(&report).iter().all(|id| left.contains(id)), "no more than was due");
        assert_eq!((gone(&report).len(), listed(&tier)), (6 - deletions as usize, 6));
        assert_eq!(verify(&b, &tier), Verdict::Pass);
        std::fs::remove_dir_all(b.state()).unwrap();
        assert_eq!(verify(&b, &tier), Verdict::Pass);
        b.pass(DAY + 1);
        assert!(prune(&b, &tier).data.unwrap().deleted.packs > 0);
        assert_eq!(verify(&b, &tier), Verdict::Pass);
    }
}

/// A deletion that fails midway fails the run. The next one completes it, and raises the alarm if
/// one that was to be kept has gone meanwhile.
#[test]
fn a_deletion_that_fails_midway_is_completed_and_hides_no_loss() {
    let (b, tier, due) = due();
    let denied = Fault::always(Verb::Delete, "vault/snapshots", StoreErrorKind::Denied);
    tier.arm(Fault { after: 2, ..denied });
    let failed = flows::prune(&b.world(&tier), &PruneRequest::default());
    assert!(failed.is_err(), "{failed:#?}");
    tier.disarm();
    assert_eq!(listed(&tier), 10);
    let kept = tier.inner().keys("vault/snapshots");
    let kept = kept.iter().find(|key| !due.iter().any(|id| key.ends_with(id))).unwrap();
    let object = tier.get(kept).unwrap();
    tier.inner().tamper(kept, |_| None);
    let alarmed = prune(&b, &tier);
    assert_eq!((alarmed.exit(), gone(&alarmed)), (Exit::Refused, vec![]), "{alarmed:#?}");
    assert!(alarmed.data.is_none() && listed(&tier) == 9);
    assert_eq!(verify(&b, &tier), Verdict::Fail);
    tier.inner().plant(kept, object);
    let report = prune(&b, &tier);
    assert_eq!((report.exit(), gone(&report).len()), (Exit::Done, 4), "{report:#?}");
    assert_eq!((listed(&tier), verify(&b, &tier)), (6, Verdict::Pass));
}

/// all is looked at before a snapshot goes. What is missing, cut or unreadable, and a time that
/// cannot be, is found while nothing has changed, with or without a question.
#[test]
fn nothing_goes_where_the_vault_is_not_whole() {
    let (b, tier, due) = due();
    let (data, index) = (tier.inner().keys("vault/data"), tier.inner().keys("vault/index"));
    let lost = |key: &str, image: &MemoryStore| image.tamper(key, |_| None);
    let cut = |key: &str, image: &MemoryStore| {
        image.tamper(key, |mut body| {
            body.truncate(body.len() - 5);
            Some(body)
        });
    };
    let of_the_future = |key: &str, image: &MemoryStore| {
        let body = image.get(key).unwrap();
        b.pass(3600);
        image.plant(key, body);
        b.set_back(3600);
    };
    type Harm<'a> = &'a dyn Fn(&str, &MemoryStore);
    let cases: [(&str, Harm<'_>, &str); 5] = [
        (&data[0], &lost, "is in the index and not listed"),
        (&data[data.len() - 1], &lost, "is in the index and not listed"),
        (&data[1], &cut, "bytes and should have"),
        (&index[0], &cut, "cannot be read"),
        (&data[0], &of_the_future, "a clock is wrong"),
    ];
    for (key, harm, words) in cases {
        let image = Arc::new(tier.inner().image());
        harm(key, &image);
        let vault = image.keys("vault");
        for grace in [None, Some(Duration::ZERO)] {
            let request = PruneRequest { grace, ..PruneRequest::default() };
            let error = flows::prune(&b.world(&image), &request).unwrap_err();
            let line = Failure::of(&error).line();
            assert_eq!(error.exit(), Exit::Refused, "{key}: {line}");
            assert!(line.contains(words), "{key}: {line}");
            assert_eq!(image.keys("vault"), vault, "{key}: {line}");
        }
        assert!(flows::plan_prune(&b.world(&image), &PruneRequest::default()).is_err());
    }
    // Nothing of it is recorded as removed: whole again, all that was due goes, and not without a
    // word before.
    let image = Arc::new(tier.inner().image());
    image.tamper(&format!("vault/snapshots/{}", due[0]), |_| None);
    assert_eq!(prune(&b, &image).exit(), Exit::Refused);
    assert_eq!(gone(&prune(&b, &tier)), due);
}

/// Once something has gone no error says that nothing was changed.
#[test]
fn a_pruning_that_stops_midway_is_no_refusal() {
    let (b, tier, due) = due();
    let turning = Arc::new(Forgetful::of(&tier, usize::MAX));
    turning.turns_at_first_removal.store(true, Ordering::SeqCst);
    let request = PruneRequest { grace: Some(Duration::ZERO), ..PruneRequest::default() };
    let error = flows::prune(&b.world(&turning), &request).unwrap_err();
    let (line, hint) = (Failure::of(&error).line(), error.hint().unwrap());
    assert_eq!(turning.inner.keys("vault/snapshots").len(), 6, "{line}");
    assert_eq!(error.exit(), Exit::Failed, "{line}");
    assert!(line.contains("stopped midway") && line.contains("changed while"), "{line}");
    assert!(hint.contains("`lifeboat prune` again"), "{hint}");
    let log = flows::audit_log(&b.world(&turning), 1).unwrap();
    assert_eq!(log.entries[0].outcome, "failed", "{log:#?}");
    // The next one finishes it, and what it had said of the snapshots was true.
    turning.turns_at_first_removal.store(false, Ordering::SeqCst);
    let report = flows::prune(&b.world(&turning), &request).unwrap();
    assert_eq!((report.exit(), gone(&report)), (Exit::Done, vec![]), "{report:#?}");
    assert!(report.data.unwrap().deleted.packs > 0 && !due.is_empty());
    assert_eq!(verify(&b, &turning), Verdict::Pass);
}

/// A listing that turns partial, the earlier the sooner it shows. If it does so after the decision
/// was made nothing is recorded as removed, or a later loss of those snapshots would go without a
/// word.
#[test]
fn nothing_is_recorded_as_removed_on_a_listing_that_turned_partial() {
    let (b, tier, due) = due();
    let vault = tier.inner().keys("vault");
    let before = tempfile::tempdir().unwrap();
    let mut after_the_decision = 0;
    for looks in 1.. {
        copy_folder(&b.state(), &before.path().join(looks.to_string()));
        let forgetful = Arc::new(Forgetful::of(&tier, listed(&tier) * looks));
        let result = flows::prune(&b.world(&forgetful), &PruneRequest::default());
        if forgetful.reads.load(Ordering::SeqCst) > 0 {
            // Everything was read by then and nothing had changed: it was all done.
            assert_eq!(gone(&result.unwrap()), due);
            std::fs::remove_dir_all(b.state()).unwrap();
            copy_folder(&before.path().join(looks.to_string()), &b.state());
            break;
        }
        assert_eq!(forgetful.inner.keys("vault"), vault, "{result:#?}");
        match result {
            // Found before the decision.
            Ok(report) => assert_eq!(report.exit(), Exit::Refused, "{report:#?}"),
            // Found when everything is read, and at the last look of all.
            Err(error) => {
                assert_eq!(error.exit(), Exit::Refused, "{error}");
                after_the_decision += 1;
            }
        }
    }
    assert!(after_the_decision >= 2, "found {after_the_decision} times after the decision");
    let tier = Arc::new(tier.inner().image());
    tier.tamper(&format!("vault/snapshots/{}", due[0]), |_| None);
    let alarmed = prune(&b, &tier);
    assert_eq!((alarmed.exit(), gone(&alarmed)), (Exit::Refused, vec![]), "{alarmed:#?}");
}

/// A place whose list of snapshots lacks one once so many snapshots were read, or whose list of index
/// objects does once something was removed.
struct Forgetful {
    inner: MemoryStore,
    reads: AtomicUsize,
    turns_at_first_removal: AtomicBool,
    removed: AtomicBool,
}

impl Forgetful {
    fn of(tier: &FaultyStore<MemoryStore>, reads: usize) -> Forgetful {
        let inner = tier.inner().image();
        Forgetful {
            inner,
            reads: reads.into(),
            turns_at_first_removal: <_>::default(),
            removed: <_>::default(),
        }
    }
}

impl Store for Forgetful {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        if key.starts_with("vault/snapshots/") {
            let less = |left: usize| left.checked_sub(1);
            let _ = self.reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        }
        self.inner.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.inner.create(key, parts)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.inner.list(prefix)?;
        if prefix == "vault/snapshots" && self.reads.load(Ordering::SeqCst) == 0 {
            entries.pop();
        }
        let turned = self.turns_at_first_removal.load(Ordering::SeqCst)
            && self.removed.load(Ordering::SeqCst);
        if prefix == "vault/index" && turned {
            entries.pop();
        }
        Ok(entries)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.inner.stat(key)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl DeleteStore for Forgetful {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        if key.starts_with("vault/") && !key.starts_with("vault/locks/") {
            self.removed.store(true, Ordering::SeqCst);
        }
        self.inner.delete(key)
    }
}
