//! What a journal gives back, and what it refuses.

use std::sync::Arc;

use jiff::SignedDuration;
use lifeboat_recovery::journal::JournalError;
use lifeboat_recovery::ports::{LogReader, RecoverTo};
use lifeboat_testkit::MemoryStore;

use crate::journal_kit::{BEGIN, Kit, logged, replay};

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
