//! Packing: sealed records that lie by themselves become slices of one object, unchanged.
//!
//! It opens nothing: what the index of a pack repeats, the local index has from the writing. The
//! tail of a pack (its sealed index) is on stable storage before the pack is created, so that a
//! packing that was killed makes the same bytes again. A pack counts once it was read back; the
//! loose records stay until a pruning has read it back once more.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::chain::Hash;
use lifeboat_model::journal::PackName;
use lifeboat_vault::{Clock, Monitor, StoreErrorKind};
use serde::{Deserialize, Serialize};

use super::catch_up::Copier;
use super::local::{Indexed, index_of, indexed_lineages};
use super::pack::{Slice, tail};
use super::place::{chain_of, pack_key, range_key};
use super::tiers::{Offer, offer};
use super::writer::Writer;
use super::{JournalError, Result, object};
use crate::seal::Sealer;
use crate::state::{at, read_optional, replace, sync_parent};

/// When and how much is packed into one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackPolicy {
    /// Slices at most.
    pub most_slices: usize,
    /// Sealed bytes at most.
    pub most_bytes: u64,
    /// Fewer are packed too once the oldest is so old.
    pub after: Duration,
}

impl Default for PackPolicy {
    fn default() -> Self {
        PackPolicy { most_slices: 1000, most_bytes: 64 << 20, after: Duration::from_secs(60 * 60) }
    }
}

/// A pack that was made and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its key.
    pub key: String,
    /// How many records it holds.
    pub slices: usize,
    /// Its size, bytes.
    pub bytes: u64,
    /// The tier that it was made in; the others get it by copy.
    pub tier: String,
}

/// What a host keeps of a pack that it made, so that a pruning without the identity knows the slices.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KnownPack {
    /// Format number.
    pub format: u32,
    /// Name, offset, length and SHA-256 of each slice.
    pub slices: Vec<(String, u64, u64, Hash)>,
}

impl KnownPack {
    fn of(entries: &[Indexed]) -> KnownPack {
        let mut offset = 0;
        let slices = entries.iter().map(|entry| {
            let at = offset;
            offset += entry.size;
            (entry.header.name().to_string(), at, entry.size, entry.sha256)
        });
        KnownPack { format: 1, slices: slices.collect() }
    }
}

/// The file of a known pack below a component's local state.
pub(super) fn known_pack(lineage: &str, name: &PackName) -> PathBuf {
    PathBuf::from(format!("packed/{lineage}={name}.json"))
}

/// What is to be packed.
struct Batch {
    lineage: String,
    name: PackName,
    entries: Vec<Indexed>,
}

impl Writer {
    /// What packs; it may do so in a thread of its own while the stream goes on.
    pub fn packer(&self) -> Packer {
        let (settings, local, copier) = self.parts();
        Packer {
            folder: local.path(""),
            index: local.index.clone(),
            copier: copier.clone(),
            sealer: settings.sealer.clone(),
            clock: settings.clock.clone(),
            monitor: settings.monitor.clone(),
            every_tier: settings.every_tier,
        }
    }

    /// As [`Packer::pack`].
    ///
    /// # Errors
    /// As there.
    pub fn pack(&mut self, policy: &PackPolicy) -> Result<Option<Packed>> {
        self.packer().pack(policy)
    }
}

/// Packs the records of one stream; not two of them at a time.
pub struct Packer {
    folder: PathBuf,
    index: Arc<Mutex<()>>,
    copier: Copier,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    monitor: Arc<dyn Monitor>,
    every_tier: bool,
}

impl Packer {
    /// Packs the oldest records that lie by themselves, if there are enough; nothing otherwise. Call
    /// it until it has nothing more to do. A record that is lost in every tier is left out, and said.
    ///
    /// # Errors
    /// If no tier has the records now or takes the pack, or if it does not read back.
    pub fn pack(&self, policy: &PackPolicy) -> Result<Option<Packed>> {
        while let Some(batch) = self.batch(policy)? {
            if let Some(body) = self.body(&batch)? {
                return self.put(&batch, &body).map(Some);
            }
        }
        Ok(None)
    }

    /// The bytes of the pack; nothing if one of the records is lost: it left the index.
    fn body(&self, batch: &Batch) -> Result<Option<Bytes>> {
        let chain = chain_of(&self.copier.component, &batch.lineage);
        let mut body = Vec::new();
        let mut slices = Vec::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            let key = range_key(&chain, &entry.header.name());
            let sealed = match self.sealed(&key, &entry.sha256) {
                Ok(sealed) => sealed,
                Err(error @ (JournalError::Missing { .. } | JournalError::Damaged { .. })) => {
                    return self.without(batch, entry.header.seq, error);
                }
                Err(error) => return Err(error),
            };
            slices.push(Slice {
                name: entry.header.name().to_string(),
                offset: body.len() as u64,
                length: sealed.len() as u64,
                sha256: entry.sha256,
                header: entry.header.clone(),
            });
            body.extend_from_slice(&sealed);
        }
        let intent = self.intent(batch);
        let end = match read_optional(&intent)? {
            Some(end) => end,
            None => {
                let end = tail(&self.sealer, &chain, slices)?;
                replace(&intent, &end)?;
                end
            }
        };
        body.extend_from_slice(&end);
        Ok(Some(Bytes::from(body)))
    }

    /// A record of the batch is in no tier any more. If the pack was made before, by a packing that
    /// was killed, that is no loss.
    fn without(&self, batch: &Batch, seq: u32, why: JournalError) -> Result<Option<Bytes>> {
        let intent = self.intent(batch);
        if let Some(end) = read_optional(&intent)? {
            let key = pack_key(&chain_of(&self.copier.component, &batch.lineage), &batch.name);
            for tier in self.copier.tiers.iter() {
                match tier.store.get(&key) {
                    Ok(made) if made.ends_with(&end) => return Ok(Some(made)),
                    Err(error) if error.kind != StoreErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
        }
        // A tier that was left out may have it.
        if !self.every_tier {
            return Err(why);
        }
        if intent.exists() {
            self.end_intent(batch)?;
        }
        let component = &self.copier.component;
        let line = format!("{component}: {}: it will be in no pack", object::chained(&why));
        self.monitor.note(&line);
        self.leave_index(&batch.lineage, |number| number == seq)?;
        Ok(None)
    }

    /// Stores it, reads it back, and takes its records out of the index.
    fn put(&self, batch: &Batch, body: &Bytes) -> Result<Packed> {
        let copier = &self.copier;
        let key = pack_key(&chain_of(&copier.component, &batch.lineage), &batch.name);
        let place = self.put_pack(&key, body)?;
        let tier = copier.tiers[place].name.clone();
        let there = copier.tiers[place].store.get(&key)?;
        if there != *body {
            let why = "what was stored does not read back".to_owned();
            return Err(JournalError::Damaged { object: key, why });
        }
        if !self.sealer.opens() {
            let known = serde_json::to_vec(&KnownPack::of(&batch.entries))
                .map_err(|source| JournalError::Encode { what: "a pack", source })?;
            replace(&self.folder.join(known_pack(&batch.lineage, &batch.name)), &known)?;
        }
        copier.believed.remember(&tier, &batch.lineage, &batch.name)?;
        let pack = (batch.lineage.clone(), batch.name);
        copier.shared().stored(place, (&key, Some(&pack)), None, body);
        let last = batch.name.last_seq();
        self.leave_index(&batch.lineage, |number| number <= last)?;
        self.end_intent(batch)?;
        let (slices, bytes) = (batch.entries.len(), body.len() as u64);
        Ok(Packed { key, slices, bytes, tier })
    }

    fn intent(&self, batch: &Batch) -> PathBuf {
        self.folder.join(format!("packing/{}={}", batch.lineage, batch.name))
    }

    fn end_intent(&self, batch: &Batch) -> Result<()> {
        let intent = self.intent(batch);
        fs::remove_file(&intent).map_err(at("remove", &intent))?;
        Ok(sync_parent(&intent)?)
    }

    /// The oldest records without a hole between their numbers: those that a killed packing had
    /// chosen, or enough of them.
    fn batch(&self, policy: &PackPolicy) -> Result<Option<Batch>> {
        for lineage in indexed_lineages(&self.folder)? {
            let mut all = index_of(&self.folder, &lineage)?;
            let Some(first) = all.first().map(|entry| entry.header.name()) else { continue };
            if let Some(batch) = self.begun(&lineage, &all)? {
                return Ok(Some(batch));
            }
            let mut size = 0;
            let fits = all.iter().zip(first.seq..).take(policy.most_slices);
            let fits = fits.take_while(|(entry, seq)| {
                size += entry.size;
                entry.header.seq == *seq && size <= policy.most_bytes
            });
            // One that is larger than a pack stays by itself.
            let count = fits.count().max(1);
            let more = all.len() > count;
            let oldest = all[0].header.time;
            all.truncate(count);
            let age = self.clock.wall().duration_since(oldest);
            let due = Duration::try_from(age).is_ok_and(|age| age >= policy.after);
            if more || count == policy.most_slices || due {
                let name = PackName { first, count: count as u32 };
                return Ok(Some(Batch { lineage, name, entries: all }));
            }
        }
        Ok(None)
    }

    /// A packing of this lineage that was killed before its records left the index.
    fn begun(&self, lineage: &str, all: &[Indexed]) -> Result<Option<Batch>> {
        let folder = self.folder.join("packing");
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let file = entry.map_err(at("read", &folder))?.file_name();
            let named = file.to_str().and_then(|file| file.split_once('='));
            let Some((_, name)) = named.filter(|(of, _)| *of == lineage) else { continue };
            let Ok(name) = name.parse::<PackName>() else { continue };
            let count = name.count as usize;
            let from = all.iter().position(|entry| entry.header.name() == name.first);
            let lineage = lineage.to_owned();
            match from.and_then(|from| all.get(from..from + count)) {
                Some(held) => return Ok(Some(Batch { lineage, name, entries: held.to_vec() })),
                // Only its end was cut off.
                None => self.end_intent(&Batch { lineage, name, entries: Vec::new() })?,
            }
        }
        Ok(None)
    }

    /// The sealed bytes of a record, from the first tier that has them. Missing or damaged only if
    /// every tier answered.
    fn sealed(&self, key: &str, hash: &Hash) -> Result<Bytes> {
        let mut lost = JournalError::Missing { object: key.to_owned() };
        let mut failed = None;
        for tier in self.copier.tiers.iter() {
            match tier.store.get(key) {
                Ok(bytes) if Hash::of(&bytes) == *hash => return Ok(bytes),
                Ok(_) => {
                    let why = format!("tier {} has other bytes than were written", tier.name);
                    lost = JournalError::Damaged { object: key.to_owned(), why };
                }
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.map_or(lost, JournalError::from))
    }

    fn put_pack(&self, key: &str, body: &Bytes) -> Result<usize> {
        let mut failed = None;
        for (index, tier) in self.copier.tiers.iter().enumerate() {
            match offer(&*tier.store, key, body) {
                Offer::There => return Ok(index),
                Offer::Failed(error) => failed = failed.or(Some(error)),
                Offer::Other => {
                    let tier = tier.name.clone();
                    return Err(JournalError::Taken { object: key.to_owned(), tier });
                }
            }
        }
        Err(JournalError::NoTier(failed))
    }

    /// Takes records out of the local index: a pack has them now, or they are lost.
    fn leave_index(&self, lineage: &str, gone: impl Fn(u32) -> bool) -> Result<()> {
        let _index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = Vec::new();
        for entry in index_of(&self.folder, lineage)? {
            if !gone(entry.header.seq) {
                serde_json::to_writer(&mut rest, &entry)
                    .map_err(|source| JournalError::Encode { what: "the index", source })?;
                rest.push(b'\n');
            }
        }
        Ok(replace(&self.folder.join(format!("index/{lineage}.jsonl")), &rest)?)
    }
}
