//! How a record is stored: intent, tier, index, head, in this order ([`super::writer`]).

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::chain::Hash;
use lifeboat_model::journal::{Draft, Kind, seal};
use lifeboat_model::position::Position;
use lifeboat_vault::StoreError;

use super::local::{End, Indexed};
use super::object;
use super::place::{chain_of, range_key};
use super::queue::Intent;
use super::standing::{Known, Reached};
use super::tiers::{Offer, offer};
use super::writer::{Appended, Writer};
use super::{JournalError, Result};
use crate::ports::LogFacts;
use crate::state::at;

impl Writer {
    /// Makes a record and takes it over, durably. The spool is asked before by its caller.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        (from, to): (Position, Position),
        time: Timestamp,
        payload: &Bytes,
        facts: LogFacts,
    ) -> Result<()> {
        let before = self.end.as_ref().ok_or(JournalError::NotBegun)?;
        let lineage = before.lineage.clone();
        let chain = chain_of(&self.settings.component, &lineage);
        let host = self.settings.host.clone();
        let draft = Draft { kind, from, to, time, host, facts };
        let signer = &*self.settings.signer;
        let head = (before.head.seq > 0).then_some(&before.head);
        let certificate = self.settings.certificate.as_ref();
        let header =
            seal(head, &chain, draft, payload, signer, certificate).map_err(JournalError::Sign)?;
        let plain = object::plain(&header.line(), payload);
        let sealed = Bytes::from(self.settings.sealer.seal(&plain)?);
        let intent = Intent {
            format: 1,
            key: range_key(&chain, &header.name()),
            lineage,
            sha256: Hash::of(&sealed),
            size: sealed.len() as u64,
            signer: signer.public_key(),
            header,
        };
        if let Some(limit) = self.settings.spool {
            let held = self.queue.held() + intent.size;
            if self.queue.len() > 0 && held > limit {
                return Err(JournalError::SpoolFull { held, limit });
            }
        }
        let end = after(&intent, Some(before), std::iter::once(&intent));
        self.queue.push(&self.local, intent, sealed)?;
        self.facts.1 = if kind == Kind::Start { 0 } else { self.facts.1 + 1 };
        self.end = Some(end);
        self.last = Some(self.settings.clock.monotonic());
        Ok(())
    }

    pub(super) fn store(&mut self) -> Result<Appended> {
        // What was asked a moment ago is not asked again.
        let drained = match std::mem::take(&mut self.blocked) {
            true => Ok(None),
            false => self.drain(),
        };
        self.write_standing()?;
        drained?;
        Ok(self.appended())
    }

    /// Stores what waits, in order. The reason why something still waits, if so.
    pub(super) fn drain(&mut self) -> Result<Option<Option<StoreError>>> {
        while let Some((intent, bytes)) = self.queue.front(&self.local)? {
            let at = match self.put(&intent, &bytes)? {
                Ok(at) => at,
                Err(why) => return Ok(Some(why)),
            };
            let Intent { lineage, sha256, size, header, .. } = &intent;
            let entry = Indexed { size: *size, sha256: *sha256, header: header.clone() };
            self.local.add_to_index(lineage, &entry)?;
            let stored = self.local.end()?;
            let end = after(&intent, stored.as_ref(), std::iter::once(&intent));
            self.local.set_end(&end)?;
            self.queue.pop(&self.local)?;
            let reached = self.proven(&end, header.kind);
            let mut shared = self.copier.shared();
            shared.end = Some((end.head.seq, reached.clone()));
            shared.stored(at, (&intent.key, None), Some(&reached), &bytes);
            let known = shared.tiers[at].known;
            drop(shared);
            if known == Known::Nothing
                && let Err(error) = self.copier.learn(at)
            {
                self.copier.rest(at, &error);
            }
        }
        Ok(None)
    }

    /// Offers an object to one tier after the other.
    fn put(&self, intent: &Intent, bytes: &Bytes) -> Result<Result<usize, Option<StoreError>>> {
        let mut why = None;
        let all = 0..self.copier.tiers.len();
        let (rested, resting): (Vec<usize>, Vec<usize>) =
            all.partition(|index| self.copier.rested(*index));
        for index in rested.into_iter().chain(resting) {
            let tier = &self.copier.tiers[index];
            match offer(&*tier.store, &intent.key, bytes) {
                Offer::There => {
                    self.copier.served(index);
                    return Ok(Ok(index));
                }
                Offer::Other => {
                    let (object, tier) = (intent.key.clone(), tier.name.clone());
                    return Err(JournalError::Taken { object, tier });
                }
                Offer::Failed(error) => {
                    let error = JournalError::Store(error);
                    self.copier.rest(index, &error);
                    if let JournalError::Store(error) = error {
                        why = why.or(Some(error));
                    }
                }
            }
        }
        Ok(Err(why))
    }

    /// What a tier has that has all up to this end.
    fn proven(&self, end: &End, kind: Kind) -> Reached {
        let before = self.copier.shared().end.as_ref().and_then(|(_, reached)| reached.proven);
        let proves = matches!(kind, Kind::Range | Kind::Keepalive);
        Reached { proven: proves.then_some(end.head.time).or(before), ..reached(end) }
    }

    /// Drops what was stored before a kill, and was not yet taken from the queue.
    pub(super) fn drop_stored(&mut self) -> Result<()> {
        while let (Some((intent, _)), Some(end)) = (self.queue.front(&self.local)?, &self.end) {
            let stored = intent.lineage == end.lineage && intent.header.seq <= end.head.seq;
            if !stored {
                return Ok(());
            }
            self.queue.pop(&self.local)?;
        }
        Ok(())
    }

    pub(super) fn write_standing(&self) -> Result<()> {
        let body = serde_json::to_vec(&self.copier.standing())
            .map_err(|source| JournalError::Encode { what: "how the tiers stand", source })?;
        // What a power cut takes of it the next record brings: it is not synced.
        let (path, part) = (self.local.path("standing.json"), self.local.path("standing.part"));
        std::fs::write(&part, &body).map_err(at("write", &part))?;
        Ok(std::fs::rename(&part, &path).map_err(at("replace", &path))?)
    }
}

pub(super) fn reached(end: &End) -> Reached {
    Reached { lineage: end.lineage.clone(), position: end.head.to, proven: None }
}

/// The end after an object; `all` are the objects since `before`, of which the last range or gap
/// gives the facts.
pub(super) fn after<'a>(
    intent: &Intent,
    before: Option<&End>,
    all: impl DoubleEndedIterator<Item = &'a Intent> + Clone,
) -> End {
    let proves = |intent: &&Intent| matches!(intent.header.kind, Kind::Range | Kind::Keepalive);
    let proven = all.clone().rev().find(proves).map(|intent| intent.header.time);
    let counts = |intent: &&Intent| matches!(intent.header.kind, Kind::Range | Kind::Gap);
    let facts = all.rev().find(counts).map(|intent| intent.header.facts.clone());
    let same = before.filter(|end| end.lineage == intent.lineage);
    End {
        format: 1,
        lineage: intent.lineage.clone(),
        head: intent.header.head(intent.signer),
        facts: facts.or_else(|| same.map(|end| end.facts.clone())).unwrap_or_default(),
        proven: proven.or_else(|| same.and_then(|end| end.proven)),
    }
}
