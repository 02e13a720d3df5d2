//! The session: portion after portion, each packs first, then index objects, then snapshots.

use std::collections::VecDeque;
use std::sync::Arc;

use super::heal::{self, Wounds};
use super::plan::{Planner, Portion};
use super::select::{self, Selection, select};
use super::ship::{Landing, Shipped, ship};
use super::{CopiedSnapshot, CopyOptions, CopyPlan, CopyReport, LeftOut};
use crate::backup::may_be_written;
use crate::backup::register::{Pace, Register};
use crate::error::Result;
use crate::id::Id;
use crate::lock::LockGuard;
use crate::monitor::Stage;
use crate::snapshot::Snapshot;
use crate::vault::{Folder, Footing, NamedPack, Vault};

/// A copy that is under way. Holds a shared lock on both vaults for its life. Dropped before its
/// end it leaves what was made visible, and packs that the next copy takes up.
pub struct CopySession {
    source: Vault,
    destination: Vault,
    options: CopyOptions,
    locks: [Arc<LockGuard>; 2],
    planner: Planner,
    landing: Landing,
    /// Packs of broken-off copies that the index knows and no index object names yet.
    adopted: Vec<NamedPack>,
    /// Present snapshots that may lack something; none once that was looked after.
    doubted: Option<Vec<(Id, Snapshot)>>,
    pending: VecDeque<(Id, Snapshot)>,
    report: CopyReport,
}

impl std::fmt::Debug for CopySession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CopySession").finish_non_exhaustive()
    }
}

impl CopySession {
    pub(super) fn start(
        source: &Vault,
        destination: &Vault,
        options: CopyOptions,
    ) -> Result<CopySession> {
        // The locks count from here on: all that is relied on is read after them.
        let locks = [source.lock_for_reading()?, destination.lock_for_writing()?].map(Arc::new);
        may_be_written(destination)?;
        // Snapshots before the index: what a backup that runs meanwhile adds is then unknown to us
        // or whole.
        let Selection { wanted, present, doubted, left_out } =
            select(source, Some(destination), &options)?;
        let rotten = heal::read_again(destination, doubted.iter().map(|one| one.copy).collect())?;
        let footing = destination.footing()?;
        let wounds = Arc::new(Wounds::of(destination, &footing, &rotten)?);
        let Footing { index, adopted, sizes, gone: _ } = footing;
        let planner = Planner::new(source, Some(Arc::clone(&index)))?;
        let pace = Pace { blobs: options.index_blobs, bytes: options.portion_bytes };
        let (source_lock, lock) = (Arc::clone(&locks[0]), Arc::clone(&locks[1]));
        let register = Arc::new(Register::new(destination, Arc::clone(&index), lock, pace));
        let read_again = doubted.iter().map(|one| one.source).collect();
        let heals = !wounds.is_empty() || !doubted.is_empty();
        let doubted = doubted.into_iter().map(|one| (one.source, one.snapshot)).collect();
        Ok(CopySession {
            source: source.clone(),
            destination: destination.clone(),
            options,
            locks,
            planner,
            landing: Landing { index, register, wounds, source_lock, there: sizes },
            adopted,
            doubted: heals.then_some(doubted),
            pending: wanted.into(),
            report: CopyReport { present, read_again, left_out, ..CopyReport::default() },
        })
    }

    /// Makes good what is wrong with what is there, if anything is; then copies the next portion
    /// and makes it visible. Returns the snapshots that have arrived, or nothing when all is done.
    /// After an error the session is of no more use.
    pub fn step(&mut self) -> Result<Option<Vec<CopiedSnapshot>>> {
        if let Some(doubted) = self.doubted.take() {
            return self.heal(doubted).map(|()| Some(Vec::new()));
        }
        if self.pending.is_empty() {
            return Ok(None);
        }
        let portion = self.portion()?;
        self.carry(&portion)?;
        let whole = self.judge(portion.snapshots)?;
        self.commit(&whole).map(Some)
    }

    /// What was done so far.
    pub fn report(&self) -> &CopyReport {
        &self.report
    }

    /// Carries the copy to its end.
    pub fn finish(mut self) -> Result<CopyReport> {
        while self.step()?.is_some() {}
        Ok(self.report)
    }

    /// What damaged packs should hold, and what the doubted snapshots need and no index object
    /// names any more.
    fn heal(&mut self, doubted: Vec<(Id, Snapshot)>) -> Result<()> {
        let mut portion = self.planner.portion();
        for (kind, id) in self.landing.wounds.blobs() {
            self.planner.want(&mut portion, kind, &id);
        }
        for (_, snapshot) in &doubted {
            self.planner.walk(&mut portion, snapshot)?;
        }
        self.carry(&portion)?;
        self.commit(&[])?;
        for (id, snapshot) in doubted {
            let mut lost = self.planner.lost_by(&snapshot)?;
            lost.retain(|blob| !self.landing.index.contains(blob.kind, &blob.id));
            if !lost.is_empty() {
                self.report.left_out.push(LeftOut { snapshot: id, why: None, lost });
            }
        }
        let Landing { index, wounds, .. } = &self.landing;
        self.report.damaged = wounds.outcome(|kind, id| index.contains(kind, id));
        Ok(())
    }

    fn portion(&mut self) -> Result<Portion> {
        let mut portion = self.planner.portion();
        while portion.bytes < self.options.portion_bytes
            && let Some((id, snapshot)) = self.pending.pop_front()
        {
            self.planner.add(&mut portion, id, snapshot)?;
        }
        Ok(portion)
    }

    /// Brings what a portion needs into the destination, where index objects come to name it as it
    /// arrives.
    fn carry(&mut self, portion: &Portion) -> Result<()> {
        if !self.adopted.is_empty() {
            self.still_ours()?;
            for pack in std::mem::take(&mut self.adopted) {
                self.landing.register.add(pack)?;
            }
        }
        let monitor = &self.destination.environment().monitor;
        monitor.total(Stage::Copy, portion.bytes, portion.blobs);
        let (source, destination) = (&self.source, &self.destination);
        let index = &self.planner.state.index;
        let shipped = ship(source, destination, index, portion, &self.options, &self.landing);
        let Shipped { lost, counts } = shipped?;
        for ((kind, id), why) in lost {
            self.planner.lose(kind, id, why);
        }
        let total = &mut self.report.counts;
        total.blobs += counts.blobs;
        total.bytes += counts.bytes;
        total.packs += counts.packs;
        total.packs_whole += counts.packs_whole;
        total.bytes_stored += counts.bytes_stored;
        Ok(())
    }

    /// The snapshots that are whole; the others are named.
    fn judge(&mut self, snapshots: Vec<(Id, Snapshot)>) -> Result<Vec<Id>> {
        let mut whole = Vec::new();
        for (id, snapshot) in snapshots {
            let lost = self.planner.lost_by(&snapshot)?;
            if lost.is_empty() {
                whole.push(id);
            } else {
                self.report.left_out.push(LeftOut { snapshot: id, why: None, lost });
            }
        }
        Ok(whole)
    }

    fn commit(&mut self, snapshots: &[Id]) -> Result<Vec<CopiedSnapshot>> {
        self.still_ours()?;
        self.landing.register.finish()?;
        self.still_ours()?;
        let mut copied = Vec::new();
        for id in snapshots {
            let document = select::document(&self.source, id)?;
            let copy = self.destination.save_document(Folder::Snapshots, &document)?;
            copied.push(CopiedSnapshot { source: *id, copy });
        }
        self.report.copied.extend(&copied);
        Ok(copied)
    }

    /// Nobody took our locks away, and nobody asked to stop.
    fn still_ours(&self) -> Result<()> {
        self.destination.stop_if_cancelled()?;
        self.locks.iter().try_for_each(|lock| lock.confirm())
    }
}

/// See [`Vault::plan_copy`].
pub(super) fn look(
    source: &Vault,
    destination: Option<&Vault>,
    options: &CopyOptions,
) -> Result<CopyPlan> {
    let _lock = source.lock_for_reading()?;
    let Selection { wanted, present, doubted, left_out } = select(source, destination, options)?;
    let (mut index, mut wounds) = (None, Wounds::default());
    if let Some(destination) = destination {
        let footing = destination.index_for_plan()?;
        wounds = Wounds::seen(&footing);
        index = Some(footing.index);
    }
    let mut planner = Planner::new(source, index.clone())?;
    let mut portion = planner.portion();
    for (kind, id) in wounds.blobs() {
        planner.want(&mut portion, kind, &id);
    }
    for one in &doubted {
        planner.walk(&mut portion, &one.snapshot)?;
    }
    for (id, snapshot) in wanted {
        planner.add(&mut portion, id, snapshot)?;
    }
    let (blobs, bytes) = (portion.blobs, portion.bytes);
    let held = |kind, id: &Id| {
        let there = index.as_ref().is_some_and(|index| index.contains(kind, id));
        there || planner.state.index.position(kind, id).is_some()
    };
    let damaged = wounds.outcome(held);
    let read_again = doubted.iter().map(|one| one.source).collect();
    let mut plan =
        CopyPlan { present, read_again, damaged, left_out, blobs, bytes, ..CopyPlan::default() };
    for (id, snapshot) in &portion.snapshots {
        let lost = planner.lost_by(snapshot)?;
        if lost.is_empty() {
            plan.snapshots.push(*id);
        } else {
            plan.left_out.push(LeftOut { snapshot: *id, why: None, lost });
        }
    }
    Ok(plan)
}
