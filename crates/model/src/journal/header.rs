//! What an object says of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::Name;
use crate::canonical;
use crate::chain::{
    ChainError, Document, Hash, PublicKey, Signature, Signed, Signer, without_fractions,
};
use crate::position::Position;

/// Put before the bytes that are signed, so that a signature serves nothing else.
const DOMAIN: &[u8] = b"lifeboat journal 1\n";

/// The fact of a gap that says why, one clause.
pub const WHY: &str = "why";
/// The fact of a start that holds the history of the line that the stream is on.
pub const HISTORY: &str = "history";
/// The line that [`HISTORY`] is of: a start may stand before the branch to it.
pub const HISTORY_OF: &str = "history_of";

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A stream begins; its facts are the source's.
    Start,
    /// A piece of the log.
    Range,
    /// Nothing was written up to `time`.
    Keepalive,
    /// The log goes on on another line; the payload is that line's history.
    Branch,
    /// What lies between `from` and `to` is lost; the fact `why` says why.
    Gap,
    /// A stream ended in good order.
    Stop,
}

/// What an object is to say, before it takes its place in a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What it is.
    pub kind: Kind,
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// When it was received: replaying it proves the copy complete up to then.
    pub time: Timestamp,
    /// On which host.
    pub host: String,
    /// The engine's facts. Texts and whole numbers; fractions become text.
    pub facts: BTreeMap<String, Value>,
}

/// The first line of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Format number.
    pub format: u32,
    /// `journal/COMPONENT/LINEAGE`. An object cannot be moved to another chain.
    pub chain: String,
    /// Place in the chain, from 1.
    pub seq: u32,
    /// SHA-256 of the header line before; 64 zeros in the first.
    pub prev: Hash,
    /// What it is.
    pub kind: Kind,
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// Receive time, wall clock of the host.
    pub time: Timestamp,
    /// On which host.
    pub host: String,
    /// Length of the payload, bytes.
    pub bytes: u64,
    /// SHA-256 of the payload.
    pub sha256: Hash,
    /// The engine's facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// The key that signed, in the first object and where it is not the one of the object before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// In every object that a stream's own key signed: the host's key says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Signed<StreamKey>>,
    /// Over everything above.
    pub signature: Signature,
}

/// A key that signs the objects of one component's journal, where the host's own key cannot be asked
/// each second (`sign_command`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamKey {
    /// Format number.
    pub format: u32,
    /// Of which component.
    pub component: String,
    /// Of which host.
    pub host: String,
    /// The key.
    pub key: PublicKey,
    /// Since when.
    pub time: Timestamp,
}

impl Document for StreamKey {
    const DOMAIN: &'static str = "lifeboat stream key 1";
    const FORMAT: u32 = 1;
}

/// Where a chain ends: what the next object needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last object.
    pub seq: u32,
    /// SHA-256 of its header line.
    pub hash: Hash,
    /// The key that signed it.
    pub key: PublicKey,
    /// Where it ends.
    pub to: Position,
    /// Its receive time.
    pub time: Timestamp,
}

/// Why a header is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// It was changed after it was signed, or nobody who is named signed it.
    #[error("the signature does not belong to it")]
    Forged,
    /// The key is none of those that are trusted.
    #[error("it is signed by key {0}, which is not trusted")]
    Foreign(PublicKey),
}

/// Makes the header of the object after `head`; `None` begins a chain.
///
/// # Errors
/// If the signer cannot sign, or the chain is full.
pub fn seal(
    head: Option<&Head>,
    chain: &str,
    draft: Draft,
    payload: &[u8],
    signer: &dyn Signer,
    certificate: Option<&Signed<StreamKey>>,
) -> Result<Header, ChainError> {
    let key = signer.public_key();
    let changed = head.is_none_or(|head| head.key != key);
    let facts = draft.facts.into_iter();
    let mut header = Header {
        format: super::FORMAT,
        chain: chain.to_owned(),
        seq: head.map_or(0, |head| head.seq).checked_add(1).ok_or(ChainError::Full)?,
        prev: head.map_or(Hash::NONE, |head| head.hash),
        kind: draft.kind,
        from: draft.from,
        to: draft.to,
        time: draft.time,
        host: draft.host,
        bytes: payload.len() as u64,
        sha256: Hash::of(payload),
        facts: facts.map(|(key, value)| (key, without_fractions(value))).collect(),
        key: changed.then_some(key),
        certificate: certificate.cloned(),
        signature: Signature([0; 64]),
    };
    header.signature = signer.sign(&header.signed_bytes())?;
    Ok(header)
}

impl Header {
    /// Reads a header line, without its line feed.
    ///
    /// # Errors
    /// If it is of a newer format, unreadable, or not exactly the canonical bytes.
    pub fn read(line: &[u8]) -> Result<Header, ChainError> {
        let value: Value = serde_json::from_slice(line).map_err(ChainError::Unreadable)?;
        if let Some(format) = value.get("format").and_then(Value::as_u64)
            && format > u64::from(super::FORMAT)
        {
            return Err(ChainError::Newer(format));
        }
        let header: Header = serde_json::from_value(value).map_err(ChainError::Unreadable)?;
        if header.line() != line {
            return Err(ChainError::NotCanonical);
        }
        Ok(header)
    }

    /// The canonical line, without a line feed.
    pub fn line(&self) -> Vec<u8> {
        canonical::to_string(&self.value()).into_bytes()
    }

    /// SHA-256 of the line.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.line())
    }

    /// The name of its object.
    pub fn name(&self) -> Name {
        Name { from: self.from, seq: self.seq }
    }

    /// What the next object needs; `key` is the key that signed this one.
    pub fn head(&self, key: PublicKey) -> Head {
        Head { seq: self.seq, hash: self.hash(), key, to: self.to, time: self.time }
    }

    /// Why a gap is there.
    pub fn why(&self) -> Option<&str> {
        self.facts.get(WHY)?.as_str()
    }

    /// The history of a line, if it is a start that tells it.
    pub fn history_of(&self, line: u32) -> Option<&str> {
        let of_line = self.facts.get(HISTORY_OF)?.as_u64() == Some(u64::from(line));
        let told = self.kind == Kind::Start && of_line;
        self.facts.get(HISTORY).filter(|_| told)?.as_str()
    }

    /// The key that signed it, if that is trusted or certified by a trusted one for the component
    /// of its chain.
    ///
    /// # Errors
    /// [`Mistrust`]
    pub fn signer(&self, trusted: &[PublicKey]) -> Result<PublicKey, Mistrust> {
        let bytes = self.signed_bytes();
        let signed = |key: &PublicKey| key.verifies(&bytes, &self.signature);
        if let Some(certificate) = &self.certificate {
            let stream = &certificate.document;
            if !signed(&stream.key) {
                return Err(Mistrust::Forged);
            }
            let component = self.chain.split('/').nth(1).unwrap_or_default();
            let vouched = certificate.verify(&[]).is_ok() && stream.component == component;
            return match vouched && trusted.contains(&certificate.key) {
                true => Ok(stream.key),
                false => Err(Mistrust::Foreign(certificate.key)),
            };
        }
        if let Some(key) = trusted.iter().find(|key| signed(key)) {
            return Ok(*key);
        }
        match self.key.filter(signed) {
            Some(key) => Err(Mistrust::Foreign(key)),
            None => Err(Mistrust::Forged),
        }
    }

    /// True if these bytes are its payload.
    pub fn holds(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == self.bytes && Hash::of(payload) == self.sha256
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
