//! One component's stream: the source joined at the journal's end, each range stored, the source told
//! what it may let go of; and joined again when it is lost. No silent gap: what is lost for ever is
//! recorded, and a base is asked for, for only that makes what follows restorable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use lifeboat_model::objective::{Circumstances, resolve};
use lifeboat_model::position::Position;

use super::StreamRequest;
use super::behind::{AT_ONCE, Behind};
use super::live::{Live, want_base, wanted_base};
use super::tally::Tally;
use super::watch::Told;
use crate::env::World;
use crate::error::{Error, Result};
use crate::journal::{Appended, JournalError, Settings, Writer};
use crate::ports::{Joint, LogContext, LogError, LogEvent, LogSource, LogStart};
use crate::report::{Failure, LostPart, StreamedComponent};

/// Log is gathered for so long at the most: a range is younger than a second when it is stored.
const GATHER: Duration = Duration::from_millis(500);
/// Between two tries where no tier takes anything.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a lost source is joined again.
const LONGEST: Duration = Duration::from_secs(30);
/// Between two looks at the source's health.
const HEALTH: Duration = Duration::from_secs(10);
/// Between two notes of how the stream stands.
const LIVE: Duration = Duration::from_secs(2);
/// Between two lines for people.
const PROGRESS: Duration = Duration::from_secs(60);
/// Tries to join a source, where the stream is to end by itself.
const TRIES: u32 = 3;
/// Rounds of catching up before a stream that ends leaves the rest to the next one.
const LAST_ROUNDS: usize = 20;

/// What a component's thread works with.
pub(super) struct Task<'a> {
    pub(super) world: &'a World,
    pub(super) component: &'a str,
    pub(super) request: &'a StreamRequest,
    /// When it ends by itself, monotonic.
    pub(super) until: Option<Duration>,
    /// A base that it asked for is not there yet.
    pub(super) base_open: &'a AtomicBool,
    /// What goes on behind it cannot go on.
    pub(super) failed: AtomicBool,
    pub(super) tell: Sender<(String, Told)>,
}

/// Why a session with a source ended.
enum Stop {
    /// The source.
    Log(LogError),
    /// Anything else: the stream ends.
    Flow(Error),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Stop {
        Stop::Log(error)
    }
}

impl<E: Into<Error>> From<E> for Stop
where
    E: NotALogError,
{
    fn from(error: E) -> Stop {
        Stop::Flow(error.into())
    }
}

/// Tells the two conversions apart.
trait NotALogError {}
impl NotALogError for Error {}
impl NotALogError for JournalError {}

/// Streams until the end, and says what became of it.
pub(super) fn follow(task: &Task<'_>, settings: Settings) -> StreamedComponent {
    let mut tally = Tally::new(task.world.start());
    let error =
        Follower::open(task, settings).and_then(|mut follower| follower.run(&mut tally)).err();
    let report = tally.report(task.world, task.component, error.as_ref().map(Failure::of));
    task.say_live(&tally, None, error.as_ref());
    report
}

impl Task<'_> {
    fn now(&self) -> Duration {
        self.world.clock.monotonic()
    }

    fn told(&self, told: Told) {
        // The one who listens outlives this thread.
        let _ = self.tell.send((self.component.to_owned(), told));
    }

    fn note(&self, tally: &mut Tally, line: &str) {
        self.world.monitor.note(&format!("{}: {line}", self.component));
        tally.note(line);
    }

    fn asked_to_stop(&self) -> bool {
        self.world.cancel.is_cancelled()
            || self.until.is_some_and(|until| self.now() >= until)
            || self.failed.load(Ordering::SeqCst)
    }

    /// Asks for a base, durably: the wish outlives this process.
    fn want_base(&self, why: &str) -> Result<()> {
        if !self.request.base {
            return Ok(());
        }
        want_base(&self.world.state, self.component, why)?;
        self.base_open.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn say_live(&self, tally: &Tally, writer: Option<&Writer>, error: Option<&Error>) {
        let pending = writer.map(Writer::pending).unwrap_or_default();
        let live = Live {
            format: 1,
            pid: self.world.pid,
            since: tally.start.wall,
            time: self.world.clock.wall(),
            at: writer.and_then(Writer::end).or_else(|| tally.at.clone()),
            joined: tally.joined,
            behind: tally.health.behind,
            room_seconds: Live::room(tally.health.room),
            waiting: pending.objects as u64,
            waiting_bytes: pending.bytes,
            warnings: tally.health.warnings.clone(),
            problem: error.map(|e| Failure::of(e).line()).or_else(|| tally.problem.clone()),
        };
        if let Err(error) = live.write(&self.world.state, self.component) {
            let why = Failure::of(&error).line();
            self.world.monitor.note(&format!("{}: {why}", self.component));
        }
    }
}

struct Follower<'a> {
    task: &'a Task<'a>,
    writer: Writer,
    rpo: Option<Duration>,
    /// What the source was told last.
    told: Option<Position>,
    /// The last thing that the source said is that there is nothing more.
    idle: Option<LogEvent>,
    next_health: Duration,
    next_live: Duration,
    next_line: Duration,
}

impl<'a> Follower<'a> {
    fn open(task: &'a Task<'a>, settings: Settings) -> Result<Follower<'a>> {
        let writer = Writer::open(settings)?;
        if let Some(why) = wanted_base(&task.world.state, task.component)? {
            task.want_base(&why)?;
            if task.request.base {
                task.told(Told::WantsBase);
            }
        }
        let rpo = resolve(&task.world.plan, task.component, Circumstances::default()).rpo;
        let now = task.now();
        Ok(Follower {
            task,
            writer,
            rpo: rpo.map(|objective| objective.limit.std()),
            told: None,
            idle: None,
            next_health: now,
            next_live: now,
            next_line: now + PROGRESS,
        })
    }

    /// Sessions, one after the other, while a thread of its own serves the tiers that lag.
    fn run(&mut self, tally: &mut Tally) -> Result<()> {
        let behind = Behind {
            world: self.task.world,
            component: self.task.component,
            copier: self.writer.copier(),
            packer: self.writer.packer(),
            failed: &self.task.failed,
        };
        std::thread::scope(|scope| {
            let (end, ended) = mpsc::channel::<()>();
            let served = scope.spawn(move || behind.run(&ended));
            let result = self.sessions(tally);
            drop(end);
            let served = served.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let finished = self.finish(tally);
            result.and(served).and(finished)
        })
    }

    fn sessions(&mut self, tally: &mut Tally) -> Result<()> {
        let mut failed = 0;
        loop {
            let before = tally.ranges + tally.keepalives;
            tally.joined = false;
            match self.session(tally) {
                Ok(()) => return Ok(()),
                Err(Stop::Flow(error)) => return Err(error),
                Err(Stop::Log(LogError::Lost { what, source })) => {
                    if self.task.asked_to_stop() {
                        return Ok(());
                    }
                    failed = if tally.ranges + tally.keepalives > before { 0 } else { failed + 1 };
                    let lost = Error::Log(LogError::Lost { what, source });
                    if self.task.request.once && failed >= TRIES {
                        return Err(lost);
                    }
                    let line = Failure::of(&lost).line();
                    if tally.problem.as_ref() != Some(&line) {
                        self.task.note(tally, &format!("{line}; trying again"));
                    }
                    tally.problem = Some(line);
                    self.task.say_live(tally, Some(&self.writer), None);
                    self.pause(failed)?;
                    tally.reconnects += 1;
                }
                Err(Stop::Log(error)) => return Err(error.into()),
            }
        }
    }

    /// Longer after each failure; what waits for a tier is offered meanwhile.
    fn pause(&mut self, failed: u32) -> Result<()> {
        let span = PAUSE.saturating_mul(1 << failed.min(5)).min(LONGEST);
        let until = self.task.now() + span;
        while self.task.now() < until && !self.task.asked_to_stop() {
            self.task.world.clock.sleep(PAUSE / 2);
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Joins the source and follows it until the stream is to end.
    fn session(&mut self, tally: &mut Tally) -> Result<(), Stop> {
        let world = self.task.world;
        let context =
            LogContext { clock: &*world.clock, monitor: &*world.monitor, cancel: &world.cancel };
        let mut source = (world.adapters.log)(self.task.component)?;
        let start = source.start(self.writer.resume().as_ref(), &context)?;
        self.join(&mut *source, &start, tally, &context)?;
        let mut held: Option<LogEvent> = None;
        while !self.over() {
            let event = match held.take() {
                Some(event) => event,
                None => source.next(GATHER, &context)?,
            };
            if !self.take(&event, tally)? {
                held = Some(event);
                source.wait(PAUSE, &context)?;
            }
            self.acknowledge(&mut *source)?;
            self.look(&mut *source, tally)?;
        }
        self.acknowledge(&mut *source)?;
        source.stop()?;
        Ok(())
    }

    fn join(
        &mut self,
        source: &mut dyn LogSource,
        start: &LogStart,
        tally: &mut Tally,
        context: &LogContext<'_>,
    ) -> Result<(), Stop> {
        let task = self.task;
        for warning in &start.warnings {
            task.note(tally, warning);
        }
        let before = self.writer.end();
        let lost = match &start.joint {
            Joint::Seamless => None,
            Joint::Gap { why } | Joint::NewLineage { why } => {
                // Before it is recorded: a kill in between must not forget it.
                task.want_base(why)?;
                let gap = matches!(start.joint, Joint::Gap { .. });
                let from = before.filter(|_| gap).map(|end| end.position);
                let time = task.world.clock.wall();
                Some(LostPart { from, to: start.at.position, time, why: why.clone() })
            }
        };
        loop {
            match self.writer.begin(start) {
                Ok(_) => break,
                Err(error @ (JournalError::NoTier(_) | JournalError::SpoolFull { .. })) => {
                    self.stuck(tally, &error);
                    if task.asked_to_stop() {
                        return Err(Stop::Flow(error.into()));
                    }
                    source.wait(PAUSE, context)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        tally.began(self.writer.end(), start.at.position);
        tally.gaps.extend(lost.clone().filter(|lost| lost.from.is_some()));
        if self.told.is_none() || lost.is_some() {
            let at = self.writer.end().unwrap_or_else(|| start.at.clone());
            let word = match start.joint {
                Joint::Seamless => "joined",
                Joint::Gap { .. } => "gap",
                Joint::NewLineage { .. } => "new log",
            };
            task.note(tally, &joined(word, &at.lineage, at.position, lost.as_ref()));
            task.told(Told::Joined { word, at, lost: lost.clone() });
        }
        if lost.is_some() && task.request.base {
            task.told(Told::WantsBase);
        }
        Ok(())
    }

    /// Takes an event over. False if nothing more can be taken now: it is to be given again.
    fn take(&mut self, event: &LogEvent, tally: &mut Tally) -> Result<bool, Stop> {
        match event {
            LogEvent::Notice(line) => {
                self.task.note(tally, line);
                return Ok(true);
            }
            LogEvent::Idle { .. } => {
                self.idle = Some(event.clone());
                if !self.writer.keepalive_due(self.rpo) {
                    if self.writer.pending().objects > 0 {
                        self.writer.flush()?;
                    }
                    return Ok(true);
                }
            }
            LogEvent::Gap { why, .. } => {
                self.task.want_base(why)?;
                self.idle = None;
            }
            LogEvent::Range(_) | LogEvent::Branch { .. } => self.idle = None,
        }
        match self.writer.append(event) {
            Ok(appended) => {
                self.count(event, appended, tally);
                Ok(true)
            }
            Err(error @ (JournalError::NoTier(_) | JournalError::SpoolFull { .. })) => {
                self.stuck(tally, &error);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn count(&mut self, event: &LogEvent, appended: Appended, tally: &mut Tally) {
        let task = self.task;
        tally.count(event, appended, task.world.clock.wall());
        match event {
            LogEvent::Gap { from, to, time, why } => {
                let (from, to, time, why) = (Some(*from), *to, *time, why.clone());
                let lost = LostPart { from, to, time, why };
                task.note(tally, &format!("a part of the log is lost for ever: {}", lost.why));
                task.told(Told::Lost(lost));
                if task.request.base {
                    task.told(Told::WantsBase);
                }
            }
            LogEvent::Branch { from, to, .. } => {
                task.note(tally, &format!("the log goes on on another line: {from} is {to}"));
                task.told(Told::Branch { from: *from, to: *to });
            }
            _ => {}
        }
        if appended == Appended::Stored && tally.problem.take().is_some() {
            task.note(tally, "the stream goes on");
        }
    }

    fn stuck(&mut self, tally: &mut Tally, error: &JournalError) {
        let line = error.to_string();
        if tally.problem.as_ref() != Some(&line) {
            let room = tally.health.room.map(|room| format!("; room for {} s", room.as_secs()));
            self.task.note(tally, &format!("{line}{}", room.unwrap_or_default()));
        }
        tally.problem = Some(line);
    }

    fn acknowledge(&mut self, source: &mut dyn LogSource) -> Result<(), Stop> {
        if let Some(to) = self.writer.acknowledged().filter(|to| self.told != Some(*to)) {
            source.durable(to)?;
            self.told = Some(to);
        }
        Ok(())
    }

    /// What is done now and then.
    fn look(&mut self, source: &mut dyn LogSource, tally: &mut Tally) -> Result<(), Stop> {
        let now = self.task.now();
        if now >= self.next_health {
            self.next_health = now + HEALTH;
            let health = source.health()?;
            for warning in health.warnings.iter().filter(|w| !tally.health.warnings.contains(w)) {
                self.task.world.monitor.note(&format!("{}: {warning}", self.task.component));
            }
            tally.health = health;
        }
        if now >= self.next_live {
            self.next_live = now + LIVE;
            tally.standing(&self.writer);
            self.task.say_live(tally, Some(&self.writer), None);
        }
        if now >= self.next_line {
            self.next_line = now + PROGRESS;
            let line = tally.line(self.task.world.clock.wall());
            self.task.world.monitor.note(&format!("{}: {line}", self.task.component));
        }
        if let Some(sums) = tally.hour(self.task.world.clock.wall()) {
            self.task.told(Told::Hour(sums));
        }
        Ok(())
    }

    fn over(&self) -> bool {
        let caught_up = || {
            self.idle.is_some()
                && self.writer.pending().objects == 0
                && !self.task.base_open.load(Ordering::SeqCst)
        };
        self.task.asked_to_stop() || (self.task.request.once && caught_up())
    }

    /// Records the end, and gives the tiers what can be given now.
    fn finish(&mut self, tally: &mut Tally) -> Result<()> {
        // What was quiet until now is proven until now.
        if let Some(idle) = self.idle.take()
            && tally.joined
        {
            match self.writer.append(&idle) {
                Ok(appended) => self.count(&idle, appended, tally),
                // It is not taken: the next stream goes on all the same.
                Err(JournalError::NoTier(_) | JournalError::SpoolFull { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let stopped = match self.writer.stop() {
            Err(JournalError::NoTier(_) | JournalError::SpoolFull { .. }) => Ok(()),
            stopped => stopped.map(drop),
        };
        for _ in 0..LAST_ROUNDS {
            let done = self.writer.catch_up(AT_ONCE)?;
            if done.left == 0 || done.copied == 0 {
                break;
            }
        }
        tally.standing(&self.writer);
        if let Some(sums) = tally.last_hour(self.task.world.clock.wall()) {
            self.task.told(Told::Hour(sums));
        }
        Ok(stopped?)
    }
}

fn joined(word: &str, lineage: &str, at: Position, lost: Option<&LostPart>) -> String {
    match lost {
        None => format!("streaming from {at} of {lineage}"),
        Some(lost) if word == "gap" => {
            format!("streaming from {at} of {lineage}; what lies before is lost: {}", lost.why)
        }
        Some(lost) => format!("streaming a new log, {lineage}, from {at}: {}", lost.why),
    }
}
