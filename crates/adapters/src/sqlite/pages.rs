//! The pages of a database as a byte stream, exactly as the source has them.
//!
//! Read through SQLite's `sqlite_dbpage` table inside a read transaction, which gives every page as
//! the transaction sees it, from the file or from the `-wal`, without touching a byte of the
//! header. The page that holds SQLite's locks (at 1 GiB) comes as zeros, as it is in the file.

use std::io::{self, Read};

use rusqlite::{CachedStatement, Connection, Rows};

/// All pages in one go, inside one transaction that somebody else holds.
pub(super) struct Snapshot<'s, 'g> {
    rows: Rows<'s>,
    page_size: usize,
    left: u32,
    rest: Vec<u8>,
    given: usize,
    /// Asked before every page; false ends the stream early.
    go_on: &'g mut dyn FnMut() -> bool,
    /// The stream was ended before its last page.
    pub cut_short: bool,
    /// Why SQLite stopped, if it did.
    pub failure: Option<rusqlite::Error>,
}

/// The statement that [`Snapshot`] runs.
pub(super) const ALL_PAGES: &str = "SELECT data FROM sqlite_dbpage('main')";
const ONE_PAGE: &str = "SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1";

impl<'s, 'g> Snapshot<'s, 'g> {
    pub fn new(
        rows: Rows<'s>,
        page_size: u32,
        page_count: u32,
        go_on: &'g mut dyn FnMut() -> bool,
    ) -> Self {
        Snapshot {
            rows,
            page_size: page_size as usize,
            left: page_count,
            rest: Vec::with_capacity(page_size as usize),
            given: 0,
            go_on,
            cut_short: false,
            failure: None,
        }
    }

    /// True once every byte was handed out.
    pub fn is_finished(&self) -> bool {
        self.left == 0 && self.given == self.rest.len()
    }

    /// The next page into `out` if it has room, else into `rest`; the bytes put into `out`.
    fn page(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let data = match self.rows.next() {
            Ok(Some(row)) => row.get_ref(0).and_then(|cell| Ok(cell.as_blob()?)),
            Ok(None) => return Err(wrong("fewer pages than its header says")),
            Err(error) => Err(error),
        };
        let data = match data {
            Ok(data) => data,
            Err(error) => {
                self.failure = Some(error);
                return Err(wrong("a page that cannot be read"));
            }
        };
        if data.len() != self.page_size {
            return Err(wrong("a page of another size"));
        }
        self.left -= 1;
        if let Some(room) = out.get_mut(..self.page_size) {
            room.copy_from_slice(data);
            return Ok(self.page_size);
        }
        let now = out.len();
        out.copy_from_slice(&data[..now]);
        self.rest.clear();
        self.rest.extend_from_slice(&data[now..]);
        self.given = 0;
        Ok(now)
    }
}

impl Read for Snapshot<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut done = (self.rest.len() - self.given).min(out.len());
        out[..done].copy_from_slice(&self.rest[self.given..self.given + done]);
        self.given += done;
        while done < out.len() && self.left > 0 && !self.cut_short {
            if !(self.go_on)() {
                self.cut_short = true;
                break;
            }
            done += self.page(&mut out[done..])?;
        }
        Ok(done)
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(format!("the database has {what}"))
}

/// Appends pages from `first` on to `out`, inside the connection's present transaction, until
/// `last` is read, `out` holds `limit` bytes or `pause` says so; returns the next page's number.
pub(super) fn batch(
    connection: &Connection,
    (first, last): (u32, u32),
    limit: usize,
    out: &mut Vec<u8>,
    pause: &mut dyn FnMut() -> bool,
) -> rusqlite::Result<u32> {
    let mut statement = connection.prepare_cached(ONE_PAGE)?;
    let mut page = first;
    while page <= last && out.len() < limit {
        append(&mut statement, page, out)?;
        page += 1;
        if page % 64 == 0 && pause() {
            break;
        }
    }
    Ok(page)
}

fn append(
    statement: &mut CachedStatement<'_>,
    page: u32,
    out: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let mut rows = statement.query([page])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    out.extend_from_slice(row.get_ref(0)?.as_blob()?);
    Ok(())
}
