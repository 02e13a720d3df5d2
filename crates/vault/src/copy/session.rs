//! The session: portion after portion, each packs first, then index objects, then snapshots.

use std::collections::VecDeque;
use std::sync::Arc;

use super::plan::{Planner, Portion};
use super::select::{self, Selection, select};
use super::ship::{Shipped, ship};
use super::{CopiedSnapshot, CopyOptions, CopyPlan, CopyReport, LeftOut};
use crate::backup::{may_be_written, save_index};
use crate::error::Result;
use crate::id::Id;
use crate::index::Index;
use crate::lock::LockGuard;
use crate::monitor::Stage;
use crate::snapshot::Snapshot;
use crate::vault::{Folder, NamedPack, Vault};

/// A copy that is under way. Holds a shared lock on both vaults for its life. Dropped before its
/// end it leaves what was made visible, and packs that the next copy takes up.
pub struct CopySession {
    source: Vault,
    destination: Vault,
    options: CopyOptions,
    locks: [LockGuard; 2],
    planner: Planner,
    index: Arc<Index>,
    /// Packs of broken-off copies that the index knows and no index object names yet.
    adopted: Vec<NamedPack>,
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
        let locks = [source.lock_for_reading()?, destination.lock_for_writing()?];
        may_be_written(destination)?;
        // Snapshots before the index: what a backup that runs meanwhile adds is then unknown to us
        // or whole.
        let Selection { wanted, present, left_out } = select(source, Some(destination), &options)?;
        let (index, adopted) = destination.index_for_backup()?;
        let planner = Planner::new(source, Some(Arc::clone(&index)))?;
        Ok(CopySession {
            source: source.clone(),
            destination: destination.clone(),
            options,
            locks,
            planner,
            index,
            adopted,
            pending: wanted.into(),
            report: CopyReport { present, left_out, ..CopyReport::default() },
        })
    }

    /// Copies the next portion and makes it visible; returns the snapshots that have arrived, or
    /// nothing when all is done. After an error the session is of no more use.
    pub fn step(&mut self) -> Result<Option<Vec<CopiedSnapshot>>> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        let portion = self.portion()?;
        let Shipped { stored, lost, counts } = ship(
            &self.source,
            &self.destination,
            &self.planner.state.index,
            &portion,
            &self.options,
        )?;
        for ((kind, id), why) in lost {
            self.planner.lose(kind, id, why);
        }
        let total = &mut self.report.counts;
        total.blobs += counts.blobs;
        total.bytes += counts.bytes;
        total.packs += counts.packs;
        total.packs_whole += counts.packs_whole;
        total.bytes_stored += counts.bytes_stored;
        let whole = self.judge(portion.snapshots)?;
        self.commit(&stored, &whole).map(Some)
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

    fn portion(&mut self) -> Result<Portion> {
        let mut portion = self.planner.portion();
        while portion.bytes < self.options.portion_bytes
            && let Some((id, snapshot)) = self.pending.pop_front()
        {
            self.planner.add(&mut portion, id, snapshot)?;
        }
        let monitor = &self.destination.environment().monitor;
        monitor.total(Stage::Copy, portion.bytes, portion.blobs);
        Ok(portion)
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

    fn commit(&mut self, stored: &[NamedPack], snapshots: &[Id]) -> Result<Vec<CopiedSnapshot>> {
        self.still_ours()?;
        save_index(&self.destination, &self.index, &std::mem::take(&mut self.adopted))?;
        save_index(&self.destination, &self.index, stored)?;
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
        self.locks.iter().try_for_each(LockGuard::confirm)
    }
}

/// See [`Vault::plan_copy`].
pub(super) fn look(
    source: &Vault,
    destination: Option<&Vault>,
    options: &CopyOptions,
) -> Result<CopyPlan> {
    let _lock = source.lock_for_reading()?;
    let Selection { wanted, present, left_out } = select(source, destination, options)?;
    let index = match destination {
        Some(destination) => Some(destination.index_for_backup()?.0),
        None => None,
    };
    let mut planner = Planner::new(source, index)?;
    let mut portion = planner.portion();
    for (id, snapshot) in wanted {
        planner.add(&mut portion, id, snapshot)?;
    }
    let (blobs, bytes) = (portion.blobs, portion.bytes);
    let mut plan = CopyPlan { present, left_out, blobs, bytes, ..CopyPlan::default() };
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
