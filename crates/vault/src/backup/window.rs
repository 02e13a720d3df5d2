//! A read buffer that slides over a file or stream.

use crate::chunk;

/// Bytes that are read at a time: as much as stays in a core's cache.
const STEP: usize = 1 << 20;
/// A chunk up to this size, bytes, may wait for the next one.
pub(crate) const PAIRED: usize = 2 * chunk::AVERAGE;

/// The bytes read and not yet cut off.
#[derive(Default)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    /// Forgets all bytes.
    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The bytes at hand.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Drops the first bytes, at most all.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count.min(self.end - self.start);
    }

    /// Room for up to `most` further bytes, about one step; follow with [`Window::filled`].
    pub(crate) fn room(&mut self, most: u64) -> &mut [u8] {
        let wanted = usize::try_from(most).unwrap_or(STEP).min(STEP);
        if self.end + wanted > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end + wanted > self.bytes.len() {
                // The whole step at once, so that it seldom grows, and never beyond what a chunk
                // that waits, the longest one and a step need.
                let most = PAIRED + chunk::MAX + STEP;
                self.bytes.resize((self.end + wanted).clamp(4 * STEP, most), 0);
            }
        }
        &mut self.bytes[self.end..self.end + wanted]
    }

    /// The first `count` bytes of the room hold data now.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// A buffer of exactly `length` bytes, apart from the sliding.
    pub(crate) fn whole(&mut self, length: usize) -> &mut [u8] {
        self.clear();
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
        &mut self.bytes[..length]
    }
}
