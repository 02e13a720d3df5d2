//! Packing and pruning: nothing of the window is lost, whenever they are killed.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::journal::keep::Base;
use lifeboat_recovery::journal::{
    FaultKind, Journal, JournalError, JournalFate, PackPolicy, Packed, Pruning, Writer, prune,
};
use lifeboat_recovery::ports::{Joint, LogReader, RecoverTo};
use lifeboat_testkit::{CrashStore, Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{Cancel, DeleteStore, Entry, Store, StoreError, StoreErrorKind};
use proptest::prelude::*;

use crate::journal_kit::{
    BEGIN, COMPONENT, Kit, LINEAGE, at, base, closed, log, logged, replay, sealer, start, tier,
};

fn policy(most_slices: usize) -> PackPolicy {
    PackPolicy { most_slices, most_bytes: 1 << 20, after: Duration::from_secs(3600) }
}

fn pack_all(writer: &mut Writer, most: usize) -> Vec<Packed> {
    std::iter::from_fn(|| writer.pack(&policy(most)).expect("it packs")).collect()
}

/// A base that was read back, at a place, finished at an instant.
fn verified(offset: u64, finished: Timestamp) -> Base {
    Base {
        id: format!("{offset:08x}"),
        lineage: LINEAGE.to_owned(),
        position: at(offset),
        finished,
        verified: true,
        held: false,
    }
}

fn prune_with(
    kit: &Kit,
    store: &Arc<dyn Store>,
    deleter: Option<&dyn DeleteStore>,
    bases: &[Base],
    window: Option<u64>,
) -> Result<JournalFate, JournalError> {
    prune(&Pruning {
        component: COMPONENT,
        store: store.clone(),
        sealer: kit.sealer.clone(),
        local: &kit.local(),
        bases,
        window: window.map(lifeboat_model::duration::Duration::from_secs),
        now: kit.now(),
        deleter,
        cancel: &Cancel::default(),
    })
}

fn loose(store: &MemoryStore) -> usize {
    store.keys(&format!("journal/{COMPONENT}/{LINEAGE}/ranges")).len()
}

#[test]
fn packs_hold_what_was_loose_and_each_slice_opens_by_itself_with_stock_tools() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit { sealer: closed(), ..Kit::new(store.clone()) };
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 20);
    let before: Vec<Bytes> =
        store.keys("journal").iter().take(10).map(|key| store.get(key).unwrap()).collect();
    let packed = pack_all(&mut writer, 10);
    assert_eq!(packed.iter().map(|pack| pack.slices).collect::<Vec<_>>(), [10, 10]);
    let pack = store.get(&packed[0].key).unwrap();
    assert!(pack.ends_with(b"lifeboat pack 1\n"));
    // A key was not needed, the slices are unchanged, and `age -d | zstd -d` opens one.
    let mut offset = 0;
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity.txt");
    std::fs::write(&identity, crate::journal_kit::identity()).unwrap();
    for (number, loose) in before.iter().enumerate() {
        let slice = &pack[offset..offset + loose.len()];
        assert_eq!(slice, &loose[..], "slice {number}");
        offset += loose.len();
        if number == 4 {
            let object = folder.path().join("slice");
            std::fs::write(&object, slice).unwrap();
            let age = Command::new("age")
                .args(["-d", "-i"])
                .args([&identity, &object])
                .stdout(Stdio::piped())
                .output()
                .expect("age is there: apt-get install age");
            assert!(age.status.success(), "{}", String::from_utf8_lossy(&age.stderr));
            let mut zstd = Command::new("zstd")
                .arg("-d")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("zstd is there: apt-get install zstd");
            zstd.stdin.take().unwrap().write_all(&age.stdout).unwrap();
            let plain = zstd.wait_with_output().unwrap().stdout;
            let header = plain.iter().position(|b| *b == b'\n').unwrap();
            assert_eq!(&plain[header + 1..], &log(BEGIN + 30)[..]);
        }
    }
    // Loose and packed are one.
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
    assert_eq!(kit.journal().survey().unwrap().faults, []);
    // Without the identity a pruning knows the packs that were made here.
    let tier: Arc<dyn Store> = store.clone();
    let look = prune_with(&kit, &tier, None, &[], None).unwrap();
    assert_eq!((look.packed, look.passed, loose(&store)), (20, 0, 21));
    let done = prune_with(&kit, &tier, Some(&*store), &[], None).unwrap();
    assert_eq!((done.packed, done.passed, loose(&store)), (20, 0, 1), "{done:?}");
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
    let window = &kit.journal().survey().unwrap().windows[0];
    assert_eq!((window.records, window.to), (21, at(end)));
}

/// A packing that is killed at any write, and the prune after it, leave every reader right.
#[test]
fn a_packing_that_is_killed_anywhere_leaves_readers_right() {
    for dies in 0..6 {
        let store = Arc::new(CrashStore::dying_after(MemoryStore::default(), 13 + dies));
        let kit =
            Kit { tiers: vec![tier("offsite", store.clone(), true)], ..Kit::new(store.clone()) };
        let mut writer = kit.stream();
        let end = kit.ranges(&mut writer, 12);
        let mut made = 0;
        while let Ok(Some(_)) = writer.pack(&policy(3)) {
            made += 1;
        }
        assert_eq!(made, dies.saturating_sub(1).min(4), "the last one was not read back");
        drop(writer);
        // The machine is back.
        let after = Arc::new(store.frozen());
        let kit = Kit { tiers: vec![tier("offsite", after.clone(), true)], ..kit };
        assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
        let mut writer = kit.stream();
        pack_all(&mut writer, 3);
        let tier: Arc<dyn Store> = after.clone();
        prune_with(&kit, &tier, Some(&*after), &[], None).unwrap();
        assert!(loose(&after) < 4, "{:?}", after.keys("journal"));
        assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
        assert_eq!(kit.journal().survey().unwrap().faults, []);
    }
}

#[test]
fn a_pack_whose_answer_was_lost_is_made_again_with_the_same_bytes() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 9);
    let lost = Fault { after_effect: true, ..Fault::nth(Verb::Create, 1, StoreErrorKind::Other) };
    store.arm(lost);
    assert!(writer.pack(&policy(10)).is_err());
    let key = store.inner().keys(&format!("journal/{COMPONENT}/{LINEAGE}/packs")).remove(0);
    let there = store.get(&key).unwrap();
    assert_eq!(writer.pack(&policy(10)).unwrap().unwrap().key, key);
    assert_eq!(store.get(&key).unwrap(), there);
}

/// A record that no tier has any more is said and left out; the others are packed all the same.
#[test]
fn a_lost_record_does_not_stop_packing() {
    for lost in [0, 4, 8] {
        let store = Arc::new(MemoryStore::default());
        let kit = Kit::new(store.clone());
        let mut writer = kit.stream();
        kit.ranges(&mut writer, 20);
        let key = store.keys(&format!("journal/{COMPONENT}/{LINEAGE}/ranges")).remove(lost);
        let damaged = |mut body: Vec<u8>| {
            body[30] ^= 1;
            Some(body)
        };
        store.tamper(&key, |body| if lost == 4 { damaged(body) } else { None });
        kit.pass(4000);
        let slices: Vec<usize> = pack_all(&mut writer, 10).iter().map(|p| p.slices).collect();
        assert_eq!(slices.iter().sum::<usize>(), 20, "all but one of 21: {slices:?}");
        assert!(writer.pack(&policy(10)).unwrap().is_none());
    }
}

/// A tier that does not answer may have it: nothing is left out.
#[test]
fn a_record_that_cannot_be_read_now_is_packed_later() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 9);
    store.arm(Fault::nth(Verb::Get, 3, StoreErrorKind::Unreachable));
    assert!(writer.pack(&policy(10)).is_err());
    store.disarm();
    assert_eq!(writer.pack(&policy(10)).unwrap().unwrap().slices, 10);
}

/// Packed, killed before that was noted, and the loose records pruned meanwhile: nothing is lost.
#[test]
fn a_pack_that_was_made_before_a_kill_is_known_again_without_its_loose_records() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 9);
    store.arm(Fault { after_effect: true, ..Fault::nth(Verb::Create, 1, StoreErrorKind::Other) });
    assert!(writer.pack(&policy(10)).is_err());
    store.disarm();
    for key in store.inner().keys(&format!("journal/{COMPONENT}/{LINEAGE}/ranges")) {
        store.inner().tamper(&key, |_| None);
    }
    assert_eq!(writer.pack(&policy(10)).unwrap().unwrap().slices, 10);
    assert!(writer.pack(&policy(10)).unwrap().is_none());
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
}

/// What does not read back does not count, and nothing loose goes by it.
#[test]
fn a_pack_that_does_not_read_back_takes_nothing_with_it() {
    // In the first slice, in the middle of one, in the index.
    for (part, goes) in [(0, 9), (1, 9), (2, 0)] {
        let store = Arc::new(MemoryStore::default());
        let kit = Kit::new(store.clone());
        let mut writer = kit.stream();
        let end = kit.ranges(&mut writer, 9);
        let pack = pack_all(&mut writer, 10).remove(0);
        store.tamper(&pack.key, |mut body| {
            let at = [0, 500, body.len() - 40][part];
            body[at] ^= 1;
            Some(body)
        });
        let tier: Arc<dyn Store> = store.clone();
        let done = prune_with(&kit, &tier, Some(&*store), &[], None).unwrap();
        assert!(!done.warnings.is_empty(), "part {part}");
        assert_eq!((done.packed, loose(&store) as u64), (goes, 10 - goes), "part {part}");
        let way = kit.way(BEGIN, &RecoverTo::Newest).unwrap();
        assert_eq!(replay(&way), logged(BEGIN, end), "part {part}: what it lacks is still loose");
    }
}

/// A store that bends what it takes.
struct Bent(MemoryStore);

impl Store for Bent {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.0.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.0.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let mut body = parts.concat();
        if key.contains("/packs/") {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        self.0.create(key, &[body.into()])
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.0.list(prefix)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.0.stat(key)
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[test]
fn a_pack_that_the_store_bent_does_not_count() {
    let store = Arc::new(Bent(MemoryStore::default()));
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 9);
    let error = writer.pack(&policy(10)).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    assert_eq!(loose(&store.0), 10);
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
}

#[test]
fn a_newer_pack_is_refused_as_that_and_its_loose_records_are_used() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 9);
    let pack = pack_all(&mut writer, 10).remove(0);
    store.tamper(&pack.key, |mut body| {
        let at = body.len() - 2;
        body[at] = b'2';
        Some(body)
    });
    let survey = kit.journal().survey().unwrap();
    assert_eq!(survey.faults.iter().map(|f| f.kind).collect::<Vec<_>>(), [FaultKind::Newer]);
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
}

/// A pack that somebody else planted over real records is named, and the real ones are used.
#[test]
fn a_planted_pack_does_not_hide_the_real_records() {
    let real = Arc::new(MemoryStore::default());
    let kit = Kit::new(real.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 9);
    let fake = Arc::new(MemoryStore::default());
    let evil = Kit { key: 66, ..Kit::new(fake.clone()) };
    let mut planter = evil.stream();
    evil.ranges(&mut planter, 9);
    let pack = pack_all(&mut planter, 10).remove(0);
    real.plant(&pack.key, fake.get(&pack.key).unwrap());
    let survey = kit.journal().survey().unwrap();
    assert!(survey.faults.iter().all(|fault| fault.kind == FaultKind::Foreign));
    assert!(!survey.faults.is_empty() && survey.windows.len() == 1);
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
    let tier: Arc<dyn Store> = real.clone();
    let done = prune_with(&kit, &tier, Some(&*real), &[], None).unwrap();
    assert_eq!((done.packed, loose(&real)), (0, 10), "nothing loose goes by it: {done:?}");
}

#[test]
fn what_no_point_of_the_window_needs_goes_and_a_partial_listing_keeps_all() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 1500);
    let (half, at_half) = (BEGIN + 15_000, kit.now());
    let end = kit.ranges(&mut writer, 100);
    pack_all(&mut writer, 100);
    let tier: Arc<dyn Store> = store.clone();
    let bases = [verified(BEGIN, kit.now()), verified(half, at_half)];
    store.arm(Fault::always(Verb::List, "", StoreErrorKind::Unreachable));
    let partial = prune_with(&kit, &tier, Some(store.inner()), &bases, Some(60));
    assert!(partial.is_err(), "an incomplete listing is an error");
    store.disarm();
    let keys = store.inner().keys("journal").len();
    let unverified = Base { verified: false, ..bases[1].clone() };
    let none = prune_with(&kit, &tier, Some(store.inner()), &[unverified], Some(60)).unwrap();
    assert_eq!(none.passed, 0, "no base is proven: {none:?}");
    assert!(none.packed > 0 && store.inner().keys("journal").len() < keys);
    let done = prune_with(&kit, &tier, Some(store.inner()), &bases[1..], Some(60)).unwrap();
    assert!(done.passed >= 8, "{done:?}");
    let way = kit.way(half, &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(half, end));
    assert_eq!(way.facts()["engine"], "test", "the facts of the stream are still there");
    assert_eq!(kit.journal().survey().unwrap().faults, [], "what is gone is no fault");
    // A clock that is wrong keeps all.
    kit.clock.step_wall(SignedDuration::from_hours(-48));
    let wrong = prune_with(&kit, &tier, Some(store.inner()), &bases[1..], Some(60)).unwrap();
    assert!(wrong.refused[0].contains("clock"), "{wrong:?}");
}

/// What a history is made of.
#[derive(Debug, Clone)]
enum Step {
    Ranges(u64),
    Idle(u64),
    Gap,
    Restart,
    Base,
    Pack(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40u64).prop_map(Step::Ranges),
        2 => (1..600u64).prop_map(Step::Idle),
        1 => Just(Step::Gap),
        2 => Just(Step::Restart),
        2 => Just(Step::Base),
        2 => (2..30usize).prop_map(Step::Pack),
    ]
}

type Answers = BTreeSet<(String, i64, Vec<u8>)>;

/// Every answer that the bases give for each tenth second of a span.
fn answers(kit: &Kit, bases: &[Base], from: Timestamp, to: Timestamp) -> Answers {
    let mut found = Answers::new();
    let mut wanted = from;
    while wanted <= to {
        let usable = bases.iter().filter(|base| base.finished <= wanted);
        if let Some(nearest) = usable.max_by_key(|base| base.finished)
            && let Ok(way) = kit.way(nearest.position.offset, &RecoverTo::Time(wanted))
        {
            found.insert((nearest.id.clone(), wanted.as_second(), replay(&way)));
        }
        wanted += SignedDuration::from_secs(97);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    /// Random histories, packed and pruned: the same instants give the same bytes.
    #[test]
    fn no_restorable_second_of_the_window_is_lost(steps in prop::collection::vec(step(), 4..14)) {
        let store = Arc::new(MemoryStore::default());
        let kit = Kit::new(store.clone());
        let kit = Kit { clock: store.clock().clone(), ..kit };
        let mut writer = kit.stream();
        let mut bases = vec![verified(BEGIN, kit.now())];
        for step in steps {
            let end = writer.end().unwrap().position.offset;
            match step {
                Step::Ranges(count) => drop(kit.ranges(&mut writer, count)),
                Step::Idle(seconds) => kit.idle(&mut writer, seconds),
                Step::Pack(most) => drop(pack_all(&mut writer, most)),
                Step::Base => {
                    kit.pass(1);
                    bases.push(verified(end, kit.now()));
                }
                Step::Restart => {
                    drop(writer);
                    writer = kit.stream();
                }
                Step::Gap => {
                    drop(writer);
                    kit.pass(30);
                    writer = kit.writer();
                    let why = "it was not there".to_owned();
                    writer.begin(&start(base(end + 100), Joint::Gap { why })).unwrap();
                }
            }
        }
        let (window, tier): (u64, Arc<dyn Store>) = (400, store.clone());
        let begins = kit.now() - SignedDuration::from_secs(window as i64);
        let before = answers(&kit, &bases, begins, kit.now());
        pack_all(&mut writer, 7);
        prop_assert_eq!(&answers(&kit, &bases, begins, kit.now()), &before, "packed");
        // Retention has removed what the window does not need of the bases.
        let span = lifeboat_model::duration::Duration::from_secs(window);
        let anchor = lifeboat_model::journal::keep::anchor(&bases, span, kit.now()).unwrap().clone();
        bases.retain(|base| base.finished >= anchor.finished);
        prune_with(&kit, &tier, Some(&*store), &bases, Some(window)).unwrap();
        prop_assert_eq!(&answers(&kit, &bases, begins, kit.now()), &before, "pruned");
        prop_assert!(kit.journal().survey().unwrap().faults.is_empty());
        let _ = sealer();
    }
}

/// A hundred thousand loose records are not fetched to show windows: what was written here is known
/// here, and a pack tells of all its records in two reads.
#[test]
fn windows_are_shown_without_opening_records() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 60);
    pack_all(&mut writer, 40);
    let read_from = || {
        let mut from = kit.read_from(store.clone());
        from.local = Some(kit.local());
        from
    };
    let journal = Journal::open(read_from()).unwrap();
    assert_eq!(journal.loose(), 61);
    store.arm(Fault::always(
        Verb::Get,
        &format!("journal/{COMPONENT}/{LINEAGE}/ranges"),
        StoreErrorKind::Unreachable,
    ));
    // Two reads for the pack, and no more.
    let pack = format!("journal/{COMPONENT}/{LINEAGE}/packs");
    let third = Fault { after: 2, ..Fault::always(Verb::Get, &pack, StoreErrorKind::Unreachable) };
    store.arm(third);
    let survey = journal.survey().unwrap();
    assert_eq!((survey.windows.len(), survey.windows[0].records), (1, 61));
    assert_eq!(survey.windows[0].to, at(end));
    assert!(journal.survey().is_err(), "the third read of the pack fails: it was counted");
    store.disarm();
    let mut elsewhere = read_from();
    elsewhere.local = None;
    let elsewhere = Journal::open(elsewhere).unwrap();
    assert_eq!(elsewhere.survey().unwrap(), survey, "another host opens what is in no pack");
}
