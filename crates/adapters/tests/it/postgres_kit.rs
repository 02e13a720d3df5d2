//! What the tests of PostgreSQL's log share: a journal in memory that judges as it writes.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_adapters::SystemClock;
use lifeboat_adapters::postgres::{Dsn, PostgresLog, PostgresOptions, lsn};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::ports::{
    Joint, LogContext, LogError, LogEvent, LogSource, LogStart, Resume,
};
use lifeboat_testkit::postgres::Server;
use lifeboat_vault::{Cancel, Clock, NoMonitor};

/// A stream with what it has delivered.
pub struct Tape {
    pub log: PostgresLog,
    pub clock: SystemClock,
    pub cancel: Cancel,
    /// Lines of log, in order: where each begins, and its bytes.
    pub lines: Vec<(Position, Vec<u8>)>,
    pub end: Option<Resume>,
    /// Up to when the last record said to be complete.
    pub complete: Timestamp,
    pub events: Vec<LogEvent>,
}

pub fn options(server: &Server) -> PostgresOptions {
    PostgresOptions::new(Dsn::parse(&server.dsn()).unwrap(), "Test")
}

impl Tape {
    pub fn new(server: &Server) -> Tape {
        Tape {
            log: PostgresLog::new("orders", options(server)),
            clock: SystemClock::new(),
            cancel: Cancel::default(),
            lines: Vec::new(),
            end: None,
            complete: Timestamp::UNIX_EPOCH,
            events: Vec::new(),
        }
    }

    /// The same journal, read from another server.
    pub fn follow(&mut self, server: &Server) {
        self.log = PostgresLog::new("orders", options(server));
    }

    pub fn start(&mut self) -> Result<LogStart, LogError> {
        let context = LogContext { clock: &self.clock, monitor: &NoMonitor, cancel: &self.cancel };
        let start = self.log.start(self.end.as_ref(), &context)?;
        let at = start.at.clone();
        match &start.joint {
            Joint::Seamless => assert_eq!(Some(&at), self.end.as_ref().map(|end| &end.at)),
            Joint::Gap { .. } | Joint::NewLineage { .. } => {
                self.lines.push((at.position, Vec::new()));
                self.complete = Timestamp::UNIX_EPOCH;
            }
        }
        let same = matches!(start.joint, Joint::Seamless);
        let before = self.end.take();
        let proven = before.as_ref().filter(|_| same).and_then(|end| end.proven);
        let facts = before.map(|end| end.facts).unwrap_or_default();
        self.end = Some(Resume { at, facts, proven });
        Ok(start)
    }

    /// Tries until the server is there again.
    pub fn start_again(&mut self) -> LogStart {
        for _ in 0..200 {
            match self.start() {
                Ok(start) => return start,
                Err(LogError::Lost { .. }) => self.clock.sleep(Duration::from_millis(50)),
                Err(other) => panic!("{other:?}"),
            }
        }
        panic!("the server does not come back")
    }

    /// The next event, judged and written. `durable` tells the source that it is.
    pub fn step(&mut self, wait: u64, durable: bool) -> Result<LogEvent, LogError> {
        let context = LogContext { clock: &self.clock, monitor: &NoMonitor, cancel: &self.cancel };
        let event = self.log.next(Duration::from_millis(wait), &context)?;
        let end = self.end.as_mut().unwrap();
        match &event {
            LogEvent::Range(range) => {
                assert_eq!(range.from, end.at.position, "no hole and no overlap");
                assert_eq!(range.to.offset - range.from.offset, range.bytes.len() as u64);
                assert!(range.time <= self.clock.wall() && range.time >= self.complete);
                (end.at.position, end.facts, self.complete) =
                    (range.to, range.facts.clone(), range.time);
                end.proven = Some(range.time);
                self.lines.last_mut().unwrap().1.extend_from_slice(&range.bytes);
                if durable {
                    self.log.durable(range.to)?;
                }
            }
            LogEvent::Idle { at, time } => {
                assert_eq!(*at, end.at.position);
                assert!(*time >= self.complete);
                self.complete = *time;
                end.proven = Some(*time);
            }
            LogEvent::Branch { from, to, history, .. } => {
                assert_eq!(from.line, end.at.position.line);
                assert!(from.offset <= end.at.position.offset && to.line > from.line);
                assert!(!history.is_empty());
                end.at.position = *to;
                self.lines.push((*to, Vec::new()));
            }
            LogEvent::Gap { .. } | LogEvent::Notice(_) => panic!("{event:?}"),
        }
        self.events.push(event.clone());
        Ok(event)
    }

    /// Takes all that the server has; true once it said that there is no more.
    pub fn drain(&mut self) {
        while !matches!(self.step(50, true).unwrap(), LogEvent::Idle { .. }) {}
    }

    pub fn at(&self) -> LogPosition {
        self.end.clone().unwrap().at
    }

    /// Compares a line with the server's own files; returns how many bytes were compared.
    pub fn compare(&self, line: usize, server: &Server, segment: u64) -> usize {
        let (from, bytes) = &self.lines[line];
        let (mut offset, mut rest, mut same) = (from.offset, &bytes[..], 0);
        while !rest.is_empty() {
            let inside = offset % segment;
            let length = rest.len().min((segment - inside) as usize);
            let name = lsn::segment_name(from.line, offset, segment);
            if let Ok(file) = std::fs::read(server.data().join("pg_wal").join(&name)) {
                let file = &file[inside as usize..][..length];
                assert!(file == &rest[..length], "{name} has other content");
                same += length;
            }
            (offset, rest) = (offset + length as u64, &rest[length..]);
        }
        same
    }
}

/// Waits until something of the server's is so.
pub fn until(server: &Server, sql: &str) {
    let clock = SystemClock::new();
    for _ in 0..600 {
        if server.psql(sql) == "t" {
            return;
        }
        clock.sleep(Duration::from_millis(50));
    }
    panic!("{sql}: never so\n{}", server.log());
}

/// A place in the log that the server tells.
pub fn place(server: &Server, sql: &str) -> u64 {
    lsn::parse(&server.psql(&format!("select {sql}"))).unwrap()
}
