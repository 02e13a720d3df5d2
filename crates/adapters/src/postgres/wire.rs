//! A connection to a server: messages, login, questions. Blocking, with a limit to every wait.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use lifeboat_vault::Cancel;
use postgres_protocol::message::frontend;

use super::auth;
use super::dsn::{Address, Dsn};
use super::error::{PgError, Result, ServerError};
use super::passfile;
use super::socket::Socket;

/// No message that we ask for is longer; PostgreSQL's own limit.
const LONGEST: usize = 1 << 30;
/// So many notices are kept for whom they concern.
const NOTICES: usize = 1000;
/// How often a wait looks whether it is still wanted.
const SLICE: Duration = Duration::from_millis(200);
/// Bytes asked of the socket at a time.
const AT_ONCE: usize = 256 << 10;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Questions in SQL.
    Sql,
    /// The replication protocol.
    Replication,
}

/// One message of a server.
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

/// Rows of text cells; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Rows of cells as the server sent them.
pub(crate) type RawRows = Vec<Vec<Option<Bytes>>>;

/// An open, authenticated connection.
pub struct Connection {
    socket: Socket,
    inbox: BytesMut,
    address: Address,
    parameters: BTreeMap<String, String>,
    pid: u32,
    cancel: Cancel,
    /// What the server said beside its answers.
    notices: Vec<ServerError>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Connection({}, pid {})", self.address, self.pid)
    }
}

/// How a connection introduces itself.
#[derive(Clone)]
pub struct Login<'a> {
    /// Where to, and as whom.
    pub dsn: &'a Dsn,
    /// `application_name`.
    pub name: &'a str,
    /// What for.
    pub purpose: Purpose,
    /// Database instead of the string's.
    pub database: Option<&'a str>,
    /// A file of passwords, where the string names none.
    pub passfile: Option<&'a std::path::Path>,
    /// Ends every wait.
    pub cancel: &'a Cancel,
}

impl Connection {
    /// Connects to the first address that answers.
    pub fn open(login: &Login<'_>) -> Result<Connection> {
        let mut failure = None;
        for address in &login.dsn.addresses {
            match Connection::open_at(login, address) {
                // Another host may know the role, have room, or not be starting up.
                Err(error @ (PgError::Lost { .. } | PgError::Unfit { .. })) => {
                    failure.get_or_insert(error);
                }
                decided => return decided,
            }
        }
        Err(failure.unwrap_or_else(|| PgError::lost("the connection string names no host")))
    }

    fn open_at(login: &Login<'_>, address: &Address) -> Result<Connection> {
        let mut connection = Connection {
            socket: Socket::open(address, login.dsn)?,
            inbox: BytesMut::with_capacity(AT_ONCE),
            address: address.clone(),
            parameters: BTreeMap::new(),
            pid: 0,
            cancel: login.cancel.clone(),
            notices: Vec::new(),
        };
        let dsn = login.dsn;
        let database = login.database.unwrap_or(&dsn.database);
        let mut words = vec![
            ("user", &dsn.user[..]),
            ("application_name", login.name),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
        ];
        match login.purpose {
            Purpose::Sql => words.push(("database", database)),
            Purpose::Replication => words.push(("replication", "true")),
        }
        words.extend(dsn.options.as_deref().map(|options| ("options", options)));
        connection.send_with(|buffer| frontend::startup_message(words, buffer))?;
        let as_database = match login.purpose {
            Purpose::Sql => database,
            Purpose::Replication => "replication",
        };
        let file = dsn.passfile.as_deref().or(login.passfile);
        let password =
            dsn.password.clone().or_else(|| passfile::look_up(file?, dsn, address, as_database));
        auth::log_in(&mut connection, &dsn.user, password.as_ref(), dsn.connect_timeout)
            .map_err(|error| auth::explain(error, dsn, address, login.purpose))?;
        Ok(connection)
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The process at the server's end.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A parameter that the server reported: `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub(crate) fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
    }

    /// Asks in SQL, or in the replication protocol's own words; the rows of the last answer.
    pub fn query(&mut self, sql: &str) -> Result<Rows> {
        Ok(self.query_all(sql)?.pop().unwrap_or_default())
    }

    /// The same for several statements, an answer each.
    pub fn query_all(&mut self, sql: &str) -> Result<Vec<Rows>> {
        let text =
            |cell: Option<Bytes>| cell.map(|cell| String::from_utf8(cell.to_vec())).transpose();
        let row = |row: Vec<Option<Bytes>>| row.into_iter().map(text).collect();
        let answers = self.query_raw(sql)?.into_iter();
        let read: std::result::Result<_, _> =
            answers.map(|rows| rows.into_iter().map(row).collect()).collect();
        read.map_err(|_| PgError::protocol("a cell is not UTF-8"))
    }

    /// The same with cells as they came.
    pub(crate) fn query_raw(&mut self, sql: &str) -> Result<Vec<RawRows>> {
        self.ask(sql)?;
        let (mut answers, mut failure) = (Vec::new(), None);
        loop {
            let frame = self.frame()?;
            match frame.tag {
                b'T' => answers.push(RawRows::new()),
                b'D' => match answers.last_mut() {
                    Some(rows) => rows.push(cells(frame.body)?),
                    None => return Err(PgError::protocol("a row before its description")),
                },
                b'C' | b'I' | b'V' => {}
                b'E' => failure = Some(server_error(frame.body)?),
                b'Z' => break,
                other => return Err(unexpected(other, "a statement")),
            }
        }
        match failure {
            Some(said) if said.code.starts_with("57P") => Err(PgError::Lost {
                what: "the server ended the connection".into(),
                source: Some(said.into()),
            }),
            Some(said) => Err(PgError::Refused { what: shorten(sql), said }),
            None => Ok(answers),
        }
    }

    /// The one cell of a one-row answer.
    pub fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let cell = self.query(sql)?.into_iter().next().and_then(|row| row.into_iter().next());
        Ok(cell.flatten())
    }

    /// Sends a statement; the answer is read by the caller.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<()> {
        self.send_with(|buffer| frontend::query(sql, buffer))
    }

    pub(crate) fn send_with(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<()> {
        let mut buffer = BytesMut::new();
        write(&mut buffer)
            .map_err(|_| PgError::unfit("a word for the server holds a zero byte", "change it"))?;
        let sent = self.socket.write_all(&buffer).and_then(|()| self.socket.flush());
        sent.map_err(|error| PgError::io("the connection to the server broke", error))
    }

    /// The next message, however long it takes; notices and parameters are taken care of.
    pub(crate) fn frame(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.frame_within(SLICE)? {
                return Ok(frame);
            }
        }
    }

    /// The next message, if one comes within `wait`.
    pub(crate) fn frame_within(&mut self, wait: Duration) -> Result<Option<Frame>> {
        let mut wait = wait;
        loop {
            while let Some(frame) = take_frame(&mut self.inbox)? {
                match frame.tag {
                    b'N' if self.notices.len() < NOTICES => {
                        self.notices.push(*server_error(frame.body)?)
                    }
                    b'N' | b'A' => {}
                    b'S' => self.note_parameter(frame.body)?,
                    _ => return Ok(Some(frame)),
                }
            }
            if self.cancel.is_cancelled() {
                return Err(PgError::Cancelled);
            }
            if !self.fill(wait)? {
                return Ok(None);
            }
            // The rest of a message that has begun comes without a wait of its own.
            wait = wait.max(Duration::from_millis(20));
        }
    }

    /// Reads what is there; false if nothing came within `wait`.
    fn fill(&mut self, wait: Duration) -> Result<bool> {
        let broke = |error| PgError::io("the connection to the server broke", error);
        self.socket.set_timeout(Some(wait)).map_err(broke)?;
        let before = self.inbox.len();
        self.inbox.resize(before + AT_ONCE, 0);
        let read = self.socket.read(&mut self.inbox[before..]);
        self.inbox.truncate(before + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => Err(PgError::lost("the server closed the connection")),
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(broke(error)),
            },
        }
    }

    /// What the server said beside its answers since the last time.
    pub(crate) fn notices(&mut self) -> Vec<ServerError> {
        std::mem::take(&mut self.notices)
    }

    /// True as long as nothing says that the server has ended an idle connection.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.frame_within(Duration::ZERO), Ok(None))
    }

    pub(crate) fn note_parameter(&mut self, mut body: Bytes) -> Result<()> {
        let (name, value) = (text(&mut body)?, text(&mut body)?);
        self.parameters.insert(name, value);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A polite end; a server that is gone needs none.
        let _ = self.socket.write_all(&[b'X', 0, 0, 0, 4]);
    }
}

fn take_frame(inbox: &mut BytesMut) -> Result<Option<Frame>> {
    if inbox.len() < 5 {
        return Ok(None);
    }
    let length = u32::from_be_bytes([inbox[1], inbox[2], inbox[3], inbox[4]]) as usize;
    if !(4..=LONGEST).contains(&length) {
        return Err(PgError::protocol("a message has an impossible length"));
    }
    if inbox.len() < length + 1 {
        return Ok(None);
    }
    let mut message = inbox.split_to(length + 1).freeze();
    let tag = message.get_u8();
    message.advance(4);
    Ok(Some(Frame { tag, body: message }))
}

/// Text up to its zero byte.
pub(crate) fn text(body: &mut Bytes) -> Result<String> {
    let end = body.iter().position(|byte| *byte == 0);
    let end = end.ok_or_else(|| PgError::protocol("a text has no end"))?;
    let text = String::from_utf8_lossy(&body.split_to(end)).into_owned();
    body.advance(1);
    Ok(text)
}

/// The cells of a row.
pub(crate) fn cells(mut body: Bytes) -> Result<Vec<Option<Bytes>>> {
    let short = || PgError::protocol("a row is cut off");
    let count = body.try_get_u16().map_err(|_| short())?;
    let mut cells = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = body.try_get_i32().map_err(|_| short())?;
        cells.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) if length > body.len() => return Err(short()),
            Ok(length) => Some(body.split_to(length)),
        });
    }
    Ok(cells)
}

/// The fields of an error message.
pub(crate) fn server_error(mut body: Bytes) -> Result<Box<ServerError>> {
    let mut said =
        ServerError { code: String::new(), message: String::new(), detail: None, hint: None };
    while body.first().is_some_and(|kind| *kind != 0) {
        let kind = body.get_u8();
        let field = text(&mut body)?;
        match kind {
            b'C' => said.code = field,
            b'M' => said.message = field,
            b'D' => said.detail = Some(field),
            b'H' => said.hint = Some(field),
            _ => {}
        }
    }
    if said.code.len() != 5 || !said.code.is_ascii() {
        "XX000".clone_into(&mut said.code);
    }
    Ok(Box::new(said))
}

pub(crate) fn unexpected(tag: u8, during: &str) -> PgError {
    PgError::protocol(&format!("message {:?} during {during}", char::from(tag)))
}

fn shorten(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(60).collect();
    if cut.len() < line.len() { format!("`{cut} …`") } else { format!("`{line}`") }
}
