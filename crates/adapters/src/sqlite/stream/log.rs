//! [`LogSource`] of a SQLite database.

use std::io;
use std::path::Path;
use std::time::Duration;

use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::ports::{
    Joint, LogContext, LogError, LogEvent, LogFacts, LogHealth, LogSource, LogStart, Resume,
};
use rusqlite::{Connection, OpenFlags};

use super::failure::{self, Failure};
use super::follow::Beacon;
use super::map::Map;
use super::session::{Mode, Session, open_mode};
use super::{SqliteLog, facts};
use crate::sqlite::open::{self, Live, beside};

/// The first version of SQLite without the bug that loses commits where two connections write and
/// copy the log at once.
const SOUND: u32 = 3_051_003;
/// Stands in the state where the database had no log before it was streamed.
const TIDY: &str = "tidy";

impl LogSource for SqliteLog {
    fn would_make(&mut self, _: Option<&Resume>) -> Result<Vec<String>, LogError> {
        let live =
            open::examine(&self.options.path).map_err(|error| failure::capture(error, false))?;
        let name = live.named.display();
        Ok(vec![
            format!(
                "hold a read transaction on {name} while the stream runs, and copy its write-ahead log \
                 into it from time to time; write no row and no schema"
            ),
            format!("keep 16 bytes a page of it in {}", self.folder.display()),
        ])
    }

    fn start(
        &mut self,
        resume: Option<&Resume>,
        context: &LogContext<'_>,
    ) -> Result<LogStart, LogError> {
        self.session = None;
        let state = |error| failure::state(&self.folder, error);
        let beacon = Beacon::light(&self.folder, context.clock).map_err(state)?;
        let mut beacon = beacon.ok_or_else(|| LogError::Taken {
            what: format!("{} is being streamed by another process", self.options.path.display()),
            hint: "let that one do it, or end it first".to_owned(),
        })?;
        beacon.doubt().map_err(state)?;
        let streamed = resume.is_some();
        let open = |error| failure::capture(error, streamed);
        let live = open::examine(&self.options.path).map_err(open)?;
        if !beside(&live.real, "-wal").exists() {
            std::fs::write(self.folder.join(TIDY), b"").map_err(state)?;
        }
        let mode = open_mode(&live, &self.options, context).map_err(open)?;
        let known = known_map(&self.folder, resume).map_err(state)?;
        let (map, why) = match known {
            Ok(map) => (map, None),
            Err(why) => {
                let lineage = random_lineage().map_err(state)?;
                (Map::create(&self.folder, lineage).map_err(state)?, Some(why))
            }
        };
        let session = (live.clone(), mode);
        let mut session = Session::new(self.options.clone(), session, (map, beacon), self.limits);
        self.begin(&mut session, resume, why, context)
            .map_err(|error| error.tell(&live))
            .inspect(|_| self.session = Some(session))
    }

    fn next(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<LogEvent, LogError> {
        let session = self.session.as_mut().ok_or_else(not_started)?;
        let outcome = session.next(wait, context);
        if outcome.is_err() {
            // Whatever was half done, the map on disk and the database tell how to go on.
            let failed = self.session.take();
            let live = failed.map(|session| session.live);
            return outcome
                .map_err(|error| live.map_or_else(not_started, |live| error.tell(&live)));
        }
        outcome.map_err(|_| not_started())
    }

    fn durable(&mut self, to: Position) -> Result<(), LogError> {
        let folder = self.folder.clone();
        let session = self.session.as_mut().ok_or_else(not_started)?;
        session.durable(to.offset).map_err(|error| failure::state(&folder, error))
    }

    fn wait(&mut self, wait: Duration, context: &LogContext<'_>) -> Result<(), LogError> {
        context.clock.sleep(wait);
        Ok(())
    }

    fn health(&mut self) -> Result<LogHealth, LogError> {
        let session = self.session.as_ref().ok_or_else(not_started)?;
        let mut warnings = Vec::new();
        let behind = match &session.mode {
            Mode::Wal(tail) => {
                if session.room.read {
                    warnings.push(format!(
                        "a long transaction of another process keeps the write-ahead log from starting \
                         over: {} MiB",
                        tail.in_use() >> 20
                    ));
                }
                Some(tail.behind())
            }
            Mode::Rollback { .. } => None,
        };
        Ok(LogHealth { behind, room: None, warnings })
    }

    fn stop(&mut self) -> Result<(), LogError> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        // A batch that was not shipped to its end is none.
        let kept = session.map.abandon();
        kept.map_err(|error| failure::state(&self.folder, error))
    }

    fn detach(&mut self, dry: bool) -> Result<Vec<String>, LogError> {
        if !dry {
            self.stop()?;
        }
        let Ok(live) = open::examine(&self.options.path) else { return Ok(Vec::new()) };
        let log = beside(&live.real, "-wal");
        let ours = self.folder.join(TIDY);
        if !ours.exists() || !log.exists() {
            return Ok(Vec::new());
        }
        if !dry {
            tidy(&live).map_err(|error| Failure::Sqlite(error).tell(&live))?;
            std::fs::remove_file(ours).map_err(|error| failure::state(&self.folder, error))?;
        }
        Ok(if dry || !log.exists() {
            vec![format!(
                "{}: copied into the database and removed, as its last user does, if nobody has it open",
                log.display()
            )]
        } else {
            Vec::new()
        })
    }
}

impl SqliteLog {
    fn begin(
        &self,
        session: &mut Session,
        resume: Option<&Resume>,
        why: Option<String>,
        context: &LogContext<'_>,
    ) -> Result<LogStart, Failure> {
        let joint = match why {
            Some(why) => {
                session.survey(context)?;
                Joint::NewLineage { why }
            }
            None => {
                session.doubt = Some("the stream begins".to_owned());
                Joint::Seamless
            }
        };
        if let (Joint::Seamless, Some(resume)) = (&joint, resume) {
            session.lineage.clone_from(&resume.at.lineage);
        }
        let at = LogPosition { lineage: session.lineage.clone(), position: session.at() };
        session.beacon.durable(at.clone())?;
        let writer = match &session.mode {
            Mode::Wal(tail) => writer_version(tail.pins.held()),
            Mode::Rollback { connection, .. } => writer_version(connection),
        };
        let wal = matches!(session.mode, Mode::Wal(_));
        let mut warnings = Vec::new();
        if wal {
            warnings.extend(writer.and_then(old_writer));
        } else {
            warnings.push(format!(
                "{} has no write-ahead log: it is read whenever it was written to, and a stream is as \
                 old as that takes (`PRAGMA journal_mode=WAL` mends that)",
                session.live.named.display()
            ));
        }
        let state = session.map.state();
        let facts = LogFacts::from([
            ("engine".to_owned(), "sqlite".into()),
            ("payload".to_owned(), facts::PAYLOAD.into()),
            ("page_size".to_owned(), state.extent.page_size.into()),
            ("page_count".to_owned(), state.extent.page_count.into()),
            ("after".to_owned(), state.sum.to_string().into()),
            ("journal_mode".to_owned(), if wal { "wal" } else { "rollback" }.into()),
            ("sqlite".to_owned(), rusqlite::version().into()),
            ("writer".to_owned(), writer.unwrap_or(0).into()),
        ]);
        Ok(LogStart { at, joint, facts, warnings, source_keeps: false })
    }
}

/// The page map at the journal's end, or why there is none.
fn known_map(folder: &Path, resume: Option<&Resume>) -> io::Result<Result<Map, String>> {
    let Some(resume) = resume else {
        return Ok(Err("the database was not streamed before".to_owned()));
    };
    // The journal puts a number behind the lineage of a chain that it had to begin anew.
    let lineage = resume.at.lineage.split('+').next().unwrap_or_default();
    let (txid, end) = (resume.at.position.offset, facts::end(&resume.facts));
    Map::load(folder, lineage, txid, end)
}

/// Sixteen hexadecimal digits.
fn random_lineage() -> io::Result<String> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(hex::encode(bytes))
}

/// The SQLite version that last wrote the database's first page, as 3051003 for 3.51.3: bytes 96 to
/// 99 of the header.
fn writer_version(connection: &Connection) -> Option<u32> {
    let sql = "SELECT substr(data, 97, 4) FROM sqlite_dbpage('main') WHERE pgno = 1";
    let bytes: Vec<u8> = connection.query_row(sql, [], |row| row.get(0)).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn old_writer(version: u32) -> Option<String> {
    if version == 0 || version >= SOUND {
        return None;
    }
    let (major, minor, patch) = (version / 1_000_000, version / 1000 % 1000, version % 1000);
    Some(format!(
        "the application writes with SQLite {major}.{minor}.{patch}: before 3.51.3, two connections that \
         write and copy the log at the same moment may lose commits; bring it up to date"
    ))
}

/// Opens the database as any application does, and leaves it as its last user.
fn tidy(live: &Live) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&live.real, flags)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

fn not_started() -> LogError {
    LogError::Lost { what: "the stream has to be started again".to_owned(), source: None }
}
