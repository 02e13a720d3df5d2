//! One object: header line, line feed, payload; sealed as one.

use bytes::Bytes;
use lifeboat_model::chain::{ChainError, Hash, PublicKey};
use lifeboat_model::journal::{Header, Mistrust, Name};

use super::{JournalError, Result};
use crate::seal::Sealer;

/// An object that was opened and proven.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    /// Its header.
    pub header: Header,
    /// SHA-256 of the header line.
    pub hash: Hash,
    /// The key that signed it.
    pub key: PublicKey,
    /// Its payload.
    pub payload: Bytes,
}

/// The plaintext of an object.
pub(super) fn plain(line: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len() + 1 + payload.len());
    plain.extend_from_slice(line);
    plain.push(b'\n');
    plain.extend_from_slice(payload);
    plain
}

/// Opens and proves an object that is to be `name` of `chain`; `at` names it in errors.
pub(super) fn open(
    sealer: &Sealer,
    sealed: &[u8],
    (chain, name): (&str, &Name),
    trusted: &[PublicKey],
    at: &str,
) -> Result<Opened> {
    let damaged = |why: &str| JournalError::Damaged { object: at.to_owned(), why: why.to_owned() };
    let plain = match sealer.open(sealed) {
        Ok(plain) => plain,
        Err(error @ crate::seal::SealError::NoIdentity) => return Err(error.into()),
        Err(error) => return Err(damaged(&chained(&error))),
    };
    let end = plain.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("it has no header"))?;
    let (header, hash, key) = judge(&plain[..end], (chain, name), trusted, at)?;
    let payload = Bytes::from(plain).slice(end + 1..);
    if !header.holds(&payload) {
        return Err(damaged("its content is not that of its header"));
    }
    Ok(Opened { header, hash, key, payload })
}

/// Reads and proves a header line.
pub(super) fn judge(
    line: &[u8],
    (chain, name): (&str, &Name),
    trusted: &[PublicKey],
    at: &str,
) -> Result<(Header, Hash, PublicKey)> {
    let damaged = |why: String| JournalError::Damaged { object: at.to_owned(), why };
    let header = Header::read(line).map_err(|error| match error {
        ChainError::Newer(found) => JournalError::Newer { object: at.to_owned(), found },
        other => damaged(other.to_string()),
    })?;
    if header.chain != chain || header.name() != *name {
        return Err(damaged(format!("it is {} of {}", header.name(), header.chain)));
    }
    let key = header.signer(trusted).map_err(|why| JournalError::Foreign {
        object: at.to_owned(),
        key: match why {
            Mistrust::Foreign(key) => Some(key),
            Mistrust::Forged => None,
        },
    })?;
    Ok((header, Hash::of(line), key))
}

/// An error and its causes in one line.
pub(super) fn chained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
