//! Taking damaged packs out of a vault, once nothing needs them any more.

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::index::IndexFile;
use crate::maintenance::Maintenance;
use crate::parallel;
use crate::vault::Folder;

impl Maintenance {
    /// Takes packs out of the index that are missing, cut or damaged, and away, where each blob of
    /// theirs is in another pack that the index names. Returns those that are out. The others stay
    /// as they are, for what may still be read of them, and so does a pack that reads right now.
    pub fn discard(&self, packs: &[Id]) -> Result<Vec<Id>> {
        let sizes = self.vault.pack_sizes()?;
        let spare = self.spare(packs, &sizes)?;
        for (id, file) in self.naming(&spare)? {
            if file != IndexFile::default() {
                self.lock.confirm()?;
                self.vault.save_document(Folder::Index, &file)?;
            }
            self.delete(Folder::Index, &id)?;
        }
        self.vault.forget_index();
        self.lock.confirm()?;
        let mut gone: Vec<Id> = spare.into_iter().collect();
        gone.sort_unstable();
        for pack in gone.iter().filter(|pack| sizes.contains_key(pack)) {
            self.delete(Folder::Data, pack)?;
        }
        Ok(gone)
    }

    fn spare(&self, packs: &[Id], sizes: &HashMap<Id, u64>) -> Result<HashSet<Id>> {
        let asked: HashSet<&Id> = packs.iter().collect();
        let index = self.vault.load_index_anew(false)?.index.clone();
        index.distrust_missing(sizes);
        let numbers = || index.packs().iter().enumerate().filter(|(_, pack)| asked.contains(pack));
        numbers().for_each(|(number, _)| index.set_trusted(number, false));
        let order = index.by_pack();
        let elsewhere = |number: usize| {
            let blobs = order.blobs(number);
            blobs.iter().all(|blob| index.contains(blob.kind, &blob.id))
        };
        let found: Vec<Id> =
            numbers().filter(|(number, _)| elsewhere(*number)).map(|(_, pack)| *pack).collect();
        let whole = parallel::map(&found, parallel::threads(), |pack| {
            self.vault.stop_if_cancelled()?;
            match sizes.get(pack) {
                Some(size) => self.vault.pack_is_whole(pack, *size),
                None => Ok(false),
            }
        })?;
        Ok(found.into_iter().zip(whole).filter(|(_, whole)| !whole).map(|(id, _)| id).collect())
    }

    /// The index objects that name any of these packs, without them. One that cannot be read is left
    /// to the mending of the index.
    fn naming(&self, packs: &HashSet<Id>) -> Result<Vec<(Id, IndexFile)>> {
        if packs.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.vault.list(Folder::Index)?;
        let files = parallel::map(&stored, parallel::threads(), |object| {
            self.vault.stop_if_cancelled()?;
            let read = self
                .vault
                .load_document(Folder::Index, &object.id, None)
                .and_then(|json| Ok(IndexFile::parse(&json).map_err(Flaw::changed)?));
            let mut file = match read {
                Ok(file) => file,
                Err(ReadFailure::Damaged(_)) => return Ok(None),
                Err(ReadFailure::Store(error)) => return Err(error),
            };
            let before = file.packs.len();
            file.packs.retain(|pack| !packs.contains(&pack.id));
            Ok((file.packs.len() < before).then_some((object.id, file)))
        })?;
        Ok(files.into_iter().flatten().collect())
    }
}
