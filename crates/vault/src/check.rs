//! Checking a vault at two depths, naming everything that is wrong.
//!
//! *Structure*: config and keys can be read, every index object is whole, every pack that the index
//! names exists with the size that it must have, every snapshot's trees load and hash right, and
//! every data blob that they need is in the index. *All data*: besides, every pack is read whole,
//! its SHA-256 is its name, its header agrees with the index, and every blob decrypts, decompresses
//! and hashes right.
//!
//! It goes on after damage: the report names each damaged object and which snapshots and files it
//! concerns. Only a store that does not answer at all ends it early, as an error.

mod affected;
pub(crate) mod bits;
mod objects;
mod packs;
mod subset;
pub(crate) mod trees;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

pub use self::subset::{ParseSubsetError, Subset};
pub use crate::flaw::Wrong;

use self::trees::Walk;
use crate::error::Result;
use crate::id::Id;
use crate::index::Index;
use crate::monitor::Stage;
use crate::pack::BlobKind;
use crate::snapshot::Snapshot;
use crate::vault::{IndexState, Vault};

/// What to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Read all data, not the structure only.
    pub read_data: bool,
    /// Of the packs, read only these: a look at a large vault that is spread over days.
    pub subset: Option<Subset>,
    /// Only these snapshots, and the packs that they need. A missing one is damage.
    pub only: Option<Vec<Id>>,
    /// Snapshots that somebody says must exist; a missing one is damage.
    pub expected: Vec<Id>,
    /// Bytes of packs held in memory at a time; one pack is always read.
    pub budget_bytes: u64,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions {
            read_data: true,
            subset: None,
            only: None,
            expected: Vec::new(),
            budget_bytes: 256 << 20,
        }
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `config`.
    Config,
    /// A key file.
    Key,
    /// A snapshot object.
    Snapshot,
    /// An index object.
    Index,
    /// A pack of data blobs or trees.
    Pack,
    /// A blob that no pack is known to hold.
    Blob,
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectKind::Config => "config",
            ObjectKind::Key => "key",
            ObjectKind::Snapshot => "snapshot",
            ObjectKind::Index => "index",
            ObjectKind::Pack => "pack",
            ObjectKind::Blob => "blob",
        })
    }
}

/// A file (or folder) of a snapshot that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AffectedFile {
    /// The snapshot.
    pub snapshot: Id,
    /// Path in its tree, beginning with a slash; a folder stands for all that is in it.
    pub path: PathBuf,
}

/// One damaged object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What it is.
    pub kind: ObjectKind,
    /// Its id; empty for a key or an index object that is missing without anybody knowing its name.
    pub name: String,
    /// The sort of damage.
    pub wrong: Wrong,
    /// What is wrong, in words.
    pub why: String,
    /// The blobs that are lost by it: no other pack holds them whole.
    pub lost_blobs: Vec<(BlobKind, Id)>,
    /// The snapshots that are not whole because of it, in order.
    pub snapshots: Vec<Id>,
    /// The files concerned, the first [`AFFECTED_FILES_LISTED`] of them.
    pub files: Vec<AffectedFile>,
    /// How many files are concerned in all.
    pub file_count: u64,
}

impl Damage {
    pub(crate) fn new(kind: ObjectKind, name: impl ToString, wrong: Wrong, why: String) -> Self {
        Damage {
            kind,
            name: name.to_string(),
            wrong,
            why,
            lost_blobs: Vec::new(),
            snapshots: Vec::new(),
            files: Vec::new(),
            file_count: 0,
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.get(..8).unwrap_or(&self.name);
        let space = if name.is_empty() { "" } else { " " };
        write!(f, "{}{space}{name}: {}", self.kind, self.why)
    }
}

/// Files named in one [`Damage`].
pub const AFFECTED_FILES_LISTED: usize = 1000;

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// Key files read.
    pub keys: u64,
    /// Index objects read.
    pub indexes: u64,
    /// Snapshots read.
    pub snapshots: u64,
    /// Distinct trees loaded and hashed.
    pub trees: u64,
    /// Distinct data blobs that those need.
    pub data_blobs: u64,
    /// Packs held against the index by size.
    pub packs: u64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Blobs of those decrypted, decompressed and hashed.
    pub blobs_read: u64,
    /// Bytes of packs read whole.
    pub bytes_read: u64,
    /// Packs that no snapshot needs, for example of a backup that was broken off. No error.
    pub unreferenced_packs: u64,
    /// Their size, in bytes.
    pub unreferenced_bytes: u64,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// Every damaged object, by kind and name.
    pub damage: Vec<Damage>,
    /// What was looked at.
    pub counts: CheckCounts,
    /// Whether data was read: all of it, unless there is a subset.
    pub read_data: bool,
    /// The packs of which data was read, if not all were.
    pub subset: Option<Subset>,
    /// No pack belongs to that part: the one that was read only stands in for it.
    pub stands_in: bool,
    /// Snapshots that are whole as far as this check looked, oldest first.
    pub whole_snapshots: Vec<Id>,
}

impl CheckReport {
    /// Nothing is damaged, and something was looked at: an empty vault does not pass.
    pub fn passed(&self) -> bool {
        let counts = &self.counts;
        let looked = counts.keys > 0 && counts.indexes > 0 && counts.snapshots > 0;
        let looked = looked && counts.trees > 0 && counts.packs > 0;
        let read = !self.read_data || (counts.packs_read > 0 && counts.blobs_read > 0);
        self.damage.is_empty() && looked && read
    }

    /// Objects looked at, of all kinds.
    pub fn looked_at(&self) -> u64 {
        let counts = &self.counts;
        counts.keys + counts.indexes + counts.snapshots + counts.trees + counts.packs
    }
}

/// What is wrong with a pack, collected from several looks at it.
#[derive(Debug, Default)]
struct PackFlaw {
    wrong: Option<Wrong>,
    whys: Vec<String>,
    /// Reasons beyond those.
    more: usize,
    /// Blobs that cannot be read from this pack.
    blobs: HashSet<(BlobKind, Id)>,
}

/// The state of a running check.
struct Check<'a> {
    vault: &'a Vault,
    options: &'a CheckOptions,
    counts: CheckCounts,
    damage: Vec<Damage>,
    packs: BTreeMap<Id, PackFlaw>,
    sizes: HashMap<Id, u64>,
    stands_in: bool,
}

impl Vault {
    /// Checks the vault. Damage is in the report; an error means that the check could not be
    /// carried out.
    pub fn check(&self, options: &CheckOptions) -> Result<CheckReport> {
        let lock = self.lock_for_reading()?;
        // What is asked is how the store is.
        let vault = self.without_cache();
        let mut check = Check {
            vault: &vault,
            options,
            counts: CheckCounts::default(),
            damage: Vec::new(),
            packs: BTreeMap::new(),
            sizes: HashMap::new(),
            stands_in: false,
        };
        check.config()?;
        check.keys()?;
        // Snapshots before the index before the packs: what a backup that runs meanwhile adds is
        // then either unknown to us or whole.
        let snapshots = check.snapshots()?;
        let (state, walk) = check.structure(&snapshots)?;
        if options.read_data {
            check.read_packs(&state, &walk)?;
        }
        check.count_unreferenced(&state.index, &walk);
        let report = check.conclude(&snapshots, &state, walk)?;
        lock.verify()?;
        Ok(report)
    }
}

impl PackFlaw {
    /// Reasons named in one entry of the report.
    const WHYS: usize = 8;

    fn add(&mut self, wrong: Wrong, why: String) {
        // The first look is the plainest one: a missing pack is not "changed" as well.
        self.wrong.get_or_insert(wrong);
        if self.whys.contains(&why) {
            return;
        }
        if self.whys.len() < Self::WHYS {
            self.whys.push(why);
        } else {
            self.more += 1;
        }
    }

    /// Adds what a further look found.
    fn merge(&mut self, wrong: Wrong, other: PackFlaw) {
        for why in other.whys {
            self.add(wrong, why);
        }
        self.more += other.more;
        self.blobs.extend(other.blobs);
    }

    fn why(&self) -> String {
        let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
        self.whys.join("; ") + &more
    }
}

impl Check<'_> {
    /// Index, pack sizes and trees. Where a needed blob is in no index object, all is done again
    /// with the packs' own headers.
    fn structure(&mut self, snapshots: &[(Id, Snapshot)]) -> Result<(Arc<IndexState>, Walk)> {
        let mut thorough = false;
        loop {
            let state = self.vault.load_index_anew(thorough)?;
            self.sizes = self.vault.pack_sizes()?;
            self.packs.clear();
            self.pack_sizes(&state);
            let walk = self.walk_trees(&state.index, snapshots)?;
            if walk.missing.is_empty() || state.rebuilt {
                self.index_objects(&state, &walk);
                return Ok((state, walk));
            }
            thorough = true;
        }
    }

    fn conclude(
        mut self,
        snapshots: &[(Id, Snapshot)],
        state: &IndexState,
        walk: Walk,
    ) -> Result<CheckReport> {
        self.packs_to_damage(&state.index);
        for (kind, id) in &walk.missing {
            let why = format!("no pack is known to hold this {kind} blob");
            let mut damage = Damage::new(ObjectKind::Blob, id, Wrong::Missing, why);
            damage.lost_blobs.push((*kind, *id));
            self.damage.push(damage);
        }
        let touched = self.attribute(snapshots)?;
        self.damage.sort_by(|a, b| (a.kind, &a.name, &a.why).cmp(&(b.kind, &b.name, &b.why)));
        let whole = snapshots.iter().map(|(id, _)| *id).filter(|id| !touched.contains(id));
        self.vault.environment().monitor.advance(Stage::Check, 0, 0);
        Ok(CheckReport {
            whole_snapshots: whole.collect(),
            damage: self.damage,
            counts: self.counts,
            read_data: self.options.read_data,
            subset: self.options.subset.filter(|_| self.options.read_data),
            stands_in: self.stands_in,
        })
    }

    /// Turns what is wrong with packs into damage; a blob that another pack holds is not lost.
    fn packs_to_damage(&mut self, index: &Index) {
        let lost = |(kind, id): &(BlobKind, Id)| {
            index.locations(*kind, id).iter().all(|location| {
                let flaw = self.packs.get(&location.pack);
                flaw.is_some_and(|flaw| flaw.blobs.contains(&(*kind, *id)))
            })
        };
        for (pack, flaw) in &self.packs {
            let Some(wrong) = flaw.wrong else { continue };
            let mut damage = Damage::new(ObjectKind::Pack, pack, wrong, flaw.why());
            damage.lost_blobs = flaw.blobs.iter().filter(|blob| lost(blob)).copied().collect();
            damage.lost_blobs.sort_unstable();
            self.damage.push(damage);
        }
    }
}
