//! The way to the place at which production's tables were fingerprinted.

use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_model::plan::Kind;
use lifeboat_model::position::Position;

use super::{open_journal, says_something};
use crate::env::World;
use crate::error::Result;
use crate::ports::RecoverTo;
use crate::recover::Way;
use crate::report::Failure;
use crate::tier::OpenTier;

/// The base's way to that place, or the base alone and why; nothing to say where none were taken.
pub(in crate::flows) fn to_fingerprints(
    world: &World,
    tier: &OpenTier,
    manifest: &Manifest,
) -> Result<(Way, Option<String>)> {
    let alone = |why: Option<String>| Ok((Way::base(), why));
    let not = |why: String| {
        alone(Some(format!("its tables were not compared with their fingerprints: {why}")))
    };
    let (Some(place), Some(base)) = (place(manifest), &manifest.position) else {
        return match asked_for(world, manifest) {
            true => not("none were taken; a backup says why".to_owned()),
            false => alone(None),
        };
    };
    let component = &manifest.component;
    let mut notes = Vec::new();
    let journal = match open_journal(world, tier, component, &mut notes) {
        Ok(Some(journal)) => journal,
        Ok(None) => return not(format!("there is no journal of it in tier {}", world.tier.name)),
        Err(error) if crate::error::ends_run(&error) => return Err(error),
        Err(error) => return not(Failure::of(&error).line()),
    };
    let to = RecoverTo::Position(place);
    match journal.way_since(base, manifest.finished, &to) {
        Ok(way) => Ok((Way { to, log: Some(std::sync::Arc::new(way)), ..Way::base() }, None)),
        Err(error) if says_something(&error) => {
            not(Failure::of(&crate::error::Error::from(error)).line())
        }
        Err(error) => Err(error.into()),
    }
}

/// The plan wants them of such a capture.
fn asked_for(world: &World, manifest: &Manifest) -> bool {
    let component = world.plan.component.get(&manifest.component);
    let physical = matches!(&manifest.content, Content::Postgres(c) if c.mode != "logical");
    let wanted = component.is_some_and(
        |one| matches!(&one.kind, Kind::Postgres(server) if server.fingerprint.is_some()),
    );
    physical && wanted
}

/// Where they were taken.
fn place(manifest: &Manifest) -> Option<Position> {
    let Content::Postgres(content) = &manifest.content else { return None };
    let (high, low) = content.fingerprint_lsn.as_ref()?.split_once('/')?;
    let part = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Position::new(content.timeline, part(high)? << 32 | part(low)?))
}
