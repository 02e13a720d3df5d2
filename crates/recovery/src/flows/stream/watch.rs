//! What the streams say, taken down in the ledger; and the bases that they ask for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::Duration;

use lifeboat_model::position::{LogPosition, Position};
use serde_json::{Value, json};

use super::live::{base_taken, wanted_base};
use crate::env::World;
use crate::error::Result;
use crate::flows::{BackupRequest, backup};
use crate::ledger::Detail;
use crate::report::{Failure, LostPart, StreamBase, StreamedComponent};
use crate::session::Session;
use crate::tier::OpenTier;

/// A base that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// Between two looks whether a base is due.
const LOOK: Duration = Duration::from_millis(200);

/// What a component's thread says.
pub(super) enum Told {
    /// The source was joined.
    Joined {
        /// `joined`, `gap`, `new log`.
        word: &'static str,
        at: LogPosition,
        lost: Option<LostPart>,
    },
    /// A part of the log is lost for ever.
    Lost(LostPart),
    /// The log goes on on another line.
    Branch { from: Position, to: Position },
    /// Sums of an hour.
    Hour(Value),
    /// Only a new base makes what follows restorable.
    WantsBase,
    /// One was tried.
    Base(StreamBase),
    /// It ended.
    Ended(Box<StreamedComponent>),
    /// Its thread died of a fault in the program: nothing more will come.
    Died,
}

/// What is known of one component.
#[derive(Default)]
struct Known {
    bases: Vec<StreamBase>,
    /// A base is to be taken from then on, monotonic.
    due: Option<Duration>,
    /// It is being taken.
    taking: bool,
    ended: Option<StreamedComponent>,
    died: bool,
}

impl Known {
    fn goes_on(&self) -> bool {
        self.taking || (self.ended.is_none() && !self.died)
    }
}

/// The one who listens.
pub(super) struct Desk<'a> {
    pub(super) world: &'a World,
    /// A stream that ends by itself tries a base once.
    pub(super) once: bool,
    pub(super) open: &'a BTreeMap<String, AtomicBool>,
    pub(super) tell: Sender<(String, Told)>,
}

impl<'a> Desk<'a> {
    /// Listens until every stream has ended and no base is being taken.
    pub(super) fn listen<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        said: &Receiver<(String, Told)>,
        session: &mut Session<'_>,
        tier: &OpenTier,
    ) -> Vec<StreamedComponent>
    where
        'a: 'scope,
    {
        let mut known: BTreeMap<String, Known> =
            self.open.keys().map(|name| (name.clone(), Known::default())).collect();
        while known.values().any(Known::goes_on) {
            match said.recv_timeout(LOOK) {
                Ok((name, told)) => {
                    let one = known.entry(name.clone()).or_default();
                    if let Err(error) = self.take(&name, told, one, session, tier) {
                        let why = Failure::of(&error).line();
                        session.warnings.push(format!("{name}: not in the ledger: {why}"));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.world.clock.monotonic();
            for (name, one) in &mut known {
                let due = one.due.is_some_and(|due| due <= now) && !one.taking;
                if due && one.ended.is_none() && !self.world.cancel.is_cancelled() {
                    (one.due, one.taking) = (None, true);
                    self.take_base(scope, name.clone());
                }
            }
        }
        let ended = known.into_values().filter_map(|one| {
            let mut ended = one.ended?;
            ended.bases = one.bases;
            Some(ended)
        });
        ended.collect()
    }

    fn take(
        &self,
        name: &str,
        told: Told,
        one: &mut Known,
        session: &mut Session<'_>,
        tier: &OpenTier,
    ) -> Result<()> {
        match told {
            Told::Died => one.died = true,
            Told::Joined { word, at, lost } => {
                let detail = detail(&[("at", json!(at)), ("lost", json!(lost))]);
                session.ledger()?.note("stream", name, word, detail)?;
            }
            Told::Lost(lost) => {
                let detail = detail(&[("lost", json!(lost))]);
                session.ledger()?.note("stream", name, "gap", detail)?;
            }
            Told::Branch { from, to } => {
                let detail = detail(&[("from", json!(from)), ("to", json!(to))]);
                session.ledger()?.note("stream", name, "branch", detail)?;
            }
            Told::Hour(sums) => {
                let detail = detail(&[("sums", sums)]);
                session.ledger()?.note("stream", name, "hour", detail)?;
                let notes = session.ledger()?.ship_or_say(self.world, tier);
                notes.iter().for_each(|note| self.world.monitor.note(note));
            }
            Told::WantsBase => one.due = one.due.or(Some(self.world.clock.monotonic())),
            Told::Base(base) => {
                one.taking = false;
                self.base_ended(name, base, one)?;
            }
            Told::Ended(ended) => one.ended = Some(*ended),
        }
        Ok(())
    }

    fn base_ended(&self, name: &str, base: StreamBase, one: &mut Known) -> Result<()> {
        let done = base.snapshot.is_some();
        if let Some(error) = &base.error {
            let line = error.line();
            self.world.monitor.note(&format!("{name}: no base could be taken: {line}"));
            if !self.once {
                one.due = Some(self.world.clock.monotonic() + AGAIN);
            }
        }
        // Tries of the same failure would only repeat it.
        one.bases.retain(|known| known.snapshot.is_some());
        one.bases.push(base);
        if (done || self.once)
            && let Some(open) = self.open.get(name)
        {
            open.store(false, Ordering::SeqCst);
        }
        match done {
            true => base_taken(&self.world.state, name),
            false => Ok(()),
        }
    }

    fn take_base<'scope>(&self, scope: &'scope Scope<'scope, '_>, name: String)
    where
        'a: 'scope,
    {
        let (world, tell) = (self.world, self.tell.clone());
        scope.spawn(move || {
            let why = wanted_base(&world.state, &name).ok().flatten().unwrap_or_default();
            world.monitor.note(&format!("{name}: taking a base, because {why}"));
            let request = BackupRequest { components: vec![name.clone()], ..Default::default() };
            let base = match backup(world, &request) {
                Ok(mut report) => {
                    let one = report.components.pop();
                    StreamBase {
                        snapshot: one.as_ref().and_then(|one| one.snapshot.clone()),
                        error: one.and_then(|one| one.error),
                    }
                }
                Err(error) => StreamBase { snapshot: None, error: Some(Failure::of(&error)) },
            };
            // The one who listens waits for this.
            let _ = tell.send((name, Told::Base(base)));
        });
    }
}

fn detail(entries: &[(&str, Value)]) -> Detail {
    let given = entries.iter().filter(|(_, value)| !value.is_null());
    given.map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}
