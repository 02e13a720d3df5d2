//! Branches that were set aside: each is named by a signed entry with its hash, and stands in the
//! state folder as it was.

use lifeboat_model::chain::{Entry, Hash, Link};

use super::audit::HERE;
use super::branch::{lost_since, named};
use crate::env::World;
use crate::report::{AuditFinding, FindingKind};
use crate::state::read_optional;

/// What is said of each branch: where it can be looked at, whether it is the one that was named.
pub(super) fn explain(
    world: &World,
    links: &[Link],
    local: bool,
    place: &str,
) -> Vec<AuditFinding> {
    let entries: Vec<&Entry> = links
        .iter()
        .filter_map(|link| match link {
            Link::Read(entry) => Some(&**entry),
            Link::Broken(_) => None,
        })
        .collect();
    let mut findings = Vec::new();
    for branch in entries.iter().filter_map(|entry| named(entry)) {
        let (from, to) = branch.range;
        let said = format!("entries {from} to {to} of a chain that had parted were set aside");
        let body = read_optional(&world.state.path("ledger").join(branch.file));
        let (kind, what) = match body {
            _ if !local || lost_since(&entries, branch.seq) => {
                (FindingKind::Note, format!("{said} on that host as {}", branch.file))
            }
            Ok(Some(body)) if Hash::of(&body).to_string() == branch.sha256 => {
                (FindingKind::Note, format!("{said} as {}, which is unchanged", branch.file))
            }
            Ok(Some(_)) => {
                (FindingKind::Edited, format!("{said}, and {} was changed", branch.file))
            }
            Ok(None) => (FindingKind::Removed, format!("{said}, and {} is gone", branch.file)),
            Err(error) => (FindingKind::Unreadable, format!("{said}: {error}: {}", error.source)),
        };
        let place = if local { HERE } else { place };
        findings.push(AuditFinding { kind, seq: Some(branch.seq), place: place.to_owned(), what });
    }
    findings
}
