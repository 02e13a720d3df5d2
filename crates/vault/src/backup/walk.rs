//! The walk over one or more roots: folders, links and special files; files go on to be read.

use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::engine::{Engine, add};
use super::folder::{Batch, Done, Folder, complete, complete_empty};
use super::halt::Watch;
use super::known::Known;
use super::listing::Listing;
use super::schedule::{Job, Schedule};
use super::worker::Worker;
use super::{Filter, Problem, large, small};
use crate::error::Result;
use crate::meta::{self, Handle};
use crate::node::{Node, NodeKind};

/// One walk.
pub(crate) struct Walk<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) schedule: Schedule,
    filter: &'a dyn Filter,
    one_file_system: bool,
}

/// An entry on its way.
pub(crate) struct Found<'a> {
    pub(crate) folder: &'a Arc<Folder>,
    pub(crate) position: u32,
    pub(crate) stat: Stat,
    pub(crate) node: Node,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(engine: &'a Engine, filter: &'a dyn Filter, one_file_system: bool) -> Self {
        Self { engine, schedule: Schedule::default(), filter, one_file_system }
    }

    /// Walks the roots with all workers. The results stay in the roots.
    pub(crate) fn run(&self, roots: &[Arc<Folder>]) -> Result<()> {
        for root in roots {
            self.schedule.push_folder(Arc::clone(root));
        }
        std::thread::scope(|scope| {
            for _ in 1..self.engine.workers {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        self.engine.halt.outcome()
    }

    fn work(&self) {
        // A panic of one worker must not leave the others waiting.
        let guard = (Watch(&self.engine.halt), StopOnPanic(self));
        if let Err(error) = self.jobs() {
            self.engine.halt.fail(error);
            self.schedule.stop();
        }
        drop(guard);
    }

    fn jobs(&self) -> Result<()> {
        let mut worker = Worker::new(&self.engine.options)?;
        while let Some(job) = self.schedule.next() {
            self.engine.halt.check()?;
            match job {
                Job::Entries(folder, range) => self.entries(&mut worker, &folder, range)?,
                Job::Segment(file, segment) => large::segment(self, &mut worker, &file, segment)?,
            }
            self.schedule.done();
        }
        Ok(())
    }

    fn entries(
        &self,
        worker: &mut Worker,
        folder: &Arc<Folder>,
        range: Range<usize>,
    ) -> Result<()> {
        let mut batch = Batch::new(folder);
        for position in folder.listing.work(range) {
            self.engine.halt.check()?;
            self.entry(worker, folder, *position, &mut batch)?;
        }
        if batch.len() > 0 {
            complete(self.engine, &mut worker.sealer, folder, batch)?;
        }
        Ok(())
    }

    /// Finishes an entry into the batch, or sets it on its way.
    fn entry(
        &self,
        worker: &mut Worker,
        folder: &Arc<Folder>,
        position: u32,
        batch: &mut Batch,
    ) -> Result<()> {
        let path = folder.path_of(position);
        let keep = |is_folder| folder.is_root() || self.filter.keep(&path, is_folder);
        let listed = folder.listing.is_folder(position);
        if listed.is_some_and(|is_folder| !keep(is_folder)) {
            batch.omit();
            return Ok(());
        }
        let name = folder.listing.name(position);
        let stat = match rustix::fs::statat(folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => {
                self.omit(batch, &path, "read its metadata", error);
                return Ok(());
            }
        };
        let Some(kind) = meta::kind_of(&stat) else {
            self.engine.problem(Problem::new(&path, "is of a kind that is not known"));
            batch.omit();
            return Ok(());
        };
        let is_folder = kind == NodeKind::Dir;
        // A folder on another file system stays as an empty one: that is where it is mounted.
        let foreign = folder.device.is_some_and(|device| device != meta::device(&stat));
        if (listed.is_none() && !keep(is_folder)) || (foreign && !is_folder) {
            batch.omit();
            return Ok(());
        }
        let (name, with_atime) = (folder.name(position), self.engine.options.with_atime);
        let node = meta::node_from_stat(name, kind, &stat, &self.engine.names, with_atime);
        let found = Found { folder, position, stat, node };
        match kind {
            NodeKind::Dir => self.enter(worker, found, &path, foreign, batch),
            NodeKind::File => small::file(self, worker, found, &path, batch),
            _ => self.other(found, &path, batch),
        }
    }

    /// Opens a folder and puts it on the schedule.
    fn enter(
        &self,
        worker: &mut Worker,
        found: Found<'_>,
        path: &Path,
        foreign: bool,
        batch: &mut Batch,
    ) -> Result<()> {
        let Found { folder, position, mut stat, mut node } = found;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open_quietly(folder, position, flags).and_then(|fd| {
            let listing = if foreign { Listing::default() } else { Listing::read(fd.as_fd())? };
            stat = rustix::fs::fstat(&fd)?;
            Ok((fd, listing))
        });
        let (fd, listing) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.omit(batch, path, "list it", error);
                return Ok(());
            }
        };
        node.extended_attributes = self.attributes(path, meta::open_handle(&fd));
        add(&self.engine.counts.folders, 1);
        let known = self.known_node(folder, &node).and_then(|known| known.subtree());
        let known = known.and_then(|tree| Known::load(self.engine, tree));
        let device =
            self.one_file_system.then(|| folder.device.unwrap_or_else(|| meta::device(&stat)));
        let opened = (path.to_owned(), fd, listing);
        let inside = Folder::inside(folder, position, node, opened, known, device);
        if inside.listing.len() == 0 {
            return complete_empty(self.engine, &mut worker.sealer, &inside);
        }
        self.schedule.push_folder(inside);
        Ok(())
    }

    /// A link, pipe, socket or device.
    fn other(&self, found: Found<'_>, path: &Path, batch: &mut Batch) -> Result<()> {
        let Found { folder, position, mut node, .. } = found;
        if node.kind == NodeKind::Symlink {
            let name = folder.listing.name(position);
            match rustix::fs::readlinkat(folder.fd(), name, Vec::new()) {
                Ok(target) => node.set_link_target(target.to_bytes()),
                Err(error) => {
                    self.omit(batch, path, "read it", error);
                    return Ok(());
                }
            }
        }
        node.extended_attributes = self.attributes(path, Handle::Path(path));
        add(&self.engine.counts.others, 1);
        self.engine.progress(0, 1);
        batch.push(position, Done { node, print: None })
    }

    /// What the parent snapshot knew of an entry.
    pub(crate) fn known_node<'f>(
        &self,
        folder: &'f Folder,
        node: &Node,
    ) -> Option<&'f super::known::KnownNode> {
        folder.known.as_ref()?.find(&node.name)
    }

    /// Extended attributes; what cannot be read is a problem of the path.
    pub(crate) fn attributes(
        &self,
        path: &Path,
        handle: Handle<'_>,
    ) -> Vec<crate::node::ExtendedAttribute> {
        meta::read_xattrs(handle).unwrap_or_else(|error| {
            self.engine.problem(Problem::failed(path, "read its attributes", error));
            Vec::new()
        })
    }

    /// Leaves an entry out, by name.
    pub(crate) fn omit(&self, batch: &mut Batch, path: &Path, verb: &str, error: Errno) {
        self.engine.problem(Problem::failed(path, verb, error));
        batch.omit();
    }
}

/// Opens an entry without changing its access time, where that is allowed.
pub(crate) fn open_quietly(
    folder: &Folder,
    position: u32,
    flags: OFlags,
) -> Result<std::os::fd::OwnedFd, Errno> {
    let name = folder.listing.name(position);
    match rustix::fs::openat(folder.fd(), name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(folder.fd(), name, flags, Mode::empty()),
        opened => opened,
    }
}

struct StopOnPanic<'a, 'b>(&'a Walk<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.schedule.stop();
        }
    }
}
