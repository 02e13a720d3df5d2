//! The ledger in a tier: sealed, create-only objects, so that a host that loses its disk, or its
//! honesty, does not take its past along.
//!
//! `ledger/HOST/entries/FROM-TO.jsonl.zst.age` holds the lines FROM to TO;
//! `ledger/HOST/checkpoints/SEQ-HASH.json.zst.age` is the signed head at SEQ;
//! `ledger/HOST/evidence/ID.json.zst.age` is what an entry points to by its hash.

use std::collections::BTreeMap;

use bytes::Bytes;
use lifeboat_model::chain::{Checkpoint, Hash, Signed};
use lifeboat_vault::{Store, StoreErrorKind};

use crate::error::{Error, Result};
use crate::seal::Sealer;

/// The folder of all chains.
pub const FOLDER: &str = "ledger";
const ENTRIES: &str = "entries";
const CHECKPOINTS: &str = "checkpoints";
const EVIDENCE: &str = "evidence";
const LINES: &str = ".jsonl.zst.age";
const DOCUMENT: &str = ".json.zst.age";

/// A host's name as a part of a key: what is not a letter, a digit, `.` or `-` is `_XX`.
pub fn safe_name(host: &str) -> String {
    let mut name = String::new();
    for byte in host.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(byte as char),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("_{byte:02X}")),
        }
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

/// The host's name again, of its part of a key.
pub fn host_name(name: &str) -> String {
    let mut host = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = std::str::from_utf8(tail.get(..2).unwrap_or_default()).unwrap_or_default();
        match (first, u8::from_str_radix(code, 16)) {
            (b'_', Ok(byte)) => {
                host.push(byte);
                rest = &tail[2..];
            }
            _ => {
                host.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&host).into_owned()
}

/// Key of the lines `from` to `to`.
pub fn entries_key(host: &str, from: u64, to: u64) -> String {
    entries_key_of(&safe_name(host), from, to)
}

/// The same by a host's name as it is in keys.
pub(super) fn entries_key_of(name: &str, from: u64, to: u64) -> String {
    format!("{FOLDER}/{name}/{ENTRIES}/{from:020}-{to:020}{LINES}")
}

/// Key of the checkpoint at `seq`, which names the entry's hash, so that a host that can seal and
/// not open goes on from there.
pub fn checkpoint_key(host: &str, seq: u64, head: &Hash) -> String {
    checkpoint_key_of(&safe_name(host), seq, head)
}

/// The same by a host's name as it is in keys.
pub(super) fn checkpoint_key_of(name: &str, seq: u64, head: &Hash) -> String {
    format!("{FOLDER}/{name}/{CHECKPOINTS}/{seq:020}-{head}{DOCUMENT}")
}

/// What the names of a host's checkpoints say, without opening any.
pub fn checkpoint_names(store: &dyn Store, host: &str) -> Result<Vec<(u64, Hash)>> {
    let keys = store.list(&format!("{FOLDER}/{}/{CHECKPOINTS}", safe_name(host)))?;
    let mut names: Vec<(u64, Hash)> = keys
        .iter()
        .filter_map(|entry| {
            let (seq, head) = named(&entry.key)?;
            Some((seq, head?))
        })
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Key of a piece of evidence.
pub fn evidence_key(host: &str, id: &str) -> String {
    evidence_key_of(&safe_name(host), id)
}

/// The same by a host's name as it is in keys.
pub(super) fn evidence_key_of(name: &str, id: &str) -> String {
    format!("{FOLDER}/{name}/{EVIDENCE}/{id}{DOCUMENT}")
}

/// Ranges of a host's shipped lines, in order.
pub fn ranges(store: &dyn Store, host: &str) -> Result<Vec<(u64, u64)>> {
    ranges_of(store, &safe_name(host))
}

pub(super) fn ranges_of(store: &dyn Store, name: &str) -> Result<Vec<(u64, u64)>> {
    let keys = store.list(&format!("{FOLDER}/{name}/{ENTRIES}"))?;
    let mut ranges: Vec<(u64, u64)> = keys
        .iter()
        .filter_map(|entry| {
            let file = entry.key.rsplit('/').next()?.strip_suffix(LINES)?;
            let (from, to) = file.split_once('-')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        })
        .collect();
    ranges.sort_unstable();
    Ok(ranges)
}

/// Names (as in keys) of the hosts that have a chain in the tier.
pub fn hosts(store: &dyn Store) -> Result<Vec<String>> {
    let mut hosts: Vec<String> = store
        .list(FOLDER)?
        .iter()
        .filter_map(|entry| Some(entry.key.split('/').nth(1)?.to_owned()))
        .collect();
    hosts.dedup();
    Ok(hosts)
}

/// An object that cannot be opened, and why.
pub type Unreadable = (String, String);

/// The lines of a chain, as far as they can be read, and what could not be.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Lines in the order of their objects.
    pub lines: Vec<Vec<u8>>,
    /// Objects that cannot be opened, with why.
    pub unreadable: Vec<Unreadable>,
}

/// All shipped lines of a chain; `name` as in keys. What cannot be opened is named, not fatal.
pub fn lines(store: &dyn Store, sealer: &Sealer, name: &str) -> Result<Fetched> {
    let mut fetched = Fetched::default();
    for (from, to) in ranges_of(store, name)? {
        let key = format!("{FOLDER}/{name}/{ENTRIES}/{from:020}-{to:020}{LINES}");
        match opened(store, sealer, &key)? {
            Ok(body) => {
                let body = body.strip_suffix(b"\n").unwrap_or(&body);
                let held: Vec<Vec<u8>> = body.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                let named = to.saturating_sub(from).saturating_add(1);
                if held.len() as u64 != named {
                    let why = format!("it holds {} lines, by its name {named}", held.len());
                    fetched.unreadable.push((key, why));
                }
                fetched.lines.extend(held);
            }
            Err(why) => fetched.unreadable.push((key, why)),
        }
    }
    Ok(fetched)
}

/// The lines of a host's newest object; none if it cannot be opened.
pub fn last_lines(store: &dyn Store, sealer: &Sealer, host: &str) -> Result<Vec<Vec<u8>>> {
    let Some((from, to)) = ranges(store, host)?.into_iter().max_by_key(|(_, to)| *to) else {
        return Ok(Vec::new());
    };
    let body = opened(store, sealer, &entries_key(host, from, to))?.unwrap_or_default();
    Ok(body.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect())
}

/// All checkpoints of a chain that can be read, oldest first, and those that cannot.
pub fn checkpoints(
    store: &dyn Store,
    sealer: &Sealer,
    name: &str,
) -> Result<(Vec<Signed<Checkpoint>>, Vec<Unreadable>)> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for entry in store.list(&format!("{FOLDER}/{name}/{CHECKPOINTS}"))? {
        let Some((seq, head)) = named(&entry.key) else { continue };
        let read = match opened(store, sealer, &entry.key)? {
            Ok(body) => Signed::<Checkpoint>::read(&body).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match read {
            // An older one under a newer name would hide what was cut off.
            Ok(checkpoint) if checkpoint.document.seq != seq => {
                let at = checkpoint.document.seq;
                unreadable.push((entry.key, format!("it is the checkpoint at entry {at}")));
            }
            Ok(checkpoint) if safe_name(&checkpoint.document.host) != name => {
                let host = &checkpoint.document.host;
                unreadable.push((entry.key, format!("it is a checkpoint of host {host}")));
            }
            Ok(checkpoint) if head.is_some_and(|head| head != checkpoint.document.head) => {
                unreadable.push((entry.key, "its name says another head".to_owned()));
            }
            Ok(checkpoint) => found.push(checkpoint),
            Err(why) => unreadable.push((entry.key, why)),
        }
    }
    found.sort_by_key(|checkpoint| checkpoint.document.seq);
    Ok((found, unreadable))
}

/// Number and hash in the name of a checkpoint; one without a hash is of the first days.
fn named(key: &str) -> Option<(u64, Option<Hash>)> {
    let name = key.rsplit('/').next()?.strip_suffix(DOCUMENT)?;
    match name.split_once('-') {
        Some((seq, head)) => Some((seq.parse().ok()?, Some(head.parse().ok()?))),
        None => Some((name.parse().ok()?, None)),
    }
}

/// A piece of evidence as it is stored, or why it cannot be opened.
pub type StoredEvidence = std::result::Result<Vec<u8>, String>;

/// All evidence of a chain, by its id.
pub fn evidence(
    store: &dyn Store,
    sealer: &Sealer,
    name: &str,
) -> Result<BTreeMap<String, StoredEvidence>> {
    let mut found = BTreeMap::new();
    for entry in store.list(&format!("{FOLDER}/{name}/{EVIDENCE}"))? {
        let file = entry.key.rsplit('/').next().unwrap_or_default();
        let Some(id) = file.strip_suffix(DOCUMENT).map(str::to_owned) else { continue };
        found.insert(id, opened(store, sealer, &entry.key)?);
    }
    Ok(found)
}

/// The content of a sealed object, or why it does not open; a failing store is an error.
pub fn opened(
    store: &dyn Store,
    sealer: &Sealer,
    key: &str,
) -> Result<std::result::Result<Vec<u8>, String>> {
    let sealed = match store.get(key) {
        Ok(sealed) => sealed,
        Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Short) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(sealer.open(&sealed).map_err(|error| error.to_string()))
}

/// Creates a sealed object. One that exists with the same content is as good.
pub fn put(store: &dyn Store, sealer: &Sealer, key: &str, plain: &[u8]) -> Result<()> {
    let sealed = sealer.seal(plain)?;
    match store.create(key, &[Bytes::from(sealed)]) {
        Ok(()) => Ok(()),
        Err(error) if error.kind == StoreErrorKind::Exists => match opened(store, sealer, key)? {
            Ok(there) if there == plain => Ok(()),
            // Without an identity the content cannot be compared; the key names it well enough.
            Err(_) if !sealer.opens() => Ok(()),
            _ => Err(Error::Diverged { key: key.to_owned() }),
        },
        Err(error) => Err(error.into()),
    }
}
