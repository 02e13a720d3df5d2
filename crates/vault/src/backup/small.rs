//! Files: unchanged ones are taken over, small ones read whole, large ones handed on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::Problem;
use super::engine::{Counts, add};
use super::folder::{Batch, Done};
use super::known::{Comparison, compare};
use super::large;
use super::walk::{Found, Walk, open_quietly};
use super::worker::Worker;
use crate::chunk;
use crate::error::Result;
use crate::id::Id;
use crate::meta::{self, Fingermark, Handle};
use crate::node::Node;
use crate::pack::BlobKind;

/// How often a file that changes while it is read is read again.
pub(crate) const RETRIES: u32 = 2;

/// Which count a file that is read belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Novelty {
    New,
    Changed,
}

impl Novelty {
    pub(crate) fn count(self, counts: &Counts) -> &AtomicU64 {
        match self {
            Self::New => &counts.files_new,
            Self::Changed => &counts.files_changed,
        }
    }
}

/// A regular file.
pub(crate) fn file(
    walk: &Walk<'_>,
    worker: &mut Worker,
    found: Found<'_>,
    path: &Path,
    batch: &mut Batch,
) -> Result<()> {
    let known = walk.known_node(found.folder, &found.node);
    let novelty = match compare(walk.engine, known, &found.stat, &found.node) {
        Comparison::Same(content, attributes) => {
            let attributes = attributes.map(<[_]>::to_vec);
            return unchanged(walk, found, content, attributes, path, batch);
        }
        Comparison::New => Novelty::New,
        Comparison::Changed => Novelty::Changed,
    };
    if found.node.size == 0 {
        let Found { position, stat, mut node, .. } = found;
        node.content = Some(Vec::new());
        node.extended_attributes = walk.attributes(path, Handle::Path(path));
        return finish(walk, batch, position, (node, &stat), novelty);
    }
    let fd = match open_file(found.folder, found.position) {
        Ok(fd) => fd,
        Err(error) => {
            walk.omit(batch, path, "open it", error);
            return Ok(());
        }
    };
    if found.node.size > chunk::MIN as u64 {
        return large::start(walk, found, fd, novelty, path, batch);
    }
    small(walk, worker, found, fd, novelty, path, batch)
}

/// The content is known: the file is not opened.
fn unchanged(
    walk: &Walk<'_>,
    found: Found<'_>,
    content: &[Id],
    attributes: Option<Vec<crate::node::ExtendedAttribute>>,
    path: &Path,
    batch: &mut Batch,
) -> Result<()> {
    let Found { position, stat, mut node, .. } = found;
    node.content = Some(content.to_vec());
    node.extended_attributes =
        attributes.unwrap_or_else(|| walk.attributes(path, Handle::Path(path)));
    add(&walk.engine.counts.files_unmodified, 1);
    walk.engine.counts.content(node.size, &stat);
    walk.engine.progress(node.size, 1);
    batch.push(position, Done { node, print: None })
}

/// A file of at most one chunk, in one read.
fn small(
    walk: &Walk<'_>,
    worker: &mut Worker,
    found: Found<'_>,
    fd: OwnedFd,
    novelty: Novelty,
    path: &Path,
    batch: &mut Batch,
) -> Result<()> {
    let Found { folder, position, stat, mut node } = found;
    let (mut fd, mut before) = (fd, stat);
    let mut attempt = 0;
    let length = loop {
        let read = read_whole(worker, fd.as_fd(), &before);
        let (length, after) = match read {
            Ok(read) => read,
            Err(error) => {
                walk.omit(batch, path, "read it", error);
                return Ok(());
            }
        };
        add(&walk.engine.counts.bytes_read, length as u64);
        let unchanged = Fingermark::from(&before) == Fingermark::from(&after)
            && i64::try_from(length) == Ok(after.st_size);
        if unchanged {
            break length;
        }
        // It may also have been replaced, so it is opened again by its name.
        let reopened = open_file(folder, position).and_then(|fd| {
            let stat = rustix::fs::fstat(&fd)?;
            Ok((fd, stat))
        });
        match reopened {
            Ok((_, stat)) if !is_regular(&stat) => {
                walk.engine.problem(Problem::new(path, "was replaced while it was read"));
                batch.omit();
                return Ok(());
            }
            Ok((_, stat)) if attempt == RETRIES || stat.st_size > chunk::MIN as i64 => {
                walk.engine.problem(Problem::new(path, "changed while it was read"));
                break length;
            }
            Ok(again) => (fd, before) = again,
            Err(error) => {
                walk.omit(batch, path, "open it", error);
                return Ok(());
            }
        }
        attempt += 1;
        walk.engine.halt.check()?;
    };
    // The state from before the read, so that the next backup sees a change that came during it.
    meta::update_from_stat(&mut node, &before);
    let content = &worker.window.whole(length)[..];
    node.size = length as u64;
    node.content = Some(match length {
        0 => Vec::new(),
        _ => vec![walk.engine.store(&mut worker.sealer, BlobKind::Data, content)?],
    });
    node.extended_attributes = walk.attributes(path, meta::open_handle(&fd));
    finish(walk, batch, position, (node, &before), novelty)
}

/// Reads a file of about the size in `before`; also returns what it looks like afterwards.
fn read_whole(
    worker: &mut Worker,
    fd: BorrowedFd<'_>,
    before: &Stat,
) -> Result<(usize, Stat), Errno> {
    let size = usize::try_from(before.st_size).map_err(|_| Errno::INVAL)?;
    // One byte more shows a file that has grown.
    let buffer = worker.window.whole(size + 1);
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::read(fd, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        }
        if length == size {
            break;
        }
    }
    Ok((length, rustix::fs::fstat(fd)?))
}

/// Opens what must be a regular file, without waiting for a pipe that took its place.
pub(crate) fn open_file(folder: &super::folder::Folder, position: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open_quietly(folder, position, flags)
}

/// True for a regular file.
pub(crate) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Adds a file that was read.
fn finish(
    walk: &Walk<'_>,
    batch: &mut Batch,
    position: u32,
    (node, stat): (Node, &Stat),
    novelty: Novelty,
) -> Result<()> {
    let counts = &walk.engine.counts;
    add(novelty.count(counts), 1);
    counts.content(node.size, stat);
    walk.engine.progress(node.size, 1);
    batch.push(position, Done { node, print: None })
}
