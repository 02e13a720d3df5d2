//! How this host's backups fare, by its ledger: nothing is removed while newer ones fail.

use std::collections::BTreeSet;

use lifeboat_model::chain::{Entry, Phase};

use crate::env::World;
use crate::error::Result;
use crate::facts::{Fact, facts_of};
use crate::ledger::Local;

/// What this host's ledger says of its backups.
#[derive(Default)]
pub(super) struct Backups {
    /// Components whose newest backup ended without a snapshot, or has not ended.
    pub failing: BTreeSet<String>,
    /// Components that were backed up at all.
    pub succeeded: BTreeSet<String>,
    /// It may say more than could be read.
    pub unreadable: bool,
}

impl Backups {
    /// Reads them.
    pub fn of(world: &World) -> Result<Backups> {
        let (lines, _) = Local::new(&world.state, &world.host).lines()?;
        let mut backups = Backups::default();
        for line in &lines {
            match Entry::read(line) {
                Ok(entry) if entry.action == "backup" => backups.take(&entry),
                Ok(_) => {}
                Err(_) => backups.unreadable = true,
            }
        }
        Ok(backups)
    }

    fn take(&mut self, entry: &Entry) {
        match entry.phase {
            // Until it is known how it ended.
            Phase::Started => self.failing.extend(entry.object.split(", ").map(str::to_owned)),
            Phase::Finished | Phase::Interrupted => {
                for fact in facts_of(&entry.detail) {
                    if let Fact::Snapshot(fact) = fact {
                        self.failing.remove(&fact.component);
                        self.succeeded.insert(fact.component);
                    }
                }
            }
            Phase::Note => {}
        }
    }
}
