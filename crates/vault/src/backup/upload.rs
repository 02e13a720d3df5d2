//! Full packs on their way to the store: several at a time, each read back before it counts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::halt::Halt;
use crate::cache::{Kept, VaultCache};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob, pack_key};
use crate::store::{Store, StoreErrorKind};
use crate::sync::lock;

/// Bytes that are read back with one call.
const READ_BACK_STEP: usize = 4 << 20;

/// A finished pack.
pub(crate) struct FullPack {
    pub(crate) id: Id,
    pub(crate) body: Bytes,
    pub(crate) blobs: Vec<PackedBlob>,
}

/// A pack that is in the store.
pub(crate) type StoredPack = (Id, Vec<PackedBlob>);

/// What is done with a pack that is in the store.
pub(crate) type OnStored = Box<dyn Fn(StoredPack) -> Result<()> + Send + Sync>;

/// The uploading threads and what they have done.
pub(crate) struct Uploads {
    queue: Option<Sender<FullPack>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    halt: Arc<Halt>,
    read_back: bool,
    cache: Option<VaultCache>,
    /// Takes note of each pack that is in the store.
    on_stored: OnStored,
    progress: Mutex<Progress>,
    settled: Condvar,
}

#[derive(Default)]
struct Progress {
    waiting: usize,
    packs: u64,
    bytes: u64,
}

impl Uploads {
    /// Starts `threads` uploaders.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        halt: Arc<Halt>,
        read_back: bool,
        cache: Option<VaultCache>,
        on_stored: OnStored,
        threads: usize,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            store,
            halt,
            read_back,
            cache,
            on_stored,
            progress: Mutex::default(),
            settled: Condvar::new(),
        });
        let (queue, packs) = bounded(1);
        let threads = (0..threads.max(1))
            .map(|_| {
                let (shared, packs) = (Arc::clone(&shared), packs.clone());
                std::thread::Builder::new()
                    .name("upload".to_owned())
                    .spawn(move || shared.work(&packs))
                    .map_err(|error| Error::io("start a thread for", "upload", error))
            })
            .collect::<Result<_>>()?;
        Ok(Self { queue: Some(queue), threads, shared })
    }

    /// Hands a pack over; waits while all uploaders are busy.
    pub(crate) fn send(&self, pack: FullPack) -> Result<()> {
        lock(&self.shared.progress).waiting += 1;
        let sent = self.queue.as_ref().map(|queue| queue.send(pack).is_ok());
        if sent == Some(true) {
            return Ok(());
        }
        // Nobody will take it: nobody may wait for it.
        drop(Settle(&self.shared));
        Err(Error::Cancelled)
    }

    /// The barrier: waits until every pack that was handed over is in the store or failed.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut progress = lock(&self.shared.progress);
        while progress.waiting > 0 {
            progress = self.shared.settled.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        drop(progress);
        self.shared.halt.outcome()
    }

    /// How many packs are in the store, and their bytes.
    pub(crate) fn stored(&self) -> (u64, u64) {
        let progress = lock(&self.shared.progress);
        (progress.packs, progress.bytes)
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // What panics there has been printed and stops the work, see `Shared::work`.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self, packs: &Receiver<FullPack>) {
        for pack in packs {
            let settle = Settle(self);
            // After a failure what still waits is thrown away.
            if self.halt.is_stopped() {
                continue;
            }
            // A thread that panics goes on, so that what is handed over is taken and thrown away:
            // whoever waits for it would wait for ever.
            let stored = catch_unwind(AssertUnwindSafe(|| self.store(pack)));
            let died = |_| Err(Error::Invalid("a working thread died".to_owned()));
            if let Err(error) = stored.unwrap_or_else(died) {
                self.halt.fail(error);
            }
            drop(settle);
        }
    }

    fn store(&self, pack: FullPack) -> Result<()> {
        put(&*self.store, &pack, self.read_back)?;
        let FullPack { id, body, blobs } = pack;
        let trees = blobs.first().is_some_and(|blob| blob.kind == BlobKind::Tree);
        if let Some(cache) = self.cache.as_ref().filter(|_| trees) {
            cache.put(Kept::Trees, &id, &body);
        }
        let mut progress = lock(&self.progress);
        progress.packs += 1;
        progress.bytes += body.len() as u64;
        drop(progress);
        // Its room is somebody else's while an index object is written.
        drop(body);
        (self.on_stored)((id, blobs))
    }
}

/// Stores a pack; with `read_back` it counts only if the store gives the same bytes back.
pub(crate) fn put(store: &dyn Store, pack: &FullPack, read_back: bool) -> Result<()> {
    let key = pack_key(&pack.id);
    match store.create(&key, std::slice::from_ref(&pack.body)) {
        Ok(()) => {}
        // The name is the content's hash; what stands there is compared below in any case.
        Err(error) if error.kind == StoreErrorKind::Exists => return verify(store, &key, pack),
        Err(error) => return Err(error.into()),
    }
    if read_back { verify(store, &key, pack) } else { Ok(()) }
}

/// Reads the pack from the store and compares it with the bytes whose hash is its name.
fn verify(store: &dyn Store, key: &str, pack: &FullPack) -> Result<()> {
    let mut offset = 0;
    for part in pack.body.chunks(READ_BACK_STEP) {
        let found = store.get_range(key, offset, part.len() as u64)?;
        if found != part {
            return Err(Error::damaged(key, "it reads back other bytes than were written"));
        }
        offset += part.len() as u64;
    }
    Ok(())
}

/// Counts a pack as done however its upload ends.
struct Settle<'a>(&'a Shared);

impl Drop for Settle<'_> {
    fn drop(&mut self) {
        lock(&self.0.progress).waiting -= 1;
        self.0.settled.notify_all();
    }
}
