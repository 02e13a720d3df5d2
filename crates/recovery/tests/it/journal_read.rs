//! What a journal gives back, and what it refuses.

use std::sync::Arc;

use jiff::SignedDuration;
use lifeboat_model::exit::Exit;
use lifeboat_recovery::journal::JournalError;
use lifeboat_recovery::ports::{Joint, LogReader, RecoverTo};
use lifeboat_testkit::MemoryStore;

use crate::journal_kit::{BEGIN, Kit, at, base, logged, replay, start};

#[test]
fn what_was_streamed_comes_back_up_to_any_second() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    let begun = kit.now();
    let end = kit.ranges(&mut writer, 20);
    kit.idle(&mut writer, 60);
    assert_eq!(writer.acknowledged().unwrap().offset, end);
    let way = kit.way(BEGIN, &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(BEGIN, end));
    assert_eq!(way.facts()["engine"], "test");
    assert_eq!(way.target().proven, Some(kit.now()), "the keepalive proves it up to now");
    for second in 0..20u64 {
        let wanted = begun + SignedDuration::from_millis(second as i64 * 1000 + 500);
        let way = kit.way(BEGIN, &RecoverTo::Time(wanted)).unwrap();
        assert_eq!(way.target().position.offset, BEGIN + 10 * second, "second {second}");
        assert_eq!(replay(&way), logged(BEGIN, BEGIN + 10 * second));
        // A later base needs less.
        let from = BEGIN + 10 * (second / 2);
        let way = kit.way(from, &RecoverTo::Time(wanted)).unwrap();
        assert_eq!(replay(&way), logged(from, BEGIN + 10 * second));
    }
    let survey = kit.journal().survey().unwrap();
    assert_eq!((survey.windows.len(), survey.gaps.len(), survey.faults.len()), (1, 0, 0));
    let window = &survey.windows[0];
    assert_eq!((window.from.offset, window.to.offset), (BEGIN, end));
    assert_eq!((window.since, window.until), (begun, Some(kit.now())));
}

#[test]
fn a_point_before_the_base_or_in_the_future_is_refused_with_what_can_be_had() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    let end = kit.ranges(&mut writer, 5);
    let newest = kit.now();
    let future = newest + SignedDuration::from_secs(1);
    match kit.way(BEGIN, &RecoverTo::Time(future)) {
        Err(JournalError::Beyond { end: (position, time), .. }) => {
            assert_eq!((position.offset, time), (end, newest));
        }
        other => panic!("{:?}", other.err()),
    }
    let place = |offset| RecoverTo::Position(crate::journal_kit::at(offset));
    let before = kit.way(BEGIN + 20, &place(BEGIN + 10));
    assert!(matches!(before, Err(JournalError::BeforeBase { .. })));
    assert!(matches!(kit.way(BEGIN, &place(end + 1)), Err(JournalError::Beyond { .. })));
    assert_eq!(kit.way(BEGIN, &place(BEGIN + 25)).unwrap().target().position.offset, BEGIN + 30);
    let uncovered = kit.way(BEGIN - 10, &RecoverTo::Newest);
    assert!(matches!(uncovered, Err(JournalError::NotCovered { .. })));
    assert!(kit.way(end, &RecoverTo::Newest).unwrap().pieces().is_empty());
}

#[test]
fn a_gap_is_never_crossed() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = kit.stream();
    let (begun, end) = (kit.now(), kit.ranges(&mut writer, 5));
    let last = kit.now();
    drop(writer);
    kit.pass(30);
    let mut writer = kit.writer();
    let why = "the slot was dropped".to_owned();
    writer.begin(&start(base(end + 50), Joint::Gap { why: why.clone() })).unwrap();
    let again = kit.now();
    let newest = kit.ranges(&mut writer, 5);
    assert_eq!(kit.journal().survey().unwrap().gaps[0].why, why, "there is a gap");
    let place = RecoverTo::Position(at(end + 60));
    for to in [RecoverTo::Time(again), RecoverTo::Time(kit.now()), place] {
        match kit.way(BEGIN, &to) {
            Err(error @ JournalError::Broken { .. }) => {
                assert_eq!(error.exit(), Exit::Refused);
                assert!(error.to_string().contains(&why), "{error}");
                let hint = error.hint().unwrap();
                assert!(hint.contains(&last.to_string()), "the nearest before: {hint}");
                assert!(hint.contains(&again.to_string()), "and after: {hint}");
            }
            other => panic!("{to:?}: {:?}", other.err()),
        }
    }
    // Without a wanted point it ends before the gap, and says so.
    let way = kit.way(BEGIN, &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(BEGIN, end));
    assert!(way.notes().iter().any(|note| note.contains("gap")), "{:?}", way.notes());
    let until = RecoverTo::Time(begun + SignedDuration::from_secs(3));
    assert_eq!(kit.way(BEGIN, &until).unwrap().target().position, at(BEGIN + 30));
    // From a base after it everything can be had; a base in it leads nowhere.
    let way = kit.way(end + 50, &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(end + 50, newest));
    let within = kit.way(end + 20, &RecoverTo::Newest).err().unwrap();
    assert!(matches!(within, JournalError::NotCovered { .. }), "{within}");
    assert!(within.hint().unwrap().contains("gap"), "{:?}", within.hint());
}
