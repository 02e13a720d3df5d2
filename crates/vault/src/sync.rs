//! A mutex guard without the poison: a thread that panicked has failed the whole run anyway.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after another holder panicked.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
