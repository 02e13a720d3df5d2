//! The tiers that a stream writes to.

use std::sync::Arc;

use super::late::LateStore;
use crate::env::{Tier, World};
use crate::error::{Error, Result};
use crate::journal::JournalTier;
use crate::report::{Failure, TierRef};
use crate::seal::Sealer;
use crate::tier::{Access, OpenTier};

fn all(world: &World) -> Vec<Tier> {
    let mut tiers = vec![world.tier.clone()];
    tiers.extend(world.elsewhere().cloned());
    tiers
}

/// The tiers, for reports.
pub(super) fn refs(world: &World) -> Vec<TierRef> {
    all(world).into_iter().map(|tier| TierRef { name: tier.name, url: tier.url }).collect()
}

/// The world of the first tier that answers: the log must not wait for one that does not, while
/// another one is there. One that has no vault yet is made only where it is the plan's first.
pub(in crate::flows) fn first_that_answers(world: &World) -> Result<World> {
    let first = match world.open_tier_to_look() {
        Ok(_) => return Ok(world.clone()),
        Err(error) => error,
    };
    if !away(&first) {
        return Err(first);
    }
    for tier in world.elsewhere() {
        let there = world.with_tier(tier);
        if matches!(there.open_tier_to_look(), Ok(Some(_))) {
            let (name, why) = (&world.tier.name, Failure::of(&first).line());
            world.monitor.note(&format!("tier {name} does not answer: {why}"));
            return Ok(there);
        }
    }
    Err(first)
}

/// True where a tier cannot be reached now.
fn away(error: &Error) -> bool {
    error.exit() == lifeboat_model::exit::Exit::Unreachable
}

/// Opens them all. One that does not answer is said and asked again ([`LateStore`]); one that cannot be
/// had for another reason is said and left out, but for the first.
pub(super) fn open(
    world: &World,
    first: &OpenTier,
    sealer: &Arc<Sealer>,
    warnings: &mut Vec<String>,
) -> Result<Vec<JournalTier>> {
    let mut tiers = vec![JournalTier::of(&world.tier, first.store.clone(), &world.state)];
    for tier in world.elsewhere() {
        match one(&world.with_tier(tier), first, sealer) {
            Ok(there) => tiers.push(JournalTier::of(tier, there.store, &world.state)),
            Err(error) if away(&error) => {
                let (name, why) = (&tier.name, Failure::of(&error).line());
                let line = format!("tier {name} does not answer, and is asked again: {why}");
                world.monitor.note(&line);
                warnings.push(line);
                let late = LateStore::new(world.with_tier(tier), first, sealer, why);
                let late = JournalTier::of(tier, Arc::new(late), &world.state);
                tiers.push(JournalTier { late: true, ..late });
            }
            Err(error) => {
                let (name, why) = (&tier.name, Failure::of(&error).line());
                let line = format!(
                    "the stream does not go to tier {name}: {why}; it is asked again when the \
                     stream starts anew"
                );
                world.monitor.note(&line);
                warnings.push(line);
            }
        }
    }
    Ok(tiers)
}

/// True if these are all that the plan names, and none was away.
pub(super) fn all_answer(world: &World, opened: &[JournalTier]) -> bool {
    opened.iter().filter(|tier| !tier.late).count() == world.elsewhere().count() + 1
}

/// Opens a tier beside the first one, or makes it; of the same identity.
pub(in crate::flows) fn one(
    there: &World,
    first: &OpenTier,
    sealer: &Arc<Sealer>,
) -> Result<OpenTier> {
    there.refuse_on_hold()?;
    let tier = match there.open_tier(Access::Make)? {
        Some(tier) => tier,
        // So that this tier alone is enough: it gets a vault of the same keys.
        None => there.make_or_join_tier(Access::Make, Some(first))?,
    };
    match &tier.sealer {
        Ok(own) if own.recipient() == sealer.recipient() => Ok(tier),
        Ok(_) => Err(Error::refused(
            "its identity is another one than the first tier's",
            "`lifeboat copy` gives a new tier the same identity",
        )),
        Err(why) => Err(Error::refused(why.line(), why.hint.clone().unwrap_or_default())),
    }
}
