//! A base backup over the replication protocol: the server's own, from anywhere.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use super::error::{PgError, Result};
use super::lsn;
use super::wire::{Connection, Frame, cells, server_error, text, unexpected};

/// From this version on all archives come in one stream, each announced.
const ANNOUNCED: u32 = 150_000;

/// A tablespace of the backup; the data directory itself has no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) oid: Option<u32>,
    pub(crate) location: String,
    /// The server's guess, bytes.
    pub(crate) size: u64,
}

/// A part of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A tar stream: the data directory, or a tablespace.
    Archive(Option<u32>),
    /// The manifest.
    Manifest,
}

/// A running base backup.
pub(crate) struct Base<'a> {
    connection: &'a mut Connection,
    announced: bool,
    pub(crate) archives: Vec<Archive>,
    /// Place and timeline where it began.
    pub(crate) start: (u64, u32),
    /// Archives that came, where they are not announced.
    seen: usize,
    next: Option<Part>,
    chunk: Bytes,
    /// The present part is over.
    over: bool,
    ended: bool,
    end: Option<(u64, u32)>,
    failure: Option<PgError>,
}

impl<'a> Base<'a> {
    /// Asks for one. The log from its start to its end comes with it.
    pub(crate) fn begin(connection: &'a mut Connection, label: &str, version: u32) -> Result<Self> {
        let label = label.replace('\'', "''");
        let announced = version >= ANNOUNCED;
        connection.ask(&if announced {
            format!(
                "BASE_BACKUP (LABEL '{label}', PROGRESS, CHECKPOINT 'fast', WAL, WAIT 0, MANIFEST \
                 'yes', MANIFEST_CHECKSUMS 'CRC32C')"
            )
        } else {
            format!(
                "BASE_BACKUP LABEL '{label}' PROGRESS FAST WAL NOWAIT MANIFEST 'yes' \
                 MANIFEST_CHECKSUMS 'CRC32C'"
            )
        })?;
        let rows = answer(connection)?;
        let start = place(&rows).ok_or_else(|| PgError::protocol("the backup has no start"))?;
        let archives = answer(connection)?.iter().map(archive).collect::<Option<_>>();
        let archives = archives.ok_or_else(|| PgError::protocol("a tablespace cannot be read"))?;
        let (chunk, next, failure) = (Bytes::new(), None, None);
        let (seen, over, ended, end) = (0, false, false, None);
        Ok(Base {
            connection,
            announced,
            archives,
            start,
            seen,
            next,
            chunk,
            over,
            ended,
            end,
            failure,
        })
    }

    /// The next part; its content is read until it ends.
    pub(crate) fn part(&mut self) -> Result<Option<Part>> {
        self.chunk.clear();
        loop {
            if let Some(part) = self.next.take() {
                self.over = false;
                return Ok(Some(part));
            }
            if self.ended {
                return Ok(None);
            }
            let frame = self.connection.frame()?;
            match (frame.tag, self.announced) {
                (b'H', true) | (b'C', _) => {}
                (b'H', false) => {
                    let part =
                        self.archives.get(self.seen).map(|archive| Part::Archive(archive.oid));
                    self.seen += 1;
                    self.next = Some(part.unwrap_or(Part::Manifest));
                }
                (b'T', false) => {
                    self.end = place(&rest_of_answer(self.connection)?);
                    self.ended = true;
                }
                (_, true) => {
                    self.take(frame)?;
                }
                (b'E', _) => return Err(refused(server_error(frame.body)?)),
                (other, _) => return Err(unexpected(other, "a base backup")),
            }
        }
    }

    /// One message of a stream; false where the part is over.
    fn take(&mut self, mut frame: Frame) -> Result<bool> {
        match frame.tag {
            b'd' if !self.announced => self.chunk = frame.body,
            b'd' => match frame.body.try_get_u8().unwrap_or(0) {
                b'd' => self.chunk = frame.body,
                b'p' => {}
                b'm' => {
                    self.next = Some(Part::Manifest);
                    return Ok(false);
                }
                b'n' => {
                    let name = text(&mut frame.body)?;
                    let oid = match name.strip_suffix(".tar") {
                        Some("base") => None,
                        Some(oid) => Some(
                            oid.parse()
                                .map_err(|_| PgError::protocol("an archive has an unknown name"))?,
                        ),
                        None => return Err(PgError::protocol("an archive has an unknown name")),
                    };
                    self.next = Some(Part::Archive(oid));
                    return Ok(false);
                }
                _ => return Err(PgError::protocol("an unknown part of a base backup")),
            },
            b'c' => {
                self.ended = self.announced;
                return Ok(false);
            }
            b'E' => return Err(refused(server_error(frame.body)?)),
            other => return Err(unexpected(other, "a base backup")),
        }
        Ok(true)
    }

    /// Why reading failed, instead of what was made of it on the way.
    pub(crate) fn failure(&mut self) -> Option<PgError> {
        self.failure.take()
    }

    /// The end of it: place and timeline. `Err` of a bad page comes after everything else.
    pub(crate) fn finish(mut self) -> Result<((u64, u32), Option<PgError>)> {
        let mut bad = None;
        loop {
            let frame = self.connection.frame()?;
            match frame.tag {
                b'T' => self.end = place(&rest_of_answer(self.connection)?),
                b'C' => {}
                // Data corrupted: said when all has been sent.
                b'E' => match (server_error(frame.body)?, self.end) {
                    (said, Some(_)) if said.code == "XX001" => bad = Some(refused(said)),
                    (said, _) => return Err(refused(said)),
                },
                b'Z' => break,
                other => return Err(unexpected(other, "the end of a base backup")),
            }
        }
        let end = self.end.ok_or_else(|| PgError::protocol("the backup has no end"))?;
        Ok((end, bad))
    }
}

impl Read for Base<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if self.over {
                return Ok(0);
            }
            let taken = self.connection.frame().and_then(|frame| self.take(frame));
            match taken {
                Ok(true) => {}
                Ok(false) => self.over = true,
                Err(error) => {
                    let said = io::Error::other(error.to_string());
                    self.failure = Some(error);
                    return Err(said);
                }
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

fn refused(said: Box<super::error::ServerError>) -> PgError {
    if said.code == "55000" && said.message.contains("promoted") {
        return PgError::Unfit {
            what: "the standby was promoted while its copy was taken".to_owned(),
            hint: "start the backup again".to_owned(),
            said: Some(said),
        };
    }
    PgError::Refused { what: "a base backup".to_owned(), said }
}

type Row = Vec<Option<Bytes>>;

/// Reads one result with its rows.
fn answer(connection: &mut Connection) -> Result<Vec<Row>> {
    loop {
        let frame = connection.frame()?;
        match frame.tag {
            b'T' => return rest_of_answer(connection),
            b'E' => return Err(refused(server_error(frame.body)?)),
            b'C' => {}
            other => return Err(unexpected(other, "the start of a base backup")),
        }
    }
}

fn rest_of_answer(connection: &mut Connection) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    loop {
        let frame = connection.frame()?;
        match frame.tag {
            b'D' => rows.push(cells(frame.body)?),
            b'C' => return Ok(rows),
            b'E' => return Err(refused(server_error(frame.body)?)),
            other => return Err(unexpected(other, "an answer")),
        }
    }
}

fn cell(row: &Row, at: usize) -> Option<String> {
    String::from_utf8(row.get(at)?.as_ref()?.to_vec()).ok()
}

fn place(rows: &[Row]) -> Option<(u64, u32)> {
    let row = rows.first()?;
    Some((lsn::parse(&cell(row, 0)?)?, cell(row, 1)?.parse().ok()?))
}

fn archive(row: &Row) -> Option<Archive> {
    let oid = match cell(row, 0) {
        Some(oid) => Some(oid.parse().ok()?),
        None => None,
    };
    let size = cell(row, 2).and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
    Some(Archive { oid, location: cell(row, 1).unwrap_or_default(), size: size << 10 })
}
