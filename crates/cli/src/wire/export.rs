//! A place in a bucket of one of the plan's tiers, by that tier's credential: for artefacts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::plan::Tier;
use lifeboat_model::span::At;
use lifeboat_vault::Store;

use super::secrets::Secrets;
use super::tiers;
use crate::fault::{Fault, Outcome};
use crate::hands::Hands;
use crate::plan_file::PlanFile;

/// The store at `url`, and where below the tier `name` would stand there, if it is inside.
///
/// # Errors
/// Exit 2: no tier of the plan is in that bucket.
pub fn store(
    hands: &Hands<'_>,
    file: &PlanFile,
    url: &str,
    name: &str,
) -> Outcome<(Arc<dyn Store>, Option<PathBuf>)> {
    let secrets = Secrets::of(file, hands);
    let (wanted, below) = bucket(url);
    for (tier, described) in &file.plan.tier {
        if described.not_carried_out().is_some() {
            continue;
        }
        let used = secrets.described(tier, described);
        // One whose credential is not at hand is another one's problem, unless it is this bucket's.
        let place = match (tiers::tier(tier, &used, &secrets), &used.url) {
            (Ok(built), _) => built.url,
            (Err(fault), Some(url)) if bucket(url).0 == wanted => return Err(fault),
            (Err(_), _) => continue,
        };
        let (own, prefix) = bucket(&place);
        if own != wanted {
            continue;
        }
        let there = Tier {
            url: Some(At::new(url.trim_end_matches('/').to_owned(), described.span())),
            ..Tier::clone(&used)
        };
        let built = tiers::tier(tier, &At::new(there, described.span()), &secrets)?;
        let opened = built.place.open(true).map_err(lifeboat_recovery::Error::from)?;
        let inside = Path::new(&below).join(name).strip_prefix(&prefix).map(Path::to_path_buf);
        return Ok((opened.store, inside.ok()));
    }
    Err(Fault::usage(format!("no tier of the plan is in the bucket of {url}"))
        .hint("an artefact goes into a folder, or into a bucket whose credential the plan names"))
}

/// Scheme with bucket, and the path below it.
fn bucket(url: &str) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (bucket, below) = rest.split_once('/').unwrap_or((rest, ""));
    (format!("{scheme}://{bucket}"), below.trim_matches('/').to_owned())
}
