//! Brings a restored base along the journal: the newest image of every page that changed since goes
//! into the file, which then has the size that the last range states.
//!
//! Pieces are read once, from the newest to the oldest, the next one while the last one is written;
//! a bit a page remembers what is newer already. From the first write on until the rolling checksum
//! of the whole file is the one that the journal states, the file begins with another text than
//! SQLite's, so that a copy that was cut off is refused by everything that opens it.

mod target;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Manifest, SqliteContent};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::ports::{
    EngineError, LogReader, Piece, RecoverContext, RecoverTo, Recovered,
};

use super::judge;
use super::stream::facts;
use super::stream::sum::{Sum, lock_page};
use target::{Choice, Target, choose};

/// What stands at the beginning of a file that is not finished; SQLite's own text has as many bytes.
const UNFINISHED: &[u8; 16] = b"lifeboat-partial";
/// Bytes that are read at once for the checksum, whole pages of any size.
const STRETCH: usize = 1 << 20;

/// Copies that were brought along a journal, with the size that they then had.
#[derive(Debug, Default)]
pub(super) struct Moved(Mutex<HashMap<PathBuf, u64>>);

impl Moved {
    /// The length of a copy that is newer than its manifest.
    pub fn length(&self, copy: &Path) -> Option<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&name(copy)).copied()
    }

    fn remember(&self, copy: &Path, length: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name(copy), length);
    }
}

fn name(copy: &Path) -> PathBuf {
    copy.canonicalize().unwrap_or_else(|_| copy.to_owned())
}

/// See [`lifeboat_recovery::ports::Engine::recover`].
pub(super) fn recover(
    (copy, file): (&Path, &str),
    manifest: &Manifest,
    log: Option<&dyn LogReader>,
    to: &RecoverTo,
    context: &RecoverContext<'_>,
    moved: &Moved,
) -> Result<Option<Recovered>, EngineError> {
    let log = match (log, to) {
        (_, RecoverTo::Base) | (None, RecoverTo::Newest) => return Ok(None),
        (Some(log), _) => log,
        (None, _) => {
            return Err(refused(
                "the snapshot alone leads to no other point than its own",
                "name a point that the journal leads to; `lifeboat list` shows them",
            ));
        }
    };
    let content = judge::sqlite(manifest)
        .map_err(|check| failed(format!("the manifest is of {}", check.found), None))?;
    let base = manifest.position.as_ref().ok_or_else(|| {
        refused(
            "no stream vouches for what this snapshot holds, so no journal leads on from it",
            "restore from an older snapshot, or name this one",
        )
    })?;
    if base.lineage != log.start().lineage {
        return Err(failed("the journal is of another lineage than the snapshot".to_owned(), None));
    }
    let path = judge::locate(copy, file);
    let as_it_is = |complete_up_to| {
        let (position, checks) = (Some(base.clone()), judge::content(copy, manifest));
        Ok(Some(Recovered { position, complete_up_to, checks, notes: Vec::new() }))
    };
    let target = match choose(log, base.position, manifest, to)? {
        Choice::Base => return as_it_is(None),
        Choice::Idle(time) => return as_it_is(Some(time)),
        Choice::Along(target) => target,
    };
    let found = apply(&path, content, log, &target, context)?;
    moved.remember(copy, u64::from(target.page_size) * u64::from(target.page_count));
    Ok(Some(told(log, &target, found)))
}

fn told(log: &dyn LogReader, target: &Target<'_>, found: Sum) -> Recovered {
    let position = Position::new(0, target.txid);
    Recovered {
        position: Some(LogPosition { lineage: log.start().lineage, position }),
        complete_up_to: Some(target.time),
        checks: vec![CheckResult::compare(
            format!("rolling checksum at batch {}", target.txid),
            target.after,
            found,
        )],
        notes: target.notes.clone(),
    }
}

/// Writes the pages and proves the file; returns its checksum.
fn apply(
    path: &Path,
    content: &SqliteContent,
    log: &dyn LogReader,
    target: &Target<'_>,
    context: &RecoverContext<'_>,
) -> Result<Sum, EngineError> {
    let io = |error| io_failed(path, error);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    let mut copy = Copy::new(file, content, target).map_err(io)?;
    copy.file.write_all_at(UNFINISHED, 0).map_err(io)?;
    copy.file.sync_data().map_err(io)?;
    newest_first(log, target, context, |piece, bytes| {
        let pages = facts::pages(bytes, target.page_size).map_err(|why| broken(piece, &why))?;
        for (page, image) in pages {
            copy.put(page, image).map_err(io)?;
        }
        Ok(())
    })?;
    let length = u64::from(target.page_size) * u64::from(target.page_count);
    copy.file.set_len(length).map_err(io)?;
    let (size, count) = (target.page_size, target.page_count);
    let found = add_up(&copy.file, size, count, &copy.first).map_err(io)?;
    if found != target.after {
        return Err(failed(
            format!(
                "the snapshot and the journal do not make the database as it was at batch {}: its \
                 checksum is {found}, not {}; nothing was finished, and an older snapshot may lead there",
                target.txid, target.after
            ),
            None,
        ));
    }
    copy.file.sync_data().map_err(io)?;
    // What makes it a database again comes last.
    copy.file.write_all_at(&copy.first, 0).map_err(io)?;
    copy.file.sync_all().map_err(io)?;
    Ok(found)
}

/// The file that is being written.
struct Copy {
    file: File,
    /// A bit a page: it has its newest image.
    seen: Vec<u64>,
    page_count: u32,
    lock: u32,
    /// The first page as it will be.
    first: Vec<u8>,
}

impl Copy {
    fn new(file: File, content: &SqliteContent, target: &Target<'_>) -> io::Result<Copy> {
        let (size, page_count) = (target.page_size, target.page_count);
        let mut first = vec![0; size as usize];
        if content.page_size == size && content.page_count > 0 {
            file.read_exact_at(&mut first, 0)?;
        }
        let seen = vec![0; (page_count as usize + 1).div_ceil(64)];
        Ok(Copy { file, seen, page_count, lock: lock_page(size), first })
    }

    /// Writes a page, unless a newer image of it stands there.
    fn put(&mut self, page: u32, image: &[u8]) -> io::Result<()> {
        if page == 0 || page > self.page_count || page == self.lock {
            return Ok(());
        }
        let (word, bit) = (page as usize / 64, 1 << (page % 64));
        if self.seen[word] & bit != 0 {
            return Ok(());
        }
        self.seen[word] |= bit;
        if page == 1 {
            self.first.copy_from_slice(image);
            return Ok(());
        }
        self.file.write_all_at(image, u64::from(page - 1) * image.len() as u64)
    }
}

/// Reads the target's ranges from the newest to the oldest, one ahead.
fn newest_first(
    log: &dyn LogReader,
    target: &Target<'_>,
    context: &RecoverContext<'_>,
    mut take: impl FnMut(&Piece, &[u8]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Result<Bytes, EngineError>>(1);
        scope.spawn(move || {
            for piece in target.ranges.iter().rev() {
                let read = log.read(piece);
                let last = read.is_err();
                // Nobody listens any more: the work has ended otherwise.
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        for piece in target.ranges.iter().rev() {
            if context.cancel.is_cancelled() {
                return Err(failed("stopped on request".to_owned(), None));
            }
            let read = receiver.recv();
            let bytes = read.map_err(|_| broken(piece, "it was not read"))??;
            take(piece, &bytes)?;
        }
        Ok(())
    })
}

/// The checksum of the file's first pages, with `first` in place of its first page.
fn add_up(file: &File, size: u32, count: u32, first: &[u8]) -> io::Result<Sum> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(8));
    let share = count.div_ceil(threads as u32).max(1);
    let sums = std::thread::scope(|scope| {
        let starts = (0..count).step_by(share as usize);
        let work = starts.map(|start| {
            let end = count.min(start.saturating_add(share));
            scope.spawn(move || add_up_part(file, size, (start, end), first))
        });
        let work: Vec<_> = work.collect();
        let ends = work
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.collect::<io::Result<Vec<Sum>>>()
    })?;
    let mut sum = Sum(0);
    sums.into_iter().for_each(|part| sum ^= part);
    Ok(sum)
}

fn add_up_part(file: &File, size: u32, (start, end): (u32, u32), first: &[u8]) -> io::Result<Sum> {
    let together = (STRETCH / size as usize) as u32;
    let (mut sum, mut next) = (Sum(0), start);
    let mut buffer = vec![0; STRETCH];
    while next < end {
        let count = together.min(end - next);
        let bytes = &mut buffer[..count as usize * size as usize];
        file.read_exact_at(bytes, u64::from(next) * u64::from(size))?;
        for (number, page) in (next + 1..).zip(bytes.chunks_exact(size as usize)) {
            let page = if number == 1 { first } else { page };
            sum ^= Sum::of(number, page);
        }
        next += count;
    }
    Ok(sum)
}

fn refused(what: &str, hint: &str) -> EngineError {
    EngineError::Refused { what: what.to_owned(), hint: hint.to_owned() }
}

fn failed(what: String, source: Option<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::Failed { what, source }
}

fn broken(piece: &Piece, why: &str) -> EngineError {
    failed(format!("the range at {} of the journal cannot be used: {why}", piece.from), None)
}

fn io_failed(path: &Path, error: io::Error) -> EngineError {
    failed(format!("cannot write {}", path.display()), Some(error.into()))
}
