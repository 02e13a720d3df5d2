//! The ledger in a tier: sealed, create-only objects, so that a host that loses its disk, or its
//! honesty, does not take its past along.
//!
//! `ledger/HOST/entries/FROM-TO.jsonl.zst.age` holds the lines FROM to TO;
//! `ledger/HOST/checkpoints/SEQ.json.zst.age` is the signed head at SEQ;
//! `ledger/HOST/evidence/ID.json.zst.age` is what an entry points to by its hash.

use bytes::Bytes;
use lifeboat_model::chain::{Checkpoint, Entry, Signed};
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

/// Key of the lines `from` to `to`.
pub fn entries_key(host: &str, from: u64, to: u64) -> String {
    format!("{FOLDER}/{}/{ENTRIES}/{from:020}-{to:020}{LINES}", safe_name(host))
}

/// Key of the checkpoint at `seq`.
pub fn checkpoint_key(host: &str, seq: u64) -> String {
    format!("{FOLDER}/{}/{CHECKPOINTS}/{seq:020}{DOCUMENT}", safe_name(host))
}

/// Key of a piece of evidence.
pub fn evidence_key(host: &str, id: &str) -> String {
    format!("{FOLDER}/{}/{EVIDENCE}/{id}{DOCUMENT}", safe_name(host))
}

/// Ranges of a host's shipped lines, in order.
pub fn ranges(store: &dyn Store, host: &str) -> Result<Vec<(u64, u64)>> {
    ranges_of(store, &safe_name(host))
}

fn ranges_of(store: &dyn Store, name: &str) -> Result<Vec<(u64, u64)>> {
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
                fetched.lines.extend(body.split(|b| *b == b'\n').map(<[u8]>::to_vec));
            }
            Err(why) => fetched.unreadable.push((key, why)),
        }
    }
    Ok(fetched)
}

/// The newest checkpoint of a chain that can be read, and those that cannot.
pub fn newest_checkpoint(
    store: &dyn Store,
    sealer: &Sealer,
    name: &str,
) -> Result<(Option<Signed<Checkpoint>>, Vec<Unreadable>)> {
    let mut unreadable = Vec::new();
    let mut keys = store.list(&format!("{FOLDER}/{name}/{CHECKPOINTS}"))?;
    keys.retain(|entry| entry.key.ends_with(DOCUMENT));
    for entry in keys.iter().rev() {
        let read = match opened(store, sealer, &entry.key)? {
            Ok(body) => Signed::<Checkpoint>::read(&body).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match read {
            Ok(checkpoint) => return Ok((Some(checkpoint), unreadable)),
            Err(why) => unreadable.push((entry.key.clone(), why)),
        }
    }
    Ok((None, unreadable))
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

/// The plans that the chains in the tier name, each once.
pub fn plans(store: &dyn Store, sealer: &Sealer) -> Result<Vec<String>> {
    let mut plans = Vec::new();
    for name in hosts(store)? {
        let Some((from, to)) = ranges_of(store, &name)?.into_iter().next() else { continue };
        let key = format!("{FOLDER}/{name}/{ENTRIES}/{from:020}-{to:020}{LINES}");
        let Ok(body) = opened(store, sealer, &key)? else { continue };
        let first = body.split(|b| *b == b'\n').find_map(|line| Entry::read(line).ok());
        plans.extend(first.and_then(|entry| entry.plan).map(|plan| plan.name));
    }
    plans.sort();
    plans.dedup();
    Ok(plans)
}
