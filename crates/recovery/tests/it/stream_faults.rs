//! Streams where something goes wrong with tiers, processes, clocks and other people's objects.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{At, StreamRequest, list, restore, status, stream};
use lifeboat_recovery::ports::{KeyRights, Opened, Place, Presence};
use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{DeleteStore, Store, StoreError, StoreErrorKind};

use crate::bench::Bench;
use crate::stream::{once, served};
use crate::stream_restore::{body, request, restored};

fn for_a_while(seconds: u64) -> StreamRequest {
    StreamRequest { span: Some(Duration::from_secs(seconds)), ..StreamRequest::default() }
}

/// A tier that takes nothing of the journal for so many tries, after so many that it takes.
fn shut(after: u64, times: u64) -> Fault {
    let fault = Fault::always(Verb::Create, "journal/shop", StoreErrorKind::Unreachable);
    Fault { after, times, ..fault }
}

/// The stream's threads run in real time.
#[allow(clippy::disallowed_methods)]
fn real_pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Waits for it, in real time and long enough for a busy machine.
fn wait(done: impl Fn() -> bool) -> bool {
    (0..3000).any(|_| {
        real_pause();
        done()
    })
}

fn come(b: &Bench, count: usize) {
    b.live().servers.get_mut("shop").unwrap().to_come =
        (0..count).map(|n| ("a".to_owned(), format!("come {n}"))).collect();
}

#[test]
fn a_tier_that_is_down_for_minutes_loses_nothing_and_the_source_keeps_it() {
    let (b, tier) = served();
    let faulty = Arc::new(FaultyStore::new(tier.image()));
    once(&b.world(&faulty));
    let told = b.live().servers["shop"].told;
    faulty.arm(shut(1, 60));
    come(&b, 20);
    let report = stream(&b.world(&faulty), &for_a_while(600)).unwrap();
    let shop = &report.components[0];
    assert!(shop.error.is_none(), "{shop:#?}");
    let server = b.live().servers["shop"].clone();
    assert!(server.waited > 10, "the race happened: nothing could be stored ({})", server.waited);
    assert_eq!(shop.to.unwrap().offset, server.end, "all came in the end: {shop:#?}");
    assert_eq!(server.told, shop.to);
    assert_ne!(server.told, told);
    assert!(shop.notes.iter().any(|note| note.contains("goes on")), "{:?}", shop.notes);
    b.pass(1);
    restored(&b, &b.world(&faulty), At::Newest, "after");
    assert_eq!(body(&b, "after", "a"), "come 19");
}

#[test]
fn nothing_is_acknowledged_that_no_tier_has() {
    let (b, tier) = served();
    let faulty = Arc::new(FaultyStore::new(tier.image()));
    once(&b.world(&faulty));
    let before = b.live().servers["shop"].told;
    faulty.arm(shut(0, u64::MAX));
    come(&b, 3);
    let report = stream(&b.world(&faulty), &for_a_while(60)).unwrap();
    assert_eq!(b.live().servers["shop"].told, before, "{report:#?}");
    assert_ne!(report.exit(), Exit::Done);
    // The next one, with the tier back, has all of it.
    faulty.disarm();
    let report = once(&b.world(&faulty));
    assert_eq!(report.components[0].to.unwrap().offset, b.live().servers["shop"].end);
    b.pass(1);
    restored(&b, &b.world(&faulty), At::Newest, "after");
    assert_eq!(body(&b, "after", "a"), "come 2");
}

/// The thread of a stream dies at its n-th touch of the source; the next stream goes on.
#[test]
fn killed_at_every_step_nothing_is_lost_and_nothing_is_twice() {
    for step in 0..12 {
        let (b, tier) = served();
        once(&b.world(&tier));
        come(&b, 3);
        b.live().servers.get_mut("shop").unwrap().dies_after = Some(step);
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            stream(&b.world(&tier), &StreamRequest { once: true, ..Default::default() })
        }));
        let rest = b.live().servers.get_mut("shop").unwrap().dies_after.take();
        assert!(died.is_err() || rest.is_some(), "step {step}: it was killed, or had ended");
        let report = once(&b.world(&tier));
        let shop = &report.components[0];
        assert!(shop.error.is_none() && shop.gaps.is_empty(), "step {step}: {shop:#?}");
        b.pass(1);
        let to = format!("step{step}");
        restored(&b, &b.world(&tier), At::Newest, &to);
        assert_eq!(body(&b, &to, "a"), "come 2", "step {step}");
    }
}

#[test]
fn a_clock_that_is_set_back_reorders_nothing() {
    let (b, tier) = served();
    once(&b.world(&tier));
    b.pass(3600);
    b.write("shop", "a", "first");
    once(&b.world(&tier));
    b.set_back(1800);
    b.write("shop", "a", "second");
    let report = once(&b.world(&tier));
    assert!(report.components[0].error.is_none(), "{report:#?}");
    b.pass(3600);
    b.write("shop", "a", "third");
    once(&b.world(&tier));
    b.pass(1);
    restored(&b, &b.world(&tier), At::Newest, "after");
    assert_eq!(body(&b, "after", "a"), "third");
    let listed = list(&b.world(&tier), &Default::default()).unwrap();
    assert!(listed.warnings.iter().any(|w| w.contains("clock was set back")), "{listed:#?}");
}

fn journal_keys(tier: &MemoryStore) -> Vec<String> {
    let mut keys: Vec<String> = tier
        .list("journal/shop")
        .unwrap()
        .into_iter()
        .map(|entry| entry.key)
        .filter(|key| key.contains("/ranges/"))
        .collect();
    keys.sort();
    keys
}

#[test]
fn an_object_that_somebody_else_planted_is_not_replayed() {
    let (b, tier) = served();
    once(&b.world(&tier));
    b.write("shop", "a", "ours");
    once(&b.world(&tier));
    // Another plan's host, with the same tier key and a key of its own, that nobody trusts.
    let (other, _) = served();
    let foreign = other.tier();
    let mut theirs = other.world(&foreign);
    theirs.host = "intruder".to_owned();
    once(&theirs);
    other.write("shop", "a", "theirs");
    once(&theirs);
    let last = journal_keys(&foreign).pop().unwrap();
    let bytes = foreign.get(&last).unwrap();
    let next = journal_keys(&tier).pop().unwrap();
    let (folder, name) = next.rsplit_once('/').unwrap();
    let seq = u32::from_str_radix(name.rsplit_once('-').unwrap().1, 16).unwrap() + 1;
    let planted = format!("{folder}/{}-{seq:08x}", name.rsplit_once('-').unwrap().0);
    tier.create(&planted, &[bytes]).unwrap();
    b.pass(1);
    let report = restore(&b.world(&tier), &request(&b, At::Newest, "after")).unwrap();
    assert_eq!(body(&b, "after", "a"), "ours");
    // What should stand in its place cannot be told from here.
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::Problems));
    assert!(report.warnings.iter().any(|w| w.contains(&planted)), "{:?}", report.warnings);
    let listed = list(&b.world(&tier), &Default::default()).unwrap();
    assert!(!listed.journals[0].survey.faults.is_empty(), "it is named: {listed:#?}");
    // And the stream does not go on behind it.
    b.write("shop", "a", "later");
    let report = once(&b.world(&tier));
    assert_eq!(report.exit(), Exit::Locked, "{report:#?}");
}

/// Another host wrote into a tier that was away: found by whoever brings it what it lacks, not at the
/// end of a stream that may run for months.
#[test]
fn somebody_elses_record_in_a_tier_that_lagged_ends_the_stream() {
    let (b, tier) = served();
    let (first, second) =
        (Arc::new(FaultyStore::new(tier.image())), Arc::new(FaultyStore::new(tier.image())));
    once(&b.world_of(&first, &second));
    let had = journal_keys(second.inner());
    second.arm(Fault::always(Verb::Create, "journal/shop", StoreErrorKind::Unreachable));
    // It would go on for ever.
    let (tell, ended) = std::sync::mpsc::channel();
    let (report, lacks) = std::thread::scope(|scope| {
        scope.spawn(|| {
            tell.send(stream(&b.world_of(&first, &second), &StreamRequest::default())).unwrap();
        });
        let lacks = (0..2000).find_map(|_| {
            real_pause();
            journal_keys(first.inner()).into_iter().find(|key| !had.contains(key))
        });
        if let Some(lacks) = &lacks {
            second.inner().plant(lacks, &b"theirs"[..]);
            second.disarm();
        }
        let report = ended.recv_timeout(Duration::from_secs(60));
        b.cancel.cancel();
        (report.expect("it ends by itself").unwrap(), lacks.expect("the first tier goes on"))
    });
    assert_eq!(report.exit(), Exit::Locked, "{report:#?}");
    let error = report.components[0].error.as_ref().unwrap();
    assert!(error.line().contains(&lacks), "{error:?}");
}

/// A place that does not answer for a while.
#[derive(Clone)]
struct Sometimes {
    place: Arc<dyn Place>,
    answers: Arc<AtomicBool>,
    /// While it does not answer: who opens it waits for that, and is counted.
    hangs: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Sometimes {
    fn new(place: &Arc<dyn Place>) -> Self {
        let (answers, hangs, waiting) = Default::default();
        Sometimes { place: Arc::clone(place), answers, hangs, waiting }
    }

    fn answers(&self) -> Result<&dyn Place, StoreError> {
        if self.hangs.load(Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            while !self.answers.load(Ordering::SeqCst) {
                real_pause();
            }
        }
        match self.answers.load(Ordering::SeqCst) {
            true => Ok(&*self.place),
            false => Err(StoreError {
                kind: StoreErrorKind::Unreachable,
                verb: "open",
                key: String::new(),
                place: "far".to_owned(),
                source: None,
            }),
        }
    }
}

impl Place for Sometimes {
    fn look(&self) -> Result<Presence, StoreError> {
        self.answers()?.look()
    }
    fn open(&self, make: bool) -> Result<Opened, StoreError> {
        self.answers()?.open(make)
    }
    fn deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        self.answers()?.deleter()
    }
    fn journal_deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        self.answers()?.journal_deleter()
    }
    fn key_rights(&self) -> Result<KeyRights, StoreError> {
        self.answers()?.key_rights()
    }
    fn folder(&self) -> Option<PathBuf> {
        None
    }
}

/// A stream may run for months: a tier that was away when it began must not be left out for as long.
#[test]
fn a_tier_that_was_away_at_the_start_is_brought_what_it_lacks() {
    for known in [true, false] {
        let (b, tier) = served();
        let second = b.tier();
        once(&if known { b.world_of(&tier, &second) } else { b.world(&tier) });
        let had = journal_keys(&tier);
        let mut world = b.world_of(&tier, &second);
        let far = Sometimes::new(&world.tiers[1].place);
        world.tiers[1].place = Arc::new(far.clone());
        come(&b, 20);
        let news = |store: &MemoryStore| {
            let keys = journal_keys(store).into_iter();
            keys.filter(|key| !had.contains(key)).collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let streaming = scope.spawn(|| stream(&world, &StreamRequest::default()).unwrap());
            let all_told = || {
                let server = b.live().servers["shop"].clone();
                server.to_come.is_empty() && server.told.is_some_and(|it| it.offset == server.end)
            };
            assert!(wait(all_told) && !news(&tier).is_empty(), "the first tier goes on");
            assert!(news(&second).is_empty(), "the race happened: the other one was away");
            far.answers.store(true, Ordering::SeqCst);
            // As far as there is now, in order, loose or packed meanwhile: the idle stream of the test
            // goes on as fast as the machine is.
            let last = journal_keys(&tier).pop().unwrap();
            let come = |store| journal_keys(store).pop().is_some_and(|key| key >= last);
            let caught_up = wait(|| come(&second));
            b.cancel.cancel();
            let report = streaming.join().unwrap();
            assert!(caught_up, "{report:#?}");
            assert!(report.warnings.iter().any(|line| line.contains("asked again")), "{report:#?}");
        });
    }
}

/// A dead object store is given up after minutes, not at once: the log does not wait for that, even
/// where the first tier is asked anew what it has.
#[test]
fn a_tier_that_hangs_when_it_is_asked_again_holds_nobody_up() {
    let (b, tier) = served();
    let second = b.tier();
    once(&b.world_of(&tier, &second));
    let faulty = Arc::new(FaultyStore::new(tier.image()));
    let mut world = b.world_of(&faulty, &second);
    let far = Sometimes::new(&world.tiers[1].place);
    world.tiers[1].place = Arc::new(far.clone());
    come(&b, 3);
    std::thread::scope(|scope| {
        let streaming = scope.spawn(|| stream(&world, &StreamRequest::default()).unwrap());
        // Told is what the first tier has.
        let all_told = || {
            let server = b.live().servers["shop"].clone();
            server.to_come.is_empty() && server.told.is_some_and(|told| told.offset == server.end)
        };
        let begun = wait(all_told);
        far.hangs.store(true, Ordering::SeqCst);
        faulty.arm(shut(0, 40));
        come(&b, 3);
        let asked = wait(|| far.waiting.load(Ordering::SeqCst) > 0);
        let goes_on = wait(all_told);
        far.answers.store(true, Ordering::SeqCst);
        b.cancel.cancel();
        let report = streaming.join().unwrap();
        assert!(begun && asked && goes_on, "{begun} {asked} {goes_on}: {report:#?}");
    });
}

#[test]
fn a_missing_or_damaged_piece_is_no_shorter_restore_that_says_ok() {
    let (b, tier) = served();
    once(&b.world(&tier));
    b.pass(60);
    for n in 1..=3 {
        b.write("shop", "a", &format!("change {n}"));
        once(&b.world(&tier));
        b.pass(60);
    }
    let wanted = once(&b.world(&tier)).components[0].complete_up_to.unwrap();
    // What stands before the first change may lie before the base, off the way.
    let after_a_change = |key: &&String| !key.contains("-0000000000000000-");
    let broken = journal_keys(&tier).iter().find(after_a_change).unwrap().clone();
    for cut in [false, true] {
        let copy = tier.image();
        copy.tamper(&broken, |body| cut.then(|| body[..body.len() / 2].to_vec()));
        let damaged = Arc::new(copy);
        let world = b.world(&damaged);
        let error = restore(&world, &request(&b, At::Time(wanted), "never"));
        match error {
            Err(error) => assert!(
                matches!(error.exit(), Exit::Refused | Exit::Unverified),
                "{error}: {:?}",
                error.exit()
            ),
            Ok(report) => assert_eq!(report.verdict, Verdict::Fail, "{report:#?}"),
        }
        assert!(!b.folder.path().join("never").exists());
    }
}

#[test]
fn status_shows_what_each_tier_alone_would_lose() {
    let (b, tier) = served();
    let second = b.tier();
    once(&b.world_of(&tier, &second));
    b.pass(30);
    let report = status(&b.world_of(&tier, &second)).unwrap();
    let shop = &report.components[0];
    let stream = shop.stream.as_ref().unwrap();
    assert!(!stream.running);
    assert_eq!(stream.tiers.len(), 2);
    for tier in &stream.tiers {
        let lost = tier.live_rpo_seconds.unwrap();
        assert!((30.0..60.0).contains(&lost), "{lost}");
    }
    assert!(shop.live_rpo_seconds.unwrap() < 60.0, "{shop:#?}");
    assert!(shop.reasons.iter().any(|why| why.contains("not streamed now")), "{shop:#?}");
}

/// A base and three changes, a minute apart; the instants right after them.
fn three(b: &Bench, tier: &Arc<MemoryStore>) -> Vec<jiff::Timestamp> {
    once(&b.world(tier));
    let mut instants = Vec::new();
    for n in 1..=3 {
        b.pass(60);
        b.write("shop", "a", &format!("change {n}"));
        instants.push(once(&b.world(tier)).components[0].complete_up_to.unwrap());
    }
    b.pass(60);
    instants
}

/// Puts each of these as nobody signed it.
fn unsign(b: &Bench, tier: &Arc<MemoryStore>, keys: &[String]) {
    let sealer = b.world(tier).read_tier().unwrap().sealer.as_ref().unwrap().clone();
    for key in keys {
        tier.tamper(key, |sealed| {
            let mut plain = sealer.open(&sealed).unwrap();
            let host = plain.windows(8).position(|w| w == b"\"host\":\"").unwrap() + 8;
            // Longer however it is compressed: what is known here by its size is not opened.
            plain.splice(host..host, *b"7fQx0-not-Zk3v9-by-Lw81u-them-");
            Some(sealer.seal(&plain).unwrap())
        });
    }
}

/// Whatever one record suffers: without a point the end is reached, or it is said that it is not.
#[test]
fn the_newest_point_of_a_broken_journal_is_no_pass() {
    let (b, tier) = served();
    three(&b, &tier);
    let mut untold = 0;
    // One from before the base, and what leads on from it: on a busy machine the stream of the test is
    // idle more often, and there are more keepalives of either kind.
    let keys = journal_keys(&tier);
    let base = keys.iter().rposition(|key| key.contains("-0000000000000000-")).unwrap();
    let keys = &keys[base - 1..];
    for (number, broken) in keys.iter().enumerate().step_by(keys.len().div_ceil(12)) {
        for (how, cut) in [("gone", false), ("cut", true), ("unsigned", false)] {
            let copy = Arc::new(tier.image());
            match how {
                "unsigned" => unsign(&b, &copy, std::slice::from_ref(broken)),
                _ => copy.tamper(broken, |body| cut.then(|| body[..body.len() / 2].to_vec())),
            }
            let to = format!("{number}-{how}");
            let report = restore(&b.world(&copy), &request(&b, At::Newest, &to)).unwrap();
            let shop = &report.components[0];
            if report.verdict == Verdict::Pass {
                assert_eq!(body(&b, &to, "a"), "change 3", "{broken} {how}: {report:#?}");
                continue;
            }
            untold += 1;
            assert_eq!(report.exit(), Exit::Problems, "{broken} {how}: {report:#?}");
            let check = shop.checks.iter().find(|check| check.name == "journal unbroken").unwrap();
            assert_eq!(check.verdict, Verdict::Inconclusive);
            assert!(report.warnings.iter().any(|w| w.contains(&check.found)), "{report:#?}");
            let seen = status(&b.world(&copy)).unwrap();
            let reasons = &seen.components[0].reasons;
            assert!(reasons.iter().any(|why| why.contains(&check.found)), "{seen:#?}");
        }
    }
    assert!(untold > 5, "{untold} of {} records and three ways to break each", keys.len());
}

#[test]
fn a_journal_of_nobodys_leads_nowhere_and_is_no_pass() {
    let (b, tier) = served();
    let instants = three(&b, &tier);
    unsign(&b, &tier, &journal_keys(&tier));
    let report = restore(&b.world(&tier), &request(&b, At::Newest, "new")).unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::Problems));
    assert!(report.warnings.iter().any(|w| w.contains("not believed")), "{report:#?}");
    // And no older snapshot stands in for an instant that it held.
    let error = restore(&b.world(&tier), &request(&b, At::Time(instants[1]), "never")).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused, "{error}");
    // Which of its records is named first is the threads' matter.
    let said = format!("{error}: {}", error.hint().unwrap_or_default());
    assert!(said.contains("not believed"), "{said}");
    // Nor does a rehearsal of the newest point pass.
    let report = lifeboat_recovery::flows::drill(&b.world(&tier), &Default::default()).unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::DrillFailed));
}

/// What was lost at the lower end is not what was pruned.
#[test]
fn an_instant_of_a_broken_beginning_is_refused_exit_4() {
    let (b, tier) = served();
    let instants = three(&b, &tier);
    let keys = journal_keys(&tier);
    // There are more of them on a busy machine: keepalives.
    for count in (1..keys.len()).step_by(keys.len().div_ceil(12)) {
        let copy = Arc::new(tier.image());
        for key in &keys[..count] {
            copy.tamper(key, |body| Some(body[..body.len() / 2].to_vec()));
        }
        let to = format!("cut{count}");
        match restore(&b.world(&copy), &request(&b, At::Time(instants[0]), &to)) {
            Ok(report) => {
                assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
                assert_eq!(body(&b, &to, "a"), "change 1", "{count}: {report:#?}");
            }
            Err(error) => assert_eq!(error.exit(), Exit::Refused, "{count}: {error}"),
        }
    }
}

/// Takes a snapshot and spoils everything that it stored.
fn spoiled_snapshot(b: &Bench, tier: &Arc<MemoryStore>) {
    let before = tier.keys("vault/data");
    b.write("shop", "b", "of the spoiled one");
    let taken = lifeboat_recovery::flows::backup(&b.world(tier), &Default::default()).unwrap();
    assert_eq!(taken.exit(), Exit::Done, "{taken:#?}");
    for pack in tier.keys("vault/data").into_iter().filter(|key| !before.contains(key)) {
        tier.tamper(&pack, |body| Some(vec![0; body.len()]));
    }
}

#[test]
fn a_base_whose_manifest_cannot_be_read_is_passed_over_and_said() {
    let (b, tier) = served();
    three(&b, &tier);
    spoiled_snapshot(&b, &tier);
    b.pass(60);
    b.write("shop", "a", "last");
    let wanted = once(&b.world(&tier)).components[0].complete_up_to.unwrap();
    b.pass(60);
    let end = b.live().servers["shop"].end;
    let points =
        [At::Newest, At::Time(wanted), At::Position(Some(1), end), At::Position(None, end)];
    for (number, at) in points.into_iter().enumerate() {
        let to = format!("to{number}");
        let report = restored(&b, &b.world(&tier), at, &to);
        assert_eq!(body(&b, &to, "a"), "last");
        assert_eq!(body(&b, &to, "b"), "of the spoiled one", "by the journal");
        // Once another base is verified, that one is taken first.
        let said = report.warnings.iter().any(|w| w.contains("passed over"));
        assert!(said || number > 0, "{report:#?}");
    }
}

/// An older state than that of a snapshot that cannot be read is no pass.
#[test]
fn a_way_that_ends_before_an_unreadable_snapshot_is_no_pass() {
    let (b, tier) = served();
    three(&b, &tier);
    b.pass(60);
    spoiled_snapshot(&b, &tier);
    let report = restore(&b.world(&tier), &request(&b, At::Newest, "new")).unwrap();
    assert_eq!((report.verdict, report.exit()), (Verdict::Inconclusive, Exit::Problems));
    assert!(report.warnings.iter().any(|w| w.contains("passed over")), "{report:#?}");
}

/// Points that were there and are not any more are failed ones; a recorded gap is none.
#[test]
fn a_drill_fails_on_points_to_which_nothing_leads_any_more_exit_11() {
    let (b, tier) = served();
    three(&b, &tier);
    for n in 4..=6 {
        b.pass(600);
        b.write("shop", "a", &format!("change {n}"));
        once(&b.world(&tier));
    }
    // The newest point has a base of its own.
    b.pass(60);
    lifeboat_recovery::flows::backup(&b.world(&tier), &Default::default()).unwrap();
    b.write("shop", "a", "last");
    b.pass(1);
    once(&b.world(&tier));
    let drill = |tier: &Arc<MemoryStore>, points: u32| {
        let mut other = crate::bench::bench();
        other.plan = format!("{}\n[drill.all]\ncomponents = [\"*\"]\npoints = {points}\n", b.plan);
        let mut world = b.world(tier);
        world.plan = other.world(tier).plan;
        let names = vec!["all".to_owned()];
        let request =
            lifeboat_recovery::flows::DrillRequest { names, seed: Some(7), ..Default::default() };
        lifeboat_recovery::flows::drill(&world, &request).unwrap()
    };
    let whole = drill(&tier, 3);
    assert_eq!(whole.verdict, Verdict::Pass, "{whole:#?}");
    let broken = journal_keys(&tier).into_iter().find(|key| key.contains("-000000000000001e-"));
    let copy = Arc::new(tier.image());
    copy.tamper(&broken.unwrap(), |body| Some(body[..body.len() / 2].to_vec()));
    let report = drill(&copy, 8);
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::DrillFailed), "{report:#?}");
    let shop = &report.components[0];
    assert_eq!(shop.points.len(), 8, "none was passed over");
    let failed: Vec<_> = shop.points.iter().filter(|p| p.verdict == Verdict::Fail).collect();
    assert!(failed.iter().any(|p| p.error.as_ref().unwrap().message.contains("broken")));
    assert!(shop.checks.iter().all(|check| check.verdict == Verdict::Pass), "the newest is good");
}
