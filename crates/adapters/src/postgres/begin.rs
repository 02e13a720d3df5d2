//! A stream's beginning: the slot, the place in the log, and whether the server still has it.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::journal::{HISTORY, HISTORY_OF};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::ports::{Joint, LogContext, LogEvent, LogFacts, LogStart, Resume};
use lifeboat_vault::Cancel;

use super::error::{PgError, Result};
use super::facts::Facts;
use super::feed::{Feed, News};
use super::join::{self, Lines, Wish, wish};
use super::options::{PostgresOptions, application_name};
use super::queue::Queue;
use super::replication::{REMOVED, Started, System};
use super::slot::{self, Slot};
use super::standby::{self, Upstream};
use super::tail::{self, Tail};
use super::watch;
use super::wire::Connection;

/// SQLSTATE of a slot that somebody streams from.
const IN_USE: &str = "55006";
/// How long the process of a stream that was just cut off may take to end.
const LEFTOVER: Duration = Duration::from_secs(8);

/// A stream that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) sql: Connection,
    pub(crate) facts: Facts,
    pub(crate) feed: Feed,
    pub(crate) queue: Queue,
    /// The primary, where the server is a standby.
    pub(crate) upstream: Option<Upstream>,
    /// Said before anything else.
    pub(crate) first: Option<LogEvent>,
    /// The timeline is at its end as soon as the queue is empty.
    pub(crate) ended: bool,
}

/// What a beginning needs to know.
pub(crate) struct Beginning<'a> {
    pub(crate) options: &'a PostgresOptions,
    pub(crate) component: &'a str,
    pub(crate) slot: &'a str,
    /// The server's process of our last stream.
    pub(crate) own: Option<u32>,
    pub(crate) context: &'a LogContext<'a>,
}

/// What came of a request to stream.
enum Begun {
    /// It streams; and the first news, if there was log to come.
    Yes(Box<Feed>, Option<News>),
    /// The server has removed the log.
    Removed,
}

impl Beginning<'_> {
    /// Begins; the slot is made where it is missing.
    pub(crate) fn run(&self, resume: Option<&Resume>) -> Result<(Running, LogStart)> {
        let cancel = self.context.cancel;
        let (mut sql, facts) = self.options.ask(self.component, cancel)?;
        facts.check_log()?;
        let mut stream = self.options.replicate(self.component, &sql, cancel)?;
        let system = stream.identify_system()?;
        if system.identifier != facts.system_identifier {
            return Err(PgError::lost("two connections lead to two servers"));
        }
        let lines = Lines::read(system.timeline, stream.timeline_history(system.timeline)?)?;
        let tail = resume.and_then(|resume| Tail::read(&resume.facts, resume.at.position));
        let wish = wish(resume, &facts, &system, &lines)?;
        let wish = compared(wish, tail.as_ref(), &mut stream)?;
        let (slot, found) = self.slot(&mut sql, &mut stream)?;
        let segment = facts.segment_size;
        let kept = slot.restart.unwrap_or(system.end) / segment * segment;
        let mut warnings = slot::warnings(&facts, watch::free_for_log(&facts));
        let mut removed = false;
        let mut joint = Joint::Seamless;
        let mut at = match &wish {
            Wish::GoOn { at, .. } => *at,
            Wish::Anew(why) => {
                joint = why.clone();
                Position::new(lines.at(kept), kept)
            }
        };
        let (feed, first) = loop {
            match self.stream(stream, at, &system)? {
                Begun::Yes(feed, first) => break (*feed, first),
                Begun::Removed if removed || joint != Joint::Seamless => {
                    return Err(PgError::lost("the server removes the log faster than it is read"));
                }
                Begun::Removed => {
                    removed = true;
                    joint = Joint::Gap { why: found.why() };
                    at = Position::new(lines.at(kept), kept);
                    stream = self.options.replicate(self.component, &sql, cancel)?;
                }
            }
        };
        if resume.is_some() && joint == Joint::Seamless && found != Found::There {
            warnings.push(format!("{}; nothing is missing", found.why()));
        }
        warnings.extend(watch::synchronous(&facts, &application_name(self.component)));
        let left = wish.left().filter(|_| joint == Joint::Seamless);
        let now = self.context.clock.wall();
        let branch = left.map(|(line, offset)| lines.branch(line, offset, now));
        let started = match (&branch, resume) {
            // First the switch, from where the journal is.
            (Some(_), Some(resume)) => resume.at.position,
            _ => at,
        };
        let seamless = resume.filter(|_| joint == Joint::Seamless);
        let complete = complete_up_to(seamless, &mut sql, at.offset)?.min(now);
        let mut queue = Queue::new(at, lines.mark(at.line), segment, complete);
        queue.follow(tail.filter(|tail| seamless.is_some() && tail.from.line == at.line));
        let upstream = facts.in_recovery.then(Upstream::default);
        warnings.extend(standby::warning(&mut sql, &facts, self.context.clock)?);
        let ended = matches!(first, Some(News::Ended));
        if let Some(News::Log(bytes, complete)) = first {
            queue.push(bytes, complete.filter(|_| upstream.is_none()));
        }
        let start = LogStart {
            at: LogPosition { lineage: facts.lineage(), position: started },
            joint,
            facts: self.facts(&facts, &lines, at.line),
            warnings,
            source_keeps: true,
        };
        let running = Running { sql, facts, feed, queue, upstream, first: branch, ended };
        Ok((running, start))
    }

    fn facts(&self, facts: &Facts, lines: &Lines, line: u32) -> LogFacts {
        let mut all = LogFacts::new();
        let mut put = |name: &str, value: serde_json::Value| all.insert(name.to_owned(), value);
        put("engine", "postgres".into());
        put("segment_size", facts.segment_size.into());
        put("server_version", facts.version.into());
        put("system_identifier", facts.system_identifier.to_string().into());
        put("slot", self.slot.into());
        let history = lines.history(line);
        if !history.is_empty() {
            put(HISTORY, String::from_utf8_lossy(&history).into());
            put(HISTORY_OF, line.into());
        }
        all
    }

    /// Our slot, made where it is missing or useless.
    fn slot(&self, sql: &mut Connection, stream: &mut Connection) -> Result<(Slot, Found)> {
        let began = self.context.clock.monotonic();
        let found = loop {
            let Some(slot) = Slot::read(sql, self.slot)? else { break Found::Missing };
            if let Some(pid) = slot.active {
                self.wait_for(pid, sql, began)?;
                continue;
            }
            if !slot.is_lost() {
                return Ok((slot, Found::There));
            }
            stream.drop_slot(self.slot)?;
            break Found::Lost;
        };
        stream.create_slot(self.slot, false)?;
        let slot = Slot::read(sql, self.slot)?;
        let slot = slot.ok_or_else(|| PgError::lost("the slot vanished as soon as it was made"))?;
        Ok((slot, found))
    }

    /// A process streams from our slot: one that we left behind is ended, another may just be dying.
    fn wait_for(&self, pid: u32, sql: &mut Connection, began: Duration) -> Result<()> {
        let clock = self.context.clock;
        if self.own == Some(pid) {
            sql.query(&format!("select pg_terminate_backend({pid})"))?;
        } else if clock.monotonic().saturating_sub(began) > LEFTOVER {
            let from = sql.value(&format!(
                "select coalesce(host(client_addr), 'this host') from pg_stat_activity where pid = {pid}"
            ))?;
            return Err(PgError::Busy {
                what: format!(
                    "another stream reads from the slot `{}` (process {pid} of the server, from {})",
                    self.slot,
                    from.as_deref().unwrap_or("an unknown host")
                ),
                hint: "stop the other one; if it is dead, the server notices after \
                    `wal_sender_timeout`"
                    .to_owned(),
            });
        }
        if self.context.cancel.is_cancelled() {
            return Err(PgError::Cancelled);
        }
        clock.sleep(Duration::from_millis(200));
        Ok(())
    }

    /// Asks for the log from `at` on, and makes sure that the server has it.
    fn stream(&self, mut stream: Connection, at: Position, system: &System) -> Result<Begun> {
        let interval = watch::interval(&mut stream)?;
        match stream.start_physical(self.slot, at.offset, at.line) {
            Ok(Started::Streaming) => {}
            Ok(Started::Ended(_)) => {
                return Err(PgError::protocol("a timeline ends before its end"));
            }
            Err(error) if error.code() == Some(REMOVED) => return Ok(Begun::Removed),
            Err(error) if error.code() == Some(IN_USE) => {
                return Err(PgError::Busy {
                    what: format!("another stream has just taken the slot `{}`", self.slot),
                    hint: "stop the other one".to_owned(),
                });
            }
            Err(error) => return Err(error),
        }
        let mut feed = Feed::new(stream, at.offset, interval);
        let clock = self.context.clock;
        let mut first = None;
        // The answer may come before the log, and the log before the answer.
        let came = feed.question(clock, &mut |news| first = Some(news));
        let missing = system.end > at.offset || system.timeline > at.line;
        let came = came.and_then(|_| {
            while missing && first.is_none() {
                match feed.take(Duration::from_millis(200), clock)? {
                    Some(news @ (News::Log(..) | News::Ended)) => first = Some(news),
                    Some(News::Alive) | None => feed.tell_if_due(clock.monotonic())?,
                }
            }
            Ok(())
        });
        match came {
            Ok(()) => Ok(Begun::Yes(Box::new(feed), first)),
            Err(error) if error.code() == Some(REMOVED) => Ok(Begun::Removed),
            Err(error) => Err(error),
        }
    }
}

/// The wish, if the server still has what the journal ends with. Where it has removed that, its names
/// must do.
fn compared(wish: Wish, tail: Option<&Tail>, stream: &mut Connection) -> Result<Wish> {
    if let (Wish::GoOn { left: None, .. }, Some(tail)) = (&wish, tail)
        && let Some(bytes) = stream.log_at(tail.from, tail.length)?
        && !tail.is(&bytes)
    {
        return Ok(Wish::Anew(join::other_log(tail.from)));
    }
    Ok(wish)
}

/// How the slot was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    There,
    Missing,
    Lost,
}

impl Found {
    fn why(self) -> String {
        match self {
            Found::There => "the slot was made anew, behind the journal's end",
            Found::Missing => "the slot was dropped, or the server is another one",
            Found::Lost => "the server gave up the slot (`max_slot_wal_keep_size`)",
        }
        .to_owned()
    }
}

/// Up to when all is in what the journal has, as far as that is known.
fn complete_up_to(resume: Option<&Resume>, sql: &mut Connection, at: u64) -> Result<Timestamp> {
    let told = resume.and_then(|resume| tail::told_complete(&resume.facts));
    match told.max(resume.and_then(|resume| resume.proven)) {
        Some(time) => Ok(time),
        None => watch::complete_before(sql, at),
    }
}

/// Asked without a stream: what a start would make.
pub(crate) fn would_make(
    options: &PostgresOptions,
    component: &str,
    name: &str,
) -> Result<Vec<String>> {
    let (mut sql, facts) = options.ask(component, &Cancel::default())?;
    facts.check_log()?;
    let at = sql.address().to_string();
    Ok(match Slot::read(&mut sql, name)? {
        None => vec![format!("the replication slot `{name}` of {at}")],
        Some(slot) if slot.is_lost() => {
            vec![format!("the replication slot `{name}` of {at}, anew: the old one is lost")]
        }
        Some(_) => Vec::new(),
    })
}
