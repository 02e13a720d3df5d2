//! Objects on their way: each is on stable storage here before a tier is asked to take it.
//!
//! A stream without a spool has one at most, its *intent*: after a kill or a lost answer the same
//! bytes are offered again, and what the tier has under that name is either these bytes or somebody
//! else's. With a spool there may be many, up to a limit of bytes.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use lifeboat_model::chain::{Hash, PublicKey};
use lifeboat_model::journal::Header;
use serde::{Deserialize, Serialize};

use super::local::Local;
use super::{JournalError, Result};
use crate::state::{at, replace, sync_parent};

/// Bytes of waiting objects that are held in memory too.
const IN_MEMORY: u64 = 32 << 20;

/// The first line of a file in the queue; the sealed bytes follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// Format number of the file.
    pub format: u32,
    /// Key in the tier.
    pub key: String,
    /// Its lineage.
    pub lineage: String,
    /// SHA-256 of the sealed bytes.
    pub sha256: Hash,
    /// Their number.
    pub size: u64,
    /// The key that signed.
    pub signer: PublicKey,
    /// The header within.
    pub header: Header,
}

#[derive(Debug)]
struct Waiting {
    order: u64,
    intent: Intent,
    bytes: Option<Bytes>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    next: u64,
    held: u64,
    in_memory: u64,
}

impl Queue {
    /// What a former process left, in order.
    pub fn load(local: &Local) -> Result<Queue> {
        let folder = local.path("queue");
        let mut queue = Queue::default();
        let mut orders = Vec::new();
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let name = entry.map_err(at("read", &folder))?.file_name();
            let order = name.to_str().filter(|name| name.len() == 16);
            // Anything else is what a kill left beside a file that was not finished.
            match order.and_then(|name| u64::from_str_radix(name, 16).ok()) {
                Some(order) => orders.push(order),
                None => {
                    let path = folder.join(&name);
                    fs::remove_file(&path).map_err(at("remove", &path))?;
                }
            }
        }
        orders.sort_unstable();
        for order in orders {
            let (intent, _) = read(&file(local, order))?;
            queue.held += intent.size;
            queue.next = order + 1;
            queue.waiting.push_back(Waiting { order, intent, bytes: None });
        }
        Ok(queue)
    }

    /// The newest.
    pub fn last(&self) -> Option<&Intent> {
        self.waiting.back().map(|waiting| &waiting.intent)
    }

    /// All, oldest first.
    pub fn intents(&self) -> impl DoubleEndedIterator<Item = &Intent> + Clone {
        self.waiting.iter().map(|waiting| &waiting.intent)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes that wait.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Takes one over, durably.
    pub fn push(&mut self, local: &Local, intent: Intent, bytes: Bytes) -> Result<()> {
        let mut body = serde_json::to_vec(&intent)
            .map_err(|source| JournalError::Encode { what: "the intent", source })?;
        body.push(b'\n');
        body.extend_from_slice(&bytes);
        let order = self.next;
        replace(&file(local, order), &body)?;
        self.next += 1;
        self.held += intent.size;
        let keep = self.in_memory + intent.size <= IN_MEMORY;
        if keep {
            self.in_memory += intent.size;
        }
        self.waiting.push_back(Waiting { order, intent, bytes: keep.then_some(bytes) });
        Ok(())
    }

    /// The oldest and its bytes.
    pub fn front(&self, local: &Local) -> Result<Option<(Intent, Bytes)>> {
        let Some(waiting) = self.waiting.front() else { return Ok(None) };
        match &waiting.bytes {
            Some(bytes) => Ok(Some((waiting.intent.clone(), bytes.clone()))),
            None => read(&file(local, waiting.order)).map(Some),
        }
    }

    /// Lets go of the oldest.
    pub fn pop(&mut self, local: &Local) -> Result<()> {
        let Some(waiting) = self.waiting.pop_front() else { return Ok(()) };
        self.held -= waiting.intent.size;
        if waiting.bytes.is_some() {
            self.in_memory -= waiting.intent.size;
        }
        let path = file(local, waiting.order);
        fs::remove_file(&path).map_err(at("remove", &path))?;
        // One that came back after a crash is known by its number and dropped.
        Ok(sync_parent(&path)?)
    }
}

fn file(local: &Local, order: u64) -> PathBuf {
    local.path(format!("queue/{order:016x}"))
}

fn read(path: &std::path::Path) -> Result<(Intent, Bytes)> {
    let damaged = |why: &str| JournalError::LocalState(format!("{}: {why}", path.display()));
    let body = Bytes::from(fs::read(path).map_err(at("read", path))?);
    let end = body.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("no first line"))?;
    let intent: Intent =
        serde_json::from_slice(&body[..end]).map_err(|error| damaged(&error.to_string()))?;
    let sealed = body.slice(end + 1..);
    if intent.format != 1 {
        return Err(damaged("a format that this version does not know"));
    }
    if Hash::of(&sealed) != intent.sha256 || sealed.len() as u64 != intent.size {
        return Err(damaged("its bytes are not those that were written"));
    }
    Ok((intent, sealed))
}
