//! A database server in memory with a log: what is written to it can be read from its log as long as
//! it keeps it. Its files are those of [`crate::bench::Live`]; a record of the log is one file's new
//! content.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::check::CheckResult;
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{
    EngineError, Joint, LogContext, LogError, LogEvent, LogFacts, LogHealth, LogRange, LogReader,
    LogSource, LogStart, RecoverTo, Recovered, Resume,
};
use lifeboat_vault::Clock;

use crate::bench::Live;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub at: Position,
    pub name: String,
    pub body: Vec<u8>,
}

/// A server's log.
#[derive(Debug, Clone, Default)]
pub struct Server {
    pub lineage: String,
    pub line: u32,
    pub end: u64,
    pub changes: Vec<Change>,
    /// What lies before is not kept any more.
    pub kept_from: u64,
    /// What it may let go of, by the stream's word.
    pub told: Option<Position>,
    /// It does not answer.
    pub down: bool,
    /// Sources that were made, joined, stopped.
    pub made: usize,
    pub joined: usize,
    pub stopped: usize,
    pub detached: usize,
    /// The stream dies (panics) after so many more calls.
    pub dies_after: Option<usize>,
    /// Calls of `wait`: nothing could be stored meanwhile.
    pub waited: usize,
    /// Written as soon as the stream asks for the next piece: one a call.
    pub to_come: Vec<(String, String)>,
    /// At the next question these happen to the log.
    pub happens: Vec<Happens>,
    /// Called whenever the stream asks for more.
    pub asked: usize,
    /// A stop request is made after so many questions.
    pub cancel_after: Option<usize>,
}

/// What can happen to a log while it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happens {
    /// A part is lost.
    Gap(String),
    /// It goes on on the next line.
    Branch,
    /// The connection breaks.
    Lost,
}

impl Server {
    pub fn new(lineage: &str) -> Server {
        Server { lineage: lineage.to_owned(), line: 1, ..Server::default() }
    }

    fn here(&self) -> Position {
        Position::new(self.line, self.end)
    }

    /// Writes a change; the caller changes the files.
    pub fn write(&mut self, name: &str, body: &str) {
        self.end += 10;
        let (name, body) = (name.to_owned(), body.as_bytes().to_vec());
        self.changes.push(Change { at: self.here(), name, body });
    }
}

pub struct FakeLog {
    pub live: Arc<Mutex<Live>>,
    pub component: String,
    pub cursor: Position,
    pub cancel: lifeboat_vault::Cancel,
}

fn encode(changes: &[Change]) -> Bytes {
    let lines: Vec<String> = changes
        .iter()
        .map(|c| format!("{}\t{}\t{}\n", c.at, c.name, String::from_utf8_lossy(&c.body)))
        .collect();
    Bytes::from(lines.concat())
}

fn decode(bytes: &[u8]) -> Vec<Change> {
    let text = std::str::from_utf8(bytes).expect("a range of the fake log is text");
    text.lines()
        .map(|line| {
            let mut parts = line.splitn(3, '\t');
            let mut part = || parts.next().expect("three parts");
            let at = part().parse().expect("a position");
            Change { at, name: part().to_owned(), body: part().as_bytes().to_vec() }
        })
        .collect()
}

fn lost(what: &str) -> LogError {
    LogError::Lost { what: what.to_owned(), source: None }
}

impl FakeLog {
    fn with<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        let mut live = self.live.lock().unwrap();
        let server = live.servers.get_mut(&self.component).expect("a server");
        if let Some(left) = server.dies_after.as_mut() {
            if *left == 0 {
                server.dies_after = None;
                drop(live);
                panic!("killed");
            }
            *left -= 1;
        }
        act(server)
    }
}

impl LogSource for FakeLog {
    fn would_make(&mut self, resume: Option<&Resume>) -> Result<Vec<String>, LogError> {
        Ok(match resume {
            Some(_) => Vec::new(),
            None => vec![format!("a slot for {}", self.component)],
        })
    }

    fn start(&mut self, resume: Option<&Resume>, _: &LogContext<'_>) -> Result<LogStart, LogError> {
        let start = self.with(|server| {
            if server.down {
                return Err(lost("the server does not answer"));
            }
            server.joined += 1;
            let (lineage, here) = (server.lineage.clone(), server.here());
            let (position, joint) = match resume {
                None => (here, Joint::NewLineage { why: "it is the first stream".to_owned() }),
                Some(resume) if resume.at.lineage != lineage => {
                    (here, Joint::NewLineage { why: "it is another server".to_owned() })
                }
                Some(resume) if resume.at.position.offset < server.kept_from => (
                    Position::new(server.line, server.kept_from),
                    Joint::Gap { why: "the slot was dropped".to_owned() },
                ),
                Some(resume) => (resume.at.position, Joint::Seamless),
            };
            Ok(LogStart {
                at: LogPosition { lineage, position },
                joint,
                facts: LogFacts::from([("engine".to_owned(), "fake".into())]),
                warnings: Vec::new(),
                source_keeps: true,
            })
        })?;
        self.cursor = start.at.position;
        Ok(start)
    }

    fn next(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<LogEvent, LogError> {
        let cursor = self.cursor;
        let time = context.clock.wall();
        let cancel = self.cancel.clone();
        let mut come = None;
        let event = self.with(|server| {
            server.asked += 1;
            if server.cancel_after.is_some_and(|after| server.asked >= after) {
                cancel.cancel();
            }
            if server.down {
                return Err(lost("the server went away"));
            }
            if !server.happens.is_empty() {
                return match server.happens.remove(0) {
                    Happens::Lost => Err(lost("the connection broke")),
                    Happens::Gap(why) => {
                        server.end += 1000;
                        let to = server.here();
                        server.kept_from = to.offset;
                        Ok(LogEvent::Gap { from: cursor, to, time, why })
                    }
                    Happens::Branch => {
                        let from = server.here();
                        server.line += 1;
                        let to = server.here();
                        let history = Bytes::from(format!("{} {from}\n", server.line));
                        Ok(LogEvent::Branch { from, to, time, history })
                    }
                };
            }
            if !server.to_come.is_empty() {
                let (name, body) = server.to_come.remove(0);
                server.write(&name, &body);
                come = Some((name, body));
            }
            let new: Vec<Change> =
                server.changes.iter().filter(|change| change.at > cursor).cloned().collect();
            match new.last() {
                None => Ok(LogEvent::Idle { at: cursor, time }),
                Some(last) => Ok(LogEvent::Range(LogRange {
                    from: cursor,
                    to: last.at,
                    time,
                    bytes: encode(&new),
                    facts: LogFacts::new(),
                })),
            }
        })?;
        if let Some((name, body)) = come {
            let mut live = self.live.lock().unwrap();
            let files = live.data.entry(self.component.clone()).or_default();
            files.insert(name, body.into_bytes());
        }
        match &event {
            LogEvent::Range(range) => self.cursor = range.to,
            LogEvent::Gap { to, .. } | LogEvent::Branch { to, .. } => self.cursor = *to,
            _ => {}
        }
        context.clock.sleep(wait);
        Ok(event)
    }

    fn durable(&mut self, to: Position) -> Result<(), LogError> {
        self.with(|server| {
            assert!(server.told.is_none_or(|told| told <= to), "it was told {to} after more");
            server.told = Some(to);
        });
        Ok(())
    }

    fn wait(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<(), LogError> {
        self.with(|server| server.waited += 1);
        context.clock.sleep(wait);
        Ok(())
    }

    fn health(&mut self) -> Result<LogHealth, LogError> {
        let cursor = self.cursor;
        Ok(self.with(|server| LogHealth {
            behind: Some(server.end.saturating_sub(cursor.offset)),
            room: Some(Duration::from_secs(3600)),
            warnings: Vec::new(),
        }))
    }

    fn stop(&mut self) -> Result<(), LogError> {
        self.with(|server| server.stopped += 1);
        Ok(())
    }

    fn detach(&mut self, dry: bool) -> Result<Vec<String>, LogError> {
        Ok(self.with(|server| {
            if !dry {
                server.detached += 1;
            }
            vec![format!("the slot of {}", self.component)]
        }))
    }
}

/// Replays a way onto the files of a copy.
pub fn recover(
    copy: &Path,
    captured: &BTreeMap<String, ()>,
    log: &dyn LogReader,
    to: &RecoverTo,
) -> Result<Recovered, EngineError> {
    let _ = captured;
    let mut reached = log.start().position;
    let mut complete = None;
    let failed = |what: String| EngineError::Failed { what, source: None };
    let until = |piece_time: jiff::Timestamp, at: Position| match to {
        RecoverTo::Time(time) => piece_time <= *time,
        RecoverTo::Position(place) => at <= *place,
        _ => true,
    };
    let mut found = !matches!(to, RecoverTo::Name(_));
    for piece in log.pieces() {
        if piece.bytes == 0 {
            if until(piece.time, piece.to) {
                complete = Some(piece.time);
            }
            continue;
        }
        if !until(piece.time, piece.from) || !until(piece.time, piece.to) {
            break;
        }
        for change in decode(&log.read(piece)?) {
            if change.at <= log.start().position {
                continue;
            }
            fs::write(copy.join(&change.name), &change.body).map_err(|e| failed(e.to_string()))?;
            reached = change.at;
            if *to == RecoverTo::Name(String::from_utf8_lossy(&change.body).into_owned()) {
                found = true;
            }
        }
        complete = Some(piece.time);
        if matches!(to, RecoverTo::Name(_)) && found {
            break;
        }
    }
    if !found {
        return Err(failed("there is no such restore point on the way".to_owned()));
    }
    let start = log.start();
    Ok(Recovered {
        position: Some(LogPosition { lineage: start.lineage, position: reached }),
        complete_up_to: complete,
        checks: vec![CheckResult::new("log position", Verdict::Pass, "reached", reached)],
        notes: vec![format!("replayed to {reached}")],
    })
}

/// Every source keeps this: what is written is delivered once, in order and without a hole; joined
/// again at any place that it delivered it goes on there; a quiet one says so.
pub fn contract(make: &dyn Fn() -> Box<dyn LogSource>, write: &dyn Fn(&str), clock: &dyn Clock) {
    let (monitor, cancel) = (lifeboat_vault::NoMonitor, lifeboat_vault::Cancel::default());
    let context = LogContext { clock, monitor: &monitor, cancel: &cancel };
    let wait = Duration::from_millis(500);
    let mut source = make();
    let start = source.start(None, &context).unwrap();
    assert!(matches!(start.joint, Joint::NewLineage { .. }), "the first one continues nothing");
    let mut at = start.at.clone();
    let mut ends = vec![at.clone()];
    for number in 0..4 {
        write(&format!("{number}"));
        loop {
            match source.next(wait, &context).unwrap() {
                LogEvent::Range(range) => {
                    assert_eq!(range.from, at.position, "ranges are contiguous");
                    assert!(range.to > range.from && !range.bytes.is_empty());
                    at.position = range.to;
                    ends.push(at.clone());
                }
                LogEvent::Idle { at: said, .. } => {
                    assert_eq!(said, at.position);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(ends.len() > 4, "each write was delivered");
    source.durable(ends[2].position).unwrap();
    source.stop().unwrap();
    // What was not acknowledged is delivered again, from exactly there.
    let resume = Resume { at: ends[2].clone(), facts: LogFacts::new(), proven: None };
    let mut again = make();
    let start = again.start(Some(&resume), &context).unwrap();
    assert_eq!((start.joint, start.at), (Joint::Seamless, ends[2].clone()));
    match again.next(wait, &context).unwrap() {
        LogEvent::Range(range) => assert_eq!(range.from, ends[2].position),
        other => panic!("{other:?}"),
    }
    again.stop().unwrap();
}
