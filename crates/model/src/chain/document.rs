//! Signed documents that a chain points to: checkpoints and evidence.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::{Hash, PublicKey, SignError, Signature, Signer};
use crate::canonical;

/// A kind of document that can be signed.
pub trait Document: Serialize + DeserializeOwned {
    /// Put before the signed bytes, so that a signature serves no other kind.
    const DOMAIN: &'static str;
    /// The format that this version writes.
    const FORMAT: u32;
}

/// A document, the key that signed it and the signature over its canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signed<T> {
    /// What is signed.
    pub document: T,
    /// Who says to have signed it. A verifier compares it with a key that it had before.
    pub key: PublicKey,
    /// Over domain, line break and the canonical bytes of `document`.
    pub signature: Signature,
}

/// Why bytes are no signed document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of this shape.
    #[error("the document cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// It can be read, but is not written in the one canonical way.
    #[error("the document is not in canonical form")]
    NotCanonical,
    /// Written by a newer version.
    #[error("the document has format {found}, this version reads up to {known}")]
    Newer {
        /// The document's.
        found: u64,
        /// Ours.
        known: u32,
    },
    /// It was changed after it was signed, or somebody else signed it.
    #[error("the signature does not belong to the document")]
    Forged,
    /// The key is none of those that are trusted.
    #[error("the document is signed by key {0}, which is not trusted")]
    Foreign(PublicKey),
}

impl<T: Document> Signed<T> {
    /// Signs a document.
    ///
    /// # Errors
    /// If the signer cannot sign.
    pub fn new(document: T, signer: &dyn Signer) -> Result<Self, SignError> {
        let signature = signer.sign(&message(&document))?;
        Ok(Signed { document, key: signer.public_key(), signature })
    }

    /// The canonical bytes, as stored.
    pub fn bytes(&self) -> Vec<u8> {
        canonical::to_string(&serde_json::to_value(self).unwrap_or_default()).into_bytes()
    }

    /// SHA-256 of the stored bytes, by which a chain points to it.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.bytes())
    }

    /// Reads stored bytes. Says nothing yet about who signed: see [`Signed::verify`].
    ///
    /// # Errors
    /// If they are of a newer format, unreadable or not canonical.
    pub fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        let value: Value = serde_json::from_slice(bytes).map_err(DocumentError::Unreadable)?;
        let format = value.get("document").and_then(|document| document.get("format"));
        if let Some(found) = format.and_then(Value::as_u64)
            && found > u64::from(T::FORMAT)
        {
            return Err(DocumentError::Newer { found, known: T::FORMAT });
        }
        let signed: Self = serde_json::from_value(value).map_err(DocumentError::Unreadable)?;
        if signed.bytes() != bytes {
            return Err(DocumentError::NotCanonical);
        }
        Ok(signed)
    }

    /// Checks signature and key. Without trusted keys only the signature is checked: the document
    /// then vouches for itself alone.
    ///
    /// # Errors
    /// [`DocumentError::Forged`] or [`DocumentError::Foreign`].
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<(), DocumentError> {
        if !self.key.verifies(&message(&self.document), &self.signature) {
            return Err(DocumentError::Forged);
        }
        if !trusted.is_empty() && !trusted.contains(&self.key) {
            return Err(DocumentError::Foreign(self.key));
        }
        Ok(())
    }
}

fn message<T: Document>(document: &T) -> Vec<u8> {
    let value = serde_json::to_value(document).unwrap_or_default();
    format!("{}\n{}", T::DOMAIN, canonical::to_string(&value)).into_bytes()
}

/// Where a chain stood at some time. Kept in a tier that the host cannot overwrite, it protects
/// everything before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Format number.
    pub format: u32,
    /// Which chain.
    pub chain: String,
    /// Of which host.
    pub host: String,
    /// Sequence number of its last entry.
    pub seq: u64,
    /// Hash of that entry.
    pub head: Hash,
    /// When, by the wall clock of the host.
    pub time: Timestamp,
}

impl Document for Checkpoint {
    const DOMAIN: &'static str = "lifeboat checkpoint 1";
    const FORMAT: u32 = 1;
}
