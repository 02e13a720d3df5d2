//! What becomes of each pack.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::used::Used;
use super::view::{Standing, View, age};
use super::{PruneOptions, PruneReport};
use crate::error::{Error, Gap, Result};
use crate::flaw::ReadFailure;
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};
use crate::vault::Vault;

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays in the index.
    Keep,
    /// It was out of the index, and something in it is needed.
    Recover,
    /// Something in it is needed and is stored again; then it is marked.
    Repack,
    /// Nothing in it is needed: it is marked.
    Mark,
    /// It is marked, and its time has not come.
    Wait,
    /// It is marked, and its time has come.
    Delete,
}

/// The fates of all packs, and what that comes to.
pub(super) struct Decision {
    /// By number.
    pub fates: Vec<Fate>,
    pub used: Used,
    pub report: PruneReport,
}

/// What is needed of one pack. A blob that lies in several packs is needed of one of them.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    used: u64,
    unused: u64,
    blobs_unused: u64,
    trees: bool,
}

impl Decision {
    /// Decides; changes nothing.
    pub fn make(
        vault: &Vault,
        view: &View,
        options: &PruneOptions,
        now: Timestamp,
    ) -> Result<Decision> {
        let used = Used::walk(vault, view)?;
        let shares = shares(view, &used);
        let mut fates: Vec<Fate> = (0..shares.len())
            .map(|number| fate(view.standings[number], &shares[number], options.grace, now))
            .collect();
        choose_repacks(&mut fates, &shares, options);
        recoverable(vault, view, &fates)?;
        let mut report = report(view, &fates, &shares, options, now);
        report.blobs_used = used.count();
        Ok(Decision { fates, used, report })
    }
}

impl View {
    /// The packs that hold a needed blob whole, the one from which it is to be taken first: a listed
    /// one before others, one without waste before one with.
    fn keeper(&self, kind: BlobKind, position: usize, wasteful: &[bool]) -> usize {
        let rank =
            |number: &usize| (self.standings[*number] != Standing::Listed, wasteful[*number]);
        // A position always has a pack; 0 is never reached.
        self.index.packs_with(kind, position).min_by_key(rank).unwrap_or(0)
    }

    /// True if this pack is the one that must give the blob.
    pub fn gives(&self, used: &Used, number: usize, blob: &PackedBlob, wasteful: &[bool]) -> bool {
        self.index.position(blob.kind, &blob.id).is_some_and(|at| {
            used.needs(blob.kind, at) && self.keeper(blob.kind, at, wasteful) == number
        })
    }

    /// By pack: something in it is needed by nobody.
    pub fn wasteful(&self, used: &Used) -> Vec<bool> {
        let order = self.index.by_pack();
        let needed = |blob: &PackedBlob| {
            self.index.position(blob.kind, &blob.id).is_some_and(|at| used.needs(blob.kind, at))
        };
        (0..self.sizes.len()).map(|number| !order.blobs(number).iter().all(needed)).collect()
    }
}

fn shares(view: &View, used: &Used) -> Vec<Share> {
    let wasteful = view.wasteful(used);
    let order = view.index.by_pack();
    (0..view.sizes.len())
        .map(|number| {
            let mut share = Share::default();
            for blob in order.blobs(number) {
                share.trees |= blob.kind == BlobKind::Tree;
                if view.gives(used, number, &blob, &wasteful) {
                    share.used += u64::from(blob.length);
                } else {
                    share.unused += u64::from(blob.length);
                    share.blobs_unused += 1;
                }
            }
            share
        })
        .collect()
}

fn fate(standing: Standing, share: &Share, grace: Duration, now: Timestamp) -> Fate {
    match standing {
        Standing::Listed if share.used > 0 => Fate::Keep,
        Standing::Listed => Fate::Mark,
        _ if share.used > 0 => Fate::Recover,
        Standing::Orphan => Fate::Mark,
        Standing::Marked(at) if age(now, at) >= signed(grace) => Fate::Delete,
        Standing::Marked(_) => Fate::Wait,
    }
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

/// Packs that go back into the index have the bytes that they should, and hold what their mark says
/// (whoever marked them wrote it): before anything is removed.
fn recoverable(vault: &Vault, view: &View, fates: &[Fate]) -> Result<()> {
    let order = view.index.by_pack();
    let packs = view.index.packs().iter().enumerate();
    for (number, pack) in packs.filter(|(number, _)| fates[*number] == Fate::Recover) {
        vault.stop_if_cancelled()?;
        let size = view.sizes[number];
        let read = vault
            .hash_pack(pack, size)
            .and_then(|id| Ok((id == *pack).then_some(vault.read_header(pack, size)?)));
        match read {
            Ok(Some(header)) if header == order.blobs(number) => {}
            Ok(Some(_)) => {
                let what = format!("the mark of pack {} lists other blobs", pack.short());
                return Err(Error::incomplete(Gap::Index, what));
            }
            Ok(None) => return Err(needed_and_damaged(pack, Gap::Damage)),
            Err(ReadFailure::Damaged(flaw)) => {
                return Err(needed_and_damaged(pack, Gap::of(flaw.wrong, Gap::Damage)));
            }
            Err(ReadFailure::Store(error)) => return Err(error),
        }
    }
    Ok(())
}

fn needed_and_damaged(pack: &Id, gap: Gap) -> Error {
    Error::incomplete(gap, format!("pack {} is needed and damaged", pack.short()))
}

/// The packs with the largest part of waste, until the rest of it is below the limit.
fn choose_repacks(fates: &mut [Fate], shares: &[Share], options: &PruneOptions) {
    let kept = |number: &usize| matches!(fates[*number], Fate::Keep | Fate::Recover);
    let total: u64 = (0..fates.len()).filter(kept).map(|n| shares[n].used).sum();
    let mut unused: u64 = (0..fates.len()).filter(kept).map(|n| shares[n].unused).sum();
    let limit = options.max_unused.bytes(total);
    let mut candidates: Vec<usize> = (0..fates.len())
        .filter(|number| fates[*number] == Fate::Keep && shares[*number].blobs_unused > 0)
        .collect();
    let waste = |number: usize| {
        let Share { used, unused, .. } = shares[number];
        u128::from(unused) * 1_000_000 / u128::from(used + unused).max(1)
    };
    candidates.sort_by_key(|n| (!shares[*n].trees, std::cmp::Reverse(waste(*n)), *n));
    for number in candidates {
        if unused > limit || (shares[number].trees && limit != u64::MAX) {
            fates[number] = Fate::Repack;
            unused -= shares[number].unused;
        }
    }
}

fn report(
    view: &View,
    fates: &[Fate],
    shares: &[Share],
    options: &PruneOptions,
    now: Timestamp,
) -> PruneReport {
    let mut report = PruneReport { snapshots: view.snapshots.len() as u64, ..<_>::default() };
    let mut due: Vec<Timestamp> = Vec::new();
    for (number, fate) in fates.iter().enumerate() {
        let size = view.sizes[number];
        report.bytes_used += shares[number].used;
        match fate {
            Fate::Keep | Fate::Recover => {
                report.kept.add(size);
                report.bytes_unused += shares[number].unused;
                if *fate == Fate::Recover {
                    report.recovered.add(size);
                }
            }
            Fate::Repack => {
                report.repacked.add(size);
                report.marked.add(size);
                due.push(now);
            }
            Fate::Mark => {
                report.marked.add(size);
                due.push(now);
            }
            Fate::Wait => {
                report.waiting.add(size);
                if let Standing::Marked(at) = view.standings[number] {
                    due.push(at);
                }
            }
            Fate::Delete => report.deleted.add(size),
        }
    }
    if options.grace.is_zero() {
        // Marked and deleted by the same run.
        report.deleted.packs += report.marked.packs;
        report.deleted.bytes += report.marked.bytes;
    } else {
        report.next_due = due.into_iter().min().and_then(|at| at.checked_add(options.grace).ok());
    }
    report
}
