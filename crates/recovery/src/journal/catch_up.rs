//! Bringing the other tiers what one tier has: sealed objects, copied unchanged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::journal::{Name, PackName};
use lifeboat_vault::{Clock, StoreErrorKind};

use super::believed::Believed;
use super::object::chained;
use super::place::{Listing, Objects, chain_of, list, pack_key, range_key};
use super::standing::{Known, Lag, Reached, Shared, Standing};
use super::tiers::{JournalTier, Offer, offer};
use super::whole::Whole;
use super::{JournalError, Result};

/// A tier that failed is left alone for so long, where another one is there.
const REST: Duration = Duration::from_secs(5);

/// What a round of catching up did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Objects copied.
    pub copied: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that some tier still lacks, as far as known.
    pub left: usize,
    /// Why tiers could not be served: name and reason.
    pub problems: Vec<(String, String)>,
}

/// Copies; a clone may do so in a thread of its own while the stream goes on.
#[derive(Clone)]
pub struct Copier {
    pub(super) component: String,
    pub(super) tiers: Arc<Vec<JournalTier>>,
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) copying: Arc<Mutex<()>>,
    pub(super) whole: Arc<Mutex<Whole>>,
    pub(super) believed: Arc<Believed>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Copier {
    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies at most `most` objects to tiers that lack them.
    ///
    /// # Errors
    /// [`JournalError::Taken`] if a tier has another object under a name of this journal; the other
    /// tiers were served all the same. A tier that fails is a problem in the answer, no error.
    pub fn catch_up(&self, most: usize) -> Result<CaughtUp> {
        let _one = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = CaughtUp::default();
        let mut taken = None;
        for index in 0..self.tiers.len() {
            if !self.rested(index) {
                continue;
            }
            let served = match self.learn(index) {
                Ok(true) => self.serve(index, most, &mut done),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                self.rest(index, &error);
                done.problems.push((self.tiers[index].name.clone(), chained(&error)));
                if matches!(error, JournalError::Taken { .. }) {
                    taken = taken.or(Some(error));
                }
            }
        }
        done.left = self.shared().tiers.iter().map(|tier| tier.lag.len()).sum();
        taken.map_or(Ok(done), Err)
    }

    fn serve(&self, index: usize, most: usize, done: &mut CaughtUp) -> Result<()> {
        loop {
            let next = self.shared().tiers[index].lag.front().cloned();
            let Some(lag) = next else { return self.note_whole(index) };
            if !lag.there {
                if done.copied >= most {
                    return Ok(());
                }
                let Some(bytes) = self.fetch(&lag)? else {
                    // It was packed meanwhile: what is lacking is looked up anew.
                    self.shared().forget(index);
                    return self.learn(index).map(drop);
                };
                let tier = &self.tiers[index];
                if let Some((lineage, pack)) = &lag.pack
                    && let Err(error) = self.believed.prove(lineage, pack, &bytes)
                {
                    let from = &self.tiers[lag.from].name;
                    let why = format!("{} of tier {from}: {}", lag.key, chained(&error));
                    done.problems.push((tier.name.clone(), why.clone()));
                    // It must not hold up what comes after it, nor be forgotten.
                    let mut shared = self.shared();
                    shared.tiers[index].refused = Some(why);
                    shared.caught_up(index, lag.order);
                    continue;
                }
                match offer(&*tier.store, &lag.key, &bytes) {
                    Offer::There => {}
                    Offer::Failed(error) => return Err(error.into()),
                    Offer::Other => {
                        return Err(JournalError::Taken {
                            object: lag.key.clone(),
                            tier: tier.name.clone(),
                        });
                    }
                }
                if let Some((lineage, pack)) = &lag.pack {
                    self.believed.remember(&tier.name, lineage, pack)?;
                }
                done.copied += 1;
                done.bytes += bytes.len() as u64;
                self.served(index);
            }
            self.shared().caught_up(index, lag.order);
        }
    }

    /// Remembers that a tier has all that there is.
    fn note_whole(&self, index: usize) -> Result<()> {
        if self.shared().tiers[index].refused.is_some() {
            return Ok(());
        }
        let mut lineages = self.shared().tiers[index].compared.clone();
        lineages.extend(self.shared().end.as_ref().map(|(_, end)| end.lineage.clone()));
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        whole.add(&self.tiers[index].name, lineages.into_iter())
    }

    fn fetch(&self, lag: &Lag) -> Result<Option<Bytes>> {
        if let Some(bytes) = &lag.bytes {
            return Ok(Some(bytes.clone()));
        }
        match self.tiers[lag.from].store.get(&lag.key) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists what a tier lacks of what the others have, if that is not known. False if another
    /// thread is at it.
    pub(super) fn learn(&self, index: usize) -> Result<bool> {
        {
            let mut shared = self.shared();
            match shared.tiers[index].known {
                Known::All => return Ok(true),
                Known::Looking => return Ok(false),
                Known::Nothing => {}
            }
            shared.forget(index);
            shared.tiers[index].known = Known::Looking;
            shared.tiers[index].refused = None;
        }
        let looked = self.look(index);
        let mut shared = self.shared();
        match looked {
            Ok((missing, reached)) => {
                let tier = &mut shared.tiers[index];
                tier.reached = match missing.is_empty() {
                    true => reached.or(tier.reached.take()),
                    false => reached,
                };
                for lag in missing.into_iter().rev() {
                    tier.lag.push_front(lag);
                }
                tier.known = Known::All;
                shared.pass_what_is_there(index);
                Ok(true)
            }
            Err(error) => {
                shared.forget(index);
                Err(error)
            }
        }
    }

    fn look(&self, index: usize) -> Result<(Vec<Lag>, Option<Reached>)> {
        let own = list(&*self.tiers[index].store, &self.component)?;
        for (lineage, objects) in &own.lineages {
            self.believed.forget_others(&self.tiers[index].name, lineage, objects)?;
        }
        let end = self.shared().end.clone();
        let mut missing = Vec::new();
        let mut whole = false;
        let mut compared: Vec<String> = own.lineages.keys().cloned().collect();
        for (from, tier) in self.tiers.iter().enumerate().filter(|(from, _)| *from != index) {
            // One that does not answer is compared when it does: its own turn tells.
            if let Ok(other) = list(&*tier.store, &self.component) {
                whole |= self.has_end(from, &other, end.as_ref());
                compared.extend(other.lineages.keys().cloned());
                self.lacking(index, &own, &other, from, &mut missing);
            }
        }
        missing.sort_by(|a, b| a.0.cmp(&b.0));
        missing.dedup_by(|a, b| a.1.key == b.1.key);
        let reached = match missing.first() {
            Some((_, lag)) => lag.reached.clone(),
            None => self.newest(index, &own, end.as_ref()),
        };
        let mut shared = self.shared();
        shared.tiers[index].compared = compared;
        let missing = missing.into_iter().map(|(_, mut lag)| {
            shared.order += 1;
            lag.order = shared.order;
            lag.reached = None;
            lag
        });
        let mut missing: Vec<Lag> = missing.collect();
        // Once it has the last of them it has all that there is.
        if let (Some(lag), Some((_, reached)), true) = (missing.last_mut(), end, whole) {
            lag.reached = Some(reached);
        }
        Ok((missing, reached))
    }

    /// What `other` has and `own` has not; each with where the chain stands before it.
    fn lacking(
        &self,
        index: usize,
        own: &Listing,
        other: &Listing,
        from: usize,
        missing: &mut Vec<((String, u32, bool), Lag)>,
    ) {
        let nothing = Objects::default();
        for (lineage, objects) in &other.lineages {
            let chain = chain_of(&self.component, lineage);
            let there = own.lineages.get(lineage);
            let lowest = {
                let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
                whole.lowest(&self.tiers[index].name, lineage, there)
            };
            let there = there.unwrap_or(&nothing);
            let mut add = |first: &Name, key: String, pack: Option<PackName>| {
                let (lineage, position) = (lineage.clone(), first.from);
                let reached = Reached { lineage: lineage.clone(), position, proven: None };
                let place = (lineage.clone(), first.seq, pack.is_some());
                let pack = pack.map(|pack| (lineage, pack));
                let reached = Some(reached);
                let lag = Lag { order: 0, key, pack, reached, bytes: None, from, there: false };
                missing.push((place, lag));
            };
            let packs = objects.packs.keys().filter(|pack| pack.last_seq() >= lowest);
            for pack in packs.filter(|pack| !there.packs.contains_key(pack)) {
                add(&pack.first, pack_key(&chain, pack), Some(*pack));
            }
            for name in objects.ranges.keys().filter(|name| name.seq >= lowest) {
                let held = |at: usize, objects: &Objects| {
                    let tier = &self.tiers[at];
                    self.believed.hold((&tier.name, &*tier.store), lineage, objects, name.seq)
                };
                if !there.ranges.contains_key(name) && !held(from, objects) && !held(index, there) {
                    add(name, range_key(&chain, name), None);
                }
            }
        }
    }

    pub(super) fn rested(&self, index: usize) -> bool {
        self.shared().tiers[index].rest_until <= self.clock.monotonic()
    }

    pub(super) fn rest(&self, index: usize, why: &JournalError) {
        let until = self.clock.monotonic() + REST;
        let tier = &mut self.shared().tiers[index];
        tier.problem = Some(chained(why));
        tier.rest_until = until;
    }

    pub(super) fn served(&self, index: usize) {
        let tier = &mut self.shared().tiers[index];
        tier.problem = None;
        tier.rest_until = Duration::ZERO;
    }

    /// How each tier stands.
    pub fn standing(&self) -> Vec<Standing> {
        let shared = self.shared();
        let tiers = self.tiers.iter().zip(&shared.tiers);
        tiers
            .map(|(tier, progress)| Standing {
                tier: tier.name.clone(),
                elsewhere: tier.elsewhere,
                lineage: progress.reached.as_ref().map(|reached| reached.lineage.clone()),
                position: progress.reached.as_ref().map(|reached| reached.position),
                proven: progress.reached.as_ref().and_then(|reached| reached.proven),
                lacks: (progress.known == Known::All)
                    .then(|| progress.lag.iter().filter(|lag| !lag.there).count()),
                problem: progress.problem.clone().or_else(|| progress.refused.clone()),
            })
            .collect()
    }

    /// True if tier `at` has the object with which the stream ends, by its number.
    fn has_end(&self, at: usize, listing: &Listing, end: Option<&(u32, Reached)>) -> bool {
        let Some((seq, reached)) = end else { return false };
        let Some(objects) = listing.lineages.get(&reached.lineage) else { return false };
        let tier = &self.tiers[at];
        objects.ranges.keys().any(|name| name.seq == *seq)
            || self.believed.hold((&tier.name, &*tier.store), &reached.lineage, objects, *seq)
    }

    /// Up to where a tier has the stream's lineage that lacks nothing of what the others have.
    fn newest(&self, at: usize, own: &Listing, end: Option<&(u32, Reached)>) -> Option<Reached> {
        let (seq, reached) = end?;
        let objects = own.lineages.get(&reached.lineage)?;
        if self.has_end(at, own, end) {
            return Some(reached.clone());
        }
        // It lacks what no tier that answers has: all before its newest object is there. A name from
        // beyond the end is none of this stream's.
        let of_stream = |name: &Name| name.seq < *seq && name.from <= reached.position;
        let loose = objects.ranges.keys().copied();
        let packed = objects.packs.keys().map(|pack| pack.first);
        let name = loose.chain(packed).filter(of_stream).max_by_key(|name| name.seq)?;
        let (lineage, position) = (reached.lineage.clone(), name.from);
        Some(Reached { lineage, position, proven: None })
    }
}
