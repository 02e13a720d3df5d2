//! AES-256-CTR with Poly1305-AES, as the restic format has it: `IV || ciphertext || MAC`.
//!
//! The MAC key of each message is `r || AES-128(k, IV)`; `r` is masked by Poly1305 itself. The MAC
//! covers the ciphertext alone. A message is never decrypted before its MAC was found right.

use std::cell::RefCell;

use aes::cipher::{
    BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper,
};
use aes::{Aes128, Aes256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};

/// Bytes of the initialisation vector in front of a message.
pub const IV_LENGTH: usize = 16;
/// Bytes of the MAC behind a message.
pub const MAC_LENGTH: usize = 16;
/// Bytes that sealing adds to a message.
pub const OVERHEAD: usize = IV_LENGTH + MAC_LENGTH;

/// The MAC does not fit: another key, or changed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes do not fit their authentication code")]
pub struct Unauthentic;

/// Seals and opens messages. Redacted in `Debug`; its secret bytes are wiped when dropped.
#[derive(Clone)]
pub struct Key {
    secret: Secret,
    encrypt: Aes256,
    nonce: Aes128,
}

/// Layout: encryption key (32) || k (16) || r (16), the order of restic's derived keys.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
struct Secret([u8; 64]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A new random key.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0u8; 64]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// From 64 bytes: encryption key, `k`, `r`.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let [mut encrypt, mut k] = [[0u8; 32], [0u8; 32]];
        encrypt.copy_from_slice(&bytes[..32]);
        k[..16].copy_from_slice(&bytes[32..48]);
        let mut nonce = [0u8; 16];
        nonce.copy_from_slice(&k[..16]);
        let key = Key {
            secret: Secret(*bytes),
            encrypt: Aes256::new(&encrypt.into()),
            nonce: Aes128::new(&nonce.into()),
        };
        encrypt.zeroize();
        k.zeroize();
        nonce.zeroize();
        key
    }

    /// The 64 secret bytes: encryption key, `k`, `r`.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.secret.0)
    }

    /// A public name for this key that says nothing about it.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"lifeboat vault master key fingerprint v1\0");
        hasher.update(self.secret.0);
        let bytes: [u8; 32] = hasher.finalize().into();
        hex::encode(bytes)
    }

    /// restic refuses keys whose parts are all zero; so do we.
    pub fn is_valid(&self) -> bool {
        let nonzero = |part: &[u8]| part.iter().any(|byte| *byte != 0);
        let s = &self.secret.0;
        nonzero(&s[..32]) && nonzero(&s[32..48]) && nonzero(&s[48..])
    }

    /// Bytes for uses beside sealing, derived from the key under a domain name.
    pub fn derive(&self, domain: &str) -> Zeroizing<[u8; 32]> {
        let mut hasher = Sha256::new();
        hasher.update(b"lifeboat vault derived key v1\0");
        hasher.update((domain.len() as u64).to_le_bytes());
        hasher.update(domain.as_bytes());
        hasher.update(self.secret.0);
        Zeroizing::new(hasher.finalize().into())
    }

    /// `plaintext` as `IV || ciphertext || MAC` under a new random IV.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(plaintext.len() + OVERHEAD);
        self.seal_into(plaintext, &mut buffer)?;
        Ok(buffer)
    }

    /// Appends `IV || ciphertext || MAC` of `plaintext` to `out`, without further allocation where
    /// `out` has room for the plaintext's length and [`OVERHEAD`].
    pub fn seal_into(&self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.reserve(plaintext.len() + OVERHEAD);
        out.extend_from_slice(&random_iv()?);
        out.extend_from_slice(plaintext);
        self.seal_tail(out, start)
    }

    /// Seals in place: `buffer` holds [`IV_LENGTH`] spare bytes and then the plaintext; afterwards
    /// it holds the sealed message.
    pub fn seal_in_place(&self, buffer: &mut Vec<u8>) -> Result<()> {
        if buffer.len() < IV_LENGTH {
            return Err(no_room());
        }
        buffer[..IV_LENGTH].copy_from_slice(&random_iv()?);
        self.seal_tail(buffer, 0)
    }

    /// Encrypts what stands behind the IV at `start` and appends the MAC.
    fn seal_tail(&self, buffer: &mut Vec<u8>, start: usize) -> Result<()> {
        let tail = buffer.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut::<IV_LENGTH>);
        let (iv, text) = tail.ok_or_else(no_room)?;
        self.apply(iv, text);
        let mac = self.mac(iv, text);
        buffer.extend_from_slice(&mac);
        Ok(())
    }

    /// The plaintext of a sealed message.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Unauthentic> {
        let (iv, text) = self.verify(sealed)?;
        let mut plain = text.to_vec();
        self.apply(&iv, &mut plain);
        Ok(plain)
    }

    /// Opens in place and returns the part of `sealed` that is the plaintext.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], Unauthentic> {
        let (iv, _) = self.verify(sealed)?;
        let end = sealed.len() - MAC_LENGTH;
        let text = &mut sealed[IV_LENGTH..end];
        self.apply(&iv, text);
        Ok(text)
    }

    fn verify<'a>(&self, sealed: &'a [u8]) -> Result<([u8; IV_LENGTH], &'a [u8]), Unauthentic> {
        let (iv, rest) = sealed.split_first_chunk::<IV_LENGTH>().ok_or(Unauthentic)?;
        let (text, mac) = rest.split_last_chunk::<MAC_LENGTH>().ok_or(Unauthentic)?;
        // restic never writes an all-zero IV and refuses to read one.
        if iv.iter().all(|byte| *byte == 0) || !bool::from(self.mac(iv, text).ct_eq(mac)) {
            return Err(Unauthentic);
        }
        Ok((*iv, text))
    }

    fn apply(&self, iv: &[u8; IV_LENGTH], text: &mut [u8]) {
        type Core<'a> = ctr::CtrCore<&'a Aes256, ctr::flavors::Ctr128BE>;
        let core = Core::inner_iv_init(&self.encrypt, iv.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(text);
    }

    fn mac(&self, iv: &[u8; IV_LENGTH], text: &[u8]) -> [u8; MAC_LENGTH] {
        let mut key = Zeroizing::new([0u8; 32]);
        key[..16].copy_from_slice(&self.secret.0[48..]);
        let mut mask = (*iv).into();
        self.nonce.encrypt_block(&mut mask);
        key[16..].copy_from_slice(&mask);
        let mut poly = Poly1305::new((&*key).into());
        // Whole blocks go through the parallel path, the rest through the one without padding.
        let (blocks, rest) = poly1305::Block::slice_as_chunks(text);
        poly.update(blocks);
        poly.compute_unpadded(rest).into()
    }
}

/// A fresh IV. Random bytes are fetched for many at once: for small blobs the call would cost as
/// much as the sealing.
fn random_iv() -> Result<[u8; IV_LENGTH]> {
    const AT_ONCE: usize = 64;
    thread_local! {
        static POOL: RefCell<Vec<[u8; IV_LENGTH]>> = const { RefCell::new(Vec::new()) };
    }
    POOL.with_borrow_mut(|pool| {
        loop {
            match pool.pop() {
                // restic refuses an IV of zeros.
                Some(iv) if iv.iter().any(|byte| *byte != 0) => return Ok(iv),
                Some(_) => {}
                None => {
                    let mut bytes = [[0u8; IV_LENGTH]; AT_ONCE];
                    getrandom::fill(bytes.as_flattened_mut())?;
                    pool.extend_from_slice(&bytes);
                }
            }
        }
    })
}

#[derive(Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
struct KeyJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
struct MacJson {
    k: String,
    r: String,
}

impl Key {
    /// The JSON that restic keeps inside a key file.
    pub(crate) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        let s = &self.secret.0;
        let text = |part: &[u8]| STANDARD.encode(part);
        let mac = MacJson { k: text(&s[32..48]), r: text(&s[48..]) };
        let json = KeyJson { mac, encrypt: text(&s[..32]) };
        serde_json::to_vec(&json)
            .map(Zeroizing::new)
            .map_err(|_| Error::Invalid("a key cannot be written as JSON".into()))
    }

    /// Reads restic's JSON of a master key; `None` if it is not one.
    pub(crate) fn from_json(json: &[u8]) -> Option<Self> {
        let json: KeyJson = serde_json::from_slice(json).ok()?;
        let mut bytes = Zeroizing::new([0u8; 64]);
        let parts = [(&json.encrypt, 0..32usize), (&json.mac.k, 32..48), (&json.mac.r, 48..64)];
        for (text, range) in parts {
            let part = Zeroizing::new(STANDARD.decode(text.as_bytes()).ok()?);
            if part.len() != range.len() {
                return None;
            }
            bytes[range].copy_from_slice(&part);
        }
        let key = Key::from_bytes(&bytes);
        key.is_valid().then_some(key)
    }
}

fn no_room() -> Error {
    Error::Invalid("no room for the initialisation vector".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let mut bytes = [0u8; 64];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8 + 1;
        }
        Key::from_bytes(&bytes)
    }

    /// Vectors of "The Poly1305-AES message-authentication code", appendix B, with the MAC over the
    /// given message and the nonce as our IV.
    #[test]
    fn mac_of_the_poly1305_aes_paper() {
        let cases = [
            (
                "f3f6",
                "851fc40c3467ac0be05cc20404f3f700",
                "ec074c835580741701425b623235add6",
                "fb447350c4e868c52ac3275cf9d4327e",
                "f4c633c3044fc145f84f335cb81953de",
            ),
            (
                "",
                "a0f3080000f46400d0c7e9076c834403",
                "75deaa25c09f208e1dc4ce6b5cad3fbf",
                "61ee09218d29b0aaed7e154a2c5509cc",
                "dd3fab2251f11ac759f0887129cc2ee7",
            ),
            (
                "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
                "48443d0bb0d21109c89a100b5ce2c208",
                "6acb5f61a7176dd320c5c1eb2edcdc74",
                "ae212a55399729595dea458bc621ff0e",
                "0ee1c16bb73f0f4fd19881753c01cdbe",
            ),
        ];
        for (message, r, k, iv, mac) in cases {
            let mut bytes = [1u8; 64];
            bytes[32..48].copy_from_slice(&hex::decode(k).unwrap());
            bytes[48..].copy_from_slice(&hex::decode(r).unwrap());
            let iv: [u8; 16] = hex::decode(iv).unwrap().try_into().unwrap();
            let found = Key::from_bytes(&bytes).mac(&iv, &hex::decode(message).unwrap());
            assert_eq!(hex::encode(found), mac);
        }
    }

    /// NIST SP 800-38A, F.5.5 (CTR-AES256).
    #[test]
    fn ctr_of_the_nist_vectors() {
        let mut bytes = [1u8; 64];
        let key = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        bytes[..32].copy_from_slice(&hex::decode(key).unwrap());
        let iv: [u8; 16] =
            hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap().try_into().unwrap();
        let mut text =
            hex::decode("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
                .unwrap();
        Key::from_bytes(&bytes).apply(&iv, &mut text);
        let sealed = "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5";
        assert_eq!(hex::encode(text), sealed);
    }

    #[test]
    fn round_trips_of_all_small_lengths_and_in_place() {
        let key = key();
        for length in (0..200).chain([4095, 4096, 70_001]) {
            let plain: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let mut sealed = key.seal(&plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(key.open(&sealed).unwrap(), plain);
            let mut spare = vec![0; IV_LENGTH];
            spare.extend_from_slice(&plain);
            key.seal_in_place(&mut spare).unwrap();
            assert_eq!(key.open(&spare).unwrap(), plain);
            assert_eq!(key.open_in_place(&mut sealed).unwrap(), plain);
        }
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let key = key();
        let sealed = key.seal(b"a short message").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&changed), Err(Unauthentic), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(key.open(&sealed[..length]), Err(Unauthentic), "length {length}");
        }
        assert_eq!(Key::generate().unwrap().open(&sealed), Err(Unauthentic));
    }

    #[test]
    fn json_round_trip_and_redaction() {
        let key = key();
        let json = key.to_json().unwrap();
        assert_eq!(*Key::from_json(&json).unwrap().to_bytes(), *key.to_bytes());
        assert!(Key::from_json(b"{}").is_none());
        assert!(Key::from_json(&Key::from_bytes(&[0; 64]).to_json().unwrap()).is_none());
        assert_eq!(format!("{key:?}"), "Key(..)");
        assert_ne!(key.fingerprint(), Key::generate().unwrap().fingerprint());
    }
}
