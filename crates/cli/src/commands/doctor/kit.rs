//! The recovery kit: made, tested, and not older than what it holds.

use lifeboat_recovery::kit;

use super::Finding;
use crate::hands::Wired;

/// Findings about the recovery kit.
pub fn findings(wired: &Wired) -> Vec<Finding> {
    match kit::nags(&wired.world) {
        Ok(nags) if nags.is_empty() => {
            vec![Finding::fine("kit", "the recovery kit was tested and is new enough")]
        }
        Ok(nags) => nags
            .into_iter()
            .map(|nag| {
                Finding::warning("kit", nag.what)
                    .why("without it a burnt machine's copies may open to nobody")
                    .fix(nag.fix)
            })
            .collect(),
        Err(error) => vec![Finding::critical("kit", error.to_string())],
    }
}
