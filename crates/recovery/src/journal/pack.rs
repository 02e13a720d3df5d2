//! A packed object: sealed records one after the other, unchanged; their sealed index; a trailer.
//!
//! ```text
//! slice 1 … slice N | index (zstd, age) | length of the index, u64 big-endian | "lifeboat pack 1\n"
//! ```
//!
//! Each slice is the record's object as it was stored by itself. The index repeats every header, so
//! that signatures and chain are proven without opening a slice, and packing opens nothing.

use bytes::Bytes;
use lifeboat_model::canonical;
use lifeboat_model::chain::{Hash, PublicKey};
use lifeboat_model::journal::{Header, Name, PackName};
use lifeboat_vault::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JournalError, Result, object};
use crate::seal::Sealer;

/// The format that this version writes.
const FORMAT: u64 = 1;
/// The last bytes.
const MAGIC: &[u8; 16] = b"lifeboat pack 1\n";
/// Length and magic.
const TRAILER: usize = 8 + MAGIC.len();

/// One record in a pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slice {
    /// Its name, as if it lay by itself.
    pub name: String,
    /// Where its sealed bytes begin in the pack.
    pub offset: u64,
    /// Their number.
    pub length: u64,
    /// Their SHA-256.
    pub sha256: Hash,
    /// Its header, signature included.
    pub header: Header,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u64,
    chain: String,
    slices: Vec<Slice>,
}

/// What follows the slices: the sealed index and the trailer.
pub(super) fn tail(sealer: &Sealer, chain: &str, slices: Vec<Slice>) -> Result<Vec<u8>> {
    let index = Index { format: FORMAT, chain: chain.to_owned(), slices };
    let value = serde_json::to_value(&index)
        .map_err(|source| JournalError::Encode { what: "the index of a pack", source })?;
    let mut tail = sealer.seal(canonical::to_string(&value).as_bytes())?;
    let length = tail.len() as u64;
    tail.extend_from_slice(&length.to_be_bytes());
    tail.extend_from_slice(MAGIC);
    Ok(tail)
}

/// The bytes of the index, by the trailer of a pack of `size` bytes.
fn index_at(trailer: &[u8], size: u64, key: &str) -> Result<(u64, u64)> {
    let damaged = |why: &str| JournalError::Damaged { object: key.to_owned(), why: why.to_owned() };
    let (length, magic) = trailer.split_at_checked(8).ok_or_else(|| damaged("it is cut off"))?;
    if magic != MAGIC {
        return Err(match magic.strip_prefix(b"lifeboat pack ") {
            Some([number @ b'2'..=b'9', b'\n']) => {
                JournalError::Newer { object: key.to_owned(), found: u64::from(number - b'0') }
            }
            _ => damaged("its end is not that of a pack"),
        });
    }
    let length = u64::from_be_bytes(length.try_into().map_err(|_| damaged("it is cut off"))?);
    let before = size.checked_sub(TRAILER as u64).and_then(|rest| rest.checked_sub(length));
    before.map(|offset| (offset, length)).ok_or_else(|| damaged("its index does not fit in it"))
}

/// Reads the index of a pack: two ranged reads.
pub(super) fn read_index(
    store: &dyn Store,
    sealer: &Sealer,
    (chain, name): (&str, &PackName),
    key: &str,
    size: u64,
) -> Result<Vec<Slice>> {
    let Some(from) = size.checked_sub(TRAILER as u64) else {
        let why = "it is cut off".to_owned();
        return Err(JournalError::Damaged { object: key.to_owned(), why });
    };
    let trailer = store.get_range(key, from, TRAILER as u64)?;
    let (offset, length) = index_at(&trailer, size, key)?;
    let sealed = store.get_range(key, offset, length)?;
    open_index(sealer, &sealed, (chain, name), key, offset)
}

/// The index of a pack that was read whole.
pub(super) fn index_of(
    sealer: &Sealer,
    pack: &Bytes,
    (chain, name): (&str, &PackName),
    key: &str,
) -> Result<Vec<Slice>> {
    let trailer = pack.get(pack.len().saturating_sub(TRAILER)..).unwrap_or_default();
    let (offset, length) = index_at(trailer, pack.len() as u64, key)?;
    let sealed = pack.slice(offset as usize..(offset + length) as usize);
    open_index(sealer, &sealed, (chain, name), key, offset)
}

fn open_index(
    sealer: &Sealer,
    sealed: &[u8],
    (chain, name): (&str, &PackName),
    key: &str,
    end: u64,
) -> Result<Vec<Slice>> {
    let damaged = |why: String| JournalError::Damaged { object: key.to_owned(), why };
    let plain = match sealer.open(sealed) {
        Ok(plain) => plain,
        Err(error @ crate::seal::SealError::NoIdentity) => return Err(error.into()),
        Err(error) => return Err(damaged(object::chained(&error))),
    };
    let unreadable = |error: serde_json::Error| damaged(format!("its index: {error}"));
    let value: Value = serde_json::from_slice(&plain).map_err(unreadable)?;
    if let Some(found) = value.get("format").and_then(Value::as_u64).filter(|f| *f > FORMAT) {
        return Err(JournalError::Newer { object: key.to_owned(), found });
    }
    let index: Index = serde_json::from_value(value).map_err(unreadable)?;
    fits(&index, (chain, name), end).map_err(|why| damaged(why.to_owned()))?;
    Ok(index.slices)
}

/// The slices are those of the name, without a hole between them.
fn fits(index: &Index, (chain, name): (&str, &PackName), end: u64) -> Result<(), &'static str> {
    let first = index.slices.first().ok_or("its index is empty")?;
    if index.chain != chain || first.name != name.first.to_string() {
        return Err("its index is that of another pack");
    }
    if index.slices.len() as u64 != u64::from(name.count) {
        return Err("its index has another number of slices than its name says");
    }
    let (mut offset, mut seq) = (0u64, name.first.seq);
    for slice in &index.slices {
        let named = slice.name.parse::<Name>().is_ok_and(|name| name == slice.header.name());
        if !named || slice.header.seq != seq || slice.offset != offset {
            return Err("its index does not fit together");
        }
        offset = offset.checked_add(slice.length).ok_or("its index does not fit together")?;
        seq = seq.saturating_add(1);
    }
    if offset == end { Ok(()) } else { Err("its slices do not end where its index begins") }
}

impl Slice {
    /// Proves the header: signature, chain, name.
    pub fn judge(
        &self,
        chain: &str,
        trusted: &[PublicKey],
        key: &str,
    ) -> Result<(Header, Hash, PublicKey)> {
        let at = format!("{} in {key}", self.name);
        object::judge(&self.header.line(), (chain, &self.header.name()), trusted, &at)
    }
}
