//! Which tiers have had all of a lineage (`tiers.json` in the local state): what such a one lacks
//! below its oldest object was pruned there, and is not to be copied back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::local::Local;
use super::place::Objects;
use super::{JournalError, Result};
use crate::state::{read_optional, replace};

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    format: u32,
    tiers: BTreeMap<String, BTreeSet<String>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Whole {
    path: PathBuf,
    file: File,
}

impl Whole {
    /// What is known; what cannot be read is not: then all is compared.
    pub fn load(local: &Local) -> Result<Whole> {
        let path = local.path("tiers.json");
        let body = read_optional(&path)?;
        let file = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        Ok(Whole { path, file })
    }

    /// The lowest number that a tier can lack.
    pub fn lowest(&self, tier: &str, lineage: &str, own: Option<&Objects>) -> u32 {
        if !self.file.tiers.get(tier).is_some_and(|lineages| lineages.contains(lineage)) {
            return 0;
        }
        own.map_or(u32::MAX, Objects::oldest)
    }

    /// A tier has all of these now.
    pub fn add(&mut self, tier: &str, lineages: impl Iterator<Item = String>) -> Result<()> {
        let known = self.file.tiers.entry(tier.to_owned()).or_default();
        let before = known.len();
        known.extend(lineages);
        if known.len() == before {
            return Ok(());
        }
        self.file.format = 1;
        let body = serde_json::to_vec(&self.file)
            .map_err(|source| JournalError::Encode { what: "what the tiers have", source })?;
        Ok(replace(&self.path, &body)?)
    }
}
