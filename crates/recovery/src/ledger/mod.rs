//! The ledger: everything that was done, as a signed hash chain (AUD-44, CUS-20, CUS-21).
//!
//! `started` is on stable storage before anything happens, `finished` before anything is reported.
//! A `started` whose process is gone without a `finished` is closed as interrupted, and said. The
//! chain is copied to the tier after each action; a host that lost its state continues it.

pub mod audit;
pub mod evidence;
mod keys;
mod local;
pub mod remote;
mod running;
mod ship;
pub(crate) mod signer;

use std::collections::BTreeMap;

use lifeboat_model::chain::{
    Draft, Entry, Hash, Head, Link, MemorySigner, Phase, PlanRef, PublicKey, Signer, open_actions,
    verify,
};
use serde_json::{Value, json};

pub use local::Local;
pub use running::{Left, living};

use crate::env::World;
use crate::error::Result;
use crate::facts::Fact;
use crate::state::FileLock;
use crate::tier::OpenTier;

/// The name of the chain.
pub const CHAIN: &str = "ledger";

/// Further facts of an entry.
pub type Detail = BTreeMap<String, Value>;

/// This host's chain, open for appending.
pub struct Ledger {
    local: Local,
    signer: MemorySigner,
    state: crate::state::State,
    host: String,
    operator: String,
    plan: PlanRef,
    clock: std::sync::Arc<dyn lifeboat_vault::Clock>,
    notes: Vec<String>,
}

/// An action under way.
pub struct Action {
    name: String,
    object: String,
    seq: u64,
    running: running::Running,
}

impl Action {
    /// Keeps facts for the entry that closes this action, on stable storage at once: neither a
    /// crash nor an error later in the run loses what is already true.
    pub fn keep(&mut self, facts: &[Fact]) -> Result<()> {
        self.running.keep(facts)
    }

    /// The sequence number of its `started` entry.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

impl Ledger {
    /// True if this host has a chain here.
    pub fn is_local(world: &World) -> bool {
        Local::new(&world.state, &world.host).exists()
    }

    /// Opens the chain; without a local one, continues the tier's or begins one. Actions that ended
    /// without a word are closed and said.
    pub fn open(
        world: &World,
        tier: Option<&OpenTier>,
        warnings: &mut Vec<String>,
    ) -> Result<Ledger> {
        let local = Local::new(&world.state, &world.host);
        let fresh = !local.exists();
        let signer = signer::existing_or_new(&world.state)?;
        let mut ledger = Ledger {
            local,
            signer,
            state: world.state.clone(),
            host: world.host.clone(),
            operator: world.operator.clone(),
            plan: PlanRef {
                name: world.plan.header.name.as_str().to_owned(),
                revision: world.revision.clone(),
            },
            clock: world.clock.clone(),
            notes: Vec::new(),
        };
        if fresh {
            let folder = world.state.make("ledger")?;
            let _gate = FileLock::exclusive(&folder.join("begin.lock"))?;
            // Another process may have begun it meanwhile.
            if !ledger.local.exists() {
                ledger.begin(tier)?;
            }
        } else {
            if let Some(tier) = tier {
                ledger.catch_up(tier)?;
            }
            ledger.notice_new_key()?;
        }
        ledger.close_interrupted()?;
        ledger.notice_new_plan()?;
        warnings.append(&mut ledger.notes);
        Ok(ledger)
    }

    /// A plan of another revision than the last entry's is a configuration change, and an entry of
    /// its own.
    fn notice_new_plan(&mut self) -> Result<()> {
        let (lines, _) = self.local.lines()?;
        let last = lines.iter().rev().find_map(|line| Entry::read(line).ok()?.plan);
        let Some(before) = last.filter(|before| *before != self.plan) else { return Ok(()) };
        let detail = Detail::from([
            ("from".to_owned(), json!(before.revision)),
            ("to".to_owned(), json!(self.plan.revision)),
        ]);
        let object = self.plan.name.clone();
        self.note("configuration", &object, "changed", detail)?;
        Ok(())
    }

    /// Records that an action begins.
    pub fn start(&mut self, name: &str, object: &str, mut detail: Detail) -> Result<Action> {
        let mut running = running::Running::begin(&self.state)?;
        detail.insert("id".to_owned(), json!(running.id));
        let draft = self.draft(name, object, Phase::Started, detail);
        let seq = self.append(draft)?.seq;
        running.started(seq)?;
        Ok(Action { name: name.to_owned(), object: object.to_owned(), seq, running })
    }

    /// Records how it ended.
    pub fn finish(
        &mut self,
        action: Action,
        outcome: &str,
        mut detail: Detail,
        facts: &[Fact],
    ) -> Result<u64> {
        add_facts(&mut detail, &[action.running.facts(), facts].concat())?;
        let draft = Draft {
            of: Some(action.seq),
            outcome: Some(outcome.to_owned()),
            ..self.draft(&action.name, &action.object, Phase::Finished, detail)
        };
        let seq = self.append(draft)?.seq;
        action.running.end()?;
        Ok(seq)
    }

    /// Records something that has no duration.
    pub fn note(&mut self, name: &str, object: &str, outcome: &str, detail: Detail) -> Result<u64> {
        let draft = Draft {
            outcome: Some(outcome.to_owned()),
            ..self.draft(name, object, Phase::Note, detail)
        };
        Ok(self.append(draft)?.seq)
    }

    /// What was noticed since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The key that signs.
    pub fn signer(&self) -> &MemorySigner {
        &self.signer
    }

    /// Where the chain stands.
    pub fn head(&self) -> Result<Option<Head>> {
        self.local.acknowledged()
    }

    fn draft(&self, name: &str, object: &str, phase: Phase, detail: Detail) -> Draft {
        Draft {
            chain: CHAIN.to_owned(),
            time: self.clock.wall(),
            host: self.host.clone(),
            operator: self.operator.clone(),
            action: name.to_owned(),
            object: object.to_owned(),
            phase,
            of: None,
            outcome: None,
            detail,
            plan: Some(self.plan.clone()),
            next_key: None,
        }
    }

    fn append(&mut self, draft: Draft) -> Result<Entry> {
        self.local.append(draft, &self.signer, &mut self.notes)
    }

    /// The first entry here: of a new chain, or of one that goes on from the tier.
    fn begin(&mut self, tier: Option<&OpenTier>) -> Result<()> {
        let own = self.signer.public_key();
        let object = self.plan.name.clone();
        let Some(taken) = self.take_from(tier)? else {
            keys::accept(&self.state, &self.host, &[own])?;
            self.note(CHAIN, &object, "begun", Detail::new())?;
            return Ok(());
        };
        keys::accept(&self.state, &self.host, &taken.keys)?;
        keys::accept(&self.state, &self.host, &[own])?;
        let detail = Detail::from([
            ("entries".to_owned(), json!(taken.head.seq)),
            ("key".to_owned(), json!(own.fingerprint())),
        ]);
        self.note(CHAIN, &object, "continued from the tier", detail)?;
        self.notes.push(format!(
            "the local ledger was lost; it was continued from the tier after entry {}, signed with \
             a new key {}",
            taken.head.seq,
            &own.fingerprint()[..16]
        ));
        for open in taken.open {
            self.interrupted(open.seq, &open.action, &open.object, Detail::new())?;
        }
        Ok(())
    }

    /// Takes the tier's chain of this host over into the local file.
    fn take_from(&mut self, tier: Option<&OpenTier>) -> Result<Option<Taken>> {
        let Some(tier) = tier else { return Ok(None) };
        let Ok(sealer) = &tier.sealer else { return Ok(None) };
        let ranges = remote::ranges(&*tier.store, &self.host)?;
        if ranges.is_empty() {
            return Ok(None);
        }
        if !sealer.opens() {
            // The numbers go on, so that what is written from now on can be shipped.
            let seq = ranges.iter().map(|(_, to)| *to).max().unwrap_or(0);
            let head = Head { seq, hash: Hash::NONE, key: self.signer.public_key() };
            self.local.take_over(&[], None, &head)?;
            self.notes.push(format!(
                "the tier has a ledger of this host up to entry {seq}, which cannot be opened \
                 without the identity; this one goes on after it, unconnected"
            ));
            return Ok(None);
        }
        let name = remote::safe_name(&self.host);
        let fetched = remote::lines(&*tier.store, sealer, &name)?;
        let (checkpoint, _) = remote::newest_checkpoint(&*tier.store, sealer, &name)?;
        let links: Vec<Link> = fetched.lines.iter().map(|line| Link::read(line)).collect();
        let anchors: Vec<_> = checkpoint.iter().cloned().collect();
        let report = verify(CHAIN, &links, &[], &anchors);
        if !report.faults.is_empty() || !fetched.unreadable.is_empty() {
            self.notes.push(
                "the ledger in the tier does not verify; `lifeboat audit verify` names what is \
                 wrong"
                    .to_owned(),
            );
        }
        let from_checkpoint =
            checkpoint.map(|c| Head { seq: c.document.seq, hash: c.document.head, key: c.key });
        let head = [report.head, from_checkpoint].into_iter().flatten().max_by_key(|h| h.seq);
        let Some(head) = head else { return Ok(None) };
        if !self.local.take_over(&fetched.lines, None, &head)? {
            return Ok(None);
        }
        let entries: Vec<Entry> = links.into_iter().filter_map(read).collect();
        let mut keys: Vec<PublicKey> = entries.iter().filter_map(|entry| entry.key).collect();
        keys.dedup();
        let open = open_actions(&entries).into_iter().cloned().collect();
        Ok(Some(Taken { head, keys, open }))
    }

    /// A key file that was lost and made anew: said in the chain, which the new key signs.
    fn notice_new_key(&mut self) -> Result<()> {
        let own = self.signer.public_key();
        let accepted = keys::accepted(&self.state, &self.host)?;
        if accepted.contains(&own) {
            return Ok(());
        }
        keys::accept(&self.state, &self.host, &[own])?;
        let detail = Detail::from([("key".to_owned(), json!(own.fingerprint()))]);
        let object = self.plan.name.clone();
        self.note(CHAIN, &object, "signing key changed", detail)?;
        self.notes.push(format!(
            "the signing key changed; the ledger goes on with key {}",
            &own.fingerprint()[..16]
        ));
        Ok(())
    }

    /// Closes actions whose process is gone.
    fn close_interrupted(&mut self) -> Result<()> {
        let state = self.state.clone();
        running::sweep(&state, |left| {
            let (lines, _) = self.local.lines()?;
            let started = lines.iter().rev().filter_map(|line| Entry::read(line).ok()).find(|e| {
                e.phase == Phase::Started
                    && (Some(e.seq) == left.seq || e.detail.get("id") == Some(&json!(left.id)))
            });
            // Without an entry the process died before it began anything.
            let Some(entry) = started else { return Ok(()) };
            let closed = lines.iter().rev().filter_map(|line| Entry::read(line).ok());
            if closed.take_while(|e| e.seq > entry.seq).any(|e| e.of == Some(entry.seq)) {
                return Ok(());
            }
            let mut detail = Detail::new();
            add_facts(&mut detail, &left.facts)?;
            self.interrupted(entry.seq, &entry.action, &entry.object, detail)
        })
    }

    fn interrupted(&mut self, seq: u64, action: &str, object: &str, detail: Detail) -> Result<()> {
        let draft = Draft {
            of: Some(seq),
            outcome: Some("interrupted".to_owned()),
            ..self.draft(action, object, Phase::Interrupted, detail)
        };
        self.append(draft)?;
        self.notes.push(format!("the {action} of {object} (entry {seq}) was interrupted"));
        Ok(())
    }
}

fn add_facts(detail: &mut Detail, facts: &[Fact]) -> Result<()> {
    if !facts.is_empty() {
        let list = serde_json::to_value(facts)
            .map_err(|source| crate::error::Error::Encode { what: "facts", source })?;
        detail.insert("facts".to_owned(), list);
    }
    Ok(())
}

/// A chain taken over from a tier.
struct Taken {
    head: Head,
    keys: Vec<PublicKey>,
    open: Vec<Entry>,
}

/// The entry of a readable line.
fn read(link: Link) -> Option<Entry> {
    match link {
        Link::Read(entry) => Some(*entry),
        Link::Broken(_) => None,
    }
}
