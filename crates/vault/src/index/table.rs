//! A sorted array of entries with a directory by the first bits of the id.

use std::cmp::Ordering;
use std::sync::Mutex;

use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};
use crate::sync::lock;

/// One blob: 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub id: Id,
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
    pub uncompressed_length: u32,
}

const _: () = assert!(size_of::<Entry>() == 48);

/// The first eight bytes: as good as all of the id nearly always, and compared in one step.
fn prefix(id: &Id) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn order_of_ids(left: &Id, right: &Id) -> Ordering {
    prefix(left).cmp(&prefix(right)).then_with(|| left.cmp(right))
}

impl Entry {
    fn order(&self, other: &Entry) -> Ordering {
        let place =
            |entry: &Entry| (entry.pack, entry.offset, entry.length, entry.uncompressed_length);
        order_of_ids(&self.id, &other.id).then_with(|| place(self).cmp(&place(other)))
    }

    pub fn packed(&self, kind: BlobKind) -> PackedBlob {
        PackedBlob {
            kind,
            id: self.id,
            offset: self.offset,
            length: self.length,
            uncompressed_length: self.uncompressed_length,
        }
    }
}

#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    /// `starts[n]` is where ids whose first bits are n begin; one more at the end.
    starts: Vec<u32>,
    bits: u32,
}

impl Table {
    pub fn new(mut entries: Vec<Entry>, threads: usize) -> Self {
        sort(&mut entries, threads);
        entries.dedup();
        entries.shrink_to_fit();
        // Four to eight entries a bucket, up to 2^24 buckets: at most a byte an entry.
        let bits = (entries.len() / 4 + 1).ilog2().min(24);
        let mut starts = vec![0u32; (1 << bits) + 1];
        for entry in &entries {
            starts[bucket(&entry.id, bits) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Table { entries, starts, bits }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All entries of an id.
    pub fn find(&self, id: &Id) -> &[Entry] {
        let start = self.start_of(id);
        let same = self.entries[start..].iter().take_while(|entry| entry.id == *id).count();
        &self.entries[start..start + same]
    }

    /// Where the first entry of an id is.
    pub fn position(&self, id: &Id) -> Option<usize> {
        let start = self.start_of(id);
        self.entries.get(start).is_some_and(|entry| entry.id == *id).then_some(start)
    }

    fn start_of(&self, id: &Id) -> usize {
        let bucket = bucket(id, self.bits);
        let first = self.starts[bucket] as usize;
        let candidates = &self.entries[first..self.starts[bucket + 1] as usize];
        first + candidates.partition_point(|entry| order_of_ids(&entry.id, id).is_lt())
    }
}

fn bucket(id: &Id, bits: u32) -> usize {
    let first = u32::from_be_bytes([id.as_bytes()[0], id.as_bytes()[1], id.as_bytes()[2], 0]);
    // Shifting by 32 would overflow where there is one bucket only.
    first.checked_shr(32 - bits).unwrap_or(0) as usize
}

/// Below this many entries comparing is as quick as distributing.
const FEW: usize = 1 << 9;

/// Sorts in place: ids are spread evenly, so that their first two bytes cut the entries into parts
/// of even size. The parts of the first byte are shared out to the threads.
fn sort(entries: &mut [Entry], threads: usize) {
    if entries.len() < FEW {
        entries.sort_unstable_by(Entry::order);
        return;
    }
    let parts = Mutex::new(distribute(entries, 0).into_iter());
    let work = || {
        loop {
            // Not in the condition of the loop, where the lock would be held along.
            let part = lock(&parts).next();
            let Some(part) = part else { return };
            if part.len() < FEW {
                part.sort_unstable_by(Entry::order);
            } else {
                for small in distribute(part, 1) {
                    small.sort_unstable_by(Entry::order);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

/// Brings entries into the order of one byte of their ids (an "American flag" sort) and returns
/// the parts that have it in common.
fn distribute(entries: &mut [Entry], byte: usize) -> Vec<&mut [Entry]> {
    let of = |entry: &Entry| usize::from(entry.id.as_bytes()[byte]);
    let mut counts = [0usize; 256];
    for entry in &*entries {
        counts[of(entry)] += 1;
    }
    // Where the next entry of each value goes, and where its part ends.
    let (mut next, mut ends) = ([0usize; 256], [0usize; 256]);
    let mut sum = 0;
    for value in 0..256 {
        next[value] = sum;
        sum += counts[value];
        ends[value] = sum;
    }
    for value in 0..256 {
        while next[value] < ends[value] {
            let found = of(&entries[next[value]]);
            if found != value {
                entries.swap(next[value], next[found]);
            }
            next[found] += 1;
        }
    }
    let mut parts = Vec::with_capacity(256);
    let mut rest = entries;
    for count in counts {
        let (part, others) = rest.split_at_mut(count);
        parts.push(part);
        rest = others;
    }
    parts
}
