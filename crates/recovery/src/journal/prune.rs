//! Pruning a component's journal in one tier: loose records that a pack holds, and what no point of
//! the window needs.
//!
//! A loose record goes only where a pack was read back whole just now and holds the same bytes. What
//! the window needs is decided by [`lifeboat_model::journal::keep`]; it goes oldest first, so that
//! what a kill leaves hangs together. A listing that is not whole is an error, and nothing goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::duration::Duration;
use lifeboat_model::journal::keep::{Base, Item, decide, needed};
use lifeboat_model::journal::{Name, PackName, WalKind, is_segment_size};
use lifeboat_vault::{Cancel, DeleteStore, Store, StoreErrorKind};
use serde::Serialize;

use super::packing::{KnownPack, known_pack};
use super::place::{
    Listing, Objects, chain_of, folder_of, listing_of, pack_key, range_key, wal_key,
};
use super::{JournalError, Result, object, pack};
use crate::seal::Sealer;
use crate::state::read_optional;

/// What is pruned, and by which rules.
pub struct Pruning<'a> {
    /// The component.
    pub component: &'a str,
    /// The tier's objects.
    pub store: Arc<dyn Store>,
    /// Opens the indexes of packs, where it can.
    pub sealer: Arc<Sealer>,
    /// The folder of the component's local state, which knows the packs that were made here.
    pub local: &'a Path,
    /// The bases that stay in the tier.
    pub bases: &'a [Base],
    /// How far back any second is to be had; nothing: from the oldest base on.
    pub window: Option<Duration>,
    /// Now.
    pub now: Timestamp,
    /// The right to delete; nothing for a look.
    pub deleter: Option<&'a dyn DeleteStore>,
    /// Stop request.
    pub cancel: &'a Cancel,
}

/// What became, or would become, of a component's journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JournalFate {
    /// The component.
    pub component: String,
    /// Loose records that a pack holds too: removed.
    pub packed: u64,
    /// Objects that no point of the window needs: removed.
    pub passed: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Objects that stay.
    pub kept: u64,
    /// Why they stay.
    pub why: Vec<String>,
    /// Why nothing may go now.
    pub refused: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// Prunes, or says what would go.
///
/// # Errors
/// If the tier cannot list all of the journal, or fails in between.
pub fn prune(pruning: &Pruning<'_>) -> Result<JournalFate> {
    let entries = pruning.store.list(&folder_of(pruning.component))?;
    let listing = listing_of(pruning.component, &entries);
    let mut work = Work {
        pruning,
        sizes: entries.iter().map(|entry| (entry.key.as_str(), entry.size)).collect(),
        fate: JournalFate { component: pruning.component.to_owned(), ..JournalFate::default() },
        gone: BTreeSet::new(),
    };
    let stored = entries.iter().map(|entry| (entry.key.as_str(), entry.modified)).collect();
    let items = items(pruning.component, &listing, &stored);
    let decision = decide(&items, pruning.bases, pruning.window, pruning.now);
    let passed = decision.remove;
    work.fate.why = decision.kept;
    work.fate.refused = decision.refused;
    if work.fate.refused.is_empty() {
        let going: BTreeSet<&str> = passed.iter().map(String::as_str).collect();
        for (lineage, objects) in &listing.lineages {
            work.superseded(lineage, objects, &going)?;
        }
        for key in &passed {
            if work.remove(key)? {
                work.fate.passed += 1;
            }
        }
    }
    let handed: usize = listing.handed.values().map(|names| names.len()).sum();
    if work.fate.refused.is_empty() {
        work.handed(&listing, &stored)?;
    }
    let all = (items.len() + handed) as u64;
    work.fate.kept = all - work.fate.packed - work.fate.passed;
    Ok(work.fate)
}

fn items(component: &str, listing: &Listing, stored: &BTreeMap<&str, Timestamp>) -> Vec<Item> {
    let mut items = Vec::new();
    for (lineage, objects) in &listing.lineages {
        let chain = chain_of(component, lineage);
        let mut add = |key: String, first: &Name, last: u32| {
            let stored = stored.get(key.as_str()).copied().unwrap_or(Timestamp::MAX);
            let (lineage, from) = (lineage.clone(), first.from);
            items.push(Item { key, lineage, first: first.seq, last, from, stored });
        };
        for pack in objects.packs.keys() {
            add(pack_key(&chain, pack), &pack.first, pack.last_seq());
        }
        for name in objects.ranges.keys() {
            add(range_key(&chain, name), name, name.seq);
        }
    }
    items
}

struct Work<'a> {
    pruning: &'a Pruning<'a>,
    sizes: BTreeMap<&'a str, u64>,
    fate: JournalFate,
    gone: BTreeSet<String>,
}

/// A slice of a pack: offset and length.
type Extents = BTreeMap<String, (u64, u64)>;

impl Work<'_> {
    /// Removes the loose records of a lineage that packs hold.
    fn superseded(
        &mut self,
        lineage: &str,
        objects: &Objects,
        going: &BTreeSet<&str>,
    ) -> Result<()> {
        let chain = chain_of(self.pruning.component, lineage);
        for (name, size) in &objects.packs {
            let key = pack_key(&chain, name);
            let held = |loose: &&Name| (name.first.seq..=name.last_seq()).contains(&loose.seq);
            let stays = |loose: &&Name| !going.contains(range_key(&chain, loose).as_str());
            let loose: Vec<&Name> = objects.ranges.keys().filter(held).filter(stays).collect();
            if loose.is_empty() || going.contains(key.as_str()) {
                continue;
            }
            if self.pruning.deleter.is_none() {
                for name in loose {
                    if self.remove(&range_key(&chain, name))? {
                        self.fate.packed += 1;
                    }
                }
                continue;
            }
            if self.pruning.cancel.is_cancelled() {
                return Err(JournalError::Cancelled);
            }
            let whole = self.pruning.store.get(&key)?;
            let extents = match self.slices((lineage, &chain), (name, *size), &key, &whole) {
                Ok(extents) => extents,
                Err(error @ JournalError::Store(_)) => return Err(error),
                Err(error) => {
                    let why = object::chained(&error);
                    self.fate.warnings.push(format!("the records of {key} stay loose: {why}"));
                    continue;
                }
            };
            self.compare(&chain, &loose, &whole, &extents)?;
        }
        Ok(())
    }

    /// Removes the segments that servers handed over and that end before what is needed begins.
    /// Histories stay: they are small, and tell where lines parted.
    fn handed(&mut self, listing: &Listing, stored: &BTreeMap<&str, Timestamp>) -> Result<()> {
        let Pruning { component, bases, window, now, .. } = *self.pruning;
        for (log, names) in &listing.handed {
            let Some((base, begins)) = needed(bases, window, now, log) else { continue };
            let segments = || names.keys().filter(|name| name.kind != WalKind::History);
            let Some(first) = segments().find(|name| name.kind == WalKind::Segment) else {
                continue;
            };
            let chain = chain_of(component, log);
            if !self.pruning.sealer.opens() {
                let why = format!("{chain}/wal stays: there is no identity here");
                self.fate.warnings.push(why);
                continue;
            }
            let sealed = self.pruning.store.get(&wal_key(&chain, first))?;
            // Only its length is asked for: whoever made it, nothing goes that a base needs.
            let plain = match self.pruning.sealer.open(&sealed) {
                Ok(plain) => plain,
                Err(error) => {
                    let why = object::chained(&error);
                    self.fate.warnings.push(format!("{chain}/wal stays: {first}: {why}"));
                    continue;
                }
            };
            let header = plain.iter().position(|byte| *byte == b'\n').unwrap_or(plain.len());
            let size = (plain.len().saturating_sub(header + 1)) as u64;
            if !is_segment_size(size) {
                self.fate.warnings.push(format!("{chain}/wal stays: {first} is no segment"));
                continue;
            }
            for name in segments() {
                let key = wal_key(&chain, name);
                let ends = name.start(size).offset.saturating_add(size);
                let old = stored.get(key.as_str()).is_some_and(|stored| *stored < begins);
                let passed = name.line <= base.line && ends <= base.offset;
                if old && passed && self.remove(&key)? {
                    self.fate.passed += 1;
                }
            }
        }
        Ok(())
    }

    /// What a pack holds, by its index or by what is known here of the packs that were made here.
    fn slices(
        &self,
        (lineage, chain): (&str, &str),
        (name, size): (&PackName, u64),
        key: &str,
        whole: &Bytes,
    ) -> Result<Extents> {
        if whole.len() as u64 != size {
            let why = "it is not as long as it was listed".to_owned();
            return Err(JournalError::Damaged { object: key.to_owned(), why });
        }
        if self.pruning.sealer.opens() {
            let slices = pack::index_of(&self.pruning.sealer, whole, (chain, name), key)?;
            return Ok(slices.into_iter().map(|s| (s.name, (s.offset, s.length))).collect());
        }
        let file = self.pruning.local.join(known_pack(lineage, name));
        let known = read_optional(&file)?;
        let known = known.and_then(|body| serde_json::from_slice::<KnownPack>(&body).ok());
        let known = known.filter(|known| known.format == 1).ok_or_else(|| {
            let why = "there is no identity here, and it was not made here".to_owned();
            JournalError::Damaged { object: key.to_owned(), why }
        })?;
        Ok(known.slices.into_iter().map(|(name, at, length, _)| (name, (at, length))).collect())
    }

    /// Removes each loose record whose bytes the pack has.
    fn compare(
        &mut self,
        chain: &str,
        loose: &[&Name],
        whole: &Bytes,
        extents: &Extents,
    ) -> Result<()> {
        for name in loose {
            let key = range_key(chain, name);
            if self.gone.contains(&key) {
                continue;
            }
            let slice = extents.get(&name.to_string()).and_then(|(offset, length)| {
                whole.get(*offset as usize..offset.checked_add(*length)? as usize)
            });
            let alone = match self.pruning.store.get(&key) {
                Ok(alone) => alone,
                // Another pruning was faster.
                Err(error) if error.kind == StoreErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if slice != Some(&alone[..]) {
                self.fate.warnings.push(format!("{key} stays: its pack holds other bytes"));
                continue;
            }
            if self.remove(&key)? {
                self.fate.packed += 1;
            }
        }
        Ok(())
    }

    /// Removes an object, or counts it.
    fn remove(&mut self, key: &str) -> Result<bool> {
        if self.pruning.cancel.is_cancelled() {
            return Err(JournalError::Cancelled);
        }
        if !self.gone.insert(key.to_owned()) {
            return Ok(false);
        }
        if let Some(deleter) = self.pruning.deleter {
            match deleter.delete(key) {
                Err(error) if error.kind != StoreErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        self.fate.bytes += self.sizes.get(key).copied().unwrap_or_default();
        Ok(true)
    }
}
