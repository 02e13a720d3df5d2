//! The writing end of a component's journal. One a host: the local state is locked.
//!
//! Order for each record: header made and signed, sealed, its *intent* on stable storage
//! ([`super::queue`]), created in the first tier that takes it (those that survive this machine
//! first), then index and head, then the intent goes. A kill at any point leaves an object that is
//! there and known, or one that is offered again with the same bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::chain::{Hash, PublicKey, Signed, Signer};
use lifeboat_model::journal::{
    HISTORY, HISTORY_OF, Head, Kind, StreamKey, WHY, is_lineage, keepalive_due, native,
    next_lineage,
};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_vault::{Clock, Monitor};
use serde_json::json;

use super::believed::Believed;
use super::catch_up::{CaughtUp, Copier};
use super::head::read_back;
use super::local::{End, Local};
use super::place::list;
use super::queue::Queue;
use super::standing::{Progress, Shared, Standing};
use super::storing::{after, reached};
use super::tiers::{JournalTier, in_order};
use super::whole::Whole;
use super::{JournalError, Result};
use crate::ports::{Joint, LogEvent, LogFacts, LogStart, Resume};
use crate::seal::Sealer;
use crate::state::State;

/// After so many records the facts of the stream are recorded again: so they are never far from the
/// place where a restore begins, and what lies before can be pruned.
pub(super) const START_EVERY: u32 = lifeboat_model::journal::START_EVERY;

/// What a stream's journal is made with.
pub struct Settings {
    /// The component.
    pub component: String,
    /// This host, as the ledger names it.
    pub host: String,
    /// Where to, each with an identity of the same recipient as `sealer`.
    pub tiers: Vec<JournalTier>,
    /// Those are all tiers that can have this journal: none of them was away.
    pub every_tier: bool,
    /// Seals; opens too where the identity is at hand.
    pub sealer: Arc<Sealer>,
    /// Signs each object.
    pub signer: Box<dyn Signer + Send>,
    /// Where that is a key of the stream's own: the word of the host's key.
    pub certificate: Option<Signed<StreamKey>>,
    /// Whose objects are believed when the end is read back from a tier.
    pub trusted: Vec<PublicKey>,
    /// The local state.
    pub state: State,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Notes.
    pub monitor: Arc<dyn Monitor>,
    /// Bytes that may wait here while no tier takes any; nothing where the source keeps what was not
    /// acknowledged.
    pub spool: Option<u64>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// A tier has it, and all before it.
    Stored,
    /// No tier takes it now; it is on stable storage here. [`Writer::flush`] tries again.
    Waiting,
}

/// What waits for a tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Objects.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// See the module.
pub struct Writer {
    pub(super) settings: Settings,
    pub(super) local: Local,
    pub(super) queue: Queue,
    /// The end with all that waits.
    pub(super) end: Option<End>,
    lineages: Vec<String>,
    pub(super) copier: Copier,
    /// When the newest record was taken, monotonic.
    pub(super) last: Option<Duration>,
    begun: bool,
    /// The facts of the stream, and how many records ago they were recorded.
    pub(super) facts: (LogFacts, u32),
    /// No tier took what waits, a moment ago.
    pub(super) blocked: bool,
}

impl Writer {
    /// Opens the journal of a component for its one stream on this host.
    ///
    /// # Errors
    /// [`JournalError::Locked`]; [`JournalError::NoTier`] where the local state was lost and a tier
    /// that may know the end does not answer.
    pub fn open(settings: Settings) -> Result<Writer> {
        let settings = Settings { tiers: in_order(settings.tiers), ..settings };
        let local = Local::open(&settings.state, &settings.component)?;
        let queue = Queue::load(&local)?;
        let mut end = local.end()?;
        let mut lineages: Vec<String> = end.iter().map(|end| end.lineage.clone()).collect();
        if end.is_none() && queue.len() == 0 {
            let tiers = &settings.tiers;
            let back = read_back(tiers, &settings.component, &settings.sealer, &settings.trusted)?;
            for note in &back.notes {
                settings.monitor.note(&format!("journal: {note}"));
            }
            lineages = back.lineages;
            end = back.end;
            if let Some(end) = &end {
                local.set_end(end)?;
            }
        }
        let mut shared = Shared::default();
        shared.tiers.extend(settings.tiers.iter().map(|_| Progress::default()));
        shared.end = end.as_ref().map(|end| (end.head.seq, reached(end)));
        let copier = Copier {
            component: settings.component.clone(),
            tiers: Arc::new(settings.tiers.clone()),
            shared: Arc::new(Mutex::new(shared)),
            copying: Arc::default(),
            whole: Arc::new(Mutex::new(Whole::load(&local)?)),
            believed: {
                let (sealer, trusted) = (&settings.sealer, &settings.trusted[..]);
                let folder = local.path("");
                Arc::new(Believed::load(&settings.component, &folder, sealer, trusted)?)
            },
            clock: settings.clock.clone(),
        };
        let mut writer = Writer {
            settings,
            local,
            queue,
            end,
            lineages,
            copier,
            last: None,
            begun: false,
            facts: (LogFacts::new(), 0),
            blocked: false,
        };
        writer.drop_stored()?;
        if let Some(intent) = writer.queue.last() {
            writer.end = Some(after(intent, writer.end.as_ref(), writer.queue.intents()));
        }
        for index in 0..writer.copier.tiers.len() {
            if let Err(error) = writer.copier.learn(index) {
                writer.copier.rest(index, &error);
            }
        }
        writer.drain()?;
        writer.write_standing()?;
        Ok(writer)
    }

    /// Where the stream is to go on; nothing for the first one, or where the end cannot be read.
    pub fn resume(&self) -> Option<Resume> {
        let end = self.end.as_ref()?;
        let lineage = native(&end.lineage).to_owned();
        let at = LogPosition { lineage, position: end.head.to };
        Some(Resume { at, facts: end.facts.clone(), proven: end.proven })
    }

    /// The end of the journal with all that waits: the lineage as the tiers name it, and the place.
    pub fn end(&self) -> Option<LogPosition> {
        let end = self.end.as_ref()?;
        Some(LogPosition { lineage: end.lineage.clone(), position: end.head.to })
    }

    /// Records that a stream begins, as it joins what is there.
    ///
    /// # Errors
    /// If it does not join; as [`Writer::append`] else.
    pub fn begin(&mut self, start: &LogStart) -> Result<Appended> {
        self.make_room()?;
        let now = self.settings.clock.wall();
        let mut facts = start.facts.clone();
        self.facts.0 = facts.clone();
        let at = start.at.position;
        match (&start.joint, self.end.as_ref()) {
            (Joint::NewLineage { why }, _) => {
                facts.insert(WHY.to_owned(), json!(why));
                let before = self.end.clone();
                self.new_lineage(&start.at.lineage)?;
                if let Err(error) = self.take(Kind::Start, (at, at), now, &Bytes::new(), facts) {
                    self.end = before;
                    return Err(error);
                }
                self.begun = true;
                return self.store();
            }
            (Joint::Seamless, Some(end)) if joins(end, start) && end.head.to == at => {}
            (Joint::Gap { why }, Some(end)) if joins(end, start) => {
                let from = end.head.to;
                if from != at {
                    let why = [(WHY.to_owned(), json!(why))].into();
                    self.take(Kind::Gap, (from, at), now, &Bytes::new(), why)?;
                }
            }
            (_, end) => {
                return Err(JournalError::NotContiguous {
                    found: format!("{} of {}", start.at.position, start.at.lineage),
                    end: end.map_or_else(
                        || "nowhere".to_owned(),
                        |end| format!("{} of {}", end.head.to, end.lineage),
                    ),
                });
            }
        }
        self.take(Kind::Start, (at, at), now, &Bytes::new(), facts)?;
        self.begun = true;
        self.store()
    }

    /// Records what the source has to say. [`LogEvent::Idle`] becomes a keepalive: ask
    /// [`Writer::keepalive_due`] before. Notices are not recorded.
    ///
    /// # Errors
    /// [`JournalError::NoTier`] if what was taken before still waits, and [`JournalError::SpoolFull`]:
    /// the record was not taken, and is to be given again. [`JournalError::Taken`] ends the stream.
    pub fn append(&mut self, event: &LogEvent) -> Result<Appended> {
        if !self.begun {
            return Err(JournalError::NotBegun);
        }
        self.make_room()?;
        self.repeat_facts()?;
        let none = (Bytes::new(), LogFacts::new());
        match event {
            LogEvent::Range(range) => {
                if range.to <= range.from || range.to.line != range.from.line {
                    return Err(JournalError::Malformed("a range that does not lead on"));
                }
                self.contiguous(range.from)?;
                let (span, facts) = ((range.from, range.to), range.facts.clone());
                self.take(Kind::Range, span, range.time, &range.bytes, facts)?;
            }
            LogEvent::Idle { at, time } => {
                self.contiguous(*at)?;
                self.take(Kind::Keepalive, (*at, *at), *time, &none.0, none.1)?;
            }
            LogEvent::Branch { from, to, time, history } => {
                let end = self.end.as_ref().ok_or(JournalError::NotBegun)?.head.to;
                if from.line != end.line || from.offset > end.offset || to.line <= from.line {
                    return Err(not_contiguous(*from, end));
                }
                self.take(Kind::Branch, (*from, *to), *time, history, none.1)?;
                // The facts that are repeated tell of the line that the stream is on from here.
                let history = String::from_utf8_lossy(history);
                self.facts.0.insert(HISTORY.to_owned(), json!(history));
                self.facts.0.insert(HISTORY_OF.to_owned(), json!(to.line));
            }
            LogEvent::Gap { from, to, time, why } => {
                self.contiguous(*from)?;
                if to == from {
                    return Err(JournalError::Malformed("a gap in which nothing is lost"));
                }
                let why = [(WHY.to_owned(), json!(why))].into();
                self.take(Kind::Gap, (*from, *to), *time, &none.0, why)?;
            }
            LogEvent::Notice(_) => return Ok(self.appended()),
        }
        self.store()
    }

    /// Records that the stream ends in good order.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn stop(&mut self) -> Result<Appended> {
        let Some(end) = self.end.as_ref().filter(|_| self.begun).map(|end| end.head.to) else {
            return Ok(self.appended());
        };
        self.make_room()?;
        let now = self.settings.clock.wall();
        self.take(Kind::Stop, (end, end), now, &Bytes::new(), LogFacts::new())?;
        self.begun = false;
        self.store()
    }

    /// True if an idle stream is to record a keepalive now.
    pub fn keepalive_due(&self, rpo: Option<Duration>) -> bool {
        let now = self.settings.clock.monotonic();
        self.last.is_none_or(|last| keepalive_due(rpo, now.saturating_sub(last)))
    }

    /// Offers what waits once more.
    ///
    /// # Errors
    /// [`JournalError::Taken`], or if the local state fails.
    pub fn flush(&mut self) -> Result<Appended> {
        self.store()
    }

    /// What waits for a tier.
    pub fn pending(&self) -> Pending {
        Pending { objects: self.queue.len(), bytes: self.queue.held() }
    }

    /// Up to where the source may let go: a tier that does not lie on this machine (or the only one)
    /// has it, or the spool.
    pub fn acknowledged(&self) -> Option<Position> {
        let end = self.end.as_ref()?;
        if self.settings.spool.is_some() {
            return Some(end.head.to);
        }
        let tiers = &self.settings.tiers;
        let any = !tiers.iter().any(|tier| tier.elsewhere);
        let shared = self.copier.shared();
        let reached = tiers.iter().zip(&shared.tiers).filter(|(tier, _)| any || tier.elsewhere);
        let of_lineage = reached
            .filter_map(|(_, progress)| progress.reached.as_ref())
            .filter(|reached| reached.lineage == end.lineage);
        of_lineage.map(|reached| reached.position).max()
    }

    /// How each tier stands.
    pub fn standing(&self) -> Vec<Standing> {
        self.copier.standing()
    }

    /// What copies to the tiers that lag; a clone may do so in a thread of its own.
    pub fn copier(&self) -> Copier {
        self.copier.clone()
    }

    /// Copies at most `most` objects to tiers that lack them.
    ///
    /// # Errors
    /// [`JournalError::Taken`] if a tier has another object under a name of this journal.
    pub fn catch_up(&mut self, most: usize) -> Result<CaughtUp> {
        let done = self.copier.catch_up(most)?;
        self.write_standing()?;
        Ok(done)
    }

    pub(super) fn parts(&self) -> (&Settings, &Local, &Copier) {
        (&self.settings, &self.local, &self.copier)
    }

    pub(super) fn appended(&self) -> Appended {
        if self.queue.len() == 0 { Appended::Stored } else { Appended::Waiting }
    }

    /// Without a spool one record waits at most.
    fn make_room(&mut self) -> Result<()> {
        match self.settings.spool {
            None if self.queue.len() > 0 => match self.drain()? {
                Some(error) => Err(JournalError::NoTier(error)),
                None => Ok(()),
            },
            Some(_) if self.queue.len() > 0 => {
                self.blocked = self.drain()?.is_some();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Records the facts of the stream once more, where they are long ago.
    fn repeat_facts(&mut self) -> Result<()> {
        let Some(end) = self.end.as_ref().map(|end| end.head.to) else { return Ok(()) };
        if self.facts.1 < START_EVERY {
            return Ok(());
        }
        let (now, facts) = (self.settings.clock.wall(), self.facts.0.clone());
        self.take(Kind::Start, (end, end), now, &Bytes::new(), facts)
    }

    fn contiguous(&self, from: Position) -> Result<()> {
        let end = self.end.as_ref().ok_or(JournalError::NotBegun)?.head.to;
        if from == end { Ok(()) } else { Err(not_contiguous(from, end)) }
    }

    fn new_lineage(&mut self, name: &str) -> Result<()> {
        if !is_lineage(name) || native(name) != name {
            return Err(JournalError::Malformed("a name of its log that cannot name a folder"));
        }
        for tier in self.copier.tiers.iter() {
            // One that does not answer is asked again with the first object.
            if let Ok(listing) = list(&*tier.store, &self.settings.component) {
                self.lineages.extend(listing.lineages.into_keys());
            }
        }
        let lineage = next_lineage(name, self.lineages.iter().map(String::as_str));
        self.lineages.push(lineage.clone());
        let head = Head {
            seq: 0,
            hash: Hash::NONE,
            key: PublicKey([0; 32]),
            to: Position::default(),
            time: Timestamp::UNIX_EPOCH,
        };
        self.end = Some(End { format: 1, lineage, head, facts: LogFacts::new(), proven: None });
        Ok(())
    }
}

fn joins(end: &End, start: &LogStart) -> bool {
    native(&end.lineage) == start.at.lineage
}

fn not_contiguous(found: Position, end: Position) -> JournalError {
    JournalError::NotContiguous { found: found.to_string(), end: end.to_string() }
}
