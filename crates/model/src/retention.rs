//! Which snapshots of one component in one tier may go. A decision only; nothing is removed here.
//!
//! Never removed: the newest verified one, anything on hold or in flight, a base that something
//! kept depends on, what the ledger does not know, and what no rule speaks of. Nothing at all is
//! removed while newer backups fail or have stopped, while a listing was partial, when nothing is
//! verified, or when times are implausible (promise 2, EDO-12, AUD-15, X-15). Ages count from when
//! the store took a snapshot: a capture that was dated too early by a wrong clock is not old.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, after, before};
use crate::plan::KeepRules;

/// A snapshot dated further than this after now is implausible.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// One that is dated further than this after the store took it was taken by a wrong clock.
const TAKEN_LATER: Duration = Duration::from_secs(15 * 60);

/// A snapshot as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stored {
    /// Its id, hexadecimal.
    pub snapshot: String,
    /// Start of its capture, wall time.
    pub time: Timestamp,
    /// When the store took it, by the store's own clock; `None`: not known.
    pub stored: Option<Timestamp>,
    /// Sequence number of its ledger entry; `None`: foreign.
    pub seq: Option<u64>,
    /// The schedule that made it, for its rules.
    pub schedule: Option<String>,
    /// Highest level at which it was verified.
    pub verified_level: Option<u8>,
    /// Its last verification failed.
    pub verification_failed: bool,
    /// Something was skipped when it was made.
    pub partial: bool,
    /// Why it must stay: it was put on hold.
    pub hold: Option<String>,
    /// Somebody is reading or writing it now.
    pub in_flight: bool,
    /// Ids of snapshots without which it cannot be restored.
    pub needs: Vec<String>,
}

impl Stored {
    /// From when on its age counts.
    fn counts_from(&self) -> Timestamp {
        self.stored.map_or(self.time, |stored| stored.max(self.time))
    }
}

/// What must be known besides the snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// Now, by the wall clock.
    pub now: Timestamp,
    /// Every snapshot of the component in the tier was listed.
    pub listing_complete: bool,
    /// The last attempt to back the component up failed.
    pub backups_failing: bool,
    /// Why it looks as if backups had stopped, or as if now were wrong: runs were missed.
    pub overdue: Option<String>,
    /// Ids of snapshots that must stay for another reason, and why: the base of a window.
    pub needed: BTreeMap<String, String>,
}

/// What may go and what stays, each with its reason; together they are all that was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// Ids that stay, newest first, each with every reason.
    pub keep: Vec<(String, Vec<String>)>,
    /// Ids that may go, newest first, each with the reason.
    pub remove: Vec<(String, String)>,
    /// Why nothing at all may go.
    pub refused: Vec<String>,
}

/// Decides. `rules` gives the rules of a schedule (or of none) in this tier.
pub fn decide(
    stored: &[Stored],
    rules: &dyn Fn(Option<&str>) -> Option<KeepRules>,
    conditions: &Conditions,
) -> Decision {
    let mut ordered: Vec<&Stored> = stored.iter().collect();
    ordered.sort_by(|a, b| (b.seq, b.time, &b.snapshot).cmp(&(a.seq, a.time, &a.snapshot)));
    let mut reasons = Reasons::default();
    protect(&ordered, &mut reasons);
    for snapshot in &ordered {
        if let Some(why) = conditions.needed.get(&snapshot.snapshot) {
            reasons.add(snapshot, why.clone());
        }
    }
    let mut groups: BTreeMap<Option<&str>, Vec<&Stored>> = BTreeMap::new();
    for snapshot in ordered.iter().filter(|snapshot| snapshot.seq.is_some()) {
        groups.entry(snapshot.schedule.as_deref()).or_default().push(snapshot);
    }
    for (schedule, group) in groups {
        match rules(schedule) {
            Some(rules) => apply(&rules, &group, conditions.now, &mut reasons),
            None => group.iter().for_each(|s| reasons.add(s, "no rule says how long to keep it")),
        }
    }
    bases(&ordered, &mut reasons);
    let refused = refusals(&ordered, conditions);
    let mut decision = Decision { refused, ..Decision::default() };
    for snapshot in ordered {
        let id = snapshot.snapshot.clone();
        match reasons.0.remove(&id) {
            Some(why) => decision.keep.push((id, why)),
            None if decision.refused.is_empty() => {
                let rules = rules(snapshot.schedule.as_deref()).unwrap_or_default();
                decision.remove.push((id, format!("`{rules}` keeps it no longer")));
            }
            None => decision.keep.push((id, vec!["nothing is removed now".to_owned()])),
        }
    }
    decision
}

/// Why each snapshot stays.
#[derive(Default)]
struct Reasons(BTreeMap<String, Vec<String>>);

impl Reasons {
    fn add(&mut self, snapshot: &Stored, why: impl Into<String>) {
        let why = why.into();
        let list = self.0.entry(snapshot.snapshot.clone()).or_default();
        if !list.contains(&why) {
            list.push(why);
        }
    }
}

fn verified(snapshot: &Stored) -> bool {
    snapshot.verified_level.is_some() && !snapshot.verification_failed && snapshot.seq.is_some()
}

/// What stays whatever the rules say.
fn protect(newest_first: &[&Stored], reasons: &mut Reasons) {
    let mut newest = |why: &str, fits: &dyn Fn(&Stored) -> bool| {
        if let Some(snapshot) = newest_first.iter().find(|s| verified(s) && fits(s)) {
            reasons.add(snapshot, why);
        }
    };
    newest("the newest verified one", &|_| true);
    newest("the newest proven equal to its manifest", &|s| s.verified_level >= Some(4));
    newest("the newest whole verified one", &|s| !s.partial);
    for snapshot in newest_first {
        if let Some(hold) = &snapshot.hold {
            reasons.add(snapshot, format!("on hold: {hold}"));
        }
        if snapshot.in_flight {
            reasons.add(snapshot, "in use");
        }
        if snapshot.seq.is_none() {
            reasons.add(snapshot, "the ledger does not know it (foreign)");
        }
    }
}

/// The rules of one schedule over its snapshots, newest first.
fn apply(rules: &KeepRules, newest_first: &[&Stored], now: Timestamp, reasons: &mut Reasons) {
    if rules.unlimited {
        newest_first.iter().for_each(|snapshot| reasons.add(snapshot, "kept without limit"));
    }
    let within = |snapshot: &Stored, span: Duration| snapshot.counts_from() >= before(now, span);
    if let Some(span) = rules.all {
        for snapshot in newest_first.iter().filter(|snapshot| within(snapshot, span)) {
            reasons.add(snapshot, format!("younger than {span}"));
        }
    }
    // A backup that failed its verification must not push out one that did not.
    let sound: Vec<&&Stored> = newest_first.iter().filter(|s| !s.verification_failed).collect();
    let least = usize::try_from(rules.min.unwrap_or(0)).unwrap_or(usize::MAX);
    for snapshot in sound.iter().take(least) {
        reasons.add(snapshot, format!("one of the newest {least}"));
    }
    let periods: [(Option<Duration>, &str, Period); 5] = [
        (rules.hourly, "hourly", hour),
        (rules.daily, "daily", day),
        (rules.weekly, "weekly", week),
        (rules.monthly, "monthly", month),
        (rules.yearly, "yearly", year),
    ];
    for (span, name, period) in periods {
        let Some(span) = span else { continue };
        // The last of each period, counted over all snapshots, so that a longer span only adds.
        let mut chosen: BTreeMap<String, &Stored> = BTreeMap::new();
        for snapshot in &sound {
            let last = chosen.entry(period(snapshot.time)).or_insert(snapshot);
            if last.partial && !snapshot.partial {
                *last = snapshot;
            }
        }
        for (period, snapshot) in chosen.iter().filter(|(_, snapshot)| within(snapshot, span)) {
            reasons.add(snapshot, format!("{name} of {period}, kept {span}"));
        }
    }
}

/// Names the period of the calendar that an instant lies in, UTC.
type Period = fn(Timestamp) -> String;

fn hour(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:00").to_string()
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn week(at: Timestamp) -> String {
    let date = TimeZone::UTC.to_datetime(at).date().iso_week_date();
    format!("{}-W{:02}", date.year(), date.week())
}

fn month(at: Timestamp) -> String {
    at.strftime("%Y-%m").to_string()
}

fn year(at: Timestamp) -> String {
    at.strftime("%Y").to_string()
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Whatever something kept depends on stays too.
fn bases(all: &[&Stored], reasons: &mut Reasons) {
    let by_id: BTreeMap<&str, &Stored> = all.iter().map(|s| (s.snapshot.as_str(), *s)).collect();
    let mut todo: Vec<String> = reasons.0.keys().cloned().collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let Some(snapshot) = by_id.get(id.as_str()) else { continue };
        for need in &snapshot.needs {
            if let Some(base) = by_id.get(need.as_str()) {
                reasons.add(base, format!("{} depends on it", short(&id)));
                todo.push(need.clone());
            }
        }
    }
}

/// Why nothing at all may go now.
fn refusals(newest_first: &[&Stored], conditions: &Conditions) -> Vec<String> {
    let mut refused = Vec::new();
    if !conditions.listing_complete {
        refused.push("not every snapshot could be listed".to_owned());
    }
    if conditions.backups_failing {
        refused.push("the last backup failed".to_owned());
    }
    refused.extend(conditions.overdue.clone());
    refused.extend(wrong_dates(newest_first, conditions.now));
    let known: Vec<&&Stored> = newest_first.iter().filter(|s| s.seq.is_some()).collect();
    match known.iter().position(|snapshot| verified(snapshot)) {
        None if !known.is_empty() => refused.push("no snapshot is verified".to_owned()),
        Some(newest) if known[..newest].iter().any(|snapshot| snapshot.verification_failed) => {
            refused.push("a newer snapshot failed its verification".to_owned());
        }
        _ => {}
    }
    refused
}

/// What shows that a clock is wrong, or was. What is on hold stays anyway and is not asked, unless
/// now itself is in doubt: so one with a wrong date can be kept out of the way.
fn wrong_dates(newest_first: &[&Stored], now: Timestamp) -> Vec<String> {
    let mut wrong = Vec::new();
    let latest = after(now, TOLERANCE);
    let settled = |s: &Stored| s.hold.is_some() && s.stored.is_some_and(|stored| stored <= latest);
    if let Some(snapshot) = newest_first.iter().find(|s| s.time > latest && !settled(s)) {
        wrong.push(format!(
            "a snapshot is dated {}, later than now ({now}): a clock is wrong",
            snapshot.time
        ));
    }
    let free = newest_first.iter().copied().filter(|s| s.hold.is_none());
    let known: Vec<&Stored> = free.filter(|s| s.seq.is_some()).collect();
    let misdated = known.iter().find_map(|one| {
        let stored = one.stored.filter(|stored| one.time > after(*stored, TAKEN_LATER))?;
        Some((one, stored))
    });
    if let Some((snapshot, stored)) = misdated {
        let id = short(&snapshot.snapshot);
        wrong.push(format!(
            "snapshot {id} is dated {}, and was stored at {stored}: a clock was wrong",
            snapshot.time
        ));
    }
    if let Some(pair) = known.windows(2).find(|pair| pair[0].time < pair[1].time) {
        let id = short(&pair[0].snapshot);
        wrong.push(format!(
            "snapshot {id}, dated {}, was made after one dated {}: a clock was set back",
            pair[0].time, pair[1].time
        ));
    }
    wrong
}

#[cfg(test)]
mod tests;
