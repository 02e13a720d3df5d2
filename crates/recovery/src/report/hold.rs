//! Holds: what they are of, and what was put or taken away.

use lifeboat_model::exit::Exit;
use serde::Serialize;

use super::{Head, TierRef};
use crate::catalog::HoldRow;

/// What was done about holds, and those that stand now. Schema `lifeboat/holds`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HoldsReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The tier whose snapshots were asked for.
    pub tier: TierRef,
    /// Nothing was changed: this is what would be done.
    pub dry_run: bool,
    /// Holds that were put now.
    pub put: Vec<HoldRow>,
    /// Holds that were taken away now.
    pub released: Vec<HoldRow>,
    /// Holds that stand, oldest first.
    pub holds: Vec<HoldRow>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl HoldsReport {
    /// The exit code that the report means.
    pub fn exit(&self) -> Exit {
        match self.warnings.is_empty() || self.dry_run {
            true => Exit::Done,
            false => Exit::Problems,
        }
    }
}
