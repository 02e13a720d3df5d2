//! Where each blob is: a compact table of what the vault holds, and the blobs added in this run.
//!
//! 48 bytes a blob in one sorted array for each kind, packs in a table of their own. A directory of
//! start positions by the first bits of the id makes a look-up a few comparisons. Blobs of this run
//! stand in a sharded map once an index object names them.
//!
//! Index objects are read by several threads, each in one pass from its stream, and appended to the
//! common arrays one by one: beside these never more than an object a thread is in memory. What
//! several objects say of one blob in one place is kept once. An object that a readable one
//! replaces is left out, packs that are about to be deleted too.

mod added;
mod file;
mod loading;
mod table;
mod usual;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

pub use file::{IndexBlob, IndexFile, IndexPack};
pub(crate) use loading::{Gathered, IndexPart};
pub(crate) use usual::{Layout, read as read_usual};

use self::added::Added;
use self::table::{Entry, Table};
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: Id,
    /// Where the sealed blob begins in it, in bytes.
    pub offset: u32,
    /// Bytes of the sealed blob.
    pub length: u32,
    /// Bytes of the content if it is compressed, else 0.
    pub uncompressed_length: u32,
}

impl Location {
    /// Bytes of the plain, uncompressed content.
    pub fn content_length(&self) -> u32 {
        match self.uncompressed_length {
            0 => self.length.saturating_sub(crate::crypto::OVERHEAD as u32),
            length => length,
        }
    }
}

/// The index of an open vault. All calls work on a shared reference.
#[derive(Debug)]
pub struct Index {
    packs: Vec<Id>,
    /// By pack: missing, cut, or named by no index object. Its blobs are read where there is no
    /// better place, but must be stored again.
    distrusted: Vec<AtomicBool>,
    tables: [Table; 2],
    added: Added,
}

/// Collects index objects; several can be filled in parallel and merged.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    packs: Vec<Id>,
    pack_numbers: HashMap<Id, u32, BuildHasherDefault<IdHasher>>,
    distrusted: Vec<u32>,
    entries: [Vec<Entry>; 2],
}

/// Takes eight bytes of an id for its hash: ids are hashes already.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*last);
        }
    }

    // The length of an id, which is always the same.
    fn write_usize(&mut self, _: usize) {}
}

fn slot(kind: BlobKind) -> usize {
    match kind {
        BlobKind::Data => 0,
        BlobKind::Tree => 1,
    }
}

const KINDS: [BlobKind; 2] = [BlobKind::Data, BlobKind::Tree];

impl IndexBuilder {
    /// The packs of an index object and what it replaces, read the quick way; none if it is not laid
    /// out as usual. Where there is an answer it must be that of [`IndexFile::parse`].
    pub fn from_usual(document: &[u8]) -> Option<(IndexBuilder, Vec<Id>)> {
        match usual::read(document, document.len() as u64) {
            Ok(usual::Layout::Usual { builder, supersedes }) => Some((builder, supersedes)),
            Ok(usual::Layout::Other) | Err(_) => None,
        }
    }

    /// Adds the packs of an index object, except those that are about to be deleted.
    pub fn add_file(&mut self, file: &IndexFile) {
        for pack in &file.packs {
            self.add_pack(&pack.id, pack.blobs.iter().map(PackedBlob::from));
        }
    }

    /// Adds one pack.
    pub fn add_pack(&mut self, pack: &Id, blobs: impl IntoIterator<Item = PackedBlob>) {
        let number = self.number(pack);
        for blob in blobs {
            self.add_blob(number, &blob);
        }
    }

    #[inline]
    fn add_blob(&mut self, pack: u32, blob: &PackedBlob) {
        self.entries[slot(blob.kind)].push(Entry {
            id: blob.id,
            pack,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length,
        });
    }

    /// Adds a pack that no index object names; its blobs can be read but count as not stored.
    pub fn add_unlisted_pack(&mut self, pack: &Id, blobs: impl IntoIterator<Item = PackedBlob>) {
        self.add_pack(pack, blobs);
        let number = self.number(pack);
        self.distrusted.push(number);
    }

    /// True if the pack was added.
    pub fn names(&self, pack: &Id) -> bool {
        self.pack_numbers.contains_key(pack)
    }

    fn number(&mut self, pack: &Id) -> u32 {
        *self.pack_numbers.entry(*pack).or_insert_with(|| {
            self.packs.push(*pack);
            (self.packs.len() - 1) as u32
        })
    }

    /// Takes over what another builder collected.
    pub fn merge(&mut self, other: IndexBuilder) {
        self.absorb(other);
    }
}

impl Default for Index {
    fn default() -> Self {
        IndexBuilder::default().finish(1)
    }
}

impl Index {
    fn new(packs: Vec<Id>, distrusted: &[u32], entries: [Vec<Entry>; 2], threads: usize) -> Self {
        let mut packs = packs;
        packs.shrink_to_fit();
        let flags: Vec<AtomicBool> = packs.iter().map(|_| AtomicBool::default()).collect();
        for number in distrusted {
            flags[*number as usize].store(true, Ordering::Relaxed);
        }
        let tables = entries.map(|entries| Table::new(entries, threads));
        Index { packs, distrusted: flags, tables, added: Added::default() }
    }

    /// True if the blob is stored in a pack that an index object names.
    pub fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        self.is_loaded(kind, id) || self.added.contains(kind, id)
    }

    fn is_loaded(&self, kind: BlobKind, id: &Id) -> bool {
        self.tables[slot(kind)].find(id).iter().any(|entry| !self.is_distrusted(entry.pack))
    }

    fn is_distrusted(&self, pack: u32) -> bool {
        self.distrusted[pack as usize].load(Ordering::Relaxed)
    }

    /// Notes a pack that was stored in this run and that an index object names.
    pub fn insert(&self, pack: &Id, blobs: &[PackedBlob]) {
        self.added.insert(pack, blobs);
    }

    /// Where a blob lies. A pack that is not trusted is named only if there is no other.
    pub fn lookup(&self, kind: BlobKind, id: &Id) -> Option<Location> {
        let found = self.tables[slot(kind)].find(id);
        let trusted = found.iter().find(|entry| !self.is_distrusted(entry.pack));
        trusted
            .map(|entry| self.location(entry))
            .or_else(|| self.added.lookup(kind, id))
            .or_else(|| found.first().map(|entry| self.location(entry)))
    }

    /// Every place where a blob lies, best first: a blob may be in several packs.
    pub fn locations(&self, kind: BlobKind, id: &Id) -> Vec<Location> {
        let found = self.tables[slot(kind)].find(id);
        let trusted = found.iter().filter(|entry| !self.is_distrusted(entry.pack));
        let others = found.iter().filter(|entry| self.is_distrusted(entry.pack));
        trusted
            .map(|entry| self.location(entry))
            .chain(self.added.lookup(kind, id))
            .chain(others.map(|entry| self.location(entry)))
            .collect()
    }

    fn location(&self, entry: &Entry) -> Location {
        Location {
            pack: self.packs[entry.pack as usize],
            offset: entry.offset,
            length: entry.length,
            uncompressed_length: entry.uncompressed_length,
        }
    }

    /// Distrusts packs that are missing or have another size than the index says, judged by a
    /// complete listing (name to size): their blobs count as not stored from now on. Returns the
    /// packs.
    pub fn distrust_missing(&self, sizes: &HashMap<Id, u64>) -> Vec<Id> {
        let mut gone = Vec::new();
        let order = self.by_pack();
        for (number, pack) in self.packs.iter().enumerate() {
            if sizes.get(pack) != Some(&crate::pack::pack_size(&order.blobs(number))) {
                self.distrusted[number].store(true, Ordering::Relaxed);
                gone.push(*pack);
            }
        }
        gone
    }

    /// True if what the index says of a pack is believed, by its number.
    pub(crate) fn is_trusted(&self, pack: usize) -> bool {
        !self.distrusted[pack].load(Ordering::Relaxed)
    }

    /// Trusts a pack, by its number, or does not: somebody has read it.
    pub(crate) fn set_trusted(&self, pack: usize, trusted: bool) {
        self.distrusted[pack].store(!trusted, Ordering::Relaxed);
    }

    /// Number of blobs of a kind that were loaded from the vault.
    pub fn loaded_count(&self, kind: BlobKind) -> usize {
        self.tables[slot(kind)].entries().len()
    }

    /// Position of a blob among the loaded ones of its kind, to mark it in a set of bits.
    pub(crate) fn position(&self, kind: BlobKind, id: &Id) -> Option<usize> {
        self.tables[slot(kind)].position(id)
    }

    /// Number of the pack from which the blob at a position is read.
    pub(crate) fn best_pack(&self, kind: BlobKind, position: usize) -> usize {
        let entries = &self.tables[slot(kind)].entries()[position..];
        let first = &entries[0];
        let mut same = entries.iter().take_while(|entry| entry.id == first.id);
        let trusted = same.find(|entry| !self.is_distrusted(entry.pack));
        trusted.unwrap_or(first).pack as usize
    }

    /// The packs that hold the blob at the first position of its id, by number; every copy.
    pub(crate) fn packs_with(
        &self,
        kind: BlobKind,
        position: usize,
    ) -> impl Iterator<Item = usize> {
        let entries = &self.tables[slot(kind)].entries()[position..];
        let id = entries[0].id;
        entries.iter().take_while(move |entry| entry.id == id).map(|entry| entry.pack as usize)
    }

    /// The packs that the vault's index objects name, those without blobs too.
    pub fn packs(&self) -> &[Id] {
        &self.packs
    }

    /// Calls `visit` for each pack that the vault's index objects name, with its blobs by offset.
    /// Blobs stored in this run are not among them.
    pub fn for_each_pack(&self, mut visit: impl FnMut(&Id, &[PackedBlob])) {
        let order = self.by_pack();
        for (number, pack) in self.packs.iter().enumerate() {
            visit(pack, &order.blobs(number));
        }
    }

    /// The loaded blobs by pack.
    pub(crate) fn by_pack(&self) -> ByPack<'_> {
        ByPack::new(self)
    }
}

/// Entry numbers by pack: 4 bytes a blob while it lasts.
pub(crate) struct ByPack<'a> {
    index: &'a Index,
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl<'a> ByPack<'a> {
    fn new(index: &'a Index) -> Self {
        let entries = || index.tables.iter().flat_map(Table::entries);
        // A counting sort.
        let mut starts = vec![0u32; index.packs.len() + 1];
        for entry in entries() {
            starts[entry.pack as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut order = vec![0u32; index.tables.iter().map(|table| table.entries().len()).sum()];
        let mut next = starts.clone();
        for (number, entry) in entries().enumerate() {
            let place = &mut next[entry.pack as usize];
            order[*place as usize] = number as u32;
            *place += 1;
        }
        ByPack { index, starts, order }
    }

    /// The blobs of the pack with this number, by offset.
    pub fn blobs(&self, pack: usize) -> Vec<PackedBlob> {
        let range = self.starts[pack] as usize..self.starts[pack + 1] as usize;
        let data = self.index.tables[0].entries().len();
        let mut blobs: Vec<PackedBlob> = self.order[range]
            .iter()
            .map(|at| {
                let at = *at as usize;
                let (kind, at) = if at < data { (0, at) } else { (1, at - data) };
                self.index.tables[kind].entries()[at].packed(KINDS[kind])
            })
            .collect();
        blobs.sort_unstable_by_key(|blob| blob.offset);
        blobs
    }
}

#[cfg(test)]
mod frozen;
#[cfg(test)]
mod tests;
