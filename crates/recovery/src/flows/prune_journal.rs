//! Pruning's part in the journals: the base that a window needs stays, and then what no point of the
//! window needs goes from the journal.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lifeboat_model::duration::Duration;
use lifeboat_model::journal::keep::{Base, anchor};
use lifeboat_model::plan::Kind;
use lifeboat_vault::{DeleteStore, Id};

use super::prune::Decision;
use crate::catalog::SnapshotRow;
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::Level;
use crate::journal::{self, JournalFate, Pruning, local_folder};
use crate::prove::read_manifest;
use crate::tier::OpenTier;

/// A component that streams or archives, and the snapshots of it from which its journal leads on.
pub(super) struct Stream {
    component: String,
    window: Option<Duration>,
    bases: Vec<Base>,
}

impl Stream {
    /// What is known of a component's bases; nothing for one that does not stream.
    pub(super) fn of(
        world: &World,
        tier: &OpenTier,
        name: &str,
        rows: &[&SnapshotRow],
        held: &BTreeSet<&str>,
    ) -> Result<Option<Stream>> {
        let Some(component) = world.plan.component.get(name) else { return Ok(None) };
        let archives = || -> Result<bool> {
            let is_server = matches!(component.kind, Kind::Postgres(_));
            Ok(is_server && !journal::list(&*tier.store, name)?.handed.is_empty())
        };
        if !component.kind.streams() && !archives()? {
            return Ok(None);
        }
        let mut bases = Vec::new();
        for row in rows.iter().filter(|row| row.lost.is_none()) {
            bases.extend(base(tier, row, held.contains(row.taken_as()))?);
        }
        let (component, window) = (name.to_owned(), component.kind.window());
        Ok(Some(Stream { component, window, bases }))
    }

    /// The snapshot without which not every second of the window can be had, and why it stays.
    pub(super) fn needed(&self, now: Timestamp) -> Option<(String, String)> {
        let window = self.window?;
        let base = anchor(&self.bases, window, now)?;
        Some((base.id.clone(), format!("the window of {window} begins with it")))
    }

    /// Prunes the component's journal, or says what would go.
    pub(super) fn prune(
        &self,
        world: &World,
        tier: &OpenTier,
        decision: &Decision,
        deleter: Option<&dyn DeleteStore>,
    ) -> Result<JournalFate> {
        let fates = &decision.fates;
        let kept = |base: &&Base| fates.iter().any(|fate| fate.kept && fate.snapshot == base.id);
        let bases: Vec<Base> = self.bases.iter().filter(kept).cloned().collect();
        let sealer = match &tier.sealer {
            Ok(sealer) => sealer.clone(),
            Err(failure) => {
                let why = format!("what is sealed cannot be handled here: {}", failure.line());
                let component = self.component.clone();
                let refused = vec![why];
                return Ok(JournalFate { component, refused, ..JournalFate::default() });
            }
        };
        let pruning = Pruning {
            component: &self.component,
            store: tier.store.clone(),
            sealer,
            local: &local_folder(&world.state, &self.component),
            bases: &bases,
            window: self.window,
            now: decision.now,
            deleter,
            cancel: &world.cancel,
        };
        Ok(journal::prune(&pruning)?)
    }
}

/// The snapshot as a base, if its manifest tells a place in a log.
fn base(tier: &OpenTier, row: &SnapshotRow, held: bool) -> Result<Option<Base>> {
    let id: Id = row.id.parse().map_err(|_| Error::NoSnapshot { name: row.id.clone() })?;
    let snapshot = tier.vault.snapshot(&id)?;
    let manifest = match read_manifest(&tier.vault, &id, &snapshot) {
        Ok(manifest) => manifest,
        // It is no base of anything; that it cannot be read is verification's business.
        Err(Error::Manifest { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let proven = row.verified.and(row.level).is_some_and(|level| level >= Level::V2);
    let verified = proven && row.failed.is_none() && !row.partial && row.ledger.is_some();
    Ok(manifest.position.map(|at| Base {
        id: row.id.clone(),
        lineage: at.lineage,
        position: at.position,
        finished: manifest.finished,
        verified,
        held,
    }))
}
