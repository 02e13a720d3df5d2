//! Pack-sized buffers that are used again, so that memory stays mapped and warm.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use super::budget::Permit;
use crate::sync::lock;

/// Buffers that wait for their next use. Clones share the pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer with room for `capacity` bytes, whose bytes are accounted for by `permit`.
    pub(crate) fn take(&self, capacity: usize, permit: Permit) -> Buffer {
        let mut bytes = lock(&self.0).pop().unwrap_or_default();
        bytes.clear();
        bytes.reserve(capacity);
        Buffer { bytes, pool: self.clone(), _permit: permit }
    }
}

/// A buffer that goes back to its pool, and its bytes to the budget, when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Buffers,
    _permit: Permit,
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        lock(&self.pool.0).push(std::mem::take(&mut self.bytes));
    }
}
