//! The records of one lineage as a tier has them, newest first, each proven by its signature.
//!
//! Headers come from the indexes of packs, from the local index of the host that wrote them, else
//! from the objects themselves, several at a time. Nothing is held that was passed.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::chain::{Hash, PublicKey};
use lifeboat_model::journal::{Header, Name, PackName, WalName};
use lifeboat_vault::{Cancel, Store, StoreErrorKind};

use super::fault::{Fault, FaultKind};
use super::local::{Indexed, index_of};
use super::place::{Listing, Objects, chain_of, pack_key, range_key};
use super::{JournalError, Result, object, pack};
use crate::seal::Sealer;

/// Loose objects that are opened in one go.
const BATCH: usize = 64;
/// How many at the same time.
const SIDE_BY_SIDE: usize = 8;

/// What a journal is read from.
pub(super) struct Inner {
    pub store: Arc<dyn Store>,
    pub sealer: Arc<Sealer>,
    pub component: String,
    pub trusted: Vec<PublicKey>,
    pub listing: Listing,
    /// The local state of the host that wrote it, if this is that host.
    pub local: Option<PathBuf>,
    pub cancel: Cancel,
}

/// Where the sealed bytes of a record are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    /// By itself.
    Loose(String),
    /// In a pack.
    Slice { key: String, offset: u64, length: u64 },
    /// A part of a file that a server handed over.
    Handed { name: WalName, offset: u64, length: u64 },
}

/// A proven header, and where its object is.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub header: Header,
    pub hash: Hash,
    pub spots: Vec<Spot>,
}

/// Where headers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Headers {
    /// From the local index too, of what was written on this host.
    Known,
    /// Each from its object in the tier.
    Opened,
}

/// A part of the objects that is loaded at once.
enum Segment {
    Pack(PackName, u64),
    Loose(Vec<Name>),
}

/// See the module.
pub(super) struct Records<'a> {
    inner: &'a Inner,
    chain: String,
    lineage: String,
    objects: &'a Objects,
    /// With the number of the last record of each; the newest at the end.
    segments: Vec<(u32, Segment)>,
    loaded: BTreeMap<u32, Vec<Found>>,
    index: HashMap<Name, Indexed>,
    /// What was found wrong.
    pub faults: Vec<Fault>,
}

impl<'a> Records<'a> {
    /// The records of a lineage.
    pub fn of(inner: &'a Inner, lineage: &str, headers: Headers) -> Result<Records<'a>> {
        let objects = inner
            .listing
            .lineages
            .get(lineage)
            .ok_or_else(|| JournalError::None { component: inner.component.clone() })?;
        Records::among(inner, lineage, objects, headers)
    }

    /// Those of the records of a lineage that lie in these objects.
    pub fn among(
        inner: &'a Inner,
        lineage: &str,
        objects: &'a Objects,
        headers: Headers,
    ) -> Result<Records<'a>> {
        let mut index = HashMap::new();
        if let Some(folder) = inner.local.as_ref().filter(|_| headers == Headers::Known) {
            let known = index_of(folder, lineage)?.into_iter();
            index.extend(known.map(|entry| (entry.header.name(), entry)));
        }
        let mut loose: Vec<Name> =
            objects.ranges.keys().filter(|name| !objects.packs_hold(name.seq)).copied().collect();
        loose.sort_by_key(|name| name.seq);
        let mut segments: Vec<(u32, Segment)> = loose
            .chunks(BATCH)
            .filter_map(|names| Some((names.last()?.seq, Segment::Loose(names.to_vec()))))
            .collect();
        let packs = objects.packs.iter();
        segments.extend(packs.map(|(pack, size)| (pack.last_seq(), Segment::Pack(*pack, *size))));
        segments.sort_by_key(|(last, _)| *last);
        let (chain, lineage) = (chain_of(&inner.component, lineage), lineage.to_owned());
        let (loaded, faults) = (BTreeMap::new(), Vec::new());
        Ok(Records { inner, chain, lineage, objects, segments, loaded, index, faults })
    }

    /// The lowest number that the listing shows.
    pub fn lowest(&self) -> u32 {
        let loose = self.objects.ranges.keys().map(|name| name.seq);
        let packed = self.objects.packs.keys().map(|pack| pack.first.seq);
        loose.chain(packed).min().unwrap_or(0)
    }

    /// The next lower number that has proven records, and these.
    pub fn next(&mut self) -> Result<Option<(u32, Vec<Found>)>> {
        loop {
            let top = self.loaded.last_key_value().map(|(seq, _)| *seq);
            let ready = match (self.segments.last(), top) {
                (Some((last, _)), Some(top)) => *last < top,
                (Some(_), None) => false,
                (None, _) => true,
            };
            if ready {
                return Ok(self.loaded.pop_last());
            }
            if let Some((_, segment)) = self.segments.pop() {
                self.load(segment)?;
            }
        }
    }

    fn load(&mut self, segment: Segment) -> Result<()> {
        match segment {
            Segment::Loose(names) => self.load_loose(&names),
            Segment::Pack(name, size) => {
                let key = pack_key(&self.chain, &name);
                let (inner, chain) = (self.inner, self.chain.clone());
                let slices =
                    pack::read_index(&*inner.store, &inner.sealer, (&chain, &name), &key, size);
                let mut held = Vec::new();
                match slices {
                    Ok(slices) => {
                        for slice in slices {
                            let proven = slice.judge(&chain, &inner.trusted, &key);
                            let spot = Spot::Slice {
                                key: key.clone(),
                                offset: slice.offset,
                                length: slice.length,
                            };
                            held.extend(self.keep(slice.header.seq, proven, spot)?);
                        }
                    }
                    Err(error) => self.fault((name.first.seq, name.last_seq()), &key, error)?,
                }
                self.beside(&name, &held)
            }
        }
    }

    /// Loose objects with the numbers of a pack: those that it holds are a second place, the others
    /// are opened.
    fn beside(&mut self, pack: &PackName, held: &[Name]) -> Result<()> {
        let covered = |name: &&Name| (pack.first.seq..=pack.last_seq()).contains(&name.seq);
        let names: Vec<Name> = self.objects.ranges.keys().filter(covered).copied().collect();
        let (known, unknown): (Vec<Name>, Vec<Name>) =
            names.into_iter().partition(|name| held.contains(name));
        for name in known {
            let spot = Spot::Loose(range_key(&self.chain, &name));
            let found = self.loaded.get_mut(&name.seq);
            for found in found.into_iter().flatten().filter(|found| found.header.name() == name) {
                if !found.spots.contains(&spot) {
                    found.spots.push(spot.clone());
                }
            }
        }
        for names in unknown.chunks(BATCH) {
            self.load_loose(names)?;
        }
        Ok(())
    }

    fn load_loose(&mut self, names: &[Name]) -> Result<()> {
        if self.inner.cancel.is_cancelled() {
            return Err(JournalError::Cancelled);
        }
        let mut unknown = Vec::new();
        for name in names {
            let key = range_key(&self.chain, name);
            let size = self.objects.ranges.get(name).copied();
            // What was written here is known; an object of another size is another one.
            let known = self.index.remove(name).filter(|entry| Some(entry.size) == size);
            let Some(entry) = known else {
                unknown.push((*name, key));
                continue;
            };
            let line = entry.header.line();
            let proven = object::judge(&line, (&self.chain, name), &self.inner.trusted, &key);
            self.keep(name.seq, proven, Spot::Loose(key))?;
        }
        for (name, key, proven) in self.open(unknown) {
            self.keep(name.seq, proven, Spot::Loose(key))?;
        }
        Ok(())
    }

    /// Opens several side by side.
    fn open(&self, names: Vec<(Name, String)>) -> Vec<(Name, String, Proven)> {
        let (inner, chain) = (self.inner, self.chain.as_str());
        let todo = Mutex::new(names.into_iter());
        let done = Mutex::new(Vec::new());
        let work = || {
            loop {
                let next = todo.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((name, key)) = next else { return };
                let proven = inner.store.get(&key).map_err(JournalError::from).and_then(|sealed| {
                    let opened =
                        object::open(&inner.sealer, &sealed, (chain, &name), &inner.trusted, &key)?;
                    Ok((opened.header, opened.hash, opened.key))
                });
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((name, key, proven));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..SIDE_BY_SIDE {
                scope.spawn(work);
            }
            work();
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a proven header; the name, if it was kept.
    fn keep(&mut self, seq: u32, proven: Proven, spot: Spot) -> Result<Option<Name>> {
        let at = match &spot {
            Spot::Loose(key) => key.clone(),
            Spot::Slice { key, .. } => format!("number {seq} in {key}"),
            Spot::Handed { name, .. } => name.to_string(),
        };
        let (header, hash, _) = match proven {
            Ok(proven) => proven,
            Err(error) => {
                self.fault((seq, seq), &at, error)?;
                return Ok(None);
            }
        };
        let name = header.name();
        let there = self.loaded.entry(header.seq).or_default();
        match there.iter_mut().find(|found| found.hash == hash) {
            Some(found) if found.spots.contains(&spot) => {}
            Some(found) => found.spots.push(spot),
            None => there.push(Found { header, hash, spots: vec![spot] }),
        }
        Ok(Some(name))
    }

    /// What is wrong with an object is a fault; a failing store is an error, and says nothing about
    /// what is there.
    fn fault(&mut self, seq: (u32, u32), object: &str, error: JournalError) -> Result<()> {
        let Some(kind) = kind_of(&error) else { return Err(error) };
        let why = object::chained(&error);
        let (lineage, object) = (self.lineage.clone(), object.to_owned());
        self.faults.push(Fault { lineage, seq, object, kind, why });
        Ok(())
    }
}

/// The kind of fault that an error tells of; nothing for one that says nothing of what is there.
pub(super) fn kind_of(error: &JournalError) -> Option<FaultKind> {
    Some(match error {
        JournalError::Foreign { .. } => FaultKind::Foreign,
        JournalError::Damaged { .. } => FaultKind::Damaged,
        JournalError::Newer { .. } => FaultKind::Newer,
        JournalError::Missing { .. } => FaultKind::Missing,
        JournalError::Store(store) => match store.kind {
            StoreErrorKind::NotFound => FaultKind::Missing,
            StoreErrorKind::Short => FaultKind::Damaged,
            _ => return None,
        },
        _ => return None,
    })
}

/// A header with its hash and its signer, or why not.
type Proven = Result<(Header, Hash, PublicKey)>;
