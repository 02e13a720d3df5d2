//! What pruning a journal must never do.

use jiff::{SignedDuration, Timestamp};

use super::keep::{Base, Item, START_EVERY, anchor, decide};
use crate::duration::Duration;
use crate::position::Position;

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_700_000_000 + second)
}

/// A pack of a hundred records each hundred seconds, one position a second.
fn packs(lineage: &str, count: u32) -> Vec<Item> {
    (0..count)
        .map(|n| Item {
            key: format!("{lineage}/{n:04}"),
            lineage: lineage.to_owned(),
            first: n * 100 + 1,
            last: n * 100 + 100,
            from: Position::new(1, u64::from(n) * 100),
            stored: at(i64::from(n) * 100 + 100),
        })
        .collect()
}

fn base(position: u64, verified: bool) -> Base {
    Base {
        id: format!("{position:08}"),
        lineage: "ab".to_owned(),
        position: Position::new(1, position),
        finished: at(position as i64 + 1),
        verified,
        held: false,
    }
}

const WINDOW: Option<Duration> = Some(Duration::from_secs(1000));

#[test]
fn what_lies_well_before_the_base_of_the_window_goes() {
    let bases = [base(0, true), base(1500, true), base(2500, true)];
    let found = decide(&packs("ab", 30), &bases, WINDOW, at(3000));
    // The base at 1500 was finished before 2000. 512 records before it stay for their facts.
    assert_eq!(found.remove.len(), ((1500 - START_EVERY) / 100) as usize);
    assert_eq!(found.remove[0], "ab/0000", "oldest first");
    assert!(found.kept[0].contains("snapshot 00001500"), "{:?}", found.kept);
    assert_eq!(anchor(&bases, WINDOW.unwrap(), at(3000)).unwrap().id, "00001500");
}

/// A hold keeps what its snapshot leads on to, whatever the window says; released, it goes.
#[test]
fn from_a_base_on_hold_on_everything_stays() {
    let held = Base { held: true, ..base(800, false) };
    let bases = [held.clone(), base(1500, true), base(2500, true)];
    let found = decide(&packs("ab", 30), &bases, WINDOW, at(3000));
    assert_eq!(found.remove.len(), ((800 - START_EVERY) / 100) as usize);
    assert!(found.kept[0].contains("snapshot 00000800"), "{:?}", found.kept);
    // Also on a log that another one took the place of, which would go as a whole.
    let other = Base { lineage: "cd".to_owned(), ..held };
    let old = decide(&packs("cd", 9), &[other, base(1500, true)], WINDOW, at(3000));
    assert_eq!(old.remove.len(), ((800 - START_EVERY) / 100) as usize);
    assert_eq!(decide(&packs("cd", 9), &[base(1500, true)], WINDOW, at(3000)).remove.len(), 9);
}

#[test]
fn nothing_goes_without_a_proven_base_that_is_as_old_as_the_window() {
    let young = decide(&packs("ab", 30), &[base(2500, true)], WINDOW, at(3000));
    assert_eq!(young.remove, Vec::<String>::new());
    let unproven = decide(&packs("ab", 30), &[base(1500, false)], WINDOW, at(3000));
    assert_eq!(unproven.remove, Vec::<String>::new());
    let none = decide(&packs("ab", 30), &[], None, at(3000));
    assert_eq!(none.remove, Vec::<String>::new());
    // The oldest proven one is the best that there is.
    assert_eq!(anchor(&[base(2500, true)], WINDOW.unwrap(), at(3000)).unwrap().id, "00002500");
}

#[test]
fn without_a_window_the_oldest_base_counts() {
    let found = decide(&packs("ab", 30), &[base(1500, false), base(2500, true)], None, at(3000));
    assert_eq!(found.remove.len(), ((1500 - START_EVERY) / 100) as usize);
}

#[test]
fn what_was_stored_within_the_window_stays_whatever_its_name_says() {
    let mut items = packs("ab", 30);
    items[0].stored = at(2500);
    let found = decide(&items, &[base(1500, true)], WINDOW, at(3000));
    assert_eq!(found.remove, Vec::<String>::new(), "and what follows hangs on it");
}

#[test]
fn another_log_goes_only_as_a_whole() {
    let all = [packs("ab", 30), packs("old", 5), packs("ab+2", 3)].concat();
    let found = decide(&all, &[base(1500, true)], WINDOW, at(3000));
    assert_eq!(found.remove.iter().filter(|key| key.starts_with("old/")).count(), 5);
    let mut late = all;
    late.iter_mut().filter(|item| item.key == "old/0004").for_each(|item| item.stored = at(2900));
    let found = decide(&late, &[base(1500, true)], WINDOW, at(3000));
    assert_eq!(found.remove.iter().filter(|key| key.starts_with("old/")).count(), 0);
}

#[test]
fn a_line_that_was_left_is_not_taken_for_older() {
    // The base is on line 2; line 1 still has records of the window beside it.
    let mut items = packs("ab", 30);
    items.iter_mut().skip(10).for_each(|item| item.from.line = 2);
    let bases = [Base { position: Position::new(2, 1500), ..base(1500, true) }];
    let found = decide(&items, &bases, WINDOW, at(3000));
    assert_eq!(found.remove.len(), ((1500 - START_EVERY) / 100) as usize);
    items.iter_mut().skip(10).for_each(|item| item.from.line = 3);
    let found = decide(&items, &bases, WINDOW, at(3000));
    assert_eq!(found.remove, Vec::<String>::new(), "no record of its line: nothing is known");
}

#[test]
fn a_clock_that_is_wrong_keeps_all() {
    let found = decide(&packs("ab", 30), &[base(0, true)], WINDOW, at(1000));
    assert!(found.remove.is_empty() && found.refused[0].contains("clock"), "{found:?}");
}
