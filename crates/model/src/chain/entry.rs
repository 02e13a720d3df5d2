//! One entry of a chain, how it is sealed and how it is read back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::{Hash, PublicKey, SignError, Signature, Signer};
use crate::canonical;

/// Put before the bytes that are signed, so that a signature serves nothing else.
const DOMAIN: &[u8] = b"lifeboat chain 1\n";

/// Which part of an action an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It begins. Without a later entry that closes it, it was interrupted.
    Started,
    /// It ended; `outcome` says how.
    Finished,
    /// It was found to have ended without a word.
    Interrupted,
    /// Something that has no duration.
    Note,
}

/// The plan under which something was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRef {
    /// Its name.
    pub name: String,
    /// Its revision: SHA-256 of the canonical form, hexadecimal.
    pub revision: String,
}

/// What an entry says, before it takes its place in a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Which chain: `ledger`, `scenario/NAME` … An entry cannot be moved to another.
    pub chain: String,
    /// When, by the wall clock.
    pub time: Timestamp,
    /// On which host.
    pub host: String,
    /// By whom.
    pub operator: String,
    /// What was done: `backup`, `restore` …
    pub action: String,
    /// To what: a component, a snapshot, the plan.
    pub object: String,
    /// Which part of it.
    pub phase: Phase,
    /// The entry that began it, for those that close one.
    pub of: Option<u64>,
    /// How it ended, in words or as a verdict.
    pub outcome: Option<String>,
    /// Further facts. Fractions are stored as text.
    pub detail: BTreeMap<String, Value>,
    /// The plan in force.
    pub plan: Option<PlanRef>,
    /// Announces the key that signs from the next entry on.
    pub next_key: Option<PublicKey>,
}

/// One sealed entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Format number.
    pub format: u32,
    /// Which chain it belongs to.
    pub chain: String,
    /// Place in the chain, from 1.
    pub seq: u64,
    /// SHA-256 of the entry before.
    pub prev: Hash,
    /// When, by the wall clock of the host.
    pub time: Timestamp,
    /// On which host.
    pub host: String,
    /// By whom.
    pub operator: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// Which part of it.
    pub phase: Phase,
    /// The entry that began it, for those that close one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, Value>,
    /// The plan in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRef>,
    /// The key that signed this entry, where it is not the one of the entry before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// The key that signs from the next entry on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PublicKey>,
    /// Over everything above.
    pub signature: Signature,
}

/// Where a chain ends: what the next entry needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Sequence number of the last entry.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// The key that signed it.
    pub key: PublicKey,
}

/// Why bytes are no entry.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// Not JSON, or not of this shape.
    #[error("the entry cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// It can be read, but it is not written in the one canonical way.
    #[error("the entry is not in canonical form")]
    NotCanonical,
    /// Written by a newer version.
    #[error("the entry has format {0}, this version reads up to {max}", max = super::FORMAT)]
    Newer(u64),
    /// The number of entries is exhausted.
    #[error("the chain is full")]
    Full,
    /// Signing failed.
    #[error("the entry could not be signed")]
    Sign(#[from] SignError),
}

/// Seals a draft as the entry after `head`; `None` begins a chain.
///
/// # Errors
/// If the signer cannot sign.
pub fn seal(head: Option<&Head>, draft: Draft, signer: &dyn Signer) -> Result<Entry, ChainError> {
    let key = signer.public_key();
    let changed = head.is_none_or(|head| head.key != key);
    let mut entry = Entry {
        format: super::FORMAT,
        chain: draft.chain,
        seq: head.map_or(0, |head| head.seq).checked_add(1).ok_or(ChainError::Full)?,
        prev: head.map_or(Hash::NONE, |head| head.hash),
        time: draft.time,
        host: draft.host,
        operator: draft.operator,
        action: draft.action,
        object: draft.object,
        phase: draft.phase,
        of: draft.of,
        outcome: draft.outcome,
        detail: draft
            .detail
            .into_iter()
            .map(|(key, value)| (key, without_fractions(value)))
            .collect(),
        plan: draft.plan,
        key: changed.then_some(key),
        next_key: draft.next_key,
        signature: Signature([0; 64]),
    };
    entry.signature = signer.sign(&entry.signed_bytes())?;
    Ok(entry)
}

/// Fractions have no single written form across languages; as text they have.
pub(crate) fn without_fractions(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => Value::String(number.to_string()),
        Value::Array(items) => Value::Array(items.into_iter().map(without_fractions).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (k, without_fractions(v))).collect())
        }
        plain => plain,
    }
}

impl Entry {
    /// Reads one stored line.
    ///
    /// # Errors
    /// If it is of a newer format, unreadable, or not exactly the canonical bytes.
    pub fn read(bytes: &[u8]) -> Result<Entry, ChainError> {
        let value: Value = serde_json::from_slice(bytes).map_err(ChainError::Unreadable)?;
        if let Some(format) = value.get("format").and_then(Value::as_u64)
            && format > u64::from(super::FORMAT)
        {
            return Err(ChainError::Newer(format));
        }
        let entry: Entry = serde_json::from_value(value).map_err(ChainError::Unreadable)?;
        if entry.bytes() != bytes {
            return Err(ChainError::NotCanonical);
        }
        Ok(entry)
    }

    /// The canonical bytes, as stored: one line without its line break.
    pub fn bytes(&self) -> Vec<u8> {
        canonical::to_string(&self.value()).into_bytes()
    }

    /// SHA-256 of the stored line.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.bytes())
    }

    /// What the next entry needs; `key` is the key that signed this one.
    pub fn head(&self, key: PublicKey) -> Head {
        Head { seq: self.seq, hash: self.hash(), key }
    }

    /// True if `key` signed this entry.
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.signed_bytes(), &self.signature)
    }

    fn value(&self) -> Value {
        // Texts, numbers and lists only: there is always a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut value = self.value();
        if let Value::Object(map) = &mut value {
            map.remove("signature");
        }
        let mut bytes = DOMAIN.to_vec();
        bytes.extend(canonical::to_string(&value).into_bytes());
        bytes
    }
}

/// Actions that were started and of which no later entry says how they ended.
pub fn open_actions<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<&'a Entry> {
    let mut open: BTreeMap<u64, &Entry> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    for entry in entries {
        if entry.phase == Phase::Started {
            open.insert(entry.seq, entry);
        }
        closed.extend(entry.of);
    }
    open.into_iter().filter(|(seq, _)| !closed.contains(seq)).map(|(_, entry)| entry).collect()
}
