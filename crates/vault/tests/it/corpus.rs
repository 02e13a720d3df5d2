//! The fuzzer's corpus in the ordinary tests: each entry, and seeded changes of it, through the very
//! functions that the fuzzer runs (`fuzz/`, `scripts/fuzz`), without its coverage feedback.

use std::path::{Path, PathBuf};

use lifeboat_testkit::parse::TARGETS;

use crate::support::noise;

fn entries(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A few changes, the same for the same number.
fn changed(bytes: &[u8], other: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let dice = noise(number + 1, 64);
    for dice in dice.chunks_exact(8).take(1 + usize::from(dice[63] % 6)) {
        let at = usize::from(u16::from_le_bytes([dice[0], dice[1]])) % (bytes.len() + 1);
        let from = usize::from(u16::from_le_bytes([dice[2], dice[3]])) % (other.len() + 1);
        let end = (at + usize::from(dice[4] % 40)).min(bytes.len());
        let part = &other[from..(from + usize::from(dice[5] % 40)).min(other.len())];
        match dice[6] % 5 {
            0 if at < bytes.len() => bytes[at] = dice[7],
            1 if at < bytes.len() => bytes[at] ^= 1 << (dice[7] % 8),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            _ => drop(bytes.splice(at..end, part.iter().copied())),
        }
    }
    bytes
}

#[test]
fn the_corpus_and_changes_of_it_are_read_or_refused() {
    for (name, target) in TARGETS {
        let entries = entries(name);
        assert!(entries.iter().any(|(_, bytes)| target(bytes)), "{name}: nothing is taken at all");
        assert!(entries.iter().any(|(_, bytes)| !target(bytes)), "{name}: nothing is refused");
        for (at, (path, bytes)) in entries.iter().enumerate() {
            let (_, other) = &entries[(at * 7 + 1) % entries.len()];
            for number in 0..60 {
                let input = changed(bytes, other, (at as u64) << 32 | number);
                let run = std::panic::catch_unwind(|| target(&input));
                assert!(run.is_ok(), "{name}: change {number} of {}: {input:?}", path.display());
            }
        }
    }
}
