//! Sealed objects: zstd, then age to one X25519 recipient. `age -d -i IDENTITY OBJECT | zstd -d`
//! opens one without Lifeboat.
//!
//! The recipient is the plan's, or that of an identity that first use makes and stores in the
//! tier, itself sealed by the vault key as passphrase, so that one secret opens everything.

use std::io::{Read, Write};
use std::str::FromStr;
use std::sync::OnceLock;

use age::secrecy::{ExposeSecret, SecretString};
use age::{Decryptor, Encryptor, scrypt, x25519};
use lifeboat_model::chain::Hash;
use zeroize::Zeroizing;

/// Where the sealed identity stands in a tier.
pub const IDENTITY: &str = "journal/identity.age";
/// The same identity for a further password of the vault, by the name of its key object.
pub fn identity_of(key: &lifeboat_vault::Id) -> String {
    format!("{FURTHER}{key}{AGE}")
}

/// The key object whose password opens such an identity; nothing for another object.
pub fn key_of_identity(object: &str) -> Option<lifeboat_vault::Id> {
    object.strip_prefix(FURTHER)?.strip_suffix(AGE)?.parse().ok()
}

const FURTHER: &str = "journal/identity-";
const AGE: &str = ".age";
/// The most that a sealed object may unfold to, bytes: a guard against a forged one.
const MOST: u64 = 256 << 20;
/// Largest scrypt work factor (log2) accepted when the identity is opened.
const MAX_WORK: u8 = 20;
/// scrypt work factor (log2) for a key with 256 bits: stretching adds nothing, age asks for some.
const WORK_GENERATED: u8 = 12;
/// scrypt work factor (log2) for a key that a person typed, about half a second.
const WORK_TYPED: u8 = 18;

/// Why an object could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The recipient is not an age X25519 recipient.
    #[error("{0} is not an age recipient (age1…)")]
    BadRecipient(String),
    /// The identity is not an age X25519 identity.
    #[error("the identity is not an age identity (AGE-SECRET-KEY-1…)")]
    BadIdentity,
    /// There is a recipient but no identity: this host can seal and not open.
    #[error("there is no identity to open sealed objects with")]
    NoIdentity,
    /// The tier's identity is gone, and what was sealed to it cannot be opened without.
    #[error("the tier's identity (journal/identity.age) is gone")]
    IdentityGone,
    /// Another identity than the known one.
    #[error("the tier's identity (journal/identity.age) is not the one that is known")]
    OtherIdentity,
    /// The vault key does not open the tier's identity.
    #[error("the vault key does not open the tier's identity")]
    WrongKey,
    /// The object is not sealed to this identity, or was changed.
    #[error("a sealed object does not open")]
    Decrypt(#[source] age::DecryptError),
    /// Sealing failed.
    #[error("an object cannot be sealed")]
    Encrypt(#[source] age::EncryptError),
    /// The content is not what it should be.
    #[error("a sealed object does not unfold")]
    Content(#[source] std::io::Error),
    /// It unfolds to more than anything that is ever sealed.
    #[error("a sealed object unfolds to more than {MOST} bytes")]
    TooLarge,
}

/// Seals and opens objects.
pub struct Sealer {
    recipient: x25519::Recipient,
    identity: Opener,
    /// SHA-256 of the tier's sealed identity, where that is the one.
    sealed: Option<String>,
}

/// What opens sealed objects.
enum Opener {
    None,
    Ready(x25519::Identity),
    /// The identity as the tier has it, not unsealed before it is needed: that is made costly.
    Sealed {
        body: Vec<u8>,
        passphrase: SecretString,
        opened: OnceLock<x25519::Identity>,
    },
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({}, opens: {})", self.recipient, self.opens())
    }
}

impl Sealer {
    /// A sealer to a recipient (`age1…`), which opens too if it has the identity.
    pub fn new(recipient: &str, identity: Option<&str>) -> Result<Sealer, SealError> {
        let recipient = x25519::Recipient::from_str(recipient.trim())
            .map_err(|_| SealError::BadRecipient(recipient.trim().to_owned()))?;
        let identity = identity.map(parse_identity).transpose()?;
        let identity = identity.map_or(Opener::None, Opener::Ready);
        Ok(Sealer { recipient, identity, sealed: None })
    }

    /// A sealer to the recipient that is known to be `sealed`'s. Sealing costs nothing; the first
    /// object that is opened unseals the identity, once.
    pub fn locked(recipient: &str, sealed: &[u8], passphrase: &str) -> Result<Sealer, SealError> {
        let passphrase = SecretString::from(passphrase.to_owned());
        let identity =
            Opener::Sealed { body: sealed.to_vec(), passphrase, opened: OnceLock::new() };
        Ok(Sealer {
            identity,
            sealed: Some(Hash::of(sealed).to_string()),
            ..Sealer::new(recipient, None)?
        })
    }

    /// A new identity and its form at rest, sealed by `passphrase`.
    pub fn generate(passphrase: &str, typed: bool) -> Result<(Sealer, Vec<u8>), SealError> {
        let identity = x25519::Identity::generate();
        let recipient = identity.to_public();
        let sealed = seal_identity(&identity, passphrase, typed)?;
        let print = Some(Hash::of(&sealed).to_string());
        Ok((Sealer { recipient, identity: Opener::Ready(identity), sealed: print }, sealed))
    }

    /// The identity, sealed by another passphrase.
    pub fn sealed_for(&self, passphrase: &str, typed: bool) -> Result<Vec<u8>, SealError> {
        seal_identity(self.identity()?, passphrase, typed)
    }

    /// The sealer whose identity is `sealed` by `passphrase`.
    pub fn unlock(sealed: &[u8], passphrase: &str) -> Result<Sealer, SealError> {
        let identity = unseal(sealed, SecretString::from(passphrase.to_owned()))?;
        Ok(Sealer {
            recipient: identity.to_public(),
            identity: Opener::Ready(identity),
            sealed: Some(Hash::of(sealed).to_string()),
        })
    }

    /// SHA-256 of the tier's sealed identity, hexadecimal, if this sealer came from it.
    pub fn sealed_as(&self) -> Option<&str> {
        self.sealed.as_deref()
    }

    /// True if the identity is at hand and need not be unsealed any more.
    pub fn is_unsealed(&self) -> bool {
        match &self.identity {
            Opener::None => false,
            Opener::Ready(_) => true,
            Opener::Sealed { opened, .. } => opened.get().is_some(),
        }
    }

    fn identity(&self) -> Result<&x25519::Identity, SealError> {
        match &self.identity {
            Opener::None => Err(SealError::NoIdentity),
            Opener::Ready(identity) => Ok(identity),
            Opener::Sealed { body, passphrase, opened } => {
                if let Some(identity) = opened.get() {
                    return Ok(identity);
                }
                let identity = unseal(body, passphrase.clone())?;
                if identity.to_public() != self.recipient {
                    return Err(SealError::OtherIdentity);
                }
                Ok(opened.get_or_init(|| identity))
            }
        }
    }

    /// What opens sealed objects, as a line of text.
    pub fn identity_text(&self) -> Result<crate::env::Secret, SealError> {
        let text = self.identity()?.to_string();
        Ok(crate::env::Secret::new(text.expose_secret()))
    }

    /// The recipient, `age1…`. Not secret.
    pub fn recipient(&self) -> String {
        self.recipient.to_string()
    }

    /// True if it can open what it seals.
    pub fn opens(&self) -> bool {
        !matches!(self.identity, Opener::None)
    }

    /// zstd, then age.
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let packed = zstd::bulk::compress(plain, 3).map_err(SealError::Content)?;
        encrypt(&self.recipient, &packed)
    }

    /// age, then zstd.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let packed = decrypt(self.identity()?, sealed)?;
        let decoder = zstd::stream::read::Decoder::new(&packed[..]).map_err(SealError::Content)?;
        let mut plain = Vec::new();
        decoder.take(MOST + 1).read_to_end(&mut plain).map_err(SealError::Content)?;
        if plain.len() as u64 > MOST { Err(SealError::TooLarge) } else { Ok(plain) }
    }
}

fn seal_identity(
    identity: &x25519::Identity,
    passphrase: &str,
    typed: bool,
) -> Result<Vec<u8>, SealError> {
    let (recipient, secret) = (identity.to_public(), identity.to_string());
    let text = Zeroizing::new(format!("# public key: {recipient}\n{}\n", secret.expose_secret()));
    let mut lock = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    lock.set_work_factor(if typed { WORK_TYPED } else { WORK_GENERATED });
    encrypt(&lock, text.as_bytes())
}

/// Seals by a passphrase that a person typed: `age -d` opens it.
pub fn by_passphrase(plain: &[u8], passphrase: &str) -> Result<Vec<u8>, SealError> {
    let mut lock = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    lock.set_work_factor(WORK_TYPED);
    encrypt(&lock, plain)
}

/// Opens what a passphrase sealed; [`SealError::WrongKey`] if it was another one.
pub fn of_passphrase(sealed: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
    opened_by(sealed, SecretString::from(passphrase.to_owned()))
}

fn opened_by(sealed: &[u8], passphrase: SecretString) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut key = scrypt::Identity::new(passphrase);
    key.set_max_work_factor(MAX_WORK);
    match decrypt(&key, sealed) {
        Ok(plain) => Ok(Zeroizing::new(plain)),
        Err(SealError::Decrypt(
            age::DecryptError::DecryptionFailed
            | age::DecryptError::KeyDecryptionFailed
            | age::DecryptError::NoMatchingKeys,
        )) => Err(SealError::WrongKey),
        Err(other) => Err(other),
    }
}

fn unseal(sealed: &[u8], passphrase: SecretString) -> Result<x25519::Identity, SealError> {
    let text = opened_by(sealed, passphrase)?;
    let text = std::str::from_utf8(&text).map_err(|_| SealError::BadIdentity)?;
    parse_identity(text)
}

/// The first identity of an age identity file.
fn parse_identity(text: &str) -> Result<x25519::Identity, SealError> {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#'));
    line.and_then(|l| x25519::Identity::from_str(l).ok()).ok_or(SealError::BadIdentity)
}

fn encrypt(recipient: &dyn age::Recipient, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let encryptor =
        Encryptor::with_recipients(std::iter::once(recipient)).map_err(SealError::Encrypt)?;
    let mut sealed = Vec::with_capacity(plain.len() + 512);
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(SealError::Content)?;
    writer.write_all(plain).map_err(SealError::Content)?;
    writer.finish().map_err(SealError::Content)?;
    Ok(sealed)
}

fn decrypt(identity: &dyn age::Identity, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let decryptor = Decryptor::new_buffered(sealed).map_err(SealError::Decrypt)?;
    let mut reader = decryptor.decrypt(std::iter::once(identity)).map_err(SealError::Decrypt)?;
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).map_err(SealError::Content)?;
    Ok(plain)
}
