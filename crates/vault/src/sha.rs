//! SHA-256 of several streams side by side on one core.
//!
//! Each round of SHA-256 waits for the one before it, so one stream leaves most of a core's SHA unit
//! idle. Two or three independent streams, their rounds interleaved, fill it: about 1.5 and 1.7
//! times the bytes in the same time, where the processor has the instructions (x86-64 SHA-NI, found
//! out at run time). Elsewhere, and for a stream that is left alone, the blocks go to the `sha2`
//! crate.

use sha2::block_api::compress256;

use crate::id::Id;

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// FIPS 180-4, 5.3.3.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A hash on its way.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    state: [u32; 8],
    tail: [u8; BLOCK],
    /// Bytes so far; what does not fill a block stands in `tail`.
    length: u64,
}

impl Hasher {
    /// Of no bytes yet.
    pub(crate) fn new() -> Self {
        Self { state: START, tail: [0; BLOCK], length: 0 }
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let blocks = self.absorb(bytes);
        compress256(&mut self.state, blocks);
    }

    /// The hash of all bytes.
    pub(crate) fn finish(mut self) -> Id {
        let bits = self.length.wrapping_mul(8);
        let held = self.held();
        let mut last = [[0; BLOCK]; 2];
        let padding = last.as_flattened_mut();
        padding[..held].copy_from_slice(&self.tail[..held]);
        padding[held] = 0x80;
        let blocks = if held < BLOCK - 8 { 1 } else { 2 };
        padding[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, &last[..blocks]);
        let mut hash = [0; 32];
        for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        Id::from_bytes(hash)
    }

    fn held(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Takes in `bytes` but for the whole blocks that are left to do, which it returns.
    fn absorb<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [[u8; BLOCK]] {
        let held = self.held();
        self.length += bytes.len() as u64;
        if held > 0 {
            let missing = (BLOCK - held).min(bytes.len());
            let (first, rest) = bytes.split_at(missing);
            self.tail[held..held + missing].copy_from_slice(first);
            if held + missing < BLOCK {
                return &[];
            }
            compress256(&mut self.state, &[self.tail]);
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks();
        self.tail[..rest.len()].copy_from_slice(rest);
        blocks
    }
}

/// The ids of several contents.
pub(crate) fn ids_of(contents: &[&[u8]]) -> Vec<Id> {
    ids_beside(contents, None)
}

/// The ids of several contents, while `beside` takes in some more bytes of its own.
pub(crate) fn ids_beside(contents: &[&[u8]], beside: Option<(&mut Hasher, &[u8])>) -> Vec<Id> {
    let mut hashers = vec![Hasher::new(); contents.len()];
    let own = hashers.iter_mut().zip(contents.iter().copied());
    update_together(beside.into_iter().chain(own));
    hashers.into_iter().map(Hasher::finish).collect()
}

/// Adds to each hasher its own bytes.
pub(crate) fn update_together<'a>(work: impl IntoIterator<Item = (&'a mut Hasher, &'a [u8])>) {
    update_with(work, lanes::are_there());
}

fn update_with<'a>(work: impl IntoIterator<Item = (&'a mut Hasher, &'a [u8])>, interleaved: bool) {
    let lane = |(hasher, bytes): (&'a mut Hasher, &'a [u8])| {
        let blocks = hasher.absorb(bytes);
        Lane { state: &mut hasher.state, blocks }
    };
    let mut lanes: Vec<_> = work.into_iter().map(lane).collect();
    loop {
        lanes.retain(|lane| !lane.blocks.is_empty());
        lanes.sort_unstable_by_key(|lane| std::cmp::Reverse(lane.blocks.len()));
        let total = lanes.iter().map(|lane| lane.blocks.len()).sum::<usize>();
        match &mut lanes[..] {
            [] => return,
            // One that is as long as all others together would be left over alone. A fourth stream
            // would not fit the registers.
            [a, b, c, ..] if interleaved && a.blocks.len() * 2 < total => lanes::run([a, b, c]),
            [a, b, ..] if interleaved => lanes::run([a, b]),
            [a, ..] => compress256(a.state, std::mem::take(&mut a.blocks)),
        }
    }
}

/// The blocks that one stream still has to take in.
struct Lane<'a> {
    state: &'a mut [u32; 8],
    blocks: &'a [[u8; BLOCK]],
}

#[cfg(not(target_arch = "x86_64"))]
mod lanes {
    /// Not on this kind of processor.
    pub(super) fn are_there() -> bool {
        false
    }

    pub(super) fn run<const N: usize>(lanes: [&mut super::Lane<'_>; N]) {
        for lane in lanes {
            super::compress256(lane.state, std::mem::take(&mut lane.blocks));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod lanes {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_extract_epi32, _mm_set_epi32,
        _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32,
        _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::{BLOCK, Lane};

    /// FIPS 180-4, 4.2.2.
    const K: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2,
    ];

    /// True if this processor has what [`run`] needs.
    pub(super) fn are_there() -> bool {
        is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3")
    }

    /// Runs all lanes as far as the shortest one goes. Only where [`are_there`] says so.
    #[allow(unsafe_code)]
    pub(super) fn run<const N: usize>(lanes: [&mut Lane<'_>; N]) {
        assert!(are_there(), "the processor has no SHA instructions");
        // SAFETY: the function is safe but for the instructions that it needs, and those were just
        // found to be there.
        unsafe { interleave(lanes) }
    }

    /// Two state vectors of a stream, in the order that the instructions want: words abef, cdgh.
    #[derive(Clone, Copy)]
    struct State {
        abef: __m128i,
        cdgh: __m128i,
    }

    // No closures below: what an iterator calls is compiled without the instructions and inlines
    // nothing that uses them.

    #[allow(clippy::needless_range_loop)]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn interleave<const N: usize>(mut lanes: [&mut Lane<'_>; N]) {
        let common = lanes.iter().map(|lane| lane.blocks.len()).min().unwrap_or(0);
        let mut streams: [&[[u8; BLOCK]]; N] = [&[]; N];
        let mut states = [State { abef: _mm_setzero_si128(), cdgh: _mm_setzero_si128() }; N];
        for (at, lane) in lanes.iter_mut().enumerate() {
            (streams[at], lane.blocks) = lane.blocks.split_at(common);
            states[at] = load_state(lane.state);
        }
        for block in 0..common {
            let mut words = [[_mm_setzero_si128(); 4]; N];
            for lane in 0..N {
                words[lane] = load_block(&streams[lane][block]);
            }
            let before = states;
            rounds(&mut states, &mut words);
            for lane in 0..N {
                states[lane].abef = _mm_add_epi32(states[lane].abef, before[lane].abef);
                states[lane].cdgh = _mm_add_epi32(states[lane].cdgh, before[lane].cdgh);
            }
        }
        for (at, lane) in lanes.iter_mut().enumerate() {
            *lane.state = store_state(states[at]);
        }
    }

    /// All 64 rounds of one block of each stream, four at a time.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn rounds<const N: usize>(states: &mut [State; N], words: &mut [[__m128i; 4]; N]) {
        // Sixteen times by hand: the compiler keeps vectors in registers only where every index is
        // a constant.
        macro_rules! four {
            ($($group:literal)*) => {$(
                let constants = vector(&K, $group);
                let mut sums = [constants; N];
                for lane in 0..N {
                    let state = &mut states[lane];
                    sums[lane] = _mm_add_epi32(words[lane][$group % 4], constants);
                    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sums[lane]);
                }
                for lane in 0..N {
                    let (state, high) = (&mut states[lane], _mm_shuffle_epi32(sums[lane], 0x0e));
                    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, high);
                }
                if $group < 12 {
                    for words in words.iter_mut() {
                        words[$group % 4] = schedule(words, $group);
                    }
                }
            )*};
        }
        four!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    }

    /// The four words of the message schedule that follow the four groups at hand.
    #[inline]
    #[target_feature(enable = "sha,ssse3")]
    fn schedule(words: &[__m128i; 4], group: usize) -> __m128i {
        let (w0, w1) = (words[group % 4], words[(group + 1) % 4]);
        let (w2, w3) = (words[(group + 2) % 4], words[(group + 3) % 4]);
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
        _mm_sha256msg2_epu32(sum, w3)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn vector(words: &[u32], group: usize) -> __m128i {
        let (a, b) = (words[group * 4].cast_signed(), words[group * 4 + 1].cast_signed());
        let (c, d) = (words[group * 4 + 2].cast_signed(), words[group * 4 + 3].cast_signed());
        _mm_set_epi32(d, c, b, a)
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn load_block(block: &[u8; BLOCK]) -> [__m128i; 4] {
        let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let halves: &[[u8; 8]] = block.as_chunks().0;
        let mut words = [_mm_setzero_si128(); 4];
        for at in 0..4 {
            let low = i64::from_le_bytes(halves[at * 2]);
            let high = i64::from_le_bytes(halves[at * 2 + 1]);
            words[at] = _mm_shuffle_epi8(_mm_set_epi64x(high, low), big_endian);
        }
        words
    }

    #[inline]
    #[target_feature(enable = "sse4.1,ssse3")]
    fn load_state(state: &[u32; 8]) -> State {
        let badc = _mm_shuffle_epi32(vector(state, 0), 0xb1);
        let hgfe = _mm_shuffle_epi32(vector(state, 1), 0x1b);
        State { abef: _mm_alignr_epi8(badc, hgfe, 8), cdgh: _mm_blend_epi16(hgfe, badc, 0xf0) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn store_state(state: State) -> [u32; 8] {
        let State { abef: x, cdgh: y } = state;
        [
            _mm_extract_epi32(x, 3),
            _mm_extract_epi32(x, 2),
            _mm_extract_epi32(y, 3),
            _mm_extract_epi32(y, 2),
            _mm_extract_epi32(x, 1),
            _mm_extract_epi32(x, 0),
            _mm_extract_epi32(y, 1),
            _mm_extract_epi32(y, 0),
        ]
        .map(i32::cast_unsigned)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn plain(bytes: &[u8]) -> Id {
        Id::from_bytes(Sha256::digest(bytes).into())
    }

    fn both_ways(contents: &[&[u8]], interleaved: bool) -> Vec<Id> {
        let mut hashers = vec![Hasher::new(); contents.len()];
        update_with(hashers.iter_mut().zip(contents.iter().copied()), interleaved);
        hashers.into_iter().map(Hasher::finish).collect()
    }

    #[test]
    fn every_short_length_alone_and_beside_others() {
        let bytes: Vec<_> = (0..5).map(|seed| noise(260, seed)).collect();
        for length in 0..=260 {
            let mut hasher = Hasher::new();
            hasher.update(&bytes[0][..length]);
            assert_eq!(hasher.finish(), plain(&bytes[0][..length]), "{length}");
            for other in [0, 1, 55, 56, 63, 64, 65, 119, 128, 200, 260] {
                let contents = [&bytes[1][..length], &bytes[2][..other], &bytes[3][..260 - length]];
                for count in 2..=3 {
                    let expected: Vec<_> =
                        contents[..count].iter().map(|content| plain(content)).collect();
                    assert_eq!(ids_of(&contents[..count]), expected, "{length} {other}");
                    assert_eq!(both_ways(&contents[..count], false), expected, "without lanes");
                }
            }
        }
    }

    #[test]
    fn on_a_processor_that_has_the_instructions_they_are_used() {
        let has = std::fs::read_to_string("/proc/cpuinfo")
            .is_ok_and(|text| ["sha_ni", "sse4_1", "ssse3"].iter().all(|name| text.contains(name)));
        assert_eq!(lanes::are_there(), has);
    }

    #[test]
    fn nothing_is_hashed_to_nothing() {
        assert!(ids_of(&[]).is_empty());
        update_together([]);
        assert_eq!(ids_of(&[b"", b"abc"]), [plain(b""), plain(b"abc")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Any number of streams of any lengths, each fed in pieces beside the others.
        #[test]
        fn many_streams_in_pieces(
            lengths in prop::collection::vec(prop::collection::vec(0usize..3000, 0..5), 0..8),
        ) {
            let contents: Vec<Vec<u8>> = lengths.iter().enumerate()
                .map(|(seed, pieces)| noise(pieces.iter().sum(), seed as u64)).collect();
            let expected: Vec<_> = contents.iter().map(|content| plain(content)).collect();
            for interleaved in [true, false] {
                let mut hashers = vec![Hasher::new(); contents.len()];
                let mut starts = vec![0; contents.len()];
                for round in 0..5 {
                    let pieces: Vec<&[u8]> = (0..contents.len()).map(|at| {
                        let length = lengths[at].get(round).copied().unwrap_or(0);
                        let start = starts[at];
                        starts[at] += length;
                        &contents[at][start..start + length]
                    }).collect();
                    update_with(hashers.iter_mut().zip(pieces), interleaved && lanes::are_there());
                }
                let found: Vec<_> = hashers.into_iter().map(Hasher::finish).collect();
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn ids_beside_a_running_hash(
            first in 0usize..500, more in 0usize..5000, lengths in prop::collection::vec(0usize..5000, 0..6),
        ) {
            let running = noise(first + more, 99);
            let mut hasher = Hasher::new();
            hasher.update(&running[..first]);
            let contents: Vec<Vec<u8>> =
                lengths.iter().map(|length| noise(*length, *length as u64)).collect();
            let slices: Vec<&[u8]> = contents.iter().map(|content| &content[..]).collect();
            let ids = ids_beside(&slices, Some((&mut hasher, &running[first..])));
            prop_assert_eq!(ids, slices.iter().map(|content| plain(content)).collect::<Vec<_>>());
            prop_assert_eq!(hasher.finish(), plain(&running));
        }
    }
}
