//! Mending the vault's index from its packs.

use lifeboat_vault::{Id, RepairOptions};
use serde_json::json;

use crate::env::World;
use crate::error::Result;
use crate::ledger::Detail;
use crate::report::{RepairReport, Salvaged};
use crate::session::{Ended, Opening, Session, Start, within};
use crate::tier::{Access, OpenTier};

/// Mends the index.
pub fn repair_index(world: &World, options: &RepairOptions) -> Result<RepairReport> {
    let opening = Opening {
        action: "repair",
        object: "index",
        detail: Detail::new(),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, options);
    within(world, &opening, body, |report: &mut RepairReport, warnings| {
        report.warnings.extend(warnings);
    })
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    options: &RepairOptions,
) -> Result<Ended<RepairReport>> {
    session.world.refuse_held(tier)?;
    let hands = tier.vault.maintain(session.world.tier.place.deleter()?)?;
    let done = hands.repair_index(options)?;
    drop(hands);
    let report = told(session.world, session.start, &done, false);
    let detail = Detail::from([
        ("added".to_owned(), json!(done.added.len() + done.unmarked.len())),
        ("missing".to_owned(), json!(done.missing.len())),
        ("salvaged".to_owned(), json!(done.salvaged.len())),
        ("lost".to_owned(), json!(done.salvaged.iter().map(|pack| pack.lost).sum::<u64>())),
        ("kept".to_owned(), json!(done.kept.len())),
        ("unreadable".to_owned(), json!(done.unreadable.len())),
    ]);
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

/// What a repair would do; changes nothing.
pub fn plan_repair(world: &World, options: &RepairOptions) -> Result<RepairReport> {
    let start = world.start();
    let tier = world.read_tier()?;
    world.refuse_held(&tier)?;
    let planned = tier.vault.plan_repair(options)?;
    Ok(told(world, start, &planned, true))
}

fn told(
    world: &World,
    start: Start,
    done: &lifeboat_vault::RepairReport,
    dry_run: bool,
) -> RepairReport {
    let names = |ids: &[Id]| ids.iter().map(Id::to_string).collect();
    let whys = |list: &[(Id, String)]| {
        list.iter().map(|(id, why)| (id.to_string(), why.clone())).collect()
    };
    let salvaged = |pack: &lifeboat_vault::Salvaged| Salvaged {
        pack: pack.pack.to_string(),
        why: pack.why.clone(),
        saved: pack.saved,
        lost: pack.lost,
    };
    let schema = if dry_run { "lifeboat/repair-recipe" } else { "lifeboat/repair" };
    RepairReport {
        head: world.head(schema, start),
        tier: world.tier_ref(),
        dry_run,
        packs: done.packs,
        added: names(&done.added),
        unmarked: names(&done.unmarked),
        missing: names(&done.missing),
        corrected: names(&done.corrected),
        salvaged: done.salvaged.iter().map(salvaged).collect(),
        kept: whys(&done.kept),
        unreadable: whys(&done.unreadable),
        damaged: whys(&done.damaged),
        warnings: Vec::new(),
    }
}
