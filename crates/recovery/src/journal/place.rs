//! Where a journal's objects lie in a tier, and what a whole listing shows.

use std::collections::BTreeMap;

use lifeboat_model::journal::{Name, PackName, WalName, is_lineage};
use lifeboat_vault::{Entry, Store, StoreError};

use crate::ledger::remote::safe_name;

const JOURNAL: &str = "journal";
const RANGES: &str = "ranges";
const PACKS: &str = "packs";
const WAL: &str = "wal";

/// The folder of a component's journal in a tier, as its chains name it.
pub fn folder_of(component: &str) -> String {
    format!("{JOURNAL}/{}", safe_name(component))
}

/// The chain of a lineage: also the folder of its objects.
pub(super) fn chain_of(component: &str, lineage: &str) -> String {
    lifeboat_model::journal::chain_of(&safe_name(component), lineage)
}

/// Key of a record that lies by itself.
pub(super) fn range_key(chain: &str, name: &Name) -> String {
    format!("{chain}/{RANGES}/{name}")
}

/// Key of a packed object.
pub(super) fn pack_key(chain: &str, name: &PackName) -> String {
    format!("{chain}/{PACKS}/{name}")
}

/// Key of a file that a server handed over.
pub(super) fn wal_key(chain: &str, name: &WalName) -> String {
    format!("{chain}/{WAL}/{name}")
}

/// The objects of one lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Records by themselves, and their stored size.
    pub ranges: BTreeMap<Name, u64>,
    /// Packed ones, and their stored size.
    pub packs: BTreeMap<PackName, u64>,
}

impl Objects {
    /// Number of the newest record.
    pub fn newest(&self) -> u32 {
        let loose = self.ranges.keys().map(|name| name.seq).max();
        let packed = self.packs.keys().map(PackName::last_seq).max();
        loose.max(packed).unwrap_or(0)
    }

    /// Number of the oldest record.
    pub fn oldest(&self) -> u32 {
        let loose = self.ranges.keys().map(|name| name.seq);
        loose.chain(self.packs.keys().map(|pack| pack.first.seq)).min().unwrap_or(u32::MAX)
    }

    /// True if a packed object holds this number.
    pub fn packs_hold(&self, seq: u32) -> bool {
        self.packs.keys().any(|pack| (pack.first.seq..=pack.last_seq()).contains(&seq))
    }
}

/// What is stored of a component's journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By lineage.
    pub lineages: BTreeMap<String, Objects>,
    /// Files that servers handed over, by the source's own name of its log, and their stored size.
    pub handed: BTreeMap<String, BTreeMap<WalName, u64>>,
    /// Keys that are none of a journal's.
    pub strange: Vec<String>,
}

/// Lists it, whole: what is not in it was not there.
///
/// # Errors
/// If the store cannot list all of it.
pub fn list(store: &dyn Store, component: &str) -> Result<Listing, StoreError> {
    Ok(listing_of(component, &store.list(&folder_of(component))?))
}

/// What a whole listing of the component's folder shows.
pub(super) fn listing_of(component: &str, entries: &[Entry]) -> Listing {
    let folder = folder_of(component);
    let mut listing = Listing::default();
    for entry in entries {
        if take(&folder, &entry.key, entry.size, &mut listing).is_none() {
            listing.strange.push(entry.key.clone());
        }
    }
    listing
}

fn take(folder: &str, key: &str, size: u64, listing: &mut Listing) -> Option<()> {
    let rest = key.strip_prefix(folder)?.strip_prefix('/')?;
    let mut parts = rest.split('/');
    let (lineage, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !is_lineage(lineage) {
        return None;
    }
    match kind {
        RANGES => {
            let name = name.parse().ok()?;
            listing.lineages.entry(lineage.to_owned()).or_default().ranges.insert(name, size);
        }
        PACKS => {
            let name = name.parse().ok()?;
            listing.lineages.entry(lineage.to_owned()).or_default().packs.insert(name, size);
        }
        WAL => {
            let name = name.parse().ok()?;
            listing.handed.entry(lineage.to_owned()).or_default().insert(name, size);
        }
        _ => return None,
    }
    Some(())
}
