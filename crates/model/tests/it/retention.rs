//! Retention over two simulated years of schedules: the matrices of five plans against an oracle
//! that asks of each snapshot alone whether anything wants it.
//!
//! The oracle shares nothing with the rules but their words: it counts days since 1970 where they
//! write dates, and looks at every pair of snapshots where they gather groups.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lifeboat_model::duration::Duration;
use lifeboat_model::plan::{KeepRules, Plan};
use lifeboat_model::retention::{Conditions, Decision, Stored, decide};
use proptest::prelude::*;

/// EDO-04..07, 11, 14, X-12: local 30 and 7 days, offsite 90 and 7.
const EDONUOPS: &str = r#"
[plan]
name = "EdonuOps"
[component.database]
sqlite = { path = "app.db" }
[tier.local]
url = "/var/backups/edonuops"
[tier.offsite]
url = "s3://edonuops/backups"
[schedule.full]
components = ["*"]
cron = "0 2 * * *"
keep = { local = "30d", offsite = "90d" }
[schedule.incremental]
components = ["*"]
cron = "0 * * * *"
keep = { local = "7d", offsite = "7d" }
"#;

/// TEC-07..12, X-14, G-01: 7, 30 and 90 days; the monthly archive a year in the cold tier.
const TECH_IT: &str = r#"
[plan]
name = "Tech-IT"
[component.database]
postgres = { dsn_env = "DSN" }
[tier.local]
url = "/var/backups/techit"
keep = "7d"
[tier.s3]
url = "s3://techit-backups"
keep = "30d"
[tier.cold]
url = "az://techit-cold"
keep = "90d"
[schedule.daily]
components = ["*"]
cron = "0 2 * * *"
[schedule.weekly]
components = ["*"]
cron = "0 3 * * 0"
[schedule.monthly]
components = ["*"]
cron = "0 4 1 * *"
keep = { cold = "12mo" }
"#;

/// AUD-12..25, X-15, G-02: 30 days everywhere, exports a year.
const A_PLUS: &str = r#"
[plan]
name = "A+"
[component.history]
sqlite = { path = "audit_history.db" }
[tier.local]
url = "/var/backups/aplus-audit"
keep = "30d"
[tier.s3]
url = "s3://aplus-audit-backups"
keep = "30d"
[schedule.daily]
components = ["*"]
cron = "0 1 * * *"
[schedule.hourly]
components = ["*"]
cron = "0 * * * *"
[schedule.exports]
components = ["*"]
cron = "0 4 * * 0"
keep = { s3 = "12mo" }
"#;

/// CSO-12..21, G-05: databases 30 days in three tiers, code without limit, audit logs three years.
const CSOAI: &str = r#"
[plan]
name = "CSOAI"
[component.database]
postgres = { dsn_env = "DSN" }
[tier.primary]
url = "s3://csoai/backups"
[tier.second]
url = "s3://csoai-eu/backups"
[tier.local]
url = "/var/backups/csoai"
[schedule.full]
components = ["*"]
cron = "0 2 * * *"
keep = { primary = "30d", second = "30d", local = { all = "2d", daily = "30d" } }
[schedule.quarter-hour]
components = ["*"]
cron = "*/15 * * * *"
keep = { primary = { all = "2d", hourly = "7d", daily = "30d" }, second = "2d", local = { daily = "30d" } }
[schedule.code]
components = ["*"]
cron = "30 6 * * 1"
keep = { primary = "unlimited", second = "unlimited", local = { min = 3 } }
[schedule.audit]
components = ["*"]
cron = "45 5 * * *"
keep = { primary = "3y", second = { monthly = "3y", min = 2 }, local = "30d" }
"#;

/// CUS-03, 05..08, X-16, G-03: all for 48 hours, then daily 30 days and weekly 26 weeks.
const CUSTOMER_DATA: &str = r#"
[plan]
name = "Customer data"
[component.customers]
sqlite = { path = "customers.sqlite" }
[tier.azure]
url = "az://customer-backups"
[tier.second]
url = "/mnt/second/customers"
[schedule.points]
components = ["*"]
cron = "*/15 * * * *"
keep = { azure = { all = "48h", daily = "30d", weekly = "26w" }, second = { all = "48h", daily = "30d", weekly = "26w", min = 5 } }
[schedule.nightly]
components = ["*"]
cron = "0 2 * * *"
keep = { azure = { daily = "30d", weekly = "26w", monthly = "1y", yearly = "10y" }, second = "14d" }
"#;

const DAY: i64 = 86_400;

fn plan(text: &str) -> Plan {
    Plan::parse(&[("plan.toml", text)]).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn one_in(&mut self, count: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.is_multiple_of(count)
    }
}

/// What is left of a component in a tier, and what was decided so far.
struct Tier<'a> {
    plan: &'a Plan,
    name: &'a str,
    stored: Vec<Stored>,
}

impl Tier<'_> {
    fn rules(&self, schedule: Option<&str>) -> Option<KeepRules> {
        Some(self.plan.keep(schedule, self.name)?.rules())
    }

    /// Prunes at an instant; the oracle has to agree on every snapshot.
    fn prune(&mut self, now: Timestamp) {
        let conditions = fine(now);
        let decision = decide(&self.stored, &|schedule| self.rules(schedule), &conditions);
        let wanted = kept_by_the_oracle(&self.stored, &|s| self.rules(s), &conditions);
        agree(&self.stored, &decision, &wanted, &format!("tier {} at {now}", self.name));
        self.stored.retain(|snapshot| wanted.contains(&snapshot.snapshot));
    }

    /// Nothing that is there depends on something that is not.
    fn hangs_together(&self, now: Timestamp) {
        let there: BTreeSet<&String> = self.stored.iter().map(|s| &s.snapshot).collect();
        for snapshot in &self.stored {
            for need in &snapshot.needs {
                let (id, tier) = (&snapshot.snapshot, self.name);
                assert!(there.contains(need), "{id} in {tier} at {now} lacks {need}");
            }
        }
    }
}

fn fine(now: Timestamp) -> Conditions {
    let needed = BTreeMap::new();
    Conditions { now, listing_complete: true, backups_failing: false, overdue: None, needed }
}

fn agree(stored: &[Stored], decision: &Decision, wanted: &BTreeSet<String>, at: &str) {
    let kept: BTreeSet<String> = decision.keep.iter().map(|(id, _)| id.clone()).collect();
    let gone: BTreeSet<String> = decision.remove.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(kept.len() + gone.len(), stored.len(), "{at}: each is decided once");
    let found = |id: &String| stored.iter().find(|snapshot| snapshot.snapshot == *id);
    if let Some(id) = kept.symmetric_difference(wanted).next() {
        let why = decision.keep.iter().find(|(kept, _)| kept == id);
        panic!("{at}: {:#?}\nkept: {why:?}\nwanted: {}", found(id), wanted.contains(id));
    }
    assert!(decision.keep.iter().all(|(_, why)| !why.is_empty()));
    assert!(decision.remove.iter().all(|(_, why)| !why.is_empty()));
}

// ---------------------------------------------------------------------------------------------
// The oracle.

fn kept_by_the_oracle(
    stored: &[Stored],
    rules: &dyn Fn(Option<&str>) -> Option<KeepRules>,
    conditions: &Conditions,
) -> BTreeSet<String> {
    let all = || stored.iter().map(|snapshot| snapshot.snapshot.clone());
    if something_is_wrong(stored, conditions) {
        return all().collect();
    }
    let periods: Vec<[i64; 5]> = stored.iter().map(|snapshot| periods(snapshot.time)).collect();
    let mut kept: BTreeSet<String> = (0..stored.len())
        .filter(|number| is_wanted(*number, stored, &periods, rules, conditions))
        .map(|number| &stored[number])
        .map(|snapshot| snapshot.snapshot.clone())
        .collect();
    // What is needed by what is kept, until nothing is added any more.
    loop {
        let needed: BTreeSet<String> = stored
            .iter()
            .filter(|snapshot| kept.contains(&snapshot.snapshot))
            .flat_map(|snapshot| {
                snapshot.needs.iter().filter(|need| !kept.contains(*need)).cloned()
            })
            .filter(|need| stored.iter().any(|snapshot| snapshot.snapshot == *need))
            .collect();
        if needed.is_empty() {
            return kept;
        }
        kept.extend(needed);
    }
}

fn proven(snapshot: &Stored) -> bool {
    snapshot.seq.is_some() && snapshot.verified_level.is_some() && !snapshot.verification_failed
}

fn something_is_wrong(stored: &[Stored], conditions: &Conditions) -> bool {
    let now = conditions.now.as_second();
    let ours = || stored.iter().filter(|snapshot| snapshot.seq.is_some());
    let free = || stored.iter().filter(|snapshot| snapshot.hold.is_none());
    let best = ours().filter(|s| proven(s)).map(|s| s.seq).max();
    !conditions.listing_complete
        || conditions.backups_failing
        || conditions.overdue.is_some()
        || stored.iter().any(|s| {
            let settled = s.stored.is_some_and(|stored| stored.as_second() <= now + 300);
            s.time.as_second() > now + 300 && !(s.hold.is_some() && settled)
        })
        || free().filter(|s| s.seq.is_some()).any(|s| {
            s.stored.is_some_and(|stored| s.time.as_second() > stored.as_second() + 900)
                || free().any(|t| t.seq.is_some() && t.seq > s.seq && t.time < s.time)
        })
        || (ours().next().is_some() && best.is_none())
        || ours().any(|s| s.seq > best.flatten() && s.verification_failed)
}

/// The numbers of the hour, day, week, month and year that an instant lies in.
fn periods(at: Timestamp) -> [i64; 5] {
    let days = at.as_second().div_euclid(DAY);
    let (year, month) = year_and_month(days);
    // 1 January 1970 was a Thursday: three days after a Monday.
    [at.as_second().div_euclid(3600), days, (days + 3).div_euclid(7), year * 12 + month, year]
}

/// The civil year and month of a day since 1970, counted from the year's lengths.
fn year_and_month(mut days: i64) -> (i64, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as i64)
}

fn is_wanted(
    number: usize,
    stored: &[Stored],
    periods: &[[i64; 5]],
    rules: &dyn Fn(Option<&str>) -> Option<KeepRules>,
    conditions: &Conditions,
) -> bool {
    let one = &stored[number];
    // Foreign, held, in use, or the base of a window.
    let for_itself = one.seq.is_none() || one.hold.is_some() || one.in_flight;
    if for_itself || conditions.needed.contains_key(&one.snapshot) {
        return true;
    }
    let newest = |fits: &dyn Fn(&Stored) -> bool| {
        fits(one) && !stored.iter().rev().any(|other| other.seq > one.seq && fits(other))
    };
    let best = newest(&|s| proven(s))
        || newest(&|s| proven(s) && s.verified_level >= Some(4))
        || newest(&|s| proven(s) && !s.partial);
    let Some(rules) = rules(one.schedule.as_deref()) else { return true };
    let taken = one.stored.map_or(one.time, |stored| stored.max(one.time));
    let age = Duration::from_secs(
        u64::try_from(conditions.now.as_second() - taken.as_second()).unwrap_or(0),
    );
    let young = |span: Option<Duration>| span.is_some_and(|span| age <= span);
    if best || rules.unlimited || young(rules.all) {
        return true;
    }
    if one.verification_failed {
        return false;
    }
    let rival = |other: &Stored| {
        other.schedule == one.schedule && other.seq.is_some() && !other.verification_failed
    };
    let newer = || stored.iter().filter(|other| other.seq > one.seq && rival(other)).count();
    if rules.min.is_some_and(|min| newer() < min as usize) {
        return true;
    }
    let spans = [rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
    spans.iter().enumerate().any(|(kind, span)| {
        // Nothing stands for the period better: a whole one before a partial one, a later one
        // before an earlier one.
        let place = periods[number][kind];
        let better = |other: &Stored| (!other.partial, other.seq) > (!one.partial, one.seq);
        let same = |other: usize| periods[other][kind] == place;
        young(*span)
            && !(0..stored.len()).any(|n| same(n) && rival(&stored[n]) && better(&stored[n]))
    })
}

// ---------------------------------------------------------------------------------------------

/// Two years of a plan's schedules, pruned each fifth day; everything that may happen to a
/// snapshot happens to some.
fn two_years(text: &str, incremental: Option<&str>) {
    let plan = plan(text);
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let mut runs: Vec<(Timestamp, &str)> = Vec::new();
    let end = start.as_second() + 730 * DAY;
    for (name, schedule) in &plan.schedule {
        let cron = schedule.cron.as_ref().expect("each has one");
        let mut at = start;
        while let Some(next) = cron.next_after(at).filter(|next| next.as_second() < end) {
            runs.push((next, name));
            at = next;
        }
    }
    runs.sort();
    let mut dice = Dice(0x5eed_1ead_b0a7_2026);
    let mut tiers: Vec<Tier<'_>> =
        plan.tier.keys().map(|name| Tier { plan: &plan, name, stored: Vec::new() }).collect();
    let mut last: Option<String> = None;
    let mut next = 0;
    // Each fifth day, at another hour each time.
    for turn in 1..=146 {
        let hour = turn % 24;
        let now = Timestamp::from_second(start.as_second() + turn * 5 * DAY + hour * 3600)
            .expect("in range");
        while let Some((time, schedule)) = runs.get(next).filter(|(time, _)| *time <= now) {
            next += 1;
            let id = format!("{next:08x}");
            let follows = incremental == Some(*schedule);
            let snapshot = Stored {
                snapshot: id.clone(),
                time: *time,
                stored: Some(*time),
                seq: (!dice.one_in(500)).then_some(next as u64),
                schedule: Some((*schedule).to_owned()),
                verified_level: Some(if dice.one_in(9) { 2 } else { 4 }),
                // Never the last of a day: then the prune would rightly refuse.
                verification_failed: runs.get(next).is_some_and(|(after, _)| *after <= now)
                    && dice.one_in(60),
                partial: dice.one_in(40),
                hold: dice.one_in(400).then(|| "incident".to_owned()),
                in_flight: false,
                needs: if follows { last.clone().into_iter().collect() } else { Vec::new() },
            };
            for tier in &mut tiers {
                tier.stored.push(snapshot.clone());
            }
            last = Some(id);
        }
        for tier in &mut tiers {
            tier.prune(now);
            tier.hangs_together(now);
        }
    }
    for tier in &tiers {
        let (left, made) = (tier.stored.len(), runs.len());
        assert!(left > 0 && left < made, "{left} of {made} are left in {}", tier.name);
    }
}

/// EDO-06, 07, 11, 12, 14, X-12; each hourly one depends on the one before it.
#[test]
fn two_years_of_edonuops() {
    two_years(EDONUOPS, Some("incremental"));
}

/// TEC-07 to TEC-12, X-14, G-01.
#[test]
fn two_years_of_tech_it() {
    two_years(TECH_IT, None);
}

/// AUD-12 to AUD-25, X-15, G-02.
#[test]
fn two_years_of_a_plus() {
    two_years(A_PLUS, None);
}

/// CSO-12 to CSO-21, G-05.
#[test]
fn two_years_of_csoai() {
    two_years(CSOAI, None);
}

/// CUS-03, 07, 08, X-16, G-03.
#[test]
fn two_years_of_customer_data() {
    two_years(CUSTOMER_DATA, None);
}

/// X-12: each cell of the matrix has one value; a schedule's word goes before the tier's.
#[test]
fn each_cell_has_one_value() {
    let cell = |text: &str, schedule: &str, tier: &str| {
        plan(text).keep(Some(schedule), tier).map(|keep| keep.to_string())
    };
    for (text, schedule, tier, value) in [
        (EDONUOPS, "full", "local", "30d"),
        (EDONUOPS, "incremental", "local", "7d"),
        (EDONUOPS, "full", "offsite", "90d"),
        (EDONUOPS, "incremental", "offsite", "7d"),
        (TECH_IT, "monthly", "local", "7d"),
        (TECH_IT, "monthly", "cold", "372d"),
        (CSOAI, "code", "primary", "unlimited"),
        (CUSTOMER_DATA, "points", "azure", "all 2d, daily 30d, weekly 26w"),
    ] {
        let found = cell(text, schedule, tier).expect("a cell");
        assert_eq!(found, value, "{schedule} in {tier}");
    }
    assert_eq!(cell(EDONUOPS, "full", "elsewhere"), None);
}

fn spans() -> impl Strategy<Value = KeepRules> {
    let span = |most: u64| prop::option::weighted(0.4, (0..most).prop_map(Duration::from_secs));
    let days = DAY as u64;
    (
        span(20 * days),
        span(10 * days),
        span(90 * days),
        span(300 * days),
        span(700 * days),
        span(1500 * days),
        (prop::option::weighted(0.3, 0u32..6), prop::bool::weighted(0.05)),
    )
        .prop_map(|(all, hourly, daily, weekly, monthly, yearly, (min, unlimited))| {
            KeepRules { all, hourly, daily, weekly, monthly, yearly, min, unlimited }
        })
}

/// Histories in which everything happens, wrong clocks too.
fn histories() -> impl Strategy<Value = Vec<Stored>> {
    let flags = (
        prop::option::weighted(0.8, 2u8..=4),
        prop::bool::weighted(0.02),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.06),
        prop::bool::weighted(0.06),
    );
    let one = (
        0i64..40 * DAY,
        flags,
        prop::option::weighted(0.2, 1u64..12),
        0u8..4,
        prop_oneof![60 => Just(0i64), 10 => Just(60), 10 => Just(9 * DAY), 1 => Just(-7 * DAY)],
    );
    prop::collection::vec(one, 0..40).prop_map(|list| {
        let mut time = 1_767_225_600;
        let mut stored = Vec::new();
        for (number, (gap, flags, needs, schedule, late)) in (1u64..).zip(list) {
            let (level, failed, partial, foreign, held) = flags;
            time += gap / 10;
            let at = |second: i64| Timestamp::from_second(second).expect("in range");
            stored.push(Stored {
                snapshot: format!("{number:08x}"),
                time: at(time),
                stored: (schedule != 3).then(|| at(time + late)),
                seq: (!foreign).then_some(number),
                schedule: (schedule > 0).then(|| format!("s{schedule}")),
                verified_level: level,
                verification_failed: failed,
                partial,
                hold: held.then(|| "held".to_owned()),
                in_flight: false,
                needs: needs
                    .and_then(|back| number.checked_sub(back))
                    .map(|need| format!("{need:08x}"))
                    .into_iter()
                    .collect(),
            });
        }
        stored
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_matrix_over_any_history(
        stored in histories(),
        matrix in prop::collection::vec(spans(), 3),
        wait in -DAY..600 * DAY,
    ) {
        // Schedule `s3` has no rule.
        let rules = |schedule: Option<&str>| match schedule {
            None => Some(matrix[0].clone()),
            Some("s1") => Some(matrix[1].clone()),
            Some("s2") => Some(matrix[2].clone()),
            Some(_) => None,
        };
        let newest = stored.iter().map(|s| s.time.as_second()).max().unwrap_or(1_767_225_600);
        let conditions = fine(Timestamp::from_second(newest + wait).expect("in range"));
        let decision = decide(&stored, &rules, &conditions);
        let wanted = kept_by_the_oracle(&stored, &rules, &conditions);
        agree(&stored, &decision, &wanted, "any");
        let left: Vec<Stored> =
            stored.iter().filter(|s| wanted.contains(&s.snapshot)).cloned().collect();
        // What is decided is decided: the same again takes nothing more.
        let again = decide(&left, &rules, &conditions);
        prop_assert!(again.remove.is_empty() || !decision.refused.is_empty());
    }
}
