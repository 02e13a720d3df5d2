//! Bringing the chain to the tier, and what the tier has back.

use lifeboat_model::chain::{Checkpoint, Document, Entry, Head, PublicKey, Signed};
use serde_json::json;

use super::{CHAIN, Detail, Ledger, evidence, remote};
use crate::env::World;
use crate::error::{Error, Result};
use crate::report::Failure;
use crate::seal::Sealer;
use crate::state::{FileLock, read_optional};
use crate::tier::OpenTier;

/// Most lines in one object.
const LINES: usize = 2000;

impl Ledger {
    /// Ships what the tier lacks; a failure is a warning, for the next start ships it.
    pub fn ship_or_say(&mut self, world: &World, tier: &OpenTier) -> Vec<String> {
        let mut warnings = match self.ship(world, tier) {
            Ok(()) => Vec::new(),
            Err(error) => {
                let why = Failure::of(&error).line();
                let name = &world.tier.name;
                vec![format!("the ledger could not be brought to tier {name} yet: {why}")]
            }
        };
        warnings.append(&mut self.notes);
        warnings
    }

    /// Ships the lines that the tier lacks, then a signed checkpoint of the last.
    pub fn ship(&mut self, world: &World, tier: &OpenTier) -> Result<()> {
        let Ok(sealer) = &tier.sealer else { return Ok(()) };
        self.state.make("ledger")?;
        let _lock = FileLock::exclusive(&world.state.path("ledger/ship.lock"))?;
        // Before the entries that name it. A ledger goes on without it.
        if let Err(error) = self.ship_plan(world, tier, sealer) {
            let (name, why) = (&world.tier.name, Failure::of(&error).line());
            self.notes.push(format!("the plan could not be brought to tier {name} yet: {why}"));
        }
        let there = remote::ranges(&*tier.store, &self.host)?;
        let shipped_to = there.iter().map(|(_, to)| *to).max().unwrap_or(0);
        let (lines, _) = self.local.lines()?;
        let known = self.local.shipped(&world.tier.name)?;
        if shipped_to < known {
            self.notes.push(format!(
                "the ledger in the tier ended at entry {known} and now ends at {shipped_to}: \
                 entries were removed there, or it is another place; they are shipped again"
            ));
        }
        // On top of entries that are not ours nothing would ever verify again.
        if self.agrees(&*tier.store, sealer, shipped_to)? == Some(false) {
            let (from, to) = there.last().copied().unwrap_or_default();
            let key = remote::entries_key(&self.host, from, to);
            return Err(Error::Diverged { key });
        }
        let mut last: Option<Entry> = None;
        for run in runs_after(&lines, shipped_to) {
            let (Some(first), Some(end)) = (run.first(), run.last()) else { continue };
            let body: Vec<u8> =
                run.iter().flat_map(|(_, line)| line.iter().copied().chain([b'\n'])).collect();
            self.ship_evidence(&run, tier, sealer)?;
            let key = remote::entries_key(&self.host, first.0.seq, end.0.seq);
            remote::put(&*tier.store, sealer, &key, &body)?;
            last = Some(end.0.clone());
        }
        let Some(last) = last else { return Ok(()) };
        let document = Checkpoint {
            format: Checkpoint::FORMAT,
            chain: CHAIN.to_owned(),
            host: self.host.clone(),
            seq: last.seq,
            head: last.hash(),
            time: world.clock.wall(),
        };
        let signed = Signed::new(document, &*self.signer)
            .map_err(|error| Error::Sign { what: "a checkpoint", source: error })?;
        let key = remote::checkpoint_key(&self.host, last.seq, &last.hash());
        remote::put(&*tier.store, sealer, &key, &signed.bytes())?;
        self.local.set_shipped(&world.tier.name, last.seq)
    }

    /// Evidence goes before the entry that names it: an entry in the tier whose evidence is not
    /// there lost it there.
    fn ship_evidence(
        &mut self,
        run: &[(Entry, &[u8])],
        tier: &OpenTier,
        sealer: &Sealer,
    ) -> Result<()> {
        for (entry, _) in run {
            let Some((id, _)) = evidence::named(entry) else { continue };
            let Some(body) = read_optional(&self.state.path(format!("evidence/{id}.json")))? else {
                self.notes.push(format!("evidence {id} is gone and cannot be shipped"));
                continue;
            };
            let key = remote::evidence_key(&self.host, id);
            remote::put(&*tier.store, sealer, &key, &body)?;
        }
        Ok(())
    }

    /// Takes over what the tier has beyond the local chain, if it goes on from our head: a state
    /// folder that was set back. Where entries were written here since then, they are set aside.
    /// Called before anything is appended.
    pub(super) fn catch_up(&mut self, tier: &OpenTier) -> Result<()> {
        let Ok(sealer) = &tier.sealer else { return Ok(()) };
        // The tier first: what another process ships meanwhile, it has appended here before.
        let there = remote::ranges(&*tier.store, &self.host)?;
        let shipped_to = there.iter().map(|(_, to)| *to).max().unwrap_or(0);
        let Some(head) = self.local.end()? else { return Ok(()) };
        let parted =
            shipped_to <= head.seq && self.agrees(&*tier.store, sealer, shipped_to)? == Some(false);
        if !sealer.opens() || (shipped_to <= head.seq && !parted) {
            return Ok(());
        }
        let fetched = remote::lines(&*tier.store, sealer, &remote::safe_name(&self.host))?;
        match following(&fetched.lines, &head, &[]).filter(|_| !parted) {
            Some((lines, end)) => {
                if !self.local.take_over(&lines, Some(&head), &end)? {
                    return Ok(());
                }
                let detail = Detail::from([
                    ("from".to_owned(), json!(head.seq)),
                    ("to".to_owned(), json!(end.seq)),
                ]);
                let object = self.plan.name.clone();
                self.note(CHAIN, &object, "caught up from the tier", detail)?;
                self.notes.push(format!(
                    "the local ledger ended at entry {}, the tier's at {}: the missing entries \
                     were taken over; was the state folder set back?",
                    head.seq, end.seq
                ));
            }
            None => self.rejoin(&head, &fetched.lines)?,
        }
        Ok(())
    }
}

/// The lines after `head`, if each follows the one before and is signed by a key of the chain, or
/// one that this host accepted.
pub(super) fn following(
    lines: &[Vec<u8>],
    head: &Head,
    accepted: &[PublicKey],
) -> Option<(Vec<Vec<u8>>, Head)> {
    let mut end = *head;
    let mut taken = Vec::new();
    let mut next = Some(head.key);
    for line in lines {
        let entry = match Entry::read(line) {
            Ok(entry) if entry.seq <= head.seq => continue,
            Ok(entry) => entry,
            Err(_) => return None,
        };
        let key = entry.key.unwrap_or(end.key);
        let announced = key == end.key || Some(key) == next || accepted.contains(&key);
        let follows = entry.seq == end.seq + 1 && entry.prev == end.hash;
        if !(announced && follows && entry.signed_by(&key)) {
            return None;
        }
        next = entry.next_key;
        end = entry.head(key);
        taken.push(line.clone());
    }
    (end.seq > head.seq).then_some((taken, end))
}

/// Consecutive entries after `seq`, cut into objects.
fn runs_after(lines: &[Vec<u8>], seq: u64) -> Vec<Vec<(Entry, &[u8])>> {
    let mut runs: Vec<Vec<(Entry, &[u8])>> = Vec::new();
    let mut newest = Vec::new();
    for line in lines.iter().rev() {
        match Entry::read(line) {
            Ok(entry) if entry.seq > seq => newest.push((entry, line.as_slice())),
            Ok(_) => break,
            Err(_) => {}
        }
    }
    for (entry, line) in newest.into_iter().rev() {
        match runs.last_mut() {
            Some(run)
                if run.len() < LINES
                    && run.last().is_some_and(|(before, _)| before.seq + 1 == entry.seq) =>
            {
                run.push((entry, line));
            }
            _ => runs.push(vec![(entry, line)]),
        }
    }
    runs
}
