//! Blobs on their way: read, proved, sealed anew or taken over pack by pack, and stored.
//!
//! Two budgets bound the memory: one for what was read and not yet packed, one for packs. Whoever
//! reads may wait for a pack, whoever packs waits for an upload, and an upload waits for nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};

use super::heal::Wounds;
use super::plan::Portion;
use super::{CopyCounts, CopyOptions};
use crate::backup::budget::{ByteBudget, Permit};
use crate::backup::halt::{Halt, Watch};
use crate::backup::packer::Packer;
use crate::backup::register::Register;
use crate::backup::sealer::Sealer;
use crate::backup::upload::{FullPack, OnStored, Uploads};
use crate::compress::Compression;
use crate::crypto::OVERHEAD;
use crate::error::{Error, Result};
use crate::flaw::ReadFailure;
use crate::id::Id;
use crate::index::Index;
use crate::lock::LockGuard;
use crate::monitor::Stage;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::parallel;
use crate::sync::lock;
use crate::vault::{Opened, READ_LIMIT, Vault, open_both};

/// Data packs that are open at a time.
const SPREAD: usize = 2;
/// Packs that wait for their upload beside the open ones, at least.
const IN_FLIGHT: usize = 1;

/// A blob that cannot be read, and why.
pub(super) type Lost = ((BlobKind, Id), String);

/// What one portion came to.
pub(super) struct Shipped {
    pub lost: Vec<Lost>,
    pub counts: CopyCounts,
}

/// Where it all goes.
pub(super) struct Landing {
    pub index: Arc<Index>,
    /// Takes note of packs that are stored.
    pub register: Arc<Register>,
    pub wounds: Arc<Wounds>,
    /// Without it nothing more is named there: what is read may be going away.
    pub source_lock: Arc<LockGuard>,
    /// Packs that were there when the copy began, by their sizes.
    pub there: HashMap<Id, u64>,
}

impl Landing {
    /// What is done with a pack that has arrived.
    fn on_stored(&self) -> OnStored {
        let Landing { index, register, wounds, source_lock, there: _ } = self;
        let (index, register) = (Arc::clone(index), Arc::clone(register));
        let (wounds, source_lock) = (Arc::clone(wounds), Arc::clone(source_lock));
        Box::new(move |pack| {
            source_lock.verify()?;
            if wounds.restored(&index, &pack) { Ok(()) } else { register.add(pack) }
        })
    }
}

/// One portion on its way.
struct Shipment<'a> {
    source: &'a Vault,
    destination: &'a Vault,
    index: &'a Index,
    portion: &'a Portion,
    compression: Compression,
    /// One master key for both: sealed bytes mean the same in both.
    same_key: bool,
    /// The source comes from days without compression.
    compress: bool,
    /// One for each worker: what it has learned about gain holds for more than a pack.
    sealers: Mutex<Vec<Sealer>>,
    /// A pack that is there under this name is not trusted, or its blobs would not be wanted.
    there: &'a HashMap<Id, u64>,
    halt: Arc<Halt>,
    reads: ByteBudget,
    packer: Packer,
    uploads: Uploads,
    lost: Mutex<Vec<Lost>>,
    blobs: AtomicU64,
    bytes: AtomicU64,
    whole: AtomicU64,
}

/// Carries all that is wanted over; on return it is stored and the register knows it, or it is
/// named as lost.
pub(super) fn ship(
    source: &Vault,
    destination: &Vault,
    index: &Index,
    portion: &Portion,
    options: &CopyOptions,
    landing: &Landing,
) -> Result<Shipped> {
    let least = (Packer::open_packs(SPREAD) + IN_FLIGHT) * Packer::pack_cost(options.pack_bytes);
    let packs = least.max(options.budget_bytes / 2);
    let budget = ByteBudget::new(packs);
    let halt = Arc::new(Halt::new(destination.environment().cancel.clone(), budget.clone()));
    let (store, threads) = (Arc::clone(destination.store()), options.uploads);
    let Landing { there, .. } = landing;
    let shipment = Shipment {
        source,
        destination,
        index,
        portion,
        compression: options.compression,
        same_key: source.master_fingerprint() == destination.master_fingerprint(),
        compress: source
            .config()
            .is_ok_and(|config| config.version < crate::backup::WRITTEN_VERSION),
        reads: ByteBudget::new(options.budget_bytes.saturating_sub(packs).max(1)),
        packer: Packer::new(options.pack_bytes, SPREAD, budget, Arc::clone(&halt)),
        uploads: Uploads::start(
            store,
            Arc::clone(&halt),
            options.read_back,
            destination.cache().cloned(),
            landing.on_stored(),
            threads,
        )?,
        sealers: Mutex::default(),
        there,
        halt,
        lost: Mutex::default(),
        blobs: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        whole: AtomicU64::new(0),
    };
    shipment.run(match options.workers {
        0 => parallel::threads(),
        workers => workers,
    })
}

impl Shipment<'_> {
    fn run(self, workers: usize) -> Result<Shipped> {
        let order = self.index.by_pack();
        let packs: Vec<usize> = self.portion.packs.iter().copied().collect();
        let moved = parallel::map(&packs, workers, |number| {
            let _watch = Watch(&self.halt);
            self.halt.check()?;
            let moved = self.pack(*number, &order.blobs(*number));
            moved.inspect_err(|_| self.reads.close()).map_err(|error| {
                self.halt.fail(error);
                Error::Cancelled
            })
        });
        // The first failure of any thread is the reason, not the stopping that follows from it.
        moved.or_else(|error| self.halt.outcome().and(Err(error)))?;
        if let Err(error) = self.packer.flush(&self.uploads, self.destination.key()) {
            self.halt.fail(error);
        }
        self.uploads.settle()?;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (packs, bytes_stored) = self.uploads.stored();
        let counts = CopyCounts {
            blobs: get(&self.blobs),
            bytes: get(&self.bytes),
            packs,
            packs_whole: get(&self.whole),
            bytes_stored,
        };
        Ok(Shipped { lost: std::mem::take(&mut *lock(&self.lost)), counts })
    }

    fn pack(&self, number: usize, blobs: &[PackedBlob]) -> Result<()> {
        let pack = self.index.packs()[number];
        let wanted = self.portion.wanted(self.index, number, blobs);
        let one_kind = wanted.iter().all(|blob| blob.kind == wanted[0].kind);
        if self.same_key
            && one_kind
            && !self.there.contains_key(&pack)
            && wanted.len() == blobs.len()
            && self.take_over(&pack, blobs)?
        {
            self.done(blobs);
            self.whole.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.seal_anew(&pack, &wanted)
    }

    /// The pack as it is, if it is whole: its name is its SHA-256, its header says what the index
    /// says, and each blob is the one that it is named by. False leaves it to the slower way, which
    /// finds what is wrong and where else it lies.
    fn take_over(&self, pack: &Id, blobs: &[PackedBlob]) -> Result<bool> {
        let size = pack::pack_size(blobs);
        let permit = self.reads.acquire(cost(blobs, size)).ok_or(Error::Cancelled)?;
        let body = match self.source.store().get(&pack::pack_key(pack)).map_err(ReadFailure::from) {
            Ok(body) => body,
            Err(ReadFailure::Damaged(_)) => return Ok(false),
            Err(ReadFailure::Store(error)) => return Err(error),
        };
        if body.len() as u64 != size || Id::of(&body) != *pack {
            return Ok(false);
        }
        match pack::open_header(self.source.key(), &body, size) {
            Ok(Some(found)) if found == blobs => {}
            _ => return Ok(false),
        }
        for blob in blobs {
            self.halt.check()?;
            let (start, end) = (blob.offset as usize, (blob.offset + blob.length) as usize);
            let sealed = BytesMut::from(&body[start..end]);
            if open_both(self.source.key(), &blob.id, blob.uncompressed_length, sealed).is_err() {
                return Ok(false);
            }
        }
        let body = Bytes::from_owner(Held { body, _permit: permit });
        self.uploads.send(FullPack { id: *pack, body, blobs: blobs.to_vec() })?;
        Ok(true)
    }

    /// Blob by blob into packs of the destination's own.
    fn seal_anew(&self, pack: &Id, blobs: &[PackedBlob]) -> Result<()> {
        let stretch = blobs.iter().map(|blob| u64::from(blob.length)).sum::<u64>().min(READ_LIMIT);
        // Read, and beside it the payload of one blob and its content.
        let _permit = self.reads.acquire(2 * cost(blobs, stretch)).ok_or(Error::Cancelled)?;
        let mut sealer = self.take_sealer()?;
        let sealed = self.source.load_blobs_of_pack_as(pack, blobs, open_both, |blob, opened| {
            self.halt.check()?;
            match opened {
                Ok(opened) => {
                    self.put(sealer.as_mut(), blob, &opened)?;
                    self.done(std::slice::from_ref(blob));
                    Ok(())
                }
                Err(error @ Error::Damaged { .. }) => {
                    lock(&self.lost).push(((blob.kind, blob.id), error.to_string()));
                    Ok(())
                }
                Err(error) => Err(error),
            }
        });
        lock(&self.sealers).extend(sealer);
        sealed
    }

    /// Nobody else's at the moment; none where nothing is to be compressed.
    fn take_sealer(&self) -> Result<Option<Sealer>> {
        if !self.compress {
            return Ok(None);
        }
        let idle = lock(&self.sealers).pop();
        idle.map_or_else(|| Sealer::new(self.compression), Ok).map(Some)
    }

    fn put(&self, sealer: Option<&mut Sealer>, blob: &PackedBlob, opened: &Opened) -> Result<()> {
        let (payload, uncompressed) = match sealer {
            Some(sealer) if opened.uncompressed_length == 0 => {
                sealer.pack(blob.kind, &opened.content)?
            }
            _ => (&opened.payload[..], opened.uncompressed_length as usize),
        };
        let (key, name) = (self.destination.key(), (blob.kind, blob.id));
        self.packer.add(&self.uploads, key, name, payload, uncompressed).map(drop)
    }

    fn done(&self, blobs: &[PackedBlob]) {
        let bytes = blobs.iter().map(|blob| u64::from(blob.length)).sum();
        self.blobs.fetch_add(blobs.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let monitor = &self.destination.environment().monitor;
        monitor.advance(Stage::Copy, bytes, blobs.len() as u64);
    }
}

/// Bytes in memory for a stretch of a pack and the largest of its blobs beside it.
fn cost(blobs: &[PackedBlob], stretch: u64) -> usize {
    let largest = |blob: &PackedBlob| u64::from(blob.content_length()) + OVERHEAD as u64;
    let largest = blobs.iter().map(largest).max().unwrap_or(0);
    usize::try_from(stretch.saturating_add(largest)).unwrap_or(usize::MAX)
}

/// Bytes that count against a budget until they are stored.
struct Held {
    body: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
