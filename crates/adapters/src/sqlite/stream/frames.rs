//! Reads a `-wal` file as it grows: <https://www.sqlite.org/fileformat2.html#walformat>.
//!
//! Believed is a frame whose salts are the header's and whose checksum, which runs through all
//! frames from the header on, is right. How far the frames are committed is asked of SQLite itself
//! (it is in the wal-index), never guessed from the file: a commit frame that its writer had to take
//! back, and what a transaction spilled before its commit, look the same there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of the file's header.
pub(super) const HEADER: u64 = 32;
/// Bytes before each page.
pub(super) const FRAME: usize = 24;
/// Frames are read in runs of about this many bytes.
const RUN: usize = 1 << 20;

/// The header of a log: one generation of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Checksums take words as big-endian numbers.
    big: bool,
    /// Bytes of a page.
    pub page_size: u32,
    /// Another pair for each generation; the first counts up when the log starts over.
    pub salts: [u32; 2],
    sum: [u32; 2],
}

impl Header {
    /// Reads a header; `None` if it is none, or only half written.
    pub fn parse(bytes: &[u8; HEADER as usize]) -> Option<Header> {
        let big = match word(bytes, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let page_size = word(bytes, 8);
        let sized = page_size.is_power_of_two() && (512..=65536).contains(&page_size);
        let sum = checksum(big, [0, 0], &bytes[..24]);
        let whole = word(bytes, 4) == 3_007_000 && sum == [word(bytes, 24), word(bytes, 28)];
        (sized && whole).then(|| Header {
            big,
            page_size,
            salts: [word(bytes, 16), word(bytes, 20)],
            sum,
        })
    }

    /// The header of a file; `None` where there is none.
    pub fn read(file: &File) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Header::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True if this generation came straight after `earlier`.
    pub fn follows(&self, earlier: &Header) -> bool {
        self.salts[0] == earlier.salts[0].wrapping_add(1)
    }

    /// Bytes of a frame with its page.
    pub fn stride(&self) -> usize {
        FRAME + self.page_size as usize
    }

    /// Where the page of frame `number`, counted from 1, stands in the file.
    pub fn page_at(&self, number: u32) -> u64 {
        HEADER + u64::from(number - 1) * self.stride() as u64 + FRAME as u64
    }
}

/// How far a log was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The generation.
    pub header: Header,
    /// The last frame that was read; 0 for none.
    pub frame: u32,
    sum: [u32; 2],
}

/// A frame, believed.
pub(super) struct Frame<'a> {
    /// The page's number.
    pub page: u32,
    /// Where its image stands in the file.
    pub at: u64,
    /// The image.
    pub image: &'a [u8],
}

/// The frames are not what they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Torn;

impl Cursor {
    /// Before the first frame of a generation.
    pub fn new(header: Header) -> Cursor {
        Cursor { header, frame: 0, sum: header.sum }
    }

    /// Reads on to frame `last`, which must be a commit; returns the pages that the database then
    /// has. Where the frames are torn the cursor is of no more use.
    pub fn advance(
        &mut self,
        file: &File,
        last: u32,
        take: &mut dyn FnMut(Frame<'_>),
    ) -> io::Result<Result<Option<u32>, Torn>> {
        let stride = self.header.stride();
        let mut buffer = Vec::new();
        let mut pages = None;
        while self.frame < last {
            let count = ((last - self.frame) as usize).min((RUN / stride).max(1));
            buffer.resize(count * stride, 0);
            let start = HEADER + u64::from(self.frame) * stride as u64;
            match file.read_exact_at(&mut buffer, start) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Err(Torn)),
                other => other?,
            }
            for bytes in buffer.chunks_exact(stride) {
                let Some(commit) = self.accept(bytes) else { return Ok(Err(Torn)) };
                pages = Some(commit);
                let at = self.header.page_at(self.frame);
                take(Frame { page: word(bytes, 0), at, image: &bytes[FRAME..] });
            }
        }
        // SQLite says that this is the end of a transaction, so it is marked as one.
        Ok(if pages == Some(0) { Err(Torn) } else { Ok(pages) })
    }

    /// Believes a frame and moves behind it, or does not; the pages of the database if it is a
    /// commit, else 0.
    fn accept(&mut self, bytes: &[u8]) -> Option<u32> {
        let (big, page) = (self.header.big, word(bytes, 0));
        let salts = [word(bytes, 8), word(bytes, 12)];
        let sum = checksum(big, self.sum, &bytes[..8]);
        let sum = checksum(big, sum, &bytes[FRAME..]);
        let stored = [word(bytes, 16), word(bytes, 20)];
        if page == 0 || salts != self.header.salts || sum != stored {
            return None;
        }
        self.sum = sum;
        self.frame += 1;
        Some(word(bytes, 4))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's checksum over pairs of words.
fn checksum(big: bool, [mut one, mut two]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let read = |at: usize| {
            let word = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        one = one.wrapping_add(read(0)).wrapping_add(two);
        two = two.wrapping_add(read(4)).wrapping_add(one);
    }
    [one, two]
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A log as SQLite writes one, with its number of frames.
    fn log(folder: &std::path::Path) -> (std::path::PathBuf, u32, Connection) {
        let path = folder.join("a.db");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE t (a); CREATE INDEX i ON t (a);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
                 INSERT INTO t SELECT hex(randomblob(99)) FROM n;",
            )
            .unwrap();
        let frames = database
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, u32>(1))
            .unwrap();
        (folder.join("a.db-wal"), frames, database)
    }

    fn read(path: &std::path::Path, last: u32) -> Result<Option<u32>, Torn> {
        let file = File::open(path).unwrap();
        let mut cursor = Cursor::new(Header::read(&file).unwrap().ok_or(Torn)?);
        let mut seen = 0;
        let end = cursor.advance(&file, last, &mut |frame| {
            seen += 1;
            assert_eq!(frame.at, cursor_at(seen));
        });
        let end = end.unwrap()?;
        assert_eq!((cursor.frame, seen), (last, last));
        Ok(end)
    }

    fn cursor_at(frame: u32) -> u64 {
        32 + u64::from(frame - 1) * 4120 + 24
    }

    #[test]
    fn a_log_of_sqlite_is_read_to_its_last_commit() {
        let folder = tempfile::tempdir().unwrap();
        let (path, frames, database) = log(folder.path());
        assert!(frames > 20, "{frames}");
        let pages = database.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        assert_eq!(read(&path, frames), Ok(Some(pages)));
        assert_eq!(read(&path, 0), Ok(None));
        // Somewhere inside the last transaction.
        assert_eq!(read(&path, frames - 1), Err(Torn));
        assert_eq!(read(&path, frames + 1), Err(Torn));
    }

    /// The salts and the checksums are both looked at, and every byte is under one of them.
    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, frames, _database) = log(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        let other = folder.path().join("other");
        for at in [0, 3, 8, 13, 17, 25, 31, 32, 37, 41, 45, 49, 53, 57, 4000, 4152, 4160, 4176] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            std::fs::write(&other, &changed).unwrap();
            assert_eq!(read(&other, frames), Err(Torn), "byte {at}");
        }
    }

    /// A frame of another generation whose running checksum happens to be right is not believed.
    #[test]
    fn salts_are_compared_though_checksums_agree() {
        let folder = tempfile::tempdir().unwrap();
        let (path, frames, _database) = log(folder.path());
        let mut bytes = std::fs::read(&path).unwrap();
        // The checksum of a frame does not cover its salts.
        bytes[32 + 8] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path, frames), Err(Torn));
    }
}
