//! Loading the index, and making it up from pack headers where index objects are damaged or lost.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Vault;
use super::unpacked::{self, Folder, Stored};
use crate::cache::Kept;
use crate::compress;
use crate::error::Result;
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::index::{self, Gathered, Index, IndexBuilder, IndexFile, IndexPart, Layout};
use crate::pack::{self, PackedBlob};
use crate::parallel;
use crate::sync::lock;

/// A loaded index and what was wrong with its objects.
pub(crate) struct IndexState {
    pub index: Arc<Index>,
    /// How many index objects there are, damaged ones too.
    pub objects: usize,
    /// Index objects that cannot be read.
    pub damaged: Vec<(Id, Flaw)>,
    /// Packs that no readable index object names were looked into.
    pub rebuilt: bool,
    /// Those packs, as far as their headers are whole.
    pub unlisted: HashSet<Id>,
    /// Tells this set of index objects from others.
    names: Id,
    /// Monotonic time of the last look at whether the vault has others by now.
    looked: Mutex<Option<Duration>>,
}

/// Packs that no index object names, of which the header is whole, and their sizes.
fn unlisted(state: &IndexState, sizes: &HashMap<Id, u64>) -> Vec<(NamedPack, u64)> {
    let mut found = Vec::new();
    if !state.unlisted.is_empty() {
        state.index.for_each_pack(|pack, blobs| {
            if let Some(size) = sizes.get(pack).filter(|_| state.unlisted.contains(pack)) {
                found.push(((*pack, blobs.to_vec()), *size));
            }
        });
    }
    found
}

/// Between two looks at whether the index is of yesterday: a restore from a badly damaged vault
/// misses many blobs, and would ask for each.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A name for the set of index objects.
fn name_of(stored: &[Stored]) -> Id {
    let mut ids: Vec<[u8; 32]> = stored.iter().map(|object| *object.id.as_bytes()).collect();
    ids.sort_unstable();
    Id::of(ids.as_flattened())
}

/// A pack and the blobs in it.
pub(crate) type NamedPack = (Id, Vec<PackedBlob>);

/// What a writer builds on.
pub(crate) struct Footing {
    pub index: Arc<Index>,
    /// Packs that the index knows and no index object names yet.
    pub adopted: Vec<NamedPack>,
    /// Sizes of all packs in the place.
    pub sizes: HashMap<Id, u64>,
    /// Packs that the index names and that are missing or cut: it does not trust them.
    pub gone: Vec<Id>,
}

impl Vault {
    /// Loads the index now instead of at the first use.
    pub fn load_index(&self) -> Result<()> {
        self.index().map(drop)
    }

    /// The index, loaded at first use.
    pub(crate) fn index(&self) -> Result<Arc<Index>> {
        self.index_state().map(|state| state.index.clone())
    }

    pub(crate) fn index_state(&self) -> Result<Arc<IndexState>> {
        let mut slot = lock(&self.0.index);
        if let Some(state) = &*slot {
            return Ok(state.clone());
        }
        let state = Arc::new(self.read_index(false)?);
        *slot = Some(state.clone());
        Ok(state)
    }

    /// The index for a writer: freshly loaded, and packs that are missing or cut are not trusted
    /// to hold their blobs, so that a backup stores these again instead of referring to them.
    ///
    /// Packs that no index object names, left by a backup that was broken off or by a lost index
    /// object, are adopted if all their bytes are those that they were named by. The writer must
    /// name them in an index object of its own before it writes a snapshot.
    pub(crate) fn index_for_backup(&self) -> Result<(Arc<Index>, Vec<NamedPack>)> {
        self.footing().map(|footing| (footing.index, footing.adopted))
    }

    /// See [`Vault::index_for_backup`].
    pub(crate) fn footing(&self) -> Result<Footing> {
        let (state, mut footing) = self.index_and_sizes()?;
        footing.adopted = self.adopt(unlisted(&state, &footing.sizes))?;
        for (pack, blobs) in &footing.adopted {
            footing.index.insert(pack, blobs);
        }
        Ok(footing)
    }

    /// The index as [`Vault::index_for_backup`] would have it if every pack that would be adopted
    /// were whole. No data is read: it is enough for a plan, and for nothing else.
    pub(crate) fn index_for_plan(&self) -> Result<Footing> {
        let (state, footing) = self.index_and_sizes()?;
        for ((pack, blobs), _) in unlisted(&state, &footing.sizes) {
            footing.index.insert(&pack, &blobs);
        }
        Ok(footing)
    }

    /// Nothing is adopted yet.
    fn index_and_sizes(&self) -> Result<(Arc<IndexState>, Footing)> {
        let state = self.load_index_anew(true)?;
        // Listed after the index was read: every pack that it names must be there.
        let sizes = self.pack_sizes()?;
        let gone = state.index.distrust_missing(&sizes);
        if !gone.is_empty() {
            self.note(&format!(
                "{} packs of the index are missing or truncated; what they held is stored again",
                gone.len()
            ));
        }
        let (index, adopted) = (state.index.clone(), Vec::new());
        Ok((state, Footing { index, adopted, sizes, gone }))
    }

    /// Those packs whose bytes are all right. A pack whose writer found it wrong may stand among
    /// them, so that a right header is not enough.
    fn adopt(&self, orphans: Vec<(NamedPack, u64)>) -> Result<Vec<NamedPack>> {
        let whole = parallel::map(&orphans, parallel::threads(), |((pack, _), size)| {
            self.stop_if_cancelled()?;
            self.pack_is_whole(pack, *size)
        })?;
        let judged = orphans.into_iter().zip(whole);
        Ok(judged.filter(|(_, whole)| *whole).map(|((pack, _), _)| pack).collect())
    }

    /// True if the bytes of a pack of `size` bytes are those that it was named by.
    pub(crate) fn pack_is_whole(&self, pack: &Id, size: u64) -> Result<bool> {
        match self.hash_pack(pack, size) {
            Ok(id) => Ok(id == *pack),
            Err(ReadFailure::Damaged(_)) => Ok(false),
            Err(ReadFailure::Store(error)) => Err(error),
        }
    }

    /// The SHA-256 of a pack of `size` bytes.
    pub(crate) fn hash_pack(&self, pack: &Id, size: u64) -> std::result::Result<Id, ReadFailure> {
        const STEP: u64 = 4 << 20;
        let key = pack::pack_key(pack);
        let mut hasher = Sha256::new();
        let mut offset = 0;
        while offset < size {
            let length = STEP.min(size - offset);
            hasher.update(self.store().get_range(&key, offset, length)?);
            offset += length;
        }
        Ok(Id::from_bytes(hasher.finalize().into()))
    }

    /// Drops what was loaded; the next use loads it anew.
    pub(crate) fn forget_index(&self) {
        *lock(&self.0.index) = None;
    }

    /// Loads the index anew.
    pub(crate) fn load_index_anew(&self, thorough: bool) -> Result<Arc<IndexState>> {
        let mut slot = lock(&self.0.index);
        let state = Arc::new(self.read_index(thorough)?);
        *slot = Some(state.clone());
        Ok(state)
    }

    /// Loads the index anew unless another thread did since `seen` was loaded: another process may
    /// have added to it. With `thorough` the headers of all packs that no index object names are
    /// read as well. Blobs of running sessions stay known to those sessions only.
    pub(crate) fn reload_index(
        &self,
        seen: &Arc<IndexState>,
        thorough: bool,
    ) -> Result<Arc<IndexState>> {
        let mut slot = lock(&self.0.index);
        if let Some(state) = &*slot
            && !Arc::ptr_eq(state, seen)
            && (state.rebuilt || !thorough)
        {
            return Ok(state.clone());
        }
        let state = Arc::new(self.read_index(thorough)?);
        *slot = Some(state.clone());
        Ok(state)
    }

    /// The index loaded anew if another process has written to it, or pruned, since `seen` was
    /// loaded: a vault that is open for long outlives what it knows.
    pub(crate) fn newer_index(&self, seen: &Arc<IndexState>) -> Result<Option<Arc<IndexState>>> {
        {
            let mut looked = lock(&seen.looked);
            let now = self.environment().clock.monotonic();
            if looked.is_some_and(|then| now.saturating_sub(then) < LOOK_AGAIN) {
                // Another thread may have loaded it.
                drop(looked);
                let state = self.index_state()?;
                return Ok((!Arc::ptr_eq(&state, seen)).then_some(state));
            }
            *looked = Some(now);
        }
        if name_of(&self.list(Folder::Index)?) == seen.names {
            return Ok(None);
        }
        self.reload_index(seen, false).map(Some)
    }

    fn read_index(&self, thorough: bool) -> Result<IndexState> {
        let stored = self.list(Folder::Index)?;
        let threads = parallel::threads();
        let gathered = Mutex::new(Gathered::default());
        let flaws = parallel::map(&stored, threads, |object| {
            self.stop_if_cancelled()?;
            match self.read_index_object(object) {
                Ok(part) => {
                    lock(&gathered).add(object.id, part);
                    Ok(None)
                }
                Err(ReadFailure::Damaged(flaw)) => Ok(Some((object.id, flaw))),
                Err(ReadFailure::Store(error)) => Err(error),
            }
        })?;
        if let Some(cache) = self.cache() {
            let names: HashSet<Id> = stored.iter().map(|object| object.id).collect();
            cache.retain(Kept::Index, |id| names.contains(id));
        }
        let damaged: Vec<(Id, Flaw)> = flaws.into_iter().flatten().collect();
        for (id, flaw) in &damaged {
            self.note(&format!("index {} is damaged: {flaw}", id.short()));
        }
        let gathered = std::mem::take(&mut *lock(&gathered));
        // Damage to an object that a readable one replaces takes nothing away.
        let lost = damaged.iter().any(|(id, _)| !gathered.supersedes(id)) || stored.is_empty();
        let (mut builder, doomed) = gathered.finish();
        let rebuilt = thorough || lost;
        let unlisted = match rebuilt {
            true => self.add_unlisted_packs(&mut builder, &doomed)?,
            false => HashSet::new(),
        };
        let index = Arc::new(builder.finish(threads));
        let (names, looked) = (name_of(&stored), Mutex::default());
        Ok(IndexState { index, objects: stored.len(), damaged, rebuilt, unlisted, names, looked })
    }

    /// One index object. Its document is never whole in memory if it has the usual layout.
    fn read_index_object(&self, object: &Stored) -> Result<IndexPart, ReadFailure> {
        let plain = self.load_plain(Folder::Index, &object.id, Some(object.size))?;
        if let Some(frame) = unpacked::compressed(&plain) {
            let decoder = compress::reader(frame).map_err(|error| Flaw::changed(error.to_string()));
            // A damaged frame is found again and named below.
            if let Ok(Layout::Usual { builder, supersedes }) =
                index::read_usual(decoder?, unpacked::DOCUMENT_LIMIT as u64)
            {
                return Ok(IndexPart { builder, supersedes, doomed: Vec::new() });
            }
        }
        let json = unpacked::decode(&plain).map_err(Flaw::changed)?;
        let file = IndexFile::parse(&json).map_err(Flaw::changed)?;
        let mut builder = IndexBuilder::default();
        builder.add_file(&file);
        let doomed = file.packs_to_delete.iter().map(|pack| pack.id).collect();
        Ok(IndexPart { builder, supersedes: file.supersedes.unwrap_or_default(), doomed })
    }

    /// Reads the headers of all packs that the builder does not name. Their blobs can be read, but
    /// a backup must not refer to them as they are: no index object vouches for them.
    fn add_unlisted_packs(
        &self,
        builder: &mut IndexBuilder,
        doomed: &HashSet<Id>,
    ) -> Result<HashSet<Id>> {
        let unlisted = |pack: &Stored| !builder.names(&pack.id) && !doomed.contains(&pack.id);
        let packs: Vec<Stored> = self.list(Folder::Data)?.into_iter().filter(unlisted).collect();
        if packs.is_empty() {
            return Ok(HashSet::new());
        }
        self.note(&format!("reading {} packs that no index names", packs.len()));
        let headers = parallel::map(&packs, parallel::io_threads(), |pack| {
            self.stop_if_cancelled()?;
            match self.read_header(&pack.id, pack.size) {
                Ok(blobs) => Ok(Some((pack.id, blobs))),
                Err(ReadFailure::Damaged(why)) => {
                    self.note(&format!("pack {} is damaged: {why}", pack.id.short()));
                    Ok(None)
                }
                Err(ReadFailure::Store(error)) => Err(error),
            }
        })?;
        let mut unlisted = HashSet::new();
        for (pack, blobs) in headers.into_iter().flatten() {
            builder.add_unlisted_pack(&pack, blobs);
            unlisted.insert(pack);
        }
        Ok(unlisted)
    }

    /// The blobs that a pack of `size` bytes says it holds.
    pub(crate) fn read_header(
        &self,
        pack: &Id,
        size: u64,
    ) -> std::result::Result<Vec<PackedBlob>, ReadFailure> {
        let mut wanted = pack::EAGER_TAIL.min(size);
        loop {
            let key = pack::pack_key(pack);
            let tail = self.store().get_range(&key, size - wanted, wanted)?;
            if tail.len() as u64 != wanted {
                return Err(Flaw::truncated().into());
            }
            let found = pack::open_header(self.key(), &tail, size).map_err(Flaw::changed)?;
            match found {
                Some(blobs) => return Ok(blobs),
                None => {
                    let length = pack::header_length(&tail, size).map_err(Flaw::changed)?;
                    wanted = (length + pack::LENGTH_FIELD) as u64;
                }
            }
        }
    }

    /// Sizes of all packs by name.
    pub(crate) fn pack_sizes(&self) -> Result<HashMap<Id, u64>> {
        Ok(self.list(Folder::Data)?.into_iter().map(|pack| (pack.id, pack.size)).collect())
    }
}
