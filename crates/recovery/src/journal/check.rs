//! Reads a journal whole, as a restore would: every record opened, its signature, its content and
//! its place in the chain proven. One object at a time is held.

use std::collections::BTreeMap;

use lifeboat_model::chain::Hash;
use lifeboat_model::journal::{Name, PackName, WalName};
use lifeboat_vault::Id;
use lifeboat_vault::check::Subset;

use super::fault::{Fault, FaultKind};
use super::place::{Objects, chain_of, pack_key, range_key, wal_key};
use super::reader::{Journal, Survey};
use super::records::{Headers, kind_of};
use super::{JournalError, Result, object, pack};

/// How much of a journal is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What a survey reads: the indexes of packs, and headers.
    Structure,
    /// That, and part of the objects whole.
    Part(Subset),
    /// Every object whole.
    All,
}

/// What reading a journal found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Windows, gaps, and everything that is wrong.
    pub survey: Survey,
    /// Records that hold together.
    pub records: u64,
    /// Files that a server handed over.
    pub handed: u64,
    /// Objects that are there, and how many of them were read whole.
    pub objects: (u64, u64),
    /// Bytes of these.
    pub bytes_read: u64,
}

impl Checked {
    /// What is missing, damaged, foreign, of a newer format, or does not link.
    pub fn damage(&self) -> impl Iterator<Item = &Fault> {
        self.survey.faults.iter().filter(|fault| fault.takes_away())
    }

    /// True if something is not there: it may have been packed and removed while this was read.
    pub fn may_have_moved(&self) -> bool {
        let moved = |fault: &Fault| matches!(fault.kind, FaultKind::Missing | FaultKind::Unlinked);
        self.survey.faults.iter().any(moved)
    }
}

/// An object as the listing has it.
enum Object {
    Loose(Name),
    Pack(PackName),
}

impl Journal {
    /// Reads it.
    ///
    /// # Errors
    /// If the store fails: that says nothing about what is there.
    pub fn check(&self, depth: Depth) -> Result<Checked> {
        // Reading all of it opens what lies by itself while the chain is followed.
        let headers = match depth {
            Depth::All => Headers::Opened,
            Depth::Structure | Depth::Part(_) => Headers::Known,
        };
        let mut checked = Checked { survey: self.surveyed(headers)?, ..Checked::default() };
        let windows = checked.survey.windows.iter().map(|window| window.records);
        checked.records = windows.sum::<u64>() + checked.survey.gaps.len() as u64;
        for lineage in self.inner.listing.lineages.keys() {
            self.read_lineage(lineage, depth, &mut checked)?;
        }
        for (native, names) in &self.inner.listing.handed {
            self.read_handed(native, names, depth, &mut checked)?;
        }
        checked.survey.faults.sort_by(|a, b| {
            (&a.lineage, a.seq, a.kind, &a.object).cmp(&(&b.lineage, b.seq, b.kind, &b.object))
        });
        // The survey may have named it.
        checked.survey.faults.dedup_by(|a, b| {
            (a.seq, a.kind, &a.object, &a.lineage) == (b.seq, b.kind, &b.object, &b.lineage)
        });
        Ok(checked)
    }

    fn read_lineage(&self, lineage: &str, depth: Depth, checked: &mut Checked) -> Result<()> {
        let chain = chain_of(&self.inner.component, lineage);
        let Some(objects) = self.inner.listing.lineages.get(lineage) else { return Ok(()) };
        let (all, sizes) = (named(&chain, objects), |object: &Object| match object {
            Object::Loose(name) => objects.ranges.get(name).copied().unwrap_or_default(),
            Object::Pack(name) => objects.packs.get(name).copied().unwrap_or_default(),
        });
        checked.objects.0 += all.len() as u64;
        let chosen = match depth {
            Depth::Structure => return Ok(()),
            Depth::All => all,
            Depth::Part(subset) => subset.choose(all, |(key, _)| Id::of(key.as_bytes())).0,
        };
        for (key, object) in chosen {
            if self.inner.cancel.is_cancelled() {
                return Err(JournalError::Cancelled);
            }
            checked.objects.1 += 1;
            checked.bytes_read += sizes(&object);
            let mut add = |seq, object: &str, error| {
                fault(lineage, seq, object, error).map(|it| checked.survey.faults.push(it))
            };
            match object {
                // Opened already, with all others.
                Object::Loose(_) if depth == Depth::All => {}
                Object::Loose(name) => {
                    if let Err(error) = self.read_loose(&chain, &name, &key) {
                        add((name.seq, name.seq), &key, error)?;
                    }
                }
                Object::Pack(name) => match self.read_pack(&chain, &name, &key) {
                    Ok(wrong) => {
                        for (seq, error) in wrong {
                            add((seq, seq), &format!("number {seq} in {key}"), error)?;
                        }
                    }
                    Err(error) => add((name.first.seq, name.last_seq()), &key, error)?,
                },
            }
        }
        Ok(())
    }

    /// Files that a server handed over. They are in no chain: each stands for itself.
    fn read_handed(
        &self,
        native: &str,
        names: &BTreeMap<WalName, u64>,
        depth: Depth,
        checked: &mut Checked,
    ) -> Result<()> {
        checked.handed += names.len() as u64;
        checked.objects.0 += names.len() as u64;
        let chain = chain_of(&self.inner.component, native);
        let all: Vec<(String, WalName, u64)> =
            names.iter().map(|(name, size)| (wal_key(&chain, name), *name, *size)).collect();
        let chosen = match depth {
            Depth::Structure => return Ok(()),
            Depth::All => all,
            Depth::Part(subset) => subset.choose(all, |(key, ..)| Id::of(key.as_bytes())).0,
        };
        for (key, name, size) in chosen {
            if self.inner.cancel.is_cancelled() {
                return Err(JournalError::Cancelled);
            }
            checked.objects.1 += 1;
            checked.bytes_read += size;
            if let Err(error) = self.inner.handed(native, &name) {
                checked.survey.faults.push(fault(native, (0, 0), &key, error)?);
            }
        }
        Ok(())
    }

    fn read_loose(&self, chain: &str, name: &Name, key: &str) -> Result<()> {
        let sealed = self.inner.store.get(key)?;
        let (sealer, trusted) = (&self.inner.sealer, &self.inner.trusted);
        object::open(sealer, &sealed, (chain, name), trusted, key).map(drop)
    }

    /// The records of a pack that are not what they should be, by their numbers.
    fn read_pack(
        &self,
        chain: &str,
        name: &PackName,
        key: &str,
    ) -> Result<Vec<(u32, JournalError)>> {
        let pack = self.inner.store.get(key)?;
        let (sealer, trusted) = (&self.inner.sealer, &self.inner.trusted);
        let mut wrong = Vec::new();
        for slice in pack::index_of(sealer, &pack, (chain, name), key)? {
            let (own, at) = (slice.header.name(), format!("number {} in {key}", slice.header.seq));
            let damaged =
                |why: &str| JournalError::Damaged { object: at.clone(), why: why.to_owned() };
            // The index was held against the pack's size: the slice lies in it.
            let end = slice.offset.saturating_add(slice.length);
            let read = match pack.get(slice.offset as usize..end as usize) {
                Some(sealed) => object::open(sealer, sealed, (chain, &own), trusted, &at),
                None => Err(damaged("it is cut off")),
            };
            match read {
                Ok(opened) if opened.hash == Hash::of(&slice.header.line()) => {}
                Ok(_) => wrong.push((own.seq, damaged("it is another record than its index says"))),
                Err(error) => wrong.push((own.seq, error)),
            }
        }
        Ok(wrong)
    }
}

fn named(chain: &str, objects: &Objects) -> Vec<(String, Object)> {
    let loose = objects.ranges.keys().map(|name| (range_key(chain, name), Object::Loose(*name)));
    let packs = objects.packs.keys().map(|name| (pack_key(chain, name), Object::Pack(*name)));
    loose.chain(packs).collect()
}

/// What is wrong with an object; a failing store is an error.
fn fault(lineage: &str, seq: (u32, u32), object: &str, error: JournalError) -> Result<Fault> {
    let Some(kind) = kind_of(&error) else { return Err(error) };
    let why = object::chained(&error);
    Ok(Fault { lineage: lineage.to_owned(), seq, object: object.to_owned(), kind, why })
}
