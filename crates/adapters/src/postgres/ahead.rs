//! Files read in pieces by several threads, given away in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lifeboat_vault::Clock;

use super::listing::Found;
use super::page::{self, Look, PAGE, PAGES_A_FILE};
use super::tree::{Relation, is_relation};

/// Bytes of a piece: whole pages.
const PIECE: u64 = 1 << 20;
/// Pieces that may wait to be given away.
const WAITING: usize = 32;
/// How long a page that looks torn may take to be written.
const TORN: std::time::Duration = std::time::Duration::from_millis(50);

/// A piece of a file.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Nothing of the file follows.
    last: bool,
    /// The file is not there any more.
    gone: bool,
    /// Pages with a wrong checksum.
    bad: Vec<u32>,
}

#[derive(Default)]
struct State {
    /// What is read next: file, place in it, number of the piece.
    next: (usize, u64, usize),
    /// What is given away next.
    wanted: usize,
    ready: BTreeMap<usize, io::Result<Piece>>,
    stopped: bool,
}

/// Files on their way.
pub(crate) struct Ahead<'a> {
    files: &'a [Found],
    /// Where the copy began, if pages are judged.
    judged: Option<u64>,
    clock: &'a dyn Clock,
    state: Mutex<State>,
    changed: Condvar,
}

impl<'a> Ahead<'a> {
    pub(crate) fn new(files: &'a [Found], judged: Option<u64>, clock: &'a dyn Clock) -> Ahead<'a> {
        Ahead { files, judged, clock, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked takes the copy down with it when the threads are joined.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the readers.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The work of one reader, until all is read or nobody wants more.
    pub(crate) fn work(&self) {
        loop {
            let mut state = self.lock();
            while !state.stopped && state.next.2 >= state.wanted + WAITING {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let (file, offset, number) = state.next;
            let Some(found) = self.files.get(file).filter(|_| !state.stopped) else { return };
            let last = offset + PIECE >= found.size;
            state.next =
                if last { (file + 1, 0, number + 1) } else { (file, offset + PIECE, number + 1) };
            drop(state);
            let piece = self.read(found, offset, last);
            self.lock().ready.insert(number, piece);
            self.changed.notify_all();
        }
    }

    fn read(&self, found: &Found, offset: u64, last: bool) -> io::Result<Piece> {
        let file = match File::open(&found.source) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Piece { last, gone: true, ..Piece::default() });
            }
            Err(error) => return Err(error),
        };
        let length = PIECE.min(found.size - offset) as usize;
        let mut bytes = vec![0; length];
        let read = read_at(&file, &mut bytes, offset)?;
        bytes.truncate(read);
        let mut bad = Vec::new();
        if let (Some(start), true) = (self.judged, is_relation(&found.tree)) {
            let name = found.tree.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let segment = Relation::read(name).map_or(0, |relation| relation.segment);
            let first = segment.wrapping_mul(PAGES_A_FILE) + (offset / PAGE as u64) as u32;
            for (at, page) in bytes.chunks_exact_mut(PAGE).enumerate() {
                let number = first.wrapping_add(at as u32);
                let place = offset + (at * PAGE) as u64;
                if page::look(page, number, start) == Look::Bad
                    && !self.again(&file, page, place, number, start)?
                {
                    bad.push(number);
                }
            }
        }
        Ok(Piece { bytes, last, gone: false, bad })
    }

    /// A page may have been written while it was read: it is read again, twice.
    fn again(
        &self,
        file: &File,
        page: &mut [u8],
        place: u64,
        number: u32,
        start: u64,
    ) -> io::Result<bool> {
        for _ in 0..2 {
            self.clock.sleep(TORN);
            let mut second = vec![0; page.len()];
            if read_at(file, &mut second, place)? < page.len() {
                // Cut off since: replay does the same.
                return Ok(true);
            }
            page.copy_from_slice(&second);
            if page::look(page, number, start) == Look::Good {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next(&self) -> io::Result<Piece> {
        let mut state = self.lock();
        loop {
            let wanted = state.wanted;
            if let Some(piece) = state.ready.remove(&wanted) {
                state.wanted += 1;
                self.changed.notify_all();
                return piece;
            }
            if state.stopped {
                return Err(io::Error::other("reading was stopped"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next file; `None` if it is not there any more.
    pub(crate) fn file(&self) -> io::Result<Option<Content<'_>>> {
        let piece = self.next()?;
        if piece.gone {
            let mut last = piece.last;
            while !last {
                last = self.next()?.last;
            }
            return Ok(None);
        }
        Ok(Some(Content { ahead: self, piece, at: 0, size: 0, crc: 0, bad: Vec::new() }))
    }
}

/// The content of a file, in order.
pub(crate) struct Content<'a> {
    ahead: &'a Ahead<'a>,
    piece: Piece,
    at: usize,
    /// Bytes given away, and their CRC-32C.
    pub(crate) size: u64,
    pub(crate) crc: u32,
    /// Pages with a wrong checksum.
    pub(crate) bad: Vec<u32>,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.bytes.len() {
            self.bad.append(&mut self.piece.bad);
            if self.piece.last {
                return Ok(0);
            }
            (self.piece, self.at) = (self.ahead.next()?, 0);
        }
        let length = buffer.len().min(self.piece.bytes.len() - self.at);
        let part = &self.piece.bytes[self.at..self.at + length];
        buffer[..length].copy_from_slice(part);
        self.crc = crc32c::crc32c_append(self.crc, part);
        self.size += length as u64;
        self.at += length;
        Ok(length)
    }
}

/// Reads as much as there is.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read_at(&mut buffer[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
