//! A file that a server handed over, as it lies beside the chain: header line, line feed, content,
//! sealed as one. The header is signed by itself.

use bytes::Bytes;
use lifeboat_model::chain::{DocumentError, PublicKey, Signed, Signer};
use lifeboat_model::journal::{WalHeader, WalName};
use lifeboat_vault::StoreErrorKind;

use super::place::{chain_of, wal_key};
use super::records::Inner;
use super::{JournalError, Result, object};
use crate::seal::{SealError, Sealer};

/// A stored file that was opened and proven.
#[derive(Debug, Clone)]
pub struct Handed {
    /// What it says of itself.
    pub header: WalHeader,
    /// Its content.
    pub content: Bytes,
}

/// Signs and seals a file.
pub(super) fn seal(
    sealer: &Sealer,
    signer: &dyn Signer,
    header: WalHeader,
    content: &[u8],
) -> Result<Bytes> {
    let signed = Signed::new(header, signer).map_err(|error| JournalError::Sign(error.into()))?;
    Ok(Bytes::from(sealer.seal(&object::plain(&signed.bytes(), content))?))
}

/// Opens and proves what is to be the file `name` of `chain`; `at` names it in errors.
pub(super) fn open(
    sealer: &Sealer,
    sealed: &[u8],
    (chain, name): (&str, &WalName),
    trusted: &[PublicKey],
    at: &str,
) -> Result<Handed> {
    let damaged = |why: String| JournalError::Damaged { object: at.to_owned(), why };
    let plain = match sealer.open(sealed) {
        Ok(plain) => plain,
        Err(error @ SealError::NoIdentity) => return Err(error.into()),
        Err(error) => return Err(damaged(object::chained(&error))),
    };
    let end = plain.iter().position(|b| *b == b'\n');
    let end = end.ok_or_else(|| damaged("it has no header".to_owned()))?;
    let signed: Signed<WalHeader> = Signed::read(&plain[..end]).map_err(|error| match error {
        DocumentError::Newer { found, .. } => JournalError::Newer { object: at.to_owned(), found },
        other => damaged(object::chained(&other)),
    })?;
    if !trusted.contains(&signed.key) || signed.verify(&[]).is_err() {
        let forged = signed.verify(&[]).is_err();
        let key = (!forged).then_some(signed.key);
        return Err(JournalError::Foreign { object: at.to_owned(), key });
    }
    let header = signed.document;
    if header.chain != chain || header.name != name.to_string() {
        return Err(damaged(format!("it is {} of {}", header.name, header.chain)));
    }
    let content = Bytes::from(plain).slice(end + 1..);
    if !header.holds(&content) {
        return Err(damaged("its content is not that of its header".to_owned()));
    }
    Ok(Handed { header, content })
}

impl Inner {
    /// The file of a log that a server handed over, proven.
    ///
    /// # Errors
    /// As reading any object; [`JournalError::Missing`] if it went since it was listed.
    pub(super) fn handed(&self, native: &str, name: &WalName) -> Result<Handed> {
        let chain = chain_of(&self.component, native);
        let key = wal_key(&chain, name);
        let sealed = self.store.get(&key).map_err(|error| match error.kind {
            StoreErrorKind::NotFound => JournalError::Missing { object: key.clone() },
            _ => error.into(),
        })?;
        open(&self.sealer, &sealed, (&chain, name), &self.trusted, &key)
    }

    /// Is a file of this name listed?
    pub(super) fn lists(&self, native: &str, name: &WalName) -> bool {
        self.listing.handed.get(native).is_some_and(|names| names.contains_key(name))
    }
}

/// True where the object itself is at fault, not the way to it.
pub(super) fn is_fault(error: &JournalError) -> bool {
    matches!(
        error,
        JournalError::Foreign { .. }
            | JournalError::Damaged { .. }
            | JournalError::Missing { .. }
            | JournalError::Newer { .. }
    )
}
