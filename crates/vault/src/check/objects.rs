//! Config, keys, snapshots and index objects: those that are one document each.

use std::collections::HashSet;

use super::trees::Walk;
use super::{Check, Damage, ObjectKind, Wrong};
use crate::config::CONFIG_KEY;
use crate::error::Result;
use crate::flaw::{Flaw, ReadFailure};
use crate::id::Id;
use crate::key::KeyFile;
use crate::snapshot::Snapshot;
use crate::vault::{Folder, IndexState, SnapshotList, read_config, read_named};

impl Check<'_> {
    fn flawed(&mut self, kind: ObjectKind, name: impl ToString, flaw: Flaw) {
        self.damage.push(Damage::new(kind, name, flaw.wrong, flaw.why));
    }

    pub(super) fn config(&mut self) -> Result<()> {
        match read_config(&**self.vault.store(), self.vault.key()) {
            Ok(_) => Ok(()),
            Err(ReadFailure::Damaged(flaw)) => {
                self.flawed(ObjectKind::Config, CONFIG_KEY, flaw);
                Ok(())
            }
            Err(ReadFailure::Store(error)) => Err(error),
        }
    }

    pub(super) fn keys(&mut self) -> Result<()> {
        let stored = self.vault.list(Folder::Keys)?;
        if stored.is_empty() {
            let why = "there is no key file".into();
            self.damage.push(Damage::new(ObjectKind::Key, "", Wrong::Missing, why));
        }
        for key in stored {
            self.counts.keys += 1;
            let read = read_named(&**self.vault.store(), Folder::Keys, &key.id);
            let judged = read.and_then(|body| Ok(KeyFile::parse(&body).map_err(Flaw::changed)?));
            match judged {
                Ok(_) => {}
                Err(ReadFailure::Damaged(flaw)) => self.flawed(ObjectKind::Key, key.id, flaw),
                Err(ReadFailure::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// The snapshots to walk; damaged and missing ones are noted.
    pub(super) fn snapshots(&mut self) -> Result<Vec<(Id, Snapshot)>> {
        let SnapshotList { readable: mut good, damaged: bad } = self.vault.list_snapshots()?;
        let only: Option<HashSet<Id>> =
            self.options.only.as_ref().map(|ids| ids.iter().copied().collect());
        let concerned = |id: &Id| only.as_ref().is_none_or(|only| only.contains(id));
        good.retain(|(id, _)| concerned(id));
        for snapshot in bad.iter().filter(|snapshot| concerned(&snapshot.id)) {
            let flaw = Flaw { wrong: snapshot.wrong, why: snapshot.why.clone() };
            self.flawed(ObjectKind::Snapshot, snapshot.id, flaw);
        }
        self.counts.snapshots = good.len() as u64;
        let found: HashSet<Id> =
            good.iter().map(|(id, _)| *id).chain(bad.iter().map(|snapshot| snapshot.id)).collect();
        let mut named: Vec<Id> = self.options.expected.clone();
        named.extend(only.into_iter().flatten());
        named.sort_unstable();
        named.dedup();
        for id in named.into_iter().filter(|id| !found.contains(id)) {
            self.flawed(ObjectKind::Snapshot, id, Flaw::missing());
        }
        Ok(good)
    }

    /// Damaged index objects; and a lost one, whose name nobody knows, if snapshots need packs that
    /// no index object names.
    pub(super) fn index_objects(&mut self, state: &IndexState, walk: &Walk) {
        self.counts.indexes = state.objects as u64;
        for (id, flaw) in &state.damaged {
            self.flawed(ObjectKind::Index, id, flaw.clone());
        }
        if !state.damaged.is_empty() {
            return;
        }
        let mut orphans: Vec<&Id> = walk.needed_unlisted(state).collect();
        orphans.sort_unstable();
        if let Some(first) = orphans.first() {
            let why = format!(
                "an index object is missing: {} packs that snapshots need are in none, first {}",
                orphans.len(),
                first.short()
            );
            self.damage.push(Damage::new(ObjectKind::Index, "", Wrong::Missing, why));
        }
    }
}
