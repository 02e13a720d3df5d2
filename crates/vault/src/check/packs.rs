//! Packs: held against the index by size, and read whole.

use std::collections::HashMap;

use bytes::Bytes;

use super::trees::Walk;
use super::{Check, PackFlaw, Wrong};
use crate::error::Result;
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::index::Index;
use crate::monitor::Stage;
use crate::pack::{self, PackedBlob};
use crate::parallel;
use crate::vault::{IndexState, Vault, into_mutable, open_blob};

/// A pack that shall be read whole.
struct Job {
    pack: Id,
    number: usize,
    size: u64,
}

impl Check<'_> {
    /// Every pack of the index against the listing.
    pub(super) fn pack_sizes(&mut self, state: &IndexState) {
        let mut count = 0;
        let (sizes, packs) = (&self.sizes, &mut self.packs);
        state.index.for_each_pack(|pack, blobs| {
            count += 1;
            let wanted = pack::pack_size(blobs);
            let (wrong, why, found) = match sizes.get(pack) {
                Some(found) if *found == wanted => return,
                None => (Wrong::Missing, "it is missing".to_owned(), 0),
                Some(0) => (Wrong::Empty, "it is empty".to_owned(), 0),
                Some(found) if *found < wanted => {
                    let why = format!("it is truncated: {found} of {wanted} bytes");
                    (Wrong::Truncated, why, *found)
                }
                Some(found) => {
                    let why = format!("it has {found} bytes and should have {wanted}");
                    (Wrong::Changed, why, *found)
                }
            };
            let flaw: &mut PackFlaw = packs.entry(*pack).or_default();
            flaw.add(wrong, why);
            let beyond =
                |blob: &&PackedBlob| u64::from(blob.offset) + u64::from(blob.length) > found;
            flaw.blobs.extend(blobs.iter().filter(beyond).map(|blob| (blob.kind, blob.id)));
        });
        self.counts.packs = count;
    }

    /// Reads packs whole: all of them, or those that the chosen snapshots need.
    pub(super) fn read_packs(&mut self, state: &IndexState, walk: &Walk) -> Result<()> {
        let chosen = self.options.only.is_some();
        let order = state.index.by_pack();
        let packs = state.index.packs().iter().enumerate();
        let jobs: Vec<Job> = packs
            .filter(|(number, _)| !chosen || walk.needs_pack(*number))
            .filter_map(|(number, pack)| {
                let size = *self.sizes.get(pack).filter(|size| **size > 0)?;
                Some(Job { pack: *pack, number, size })
            })
            .collect();
        let jobs = match &self.options.subset {
            Some(subset) => {
                let (jobs, stands_in) = subset.choose(jobs, |job| job.pack);
                self.stands_in = stands_in;
                jobs
            }
            None => jobs,
        };
        let bytes = jobs.iter().map(|job| job.size).sum();
        let monitor = &self.vault.environment().monitor;
        monitor.total(Stage::Check, bytes, jobs.len() as u64);
        let largest = jobs.iter().map(|job| job.size).max().unwrap_or(1);
        // A pack is in memory once; its blobs are opened in place.
        let affordable = (self.options.budget_bytes / largest).max(1);
        let threads = parallel::threads().min(usize::try_from(affordable).unwrap_or(usize::MAX));
        let flaws = parallel::map(&jobs, threads, |job| {
            self.vault.stop_if_cancelled()?;
            let blobs = order.blobs(job.number);
            let flaw = read_pack(self.vault, &job.pack, &blobs)?;
            monitor.advance(Stage::Check, job.size, 1);
            Ok((flaw, blobs.len() as u64))
        })?;
        for (job, (flaw, blobs)) in jobs.iter().zip(flaws) {
            self.counts.packs_read += 1;
            self.counts.blobs_read += blobs;
            self.counts.bytes_read += job.size;
            if let Some(wrong) = flaw.wrong {
                self.packs.entry(job.pack).or_default().merge(wrong, flaw);
            }
        }
        Ok(())
    }

    /// Packs that nobody needs: of the index, and those that no index object names.
    pub(super) fn count_unreferenced(&mut self, index: &Index, walk: &Walk) {
        if self.options.only.is_some() {
            return;
        }
        let named: HashMap<&Id, usize> =
            index.packs().iter().enumerate().map(|(number, pack)| (pack, number)).collect();
        for (pack, size) in &self.sizes {
            if named.get(pack).is_none_or(|number| !walk.needs_pack(*number)) {
                self.counts.unreferenced_packs += 1;
                self.counts.unreferenced_bytes += size;
            }
        }
    }
}

/// All that can be wrong with one pack.
fn read_pack(vault: &Vault, pack: &Id, blobs: &[PackedBlob]) -> Result<PackFlaw> {
    let mut flaw = PackFlaw::default();
    let body = match vault.store().get(&pack::pack_key(pack)).map_err(ReadFailure::from) {
        Ok(body) => body,
        Err(ReadFailure::Damaged(Flaw { wrong, why })) => {
            flaw.add(wrong, why);
            flaw.blobs.extend(blobs.iter().map(|blob| (blob.kind, blob.id)));
            return Ok(flaw);
        }
        Err(ReadFailure::Store(error)) => return Err(error),
    };
    if Id::of(&body) != *pack {
        flaw.add(Wrong::Changed, "its SHA-256 is not its name".into());
    }
    judge_header(vault, blobs, &body, &mut flaw);
    open_blobs(vault, blobs, body, &mut flaw);
    Ok(flaw)
}

fn judge_header(vault: &Vault, blobs: &[PackedBlob], body: &Bytes, flaw: &mut PackFlaw) {
    match pack::open_header(vault.key(), body, body.len() as u64) {
        Ok(Some(found)) if found == blobs => {}
        Ok(Some(_)) => flaw.add(Wrong::Changed, "its header and the index differ".into()),
        Ok(None) => flaw.add(Wrong::Truncated, "its header is truncated".into()),
        Err(why) => flaw.add(Wrong::Changed, why),
    }
}

/// Opens every blob in place, from the end so that the pack's memory can be cut up.
fn open_blobs(vault: &Vault, blobs: &[PackedBlob], body: Bytes, flaw: &mut PackFlaw) {
    let mut rest = into_mutable(body);
    for blob in blobs.iter().rev() {
        let (start, length) = (blob.offset as usize, blob.length as usize);
        let opened = if start + length > rest.len() {
            Err("the pack ends before it, or it overlaps another".to_owned())
        } else {
            let mut sealed = rest.split_off(start);
            sealed.truncate(length);
            open_blob(vault.key(), &blob.id, blob.uncompressed_length, sealed).map(drop)
        };
        if let Err(why) = opened {
            flaw.add(Wrong::Changed, format!("{} blob {}: {why}", blob.kind, blob.id.short()));
            flaw.blobs.insert((blob.kind, blob.id));
        }
    }
}
