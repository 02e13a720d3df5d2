//! Gathering many index objects, in any order and from several threads.
//!
//! Each object's entries are appended to the common tables as soon as it is read, so that nothing
//! is held twice. Which object they came from is remembered as a range: that another object
//! replaces it may turn out later.

use std::collections::HashSet;
use std::ops::Range;

use super::{Index, IndexBuilder};
use crate::id::Id;

/// What one readable index object holds.
#[derive(Debug)]
pub(crate) struct IndexPart {
    pub builder: IndexBuilder,
    /// Index objects that it replaces.
    pub supersedes: Vec<Id>,
    /// Packs that it says are about to be deleted.
    pub doomed: Vec<Id>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    builder: IndexBuilder,
    objects: Vec<Object>,
    superseded: HashSet<Id>,
    doomed: HashSet<Id>,
}

#[derive(Debug)]
struct Object {
    id: Id,
    /// Its packs, by number.
    packs: Vec<u32>,
    /// Its entries in either table.
    entries: [Range<usize>; 2],
}

impl Gathered {
    /// Takes over an index object.
    pub fn add(&mut self, id: Id, part: IndexPart) {
        let before = self.builder.entries.each_ref().map(Vec::len);
        let packs = self.builder.absorb(part.builder);
        let after = self.builder.entries.each_ref().map(Vec::len);
        let entries = [before[0]..after[0], before[1]..after[1]];
        self.objects.push(Object { id, packs, entries });
        self.superseded.extend(part.supersedes);
        self.doomed.extend(part.doomed);
    }

    /// True if a readable object replaces this one.
    pub fn supersedes(&self, id: &Id) -> bool {
        self.superseded.contains(id)
    }

    /// What all objects together say, without those that another one replaces: the builder and the
    /// packs that are about to be deleted.
    pub fn finish(mut self) -> (IndexBuilder, HashSet<Id>) {
        let (gone, kept): (Vec<Object>, Vec<Object>) =
            self.objects.into_iter().partition(|object| self.superseded.contains(&object.id));
        if !gone.is_empty() {
            self.builder.remove(&gone, &kept);
        }
        (self.builder, self.doomed)
    }
}

impl IndexBuilder {
    /// Takes over what another builder collected; returns the numbers of its packs here.
    pub(super) fn absorb(&mut self, other: IndexBuilder) -> Vec<u32> {
        let numbers: Vec<u32> = other.packs.iter().map(|pack| self.number(pack)).collect();
        self.distrusted.extend(other.distrusted.iter().map(|number| numbers[*number as usize]));
        for (mine, theirs) in self.entries.iter_mut().zip(other.entries) {
            mine.extend(theirs.into_iter().map(|mut entry| {
                entry.pack = numbers[entry.pack as usize];
                entry
            }));
        }
        numbers
    }

    /// Takes objects out again, and packs that no other object names.
    fn remove(&mut self, gone: &[Object], kept: &[Object]) {
        for (table, entries) in self.entries.iter_mut().enumerate() {
            let mut ranges: Vec<&Range<usize>> =
                gone.iter().map(|object| &object.entries[table]).collect();
            ranges.sort_unstable_by_key(|range| range.start);
            let (mut at, mut next) = (0, 0);
            entries.retain(|_| {
                while next < ranges.len() && at >= ranges[next].end {
                    next += 1;
                }
                let inside = next < ranges.len() && ranges[next].contains(&at);
                at += 1;
                !inside
            });
        }
        let mut named = vec![false; self.packs.len()];
        for number in kept.iter().flat_map(|object| &object.packs) {
            named[*number as usize] = true;
        }
        let old = std::mem::take(&mut self.packs);
        self.pack_numbers.clear();
        let numbers: Vec<u32> = old
            .iter()
            .zip(named)
            .map(|(pack, named)| if named { self.number(pack) } else { u32::MAX })
            .collect();
        // Each kept entry's object is kept, and so is its pack.
        for entry in self.entries.iter_mut().flatten() {
            entry.pack = numbers[entry.pack as usize];
        }
        self.distrusted.retain_mut(|number| {
            *number = numbers[*number as usize];
            *number != u32::MAX
        });
    }

    /// Sorts and closes the tables, on up to `threads` threads.
    pub fn finish(self, threads: usize) -> Index {
        let IndexBuilder { packs, pack_numbers, distrusted, entries } = self;
        drop(pack_numbers);
        Index::new(packs, &distrusted, entries, threads)
    }
}
