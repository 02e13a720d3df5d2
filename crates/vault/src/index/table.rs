//! A sorted array of entries with a directory by the first bits of the id.

use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};

/// One blob: 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub id: Id,
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
    pub uncompressed_length: u32,
}

const _: () = assert!(size_of::<Entry>() == 48);

impl Entry {
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
        // About eight entries a bucket, up to 2^20 buckets.
        let bits = (entries.len() / 8 + 1).ilog2().min(20);
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
        first + candidates.partition_point(|entry| entry.id < *id)
    }
}

fn bucket(id: &Id, bits: u32) -> usize {
    let first = u32::from_be_bytes([id.as_bytes()[0], id.as_bytes()[1], id.as_bytes()[2], 0]);
    // Shifting by 32 would overflow where there is one bucket only.
    first.checked_shr(32 - bits).unwrap_or(0) as usize
}

/// Sorts on several threads by cutting at the median.
fn sort(entries: &mut [Entry], threads: usize) {
    const WORTH_A_THREAD: usize = 1 << 16;
    if threads < 2 || entries.len() < WORTH_A_THREAD {
        entries.sort_unstable();
        return;
    }
    let middle = entries.len() / 2;
    entries.select_nth_unstable(middle);
    let (low, high) = entries.split_at_mut(middle);
    std::thread::scope(|scope| {
        scope.spawn(|| sort(low, threads / 2));
        sort(high, threads - threads / 2);
    });
}
