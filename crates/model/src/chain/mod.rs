//! The one signed hash chain, for the ledger (audit log), journals and scenario logs.
//!
//! An entry is one line of canonical JSON (see [`crate::canonical`]): keys sorted, no white space,
//! no fractions, absent keys left out. `signature` is Ed25519 over
//! `"lifeboat chain 1\n"` and the entry's canonical bytes without `signature`. `prev` is SHA-256 of
//! the whole line before, signature included; 64 zeros in the first entry, whose `seq` is 1.
//! Any change of any byte of a stored line is found, for only the canonical bytes are accepted.
//!
//! `key` stands in the first entry and in each that another key signed than the one before;
//! `next_key` announces a successor under the old key's signature.

mod document;
mod entry;
mod evidence;
mod key;
mod revision;
mod verify;

pub use document::{Checkpoint, Document, DocumentError, Signed};
pub(crate) use entry::without_fractions;
pub use entry::{ChainError, Draft, Entry, Head, Phase, PlanRef, open_actions, seal};
pub use evidence::{ComponentEvidence, Evidence, Stage};
pub use key::{Hash, HexError, MemorySigner, PublicKey, SignError, Signature, Signer};
pub use revision::{PlanText, Revision};
pub use verify::{Fault, FaultKind, Link, Report, verify, verify_after};

/// The format that this version writes. A newer one is refused, an older one is read for ever.
pub const FORMAT: u32 = 1;

/// Shared by the tests of this floor.
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
