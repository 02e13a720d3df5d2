//! Tiers that lag: what they lack is looked for while the stream goes on, and names prove nothing.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lifeboat_model::journal::{Name, PackName};
use lifeboat_recovery::ports::RecoverTo;
use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{Entry, Store, StoreError, StoreErrorKind};

use crate::journal_kit::{BEGIN, COMPONENT, Kit, LINEAGE, at, base, closed, logged, replay, tier};

/// A listing that has been read, and is not yet given out.
struct Halting {
    inner: FaultyStore<MemoryStore>,
    halt: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Store for Halting {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.inner.create(key, parts)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let found = self.inner.list(prefix)?;
        let halt = self.halt.lock().unwrap().take();
        if let Some((read, go)) = halt {
            read.send(()).unwrap();
            go.recv().unwrap();
        }
        Ok(found)
    }
    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.inner.stat(key)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// What is stored in a tier while what it lacks is looked for says nothing of what it lacks.
#[test]
fn a_tier_that_is_being_listed_acknowledges_nothing() {
    let inner = FaultyStore::new(MemoryStore::default());
    let far = Arc::new(Halting { inner, halt: Mutex::default() });
    let near = Arc::new(MemoryStore::default());
    let kit = Kit::new(far.clone());
    let tiers = vec![tier("disk", near.clone(), false), tier("offsite", far.clone(), true)];
    let kit = Kit { tiers, ..kit };
    drop(kit.stream());
    // The far tier is away when the stream opens, and for its first records.
    for verb in [Verb::List, Verb::Create] {
        far.inner.arm(Fault::always(verb, "", StoreErrorKind::Unreachable));
    }
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 3);
    assert_eq!((writer.acknowledged(), far.inner.inner().keys("").len()), (None, 1));
    // It is back; while it is listed the stream stores in it.
    far.inner.disarm();
    kit.pass(10);
    let ((read, is_read), (go_on, go)) = (mpsc::channel(), mpsc::channel());
    *far.halt.lock().unwrap() = Some((read, go));
    let copier = writer.copier();
    let looking = std::thread::spawn(move || copier.catch_up(0).unwrap());
    is_read.recv().unwrap();
    let event = kit.range(BEGIN + 30);
    writer.append(&event).unwrap();
    assert_eq!(far.inner.inner().keys("journal").len(), 2, "the race: stored while it is listed");
    assert_eq!(writer.acknowledged(), None, "it lacks what came before");
    let far_has = |line: String| line.contains("offsite");
    let whole = std::fs::read_to_string(kit.local().join("tiers.json")).unwrap_or_default();
    assert!(!far_has(whole), "nor is it noted as one that has all");
    go_on.send(()).unwrap();
    looking.join().unwrap();
    assert_eq!(writer.acknowledged(), Some(at(BEGIN)), "not a byte");
    writer.catch_up(100).unwrap();
    assert_eq!(writer.acknowledged(), Some(at(BEGIN + 40)));
    assert_eq!(far.inner.inner().keys("journal").len(), 6);
    let read = kit.read_from(far);
    let journal = lifeboat_recovery::journal::Journal::open(read).unwrap();
    let way = journal.way(&base(BEGIN), &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(BEGIN, BEGIN + 40));
}

fn pack_over(from: u64, count: u32) -> String {
    let first = Name { from: at(from), seq: 1 };
    let name = PackName { first, count };
    format!("journal/{COMPONENT}/{LINEAGE}/packs/{name}")
}

/// Whoever can only create objects in a tier cannot keep records from it, or from another, by a name:
/// also not where nobody can read the index of a pack.
#[test]
fn a_pack_by_name_alone_holds_nothing() {
    for sealer in [crate::journal_kit::sealer(), closed()] {
        let (far, near) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let tiers = vec![tier("disk", near.clone(), false), tier("offsite", far.clone(), true)];
        let kit = Kit { tiers, sealer, ..Kit::new(far.clone()) };
        let mut writer = kit.stream();
        kit.ranges(&mut writer, 5);
        drop(writer);
        // In the tier that lags and in the one that has all, as others would look, and too large.
        for store in [&near, &far] {
            store.plant(&pack_over(BEGIN, 0x7fff_ffff), &b"nobody's"[..]);
        }
        near.plant(&pack_over(BEGIN, 6), vec![7u8; 100_000]);
        let mut writer = kit.writer();
        writer.catch_up(100).unwrap();
        assert_eq!(near.keys(&format!("journal/{COMPONENT}/{LINEAGE}/ranges")).len(), 6);
        let standing = writer.standing().into_iter().find(|one| one.tier == "disk").unwrap();
        assert_eq!((standing.position, standing.lacks), (Some(at(BEGIN + 50)), Some(0)));
        // Where it can be told that a pack is none, that is said as long as it stands there.
        far.plant(&pack_over(BEGIN, 7), &b"nobody's"[..]);
        drop(writer);
        let mut writer = kit.writer();
        writer.catch_up(100).unwrap();
        let standing = writer.standing().into_iter().find(|one| one.tier == "disk").unwrap();
        let problem = standing.problem.unwrap_or_default();
        assert_eq!(problem.contains("-00000007 of tier offsite"), kit.sealer.opens(), "{problem}");
    }
}

/// A pack that this host made is believed without opening it, and what it holds is not copied twice.
#[test]
fn a_pack_that_was_made_or_copied_here_holds_what_it_says() {
    for sealer in [crate::journal_kit::sealer(), closed()] {
        let (far, near) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let one = vec![tier("offsite", far.clone(), true)];
        let kit = Kit { tiers: one, sealer, ..Kit::new(far.clone()) };
        let mut writer = kit.stream();
        kit.ranges(&mut writer, 9);
        let policy =
            lifeboat_recovery::journal::PackPolicy { most_slices: 10, ..Default::default() };
        assert!(writer.pack(&policy).unwrap().is_some());
        drop(writer);
        let tiers = vec![tier("disk", near.clone(), false), tier("offsite", far.clone(), true)];
        let kit = Kit { tiers, ..kit };
        let mut writer = kit.writer();
        assert_eq!(writer.catch_up(100).unwrap().copied, 1, "the pack alone");
        drop(writer);
        let mut writer = kit.writer();
        assert_eq!(writer.catch_up(100).unwrap().copied, 0);
        assert_eq!(near.keys("journal").len(), 1);
    }
}

/// A planted name far beyond the end costs a look, not four thousand million.
#[test]
fn a_lost_state_is_read_back_past_names_that_lead_nowhere() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 4);
    drop(writer);
    store.plant(&pack_over(BEGIN, 0x7fff_ffff), &b"nobody's"[..]);
    let last = Name { from: at(u64::MAX / 2), seq: u32::MAX };
    store.plant(&format!("journal/{COMPONENT}/{LINEAGE}/ranges/{last}"), &b"nobody's"[..]);
    let kit = Kit { folder: tempfile::tempdir().unwrap(), ..kit };
    let mut writer = kit.writer();
    assert_eq!(writer.resume().unwrap().at, base(end));
    assert_eq!(writer.acknowledged(), Some(at(end)), "and nothing beyond it is acknowledged");
    writer
        .begin(&crate::journal_kit::start(base(end), lifeboat_recovery::ports::Joint::Seamless))
        .unwrap();
    kit.ranges(&mut writer, 1);
}
