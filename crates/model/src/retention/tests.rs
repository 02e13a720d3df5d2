//! What retention must never do (promise 2), over random histories.

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;
const START: i64 = 1_700_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).expect("in range")
}

fn stored(seq: u64, time: i64) -> Stored {
    Stored {
        snapshot: format!("{seq:08x}"),
        time: at(time),
        stored: None,
        seq: Some(seq),
        schedule: None,
        verified_level: Some(4),
        verification_failed: false,
        partial: false,
        hold: None,
        in_flight: false,
        needs: Vec::new(),
    }
}

fn daily(count: u64) -> Vec<Stored> {
    (1..=count).map(|seq| stored(seq, i64::try_from(seq).expect("small") * DAY)).collect()
}

fn now(second: i64) -> Conditions {
    Conditions {
        now: at(second),
        listing_complete: true,
        backups_failing: false,
        overdue: None,
        needed: BTreeMap::new(),
    }
}

fn all(span: &str) -> KeepRules {
    KeepRules { all: Some(span.parse().expect(span)), ..KeepRules::default() }
}

fn run(stored: &[Stored], rules: &KeepRules, conditions: &Conditions) -> Decision {
    decide(stored, &|_| Some(rules.clone()), conditions)
}

fn removed(decision: &Decision) -> BTreeSet<String> {
    decision.remove.iter().map(|(id, _)| id.clone()).collect()
}

#[test]
fn a_plain_span_keeps_by_age_edo_06() {
    let decision = run(&daily(40), &all("30d"), &now(40 * DAY));
    assert_eq!(decision.refused, Vec::<String>::new());
    assert_eq!(decision.keep.len(), 31); // Exactly 30 days old still stays.
    assert_eq!(decision.remove.len(), 9);
}

#[test]
fn the_base_of_a_window_stays_whatever_the_rules_say() {
    let needed = [("00000002".to_owned(), "the window begins with it".to_owned())].into();
    let conditions = Conditions { needed, ..now(40 * DAY) };
    let decision = run(&daily(40), &all("30d"), &conditions);
    assert!(!removed(&decision).contains("00000002") && removed(&decision).contains("00000001"));
    let kept = decision.keep.iter().find(|(id, _)| id == "00000002").expect("kept");
    assert_eq!(kept.1, ["the window begins with it"]);
}

#[test]
fn thinning_keeps_the_last_of_each_period_cus_07() {
    let mut history = Vec::new();
    for n in 0..60 * 4u64 {
        history.push(stored(n + 1, i64::try_from(n).expect("small") * DAY / 4));
    }
    let rules = KeepRules {
        daily: Some(Duration::from_days(30)),
        weekly: Some(Duration::from_days(60)),
        ..KeepRules::default()
    };
    let decision = run(&history, &rules, &now(60 * DAY));
    // One a day for 30 days, and one for each of the five weeks before.
    assert!((34..=36).contains(&decision.keep.len()), "{}", decision.keep.len());
    let reasons: Vec<_> = decision.keep.iter().flat_map(|(_, why)| why).collect();
    assert!(reasons.iter().any(|why| why.starts_with("weekly of 2023-W")));
}

#[test]
fn min_keeps_however_old() {
    let rules = KeepRules { min: Some(3), ..KeepRules::default() };
    assert_eq!(run(&daily(9), &rules, &now(9999 * DAY)).keep.len(), 3);
}

#[test]
fn the_newest_verified_stays_though_every_rule_lets_it_go() {
    let mut history = daily(5);
    for snapshot in &mut history[2..] {
        snapshot.verified_level = None;
    }
    let decision = run(&history, &all("1h"), &now(99 * DAY));
    assert_eq!(removed(&decision).len(), 4);
    assert!(!removed(&decision).contains("00000002"));
}

#[test]
fn nothing_goes_while_something_is_wrong_aud_15() {
    let history = daily(9);
    let rules = all("1d");
    let good = now(30 * DAY);
    assert!(!run(&history, &rules, &good).remove.is_empty());
    let partial = Conditions { listing_complete: false, ..good.clone() };
    let failing = Conditions { backups_failing: true, ..good.clone() };
    let stopped = Conditions { overdue: Some("no backup for a week".into()), ..good.clone() };
    for conditions in [partial, failing, stopped, now(DAY)] {
        let decision = run(&history, &rules, &conditions);
        assert_eq!(decision.remove, []);
        assert_eq!(decision.refused.len(), 1, "{:?}", decision.refused);
        assert_eq!(decision.keep.len(), 9);
    }
    let mut failed = history.clone();
    failed[8].verification_failed = true;
    let mut unverified = history.clone();
    unverified.iter_mut().for_each(|snapshot| snapshot.verified_level = None);
    let mut set_back = history;
    set_back[8].time = at(DAY);
    for history in [failed, unverified, set_back] {
        let decision = run(&history, &rules, &good);
        assert_eq!(decision.remove, []);
        assert_eq!(decision.refused.len(), 1, "{:?}", decision.refused);
    }
}

#[test]
fn holds_use_and_bases_stay() {
    let mut history = daily(5);
    history[0].hold = Some("incident 7".into());
    history[1].in_flight = true;
    history[4].needs = vec!["00000003".into()];
    history[2].needs = vec!["00000005".into()]; // A circle must not hang.
    let decision = run(&history, &all("1h"), &now(30 * DAY));
    assert_eq!(removed(&decision), ["00000004".to_owned()].into());
}

/// A capture that a wrong clock dated years back is not years old.
#[test]
fn ages_count_from_when_the_store_took_it() {
    let mut history = daily(40);
    history[0].stored = Some(at(39 * DAY));
    let decision = run(&history, &all("30d"), &now(40 * DAY));
    assert!(!removed(&decision).contains("00000001"));
    assert_eq!(removed(&decision).len(), 8);
}

#[test]
fn nothing_goes_while_a_date_cannot_be_right() {
    let mut history = daily(9);
    history[6].stored = Some(at(7 * DAY - 3600));
    let decision = run(&history, &all("1d"), &now(30 * DAY));
    assert_eq!(decision.remove, []);
    assert!(decision.refused[0].contains("snapshot 00000007 is dated"), "{:?}", decision.refused);
    // Put on hold, it stays and the others go their way.
    history[6].hold = Some("its date is wrong".into());
    let decision = run(&history, &all("1d"), &now(30 * DAY));
    assert_eq!(decision.refused, Vec::<String>::new());
    assert_eq!(removed(&decision).len(), 7);
}

#[test]
fn without_a_rule_nothing_goes() {
    let decision = decide(&daily(5), &|_| None, &now(999 * DAY));
    assert_eq!(decision.remove, []);
}

#[test]
fn each_schedule_has_its_own_rules() {
    let mut history = daily(4);
    history[0].schedule = Some("keep".into());
    history[1].schedule = Some("drop".into());
    let rules = |schedule: Option<&str>| {
        Some(match schedule {
            Some("keep") => KeepRules { unlimited: true, ..KeepRules::default() },
            _ => all("1h"),
        })
    };
    let decision = decide(&history, &rules, &now(30 * DAY));
    assert_eq!(removed(&decision), ["00000002".to_owned(), "00000003".to_owned()].into());
}

#[test]
fn a_failed_one_does_not_push_out_a_good_one() {
    let mut history = vec![stored(1, 0), stored(2, 100), stored(3, DAY)];
    history[1].verification_failed = true;
    let rules = KeepRules { daily: Some(Duration::from_days(90)), ..KeepRules::default() };
    let decision = run(&history, &rules, &now(5 * DAY));
    assert_eq!(removed(&decision), ["00000002".to_owned()].into());
}

fn history() -> impl Strategy<Value = Vec<Stored>> {
    let one = (
        0i64..400 * DAY,
        prop::option::weighted(0.6, 1u8..=4),
        prop::bool::weighted(0.05),
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.05),
        prop::option::weighted(0.2, 1u64..30),
    );
    prop::collection::vec(one, 0..30).prop_map(|mut list| {
        list.sort_by_key(|snapshot| snapshot.0);
        (1..)
            .zip(list)
            .map(|(seq, (time, level, failed, partial, hold, foreign, needs))| Stored {
                verified_level: level,
                verification_failed: failed,
                partial,
                hold: hold.then(|| "hold".to_owned()),
                seq: (!foreign).then_some(seq),
                needs: needs.map(|need| format!("{need:08x}")).into_iter().collect(),
                ..stored(seq, time)
            })
            .collect()
    })
}

fn rules() -> impl Strategy<Value = KeepRules> {
    let span = || prop::option::of((0u64..500).prop_map(Duration::from_days));
    (span(), span(), span(), span(), span(), span(), prop::option::of(0u32..9)).prop_map(
        |(all, hourly, daily, weekly, monthly, yearly, min)| KeepRules {
            all,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            min,
            unlimited: false,
        },
    )
}

fn longer(rules: &KeepRules, by: u64, more: u32) -> KeepRules {
    let add =
        |span: Option<Duration>| Some(span.unwrap_or(Duration::ZERO).plus(Duration::from_days(by)));
    KeepRules {
        all: rules.all.and_then(|_| add(rules.all)),
        hourly: add(rules.hourly),
        daily: add(rules.daily),
        weekly: add(rules.weekly),
        monthly: add(rules.monthly),
        yearly: add(rules.yearly),
        min: Some(rules.min.unwrap_or(0) + more),
        unlimited: false,
    }
}

proptest! {
    #[test]
    fn everything_is_decided_once(history in history(), rules in rules(), now_at in 0i64..900 * DAY) {
        let decision = run(&history, &rules, &now(now_at));
        let mut ids: Vec<_> = decision.keep.iter().map(|(id, _)| id)
            .chain(decision.remove.iter().map(|(id, _)| id)).collect();
        ids.sort();
        let mut given: Vec<_> = history.iter().map(|snapshot| &snapshot.snapshot).collect();
        given.sort();
        prop_assert_eq!(ids, given);
        prop_assert!(decision.keep.iter().all(|(_, why)| !why.is_empty()));
    }

    #[test]
    fn what_must_stay_stays(history in history(), rules in rules(), now_at in 0i64..900 * DAY) {
        let decision = run(&history, &rules, &now(now_at));
        let gone = removed(&decision);
        let newest = history.iter().filter(|s| verified(s)).max_by_key(|s| s.seq);
        if let Some(newest) = newest {
            prop_assert!(!gone.contains(&newest.snapshot));
        } else {
            prop_assert!(gone.is_empty());
        }
        for snapshot in &history {
            let stays = snapshot.hold.is_some() || snapshot.seq.is_none();
            prop_assert!(!(stays && gone.contains(&snapshot.snapshot)));
            if !gone.contains(&snapshot.snapshot) && decision.refused.is_empty() {
                prop_assert!(snapshot.needs.iter().all(|need| !gone.contains(need)));
            }
        }
    }

    #[test]
    fn longer_rules_never_remove_more(
        history in history(), rules in rules(), by in 0u64..200, more in 0u32..5,
        now_at in 0i64..900 * DAY,
    ) {
        let less = removed(&run(&history, &longer(&rules, by, more), &now(now_at)));
        let before = removed(&run(&history, &rules, &now(now_at)));
        prop_assert!(less.is_subset(&before), "{:?}", less.difference(&before));
    }

    #[test]
    fn the_order_of_the_listing_does_not_matter(
        (history, shuffled) in history().prop_flat_map(|h| (Just(h.clone()), Just(h).prop_shuffle())),
        rules in rules(),
    ) {
        let conditions = now(450 * DAY);
        prop_assert_eq!(run(&history, &rules, &conditions), run(&shuffled, &rules, &conditions));
    }

    #[test]
    fn a_clock_in_the_past_removes_nothing(history in history(), rules in rules(), back in 400i64..999 * DAY) {
        let latest = history.iter().map(|snapshot| snapshot.time.as_second() - START).max();
        let Some(latest) = latest else { return Ok(()) };
        prop_assert_eq!(run(&history, &rules, &now(latest - back)).remove, []);
    }

    #[test]
    fn later_only_adds_to_what_may_go(history in history(), rules in rules(), wait in 0i64..99 * DAY) {
        let earlier = removed(&run(&history, &rules, &now(400 * DAY)));
        let later = removed(&run(&history, &rules, &now(400 * DAY + wait)));
        prop_assert!(earlier.is_subset(&later));
    }
}
