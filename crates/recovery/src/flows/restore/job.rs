//! One restore under way: what the ways of restoring share, and what they report.

use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::recipe::RestoreItem;
use lifeboat_model::verdict::Verdict;

use super::RestoreRequest;
use super::level_of;
use crate::catalog::SnapshotRow;
use crate::env::World;
use crate::facts::{Fact, Level, VerifiedFact};
use crate::flows::point::Ways;
use crate::prove::{Copy, Subject};
use crate::report::{ComponentRestore, seconds};
use crate::session::Start;
use crate::tier::OpenTier;

/// What the two ways of restoring share.
pub(super) struct Job<'a> {
    pub(super) world: &'a World,
    pub(super) tier: &'a OpenTier,
    pub(super) rows: &'a [SnapshotRow],
    pub(super) start: Start,
    pub(super) request: &'a RestoreRequest,
    /// The random name of this run.
    pub(super) action: &'a str,
    /// There is a state folder that lasts.
    pub(super) recorded: bool,
    /// From each base on.
    pub(super) ways: &'a Ways,
}

impl Job<'_> {
    /// The entry of a component before anything is known.
    pub(super) fn entry(&self, item: &RestoreItem) -> ComponentRestore {
        let chosen = &item.choice.chosen;
        ComponentRestore {
            snapshot: Some(chosen.snapshot.clone()),
            snapshot_time: Some(chosen.time),
            partial: chosen.partial,
            level_before: level_of(self.rows, &chosen.snapshot),
            chosen: item.choice.why.clone(),
            way: self.ways.get(&item.component).and_then(|way| way.shown.clone()),
            passed_over: item.choice.skipped.clone(),
            ..ComponentRestore::unknown(&item.component, Verdict::Inconclusive)
        }
    }

    /// Fills in what the copy of a component is, and how far it was brought.
    pub(super) fn describe(&self, entry: &mut ComponentRestore, copy: &Copy<'_>) {
        (entry.files, entry.bytes, entry.unchanged) = (copy.files, copy.bytes, copy.unchanged);
        entry.damaged.clone_from(&copy.damaged);
        entry.problems.clone_from(&copy.problems);
        self.complete(entry, copy.complete_up_to());
        if let Some(recovered) = &copy.recovered {
            entry.notes.extend(recovered.notes.iter().cloned());
            if let Some(way) = &mut entry.way {
                way.reached.clone_from(&recovered.position);
                way.complete_up_to = recovered.complete_up_to;
            }
        }
    }

    /// Fills in what the manifest says.
    pub(super) fn complete_up_to(&self, entry: &mut ComponentRestore, subject: &Subject<'_>) {
        entry.partial = subject.partial.is_some();
        self.complete(entry, subject.manifest.started);
    }

    fn complete(&self, entry: &mut ComponentRestore, complete: Timestamp) {
        let lost = self.start.wall.duration_since(complete);
        entry.complete_up_to = Some(complete);
        // A negative loss means that a clock was set back: not known. Nor is it for a partial one.
        let known = !lost.is_negative() && !entry.partial;
        entry.rpo_seconds = known.then(|| seconds(lost.unsigned_abs()));
    }

    /// What was streamed is not all in the copy: says nothing of the snapshot, and keeps no data back.
    pub(super) fn doubt(&self, component: &str) -> Option<CheckResult> {
        self.ways.get(component).and_then(|way| way.doubt.clone())
    }

    /// The fact of a recovery along the journal, where the copy passed.
    pub(super) fn recovered(
        &self,
        entry: &ComponentRestore,
        proof: &[CheckResult],
    ) -> Option<Fact> {
        if Verdict::of(proof.iter().map(|check| check.verdict)) != Verdict::Pass {
            return None;
        }
        let (way, snapshot) = (entry.way.as_ref()?, entry.snapshot.as_ref()?);
        way.fact(&entry.component, snapshot, self.world.clock.wall()).map(Fact::Recovered)
    }

    /// The fact of a proof that ran through V4, or failed on the way.
    pub(super) fn fact(&self, id: &str, proof: &[CheckResult]) -> Fact {
        let verdict = Verdict::of(proof.iter().map(|check| check.verdict));
        Fact::Verified(VerifiedFact {
            snapshot: id.to_owned(),
            time: self.world.clock.wall(),
            asked: Level::V4,
            level: (verdict == Verdict::Pass).then_some(Level::V4),
            verdict,
        })
    }
}
