//! The content fingerprint of a table and the hash of a schema.
//!
//! Both are a plain hash over a canonical byte stream, so that anybody can compute them again from
//! `SELECT` alone: the schema's is SHA-256, that of a table is BLAKE3, or SHA-256 in manifests of
//! format 1. All numbers are little-endian. A *name* is its length in bytes (u64) and its
//! UTF-8 bytes. A *cell* is one tag byte and a body:
//!
//! | tag | type | body |
//! |---|---|---|
//! | 0 | NULL | none |
//! | 1 | INTEGER | i64 |
//! | 2 | REAL | the 64 bits of the IEEE 754 double, as u64 |
//! | 3 | TEXT | length in bytes (u64), then the bytes as SQLite gives them in UTF-8 (not validated) |
//! | 4 | BLOB | length in bytes (u64), then the bytes |
//!
//! **Table**: the 24 bytes `lifeboat sqlite table 2\n` (with `1` for SHA-256); the table's name; one byte, 1 if each row
//! begins with its rowid, else 0; the number of columns (u32) and their names in declared order;
//! then the rows, each being the cells of the rowid (if the byte was 1) and of these columns in
//! this order; then the byte 255 and the number of rows (u64).
//!
//! - Rows stand in the order of the table's own b-tree: ascending rowid, or the primary key's order
//!   in a `WITHOUT ROWID` table.
//! - Columns are the ordinary and the `STORED` generated ones. `VIRTUAL` generated columns hold no
//!   data and are left out.
//! - The rowid is left out (byte 0) in `WITHOUT ROWID` tables, and where columns hide all three of
//!   its names (`rowid`, `_rowid_`, `oid`).
//! - Every table that has a b-tree counts: SQLite's own (`sqlite_sequence`, `sqlite_stat1` …) and
//!   the shadow tables of virtual tables. Virtual tables and views hold nothing themselves.
//!
//! **Schema**: the 25 bytes `lifeboat sqlite schema 1\n`; for every row of `sqlite_schema` ordered
//! by type, name, table name (binary collation) the four cells type, name, table name, SQL; then
//! the byte 255 and the number of rows (u64).
//!
//! Because values carry type and length and rows their order, a value moved to another row, column
//! or table changes the fingerprint, as does a row added, lost or doubled. Two databases with equal
//! hashes hold the same rows; their pages may still differ (free pages, order of allocation).

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use lifeboat_model::manifest::Manifest;
use rusqlite::types::ValueRef;
use sha2::{Digest, Sha256};

/// Bytes gathered before they go to the hash; small updates are slow.
const GATHER: usize = 64 * 1024;
/// From so many bytes on, a thread of its own hashes: SQLite reads rows in one, and waits for nobody.
const MANY: u64 = 4 * 1024 * 1024;
/// Blocks on their way to that thread.
const BLOCKS: usize = 4;
const SCHEMA: &[u8] = b"lifeboat sqlite schema 1\n";
const END: u8 = 255;

/// How the fingerprint of a table is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// As manifests of format 1 have it.
    Sha256,
    /// As all newer ones have it.
    Blake3,
}

impl Method {
    /// That of the fingerprints in a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        if manifest.format == 1 { Method::Sha256 } else { Method::Blake3 }
    }

    fn table(self) -> (Hash, &'static [u8]) {
        match self {
            Method::Sha256 => (Hash::Sha256(Sha256::new()), b"lifeboat sqlite table 1\n"),
            Method::Blake3 => (Hash::Blake3(Box::default()), b"lifeboat sqlite table 2\n"),
        }
    }
}

/// A hash on its way.
#[derive(Clone)]
enum Hash {
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Blake3(hash) => {
                hash.update(bytes);
            }
        }
    }

    fn finish(self) -> [u8; 32] {
        match self {
            Hash::Sha256(hash) => hash.finalize().into(),
            Hash::Blake3(hash) => hash.finalize().into(),
        }
    }
}

/// Hashes rows of cells as the module says.
pub(super) struct RowHasher {
    hash: Place,
    gathered: Vec<u8>,
    rows: u64,
    bytes: u64,
}

impl RowHasher {
    /// Begins the fingerprint of a table.
    pub fn table(method: Method, name: &str, columns: &[String], with_rowid: bool) -> Self {
        let (hash, domain) = method.table();
        let mut hasher = Self::begin(hash, domain);
        hasher.name(name);
        hasher.put(&[u8::from(with_rowid)]);
        hasher.put(&(columns.len() as u32).to_le_bytes());
        for column in columns {
            hasher.name(column);
        }
        hasher
    }

    /// Begins the hash of a schema.
    pub fn schema() -> Self {
        Self::begin(Hash::Sha256(Sha256::new()), SCHEMA)
    }

    fn begin(hash: Hash, domain: &[u8]) -> Self {
        let mut gathered = Vec::with_capacity(2 * GATHER);
        gathered.extend_from_slice(domain);
        RowHasher { hash: Place::Here(hash), gathered, rows: 0, bytes: 0 }
    }

    fn name(&mut self, name: &str) {
        self.put(&(name.len() as u64).to_le_bytes());
        self.put(name.as_bytes());
    }

    /// Takes the next cell of the present row.
    pub fn cell(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.put(&[0]),
            ValueRef::Integer(number) => self.fixed(1, number.to_le_bytes()),
            ValueRef::Real(number) => self.fixed(2, number.to_bits().to_le_bytes()),
            ValueRef::Text(text) => self.sized(3, text),
            ValueRef::Blob(blob) => self.sized(4, blob),
        }
    }

    /// Ends the present row.
    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Bytes of cells taken so far, for rates.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of rows and the hash, hexadecimal.
    pub fn finish(mut self) -> (u64, String) {
        let rows = self.rows;
        self.put(&[END]);
        self.put(&rows.to_le_bytes());
        (rows, hex::encode(self.hash.finish(&self.gathered)))
    }

    fn fixed(&mut self, tag: u8, body: [u8; 8]) {
        let mut cell = [tag; 9];
        cell[1..].copy_from_slice(&body);
        self.put(&cell);
    }

    fn sized(&mut self, tag: u8, body: &[u8]) {
        self.fixed(tag, (body.len() as u64).to_le_bytes());
        self.put(body);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.gathered.len() + bytes.len() > 2 * GATHER {
            if self.bytes > MANY {
                self.hash.move_away();
            }
            self.hash.take(&mut self.gathered);
            if bytes.len() > GATHER {
                for part in bytes.chunks(2 * GATHER) {
                    self.gathered.extend_from_slice(part);
                    self.hash.take(&mut self.gathered);
                }
                return;
            }
        }
        self.gathered.extend_from_slice(bytes);
    }
}

/// Where a hash is computed.
enum Place {
    Here(Hash),
    Away(Away),
}

/// A hash in a thread of its own.
struct Away {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Hash>,
}

impl Place {
    /// Goes on in a thread of its own, if there can be one.
    fn move_away(&mut self) {
        let Place::Here(hash) = self else { return };
        let mut hash = hash.clone();
        let (full, blocks) = sync_channel::<Vec<u8>>(BLOCKS);
        let (done, empty) = sync_channel(BLOCKS + 2);
        let work = move || {
            for mut block in blocks {
                hash.update(&block);
                block.clear();
                // Nobody takes it back once the last was sent.
                let _ = done.try_send(block);
            }
            hash
        };
        let name = "fingerprint".to_owned();
        if let Ok(thread) = std::thread::Builder::new().name(name).spawn(work) {
            *self = Place::Away(Away { full, empty, thread });
        }
    }

    /// Takes the gathered bytes, and leaves an empty buffer.
    fn take(&mut self, gathered: &mut Vec<u8>) {
        match self {
            Place::Here(hash) => {
                hash.update(gathered);
                gathered.clear();
            }
            Place::Away(away) => {
                let next = away.empty.try_recv();
                let next = next.unwrap_or_else(|_| Vec::with_capacity(2 * GATHER));
                // It fails only if the thread panicked, which `finish` passes on.
                let _ = away.full.send(std::mem::replace(gathered, next));
            }
        }
    }

    fn finish(self, rest: &[u8]) -> [u8; 32] {
        let mut hash = match self {
            Place::Here(hash) => hash,
            Place::Away(Away { full, thread, .. }) => {
                drop(full);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        };
        hash.update(rest);
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&[ValueRef<'_>]]) -> String {
        with(Method::Blake3, rows)
    }

    fn with(method: Method, rows: &[&[ValueRef<'_>]]) -> String {
        let mut hasher = RowHasher::table(method, "t", &["a".into(), "b".into()], false);
        for row in rows {
            for cell in *row {
                hasher.cell(*cell);
            }
            hasher.end_row();
        }
        hasher.finish().1
    }

    /// The definition, written a second time: what the module header says, byte by byte.
    #[test]
    fn follows_its_definition() {
        let stream = |domain: &[u8]| {
            let mut stream = domain.to_vec();
            stream.extend(1u64.to_le_bytes());
            stream.extend(b"t");
            stream.push(0);
            stream.extend(2u32.to_le_bytes());
            for name in [b"a", b"b"] {
                stream.extend(1u64.to_le_bytes());
                stream.extend(name);
            }
            stream.push(1);
            stream.extend((-7i64).to_le_bytes());
            stream.push(3);
            stream.extend(3u64.to_le_bytes());
            stream.extend(b"x\xffy");
            stream.push(0);
            stream.push(2);
            stream.extend((-0.0f64).to_bits().to_le_bytes());
            stream.push(255);
            stream.extend(2u64.to_le_bytes());
            stream
        };
        let rows: &[&[ValueRef<'_>]] = &[
            &[ValueRef::Integer(-7), ValueRef::Text(b"x\xffy")],
            &[ValueRef::Null, ValueRef::Real(-0.0)],
        ];
        let expected = blake3::hash(&stream(b"lifeboat sqlite table 2\n")).to_hex();
        assert_eq!(with(Method::Blake3, rows), expected.as_str());
        let expected = hex::encode(Sha256::digest(stream(b"lifeboat sqlite table 1\n")));
        assert_eq!(with(Method::Sha256, rows), expected);
    }

    #[test]
    fn values_do_not_run_into_each_other() {
        let (a, b) = (ValueRef::Text(b"ab"), ValueRef::Text(b"c"));
        let (c, d) = (ValueRef::Text(b"a"), ValueRef::Text(b"bc"));
        assert_ne!(of(&[&[a, b]]), of(&[&[c, d]]));
        assert_ne!(of(&[&[a, b]]), of(&[&[b, a]]));
        assert_ne!(of(&[&[a, b], &[c, d]]), of(&[&[a, d], &[c, b]]));
        assert_ne!(of(&[&[ValueRef::Blob(b"c"), b]]), of(&[&[ValueRef::Text(b"c"), b]]));
        assert_ne!(
            of(&[&[ValueRef::Integer(0), b]]),
            of(&[&[ValueRef::Real(f64::from_bits(0)), b]])
        );
        assert_ne!(of(&[]), of(&[&[ValueRef::Null, ValueRef::Null]]));
    }

    /// A big table is hashed by a thread of its own, small cells and some that are larger than what is
    /// gathered, in the same order, each byte once.
    #[test]
    fn many_rows_hash_like_few() {
        let mut expected = b"lifeboat sqlite table 2\n".to_vec();
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0, b't', 1, 0, 0, 0, 0]);
        let mut hasher = RowHasher::table(Method::Blake3, "t", &[], true);
        let mut rows = 0u64;
        while expected.len() < 4 * MANY as usize {
            let size = (rows as usize * 7919) % if rows % 64 == 5 { 9 * GATHER } else { 5000 };
            let cell = vec![rows as u8; size];
            expected.push(4);
            expected.extend((size as u64).to_le_bytes());
            expected.extend(&cell);
            hasher.cell(ValueRef::Blob(&cell));
            hasher.end_row();
            rows += 1;
        }
        assert!(matches!(hasher.hash, Place::Away(_)));
        expected.push(255);
        expected.extend(rows.to_le_bytes());
        assert_eq!(hasher.finish(), (rows, blake3::hash(&expected).to_hex().to_string()));
    }
}
