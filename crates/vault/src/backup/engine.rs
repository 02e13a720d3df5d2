//! What all threads of one backup share: from plain content to blobs in packs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rustix::fs::Stat;

use super::budget::ByteBudget;
use super::halt::Halt;
use super::packer::Packer;
use super::register::{Pace, Register};
use super::sealer::Sealer;
use super::upload::{OnStored, StoredPack, Uploads};
use super::{BackupOptions, Problem};
use crate::chunk::{self, Chunker};
use crate::error::Result;
use crate::id::Id;
use crate::index::Index;
use crate::lock::LockGuard;
use crate::meta::Names;
use crate::monitor::Stage;
use crate::pack::BlobKind;
use crate::snapshot::Snapshot;
use crate::sync::lock;
use crate::vault::Vault;

/// Bytes that one worker holds beside packs: its window and what it compresses into. Only chunks
/// near the largest size, which content seldom makes, take more.
const WORKER_COST: usize = 12 << 20;
/// Data packs that are open at a time, at most.
const MOST_OPEN: usize = 4;
/// Packs that wait for their upload beside the open ones, at least.
const IN_FLIGHT: usize = 1;

/// Counts of one session.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) files_new: AtomicU64,
    pub(crate) files_changed: AtomicU64,
    pub(crate) files_unmodified: AtomicU64,
    pub(crate) folders: AtomicU64,
    pub(crate) others: AtomicU64,
    pub(crate) bytes_processed: AtomicU64,
    pub(crate) bytes_allocated: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_added: AtomicU64,
    pub(crate) blobs_added: AtomicU64,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl Counts {
    /// Counts the content of a regular file, of which the source's blocks tell how much is no hole.
    pub(crate) fn content(&self, size: u64, stat: &Stat) {
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        add(&self.bytes_processed, size);
        // A file system also allocates ahead and what stands around the content.
        add(&self.bytes_allocated, blocks.saturating_mul(512).min(size));
    }
}

/// The shared part of one backup.
pub(crate) struct Engine {
    pub(crate) vault: Vault,
    pub(crate) index: Arc<Index>,
    /// Packs of broken-off backups that the index knows and no index object names yet.
    pub(crate) adopted: Vec<StoredPack>,
    pub(crate) options: BackupOptions,
    pub(crate) chunker: Chunker,
    pub(crate) names: Names,
    pub(crate) halt: Arc<Halt>,
    pub(crate) counts: Counts,
    pub(crate) problems: Mutex<Vec<Problem>>,
    pub(crate) packer: Packer,
    pub(crate) uploads: Uploads,
    pub(crate) register: Arc<Register>,
    pub(crate) workers: usize,
    /// When the parent was taken, and now: see `known::is_racy`.
    pub(crate) parent_time: Option<(Timestamp, Timestamp)>,
    zeros: Mutex<HashMap<usize, Id>>,
}

impl Engine {
    pub(crate) fn start(
        vault: &Vault,
        lock: Arc<LockGuard>,
        options: BackupOptions,
        parent: Option<&Snapshot>,
    ) -> Result<Self> {
        let (index, adopted) = vault.index_for_backup()?;
        let pace = Pace { blobs: options.index_blobs, bytes: u64::MAX };
        let register = Register::new(vault, Arc::clone(&index), lock, pace);
        let register = Arc::new(register);
        let (workers, spread) = shape(&options);
        // What the workers hold is taken out of the budget for good; packs share the rest.
        // They must hold all packs that can be open, or nobody could go on.
        let least =
            (Packer::open_packs(spread) + IN_FLIGHT) * Packer::pack_cost(options.pack_bytes);
        let rest = options.budget_bytes.saturating_sub(workers * WORKER_COST);
        let packs = ByteBudget::new(rest.max(least));
        let halt = Arc::new(Halt::new(vault.environment().cancel.clone(), packs.clone()));
        let uploads = Uploads::start(
            Arc::clone(vault.store()),
            Arc::clone(&halt),
            options.read_back,
            vault.cache().cloned(),
            on_stored(&register),
            options.uploads,
        )?;
        let packer = Packer::new(options.pack_bytes, spread, packs, Arc::clone(&halt));
        Ok(Self {
            vault: vault.clone(),
            index,
            adopted,
            chunker: Chunker::new(&vault.key().derive("chunk seed")),
            names: Names::of_system(),
            halt,
            counts: Counts::default(),
            problems: Mutex::default(),
            packer,
            uploads,
            register,
            workers,
            parent_time: parent.map(|parent| (parent.time, vault.environment().clock.wall())),
            zeros: Mutex::default(),
            options,
        })
    }

    /// Stores a blob unless it is stored already; returns its id.
    pub(crate) fn store(&self, sealer: &mut Sealer, kind: BlobKind, content: &[u8]) -> Result<Id> {
        let ids = self.store_all(sealer, kind, &[content])?;
        Ok(ids[0])
    }

    /// Stores the blobs that are not stored already; returns the id of each.
    pub(crate) fn store_all(
        &self,
        sealer: &mut Sealer,
        kind: BlobKind,
        contents: &[&[u8]],
    ) -> Result<Vec<Id>> {
        let zeros = |content: &[u8]| {
            kind == BlobKind::Data && content.len() >= chunk::MIN && chunk::is_zero(content)
        };
        let (mut ids, mut hashed) = (vec![None; contents.len()], Vec::new());
        for (id, content) in ids.iter_mut().zip(contents) {
            match zeros(content) {
                true => *id = Some(self.store_zeros(sealer, content.len())?),
                false => hashed.push(*content),
            }
        }
        let mut hashes = self.packer.ids_of(kind, &hashed).into_iter();
        let mut stored = Vec::with_capacity(contents.len());
        for (id, content) in ids.into_iter().zip(contents) {
            stored.push(match id.or_else(|| hashes.next()) {
                Some(id) => id,
                None => Id::of(content),
            });
        }
        for (id, content) in stored.iter().zip(contents) {
            self.store_as(sealer, kind, *id, content)?;
        }
        Ok(stored)
    }

    /// Stores a blob of zeros, whose id is computed once a length.
    pub(crate) fn store_zeros(&self, sealer: &mut Sealer, length: usize) -> Result<Id> {
        if let Some(id) = lock(&self.zeros).get(&length) {
            return Ok(*id);
        }
        let zeros = vec![0; length];
        let id = Id::of(&zeros);
        self.store_as(sealer, BlobKind::Data, id, &zeros)?;
        lock(&self.zeros).insert(length, id);
        Ok(id)
    }

    fn store_as(&self, sealer: &mut Sealer, kind: BlobKind, id: Id, content: &[u8]) -> Result<()> {
        self.halt.check()?;
        if !self.register.claim(kind, &id) {
            return Ok(());
        }
        let (payload, uncompressed) = sealer.pack(kind, content)?;
        let key = self.vault.key();
        let added = self.packer.add(&self.uploads, key, (kind, id), payload, uncompressed)?;
        add(&self.counts.bytes_added, added as u64);
        add(&self.counts.blobs_added, 1);
        Ok(())
    }

    /// Sends what is still open and waits until all of it is in the store.
    pub(crate) fn flush(&self) -> Result<()> {
        let sent = self.packer.flush(&self.uploads, self.vault.key());
        if let Err(error) = sent {
            self.halt.fail(error);
        }
        self.uploads.settle()
    }

    /// Notes a path that is not, or not for certain, in the backup as it was.
    pub(crate) fn problem(&self, problem: Problem) {
        lock(&self.problems).push(problem);
    }

    /// Tells the progress display.
    pub(crate) fn progress(&self, bytes: u64, items: u64) {
        self.vault.environment().monitor.advance(Stage::Backup, bytes, items);
    }
}

fn on_stored(register: &Arc<Register>) -> OnStored {
    let register = Arc::clone(register);
    Box::new(move |pack| register.add(pack))
}

/// How many workers and how many open data packs the budget allows.
fn shape(options: &BackupOptions) -> (usize, usize) {
    let pack = Packer::pack_cost(options.pack_bytes);
    let mut workers = match options.readers {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        readers => readers,
    };
    let spread = |workers: usize| (workers + 1).min(MOST_OPEN);
    let cost = |workers: usize| {
        workers * WORKER_COST + (Packer::open_packs(spread(workers)) + IN_FLIGHT) * pack
    };
    while workers > 1 && cost(workers) > options.budget_bytes {
        workers -= 1;
    }
    (workers, spread(workers))
}
