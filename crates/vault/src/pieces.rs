//! Hashes of the pieces of files that stand on disk. Holes are neither read nor hashed byte by
//! byte; the other pieces are hashed some side by side, read a little of each at a time.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Mutex;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::Result;
use crate::id::Id;
use crate::parallel;
use crate::sha::{self, Hasher};
use crate::sync::lock;
use crate::vault::Vault;

/// Bytes that one thread hashes at a time, unless one piece is longer.
const SHARE: u64 = 16 << 20;
/// Shares smaller than this are hashed together.
const TOGETHER: u64 = 1 << 20;
/// Pieces that are hashed side by side, and how much of each is read at once: together they fit
/// into a core's own cache.
const LANES: usize = 3;
const STEP: usize = 128 << 10;

/// The ids of pieces of zeros, by length: each is computed once, however large the holes are.
#[derive(Default)]
pub(crate) struct Zeros(Mutex<HashMap<usize, Id>>);

impl Zeros {
    fn id(&self, length: usize) -> Id {
        if let Some(id) = lock(&self.0).get(&length) {
            return *id;
        }
        let id = Id::of(&vec![0; length]);
        lock(&self.0).insert(length, id);
        id
    }
}

/// Adjoining pieces of one file.
#[derive(Clone, Copy)]
pub(crate) struct Share<'a> {
    pub(crate) path: &'a Path,
    pub(crate) offset: u64,
    pub(crate) lengths: &'a [u64],
}

impl Share<'_> {
    fn bytes(&self) -> u64 {
        self.lengths.iter().sum()
    }
}

/// Cuts a file's pieces into shares of some adjoining ones.
pub(crate) fn shares<'a>(path: &'a Path, lengths: &'a [u64]) -> impl Iterator<Item = Share<'a>> {
    let mut rest = lengths;
    let mut offset = 0;
    std::iter::from_fn(move || {
        let (mut count, mut bytes) = (0, 0);
        while count < rest.len() && (count == 0 || bytes + rest[count] <= SHARE) {
            bytes += rest[count];
            count += 1;
        }
        let (lengths, after) = rest.split_at(count);
        let share = Share { path, offset, lengths };
        (rest, offset) = (after, offset + bytes);
        (count > 0).then_some(share)
    })
}

/// The ids of the pieces of each share, or why its file cannot be read.
pub(crate) fn hash(
    vault: &Vault,
    shares: &[Share<'_>],
    threads: usize,
    zeros: &Zeros,
) -> Result<Vec<io::Result<Vec<Id>>>> {
    let mut bytes = 0;
    let groups: Vec<&[Share<'_>]> = shares
        .chunk_by(|left, right| {
            bytes += left.bytes();
            let together = bytes + right.bytes() <= TOGETHER;
            if !together {
                bytes = 0;
            }
            together
        })
        .collect();
    let hashed = parallel::map(&groups, threads, |group| {
        vault.stop_if_cancelled()?;
        Ok(Lanes::new(group, zeros).run())
    })?;
    Ok(hashed.into_iter().flatten().collect())
}

/// A piece on its way.
struct Lane {
    file: Rc<File>,
    share: usize,
    piece: usize,
    offset: u64,
    left: usize,
    hasher: Hasher,
}

/// The pieces of some shares, [`LANES`] at a time.
struct Lanes<'a> {
    shares: &'a [Share<'a>],
    zeros: &'a Zeros,
    /// The share whose pieces begin next.
    next: usize,
    open: Option<Open>,
    ids: Vec<io::Result<Vec<Id>>>,
}

/// A share some of whose pieces have begun.
struct Open {
    file: Rc<File>,
    size: u64,
    has_holes: bool,
    piece: usize,
    offset: u64,
}

impl<'a> Lanes<'a> {
    fn new(shares: &'a [Share<'a>], zeros: &'a Zeros) -> Self {
        let empty = |share: &Share<'_>| Ok(vec![Id::from_bytes([0; 32]); share.lengths.len()]);
        Lanes { shares, zeros, next: 0, open: None, ids: shares.iter().map(empty).collect() }
    }

    fn run(mut self) -> Vec<io::Result<Vec<Id>>> {
        let mut lanes: Vec<Lane> = Vec::with_capacity(LANES);
        let mut buffer = vec![0; LANES * STEP];
        loop {
            while lanes.len() < LANES {
                let Some(lane) = self.begin() else { break };
                lanes.push(lane);
            }
            if lanes.is_empty() {
                return self.ids;
            }
            let mut work = Vec::with_capacity(LANES);
            for (lane, buffer) in lanes.iter_mut().zip(buffer.chunks_exact_mut(STEP)) {
                let bytes = &mut buffer[..lane.left.min(STEP)];
                match lane.file.read_exact_at(bytes, lane.offset) {
                    Ok(()) => work.push((&mut lane.hasher, &*bytes)),
                    Err(error) => {
                        self.ids[lane.share] = Err(error);
                        lane.left = bytes.len();
                    }
                }
                lane.offset += bytes.len() as u64;
                lane.left -= bytes.len();
            }
            sha::update_together(work);
            for lane in lanes.extract_if(.., |lane| lane.left == 0) {
                if let Ok(ids) = &mut self.ids[lane.share] {
                    ids[lane.piece] = lane.hasher.finish();
                }
            }
        }
    }

    /// The next piece that is to be read. Holes on the way are done, and shares whose file cannot
    /// be read are passed over.
    fn begin(&mut self) -> Option<Lane> {
        while let Some(share) = self.shares.get(self.next) {
            match self.begin_in(share) {
                Ok(Some(lane)) => return Some(lane),
                Ok(None) => {}
                Err(error) => self.ids[self.next] = Err(error),
            }
            self.open = None;
            self.next += 1;
        }
        None
    }

    /// The next piece of this share, if there is one.
    fn begin_in(&mut self, share: &Share<'_>) -> io::Result<Option<Lane>> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(open(share)?),
        };
        while let (Some(length), Ok(ids)) =
            (share.lengths.get(open.piece), &mut self.ids[self.next])
        {
            let left = usize::try_from(*length)
                .map_err(|_| io::Error::other("a piece is longer than the memory"))?;
            let (piece, offset) = (open.piece, open.offset);
            (open.piece, open.offset) = (piece + 1, offset + length);
            let is_hole = open.has_holes && is_hole(&open.file, offset, *length, open.size);
            if left > 0 && !is_hole {
                let (file, share, hasher) = (Rc::clone(&open.file), self.next, Hasher::new());
                return Ok(Some(Lane { file, share, piece, offset, left, hasher }));
            }
            ids[piece] = self.zeros.id(left);
        }
        Ok(None)
    }
}

fn open(share: &Share<'_>) -> io::Result<Open> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(share.path)?;
    let metadata = file.metadata()?;
    let has_holes = metadata.blocks().saturating_mul(512) < metadata.len();
    let (size, offset) = (metadata.len(), share.offset);
    Ok(Open { file: Rc::new(file), size, has_holes, piece: 0, offset })
}

/// True if the file system says that nothing is stored of a piece, which then reads as zeros.
fn is_hole(file: &File, offset: u64, length: u64, size: u64) -> bool {
    let end = offset.saturating_add(length);
    end <= size
        && match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data >= end,
            // Nothing but a hole up to the end of the file.
            Err(error) => error == Errno::NXIO,
        }
}
