//! Which objects of a journal may go from a tier. A decision only; nothing is removed here.
//!
//! Kept is whatever a point of the window needs: everything from the *anchor* on, the newest verified
//! base that was finished before the window begins. Where no such base is kept, everything stays.
//! Without a window everything from the oldest base on is kept. A base carries its own log up to where
//! it is consistent, so that outside the window none is needed; from one on hold on, all of it stays.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::name::native;
use crate::duration::{Duration, before};
use crate::position::Position;

/// After so many records a stream records its facts again ([`super::Kind::Start`]): so many are kept
/// before the place where a way begins.
pub const START_EVERY: u32 = 512;

/// An object dated further than this after now shows that a clock is wrong.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// A stored object: a record by itself or a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// The lineage as the tier names it.
    pub lineage: String,
    /// Number of its first record.
    pub first: u32,
    /// Number of its last record.
    pub last: u32,
    /// Where its first record begins.
    pub from: Position,
    /// When it was stored, by the store's clock.
    pub stored: Timestamp,
}

/// A base that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its id.
    pub id: String,
    /// The log that it is of, as the source names it.
    pub lineage: String,
    /// From where on the log is needed.
    pub position: Position,
    /// It holds nothing newer.
    pub finished: Timestamp,
    /// It was read back.
    pub verified: bool,
    /// It is on hold, and the log from it on with it.
    pub held: bool,
}

/// What may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Keys, in the order in which they are to go: what a kill leaves hangs together.
    pub remove: Vec<String>,
    /// Why what stays stays: one sentence a lineage.
    pub kept: Vec<String>,
    /// Why nothing at all may go.
    pub refused: Vec<String>,
}

/// The base from which every second of the window can be had: the newest verified one that was
/// finished before the window begins; if there is none, the oldest verified one.
pub fn anchor(bases: &[Base], window: Duration, now: Timestamp) -> Option<&Base> {
    let begins = before(now, window);
    let verified = || bases.iter().filter(|base| base.verified);
    let newest = verified().filter(|base| base.finished <= begins).max_by_key(|b| b.finished);
    newest.or_else(|| verified().min_by_key(|base| base.finished))
}

/// Decides. `items` are all objects of one component in one tier, `bases` those that stay.
pub fn decide(
    items: &[Item],
    bases: &[Base],
    window: Option<Duration>,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision::default();
    let latest = now.checked_add(TOLERANCE).unwrap_or(Timestamp::MAX);
    if let Some(item) = items.iter().find(|item| item.stored > latest) {
        let why =
            format!("{} is dated {}, later than now: a clock is wrong", item.key, item.stored);
        decision.refused.push(why);
        return decision;
    }
    let Some(rule) = Rule::of(bases, window, now) else {
        decision.kept.push(match window {
            Some(window) => format!("no verified snapshot is as old as the window of {window}"),
            None => "no snapshot is known from which it leads on".to_owned(),
        });
        return decision;
    };
    let mut lineages: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    for item in items {
        lineages.entry(&item.lineage).or_default().push(item);
    }
    for (lineage, mut chain) in lineages {
        chain.sort_by_key(|item| (item.first, item.last, &item.key));
        let own = rule.base_of(bases, native(lineage));
        let needed = match own {
            Some(base) => needed_from(&chain, base.position),
            // Another log, which the anchor's took the place of: it goes as a whole or not at all.
            None if rule.anchor.lineage == native(lineage) => 0,
            None if chain.iter().all(|item| item.stored < rule.begins) => u32::MAX,
            None => 0,
        };
        let gone = chain.iter();
        let gone = gone.take_while(|item| item.last < needed && item.stored < rule.begins);
        let keys: Vec<String> = gone.map(|item| item.key.clone()).collect();
        if keys.len() < chain.len() {
            decision.kept.push(match own {
                Some(base) => {
                    let id = base.id.get(..8).unwrap_or(&base.id);
                    format!("{lineage}: what leads on from snapshot {id} of {}", base.finished)
                }
                None => format!("{lineage}: no snapshot of it is old enough"),
            });
        }
        decision.remove.extend(keys);
    }
    decision
}

/// From where on the log of a source is needed, and since when everything of it stays. Nothing, where
/// all of it stays.
pub fn needed(
    bases: &[Base],
    window: Option<Duration>,
    now: Timestamp,
    lineage: &str,
) -> Option<(Position, Timestamp)> {
    let rule = Rule::of(bases, window, now)?;
    rule.base_of(bases, lineage).map(|base| (base.position, rule.begins))
}

/// From where on a journal is needed.
struct Rule<'a> {
    /// The base that all points can be had from.
    anchor: &'a Base,
    /// What was stored later than this stays.
    begins: Timestamp,
    /// There is a window.
    window: bool,
}

impl Rule<'_> {
    fn of(bases: &[Base], window: Option<Duration>, now: Timestamp) -> Option<Rule<'_>> {
        let Some(window) = window else {
            let oldest = bases.iter().min_by_key(|base| base.finished)?;
            return Some(Rule { anchor: oldest, begins: oldest.finished, window: false });
        };
        let begins = before(now, window);
        let anchor = anchor(bases, window, now).filter(|base| base.finished <= begins)?;
        Some(Rule { anchor, begins, window: true })
    }

    /// The base of a log from which all that is wanted of it can be had.
    fn base_of<'b>(&self, bases: &'b [Base], lineage: &str) -> Option<&'b Base> {
        let of_log = || bases.iter().filter(|base| base.lineage == lineage);
        let by_rule = match self.window {
            true => of_log()
                .filter(|base| base.verified && base.finished <= self.begins)
                .max_by_key(|base| base.finished),
            false => of_log().min_by_key(|base| base.finished),
        };
        let held = of_log().filter(|base| base.held).min_by_key(|base| base.finished);
        by_rule.into_iter().chain(held).min_by_key(|base| base.finished)
    }
}

/// The lowest number that is needed by a way that begins at `base`: of the last record on its line
/// that begins at it or before, and of those before it that tell the facts of the stream.
fn needed_from(chain: &[&Item], base: Position) -> u32 {
    let before = |item: &&&Item| item.from.line == base.line && item.from <= base;
    let last = chain.iter().rev().find(before).map(|item| item.first);
    last.unwrap_or(0).saturating_sub(START_EVERY)
}
