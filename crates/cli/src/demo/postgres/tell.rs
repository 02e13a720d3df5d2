//! What the demonstration with PostgreSQL found, judged and told.

use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::report::{RestoreReport, StreamReport};
use serde::Serialize;

use super::sales::Count;
use super::{Base, Scenes};
use crate::screen::Screen;
use crate::text;

/// Nothing older than this may be lost, seconds.
const PROMISE: f64 = 1.0;

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Story {
    /// Whether everything held.
    pub verdict: Verdict,
    /// The base.
    pub base: Base,
    /// Pieces of the log that were stored.
    pub ranges: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// True if pgbench ran beside the clients.
    pub pgbench: bool,
    /// Sales, held against what clients had been told.
    pub sales: Count,
    /// How the restore was judged.
    pub restore: Verdict,
    /// How long it took, seconds.
    pub restore_seconds: f64,
    /// From the kill to the first answer of the restored server, seconds.
    pub back_seconds: f64,
    /// The objectives of the plan, seconds.
    pub rto_objective_seconds: Option<f64>,
    /// The same for what may be lost.
    pub rpo_objective_seconds: Option<f64>,
    /// Where everything was left, if it was.
    pub kept: Option<String>,
}

impl Story {
    /// Puts together and judges.
    pub fn new(
        base: Base,
        streamed: &StreamReport,
        restored: &RestoreReport,
        sales: Count,
        back_seconds: f64,
        pgbench: bool,
        scenes: &Scenes<'_>,
    ) -> Story {
        let plan = &scenes.wired.file.plan;
        let rto = plan.header.rto.as_ref().map(|span| span.seconds());
        let rpo = plan.header.rpo.as_ref().map(|span| span.seconds());
        let held = restored.verdict == Verdict::Pass
            && sales.there > 0
            && (sales.torn, sales.invented) == (0, 0)
            && sales.loss_seconds <= PROMISE
            && rto.is_none_or(|limit| back_seconds <= limit);
        Story {
            verdict: if held { Verdict::Pass } else { Verdict::Fail },
            base,
            ranges: streamed.components.iter().map(|component| component.ranges).sum(),
            log_bytes: streamed.components.iter().map(|component| component.bytes).sum(),
            pgbench,
            sales,
            restore: restored.verdict,
            restore_seconds: restored.components.iter().map(|c| c.seconds).sum(),
            back_seconds,
            rto_objective_seconds: rto,
            rpo_objective_seconds: rpo,
            kept: scenes.ground.keep.then(|| scenes.ground.folder().display().to_string()),
        }
    }

    /// As people read it.
    pub fn text(&self, screen: &Screen) -> String {
        let load = if self.pgbench { "under pgbench and clients" } else { "under clients" };
        let of = |limit: Option<f64>| {
            limit.map(|limit| format!(" (objective {})", text::seconds(limit))).unwrap_or_default()
        };
        let lost = match self.sales.lost {
            0 => "nothing that a client had been told of".to_owned(),
            lost => format!(
                "{} of the last {}",
                text::plural(lost, "sale", "sales"),
                text::seconds(self.sales.loss_seconds)
            ),
        };
        let mut lines = vec![
            screen.bold("PostgreSQL, killed and wiped"),
            format!(
                "  protected  a base of {} in {}, and its log in {} ({}) {load}",
                text::size(self.base.bytes),
                text::seconds(self.base.seconds),
                text::plural(self.ranges, "piece", "pieces"),
                text::size(self.log_bytes)
            ),
            format!(
                "  disaster   SIGKILL, data directory deleted; clients had been told of {} sales",
                text::count(self.sales.acknowledged)
            ),
            format!(
                "  restored   in {}; the server answered {} after the kill{}",
                text::seconds(self.restore_seconds),
                text::seconds(self.back_seconds),
                of(self.rto_objective_seconds)
            ),
            format!(
                "  found      {} sales, {} torn, {} that nobody asked for",
                text::count(self.sales.there),
                self.sales.torn,
                self.sales.invented
            ),
            format!("  lost       {lost}{}", of(self.rpo_objective_seconds)),
            format!(
                "{}  the last second is the most that may be lost",
                screen.verdict(self.verdict)
            ),
        ];
        lines.extend(self.kept.iter().map(|folder| format!("kept in {folder}")));
        lines.join("\n") + "\n"
    }
}
