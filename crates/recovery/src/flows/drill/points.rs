//! Older points of a component's window, chosen at random and rehearsed after the newest: a journal
//! that leads to its end need not lead to every second before.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::recipe::{self, RestoreRecipe, TierChoice};
use lifeboat_model::verdict::Verdict;

use super::outcome::Rehearsed;
use super::run::Run;
use crate::catalog::{Catalog, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::flows::At;
use crate::flows::point::{WantedPoint, Ways};
use crate::flows::way;
use crate::prove::{Places, restore_copy};
use crate::report::{DrillFailure, DrilledPoint, Failure};
use crate::staging::remove_tree;

/// Draws for one point, before the window is taken for one without.
const DRAWS: usize = 20;

/// Chooses by a seed: the same seed chooses the same again.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn seeded(seed: u64) -> Draw {
        Draw(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An instant between two, whole milliseconds.
    fn instant(&mut self, (from, to): (Timestamp, Timestamp)) -> Timestamp {
        let span = to.as_millisecond().saturating_sub(from.as_millisecond()).max(1).unsigned_abs();
        let after = i64::try_from(self.next() % span).unwrap_or(0);
        from.checked_add(SignedDuration::from_millis(after)).unwrap_or(from)
    }
}

/// What older points are chosen from.
pub(super) struct Older<'a> {
    pub(super) world: &'a World,
    pub(super) catalog: &'a Catalog,
    pub(super) rows: &'a [SnapshotRow],
    pub(super) count: u32,
    pub(super) draw: Draw,
}

impl Older<'_> {
    /// From the oldest base that is kept (or the beginning of the plan's window) to the end of what
    /// the newest way proves.
    fn span(&self, component: &str, end: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let fits = |row: &&SnapshotRow| {
            let of = row.component.as_deref() == Some(component);
            of && !row.foreign() && row.lost.is_none() && row.failed.is_none()
        };
        let first = self.rows.iter().filter(fits).filter_map(|row| row.read_until).min()?;
        let window = self.world.plan.component.get(component)?.kind.window();
        let begin = window.and_then(|window| end.checked_sub(window.signed()).ok());
        let first = begin.map_or(first, |begin| begin.max(first));
        (first < end).then_some((first, end))
    }

    /// Rehearses the points of one component, each in a folder that is gone afterwards.
    pub(super) fn rehearse(
        &mut self,
        run: &Run<'_>,
        one: &mut Rehearsed,
        sandbox: &Path,
        findings: &mut Vec<String>,
    ) -> Result<()> {
        let way = run.ways.get(&one.component).and_then(|way| way.shown.as_ref());
        let Some(end) = way.and_then(|way| way.complete_up_to) else { return Ok(()) };
        let Some(span) = self.span(&one.component, end) else { return Ok(()) };
        for number in 0..self.count {
            let folder = sandbox.join(format!("{}@{}", one.component, number + 1));
            let point = self.one(run, &one.component, span, &folder)?;
            remove_tree(&folder)?;
            match point {
                Some(point) => one.points.push(point),
                None => findings.push(format!(
                    "{}: no older point of its window could be rehearsed: none of {DRAWS} between \
                     {} and {} can be reached",
                    one.component, span.0, span.1
                )),
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        run: &Run<'_>,
        component: &str,
        span: (Timestamp, Timestamp),
        folder: &Path,
    ) -> Result<Option<DrilledPoint>> {
        for _ in 0..DRAWS {
            let time = self.draw.instant(span);
            let at = At::Time(time);
            let wanted = WantedPoint::of(&at);
            let chosen =
                way::choose(self.world, run.tier, self.catalog, self.rows, component, &wanted);
            let (choice, way) = match chosen {
                Ok((choice, way)) if way.log.is_some() => (choice, way),
                Err(error) if ends_run(&error) => return Err(error),
                // Before the journal, or in a gap that the stream recorded: no point of the window.
                Ok(_) => continue,
                Err(error) if way::is_no_point(&error) => continue,
                Err(error) => return Ok(Some(self.refused(time, &error))),
            };
            let tier = TierChoice {
                name: self.world.tier.name.clone(),
                path: self.world.tier.url.clone(),
            };
            let log = way.shown.as_ref().map(way::step);
            let component = component.to_owned();
            let ways = Ways::from([(component.clone(), way)]);
            let request = recipe::RestoreRequest { component, choice, subpath: None, log };
            let recipe = recipe::restore_recipe(&self.world.plan, tier, vec![request])?;
            return self.restored(run, &recipe, &ways, time, folder).map(Some);
        }
        Ok(None)
    }

    /// A point that should be there.
    fn blank(&self, time: Timestamp) -> DrilledPoint {
        DrilledPoint {
            at: time,
            started: self.world.clock.wall(),
            snapshot: None,
            way: None,
            verdict: Verdict::Inconclusive,
            checks: Vec::new(),
            seconds: 0.0,
            error: None,
        }
    }

    /// One to which nothing leads any more.
    fn refused(&self, time: Timestamp, error: &Error) -> DrilledPoint {
        let error = Some(DrillFailure::from(&Failure::of(error)));
        DrilledPoint { verdict: Verdict::Fail, error, ..self.blank(time) }
    }

    fn restored(
        &self,
        run: &Run<'_>,
        recipe: &RestoreRecipe,
        ways: &Ways,
        time: Timestamp,
        folder: &Path,
    ) -> Result<DrilledPoint> {
        let begun = self.world.start();
        let mut point = self.blank(time);
        for item in &recipe.items {
            point.snapshot = Some(item.choice.chosen.snapshot.clone());
            point.way = ways.get(&item.component).and_then(|way| way.shown.clone());
            let places = Places { folder: &folder.join("data"), scratch: &folder.join("scratch") };
            let restored = crate::flows::point::chosen(run.tier, item, ways)
                .and_then(|subject| restore_copy(self.world, &subject, None, places))
                .and_then(|copy| {
                    point.checks = copy.proof();
                    let recovered = copy.recovered.as_ref();
                    if let (Some(way), Some(recovered)) = (&mut point.way, recovered) {
                        way.reached.clone_from(&recovered.position);
                        way.complete_up_to = recovered.complete_up_to;
                    }
                    copy.settle()
                });
            match restored {
                Ok(()) => {}
                Err(error) if ends_run(&error) => return Err(error),
                Err(error) => point.error = Some(DrillFailure::from(&Failure::of(&error))),
            }
        }
        point.verdict = match &point.error {
            Some(_) => Verdict::Fail,
            None => Verdict::of(point.checks.iter().map(|check| check.verdict)),
        };
        point.seconds = crate::report::seconds(self.world.since(begun));
        Ok(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_chooses_the_same_again_and_stays_inside() {
        let span =
            ("2026-11-21T00:00:00Z".parse().unwrap(), "2026-11-21T01:00:00Z".parse().unwrap());
        let draw = |seed| {
            let mut draw = Draw::seeded(seed);
            (0..50).map(|_| draw.instant(span)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|at| span.0 <= *at && *at < span.1));
        let distinct: std::collections::BTreeSet<_> = draw(7).into_iter().collect();
        assert!(distinct.len() > 45, "they are spread");
    }
}
