//! Where a journal ends, read back from the tiers by a host that lost its own state.

use std::cell::{Ref, RefCell};
use std::collections::BTreeSet;

use lifeboat_model::chain::PublicKey;
use lifeboat_model::journal::{Head, Header, Kind, Name, PackName, follows};
use lifeboat_vault::Store;

use super::local::End;
use super::object;
use super::pack::{self, Slice};
use super::place::{Listing, Objects, chain_of, list, pack_key, range_key};
use super::tiers::JournalTier;
use super::{JournalError, Result};
use crate::seal::Sealer;

/// What the tiers say.
pub(super) struct ReadBack {
    /// The end of the newest chain, if it could be opened and is believed.
    pub end: Option<End>,
    /// The lineages that there are.
    pub lineages: Vec<String>,
    /// What was passed over: objects that are not believed.
    pub notes: Vec<String>,
}

/// Reads it back. Every tier has to answer: one that does not may have the newer end. But for those
/// that were away when the stream began: what they have of somebody else ends it when it is found.
pub(super) fn read_back(
    tiers: &[JournalTier],
    component: &str,
    sealer: &Sealer,
    trusted: &[PublicKey],
) -> Result<ReadBack> {
    let mut all: Vec<(&JournalTier, Listing)> = Vec::new();
    for tier in tiers.iter().filter(|tier| !tier.late) {
        let listing = list(&*tier.store, component).map_err(|e| JournalError::NoTier(Some(e)))?;
        all.push((tier, listing));
    }
    let mut lineages: Vec<String> =
        all.iter().flat_map(|(_, listing)| listing.lineages.keys().cloned()).collect();
    lineages.sort();
    lineages.dedup();
    let mut back = ReadBack { end: None, lineages, notes: Vec::new() };
    if !sealer.opens() {
        return Ok(back);
    }
    for lineage in back.lineages.clone() {
        let chain = chain_of(component, &lineage);
        let places = all
            .iter()
            .filter_map(|(tier, listing)| Some((&*tier.store, listing.lineages.get(&lineage)?)));
        let source = Source {
            places: places.collect(),
            chain: &chain,
            sealer,
            trusted,
            read: RefCell::default(),
        };
        let Some(end) = source.end(&lineage, &mut back.notes)? else { continue };
        if back.end.as_ref().is_none_or(|known| known.head.time <= end.head.time) {
            back.end = Some(end);
        }
    }
    Ok(back)
}

/// The objects of one lineage, in all tiers.
struct Source<'a> {
    places: Vec<(&'a dyn Store, &'a Objects)>,
    chain: &'a str,
    sealer: &'a Sealer,
    trusted: &'a [PublicKey],
    /// The pack whose index was read last, and that index.
    read: RefCell<Option<(String, Vec<Slice>)>>,
}

impl Source<'_> {
    /// The newest object that is believed, and the facts of the last range or gap before it.
    fn end(&self, lineage: &str, notes: &mut Vec<String>) -> Result<Option<End>> {
        let mut numbers = Numbers::of(self);
        let mut top: Option<Head> = None;
        let mut proven = None;
        let mut after: Option<Header> = None;
        while let Some(seq) = numbers.next(self, notes)? {
            let mut found = self.at(seq, notes)?.into_iter();
            let Some((header, key)) = found.find(|(header, _)| match &after {
                None => true,
                Some(after) => follows(header, &header.hash(), after).is_ok(),
            }) else {
                match after {
                    None => continue,
                    // What the chain goes on from is broken: its facts are not known.
                    Some(_) => break,
                }
            };
            top = top.or(Some(header.head(key)));
            let proves = matches!(header.kind, Kind::Range | Kind::Keepalive);
            proven = proven.or(proves.then_some(header.time));
            if matches!(header.kind, Kind::Range | Kind::Gap) {
                after = Some(header);
                break;
            }
            after = Some(header);
        }
        let known = |header: &Header| matches!(header.kind, Kind::Range | Kind::Gap);
        let facts = after.filter(known).map(|header| header.facts).unwrap_or_default();
        let lineage = lineage.to_owned();
        Ok(top.map(|head| End { format: 1, lineage, head, facts, proven }))
    }

    /// Every believed object with this number.
    fn at(&self, seq: u32, notes: &mut Vec<String>) -> Result<Vec<(Header, PublicKey)>> {
        let mut found: Vec<(Header, PublicKey)> = Vec::new();
        for (store, objects) in &self.places {
            for name in objects.ranges.keys().filter(|name| name.seq == seq) {
                keep(self.loose(*store, name), &mut found, notes)?;
            }
            let holds = |pack: &&PackName| (pack.first.seq..=pack.last_seq()).contains(&seq);
            for pack in objects.packs.keys().filter(holds) {
                let size = objects.packs.get(pack).copied().unwrap_or_default();
                keep(self.packed(*store, pack, size, seq), &mut found, notes)?;
            }
        }
        Ok(found)
    }

    fn loose(&self, store: &dyn Store, name: &Name) -> Result<(Header, PublicKey)> {
        let key = range_key(self.chain, name);
        let sealed = store.get(&key)?;
        let opened = object::open(self.sealer, &sealed, (self.chain, name), self.trusted, &key)?;
        Ok((opened.header, opened.key))
    }

    /// The numbers that a pack holds, by its index.
    fn held(&self, store: &dyn Store, name: &PackName, size: u64) -> Result<Vec<u32>> {
        let slices = self.slices(store, name, size)?;
        Ok(slices.iter().map(|slice| slice.header.seq).collect())
    }

    fn slices(&self, store: &dyn Store, name: &PackName, size: u64) -> Result<Ref<'_, [Slice]>> {
        let key = pack_key(self.chain, name);
        if self.read.borrow().as_ref().is_none_or(|(of, _)| *of != key) {
            let slices = pack::read_index(store, self.sealer, (self.chain, name), &key, size)?;
            *self.read.borrow_mut() = Some((key, slices));
        }
        Ok(Ref::map(self.read.borrow(), |read| match read {
            Some((_, slices)) => &slices[..],
            None => &[],
        }))
    }

    fn packed(
        &self,
        store: &dyn Store,
        name: &PackName,
        size: u64,
        seq: u32,
    ) -> Result<(Header, PublicKey)> {
        let key = pack_key(self.chain, name);
        let slices = self.slices(store, name, size)?;
        let missing = || JournalError::Missing { object: format!("number {seq} in {key}") };
        let slice = slices.iter().find(|slice| slice.header.seq == seq).ok_or_else(missing)?;
        let (header, _, signer) = slice.judge(self.chain, self.trusted, &key)?;
        Ok((header, signer))
    }
}

/// The numbers that there are, from the newest down. What a pack holds is taken from its index: its
/// name is nobody's word.
struct Numbers<'a> {
    loose: BTreeSet<u32>,
    /// By the last number that they claim.
    packs: Vec<(&'a dyn Store, PackName, u64)>,
}

impl<'a> Numbers<'a> {
    fn of(source: &Source<'a>) -> Numbers<'a> {
        let objects = || source.places.iter().map(|(store, objects)| (*store, *objects));
        let loose = objects().flat_map(|(_, o)| o.ranges.keys().map(|name| name.seq)).collect();
        let mut packs: Vec<_> = objects()
            .flat_map(|(store, o)| o.packs.iter().map(move |(name, size)| (store, *name, *size)))
            .collect();
        packs.sort_by_key(|(_, name, _)| name.last_seq());
        Numbers { loose, packs }
    }

    fn next(&mut self, source: &Source<'_>, notes: &mut Vec<String>) -> Result<Option<u32>> {
        let top = self.loose.last().copied().unwrap_or(0);
        while let Some((store, name, size)) = self.packs.pop_if(|(_, n, _)| n.last_seq() >= top) {
            match source.held(store, &name, size) {
                Ok(numbers) => self.loose.extend(numbers),
                Err(error @ (JournalError::Foreign { .. } | JournalError::Damaged { .. })) => {
                    notes.push(object::chained(&error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.loose.pop_last())
    }
}

/// What is not believed or damaged is passed over and said; a failing store or a newer format is not.
fn keep(
    read: Result<(Header, PublicKey)>,
    found: &mut Vec<(Header, PublicKey)>,
    notes: &mut Vec<String>,
) -> Result<()> {
    match read {
        Ok(read) => {
            if !found.iter().any(|(header, _)| *header == read.0) {
                found.push(read);
            }
            Ok(())
        }
        Err(error @ (JournalError::Foreign { .. } | JournalError::Damaged { .. })) => {
            notes.push(object::chained(&error));
            Ok(())
        }
        Err(error) => Err(error),
    }
}
