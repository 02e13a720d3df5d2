//! What is planted, changed or taken out is found, named, and never used.

use std::sync::Arc;

use lifeboat_model::chain::{Signed, Signer};
use lifeboat_model::exit::Exit;
use lifeboat_model::journal::{Header, Kind, StreamKey};
use lifeboat_recovery::journal::{FaultKind, Journal, JournalError, Settings, Writer};
use lifeboat_recovery::ports::{Joint, LogReader, RecoverTo};
use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{Store, StoreErrorKind};

use crate::journal_kit::{
    BEGIN, Kit, LINEAGE, at, base, logged, range, replay, sealer, signer, start, tier,
};

/// Ten ranges: numbers 2 to 11.
fn ten() -> (Kit, Arc<MemoryStore>, u64) {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 10);
    (kit, store, end)
}

fn key(offset: u64, seq: u32) -> String {
    format!("journal/orders/{LINEAGE}/ranges/{}-{seq:08x}", at(offset))
}

/// Opens an object, lets its header and payload be changed, and seals it again.
fn forge(store: &MemoryStore, key: &str, change: impl FnOnce(&mut String, &mut Vec<u8>)) {
    store.tamper(key, |sealed| {
        let plain = sealer().open(&sealed).unwrap();
        let end = plain.iter().position(|b| *b == b'\n').unwrap();
        let mut line = String::from_utf8(plain[..end].to_vec()).unwrap();
        let mut payload = plain[end + 1..].to_vec();
        change(&mut line, &mut payload);
        let plain = [line.as_bytes(), b"\n", &payload].concat();
        Some(sealer().seal(&plain).unwrap())
    });
}

/// The way ends before the object, says so, and a point behind it is refused.
fn broken_at(kit: &Kit, end: u64, kind: FaultKind, word: &str) {
    let survey = kit.journal().survey().unwrap();
    let fault = survey.faults.iter().find(|fault| fault.kind == kind);
    let fault = fault.unwrap_or_else(|| panic!("{kind:?} in {:#?}", survey.faults));
    assert!(fault.why.contains(word), "{}", fault.why);
    let way = kit.way(BEGIN, &RecoverTo::Newest).unwrap();
    assert_eq!(way.target().position, at(end));
    assert_eq!(replay(&way), logged(BEGIN, end));
    assert!(way.notes().iter().any(|note| note.contains("broken")), "{:?}", way.notes());
    match kit.way(BEGIN, &RecoverTo::Position(at(BEGIN + 100))) {
        Err(JournalError::Broken { before, .. }) => assert_eq!(before.unwrap().0, at(end)),
        other => panic!("{:?}", other.err()),
    }
    match kit.way(BEGIN, &RecoverTo::Time(kit.now())) {
        Err(error @ JournalError::Broken { .. }) => assert_eq!(error.exit(), Exit::Refused),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_range_that_somebody_else_planted_is_not_used() {
    let (kit, store, end) = ten();
    // Another host with its own key goes on where this one stands.
    let own = kit.folder.path().join("state");
    let planter = Kit { key: 66, host: "evil", ..Kit::new(store.clone()) };
    std::fs::rename(own, planter.folder.path().join("state")).unwrap();
    let mut writer = planter.stream();
    planter.ranges(&mut writer, 2);
    assert!(store.stat(&key(end, 13)).is_ok(), "it is there");
    let way = kit.way(BEGIN, &RecoverTo::Newest).unwrap();
    assert_eq!(way.target().position, at(end));
    assert!(way.notes().iter().any(|note| note.contains("not believed")), "{:?}", way.notes());
    let survey = kit.journal().survey().unwrap();
    assert!(survey.faults.iter().all(|fault| fault.kind == FaultKind::Foreign));
    assert_eq!((survey.faults.len(), survey.windows.len()), (3, 1));
}

#[test]
fn an_unsigned_or_changed_header_is_found() {
    let (kit, store, _) = ten();
    forge(&store, &key(BEGIN + 40, 6), |line, _| {
        *line = line.replace(r#""host":"db1""#, r#""host":"db2""#);
    });
    broken_at(&kit, BEGIN + 40, FaultKind::Foreign, "not believed");
}

#[test]
fn a_changed_payload_is_found() {
    let (kit, store, _) = ten();
    forge(&store, &key(BEGIN + 40, 6), |_, payload| payload[3] ^= 1);
    broken_at(&kit, BEGIN + 40, FaultKind::Damaged, "content");
}

#[test]
fn a_damaged_object_is_found() {
    for cut in [true, false] {
        let (kit, store, _) = ten();
        store.tamper(&key(BEGIN + 40, 6), |mut sealed| {
            match cut {
                true => sealed.truncate(sealed.len() - 1),
                false => sealed[200] ^= 1,
            }
            Some(sealed)
        });
        broken_at(&kit, BEGIN + 40, FaultKind::Damaged, "damaged");
    }
}

#[test]
fn an_object_that_is_missing_is_named_by_its_number() {
    let (kit, store, _) = ten();
    store.tamper(&key(BEGIN + 40, 6), |_| None);
    broken_at(&kit, BEGIN + 40, FaultKind::Missing, "number 6");
    let survey = kit.journal().survey().unwrap();
    assert_eq!(survey.windows.len(), 2);
    // A base taken after it leads on.
    let way = kit.way(BEGIN + 50, &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(BEGIN + 50, BEGIN + 100));
}

#[test]
fn an_object_in_the_place_of_another_is_found() {
    let (kit, store, _) = ten();
    let other = store.get(&key(BEGIN + 50, 7)).unwrap();
    store.tamper(&key(BEGIN + 40, 6), |_| Some(other.to_vec()));
    broken_at(&kit, BEGIN + 40, FaultKind::Damaged, "00000007");
}

/// Signed by a trusted key, and yet not of this chain: it follows another record.
#[test]
fn a_signed_record_that_does_not_follow_is_not_used() {
    let (kit, store, end) = ten();
    // The same stream, once more from the fifth record on, and its records planted in the first.
    let other = Arc::new(MemoryStore::default());
    let twin = Kit::new(other.clone());
    let mut writer = twin.stream();
    twin.pass(5);
    twin.ranges(&mut writer, 10);
    let planted = other.get(&key(BEGIN + 50, 7)).unwrap();
    store.tamper(&key(BEGIN + 50, 7), |_| Some(planted.to_vec()));
    let survey = kit.journal().survey().unwrap();
    assert!(survey.faults.iter().any(|fault| fault.kind == FaultKind::Unlinked), "{survey:#?}");
    let way = kit.way(BEGIN, &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(BEGIN, BEGIN + 50));
    assert_ne!(way.target().position, at(end));
}

#[test]
fn a_newer_format_is_refused_as_that() {
    let (kit, store, _) = ten();
    forge(&store, &key(BEGIN + 40, 6), |line, _| {
        *line = line.replace(r#""format":1"#, r#""format":2"#);
    });
    broken_at(&kit, BEGIN + 40, FaultKind::Newer, "format 2");
}

/// A store that fails says nothing about what is there: neither a shorter way nor a missing object.
#[test]
fn a_failing_store_is_never_an_absent_object() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default()));
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 10);
    for kind in [StoreErrorKind::Unreachable, StoreErrorKind::Denied, StoreErrorKind::Other] {
        store.arm(Fault::always(Verb::List, "", kind));
        let error = Journal::open(kit.read_from(store.clone())).err().unwrap();
        assert!(matches!(error, JournalError::Store(_)), "{error}");
        store.disarm();
        let journal = kit.journal();
        for object in [1, 6, 11] {
            store.arm(Fault::nth(Verb::Get, object, kind));
            let error = journal.way(&base(BEGIN), &RecoverTo::Newest).err().unwrap();
            assert!(matches!(error, JournalError::Store(_)), "{error}");
            assert!(matches!(journal.survey(), Ok(survey) if survey.faults.is_empty()));
            store.disarm();
        }
        let way = journal.way(&base(BEGIN), &RecoverTo::Newest).unwrap();
        assert_eq!(way.target().position, at(end));
        // In the middle of a restore too.
        store.arm(Fault::nth(Verb::Get, 1, kind));
        let error = way.read(&way.pieces()[3]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("cannot get"), "{source}");
        store.disarm();
        assert_eq!(replay(&way), logged(BEGIN, end));
    }
}

/// The old primary and the promoted standby go on from the same record: the way to the new line does
/// not lead through what the old one wrote after.
#[test]
fn two_hosts_on_one_lineage_are_told_apart() {
    let (old, store, end) = ten();
    let new = Kit { host: "db2", key: 1, ..Kit::new(store.clone()) };
    let state = |kit: &Kit| kit.folder.path().join("state");
    let (from, to) = (state(&old), state(&new));
    std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    let mut promoted = new.writer();
    let resume = promoted.resume().unwrap();
    promoted.begin(&start(resume.at, Joint::Seamless)).unwrap();
    let switch = lifeboat_model::position::Position::new(2, end - 5);
    promoted
        .append(&lifeboat_recovery::ports::LogEvent::Branch {
            from: at(end - 5),
            to: switch,
            time: new.now(),
            history: bytes::Bytes::from_static(b"1\t0/41D\tpromoted\n"),
        })
        .unwrap();
    // The old one, which was cut off, wrote its next record under another name.
    let lost = store.get(&key(end, 12)).unwrap();
    store.tamper(&key(end, 12), |_| None);
    let mut writer = old.stream();
    old.ranges(&mut writer, 3);
    drop(writer);
    store.tamper(&key(end, 12), |_| Some(lost.to_vec()));
    let survey = old.journal().survey().unwrap();
    let kinds: Vec<FaultKind> = survey.faults.iter().map(|fault| fault.kind).collect();
    assert!(
        kinds.contains(&FaultKind::Unlinked) || kinds.contains(&FaultKind::Beside),
        "{kinds:?}"
    );
    let way = old.way(BEGIN, &RecoverTo::Newest).unwrap();
    assert_eq!(way.target().position, switch, "the promoted one's line");
}

#[test]
fn a_streams_own_key_is_believed_by_the_hosts_word() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let own = signer(50);
    let document = StreamKey {
        format: 1,
        component: "orders".to_owned(),
        host: "db1".to_owned(),
        key: own.public_key(),
        time: kit.now(),
    };
    let certificate = Some(Signed::new(document, &signer(1)).unwrap());
    let settings = Settings { signer: Box::new(own), certificate, ..kit.settings() };
    let mut writer = Writer::open(settings).unwrap();
    let first = Joint::NewLineage { why: "the first one".to_owned() };
    writer.begin(&start(base(BEGIN), first)).unwrap();
    let end = kit.ranges(&mut writer, 3);
    assert_eq!(replay(&kit.way(BEGIN, &RecoverTo::Newest).unwrap()), logged(BEGIN, end));
    let stranger = Kit { key: 2, ..Kit::new(store) };
    let survey = stranger.journal().survey().unwrap();
    assert_eq!(survey.windows, []);
    assert!(survey.faults.iter().all(|fault| fault.kind == FaultKind::Foreign));
}

/// A clock that is set back: the order is that of the chain, and what was decided is said.
#[test]
fn a_clock_that_jumps_back_is_said_and_the_order_is_the_chains() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 5);
    let first = kit.now();
    kit.clock.step_wall(jiff::SignedDuration::from_secs(-3));
    kit.ranges(&mut writer, 5);
    // This instant came twice: after the third range, and after the eighth.
    let twice = first - jiff::SignedDuration::from_secs(1);
    let way = kit.way(BEGIN, &RecoverTo::Time(twice)).unwrap();
    assert_eq!(way.target().position, at(BEGIN + 70));
    assert_eq!(replay(&way), logged(BEGIN, BEGIN + 70));
    assert!(way.notes().iter().any(|note| note.contains("set back")), "{:?}", way.notes());
    assert!(kit.journal().survey().unwrap().notes.iter().any(|note| note.contains("set back")));
}

#[test]
fn other_tiers_objects_and_strange_names_are_told() {
    let (kit, store, _) = ten();
    store.plant("journal/orders/readme", &b"x"[..]);
    store.plant(&format!("journal/orders/{LINEAGE}/ranges/zzz"), &b"x"[..]);
    let survey = kit.journal().survey().unwrap();
    assert_eq!(survey.faults.len(), 2);
    assert!(survey.faults.iter().all(|fault| fault.kind == FaultKind::Strange));
    let none = Kit::new(Arc::new(MemoryStore::default()));
    assert!(matches!(none.way(BEGIN, &RecoverTo::Newest), Err(JournalError::None { .. })));
    let _ = tier("x", store, false);
}

#[test]
fn kinds_are_written_as_words() {
    let (_, store, _) = ten();
    let plain = sealer().open(&store.get(&key(BEGIN, 1)).unwrap()).unwrap();
    let line = plain.split(|b| *b == b'\n').next().unwrap();
    let header = Header::read(line).unwrap();
    assert_eq!((header.kind, header.seq, header.from), (Kind::Start, 1, at(BEGIN)));
    assert!(header.key.is_some() && header.certificate.is_none());
    let _ = range(0, header.time);
}
