//! One file of the target while its blobs come in, in any order and from several threads.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::existing::Aside;
use super::plan::is_fatal;
use crate::backup::Problem;
use crate::chunk::is_zero;
use crate::error::{Error, Result};
use crate::meta;
use crate::node::Node;
use crate::sync::lock;

/// Files that stay open between two of their blobs; beyond it they are opened again.
const OPEN_AT_ONCE: usize = 256;
/// Files from this size on take their room at once.
const LARGE: u64 = 16 << 20;
/// A hole is made of at least so many zeros, in whole pages.
const PAGE: usize = 4 << 10;
const HOLE: usize = 64 << 10;

/// A file to be restored.
pub(super) struct TargetFile {
    pub(super) path: PathBuf,
    pub(super) node: Node,
    /// Something stood at the path before.
    pub(super) stands: bool,
    standing: Standing,
    /// Bytes that were right before.
    right_bytes: u64,
    /// Blobs that have not come yet.
    missing: AtomicUsize,
    failed: AtomicBool,
    /// All of its room is taken already, so that holes must be made.
    allocated: AtomicBool,
    state: Mutex<State>,
    /// Held while bytes are written: the kernel lets one thread at a time write to a file, and the
    /// others would spin until it is done instead of decoding.
    writing: Mutex<()>,
}

/// What the content of a file needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes.
    pub(super) length: u64,
    /// As far as can be told before, it holds no long runs of zeros.
    pub(super) solid: bool,
}

impl Room {
    /// Takes the room of a file without holes at once, where the file system can: in few pieces, and
    /// a full disk is found before anything is written. False where it could not, or where it is
    /// memory: there all of it would be cleared before the first byte can be decoded beside it.
    fn take(self, file: &File) -> std::io::Result<bool> {
        self.take_of(file, is_memory(file))
    }

    fn take_of(self, file: &File, memory: bool) -> std::io::Result<bool> {
        if self.solid && self.length >= LARGE && !memory {
            match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, self.length) {
                Ok(()) => return Ok(true),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        file.set_len(self.length)?;
        Ok(false)
    }
}

/// Does it lie on a file system that is memory (tmpfs)?
fn is_memory(file: &File) -> bool {
    // statfs(2): TMPFS_MAGIC.
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == 0x0102_1994)
}

/// What is known of a file that stands at the path, once it was compared.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Of each blob whether it is there; empty if none is.
    pub(super) right: Vec<bool>,
    /// Nothing is left to do.
    pub(super) done: bool,
    /// The file is there, has its length, and may be written to.
    pub(super) created: bool,
    /// It holds other content, which zeros must replace too, and is to have this length.
    pub(super) patch: Option<u64>,
}

impl Standing {
    /// The bytes that are right.
    pub(super) fn bytes(&self, lengths: &[u64]) -> u64 {
        self.right.iter().zip(lengths).filter(|(right, _)| **right).map(|(_, length)| length).sum()
    }
}

#[derive(Default)]
struct State {
    created: bool,
    patched: bool,
    open: Option<Arc<File>>,
    why: Option<String>,
    problems: Vec<Problem>,
}

/// What became of a file that is there.
pub(super) struct Settled {
    /// Its size, bytes.
    pub(super) size: u64,
    /// Bytes that were right before.
    pub(super) right: u64,
    /// Respects in which it is not as it was captured.
    pub(super) problems: Vec<Problem>,
}

/// How many files are open in this restore.
#[derive(Default)]
pub(super) struct OpenFiles(AtomicUsize);

impl TargetFile {
    pub(super) fn new(path: PathBuf, node: Node, stands: bool) -> Self {
        let blobs = node.content.as_ref().map_or(0, Vec::len);
        Self {
            path,
            node,
            stands,
            standing: Standing::default(),
            right_bytes: 0,
            missing: AtomicUsize::new(blobs),
            failed: AtomicBool::new(false),
            allocated: AtomicBool::new(false),
            state: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Takes over what stands there.
    pub(super) fn stand(&mut self, standing: Standing, right_bytes: u64) {
        let wrong = self.node.content.as_ref().map_or(0, Vec::len)
            - standing.right.iter().filter(|right| **right).count();
        self.missing = AtomicUsize::new(wrong);
        lock(&self.state).created = standing.created;
        self.right_bytes = right_bytes;
        self.standing = standing;
    }

    /// True if nothing of it is to be written.
    pub(super) fn is_done(&self) -> bool {
        self.standing.done
    }

    /// True if this blob of the content is there.
    pub(super) fn has(&self, blob: usize) -> bool {
        self.standing.right.get(blob).copied().unwrap_or(false)
    }

    /// Marks the file as one that cannot be had.
    pub(super) fn fail(&self, why: &str) {
        lock(&self.state).why.get_or_insert_with(|| why.to_owned());
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Notes something that does not keep the file from being restored.
    pub(super) fn note(&self, what: &str) {
        lock(&self.state).problems.push(Problem { path: self.path.clone(), what: what.to_owned() });
    }

    /// A file without blobs.
    pub(super) fn write_empty(&self, open: &OpenFiles) -> Result<()> {
        if let Some(file) = self.attempt(|| self.open(open, None))? {
            self.complete(open, &file);
        }
        Ok(())
    }

    /// Writes a proven blob to its place. `room` is that of the whole content.
    pub(super) fn write(
        &self,
        open: &OpenFiles,
        content: &[u8],
        zero: bool,
        offset: u64,
        room: Room,
    ) -> Result<()> {
        let mut file = None;
        if !self.failed.load(Ordering::Relaxed) {
            file = self.attempt(|| {
                // A file of one blob is as long as what is written, mostly.
                let whole = content.len() as u64 == room.length;
                let file = self.open(open, Some(room).filter(|_| !whole))?;
                let full = self.standing.patch.is_some() || self.allocated.load(Ordering::Relaxed);
                let ends_in_hole = if full {
                    let _writing = lock(&self.writing);
                    write_over(&file, content, offset)?;
                    false
                } else {
                    zero || {
                        let _writing = lock(&self.writing);
                        write_data(&file, content, offset)?
                    }
                };
                if whole && ends_in_hole {
                    file.set_len(room.length)?;
                }
                Ok(file)
            })?;
        }
        self.came(open, file)
    }

    /// Counts a blob that was written to `file`, or that will not come. The last one completes the
    /// file.
    pub(super) fn came(&self, open: &OpenFiles, file: Option<Arc<File>>) -> Result<()> {
        if self.missing.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        match file {
            Some(file) if !self.failed.load(Ordering::Relaxed) => self.complete(open, &file),
            _ => self.close(open),
        }
        Ok(())
    }

    fn attempt<T>(&self, write: impl FnOnce() -> std::io::Result<T>) -> Result<Option<T>> {
        match write() {
            Ok(done) => Ok(Some(done)),
            Err(error) if is_fatal(&error) => Err(Error::io("write", &self.path, error)),
            Err(error) => {
                self.fail(&format!("cannot write it: {error}"));
                Ok(None)
            }
        }
    }

    /// The open file; made anew and exclusively, with its room, at the first call.
    fn open(&self, open: &OpenFiles, room: Option<Room>) -> std::io::Result<Arc<File>> {
        let mut state = lock(&self.state);
        if let Some(file) = &state.open {
            return Ok(Arc::clone(file));
        }
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        options.create_new(!state.created);
        let file = Arc::new(options.open(&self.path)?);
        if !state.created {
            state.created = true;
            if let Some(room) = room {
                self.allocated.store(room.take(&file)?, Ordering::Relaxed);
            }
        }
        if let Some(length) = self.standing.patch.filter(|_| !state.patched) {
            // While it is neither the one nor the other, nobody else may read it.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.set_len(length)?;
            state.patched = true;
        }
        if self.missing.load(Ordering::Relaxed) > 1 && open.0.load(Ordering::Relaxed) < OPEN_AT_ONCE
        {
            open.0.fetch_add(1, Ordering::Relaxed);
            state.open = Some(Arc::clone(&file));
        }
        Ok(file)
    }

    fn complete(&self, open: &OpenFiles, file: &File) {
        self.set_metadata(file);
        self.close(open);
    }

    /// Gives the file its metadata, and takes away what it has beside.
    pub(super) fn set_metadata(&self, file: &File) {
        let handle = meta::open_handle(file);
        let mut failures = Vec::new();
        if self.stands {
            failures.extend(meta::clear_other_attributes(&self.node, handle));
        }
        failures.extend(meta::restore_metadata(&self.node, handle));
        let problem = |(verb, error): (String, _)| Problem::failed(&self.path, &verb, error);
        lock(&self.state).problems.extend(failures.into_iter().map(problem));
    }

    fn close(&self, open: &OpenFiles) {
        if lock(&self.state).open.take().is_some() {
            open.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The result, or why the file is not there. What was half-written goes: what stood there
    /// before, and was partly replaced, is set aside.
    pub(super) fn settle(self, aside: Option<&Aside>) -> Result<Settled, Problem> {
        let state = lock(&self.state);
        let Some(why) = &state.why else {
            let (size, right) = (self.node.size, self.right_bytes);
            return Ok(Settled { size, right, problems: state.problems.clone() });
        };
        let mut what = why.clone();
        let former = aside.filter(|_| self.standing.patch.is_some());
        if state.created
            && let Err(error) =
                former.map_or_else(|| std::fs::remove_file(&self.path), |it| it.take(&self.path))
        {
            what = format!("{what}; and the part that was written cannot be removed: {error}");
        }
        Err(Problem { path: self.path.clone(), what })
    }
}

/// Writes content over other content; long runs of zero pages become holes.
fn write_over(file: &File, content: &[u8], offset: u64) -> std::io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let mut from = 0;
    while from < content.len() {
        let (data, hole) = next_run(&content[from..], offset + from as u64);
        file.write_all_at(&content[from..from + data], offset + from as u64)?;
        from += data;
        let punched = hole > 0
            && rustix::fs::fallocate(file, flags, offset + from as u64, hole as u64).is_ok();
        if !punched {
            // A file system without holes gets the zeros.
            file.write_all_at(&content[from..from + hole], offset + from as u64)?;
        }
        from += hole;
    }
    Ok(())
}

/// Writes content, leaving out long runs of zero pages; true if it ends with one.
pub(super) fn write_data(file: &File, content: &[u8], offset: u64) -> std::io::Result<bool> {
    let (mut from, mut last_hole) = (0, 0);
    while from < content.len() {
        let (data, hole) = next_run(&content[from..], offset + from as u64);
        file.write_all_at(&content[from..from + data], offset + from as u64)?;
        from += data + hole;
        last_hole = hole;
    }
    Ok(last_hole > 0)
}

/// Lengths of the data at the front and of the hole behind it; the hole is in whole pages of the
/// file. `offset` is where `bytes` lie in the file.
fn next_run(bytes: &[u8], offset: u64) -> (usize, usize) {
    let first_page = (PAGE - (offset % PAGE as u64) as usize) % PAGE;
    let mut start = first_page;
    while start + HOLE <= bytes.len() {
        // Most pages of data differ from zero in their first bytes.
        if !is_zero(&bytes[start..start + PAGE]) {
            start += PAGE;
            continue;
        }
        let pages = bytes[start..].chunks_exact(PAGE).take_while(|page| is_zero(page)).count();
        if pages * PAGE >= HOLE {
            return (start, pages * PAGE);
        }
        start += pages * PAGE;
    }
    (bytes.len(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room is taken for what has no holes; what turns out to be one is given back.
    #[test]
    fn room_is_taken_at_once_and_holes_are_kept() {
        use std::os::unix::fs::MetadataExt;
        let length = 2 * LARGE;
        let allocated = |file: &File| file.metadata().unwrap().blocks() * 512;
        let file = tempfile::tempfile().unwrap();
        assert!(!Room { length, solid: false }.take_of(&file, false).unwrap());
        assert_eq!((file.metadata().unwrap().len(), allocated(&file)), (length, 0));
        let file = tempfile::tempfile().unwrap();
        assert!(Room { length, solid: true }.take_of(&file, false).unwrap(), "no fallocate here");
        assert!(allocated(&file) >= length);
        let mut content = vec![7; 1 << 20];
        content[..512 << 10].fill(0);
        write_over(&file, &content, 1 << 20).unwrap();
        assert!(allocated(&file) <= length - (512 << 10));
        let file = tempfile::tempfile().unwrap();
        assert!(!Room { length: LARGE - 1, solid: true }.take_of(&file, false).unwrap());
        let huge = Room { length: 1 << 60, solid: true };
        assert!(huge.take_of(&file, false).is_err(), "said before anything is written");
        // Memory is cleared as it is written.
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        assert!(!Room { length, solid: true }.take(&file).unwrap());
        assert_eq!((file.metadata().unwrap().len(), allocated(&file)), (length, 0));
    }

    #[test]
    fn holes_are_whole_pages() {
        let mut bytes = vec![1; 300_000];
        assert_eq!(next_run(&bytes, 0), (300_000, 0));
        bytes[10_000..200_000].fill(0);
        assert_eq!(next_run(&bytes, 0), (12_288, 184_320));
        assert_eq!(next_run(&bytes, 100), (12_188, 184_320));
        bytes.fill(0);
        assert_eq!(next_run(&bytes, 0), (0, 299_008));
        assert_eq!(next_run(&bytes[..60_000], 0), (60_000, 0));
    }
}
