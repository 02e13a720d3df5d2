//! Ed25519 keys and signatures, and the port through which something signs.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature as Ed25519, Signer as _, SigningKey, VerifyingKey};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical::sha256_hex;

/// A text is not the expected number of bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {0} bytes in lower-case hexadecimal")]
pub struct HexError(usize);

macro_rules! bytes {
    ($(#[$meta:meta])* $name:ident, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes = [0; $length];
                // One way to write it: otherwise an edit of letter case would go unseen.
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(HexError($length));
                }
                hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError($length))?;
                Ok($name(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": concat!("^([0-9a-f]{2}){", $length, "}$") })
            }
        }
    };
}

bytes! {
    /// SHA-256 of an entry's bytes.
    Hash, 32
}
bytes! {
    /// The public half of a signing key.
    PublicKey, 32
}
bytes! {
    /// An Ed25519 signature.
    Signature, 64
}

impl Hash {
    /// Stands for "nothing before this".
    pub const NONE: Hash = Hash([0; 32]);

    /// SHA-256 of some bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        use sha2::Digest;
        Hash(sha2::Sha256::digest(bytes).into())
    }
}

impl PublicKey {
    /// SHA-256 of the key, hexadecimal: what the recovery kit prints.
    pub fn fingerprint(&self) -> String {
        sha256_hex(&self.0)
    }

    /// True if `signature` is this key's signature of `message`. Weak keys and second forms of a
    /// signature are refused.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(message, &Ed25519::from_bytes(&signature.0)).is_ok()
    }
}

/// Signing failed: the command of `sign_command`, say.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SignError {
    /// One lower-case sentence.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Something that signs with one key: a key in memory, a command, a device.
pub trait Signer {
    /// The public half.
    fn public_key(&self) -> PublicKey;
    /// Signs a message.
    ///
    /// # Errors
    /// If the key cannot be used now.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// A signing key in memory. Wiped when dropped; never printed.
pub struct MemorySigner(SigningKey);

impl MemorySigner {
    /// The key that 32 secret bytes stand for.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        MemorySigner(SigningKey::from_bytes(seed))
    }
}

impl fmt::Debug for MemorySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySigner({}, secret)", self.public_key())
    }
}

impl Signer for MemorySigner {
    fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(Signature(self.0.sign(message).to_bytes()))
    }
}
