//! Sealed blobs gather in open packs; a full one goes to the uploaders.
//!
//! A blob joins one of a few open packs at random, so that the order and the sizes in a pack tell
//! an onlooker nothing about one file. Data and trees are kept apart.
//!
//! A pack is named by the hash of all its bytes. What was sealed into it last is hashed beside the
//! next content whose id is wanted ([`Packer::ids_of`]): two streams in little more than the time
//! of one (see `sha`).

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::budget::ByteBudget;
use super::buffers::{Buffer, Buffers};
use super::halt::Halt;
use super::upload::{FullPack, Uploads};
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::sha::{self, Hasher};
use crate::sync::lock;

/// Room beyond the target size that a pack's last blob and the header mostly need.
const SLACK: usize = 1 << 20;
/// Bytes of a pack that are hashed beside contents, however small those are.
const BESIDE: usize = 4 << 10;
/// How often a waiting worker looks whether the work was given up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A pack that still takes blobs.
pub(crate) struct OpenPack {
    buffer: Buffer,
    blobs: Vec<PackedBlob>,
    /// Has taken in the first `hashed` bytes of the buffer.
    hasher: Hasher,
    hashed: usize,
}

/// The open packs of one backup.
pub(crate) struct Packer {
    target: usize,
    budget: ByteBudget,
    halt: Arc<Halt>,
    buffers: Buffers,
    data: Shelf,
    trees: Shelf,
}

/// The open packs of a kind. Their number is fixed, so that the budget can hold them all and
/// uploads besides: whoever waits for the budget waits for an upload, never for another pack.
struct Shelf {
    places: usize,
    state: Mutex<ShelfState>,
    returned: Condvar,
}

#[derive(Default)]
struct ShelfState {
    open: Vec<OpenPack>,
    /// Places that workers hold at the moment.
    out: usize,
}

/// A worker's hold on one place; given back when it is dropped.
struct Place<'a> {
    shelf: &'a Shelf,
    pack: Option<OpenPack>,
}

impl Packer {
    /// Packs of about `target` bytes; data blobs are spread over `spread` of them. The budget must
    /// hold at least [`Packer::open_packs`] packs.
    pub(crate) fn new(target: usize, spread: usize, budget: ByteBudget, halt: Arc<Halt>) -> Self {
        let (data, trees) = (Shelf::new(spread), Shelf::new(1));
        Self { target, budget, halt, buffers: Buffers::default(), data, trees }
    }

    /// How many packs are open at most.
    pub(crate) fn open_packs(spread: usize) -> usize {
        spread + 1
    }

    /// Bytes of the budget that one pack takes.
    pub(crate) fn pack_cost(target: usize) -> usize {
        target + SLACK
    }

    /// The ids of several contents. A pack that is at hand catches up with its own hash beside them.
    pub(crate) fn ids_of(&self, kind: BlobKind, contents: &[&[u8]]) -> Vec<Id> {
        let mut place = self.shelf(kind).lagging();
        // As much as goes beside the contents, and a little more, for what sealing adds.
        let limit = contents.iter().map(|content| content.len()).sum::<usize>() * 9 / 8 + BESIDE;
        let ids = sha::ids_beside(contents, catching_up(&mut place, limit));
        give_back(place);
        ids
    }

    /// Seals `payload` into an open pack. `uncompressed` is the content's length if the payload is
    /// compressed, else 0. Returns the sealed blob's bytes.
    pub(crate) fn add(
        &self,
        uploads: &Uploads,
        key: &Key,
        blob: (BlobKind, Id),
        payload: &[u8],
        uncompressed: usize,
    ) -> Result<usize> {
        let (kind, id) = blob;
        // Whatever happens, the place is free again afterwards.
        let mut place = self.take_place(kind)?;
        let mut pack = match place.pack.take() {
            Some(pack) => pack,
            None => self.open()?,
        };
        let length = pack.add(key, kind, id, payload, uncompressed)?;
        if pack.buffer.len() >= self.target {
            self.catch_up(kind, &mut pack);
            uploads.send(pack.finish(key)?)?;
        } else {
            lock(&place.shelf.state).open.push(pack);
        }
        Ok(length)
    }

    /// The hash of a full pack takes in what it lacks, and beside it another pack's.
    fn catch_up(&self, kind: BlobKind, pack: &mut OpenPack) {
        let mut other = self.shelf(kind).lagging();
        let beside = catching_up(&mut other, pack.lag());
        sha::update_together([pack.catching_up(usize::MAX)].into_iter().chain(beside));
        give_back(other);
    }

    /// Sends every open pack, small ones of a kind together. No worker may hold one.
    pub(crate) fn flush(&self, uploads: &Uploads, key: &Key) -> Result<()> {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            let mut open = std::mem::take(&mut lock(&self.shelf(kind).state).open).into_iter();
            let Some(mut pack) = open.next() else { continue };
            for next in open {
                if pack.buffer.len() + next.buffer.len() <= self.target + SLACK {
                    pack.append(next)?;
                } else {
                    uploads.send(std::mem::replace(&mut pack, next).finish(key)?)?;
                }
            }
            uploads.send(pack.finish(key)?)?;
        }
        Ok(())
    }

    /// Takes the place of an open pack, or of one to be opened, at random. Waits while all places
    /// are taken.
    fn take_place(&self, kind: BlobKind) -> Result<Place<'_>> {
        let shelf = self.shelf(kind);
        let pick = random_below(shelf.places)?;
        let mut state = lock(&shelf.state);
        while state.open.is_empty() && state.out >= shelf.places {
            self.halt.check()?;
            let waited = shelf.returned.wait_timeout(state, LOOK_AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let open = state.open.len();
        let reuse = pick < open || open + state.out >= shelf.places;
        state.out += 1;
        let pack = if reuse { Some(state.open.swap_remove(pick % open)) } else { None };
        Ok(Place { shelf, pack })
    }

    fn open(&self) -> Result<OpenPack> {
        let cost = Self::pack_cost(self.target);
        let permit = self.budget.acquire(cost).ok_or(Error::Cancelled)?;
        let buffer = self.buffers.take(cost, permit);
        Ok(OpenPack { buffer, blobs: Vec::new(), hasher: Hasher::new(), hashed: 0 })
    }

    fn shelf(&self, kind: BlobKind) -> &Shelf {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }
}

impl Shelf {
    fn new(places: usize) -> Self {
        Self { places, state: Mutex::default(), returned: Condvar::new() }
    }

    /// The place of the open pack whose hash lags most, if one lags that nobody works on. Does not
    /// wait.
    fn lagging(&self) -> Option<Place<'_>> {
        let mut state = lock(&self.state);
        let lag = |at: &usize| state.open[*at].lag();
        let most = (0..state.open.len()).max_by_key(lag).filter(|at| lag(at) > 0)?;
        state.out += 1;
        let pack = state.open.swap_remove(most);
        Some(Place { shelf: self, pack: Some(pack) })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.shelf.state).out -= 1;
        self.shelf.returned.notify_one();
    }
}

impl OpenPack {
    fn add(
        &mut self,
        key: &Key,
        kind: BlobKind,
        id: Id,
        payload: &[u8],
        uncompressed: usize,
    ) -> Result<usize> {
        let start = self.buffer.len();
        key.seal_into(payload, &mut self.buffer)?;
        let length = self.buffer.len() - start;
        self.blobs.push(PackedBlob {
            kind,
            id,
            offset: number(start)?,
            length: number(length)?,
            uncompressed_length: number(uncompressed)?,
        });
        Ok(length)
    }

    fn append(&mut self, other: OpenPack) -> Result<()> {
        let start = number(self.buffer.len())?;
        self.buffer.extend_from_slice(&other.buffer);
        for mut blob in other.blobs {
            blob.offset = blob.offset.checked_add(start).ok_or_else(too_large)?;
            self.blobs.push(blob);
        }
        Ok(())
    }

    fn finish(mut self, key: &Key) -> Result<FullPack> {
        let tail = pack::seal_header(key, &self.blobs)?;
        self.buffer.extend_from_slice(&tail);
        let (hasher, rest) = self.catching_up(usize::MAX);
        hasher.update(rest);
        let id = self.hasher.finish();
        Ok(FullPack { id, body: Bytes::from_owner(self.buffer), blobs: self.blobs })
    }

    /// Bytes that are in the pack and not yet in its hash.
    fn lag(&self) -> usize {
        self.buffer.len() - self.hashed
    }

    /// The hash and the bytes that it takes in now, at most `limit`.
    fn catching_up(&mut self, limit: usize) -> (&mut Hasher, &[u8]) {
        let to = self.buffer.len().min(self.hashed.saturating_add(limit));
        let from = std::mem::replace(&mut self.hashed, to);
        (&mut self.hasher, &self.buffer[from..to])
    }
}

fn catching_up<'a>(
    place: &'a mut Option<Place<'_>>,
    limit: usize,
) -> Option<(&'a mut Hasher, &'a [u8])> {
    Some(place.as_mut()?.pack.as_mut()?.catching_up(limit))
}

/// The pack of a place is open again.
fn give_back(place: Option<Place<'_>>) {
    if let Some(mut place) = place {
        lock(&place.shelf.state).open.extend(place.pack.take());
    }
}

fn number(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| too_large())
}

fn too_large() -> Error {
    Error::Invalid("a pack would become larger than 4 GiB".to_owned())
}

/// A random number below a small bound. Random bytes are fetched for many at once: for small blobs
/// the call would cost more than all else here.
fn random_below(bound: usize) -> Result<usize> {
    thread_local! {
        static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if bound < 2 {
        return Ok(0);
    }
    POOL.with_borrow_mut(|pool| {
        if pool.is_empty() {
            pool.resize(256, 0);
            getrandom::fill(pool)?;
        }
        Ok(pool.pop().map_or(0, usize::from) % bound)
    })
}
