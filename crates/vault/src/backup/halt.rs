//! How the threads of one backup stop together.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::budget::ByteBudget;
use crate::error::{Error, Result};
use crate::monitor::Cancel;
use crate::sync::lock;

/// The first failure of any thread, and the sign for the others to stop.
#[derive(Debug)]
pub(crate) struct Halt {
    cancel: Cancel,
    stopped: AtomicBool,
    first: Mutex<Option<Error>>,
    budget: ByteBudget,
}

impl Halt {
    pub(crate) fn new(cancel: Cancel, budget: ByteBudget) -> Self {
        Self { cancel, stopped: AtomicBool::new(false), first: Mutex::new(None), budget }
    }

    /// An error once the work should stop. Asked between chunks and entries.
    pub(crate) fn check(&self) -> Result<()> {
        match self.is_stopped() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// True once the work should stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    /// Stops every thread. The first error counts; those that follow from stopping do not.
    pub(crate) fn fail(&self, error: Error) {
        {
            let mut first = lock(&self.first);
            if first.is_none() {
                *first = Some(error);
            }
        }
        self.stopped.store(true, Ordering::SeqCst);
        self.budget.close();
    }

    /// The result of the work so far: the first failure, or a request to stop.
    pub(crate) fn outcome(&self) -> Result<()> {
        if let Some(error) = lock(&self.first).take() {
            return Err(error);
        }
        if self.stopped.load(Ordering::SeqCst) && !self.cancel.is_cancelled() {
            return Err(Error::Invalid("this backup has failed before".to_owned()));
        }
        self.check()
    }
}

/// Stops all if the thread that holds it panics: others must not wait for it.
pub(crate) struct Watch<'a>(pub(crate) &'a Halt);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Invalid("a working thread died".to_owned()));
        }
    }
}
