//! What a recovery kit takes along: whatever reading the plan's keys and the credentials of its tiers
//! comes to, of each tier the one that can only read where the plan names one.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use lifeboat_model::plan::Tier;
use lifeboat_model::span::At;
use lifeboat_recovery::env::Secret;
use lifeboat_recovery::flows::TierAccess;
use lifeboat_recovery::report::KitAccess;

use super::secrets::Secrets;
use super::tiers;
use crate::fault::Outcome;
use crate::hands::Hands;
use crate::plan_file::PlanFile;

/// The secrets by their sources, and what they open.
///
/// # Errors
/// There is no vault key.
pub fn contents(
    hands: &Hands<'_>,
    file: &PlanFile,
) -> Outcome<(BTreeMap<String, Secret>, Vec<TierAccess>)> {
    let (secrets, noted) = Secrets::of(file, hands).noting();
    secrets.read("the vault key", &file.plan.key.vault())?;
    if let Some(source) = file.plan.key.identity() {
        // Where it is not at hand, the kit says so.
        let _ = secrets.read("the identity", &source);
    }
    let carried = file.plan.tier.iter().filter(|(_, tier)| tier.not_carried_out().is_none());
    let tiers = carried.map(|(name, tier)| access(name, tier, &secrets)).collect();
    let noted = std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((noted, tiers))
}

fn access(name: &str, described: &At<Tier>, secrets: &Secrets) -> TierAccess {
    let reading = described.for_reading();
    let only_reads = reading.is_some();
    let used = reading.map_or_else(|| described.clone(), |tier| At::new(tier, described.span()));
    let name = name.to_owned();
    match tiers::tier(&name, &used, secrets) {
        Ok(tier) => match tier.place.folder() {
            Some(folder) => {
                let place = folder.display().to_string();
                TierAccess { name, place, access: KitAccess::Folder }
            }
            None if only_reads => TierAccess { name, place: tier.url, access: KitAccess::Read },
            None => TierAccess { name, place: tier.url, access: KitAccess::Write },
        },
        Err(_) => {
            let place = described.url.as_ref().map(|url| url.to_string()).unwrap_or_default();
            TierAccess { name, place, access: KitAccess::Missing }
        }
    }
}
