//! The ledger: everything that was done, as a signed hash chain (AUD-44, CUS-20, CUS-21).
//!
//! `started` is on stable storage before anything happens, `finished` before anything is reported.
//! A `started` whose process is gone without a `finished` is closed as interrupted, and said. The
//! chain is copied to the tier after each action; a host that lost its state continues it.

pub mod audit;
mod audit_branch;
mod audit_evidence;
mod branch;
pub(crate) mod carry;
pub mod evidence;
pub(crate) mod keys;
mod local;
pub mod log;
pub mod remote;
pub mod revision;
mod running;
mod ship;
pub(crate) mod signer;
pub mod trust;
pub mod whole;

use std::collections::BTreeMap;

use lifeboat_model::chain::{
    Draft, Entry, Head, Link, Phase, PlanRef, PublicKey, Signer, open_actions, verify,
};
use lifeboat_vault::Store;
use serde_json::{Value, json};

pub use local::Local;
pub use running::{Left, living};
pub(crate) use signer::public_keys;

use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::Fact;
use crate::state::FileLock;
use crate::tier::OpenTier;

/// The name of the chain.
pub const CHAIN: &str = "ledger";

/// Outcome of the note that the chain goes on from the tier's, after the local one was lost.
const CONTINUED: &str = "continued from the tier";

/// Further facts of an entry.
pub type Detail = BTreeMap<String, Value>;

/// This host's chain, open for appending.
pub struct Ledger {
    local: Local,
    signer: Box<dyn Signer + Send>,
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

    /// Its random name, by which [`living`] knows it.
    pub fn id(&self) -> &str {
        &self.running.id
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
        // One process at a time: of two that are the first, one begins and the other joins.
        let folder = world.state.make("ledger")?;
        let gate = FileLock::exclusive(&folder.join("begin.lock"))?;
        let local = Local::new(&world.state, &world.host);
        let signer = signer::of_host(world)?;
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
        if ledger.local.exists() {
            if let Some(tier) = tier {
                ledger.catch_up(tier)?;
            }
            ledger.notice_new_key(world)?;
        } else {
            ledger.begin(world, tier)?;
        }
        ledger.name_branches(world)?;
        drop(gate);
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
        let mut detail = Detail::from([
            ("from".to_owned(), json!(before.revision)),
            ("to".to_owned(), json!(self.plan.revision)),
        ]);
        if before.name != self.plan.name {
            detail.insert("renamed_from".to_owned(), json!(before.name));
            self.notes
                .push(format!("the plan was renamed from {} to {}", before.name, self.plan.name));
        }
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
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
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
        self.local.append(draft, &*self.signer, &mut self.notes)
    }

    /// The first entry here: of a new chain, or of one that goes on from the tier.
    fn begin(&mut self, world: &World, tier: Option<&OpenTier>) -> Result<()> {
        let own = self.signer.public_key();
        let found = match tier {
            Some(tier) => self.take_from(world, tier)?,
            None => Found::Nothing,
        };
        keys::accept(&self.state, &self.host, &[own])?;
        let object = self.plan.name.clone();
        match found {
            Found::Nothing => {
                self.note(CHAIN, &object, "begun", Detail::new())?;
            }
            Found::Closed(base) => self.say_closed(&object, base, &own)?,
            Found::Unsound(base) => self.say_unsound(&object, base, &own)?,
            Found::Taken(taken) => self.say_taken(&object, taken, &own)?,
        }
        Ok(())
    }

    fn say_taken(&mut self, object: &str, taken: Taken, own: &PublicKey) -> Result<()> {
        let prints: Vec<String> = taken.keys.iter().map(PublicKey::fingerprint).collect();
        let mut detail = Detail::from([
            ("entries".to_owned(), json!(taken.head.seq)),
            ("key".to_owned(), json!(own.fingerprint())),
            ("believed".to_owned(), json!(prints)),
        ]);
        if let Some((from, to, _)) = taken.refused {
            detail.insert("refused".to_owned(), json!([from, to]));
        }
        self.note(CHAIN, object, CONTINUED, detail)?;
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

    fn say_closed(&mut self, object: &str, base: Head, own: &PublicKey) -> Result<()> {
        let detail = Detail::from([
            ("entries".to_owned(), json!(base.seq)),
            ("key".to_owned(), json!(own.fingerprint())),
            ("opened".to_owned(), json!(false)),
        ]);
        self.note(CHAIN, object, CONTINUED, detail)?;
        self.notes.push(format!(
            "the local ledger was lost; without the identity the tier's cannot be opened here, so \
             it was continued unseen after entry {}, which its newest checkpoint names; run \
             `lifeboat audit verify` where the identity is",
            base.seq
        ));
        Ok(())
    }

    fn say_unsound(&mut self, object: &str, base: Head, own: &PublicKey) -> Result<()> {
        let detail = Detail::from([
            ("entries".to_owned(), json!(base.seq)),
            ("key".to_owned(), json!(own.fingerprint())),
            ("verified".to_owned(), json!(false)),
        ]);
        self.note(CHAIN, object, CONTINUED, detail)?;
        self.notes.push(format!(
            "the local ledger was lost, and the one in the tier does not verify: it is continued \
             after entry {}, and what it says is not believed; `lifeboat audit verify` names what \
             is wrong",
            base.seq
        ));
        Ok(())
    }

    /// Takes the tier's chain of this host over into the local file.
    fn take_from(&mut self, world: &World, tier: &OpenTier) -> Result<Found> {
        let Ok(sealer) = &tier.sealer else { return Ok(Found::Nothing) };
        let ranges = remote::ranges(&*tier.store, &self.host)?;
        if ranges.is_empty() {
            return Ok(Found::Nothing);
        }
        if !sealer.opens() {
            return self.go_on_unseen(&*tier.store, &ranges).map(Found::Closed);
        }
        let name = remote::safe_name(&self.host);
        let (anchors, _) = remote::checkpoints(&*tier.store, sealer, &name)?;
        let fetched = remote::lines(&*tier.store, sealer, &name)?;
        let links: Vec<Link> = fetched.lines.iter().map(|line| Link::read(line)).collect();
        let entries: Vec<Entry> =
            fetched.lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
        let trusted = trust::of(world, &self.host, &entries)?;
        let report = verify(CHAIN, &links, &trusted.keys, &anchors);
        if !trust::sound(&report, &entries, &fetched, &name) {
            let last = ranges.iter().map(|(_, to)| *to).max().unwrap_or(0);
            let head = anchors.last().map(|c| (c.document.seq, c.document.head));
            let end = report.head.map(|head| (head.seq, head.hash));
            let Some((seq, hash)) = end.into_iter().chain(head).max_by_key(|(seq, _)| *seq) else {
                return self.go_on_unseen(&*tier.store, &ranges).map(Found::Unsound);
            };
            // After everything that is there, whatever it is worth. The next entry names its key.
            let head = Head { seq: seq.max(last), hash, key: PublicKey([0; 32]) };
            self.local.begin_after(&head)?;
            return Ok(Found::Unsound(head));
        }
        let told = trust::tell(&entries, &trusted.keys);
        self.notes.extend(told.refused.map(|refused| trust::refusal(&self.host, refused)));
        self.notes.extend(trusted.first_sight.map(|key| trust::first_sight(&self.host, &key)));
        let mut keys = trusted.keys;
        let announced = told.believed.iter().filter_map(|entry| entry.next_key);
        keys.extend(announced.filter(|key| !keys.contains(key)).collect::<Vec<_>>());
        let from_checkpoint = anchors
            .iter()
            .filter(|checkpoint| !keys.is_empty() && checkpoint.verify(&keys).is_ok())
            .map(|c| Head { seq: c.document.seq, hash: c.document.head, key: c.key });
        let head = report.head.into_iter().chain(from_checkpoint).max_by_key(|head| head.seq);
        let Some(head) = head else { return Ok(Found::Nothing) };
        // Before the lines: whoever finds lines finds the keys that they are believed by.
        keys::accept(&self.state, &self.host, &keys)?;
        self.local.take_over(&fetched.lines, None, &head)?;
        let open = open_actions(told.believed.iter().copied()).into_iter().cloned().collect();
        Ok(Found::Taken(Taken { head, keys, refused: told.refused, open }))
    }

    /// Goes on after entries that cannot be opened here, from the hash that the newest checkpoint
    /// has in its name. Whoever has the identity finds a false one.
    fn go_on_unseen(&self, store: &dyn Store, ranges: &[(u64, u64)]) -> Result<Head> {
        let last = ranges.iter().map(|(_, to)| *to).max().unwrap_or(0);
        let names = remote::checkpoint_names(store, &self.host)?;
        let named: Vec<_> = names.iter().filter(|(seq, _)| *seq >= last).collect();
        let [(seq, hash)] = named[..] else {
            return Err(Error::refused(
                format!(
                    "the local ledger was lost, and the tier's ends at entry {last} without one \
                     checkpoint to go on from"
                ),
                "run this once with `[key] identity_file`, so that the tier's ledger can be \
                 opened, or bring the state folder back from a copy",
            ));
        };
        // The key is unknown: the next entry names its own.
        let head = Head { seq: *seq, hash: *hash, key: PublicKey([0; 32]) };
        self.local.begin_after(&head)?;
        Ok(head)
    }

    /// A key file that was lost and made anew: said in the chain, which the new key signs.
    fn notice_new_key(&mut self, world: &World) -> Result<()> {
        let own = self.signer.public_key();
        let accepted = keys::accepted(&self.state, &self.host)?;
        if accepted.contains(&own) {
            return Ok(());
        }
        let (lines, _) = self.local.lines()?;
        let entries: Vec<Entry> = lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
        if entries.iter().rev().any(|entry| entry.signed_by(&own)) {
            // The list of keys was lost, not the key.
            let vouched = trust::vouched(world, &entries, &own);
            return keys::accept(&self.state, &self.host, &vouched);
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
            let Some(entry) = started else {
                // Or its entry stands in a branch that was set aside.
                return match left.facts.is_empty() {
                    true => Ok(()),
                    false => self.keep_facts_of(left),
                };
            };
            let closed = lines.iter().rev().filter_map(|line| Entry::read(line).ok());
            if closed.take_while(|e| e.seq > entry.seq).any(|e| e.of == Some(entry.seq)) {
                return Ok(());
            }
            let mut detail = Detail::new();
            add_facts(&mut detail, &left.facts)?;
            self.interrupted(entry.seq, &entry.action, &entry.object, detail)
        })
    }

    /// What was already true of an action whose entry is not in the chain.
    fn keep_facts_of(&mut self, left: &Left) -> Result<()> {
        let mut detail = Detail::from([("id".to_owned(), json!(left.id))]);
        add_facts(&mut detail, &left.facts)?;
        let object = self.plan.name.clone();
        self.note(CHAIN, &object, "facts of an interrupted action", detail)?;
        Ok(())
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

/// What the tier has of this host's chain, when there is none here.
enum Found {
    Nothing,
    /// It ends there, and cannot be opened.
    Closed(Head),
    /// It ends there, and does not hold together.
    Unsound(Head),
    Taken(Taken),
}

/// A chain taken over from a tier.
struct Taken {
    head: Head,
    /// Those that it is believed by.
    keys: Vec<PublicKey>,
    /// First and last entry of others.
    refused: Option<(u64, u64, Option<PublicKey>)>,
    open: Vec<Entry>,
}
