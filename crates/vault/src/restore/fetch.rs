//! Reading what a window of files needs: pack by pack, each blob once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Rehash;
use super::files::{OpenFiles, Room, TargetFile};
use super::opener::{self, Opener, Sealed};
use crate::chunk::is_zero;
use crate::error::{Error, Result};
use crate::flaw::ReadFailure;
use crate::id::Id;
use crate::index::Location;
use crate::monitor::Stage;
use crate::pack::{BlobKind, pack_key};
use crate::parallel;
use crate::sync::lock;
use crate::vault::{Vault, into_mutable};

/// Bytes between two wanted blobs that are read along.
const GAP: u64 = 64 << 10;
/// What was pressed to less than this part is zeros, mostly.
const PRESSED: u32 = 256;
/// One read is at most this long, unless one blob is longer.
const READ: u64 = 4 << 20;

/// One place that a blob goes to.
struct Wanted {
    location: Location,
    id: Id,
    file: u32,
    offset: u64,
}

/// Restores the content of the files. Their results stay in them; a store that fails, a full disk
/// and a request to stop end it.
pub(super) fn write(
    vault: &Vault,
    (threads, rehash): (usize, Rehash),
    files: &[TargetFile],
) -> Result<()> {
    let (wanted, rooms) = plan(vault, files)?;
    let reads: Vec<&[Wanted]> = wanted.chunk_by(joined()).collect();
    let empty: Vec<&TargetFile> =
        files.iter().filter(|file| !file.is_done() && is_empty(file)).collect();
    let fetch = Fetch {
        vault,
        files,
        rooms: &rooms,
        rehash,
        open: OpenFiles::default(),
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                if let Err(error) = fetch.work(&reads, &empty) {
                    lock(&fetch.failure).get_or_insert(error);
                    fetch.stopped.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    match lock(&fetch.failure).take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The threads of a restore.
pub(super) fn threads(wanted: usize) -> usize {
    match wanted {
        0 => (2 * parallel::threads()).min(8),
        threads => threads,
    }
}

fn is_empty(file: &TargetFile) -> bool {
    file.node.content.as_ref().is_none_or(Vec::is_empty)
}

/// Finds every blob that is not there; a file with one that no pack holds is marked. Sorted by place,
/// with the room that each file's content takes.
fn plan(vault: &Vault, files: &[TargetFile]) -> Result<(Vec<Wanted>, Vec<Room>)> {
    let index = vault.index()?;
    let mut wanted = Vec::new();
    let mut rooms = Vec::with_capacity(files.len());
    for (number, file) in files.iter().enumerate() {
        let begun = wanted.len();
        let mut offset = 0;
        let mut solid = true;
        for (blob, id) in file.node.content.iter().flatten().enumerate() {
            if file.is_done() {
                break;
            }
            let location = match index.lookup(BlobKind::Data, id) {
                Some(location) => Some(location),
                None => vault.locate(BlobKind::Data, id)?.first().copied(),
            };
            let Some(location) = location else {
                file.fail(&format!("its blob {} is in no pack", id.short()));
                wanted.truncate(begun);
                break;
            };
            if !file.has(blob) {
                wanted.push(Wanted { location, id: *id, file: number as u32, offset });
            }
            offset += u64::from(location.content_length());
            solid &= location.length > location.content_length() / PRESSED;
        }
        if wanted.len() > begun && offset != file.node.size {
            file.note(&format!("has {offset} bytes, although its size is {}", file.node.size));
        }
        rooms.push(Room { length: offset, solid });
    }
    wanted.sort_unstable_by_key(|wanted| {
        (wanted.location.pack, wanted.location.offset, wanted.id, wanted.file, wanted.offset)
    });
    Ok((wanted, rooms))
}

/// Whether a blob is read together with the one before it.
fn joined() -> impl FnMut(&Wanted, &Wanted) -> bool {
    let mut start = None;
    move |left, right| {
        let end =
            |wanted: &Wanted| u64::from(wanted.location.offset) + u64::from(wanted.location.length);
        let begun = *start.get_or_insert(u64::from(left.location.offset));
        let next = u64::from(right.location.offset);
        let same_blob = left.location == right.location;
        let near = left.location.pack == right.location.pack
            && next >= end(left)
            && next - end(left) <= GAP
            && end(right) - begun <= READ;
        if !same_blob && !near {
            start = Some(next);
        }
        same_blob || near
    }
}

struct Fetch<'a> {
    vault: &'a Vault,
    files: &'a [TargetFile],
    rooms: &'a [Room],
    rehash: Rehash,
    open: OpenFiles,
    next: AtomicUsize,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Fetch<'_> {
    fn work(&self, reads: &[&[Wanted]], empty: &[&TargetFile]) -> Result<()> {
        let mut opener = Opener::new(self.rehash)?;
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.vault.stop_if_cancelled()?;
            if let Some(read) = reads.get(at) {
                self.read(&mut opener, read)?;
            } else if let Some(file) = empty.get(at - reads.len()) {
                file.write_empty(&self.open)?;
                self.vault.environment().monitor.advance(Stage::Restore, 0, 1);
            } else {
                return Ok(());
            }
        }
    }

    /// Reads one stretch of a pack and writes each of its blobs wherever it belongs.
    fn read(&self, opener: &mut Opener, read: &[Wanted]) -> Result<()> {
        let (Some(first), Some(last)) = (read.first(), read.last()) else { return Ok(()) };
        let start = u64::from(first.location.offset);
        let end = u64::from(last.location.offset) + u64::from(last.location.length);
        let key = pack_key(&first.location.pack);
        let mut bytes = match self.vault.store().get_range(&key, start, end - start) {
            Ok(bytes) if bytes.len() as u64 == end - start => Some(into_mutable(bytes)),
            // The other ways to each blob are tried below.
            Ok(_) => None,
            Err(error) => match ReadFailure::from(error) {
                ReadFailure::Damaged(_) => None,
                ReadFailure::Store(error) => return Err(error),
            },
        };
        let same = |left: &Wanted, right: &Wanted| {
            // What two ids share only by the word of an index is proven of one of them.
            left.location == right.location && left.id == right.id
        };
        let blobs = read.chunk_by(same);
        let blobs: Vec<&[Wanted]> = blobs.collect();
        let Some(bytes) = &mut bytes else {
            return blobs.into_iter().try_for_each(|targets| self.deliver_otherwise(targets));
        };
        let mut sealed = cut(bytes, start, &blobs);
        let (mut blobs, mut sealed) = (&blobs[..], &mut sealed[..]);
        while !sealed.is_empty() {
            let count = opener::together(sealed);
            let (now, later) = sealed.split_at_mut(count);
            for (targets, content) in blobs.iter().zip(opener.open(self.vault.key(), now)) {
                match content {
                    Ok(content) => self.deliver(targets, &content)?,
                    Err(_) => self.deliver_otherwise(targets)?,
                }
            }
            (blobs, sealed) = (&blobs[count..], later);
        }
        Ok(())
    }

    /// The pack does not give the blob: others may.
    fn deliver_otherwise(&self, targets: &[Wanted]) -> Result<()> {
        match self.vault.load_blob(BlobKind::Data, &targets[0].id) {
            Ok(content) => self.deliver(targets, &content),
            Err(error @ Error::Damaged { .. }) => {
                for wanted in targets {
                    let file = &self.files[wanted.file as usize];
                    file.fail(&error.to_string());
                    file.came(&self.open, None)?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn deliver(&self, targets: &[Wanted], content: &[u8]) -> Result<()> {
        let zero = is_zero(content);
        let monitor = &self.vault.environment().monitor;
        for wanted in targets {
            let file = &self.files[wanted.file as usize];
            if content.len() as u64 != u64::from(wanted.location.content_length()) {
                file.fail("a blob has another length than the index says");
            }
            let room = self.rooms[wanted.file as usize];
            file.write(&self.open, content, zero, wanted.offset, room)?;
            monitor.advance(Stage::Restore, content.len() as u64, u64::from(wanted.offset == 0));
        }
        Ok(())
    }
}

/// Cuts the blobs out of a stretch of their pack that begins at `start`. What does not lie where the
/// index says is empty, and will not open.
fn cut<'a>(mut bytes: &'a mut [u8], start: u64, blobs: &[&[Wanted]]) -> Vec<Sealed<'a>> {
    let mut at = start;
    let mut take = |wanted: &Wanted| {
        let from = u64::from(wanted.location.offset).checked_sub(at)?;
        let end = from + u64::from(wanted.location.length);
        let (blob, rest) = std::mem::take(&mut bytes).split_at_mut_checked(end as usize)?;
        (bytes, at) = (rest, at + end);
        Some(&mut blob[from as usize..])
    };
    let sealed = |targets: &&[Wanted]| Sealed {
        id: targets[0].id,
        uncompressed_length: targets[0].location.uncompressed_length,
        bytes: take(&targets[0]).unwrap_or_default(),
    };
    blobs.iter().map(sealed).collect()
}
