//! The rolling checksum of a database: what proves a restored one equal, byte for byte.
//!
//! A page's hash is the first 128 bits of BLAKE3, keyed with the page's number (four bytes,
//! little-endian, then 28 zeros), over the page's bytes. The checksum of a database is the XOR of
//! the hashes of all its pages but the one at 1 GiB, which holds SQLite's locks and no data. So a
//! change of one page changes it without the others being read.

use std::fmt;
use std::ops::BitXorAssign;
use std::str::FromStr;

/// The hash of a page, or the checksum of a database. Zero stands for a page that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sqlite) struct Sum(pub u128);

impl Sum {
    /// The hash of page `number`; nothing for the page that holds the locks.
    pub fn of(number: u32, page: &[u8]) -> Sum {
        if number == lock_page(page.len() as u32) {
            return Sum(0);
        }
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        let hash = blake3::keyed_hash(&key, page);
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        Sum(u128::from_le_bytes(half))
    }
}

impl BitXorAssign for Sum {
    fn bitxor_assign(&mut self, other: Sum) {
        self.0 ^= other.0;
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sum {
    type Err = ();

    fn from_str(text: &str) -> Result<Sum, ()> {
        let sum = u128::from_str_radix(text, 16).map(Sum).map_err(|_| ())?;
        if sum.to_string() == text { Ok(sum) } else { Err(()) }
    }
}

/// The number of the page that holds SQLite's locks.
pub(in crate::sqlite) fn lock_page(page_size: u32) -> u32 {
    (1 << 30) / page_size.max(512) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_pages_and_their_places_apart() {
        let (one, other) = (vec![1; 4096], vec![2; 4096]);
        assert_ne!(Sum::of(1, &one), Sum::of(1, &other));
        assert_ne!(Sum::of(1, &one), Sum::of(2, &one));
        assert_eq!(Sum::of(7, &one), Sum::of(7, &one));
        // Frozen: journals keep such sums for ever.
        assert_eq!(Sum::of(2, &one).to_string(), "408d7d741ebc06f7d21e602df44ea034");
    }

    #[test]
    fn the_page_of_locks_counts_for_nothing() {
        assert_eq!(
            (lock_page(4096), lock_page(65536), lock_page(512)),
            (262_145, 16_385, 2_097_153)
        );
        assert_eq!(Sum::of(262_145, &[9; 4096]), Sum(0));
        assert_ne!(Sum::of(262_144, &[9; 4096]), Sum(0));
    }

    #[test]
    fn there_is_one_way_to_write_a_sum() {
        let sum = Sum(0xab);
        assert_eq!(sum.to_string().parse(), Ok(sum));
        for text in
            ["", "ab", "+00000000000000000000000000000ab", "000000000000000000000000000000AB"]
        {
            assert_eq!(text.parse::<Sum>(), Err(()), "{text}");
        }
    }
}
