//! The history of a later line, where the record of its beginning is far behind, or was never made.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::journal::{HISTORY, HISTORY_OF, WalName};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::journal::{Held, WalFile, Writer, folder_of, list};
use lifeboat_recovery::ports::{Joint, LogEvent, LogReader, RecoverTo};
use lifeboat_testkit::MemoryStore;
use serde_json::json;

use super::journal_kit::*;

const TEXT: &str = "1\t0/3E8\tno recovery target specified\n";

fn on(line: u32, offset: u64) -> LogPosition {
    LogPosition { lineage: LINEAGE.to_owned(), position: Position::new(line, offset) }
}

/// Streams so many ranges of a line; returns the end.
fn ranges(kit: &Kit, writer: &mut Writer, count: u64) -> u64 {
    let end = writer.end().unwrap().position;
    for number in 0..count {
        let LogEvent::Range(mut next) = kit.range(end.offset + 10 * number) else { unreachable!() };
        (next.from.line, next.to.line) = (end.line, end.line);
        writer.append(&LogEvent::Range(next)).unwrap();
    }
    end.offset + 10 * count
}

/// A first stream, of a server that is on a later line.
fn begun_on(kit: &Kit, line: u32, facts: &[(&str, serde_json::Value)]) -> Writer {
    let mut writer = kit.writer();
    let mut start = start(on(line, BEGIN), Joint::NewLineage { why: "the first".to_owned() });
    start.facts.extend(facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    writer.begin(&start).unwrap();
    writer
}

fn histories(kit: &Kit, base: &LogPosition) -> Vec<(u32, Bytes)> {
    kit.journal().way(base, &RecoverTo::Newest).unwrap().histories().unwrap()
}

fn fetched(kit: &Kit, line: u32) -> Held {
    kit.journal().held(LINEAGE, &WalName::history(line)).unwrap()
}

fn content(held: Held) -> Bytes {
    match held {
        Held::File { content, whole: true } => content,
        other => panic!("{other:?}"),
    }
}

fn told() -> Vec<(u32, Bytes)> {
    vec![(2, Bytes::from_static(TEXT.as_bytes()))]
}

#[test]
fn a_first_stream_on_a_later_line_tells_its_history() {
    let kit = Kit::new(Arc::new(MemoryStore::default()));
    let mut writer = begun_on(&kit, 2, &[(HISTORY, json!(TEXT)), (HISTORY_OF, json!(2))]);
    let end = ranges(&kit, &mut writer, 600);
    assert_eq!(histories(&kit, &on(2, BEGIN + 10)), told());
    assert_eq!(histories(&kit, &on(2, end - 10)), told());
    assert_eq!(content(fetched(&kit, 2)), TEXT);
    // Of a line that nothing is there of there is no history.
    assert!(matches!(fetched(&kit, 3), Held::Absent));
}

#[test]
fn what_a_start_tells_of_another_line_is_not_used() {
    for of in [json!(1), json!(3), json!("2")] {
        let kit = Kit::new(Arc::new(MemoryStore::default()));
        let mut writer = begun_on(&kit, 2, &[(HISTORY, json!(TEXT)), (HISTORY_OF, of)]);
        ranges(&kit, &mut writer, 3);
        assert!(histories(&kit, &on(2, BEGIN + 10)).is_empty());
        assert!(matches!(fetched(&kit, 2), Held::Missing(why) if why.contains("00000002.history")));
    }
}

#[test]
fn facts_that_are_repeated_tell_of_the_line_that_the_stream_went_over_to() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let old = [(HISTORY, json!("of the first line there is none")), (HISTORY_OF, json!(1))];
    let mut writer = begun_on(&kit, 1, &old);
    let at = ranges(&kit, &mut writer, 3);
    let branch = LogEvent::Branch {
        from: Position::new(1, at),
        to: Position::new(2, at),
        time: kit.now(),
        history: Bytes::from_static(TEXT.as_bytes()),
    };
    writer.append(&branch).unwrap();
    let end = ranges(&kit, &mut writer, 600);
    let base = on(2, end - 10);
    let way = kit.journal().way(&base, &RecoverTo::Newest).unwrap();
    assert_eq!(way.histories().unwrap(), told());
    assert_eq!((&way.facts()[HISTORY_OF], &way.facts()["engine"]), (&json!(2), &json!("test")));
    // Once with the record of the switch, and once it is pruned with all before the last start.
    assert_eq!(content(fetched(&kit, 2)), TEXT);
    let listing = list(&*store, COMPONENT).unwrap();
    for name in listing.lineages[LINEAGE].ranges.keys().filter(|name| name.seq < 300) {
        let key = format!("{}/{LINEAGE}/ranges/{name}", folder_of(COMPONENT));
        store.tamper(&key, |_| None);
    }
    assert_eq!(content(fetched(&kit, 2)), TEXT);
    assert_eq!(histories(&kit, &base), told());
}

#[test]
fn where_servers_only_archive_the_history_that_was_handed_over_is_used() {
    const SIZE: usize = 1 << 20;
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let start = Position::new(2, SIZE as u64);
    let parted = Position::new(1, 1000);
    let file = |name, from: Position, to, content: Bytes| WalFile {
        name,
        lineage: None,
        from,
        to,
        ended: None,
        content,
    };
    let end = Position::new(2, 2 * SIZE as u64);
    let segment = WalName::segment(start, SIZE as u64);
    let text = Bytes::from_static(TEXT.as_bytes());
    for file in [
        file(segment, start, end, vec![7; SIZE].into()),
        file(WalName::history(2), parted, Position::new(2, 1000), text),
    ] {
        kit.hand_over(&file);
    }
    let way = kit.journal().way(&on(2, SIZE as u64 + 500), &RecoverTo::Newest).unwrap();
    assert_eq!((way.target().position, way.histories().unwrap()), (end, told()));
    // Damaged, it is of no use, which is said.
    let key = format!("{}/{LINEAGE}/wal/00000002.history", folder_of(COMPONENT));
    store.tamper(&key, |_| Some(b"rot".to_vec()));
    let way = kit.journal().way(&on(2, SIZE as u64 + 500), &RecoverTo::Newest).unwrap();
    assert!(way.histories().unwrap().is_empty());
    let said = |note: &String| note.contains("00000002.history") && note.contains("of no use");
    assert!(way.notes().iter().any(said), "{:?}", way.notes());
}
