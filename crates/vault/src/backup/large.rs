//! A file of more than one chunk: its segments are read and cut by all workers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

use super::Problem;
use super::engine::add;
use super::folder::{Batch, Done, Folder, complete};
use super::small::{Novelty, RETRIES, is_regular, open_file};
use super::walk::{Found, Walk};
use super::window::PAIRED;
use super::worker::Worker;
use crate::chunk::{self, SEGMENT, split};
use crate::error::Result;
use crate::id::Id;
use crate::meta::{self, Fingermark};
use crate::node::Node;
use crate::pack::BlobKind;
use crate::sync::lock;

/// A large file while its segments are on their way.
pub(crate) struct LargeFile {
    folder: Arc<Folder>,
    position: u32,
    fd: OwnedFd,
    before: Stat,
    node: Node,
    novelty: Novelty,
    attempt: u32,
    pending: AtomicUsize,
    cuts: Mutex<Cuts>,
}

/// What the segments came to.
#[derive(Default)]
struct Cuts {
    segments: Vec<Vec<Id>>,
    bytes: u64,
    failed: Option<Errno>,
}

impl LargeFile {
    /// How many segments there are; at least one.
    pub(crate) fn segments(&self) -> usize {
        usize::try_from(self.size().div_ceil(SEGMENT)).unwrap_or(usize::MAX).max(1)
    }

    fn size(&self) -> u64 {
        u64::try_from(self.before.st_size).unwrap_or(0)
    }

    /// True if fewer blocks are allocated than the size needs.
    fn has_holes(&self) -> bool {
        u64::try_from(self.before.st_blocks).unwrap_or(0).saturating_mul(512) < self.size()
    }
}

/// Puts an opened file on the schedule.
pub(crate) fn start(
    walk: &Walk<'_>,
    found: Found<'_>,
    fd: OwnedFd,
    novelty: Novelty,
    path: &Path,
    batch: &mut Batch,
) -> Result<()> {
    let before = match rustix::fs::fstat(&fd) {
        Ok(stat) if is_regular(&stat) => stat,
        Ok(_) => {
            walk.engine.problem(Problem::new(path, "was replaced before it was read"));
            batch.omit();
            return Ok(());
        }
        Err(error) => {
            walk.omit(batch, path, "read it", error);
            return Ok(());
        }
    };
    let Found { folder, position, node, .. } = found;
    schedule(walk, Arc::clone(folder), position, node, novelty, (fd, before), 0);
    Ok(())
}

fn schedule(
    walk: &Walk<'_>,
    folder: Arc<Folder>,
    position: u32,
    node: Node,
    novelty: Novelty,
    (fd, before): (OwnedFd, Stat),
    attempt: u32,
) {
    let mut file = LargeFile {
        folder,
        position,
        fd,
        before,
        node,
        novelty,
        attempt,
        pending: AtomicUsize::new(0),
        cuts: Mutex::default(),
    };
    let segments = file.segments();
    file.pending = AtomicUsize::new(segments);
    file.cuts = Mutex::new(Cuts { segments: vec![Vec::new(); segments], ..Cuts::default() });
    walk.schedule.push_large(Arc::new(file));
}

/// Works on one segment; the last one finishes the file.
pub(crate) fn segment(
    walk: &Walk<'_>,
    worker: &mut Worker,
    file: &Arc<LargeFile>,
    segment: usize,
) -> Result<()> {
    let start = segment as u64 * SEGMENT;
    let end = file.size().min(start + SEGMENT);
    let mut reading =
        Reading { walk, file: file.fd.as_fd(), next: start, end, ids: Vec::new(), failed: None };
    let bytes = reading.run(worker, file.has_holes())?;
    {
        let mut cuts = lock(&file.cuts);
        cuts.segments[segment] = reading.ids;
        cuts.bytes += bytes;
        cuts.failed = cuts.failed.or(reading.failed);
    }
    if file.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
        finish(walk, worker, file)
    } else {
        Ok(())
    }
}

/// One segment on its way through the window.
struct Reading<'a, 'w> {
    walk: &'a Walk<'w>,
    file: BorrowedFd<'a>,
    /// The offset that is read next.
    next: u64,
    end: u64,
    ids: Vec<Id>,
    failed: Option<Errno>,
}

impl Reading<'_, '_> {
    /// Cuts the segment and stores its chunks; returns its bytes, fewer if the file has shrunk.
    fn run(&mut self, worker: &mut Worker, has_holes: bool) -> Result<u64> {
        let engine = self.walk.engine;
        let start = self.next;
        let mut cut_to = start;
        worker.window.clear();
        while cut_to < self.end && self.failed.is_none() {
            if has_holes && let Some(length) = self.hole(cut_to) {
                let length = length.min(self.end - cut_to);
                self.ids.push(engine.store_zeros(&mut worker.sealer, length as usize)?);
                worker.window.consume(length as usize);
                cut_to += length;
                self.next = self.next.max(cut_to);
                engine.progress(length, 0);
                continue;
            }
            let lengths = self.next_cuts(worker, has_holes)?;
            let (chunks, _) = split(worker.window.bytes(), &lengths);
            if chunks.is_empty() {
                break;
            }
            self.ids.append(&mut engine.store_all(&mut worker.sealer, BlobKind::Data, &chunks)?);
            let length = lengths.iter().sum::<usize>();
            worker.window.consume(length);
            cut_to += length as u64;
            engine.progress(length as u64, 0);
        }
        Ok(cut_to - start)
    }

    /// The lengths of the next two chunks, to be hashed side by side; of one where the first is
    /// large or, with holes, the second might be one. None at the end of the file or after an error.
    fn next_cuts(&mut self, worker: &mut Worker, has_holes: bool) -> Result<Vec<usize>> {
        let first = self.next_cut(worker, 0)?;
        let one = has_holes || first == 0 || first > PAIRED;
        let second = if one { 0 } else { self.next_cut(worker, first)? };
        Ok([first, second].into_iter().filter(|length| *length > 0).collect())
    }

    /// Reads on until the cut that follows the first `from` bytes at hand is certain; 0 at the end
    /// of the file or after an error.
    fn next_cut(&mut self, worker: &mut Worker, from: usize) -> Result<usize> {
        let mut searched = 0;
        loop {
            let at_hand = &worker.window.bytes()[from..];
            if at_hand.is_empty() && self.next == self.end {
                return Ok(0);
            }
            // The cut before this one may have left enough.
            if self.next == self.end || at_hand.len() >= 2 * chunk::AVERAGE {
                let length = self.walk.engine.chunker.cut_after(at_hand, searched);
                searched = at_hand.len();
                let certain = length < at_hand.len() || length == chunk::MAX;
                if certain || self.next == self.end {
                    return Ok(length);
                }
            }
            self.walk.engine.halt.check()?;
            let room = worker.window.room(self.end - self.next);
            match rustix::io::pread(self.file, room, self.next) {
                // The file has shrunk: what there is ends here.
                Ok(0) => self.end = self.next,
                Ok(count) => {
                    worker.window.filled(count);
                    self.next += count as u64;
                    add(&self.walk.engine.counts.bytes_read, count as u64);
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.failed = Some(error);
                    return Ok(0);
                }
            }
        }
    }

    /// The length of the chunk of zeros that begins at `offset`, if a hole does.
    fn hole(&self, offset: u64) -> Option<u64> {
        let run = self.walk.engine.chunker.zero_run() as u64;
        let data = match rustix::fs::seek(self.file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            // Nothing but a hole up to the end of the file.
            Err(Errno::NXIO) => u64::MAX,
            Err(_) => return None,
        };
        (data >= self.end.min(offset + run)).then_some(run)
    }
}

/// All segments are done: was it one file all the time?
fn finish(walk: &Walk<'_>, worker: &mut Worker, file: &Arc<LargeFile>) -> Result<()> {
    let path = file.folder.path_of(file.position);
    let cuts = std::mem::take(&mut *lock(&file.cuts));
    let mut batch = Batch::new(&file.folder);
    let after = match cuts.failed {
        Some(error) => Err(error),
        None => rustix::fs::fstat(&file.fd),
    };
    match after {
        Err(error) => walk.omit(&mut batch, &path, "read it", error),
        Ok(after) => {
            let steady = Fingermark::from(&file.before) == Fingermark::from(&after)
                && cuts.bytes == file.size();
            if !steady && file.attempt < RETRIES && again(walk, file) {
                return Ok(());
            }
            if !steady {
                walk.engine.problem(Problem::new(&path, "changed while it was read"));
            }
            let mut node = file.node.clone();
            meta::update_from_stat(&mut node, &file.before);
            node.size = cuts.bytes;
            node.content = Some(cuts.segments.concat());
            node.extended_attributes = walk.attributes(&path, meta::open_handle(&file.fd));
            let counts = &walk.engine.counts;
            add(file.novelty.count(counts), 1);
            counts.content(node.size, &file.before);
            walk.engine.progress(0, 1);
            batch.push(file.position, Done { node, print: None })?;
        }
    }
    complete(walk.engine, &mut worker.sealer, &file.folder, batch)
}

/// Reads the file once more, by its name, for it may have been replaced. False if that is not
/// possible: then what was read counts.
fn again(walk: &Walk<'_>, file: &Arc<LargeFile>) -> bool {
    let opened = open_file(&file.folder, file.position).and_then(|fd| {
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, stat))
    });
    match opened {
        Ok((fd, stat)) if is_regular(&stat) => {
            let (folder, node) = (Arc::clone(&file.folder), file.node.clone());
            let attempt = file.attempt + 1;
            schedule(walk, folder, file.position, node, file.novelty, (fd, stat), attempt);
            true
        }
        _ => false,
    }
}
