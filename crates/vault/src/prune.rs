//! Pruning in two phases: mark, wait, delete.
//!
//! *Phase 1* walks every tree of every snapshot. Packs that nothing needs, and packs of which too
//! much is waste, are taken out of the index, the needed rest of the latter stored again before; then
//! they are *marked*. *Phase 2*, in a later run, deletes packs whose mark is older than the grace by
//! the store's own times, and that still no index object names and no snapshot needs. What somebody
//! needs again meanwhile goes back into the index instead.
//!
//! A mark is an index object that lists the packs under `packs_to_delete`: restic passes over the
//! field, rustic and we keep off such packs. As they are in no index while they wait, nobody begins
//! to rely on them; the grace is for those who began before, and for a place that lied in a listing.
//!
//! Snapshots that are to go with it go only after all of that was looked at as it will be without
//! them: what is missing or unreadable is found while nothing has changed.
//!
//! Order, so that a crash anywhere leaves a vault that is whole: snapshots away; packs that are
//! needed again into the index; overdue packs away, then their marks; new packs; new index objects;
//! new marks; at last the old index objects away.

mod apply;
mod decide;
mod repack;
mod used;
mod view;

use std::time::Duration;

use jiff::Timestamp;

pub(crate) use self::apply::BLOBS_AN_INDEX;
use self::decide::Decision;
pub(crate) use self::repack::Writer;
use self::view::{Changes, View};
use crate::error::Result;
use crate::id::Id;
use crate::maintenance::Maintenance;
use crate::monitor::Stage;
use crate::vault::Vault;

/// How much waste may stay in packs of which something is needed; more is repacked. restic's
/// `--max-unused`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Per cent of what the vault then holds; below 100.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Repack nothing.
    Unlimited,
}

impl Default for MaxUnused {
    /// Five per cent, as restic has it.
    fn default() -> Self {
        MaxUnused::Percent(5.0)
    }
}

impl MaxUnused {
    /// Bytes of waste that may stay beside `used` bytes.
    fn bytes(self, used: u64) -> u64 {
        match self {
            MaxUnused::Percent(percent) => {
                let percent = percent.clamp(0.0, 99.999);
                (percent / (100.0 - percent) * used as f64) as u64
            }
            MaxUnused::Bytes(bytes) => bytes,
            MaxUnused::Unlimited => u64::MAX,
        }
    }
}

/// What to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Waste that may stay. Tree packs are always repacked: they are small and read by everybody.
    pub max_unused: MaxUnused,
    /// How long a marked pack waits. Zero deletes in the same run, which nobody survives who uses
    /// the vault without honouring its locks.
    pub grace: Duration,
    /// Snapshots that somebody says must exist; if one is not listed nothing is removed.
    pub expected: Vec<Id>,
    /// Snapshots that go with it: regarded as forgotten while it is decided, and removed first when
    /// that is carried out.
    pub without: Vec<Id>,
    /// Size of new packs, in bytes.
    pub pack_bytes: usize,
}

/// Size of new packs if nothing is said, in bytes.
pub(crate) const PACK_BYTES: usize = 16 << 20;

/// The grace if nothing is said.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

impl Default for PruneOptions {
    fn default() -> Self {
        PruneOptions {
            max_unused: MaxUnused::default(),
            grace: GRACE,
            expected: Vec::new(),
            without: Vec::new(),
            pack_bytes: PACK_BYTES,
        }
    }
}

/// A number of packs and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packs.
    pub packs: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.packs += 1;
        self.bytes += bytes;
    }
}

/// What a pruning did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Snapshots whose trees were walked.
    pub snapshots: u64,
    /// Distinct trees and data blobs that they need.
    pub blobs_used: u64,
    /// Stored bytes of those.
    pub bytes_used: u64,
    /// Packs that stay as they are.
    pub kept: Amount,
    /// Waste that stays in them, in bytes.
    pub bytes_unused: u64,
    /// Packs whose needed part was stored again.
    pub repacked: Amount,
    /// Packs written for that; zero in a dry run, where nothing is known of them.
    pub written: Amount,
    /// Packs newly marked, the repacked ones among them.
    pub marked: Amount,
    /// Packs marked by an earlier run that still wait.
    pub waiting: Amount,
    /// Packs deleted.
    pub deleted: Amount,
    /// Packs that were out of the index and are needed: put back into it.
    pub recovered: Amount,
    /// Index objects written (marks not counted), and removed (marks counted).
    pub index_written: u64,
    /// See above.
    pub index_removed: u64,
    /// When the first of the waiting packs may go: run again then.
    pub next_due: Option<Timestamp>,
}

impl PruneReport {
    /// True if there was nothing to do.
    pub fn idle(&self) -> bool {
        self.marked.packs + self.deleted.packs + self.recovered.packs + self.index_removed == 0
    }
}

impl Vault {
    /// What a pruning would do now; changes nothing, under a shared lock.
    pub fn plan_prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        let lock = self.lock_for_reading()?;
        let now = self.store_time(&lock)?;
        let view = View::read(self, options, now)?;
        let decision = Decision::make(self, &view, options, now)?;
        lock.verify()?;
        Ok(decision.report)
    }
}

/// A pruning that is decided and not begun: everything was looked at, and nothing has changed.
pub struct PlannedPrune {
    view: View,
    decision: Decision,
    options: PruneOptions,
}

impl PlannedPrune {
    /// What it would do.
    pub fn report(&self) -> &PruneReport {
        &self.decision.report
    }
}

impl std::fmt::Debug for PlannedPrune {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedPrune").field("report", self.report()).finish_non_exhaustive()
    }
}

impl Maintenance {
    /// Looks at everything and decides; changes nothing. What makes the view partial, or a clock
    /// implausible, is an error here, and so is a snapshot to be removed that is not there.
    pub fn plan_prune(&self, options: &PruneOptions) -> Result<PlannedPrune> {
        let options = options.clone();
        let view = View::read(&self.vault, &options, self.now)?;
        view.knows(&options.without)?;
        let decision = Decision::make(&self.vault, &view, &options, self.now)?;
        Ok(PlannedPrune { view, decision, options })
    }

    /// The lock is still ours, nobody else has one, and the lists are what they were when that was
    /// decided: else an error. For the last moment before it is said that snapshots go.
    pub fn still_stands(&self, plan: &PlannedPrune) -> Result<()> {
        self.lock.confirm()?;
        plan.view.still_holds(&self.vault, &Changes::default())
    }

    /// Prunes: plans and carries that out. An error leaves a vault that is whole; the next run goes
    /// on.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        self.carry_out(self.plan_prune(options)?)
    }

    /// Does what was decided. An error leaves a vault that is whole, but something may have gone;
    /// the next run goes on.
    pub fn carry_out(&self, plan: PlannedPrune) -> Result<PruneReport> {
        let PlannedPrune { view, decision, options } = plan;
        let report = apply::apply(self, &view, decision, &options);
        // Whatever happened, what was loaded before is not the index any more.
        self.vault.forget_index();
        self.vault.environment().monitor.advance(Stage::Prune, 0, 0);
        report
    }
}
