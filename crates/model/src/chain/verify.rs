//! Finds what was done to a chain: which entries were edited, removed, moved, inserted, cut off or
//! signed by somebody else, each by its number.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Checkpoint, Signed};
use super::entry::{ChainError, Entry, Head};
use super::key::{Hash, PublicKey};
use crate::verdict::Verdict;

/// One stored line, read or not.
#[derive(Debug)]
pub enum Link {
    /// An entry, not yet checked.
    Read(Box<Entry>),
    /// No entry.
    Broken(ChainError),
}

impl Link {
    /// Reads one stored line.
    pub fn read(bytes: &[u8]) -> Link {
        match Entry::read(bytes) {
            Ok(entry) => Link::Read(Box::new(entry)),
            Err(error) => Link::Broken(error),
        }
    }
}

/// What is wrong, with the entries' numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// First entry concerned.
    pub from: u64,
    /// Last entry concerned.
    pub to: u64,
    /// What was done to them.
    pub kind: FaultKind,
}

/// What was done to entries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Changed after they were signed.
    Edited,
    /// Taken out.
    Removed,
    /// Not in their place.
    Moved,
    /// More than one entry has this number.
    Twice,
    /// Put in: not of this chain, or unsigned between two entries that follow each other.
    Inserted,
    /// Replaced with validly signed ones: the next entry or a checkpoint knows others.
    Rewritten,
    /// Cut off from the end: a checkpoint knows them.
    Truncated,
    /// Signed by a key that nobody announced or trusts.
    ForeignKey(PublicKey),
    /// A checkpoint that is forged or of a foreign key.
    BadCheckpoint,
    /// Written by a newer version; cannot be judged.
    Newer,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = self.from == self.to;
        match one {
            true => write!(f, "entry {}", self.from)?,
            false => write!(f, "entries {} to {}", self.from, self.to)?,
        }
        let was = if one { "was" } else { "were" };
        match &self.kind {
            FaultKind::Edited => write!(f, " {was} edited"),
            FaultKind::Removed => write!(f, " {was} removed"),
            FaultKind::Moved => write!(f, " {was} moved"),
            FaultKind::Twice => f.write_str(" stands more than once"),
            FaultKind::Inserted => write!(f, " {was} inserted"),
            FaultKind::Rewritten => write!(f, " {was} rewritten and signed anew"),
            FaultKind::Truncated => write!(f, " {was} cut off from the end"),
            FaultKind::ForeignKey(key) => {
                write!(f, " {was} signed by key {}, which is not trusted", &key.to_string()[..16])
            }
            FaultKind::BadCheckpoint => f.write_str(": the checkpoint is not genuine"),
            FaultKind::Newer => f.write_str(": written by a newer version"),
        }
    }
}

/// What is known about a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many lines were looked at.
    pub entries: usize,
    /// Everything that is wrong, by number.
    pub faults: Vec<Fault>,
    /// Where the chain ends, if its last entry is sound.
    pub head: Option<Head>,
    /// Protected by a checkpoint up to this entry; after it the chain only vouches for itself.
    pub anchored: Option<u64>,
    /// A trusted key was given, so that the signatures say who signed.
    pub trusted: bool,
    /// Pass needs entries, a trusted key and no fault.
    pub verdict: Verdict,
}

/// One line with what was found out about it.
struct Item<'a> {
    position: usize,
    seq: u64,
    /// The entry and its signer, if the signature is right.
    sound: Option<(&'a Entry, PublicKey)>,
    hash: Hash,
}

/// Checks the lines of chain `chain`, in the order in which they are stored.
pub fn verify(
    chain: &str,
    links: &[Link],
    trusted: &[PublicKey],
    checkpoints: &[Signed<Checkpoint>],
) -> Report {
    verify_after((0, Hash::NONE), chain, links, trusted, checkpoints)
}

/// The same for the rest of a chain: `start` is number and hash of the entry before its first, of
/// which nothing else is known.
pub fn verify_after(
    start: (u64, Hash),
    chain: &str,
    links: &[Link],
    trusted: &[PublicKey],
    checkpoints: &[Signed<Checkpoint>],
) -> Report {
    let mut faults = BTreeSet::new();
    let items = identify(start.0, chain, links, trusted, &mut faults);
    let kept = deduplicate(&items, &mut faults);
    moved(&items, &kept, &mut faults);
    gaps_and_links(start, &kept, &mut faults);
    let accepted = keys(&kept, trusted, &mut faults);
    let anchored = anchors((chain, start.0), &kept, checkpoints, &accepted, &mut faults);
    let head = kept.last_key_value().and_then(|(_, item)| {
        let (entry, key) = item.sound?;
        Some(Head { seq: entry.seq, hash: item.hash, key })
    });
    let faults = ranges(faults);
    let only_newer = faults.iter().all(|fault| fault.kind == FaultKind::Newer);
    let verdict = match () {
        () if !only_newer => Verdict::Fail,
        () if !faults.is_empty() || links.is_empty() || trusted.is_empty() => Verdict::Inconclusive,
        () => Verdict::Pass,
    };
    let trusted = !trusted.is_empty();
    Report { entries: links.len(), faults, head, anchored, trusted, verdict }
}

fn add(faults: &mut BTreeSet<Fault>, seq: u64, kind: FaultKind) {
    faults.insert(Fault { from: seq, to: seq, kind });
}

/// Finds the signer of each line. A line that is not sound takes the number after the one before
/// it, for its own cannot be believed.
fn identify<'a>(
    start: u64,
    chain: &str,
    links: &'a [Link],
    trusted: &[PublicKey],
    faults: &mut BTreeSet<Fault>,
) -> Vec<Item<'a>> {
    let mut known: Vec<PublicKey> = trusted.to_vec();
    for link in links {
        if let Link::Read(entry) = link {
            for key in [entry.key, entry.next_key].into_iter().flatten() {
                if !known.contains(&key) {
                    known.push(key);
                }
            }
        }
    }
    let mut items = Vec::with_capacity(links.len());
    let (mut last_seq, mut last_key) = (start, None);
    for (position, link) in links.iter().enumerate() {
        let inferred = last_seq.saturating_add(1);
        let mut item = Item { position, seq: inferred, sound: None, hash: Hash::NONE };
        match link {
            Link::Read(entry) => {
                let first = [entry.key, last_key];
                let mut keys = first.into_iter().flatten().chain(known.iter().copied());
                if let Some(key) = keys.find(|key| entry.signed_by(key)) {
                    if entry.chain == chain {
                        item.seq = entry.seq;
                        item.sound = Some((entry, key));
                        item.hash = entry.hash();
                    } else {
                        add(faults, inferred, FaultKind::Inserted);
                        continue;
                    }
                    last_key = Some(key);
                }
            }
            Link::Broken(ChainError::Newer(_)) => add(faults, inferred, FaultKind::Newer),
            Link::Broken(_) => {}
        }
        last_seq = item.seq;
        items.push(item);
    }
    items
}

/// One item a number: the sound one if there is one.
fn deduplicate<'a, 'b>(
    items: &'b [Item<'a>],
    faults: &mut BTreeSet<Fault>,
) -> BTreeMap<u64, &'b Item<'a>> {
    let mut kept: BTreeMap<u64, &'b Item<'a>> = BTreeMap::new();
    for item in items {
        let Some(other) = kept.get(&item.seq).copied() else {
            kept.insert(item.seq, item);
            continue;
        };
        match (other.sound.is_some(), item.sound.is_some()) {
            (true, true) => add(faults, item.seq, FaultKind::Twice),
            (false, true) => {
                kept.insert(item.seq, item);
                add(faults, item.seq, FaultKind::Inserted);
            }
            _ => add(faults, item.seq, FaultKind::Inserted),
        }
    }
    for (seq, item) in &kept {
        let newer = Fault { from: *seq, to: *seq, kind: FaultKind::Newer };
        if item.sound.is_none() && !faults.contains(&newer) {
            add(faults, *seq, FaultKind::Edited);
        }
    }
    kept
}

/// The fewest items whose removal leaves the rest in order are those that were moved.
fn moved(items: &[Item<'_>], kept: &BTreeMap<u64, &Item<'_>>, faults: &mut BTreeSet<Fault>) {
    let present: Vec<&Item<'_>> = items
        .iter()
        .filter(|item| kept.get(&item.seq).is_some_and(|k| k.position == item.position))
        .collect();
    // Longest increasing subsequence: `ends[n]` is the item that ends the best run of length n+1.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; present.len()];
    for (index, item) in present.iter().enumerate() {
        let length = ends.partition_point(|end| present[*end].seq < item.seq);
        before[index] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() {
            ends.push(index);
        } else {
            ends[length] = index;
        }
    }
    let mut in_order = BTreeSet::new();
    let mut at = ends.last().copied();
    while let Some(index) = at {
        in_order.insert(index);
        at = before[index];
    }
    for (index, item) in present.iter().enumerate() {
        if !in_order.contains(&index) {
            add(faults, item.seq, FaultKind::Moved);
        }
    }
}

/// Missing numbers, and entries that point to another predecessor than the one that is there.
fn gaps_and_links(
    start: (u64, Hash),
    kept: &BTreeMap<u64, &Item<'_>>,
    faults: &mut BTreeSet<Fault>,
) {
    let mut last: Option<&Item<'_>> = None;
    for item in kept.values() {
        let expected = last.map_or(start.0, |last| last.seq).saturating_add(1);
        if item.seq > expected {
            faults.insert(Fault { from: expected, to: item.seq - 1, kind: FaultKind::Removed });
        } else if let Some((entry, _)) = item.sound {
            let before = match last {
                None => Some(start.1),
                Some(last) => last.sound.map(|_| last.hash),
            };
            if before.is_some_and(|hash| hash != entry.prev) {
                add(faults, entry.seq.saturating_sub(1).max(1), FaultKind::Rewritten);
            }
        }
        last = Some(item);
    }
}

/// Follows the keys from the trusted ones over each announcement; returns all that are accepted.
fn keys(
    kept: &BTreeMap<u64, &Item<'_>>,
    trusted: &[PublicKey],
    faults: &mut BTreeSet<Fault>,
) -> Vec<PublicKey> {
    let mut accepted = trusted.to_vec();
    for item in kept.values() {
        let Some((entry, key)) = item.sound else { continue };
        if accepted.is_empty() {
            accepted.push(key); // Nobody told whom to trust: the chain vouches for itself alone.
        }
        if !accepted.contains(&key) {
            add(faults, entry.seq, FaultKind::ForeignKey(key));
            continue;
        }
        if let Some(next) = entry.next_key
            && !accepted.contains(&next)
        {
            accepted.push(next);
        }
    }
    accepted
}

/// Compares with checkpoints; returns the last entry that one protects.
fn anchors(
    (chain, start): (&str, u64),
    kept: &BTreeMap<u64, &Item<'_>>,
    checkpoints: &[Signed<Checkpoint>],
    accepted: &[PublicKey],
    faults: &mut BTreeSet<Fault>,
) -> Option<u64> {
    let last = kept.last_key_value().map_or(start, |(seq, _)| *seq);
    let mut anchored = None;
    for checkpoint in checkpoints {
        let known = &checkpoint.document;
        // Without any accepted key (an empty chain, nobody trusted) the signature alone counts.
        if checkpoint.verify(accepted).is_err() || known.chain != chain {
            add(faults, known.seq, FaultKind::BadCheckpoint);
            continue;
        }
        if known.seq > last {
            let from = last.saturating_add(1);
            faults.insert(Fault { from, to: known.seq, kind: FaultKind::Truncated });
            continue;
        }
        match kept.get(&known.seq) {
            Some(item) if item.sound.is_some() && item.hash == known.head => {
                anchored = anchored.max(Some(known.seq));
            }
            Some(item) if item.sound.is_some() => {
                add(faults, known.seq, FaultKind::Rewritten);
            }
            _ => {}
        }
    }
    anchored
}

/// Joins neighbours with the same fault.
fn ranges(faults: BTreeSet<Fault>) -> Vec<Fault> {
    let mut by_kind: Vec<Fault> = faults.into_iter().collect();
    by_kind.sort_by(|a, b| (&a.kind, a.from, a.to).cmp(&(&b.kind, b.from, b.to)));
    let mut joined: Vec<Fault> = Vec::new();
    for fault in by_kind {
        match joined.last_mut() {
            Some(last) if last.kind == fault.kind && fault.from <= last.to.saturating_add(1) => {
                last.to = last.to.max(fault.to);
            }
            _ => joined.push(fault),
        }
    }
    joined.sort();
    joined
}
