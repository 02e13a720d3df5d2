//! Files of a PostgreSQL log by the server's own hands: what `archive_command` hands over, and what
//! `restore_command` asks for.

mod ahead;
mod fetch;
mod push;

use std::collections::BTreeSet;

use lifeboat_model::journal::native;
use lifeboat_model::manifest::Content;
use lifeboat_model::plan::Kind;
use lifeboat_vault::Id;

pub use fetch::{Fetched, wal_fetch};
pub use push::{WalPushed, wal_push};

use super::point;
use crate::env::World;
use crate::error::{Error, Result};
use crate::journal;
use crate::prove::read_manifest;
use crate::tier::OpenTier;

/// The PostgreSQL components, or the one that is named.
fn postgres(world: &World, named: Option<&str>) -> Result<Vec<String>> {
    let is_one = |name: &String| {
        let component = world.plan.component.get(name);
        component.is_some_and(|component| matches!(component.kind, Kind::Postgres(_)))
    };
    let asked: Vec<String> = named.map(str::to_owned).into_iter().collect();
    let mut names = point::components(world, &asked)?;
    names.retain(is_one);
    if names.is_empty() {
        return Err(Error::Usage {
            what: match named {
                Some(name) => format!("component {name} is no PostgreSQL server"),
                None => "the plan has no PostgreSQL component".to_owned(),
            },
            hint: "add one to the plan: `postgres = { dsn_env = \"…\" }`".to_owned(),
        });
    }
    Ok(names)
}

/// The logs that a component is known by in a tier: those of its journal and of its newest snapshot.
fn logs_of(tier: &OpenTier, component: &str) -> Result<BTreeSet<String>> {
    let listing = journal::list(&*tier.store, component)?;
    let chains = listing.lineages.keys().map(|lineage| native(lineage).to_owned());
    let mut logs: BTreeSet<String> = chains.chain(listing.handed.into_keys()).collect();
    let tag = format!("component={component}");
    let snapshots = tier.vault.snapshots()?;
    let own = snapshots.iter().rev().filter(|(_, snapshot)| snapshot.tags.contains(&tag));
    for (id, snapshot) in own {
        let id: &Id = id;
        match read_manifest(&tier.vault, id, snapshot) {
            Ok(manifest) => {
                if let Content::Postgres(content) = manifest.content
                    && let Ok(number) = content.system_identifier.parse::<u64>()
                {
                    logs.insert(format!("{number:016x}"));
                }
                break;
            }
            // It says nothing: an older one may.
            Err(Error::Manifest { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(logs)
}
