//! Who works on what next: the deepest open folder first, so that little is open at a time.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::folder::Folder;
use super::large::LargeFile;
use crate::sync::lock;

/// Entries that one worker takes at a time.
const BATCH: usize = 32;

/// One piece of work.
pub(crate) enum Job {
    /// Some entries of a folder.
    Entries(Arc<Folder>, Range<usize>),
    /// One segment of a large file.
    Segment(Arc<LargeFile>, usize),
}

/// A stack of folders and large files. Its depth is bounded by the tree's depth and one batch of
/// large files a worker.
#[derive(Default)]
pub(crate) struct Schedule {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stack: Vec<Open>,
    busy: usize,
    stopped: bool,
}

enum Open {
    Folder(Arc<Folder>, usize),
    Large(Arc<LargeFile>, usize),
}

impl Schedule {
    /// Adds a folder whose names have been read.
    pub(crate) fn push_folder(&self, folder: Arc<Folder>) {
        self.push(Open::Folder(folder, 0));
    }

    /// Adds a large file.
    pub(crate) fn push_large(&self, file: Arc<LargeFile>) {
        self.push(Open::Large(file, 0));
    }

    fn push(&self, open: Open) {
        lock(&self.state).stack.push(open);
        self.changed.notify_all();
    }

    /// The next job; `None` when all is done or stopped. [`Schedule::done`] must follow each job.
    pub(crate) fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.pop() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                self.changed.notify_all();
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A job is done; what follows from it has been pushed.
    pub(crate) fn done(&self) {
        let mut state = lock(&self.state);
        state.busy -= 1;
        if state.busy == 0 {
            self.changed.notify_all();
        }
    }

    /// Gives up all that is left.
    pub(crate) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.stack.clear();
        self.changed.notify_all();
    }
}

impl State {
    fn pop(&mut self) -> Option<Job> {
        loop {
            match self.stack.last_mut()? {
                Open::Folder(folder, next) => {
                    let range = *next..folder.listing.batch_end(*next, BATCH);
                    *next = range.end;
                    let folder = Arc::clone(folder);
                    if range.end == folder.listing.len() {
                        self.stack.pop();
                    }
                    if !range.is_empty() {
                        return Some(Job::Entries(folder, range));
                    }
                }
                Open::Large(file, next) => {
                    let (file, segment) = (Arc::clone(file), *next);
                    *next += 1;
                    if *next == file.segments() {
                        self.stack.pop();
                    }
                    return Some(Job::Segment(file, segment));
                }
            }
        }
    }
}
