//! [`PostgresLog`]: a server's log as it is written, from a slot of our own.
//!
//! - A server forgets nothing that it was not told is durable.
//! - What is said to be complete up to an instant is: by the server's own clock while log comes, by
//!   a question and its answer while none does.
//! - A switch of timelines is told before anything of the new one, a loss never goes unsaid.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{
    Joint, LogContext, LogError, LogEvent, LogHealth, LogRange, LogSource, LogStart, Resume,
};
use lifeboat_vault::Cancel;

use super::begin::{self, Beginning, Running};
use super::error::{PgError, Result};
use super::feed::News;
use super::options::PostgresOptions;
use super::queue::Piece;
use super::replication::{Started, read_history};
use super::slot::{self, Slot};
use super::tail;
use super::watch::{self, Pace};

/// How long a pause is at most before the server is looked after.
const SLICE: Duration = Duration::from_millis(200);

/// The log of a server.
#[derive(Debug)]
pub struct PostgresLog {
    component: String,
    options: PostgresOptions,
    slot: String,
    running: Option<Running>,
    /// The server's process of the last stream.
    own: Option<u32>,
    /// Where the source had nothing more, and when that was last so. What was delivered since may
    /// never have been stored.
    idle: Option<(Position, Timestamp)>,
    pace: Pace,
}

impl PostgresLog {
    /// The log of `component`.
    pub fn new(component: impl Into<String>, options: PostgresOptions) -> Self {
        let component = component.into();
        let slot = slot::name(&options.plan, &component);
        let pace = Pace::default();
        PostgresLog { component, options, slot, running: None, own: None, idle: None, pace }
    }

    /// Name of its replication slot.
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// Runs a step of the stream; one that fails ends it.
    fn with<T>(
        &mut self,
        step: impl FnOnce(&mut Running, &str) -> Result<T>,
    ) -> Result<T, LogError> {
        let Some(running) = &mut self.running else {
            return Err(PgError::lost("the stream is not running").into());
        };
        let done = step(running, &self.slot);
        done.map_err(|error| {
            self.running = None;
            match error {
                // While it runs, a refusal comes from the server's state: the next start finds out.
                PgError::Refused { said, .. } => {
                    let what = "the server ended the stream".to_owned();
                    LogError::Lost { what, source: Some(said) }
                }
                error => error.into(),
            }
        })
    }
}

impl LogSource for PostgresLog {
    fn would_make(&mut self, _: Option<&Resume>) -> Result<Vec<String>, LogError> {
        Ok(begin::would_make(&self.options, &self.component, &self.slot)?)
    }

    fn start(
        &mut self,
        resume: Option<&Resume>,
        context: &LogContext<'_>,
    ) -> Result<LogStart, LogError> {
        self.running = None;
        let beginning = Beginning {
            options: &self.options,
            component: &self.component,
            slot: &self.slot,
            own: self.own,
            context,
        };
        let begun = beginning.run(resume).map_err(|error| match error.explained() {
            // Our own dead connection may still hold the sender.
            PgError::Unfit { what, said: Some(said), .. }
                if said.code == "53300" && self.own.is_some() =>
            {
                PgError::Lost { what, source: Some(said) }
            }
            error => error,
        });
        let (mut running, start) = begun?;
        let seamless = resume.filter(|_| start.joint == Joint::Seamless);
        if let (Some(resume), Some((at, complete))) = (seamless, self.idle) {
            let stored = resume.at.position;
            if stored.line == at.line && stored.offset >= at.offset {
                running.queue.idle(complete);
            }
        }
        self.own = Some(running.feed.connection.pid());
        self.running = Some(running);
        Ok(start)
    }

    fn next(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<LogEvent, LogError> {
        let event = self.with(|running, slot| running.next(slot, wait, context))?;
        if let LogEvent::Idle { at, time } = event {
            self.idle = Some((at, time));
        }
        Ok(event)
    }

    fn durable(&mut self, to: Position) -> Result<(), LogError> {
        if self.running.is_none() {
            return Ok(());
        }
        self.with(|running, _| {
            // What was durable of an older timeline says nothing about this one.
            if to.line == running.queue.at().line {
                running.feed.acknowledge(to.offset)
            } else {
                Ok(())
            }
        })
    }

    fn wait(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<(), LogError> {
        let clock = context.clock;
        let until = clock.monotonic() + wait;
        loop {
            let left = until.saturating_sub(clock.monotonic());
            if left.is_zero() || context.cancel.is_cancelled() {
                return Ok(());
            }
            self.with(|running, _| {
                running.feed.tell_if_due(clock.monotonic())?;
                // A server that stops waits for us, and throws out who asks questions first.
                if running.sql.lives() {
                    Ok(())
                } else {
                    Err(PgError::lost("the server stops, or the connection to it is gone"))
                }
            })?;
            clock.sleep(left.min(SLICE));
        }
    }

    fn health(&mut self) -> Result<LogHealth, LogError> {
        let pace = &mut self.pace;
        let Some(running) = &mut self.running else {
            return Err(PgError::lost("the stream is not running").into());
        };
        let delivered = running.queue.at().offset;
        let now = running.feed.told();
        Ok(watch::health(&mut running.sql, &running.facts, &self.slot, (delivered, now), pace)?)
    }

    fn stop(&mut self) -> Result<(), LogError> {
        if let Some(mut running) = self.running.take() {
            // The last word counts; a connection that is gone has none.
            let _ = running.feed.tell_last();
        }
        Ok(())
    }

    fn detach(&mut self, dry: bool) -> Result<Vec<String>, LogError> {
        self.running = None;
        let (mut sql, _) = self.options.ask(&self.component, &Cancel::default())?;
        let Some(slot) = Slot::read(&mut sql, &self.slot)? else { return Ok(Vec::new()) };
        if let Some(pid) = slot.active.filter(|_| !dry) {
            if self.own == Some(pid) {
                sql.query(&format!("select pg_terminate_backend({pid}, 5000)"))
                    .or_else(|_| sql.query(&format!("select pg_terminate_backend({pid})")))
                    .map_err(LogError::from)?;
            } else {
                return Err(LogError::Taken {
                    what: format!(
                        "a stream still reads from the slot `{}` (process {pid})",
                        self.slot
                    ),
                    hint: "stop that stream first".to_owned(),
                });
            }
        }
        if !dry {
            let drop = format!("select pg_drop_replication_slot('{}')", self.slot);
            sql.query(&drop).map_err(LogError::from)?;
        }
        Ok(vec![format!("the replication slot `{}` of {}", self.slot, sql.address())])
    }
}

impl Running {
    fn next(&mut self, slot: &str, wait: Duration, context: &LogContext<'_>) -> Result<LogEvent> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let clock = context.clock;
        if let Some(upstream) = &mut self.upstream
            && !upstream.look(&mut self.sql, clock)?
        {
            self.upstream = None;
        }
        let until = clock.monotonic() + wait;
        while !self.queue.is_full() && !self.ended {
            let left = until.saturating_sub(clock.monotonic());
            if left.is_zero() {
                break;
            }
            self.feed.tell_if_due(clock.monotonic())?;
            if let Some(news) = self.feed.take(left.min(SLICE), clock)? {
                self.take(news);
            }
        }
        let upstream = &mut self.upstream;
        let beside = |at| upstream.as_mut().map_or(Timestamp::MIN, |it| it.reached(at));
        if let Some(piece) = self.queue.take(beside) {
            return Ok(LogEvent::Range(range(piece)));
        }
        if self.ended { self.switch(slot, context) } else { self.ask(slot, wait, context) }
    }

    fn take(&mut self, news: News) {
        match news {
            // Of its own end a standby says nothing about its primary's.
            News::Log(bytes, complete) => {
                self.queue.push(bytes, complete.filter(|_| self.upstream.is_none()));
            }
            News::Ended => self.ended = true,
            News::Alive => {}
        }
    }

    /// Nothing came: is there nothing? The first answer may have been on its way while something
    /// was written; what was written before the first question is sent before the second answer.
    fn ask(&mut self, slot: &str, wait: Duration, context: &LogContext<'_>) -> Result<LogEvent> {
        let mut came = Vec::new();
        let first = self.feed.question(context.clock, &mut |news| came.push(news))?;
        let mut quiet = !first.news;
        if quiet {
            quiet = !self.feed.question(context.clock, &mut |news| came.push(news))?.news;
        }
        came.into_iter().for_each(|news| self.take(news));
        if quiet {
            let at = self.queue.at().offset;
            let upstream = self.upstream.as_mut();
            let time = self.queue.idle(upstream.map_or(first.asked, |it| it.reached(at)));
            return Ok(LogEvent::Idle { at: self.queue.at(), time });
        }
        self.next(slot, wait.min(SLICE), context)
    }

    /// The timeline is at its end: on to the next one.
    fn switch(&mut self, slot: &str, context: &LogContext<'_>) -> Result<LogEvent> {
        let line = self.queue.at().line;
        let stream = &mut self.feed.connection;
        let switch = stream.end_of_timeline()?;
        if switch.timeline <= line || switch.at != self.queue.at().offset {
            return Err(PgError::protocol("a timeline ends where its log does not"));
        }
        let history = stream.timeline_history(switch.timeline)?;
        let (to, from) = (Position::new(switch.timeline, switch.at), self.queue.at());
        match stream.start_physical(slot, to.offset, to.line)? {
            Started::Streaming => {}
            Started::Ended(_) => {
                return Err(PgError::lost("the timeline changed twice at a place"));
            }
        }
        self.feed.rebase(to.offset);
        self.queue.rebase(to, tail::line_mark(to.line, &read_history(&history)?));
        if let Some(upstream) = &mut self.upstream {
            upstream.forget();
        }
        self.ended = false;
        Ok(LogEvent::Branch { from, to, time: context.clock.wall(), history })
    }
}

fn range(piece: Piece) -> LogRange {
    let Piece { from, to, bytes, complete, facts } = piece;
    LogRange { from, to, time: complete, bytes, facts }
}
