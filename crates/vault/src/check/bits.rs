//! One bit for each entry of the index: 1/8 byte a blob instead of a set of ids.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct Bits(Vec<AtomicU64>);

impl Bits {
    pub fn new(length: usize) -> Self {
        Bits((0..length.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Sets a bit; true if it was not set.
    pub fn set(&self, at: usize) -> bool {
        let bit = 1 << (at % 64);
        self.0[at / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    pub fn is_set(&self, at: usize) -> bool {
        self.0[at / 64].load(Ordering::Relaxed) & (1 << (at % 64)) != 0
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits() {
        let bits = Bits::new(100);
        assert!(bits.set(99) && bits.set(0) && !bits.set(99));
        assert!(bits.is_set(99) && !bits.is_set(98));
        assert_eq!(bits.count(), 2);
    }
}
