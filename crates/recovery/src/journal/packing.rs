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
use lifeboat_vault::{Clock, StoreErrorKind};
use serde::{Deserialize, Serialize};

use super::catch_up::Copier;
use super::local::{Indexed, index_of, indexed_lineages};
use super::pack::{Slice, tail};
use super::place::{chain_of, pack_key, range_key};
use super::tiers::{Offer, offer};
use super::writer::Writer;
use super::{JournalError, Result};
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
}

impl Packer {
    /// Packs the oldest records that lie by themselves, if there are enough; nothing otherwise. Call
    /// it until it has nothing more to do.
    ///
    /// # Errors
    /// If no tier has the records or takes the pack, or if it does not read back.
    pub fn pack(&self, policy: &PackPolicy) -> Result<Option<Packed>> {
        let Some(batch) = self.batch(policy)? else { return Ok(None) };
        let copier = &self.copier;
        let chain = chain_of(&copier.component, &batch.lineage);
        let key = pack_key(&chain, &batch.name);
        let mut body = Vec::new();
        let mut slices = Vec::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            let sealed = self.sealed(&range_key(&chain, &entry.header.name()), &entry.sha256)?;
            slices.push(Slice {
                name: entry.header.name().to_string(),
                offset: body.len() as u64,
                length: sealed.len() as u64,
                sha256: entry.sha256,
                header: entry.header.clone(),
            });
            body.extend_from_slice(&sealed);
        }
        let known = KnownPack {
            format: 1,
            slices: slices.iter().map(|s| (s.name.clone(), s.offset, s.length, s.sha256)).collect(),
        };
        let intent = self.folder.join(format!("packing/{}={}", batch.lineage, batch.name));
        let end = match read_optional(&intent)? {
            Some(end) => end,
            None => {
                let end = tail(&self.sealer, &chain, slices)?;
                replace(&intent, &end)?;
                end
            }
        };
        body.extend_from_slice(&end);
        let body = Bytes::from(body);
        let place = self.put_pack(&key, &body)?;
        let there = copier.tiers[place].store.get(&key)?;
        if there != body {
            let why = "what was stored does not read back".to_owned();
            return Err(JournalError::Damaged { object: key, why });
        }
        if !self.sealer.opens() {
            let known = serde_json::to_vec(&known)
                .map_err(|source| JournalError::Encode { what: "a pack", source })?;
            replace(&self.folder.join(known_pack(&batch.lineage, &batch.name)), &known)?;
        }
        copier.shared().stored(place, &key, None, &body);
        self.leave_index(&batch)?;
        fs::remove_file(&intent).map_err(at("remove", &intent))?;
        sync_parent(&intent)?;
        let tier = copier.tiers[place].name.clone();
        let (slices, bytes) = (batch.entries.len(), body.len() as u64);
        Ok(Some(Packed { key, slices, bytes, tier }))
    }

    /// The oldest records without a hole between their numbers: those that a killed packing had
    /// chosen, or enough of them.
    fn batch(&self, policy: &PackPolicy) -> Result<Option<Batch>> {
        for lineage in indexed_lineages(&self.folder)? {
            let mut all = index_of(&self.folder, &lineage)?;
            let Some(first) = all.first().map(|entry| entry.header.name()) else { continue };
            if let Some(name) = self.begun(&lineage)? {
                let from = all.iter().position(|entry| entry.header.name() == name.first);
                let held = from.map(|from| all.split_off(from)).unwrap_or_default();
                if held.len() >= name.count as usize {
                    let entries = held.into_iter().take(name.count as usize).collect();
                    return Ok(Some(Batch { lineage, name, entries }));
                }
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

    /// A packing of this lineage that was killed.
    fn begun(&self, lineage: &str) -> Result<Option<PackName>> {
        let folder = self.folder.join("packing");
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let file = entry.map_err(at("read", &folder))?.file_name();
            let name = file.to_str().and_then(|file| file.split_once('='));
            if let Some((of, name)) = name
                && of == lineage
                && let Ok(name) = name.parse()
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The sealed bytes of a record, from the first tier that has them.
    fn sealed(&self, key: &str, hash: &Hash) -> Result<Bytes> {
        let mut failed = JournalError::Missing { object: key.to_owned() };
        for tier in self.copier.tiers.iter() {
            match tier.store.get(key) {
                Ok(bytes) if Hash::of(&bytes) == *hash => return Ok(bytes),
                Ok(_) => {
                    let why = format!("tier {} has other bytes than were written", tier.name);
                    failed = JournalError::Damaged { object: key.to_owned(), why };
                }
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
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

    /// Takes a batch out of the local index: the index of the pack has it now.
    fn leave_index(&self, batch: &Batch) -> Result<()> {
        let _index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let last = batch.name.last_seq();
        let mut rest = Vec::new();
        for entry in index_of(&self.folder, &batch.lineage)? {
            if entry.header.seq > last {
                serde_json::to_writer(&mut rest, &entry)
                    .map_err(|source| JournalError::Encode { what: "the index", source })?;
                rest.push(b'\n');
            }
        }
        Ok(replace(&self.folder.join(format!("index/{}.jsonl", batch.lineage)), &rest)?)
    }
}
