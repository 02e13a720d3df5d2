//! How far each tier has the journal: kept while a stream runs, and written down for `status`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::journal::PackName;
use lifeboat_model::position::Position;
use serde::{Deserialize, Serialize};

use super::Result;
use super::local::local_folder;
use crate::state::{FileLock, State, read_optional};

/// Bytes of objects that are held in memory until every tier has them.
const IN_MEMORY: usize = 32 << 20;

/// How one tier stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The tier.
    pub tier: String,
    /// It does not lie on this machine.
    pub elsewhere: bool,
    /// The lineage that it has.
    pub lineage: Option<String>,
    /// Up to where it has all.
    pub position: Option<Position>,
    /// The instant up to which what it has proves a copy complete, if known.
    pub proven: Option<Timestamp>,
    /// Objects that it lacks; nothing if that is not known.
    pub lacks: Option<usize>,
    /// Why it does not take objects now.
    pub problem: Option<String>,
}

/// What the stream of a component wrote down last of its tiers, and whether it runs on this host.
///
/// # Errors
/// If the local state cannot be read.
pub fn standing(state: &State, component: &str) -> Result<(Vec<Standing>, bool)> {
    let folder = local_folder(state, component);
    let body = read_optional(&folder.join("standing.json"))?;
    let standing = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    let lock = folder.join("lock");
    let runs = lock.exists() && FileLock::try_folder(&lock)?.is_none();
    Ok((standing, runs))
}

/// The end of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached {
    pub lineage: String,
    pub position: Position,
    /// The instant that it proves, or that one before it proved.
    pub proven: Option<Timestamp>,
}

/// An object that a tier does not have yet, or has out of order.
#[derive(Debug, Clone)]
pub(super) struct Lag {
    pub order: u64,
    pub key: String,
    /// A pack: its lineage and its name.
    pub pack: Option<(String, PackName)>,
    /// What the tier has once it has this one.
    pub reached: Option<Reached>,
    pub bytes: Option<Bytes>,
    /// The tier that has it.
    pub from: usize,
    /// It is there, one before it is not.
    pub there: bool,
}

/// What is known of what a tier lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Known {
    #[default]
    Nothing,
    /// It is being listed. What is stored meanwhile goes behind what the listing will show, and says
    /// nothing of what was before.
    Looking,
    All,
}

/// One tier.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub known: Known,
    /// The lineages of which it was compared with the others.
    pub compared: Vec<String>,
    pub lag: VecDeque<Lag>,
    pub reached: Option<Reached>,
    pub problem: Option<String>,
    /// What was not copied to it because it is not what its name says. The tier may lack that.
    pub refused: Option<String>,
    /// Not asked again before this, monotonic.
    pub rest_until: Duration,
}

/// All tiers.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub tiers: Vec<Progress>,
    pub order: u64,
    /// The newest object that some tier has: its number and its end.
    pub end: Option<(u32, Reached)>,
    in_memory: usize,
}

impl Shared {
    /// An object is in tier `at` now, and in no other.
    pub fn stored(
        &mut self,
        at: usize,
        (key, pack): (&str, Option<&(String, PackName)>),
        reached: Option<&Reached>,
        bytes: &Bytes,
    ) {
        self.order += 1;
        for index in 0..self.tiers.len() {
            let there = index == at;
            let tier = &mut self.tiers[index];
            if there && tier.lag.is_empty() && tier.known == Known::All {
                tier.reached = reached.cloned().or(tier.reached.take());
                continue;
            }
            // What it lacks will be listed.
            if tier.known == Known::Nothing {
                continue;
            }
            let keep = !there && self.in_memory + bytes.len() <= IN_MEMORY;
            if keep {
                self.in_memory += bytes.len();
            }
            tier.lag.push_back(Lag {
                order: self.order,
                key: key.to_owned(),
                pack: pack.cloned(),
                reached: reached.cloned(),
                bytes: keep.then(|| bytes.clone()),
                from: at,
                there,
            });
        }
    }

    /// A tier got the first object that it lacked, if that is still `order`.
    pub fn caught_up(&mut self, tier: usize, order: u64) {
        let tier = &mut self.tiers[tier];
        if tier.lag.front().is_none_or(|lag| lag.order != order) {
            return;
        }
        let Some(lag) = tier.lag.pop_front() else { return };
        self.in_memory -= lag.bytes.map_or(0, |bytes| bytes.len());
        if lag.reached.is_some() {
            tier.reached = lag.reached;
        }
    }

    /// What a tier has of what it was said to lack, as far as nothing before it is missing.
    pub fn pass_what_is_there(&mut self, tier: usize) {
        while let Some(lag) = self.tiers[tier].lag.front().filter(|lag| lag.there) {
            let order = lag.order;
            self.caught_up(tier, order);
        }
    }

    /// What a tier lacks is to be listed anew.
    pub fn forget(&mut self, tier: usize) {
        let tier = &mut self.tiers[tier];
        tier.known = Known::Nothing;
        for lag in tier.lag.drain(..) {
            self.in_memory -= lag.bytes.map_or(0, |bytes| bytes.len());
        }
    }
}
