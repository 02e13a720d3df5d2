//! The writing end: killed at every step, answers lost, tiers down, another stream, a lost state.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lifeboat_model::chain::Signer;
use lifeboat_model::exit::Exit;
use lifeboat_recovery::journal::{Appended, JournalError, Writer, standing};
use lifeboat_recovery::ports::{Joint, LogEvent, LogReader, RecoverTo};
use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{Entry, Store, StoreError, StoreErrorKind};

use crate::journal_kit::{
    BEGIN, COMPONENT, Kit, LINEAGE, at, base, closed, logged, range, replay, signer, start, tier,
};

fn faulty() -> Arc<FaultyStore<MemoryStore>> {
    Arc::new(FaultyStore::new(MemoryStore::default()))
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), &to).unwrap()),
        }
    }
}

/// Keeps what a kill before and after each write would leave: the store and the local state.
struct Moments {
    inner: MemoryStore,
    state: PathBuf,
    kept: tempfile::TempDir,
    images: Mutex<Vec<(MemoryStore, PathBuf)>>,
}

impl Moments {
    fn keep(&self) {
        let mut images = self.images.lock().unwrap();
        let folder = self.kept.path().join(images.len().to_string());
        copy(&self.state, &folder);
        images.push((self.inner.image(), folder));
    }
}

impl Store for Moments {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.keep();
        self.inner.create(key, parts)?;
        self.keep();
        Ok(())
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.inner.stat(key)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Killed before and after each object was created, and after the head was written but before the
/// intent was removed: the stream goes on with nothing lost, nothing twice, and no gap.
#[test]
fn a_stream_that_is_killed_at_any_step_goes_on_without_a_gap() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let moments = Arc::new(Moments {
        inner: MemoryStore::default(),
        state: kit.folder.path().join("state"),
        kept: tempfile::tempdir().unwrap(),
        images: Mutex::default(),
    });
    let kit = Kit { tiers: vec![tier("offsite", moments.clone(), true)], ..kit };
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 4);
    writer.stop().unwrap();
    drop(writer);
    let mut images = std::mem::take(&mut *moments.images.lock().unwrap());
    assert_eq!(images.len(), 12, "before and after each of six objects");
    // The intent of each, beside the head that already has it.
    for index in (1..11).step_by(2) {
        let folder = kit.folder.path().join(format!("late-{index}"));
        copy(&images[index + 1].1, &folder);
        let old = images[index].1.join("journal").join(COMPONENT).join("queue");
        copy(&old, &folder.join("journal").join(COMPONENT).join("queue"));
        assert_eq!(std::fs::read_dir(&old).unwrap().count(), 1, "there was an intent");
        images.push((images[index].0.image(), folder));
    }
    let mut told = 0;
    for (number, (image, state)) in images.into_iter().enumerate() {
        let store = Arc::new(image);
        let after = Kit::new(store.clone());
        copy(&state, &after.folder.path().join("state"));
        let before = store.keys("journal").len();
        let mut writer = after.stream();
        told += usize::from(store.keys("journal").len() > before + 1);
        let end = after.ranges(&mut writer, 3);
        let way = after.way(BEGIN, &RecoverTo::Newest).unwrap();
        assert_eq!(replay(&way), logged(BEGIN, end), "killed at moment {number}");
        let survey = after.journal().survey().unwrap();
        assert_eq!((survey.windows.len(), survey.gaps.len()), (1, 0), "{number}");
        assert_eq!(survey.faults, [], "killed at moment {number}");
        assert_eq!(survey.windows[0].lineage, base(0).lineage, "{number}: no new chain");
    }
    assert!(told >= 5, "an object that was about to be stored was stored after the kill: {told}");
}

#[test]
fn a_lost_answer_is_known_by_the_bytes_of_the_intent() {
    for kind in [StoreErrorKind::Unreachable, StoreErrorKind::Other] {
        let store = faulty();
        let kit = Kit::new(store.clone());
        let mut writer = kit.stream();
        kit.ranges(&mut writer, 2);
        store.arm(Fault { after_effect: true, ..Fault::nth(Verb::Create, 1, kind) });
        let event = kit.range(BEGIN + 20);
        assert_eq!(writer.append(&event).unwrap(), Appended::Waiting);
        assert_eq!(writer.acknowledged(), Some(at(BEGIN + 20)), "nothing is acknowledged");
        // The object is there: the next attempt meets it, and knows it.
        let there = store.inner().keys("journal").len();
        assert_eq!(writer.flush().unwrap(), Appended::Stored);
        assert_eq!(store.inner().keys("journal").len(), there);
        assert_eq!(writer.acknowledged(), Some(at(BEGIN + 30)));
        let end = kit.ranges(&mut writer, 2);
        assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
    }
}

#[test]
fn a_second_stream_on_the_host_is_locked_out() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let writer = kit.stream();
    let second = Writer::open(kit.settings()).err().expect("it is refused");
    assert!(matches!(second, JournalError::Locked { .. }));
    assert_eq!(second.exit(), Exit::Locked);
    assert!(standing(&kit.state(), COMPONENT).unwrap().1, "it shows that it runs");
    drop(writer);
    assert!(!standing(&kit.state(), COMPONENT).unwrap().1);
    Writer::open(kit.settings()).expect("the lock went with its holder");
}

/// Two hosts stream one database: whoever is second finds the name taken, by bytes that are not his.
#[test]
fn a_stream_of_another_host_is_found_at_the_next_name() {
    let store = Arc::new(MemoryStore::default());
    let one = Kit::new(store.clone());
    let mut first = one.stream();
    one.ranges(&mut first, 3);
    let other = Kit { key: 2, host: "db2", ..Kit::new(store.clone()) };
    copy(&one.folder.path().join("state"), &other.folder.path().join("state"));
    let mut second = other.writer();
    let resume = second.resume().unwrap();
    second.begin(&start(resume.at, Joint::Seamless)).unwrap();
    assert_eq!(store.keys("journal").len(), 5, "the second was faster");
    let event = one.range(BEGIN + 30);
    let error = first.append(&event).unwrap_err();
    assert!(matches!(&error, JournalError::Taken { tier, .. } if tier == "offsite"), "{error}");
    assert_eq!(error.exit(), Exit::Locked);
    assert!(matches!(first.flush(), Err(JournalError::Taken { .. })), "it stays so");
}

#[test]
fn nothing_is_acknowledged_while_no_tier_takes_writes_and_nothing_is_lost() {
    let store = faulty();
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 2);
    store.arm(Fault::always(Verb::Create, "", StoreErrorKind::Unreachable));
    let event = kit.range(BEGIN + 20);
    assert_eq!(writer.append(&event).unwrap(), Appended::Waiting, "kept as the intent");
    let next = kit.range(BEGIN + 30);
    let error = writer.append(&next).unwrap_err();
    assert!(matches!(error, JournalError::NoTier(Some(_))) && error.exit() == Exit::Unreachable);
    assert_eq!(writer.pending().objects, 1, "without a spool no more than the intent");
    assert_eq!(writer.acknowledged(), Some(at(BEGIN + 20)));
    assert_eq!(writer.flush().unwrap(), Appended::Waiting);
    store.disarm();
    assert_eq!(writer.append(&next).unwrap(), Appended::Stored);
    assert_eq!(writer.acknowledged(), Some(at(BEGIN + 40)));
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, BEGIN + 40));
}

#[test]
fn a_spool_holds_what_no_tier_takes_up_to_its_limit_and_says_when_it_is_full() {
    let store = faulty();
    let kit = Kit { spool: Some(4000), ..Kit::new(store.clone()) };
    let mut writer = kit.stream();
    store.arm(Fault::always(Verb::Create, "", StoreErrorKind::NoSpace));
    let mut end = BEGIN;
    let full = loop {
        match writer.append(&kit.range(end)) {
            Ok(Appended::Waiting) => end += 10,
            Ok(Appended::Stored) => panic!("nothing can be stored"),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, JournalError::SpoolFull { limit: 4000, .. }), "{full}");
    assert!(writer.pending().objects >= 2 && writer.pending().bytes <= 4000);
    assert_eq!(writer.acknowledged(), Some(at(end)), "the spool has it");
    // The process ends, and another one finds the spool.
    drop(writer);
    let mut writer = kit.writer();
    let resume = writer.resume().unwrap();
    assert_eq!(resume.at.position, at(end));
    assert_eq!(resume.facts["salt"], format!("{:x}", end - 10).as_str());
    store.disarm();
    writer.begin(&start(resume.at, Joint::Seamless)).unwrap();
    assert_eq!(writer.append(&kit.range(end)).unwrap(), Appended::Stored);
    assert_eq!(writer.pending().objects, 0);
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end + 10));
}

/// The tier that survives the machine is written first; while it is down the local one takes the
/// objects, and nothing is acknowledged before the far one has caught up.
#[test]
fn the_far_tier_counts_and_catches_up_by_copies() {
    let (far, near) = (faulty(), faulty());
    let kit = Kit::new(far.clone());
    let tiers = vec![tier("disk", near.clone(), false), tier("offsite", far.clone(), true)];
    let kit = Kit { tiers, ..kit };
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 2);
    assert_eq!(far.inner().keys("journal").len(), 3, "the far one first");
    assert_eq!(near.inner().keys("journal").len(), 0);
    assert_eq!(writer.catch_up(100).unwrap().copied, 3);
    far.arm(Fault::always(Verb::Create, "", StoreErrorKind::Unreachable));
    assert_eq!(writer.append(&kit.range(BEGIN + 20)).unwrap(), Appended::Stored);
    assert_eq!(writer.append(&kit.range(BEGIN + 30)).unwrap(), Appended::Stored);
    assert_eq!(writer.acknowledged(), Some(at(BEGIN + 20)), "only the machine's own tier has more");
    let found = writer.standing().into_iter().find(|tier| tier.tier == "offsite").unwrap();
    assert_eq!((found.position, found.lacks), (Some(at(BEGIN + 20)), Some(2)));
    assert!(found.problem.is_some() && found.proven.is_some());
    far.disarm();
    kit.pass(10);
    assert_eq!(writer.catch_up(100).unwrap().copied, 2);
    assert_eq!(writer.acknowledged(), Some(at(BEGIN + 40)));
    assert_eq!(far.inner().keys("journal"), near.inner().keys("journal"));
    for key in far.inner().keys("journal") {
        assert_eq!(far.inner().get(&key).unwrap(), near.inner().get(&key).unwrap(), "unchanged");
    }
    // What was down while the process changed is found by listing.
    far.arm(Fault::always(Verb::Create, "", StoreErrorKind::Unreachable));
    writer.append(&kit.range(BEGIN + 40)).unwrap();
    drop(writer);
    far.disarm();
    let mut writer = kit.writer();
    assert_eq!(writer.acknowledged(), Some(at(BEGIN + 40)));
    assert_eq!(writer.catch_up(100).unwrap().copied, 1);
    assert_eq!(writer.acknowledged(), Some(at(BEGIN + 50)));
}

/// Each tier has its own retention: what was pruned in one is not brought back from another.
#[test]
fn what_was_pruned_in_a_tier_is_not_copied_back() {
    let (far, near) = (faulty(), faulty());
    let tiers = vec![tier("offsite", far.clone(), true), tier("disk", near.clone(), false)];
    let kit = Kit { tiers, ..Kit::new(far.clone()) };
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 6);
    assert_eq!(writer.catch_up(100).unwrap().copied, 7);
    for key in near.inner().keys("journal").into_iter().take(4) {
        near.inner().tamper(&key, |_| None);
    }
    drop(writer);
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 1);
    assert_eq!(writer.catch_up(100).unwrap().copied, 2, "the new ones alone");
    assert_eq!(near.inner().keys("journal").len(), 3 + 2);
    // A tier that is new gets all.
    let fresh = faulty();
    let mut tiers = kit.tiers.clone();
    tiers.push(tier("second", fresh.clone(), false));
    drop(writer);
    let kit = Kit { tiers, ..kit };
    let mut writer = kit.writer();
    writer.catch_up(100).unwrap();
    assert_eq!(fresh.inner().keys("journal"), far.inner().keys("journal"));
}

#[test]
fn a_lost_state_goes_on_from_the_tier_where_the_identity_is() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 3);
    kit.idle(&mut writer, 60);
    let quiet = Some(kit.now());
    kit.pass(5);
    drop(writer);
    let known = kit.writer().resume().unwrap();
    assert_eq!(known.proven, quiet, "what the keepalive proved");
    std::fs::remove_dir_all(kit.folder.path().join("state")).unwrap();
    let mut writer = kit.stream();
    let resume = writer.resume().unwrap();
    assert_eq!(resume.proven, quiet, "also read back");
    assert_eq!((resume.at, resume.facts["salt"].as_str()), (base(BEGIN + 30), Some("3fc")));
    let end = kit.ranges(&mut writer, 2);
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
    assert_eq!(kit.journal().survey().unwrap().windows.len(), 1);
}

#[test]
fn a_lost_state_without_the_identity_is_another_chain() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit { sealer: closed(), ..Kit::new(store.clone()) };
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 3);
    drop(writer);
    std::fs::remove_dir_all(kit.folder.path().join("state")).unwrap();
    let mut writer = kit.writer();
    assert_eq!(writer.resume(), None);
    let lost = Joint::NewLineage { why: "the journal's end cannot be read here".to_owned() };
    writer.begin(&start(base(BEGIN + 50), lost)).unwrap();
    assert_eq!(writer.end().unwrap().lineage, format!("{}+2", base(0).lineage));
    writer.append(&range(BEGIN + 50, kit.now())).unwrap();
    let lineages: Vec<String> = kit.journal().lineages().map(str::to_owned).collect();
    assert_eq!(lineages, [base(0).lineage, format!("{}+2", base(0).lineage)]);
    // Each base leads on in the chain that reaches it.
    let old = kit.way(BEGIN + 10, &RecoverTo::Newest).unwrap();
    assert_eq!(old.target().position, at(BEGIN + 30));
    let new = kit.way(BEGIN + 50, &RecoverTo::Newest).unwrap();
    assert_eq!((new.target().position, new.lineage().ends_with("+2")), (at(BEGIN + 60), true));
    let between = kit.way(BEGIN + 40, &RecoverTo::Newest);
    assert!(matches!(between, Err(JournalError::NotCovered { .. })));
}

/// A tier that does not answer may have the newer end: going on from an older one would fork.
#[test]
fn a_lost_state_waits_for_every_tier() {
    let (far, near) = (faulty(), faulty());
    let tiers = vec![tier("offsite", far.clone(), true), tier("disk", near.clone(), false)];
    let kit = Kit { tiers, ..Kit::new(far.clone()) };
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 3);
    drop(writer);
    std::fs::remove_dir_all(kit.folder.path().join("state")).unwrap();
    far.arm(Fault::always(Verb::List, "", StoreErrorKind::Unreachable));
    let error = Writer::open(kit.settings()).err().unwrap();
    assert!(matches!(error, JournalError::NoTier(Some(_))), "{error}");
    far.disarm();
    assert_eq!(kit.writer().resume().unwrap().at.position, at(BEGIN + 30));
}

/// A state folder that was set back offers a name that is taken by bytes that it does not know.
#[test]
fn a_state_that_was_set_back_stops() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 2);
    drop(writer);
    let (state, image) = (kit.folder.path().join("state"), kit.folder.path().join("image"));
    copy(&state, &image);
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 2);
    drop(writer);
    copy(&image, &state);
    let mut writer = kit.writer();
    let resume = writer.resume().unwrap();
    let error = writer.begin(&start(resume.at, Joint::Seamless)).unwrap_err();
    assert!(matches!(error, JournalError::Taken { .. }), "{error}");
    assert!(error.hint().unwrap().contains("set back"));
}

#[test]
fn what_does_not_join_is_refused_and_a_gap_is_recorded() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 2);
    let hole = writer.append(&range(BEGIN + 30, kit.now()));
    assert!(matches!(hole, Err(JournalError::NotContiguous { .. })));
    let again = writer.append(&range(BEGIN + 10, kit.now()));
    assert!(matches!(again, Err(JournalError::NotContiguous { .. })));
    drop(writer);
    let mut writer = kit.writer();
    let late = start(base(BEGIN + 50), Joint::Seamless);
    assert!(matches!(writer.begin(&late), Err(JournalError::NotContiguous { .. })));
    assert!(matches!(writer.append(&range(BEGIN + 20, kit.now())), Err(JournalError::NotBegun)));
    let why = "the slot was dropped".to_owned();
    writer.begin(&start(base(BEGIN + 50), Joint::Gap { why: why.clone() })).unwrap();
    writer.append(&range(BEGIN + 50, kit.now())).unwrap();
    let survey = kit.journal().survey().unwrap();
    assert_eq!((survey.windows.len(), survey.gaps.len(), survey.faults.len()), (2, 1, 0));
    assert_eq!((survey.gaps[0].from, survey.gaps[0].to), (at(BEGIN + 20), at(BEGIN + 50)));
    assert_eq!(survey.gaps[0].why, why);
}

#[test]
fn a_branch_goes_on_on_the_new_line_and_brings_its_history() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 3);
    let switch = lifeboat_model::position::Position::new(2, BEGIN + 25);
    let branch = LogEvent::Branch {
        from: at(BEGIN + 25),
        to: switch,
        time: kit.now(),
        history: Bytes::from_static(b"1\t0/19\tno recovery target specified\n"),
    };
    writer.append(&branch).unwrap();
    let mut next = match range(BEGIN + 25, kit.now()) {
        LogEvent::Range(range) => range,
        _ => unreachable!(),
    };
    (next.from.line, next.to.line) = (2, 2);
    writer.append(&LogEvent::Range(next)).unwrap();
    let way = kit.way(BEGIN, &RecoverTo::Newest).unwrap();
    assert_eq!(way.target().position, lifeboat_model::position::Position::new(2, BEGIN + 35));
    let histories = way.histories().unwrap();
    assert_eq!((histories.len(), histories[0].0), (1, 2));
    assert!(histories[0].1.starts_with(b"1\t0/19"));
    // A base beyond the place where the old line was left does not lead to the new one.
    let beyond = kit.way(BEGIN + 28, &RecoverTo::Newest).err().unwrap();
    assert!(matches!(beyond, JournalError::NotCovered { .. }));
    assert!(beyond.hint().unwrap().contains("left line 1"), "{:?}", beyond.hint());
    let beyond = kit.way(BEGIN + 28, &RecoverTo::Name("a".to_owned())).err().unwrap();
    assert!(matches!(beyond, JournalError::NotCovered { .. }), "{beyond}");
}

/// A base on a stretch that was left later still leads to every point up to there.
#[test]
fn a_base_after_the_fork_leads_to_its_own_past() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 5);
    let wanted = kit.now();
    kit.ranges(&mut writer, 3);
    kit.pass(60);
    let branch = LogEvent::Branch {
        from: at(BEGIN + 20),
        to: lifeboat_model::position::Position::new(2, BEGIN + 20),
        time: kit.now(),
        history: Bytes::from_static(b"1\t0/14\tno recovery target specified\n"),
    };
    writer.append(&branch).unwrap();
    kit.pass(60);
    let mut next = match range(BEGIN + 20, kit.now()) {
        LogEvent::Range(range) => range,
        _ => unreachable!(),
    };
    (next.from.line, next.to.line) = (2, 2);
    writer.append(&LogEvent::Range(next)).unwrap();
    let after = BEGIN + 30;
    for to in [RecoverTo::Time(wanted), RecoverTo::Position(at(BEGIN + 50))] {
        let way = kit.way(after, &to).unwrap();
        assert_eq!(way.target().position, at(BEGIN + 50), "{to:?}");
        assert_eq!(replay(&way), logged(after, BEGIN + 50));
        let last = way.pieces().last().unwrap();
        assert_eq!(last.to, at(BEGIN + 80), "nothing of the other line is on it");
    }
    for to in [RecoverTo::Newest, RecoverTo::Time(kit.now()), RecoverTo::Position(at(BEGIN + 90))] {
        let error = kit.way(after, &to).err().unwrap();
        assert!(matches!(error, JournalError::NotCovered { .. }), "{to:?}: {error}");
        assert!(error.hint().unwrap().contains("left line 1"), "{to:?}: {:?}", error.hint());
    }
}

/// A server that was set back without another line writes other bytes at the same places: what a
/// later chain has there is not the log that an older base goes on with.
#[test]
fn a_chain_that_is_younger_than_a_base_does_not_lead_from_it() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit { sealer: closed(), ..Kit::new(store.clone()) };
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 3);
    let finished = kit.now();
    let end = kit.ranges(&mut writer, 3);
    drop(writer);
    std::fs::remove_dir_all(kit.folder.path().join("state")).unwrap();
    kit.pass(60);
    let mut writer = kit.writer();
    let lost = Joint::NewLineage { why: "an older state was put back".to_owned() };
    writer.begin(&start(base(BEGIN + 10), lost)).unwrap();
    for number in 1..=9 {
        writer.append(&kit.range(BEGIN + 10 * number)).unwrap();
    }
    let later = kit.now();
    let journal = kit.journal();
    let old = journal.way_since(&base(BEGIN + 20), finished, &RecoverTo::Newest).unwrap();
    assert_eq!((old.lineage(), old.target().position), (LINEAGE, at(end)));
    let said = |note: &String| note.contains("+2 was begun at");
    assert!(old.notes().iter().any(said), "{:?}", old.notes());
    let new = journal.way_since(&base(BEGIN + 20), later, &RecoverTo::Newest).unwrap();
    assert_eq!(new.target().position, at(BEGIN + 100));
    assert!(new.lineage().ends_with("+2"), "a base that was taken since is on the later one");
}

#[test]
fn an_idle_stream_is_due_a_keepalive_and_its_facts_are_repeated() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    let rpo = Some(std::time::Duration::from_secs(600));
    assert!(!writer.keepalive_due(rpo));
    kit.pass(150);
    assert!(writer.keepalive_due(rpo));
    for _ in 0..1100 {
        kit.idle(&mut writer, 1);
    }
    let (way, now) = (kit.way(BEGIN, &RecoverTo::Newest).unwrap(), kit.now());
    assert_eq!((way.target().proven, way.facts()["engine"].as_str()), (Some(now), Some("test")));
    // Start at 1, and again after each 512 records.
    assert_eq!(writer.end().unwrap().position, at(BEGIN));
    let survey = kit.journal().survey().unwrap();
    assert_eq!(survey.windows[0].records, 1 + 1100 + 2);
}

#[test]
fn a_key_that_changed_is_named_and_both_are_believed_if_both_are_trusted() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 2);
    drop(writer);
    let kit = Kit { key: 9, ..kit };
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 2);
    let journal = |keys: &[u8]| {
        let mut from = kit.read_from(store.clone());
        from.trusted = keys.iter().map(|key| signer(*key).public_key()).collect();
        lifeboat_recovery::journal::Journal::open(from).unwrap()
    };
    let way = journal(&[1, 9]).way(&base(BEGIN), &RecoverTo::Newest).unwrap();
    assert_eq!(way.target().position.offset, end);
    // Only the old one is trusted: the way ends where the other begins, and says so.
    let way = journal(&[1]).way(&base(BEGIN), &RecoverTo::Newest).unwrap();
    assert_eq!(way.target().position.offset, BEGIN + 20);
    let later = journal(&[1]).survey().unwrap();
    assert_eq!(later.faults.len(), 3);
    assert!(later.faults[0].why.contains("not believed"), "{:?}", later.faults);
}
