//! The ledgers of several tiers, held against each other and against what the kit saw.
//!
//! A chain that is the beginning of another one lags. One that lacks an entry which its own tier had
//! when the kit was made, or has another one in its place, was set back or rewritten.

use std::collections::BTreeSet;

use super::view::{Chain, View};
use crate::kit::Kit;
use crate::report::{BootstrapFinding, Trouble};

/// What each tier lacks of what it had.
pub(super) fn with_the_kit(views: &[&View], kit: &Kit) -> Vec<BootstrapFinding> {
    let mut findings = Vec::new();
    for view in views {
        let Some(known) = kit.tiers.iter().find(|tier| tier.name == view.name) else { continue };
        for (host, seen) in &known.heads {
            let chain = view.chains.iter().find(|chain| chain.host == *host);
            let what = match chain.and_then(|chain| chain.at(seen.seq)) {
                Some(hash) if hash == seen.hash => continue,
                Some(_) => format!(
                    "entry {} of the ledger of {host} is another one than when the kit was made",
                    seen.seq
                ),
                None => {
                    let end = chain.and_then(Chain::end).map_or(0, |(seq, _)| seq);
                    format!(
                        "the ledger of {host} ends at entry {end}, and had entry {} when the kit \
                         was made: the tier was set back",
                        seen.seq
                    )
                }
            };
            let tier = view.name.clone();
            findings.push(BootstrapFinding { trouble: Trouble::Untrusted, tier, what });
        }
    }
    findings
}

/// Tiers that lag behind the longest chain that is believed, or parted from it.
pub(super) fn with_each_other(views: &[&View]) -> Vec<BootstrapFinding> {
    let hosts: BTreeSet<&str> =
        views.iter().flat_map(|view| &view.chains).map(|chain| chain.host.as_str()).collect();
    let mut findings = Vec::new();
    for host in hosts {
        let of = |view: &&&View| view.chains.iter().any(|c| c.host == host && c.sound);
        let end = |view: &&View| {
            let chain = view.chains.iter().find(|chain| chain.host == host);
            chain.and_then(Chain::end).map_or(0, |(seq, _)| seq)
        };
        let Some(longest) = views.iter().filter(of).max_by_key(|view| end(view)) else { continue };
        let Some(model) = longest.chains.iter().find(|chain| chain.host == host) else { continue };
        for view in views.iter().filter(|view| view.name != longest.name) {
            let chain = view.chains.iter().find(|chain| chain.host == host);
            let last = chain.and_then(Chain::end);
            let (trouble, what) = match last {
                Some((seq, hash)) if model.at(seq) == Some(hash) => match end(longest) - seq {
                    0 => continue,
                    behind => (Trouble::Behind, lags(host, behind, &longest.name)),
                },
                None => (Trouble::Behind, lags(host, end(longest), &longest.name)),
                Some((seq, _)) => (
                    Trouble::Untrusted,
                    format!(
                        "the ledger of {host} parted from the one in tier {}: entry {seq} is not \
                         the same",
                        longest.name
                    ),
                ),
            };
            findings.push(BootstrapFinding { trouble, tier: view.name.clone(), what });
        }
    }
    findings
}

fn lags(host: &str, entries: u64, ahead: &str) -> String {
    format!("the ledger of {host} lacks the last {entries} entries that tier {ahead} has")
}
