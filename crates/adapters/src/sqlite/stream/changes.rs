//! The log of a page map: which hashes each batch replaced by which. With it a map that was cut off
//! in a change, or that is a batch ahead of the journal, is brought to where the journal ends.
//!
//! `P`, a count (u32), and as many entries (page u32, hash before u128, hash after u128); then, once
//! all entries of a batch stand there, `E`, its number (u64), page size and count before and after
//! (u32 each), and the database's checksum after it (u128). All little-endian. What follows the
//! last whole batch is one that was broken off, and counts for nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::sum::Sum;

const ENTRY: usize = 36;
const CHUNK: usize = 5;
const END: usize = 41;
/// Entries that are written at once.
const TOGETHER: usize = 8192;

/// A page of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub page: u32,
    pub old: Sum,
    pub new: Sum,
}

/// Size of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub page_count: u32,
}

/// A whole batch in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    start: u64,
    end: u64,
    pub txid: u64,
    pub before: Extent,
    pub after: Extent,
    pub sum: Sum,
}

/// The log, and what is on its way into it.
pub(super) struct Changes {
    file: File,
    /// Up to where whole batches stand.
    length: u64,
    /// Up to where chunks of the present batch stand.
    written: u64,
    pending: Vec<Entry>,
}

impl Changes {
    /// The log in `file`, and its whole batches.
    pub fn open(file: File) -> io::Result<(Changes, Vec<Batch>)> {
        let batches = batches(&file)?;
        let length = batches.last().map_or(0, |batch| batch.end);
        file.set_len(length)?;
        Ok((Changes { file, length, written: length, pending: Vec::new() }, batches))
    }

    /// Bytes of the log.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// One more page of the present batch.
    pub fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.pending.push(entry);
        if self.pending.len() >= TOGETHER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(CHUNK + self.pending.len() * ENTRY);
        bytes.push(b'P');
        bytes.extend((self.pending.len() as u32).to_le_bytes());
        for entry in self.pending.drain(..) {
            bytes.extend(entry.page.to_le_bytes());
            bytes.extend(entry.old.0.to_le_bytes());
            bytes.extend(entry.new.0.to_le_bytes());
        }
        self.file.write_all_at(&bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Ends the present batch: it is on stable storage when this returns.
    pub fn end(&mut self, txid: u64, extents: (Extent, Extent), sum: Sum) -> io::Result<Batch> {
        self.flush()?;
        let (before, after) = extents;
        let mut bytes = vec![b'E'];
        bytes.extend(txid.to_le_bytes());
        for number in [before.page_size, before.page_count, after.page_size, after.page_count] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(sum.0.to_le_bytes());
        self.file.write_all_at(&bytes, self.written)?;
        self.file.sync_data()?;
        let start = self.length;
        self.written += bytes.len() as u64;
        self.length = self.written;
        Ok(Batch { start, end: self.length, txid, before, after, sum })
    }

    /// Forgets the present batch.
    pub fn abandon(&mut self) -> io::Result<()> {
        self.pending.clear();
        self.written = self.length;
        self.file.set_len(self.length)
    }

    /// Forgets everything.
    pub fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        self.abandon()
    }

    /// Gives all entries of a batch, each page once.
    pub fn entries(
        &self,
        batch: &Batch,
        take: &mut dyn FnMut(Entry) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = batch.start;
        while let Some(count) = chunk(&self.file, at)? {
            let mut bytes = vec![0; count * ENTRY];
            self.file.read_exact_at(&mut bytes, at + CHUNK as u64)?;
            for entry in bytes.chunks_exact(ENTRY) {
                let (old, new) = (Sum(long(&entry[4..])), Sum(long(&entry[20..])));
                take(Entry { page: number(entry), old, new })?;
            }
            at += (CHUNK + bytes.len()) as u64;
        }
        Ok(())
    }
}

/// The entries of the chunk at `at`; `None` if none begins there.
fn chunk(file: &File, at: u64) -> io::Result<Option<usize>> {
    let mut head = [0; CHUNK];
    Ok((whole(file, &mut head, at)? && head[0] == b'P').then(|| number(&head[1..]) as usize))
}

fn batches(file: &File) -> io::Result<Vec<Batch>> {
    let length = file.metadata()?.len();
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    loop {
        while let Some(count) = chunk(file, at)? {
            at += (CHUNK + count * ENTRY) as u64;
        }
        let mut bytes = [0; END];
        if at > length || !whole(file, &mut bytes, at)? || bytes[0] != b'E' {
            return Ok(found);
        }
        at += END as u64;
        let extent = |from: usize| Extent {
            page_size: number(&bytes[from..]),
            page_count: number(&bytes[from + 4..]),
        };
        let txid = u64::from(number(&bytes[1..])) | u64::from(number(&bytes[5..])) << 32;
        let (before, after, sum) = (extent(9), extent(17), Sum(long(&bytes[25..])));
        found.push(Batch { start, end: at, txid, before, after, sum });
        start = at;
    }
}

/// Fills `bytes`; false if the file ends before.
fn whole(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn long(bytes: &[u8]) -> u128 {
    let mut own = [0; 16];
    own.copy_from_slice(&bytes[..16]);
    u128::from_le_bytes(own)
}
