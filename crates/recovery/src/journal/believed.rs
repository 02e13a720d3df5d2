//! Which packs hold what their names say. Nobody signs a name: a pack counts once this host made it,
//! copied it after proving its index, or read that index from the tier itself.
//!
//! What was proven is remembered (`seen/TIER/LINEAGE=NAME`, empty files in the local state), so that
//! a stream that starts reads only the packs that are new to it. Losing it costs those reads; without
//! the identity, copies of records that a pack holds as well.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lifeboat_model::chain::PublicKey;
use lifeboat_model::journal::PackName;
use lifeboat_vault::Store;

use super::pack::{Slice, index_of, read_index};
use super::place::{Objects, chain_of, pack_key};
use super::{JournalError, Result};
use crate::ledger::remote::safe_name;
use crate::seal::Sealer;
use crate::state::at;

/// A tier's name, and a pack's: `LINEAGE=NAME`.
type Pack = (String, String);

/// See the module.
pub(super) struct Believed {
    component: String,
    folder: PathBuf,
    sealer: Arc<Sealer>,
    trusted: Vec<PublicKey>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    sound: BTreeSet<Pack>,
    /// Not proven, by this process.
    unsound: BTreeSet<Pack>,
}

impl Believed {
    /// With what is remembered in this folder of the component's local state.
    pub fn load(
        component: &str,
        local: &Path,
        sealer: &Arc<Sealer>,
        trusted: &[PublicKey],
    ) -> Result<Believed> {
        let folder = local.join("seen");
        let mut seen = Seen::default();
        for tier in names(&folder)? {
            for pack in names(&folder.join(&tier))? {
                seen.sound.insert((tier.clone(), pack));
            }
        }
        Ok(Believed {
            component: component.to_owned(),
            folder,
            sealer: sealer.clone(),
            trusted: trusted.to_vec(),
            seen: Mutex::new(seen),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a pack of this tier holds the number.
    pub fn hold(
        &self,
        (tier, store): (&str, &dyn Store),
        lineage: &str,
        objects: &Objects,
        seq: u32,
    ) -> bool {
        let named = |pack: &PackName| (pack.first.seq..=pack.last_seq()).contains(&seq);
        objects
            .packs
            .iter()
            .any(|(pack, size)| named(pack) && self.holds((tier, store), lineage, (pack, *size)))
    }

    fn holds(
        &self,
        (tier, store): (&str, &dyn Store),
        lineage: &str,
        (pack, size): (&PackName, u64),
    ) -> bool {
        let known = named(tier, lineage, pack);
        {
            let seen = self.seen();
            if seen.sound.contains(&known) || seen.unsound.contains(&known) {
                return seen.sound.contains(&known);
            }
        }
        let chain = chain_of(&self.component, lineage);
        let key = pack_key(&chain, pack);
        let read = read_index(store, &self.sealer, (&chain, pack), &key, size);
        let sound = read.and_then(|slices| self.judge(&slices, &chain, &key)).is_ok();
        // A mark that cannot be written is made again by the next process.
        if !sound || self.remember(tier, lineage, pack).is_err() {
            self.seen().unsound.insert(known);
        }
        sound
    }

    /// Proves a pack that was read whole, where there is an identity to read it with.
    ///
    /// # Errors
    /// If it is not what its name says, or nobody who is trusted signed what it holds.
    pub fn prove(&self, lineage: &str, pack: &PackName, whole: &Bytes) -> Result<()> {
        if !self.sealer.opens() {
            return Ok(());
        }
        let chain = chain_of(&self.component, lineage);
        let key = pack_key(&chain, pack);
        self.judge(&index_of(&self.sealer, whole, (&chain, pack), &key)?, &chain, &key)
    }

    fn judge(&self, slices: &[Slice], chain: &str, key: &str) -> Result<()> {
        slices.iter().try_for_each(|slice| slice.judge(chain, &self.trusted, key).map(drop))
    }

    /// A tier has this pack, and it is proven.
    pub fn remember(&self, tier: &str, lineage: &str, pack: &PackName) -> Result<()> {
        let known = named(tier, lineage, pack);
        let file = self.folder.join(&known.0).join(&known.1);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(at("make", folder))?;
        }
        fs::write(&file, b"").map_err(at("write", &file))?;
        let mut seen = self.seen();
        seen.unsound.remove(&known);
        seen.sound.insert(known);
        Ok(())
    }

    /// Forgets the packs that a tier no longer has, by a whole listing of a lineage.
    pub fn forget_others(&self, tier: &str, lineage: &str, there: &Objects) -> Result<()> {
        let (tier, begin) = (safe_name(tier), format!("{lineage}="));
        let there: BTreeSet<String> =
            there.packs.keys().map(|pack| format!("{begin}{pack}")).collect();
        let mut seen = self.seen();
        let gone = |known: &&Pack| {
            known.0 == tier && known.1.starts_with(&begin) && !there.contains(&known.1)
        };
        let gone: Vec<Pack> = seen.sound.iter().filter(gone).cloned().collect();
        for known in gone {
            let file = self.folder.join(&known.0).join(&known.1);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(JournalError::from(at("remove", &file)(error)));
                }
                _ => seen.sound.remove(&known),
            };
        }
        Ok(())
    }
}

fn named(tier: &str, lineage: &str, pack: &PackName) -> Pack {
    (safe_name(tier), format!("{lineage}={pack}"))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("read", folder)(error).into()),
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(at("read", folder))?.file_name().into_string().ok())
    };
    entries.filter_map(|entry| name(entry).transpose()).collect()
}
