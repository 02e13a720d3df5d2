//! Checksums of PostgreSQL's pages, as the server computes them (storage/checksum_impl.h).

/// Bytes of a page.
pub(crate) const PAGE: usize = 8192;
/// Pages in one file of a relation.
pub(crate) const PAGES_A_FILE: u32 = 131_072;

const SUMS: usize = 32;
const PRIME: u32 = 16_777_619;
/// Where the checksum stands in the page.
const AT: usize = 8;

/// Where each of the sums begins.
static START: [u32; SUMS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// What a page's look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Right, never used, or written since the copy began, so that replay brings it.
    Good,
    /// Wrong.
    Bad,
}

/// Judges a page of a copy that began at `start`.
pub(crate) fn look(page: &[u8], number: u32, start: u64) -> Look {
    if is_new(page) || place(page) >= start {
        return Look::Good;
    }
    let stored = u16::from_le_bytes([page[AT], page[AT + 1]]);
    if stored == checksum(page, number) { Look::Good } else { Look::Bad }
}

/// A page that was never used has no upper end of its free space.
fn is_new(page: &[u8]) -> bool {
    page[14] == 0 && page[15] == 0
}

/// The place in the log of its last change.
fn place(page: &[u8]) -> u64 {
    let half = |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
    u64::from(half(0)) << 32 | u64::from(half(4))
}

/// The checksum of a page, with its number in its relation.
pub(crate) fn checksum(page: &[u8], number: u32) -> u16 {
    let mut sums = START;
    for (row, words) in page.chunks_exact(SUMS * 4).enumerate() {
        for (at, (sum, word)) in sums.iter_mut().zip(words.chunks_exact(4)).enumerate() {
            let mut value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            if row == 0 && at == AT / 4 {
                // As if no checksum stood there.
                value &= 0xffff_0000;
            }
            *sum = mix(*sum, value);
        }
    }
    for _ in 0..2 {
        sums.iter_mut().for_each(|sum| *sum = mix(*sum, 0));
    }
    let all = sums.iter().fold(0, |all, sum| all ^ sum) ^ number;
    (all % 65_535 + 1) as u16
}

fn mix(sum: u32, value: u32) -> u32 {
    let mixed = sum ^ value;
    mixed.wrapping_mul(PRIME) ^ (mixed >> 17)
}
