//! What the ledger says and what it can prove.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use serde::Serialize;

use super::{Failure, Head};

/// What kind of fault was found in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An entry's content does not match its hash or signature.
    Edited,
    /// An acknowledged entry is not there.
    Removed,
    /// Entries stand in another order.
    Reordered,
    /// The chain ends before a head that a tier or the local state holds.
    Truncated,
    /// Signed by a key that the chain did not introduce, or that is not the trusted one.
    ForeignKey,
    /// An entry of another host's chain.
    ForeignHost,
    /// The local chain and the tier's differ.
    Diverged,
    /// An object or line cannot be read.
    Unreadable,
    /// Evidence is missing or does not match the ledger.
    Evidence,
    /// A remark that is no fault (a torn last line that was never acknowledged).
    Note,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditFinding {
    /// What kind.
    pub kind: FindingKind,
    /// The entry concerned.
    pub seq: Option<u64>,
    /// Where: `this host`, or the tier's name.
    pub place: String,
    /// One sentence.
    pub what: String,
}

/// What one tier says about the chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Anchor {
    /// Tier name.
    pub tier: String,
    /// True if the host could not overwrite it; a local folder never is.
    pub immutable: bool,
    /// The last entry that a signed checkpoint there covers.
    pub anchored_to: Option<u64>,
    /// Entries found there.
    pub entries: u64,
    /// Why it could not be asked.
    pub error: Option<Failure>,
}

/// The verification of the ledger. Schema `lifeboat/audit-verify`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditVerifyReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// Fail if anything was changed; inconclusive if no tier answered.
    pub verdict: Verdict,
    /// Host whose chain it is.
    pub chain: String,
    /// Entries in the chain.
    pub entries: u64,
    /// The last entry that a tier holds the head of.
    pub anchored_to: Option<u64>,
    /// The last entry up to which the chain agrees with itself.
    pub consistent_to: Option<u64>,
    /// Fingerprint of the key that signed last.
    pub key: Option<String>,
    /// True if a fingerprint was given from outside.
    pub key_given: bool,
    /// True if that key is the one given from outside, or one that it announced.
    pub key_trusted: bool,
    /// The tiers that were asked.
    pub anchors: Vec<Anchor>,
    /// What was found.
    pub findings: Vec<AuditFinding>,
    /// What this proves and what it does not, in sentences.
    pub statement: Vec<String>,
}

impl AuditVerifyReport {
    /// 0 or 9.
    pub fn exit(&self) -> Exit {
        if self.verdict == Verdict::Pass { Exit::Done } else { Exit::Unverified }
    }
}

/// One entry as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedEntry {
    /// Sequence number, from 1.
    pub seq: u64,
    /// Wall time.
    pub time: Timestamp,
    /// Who asked.
    pub operator: String,
    /// What (`backup`, `restore` …).
    pub action: String,
    /// On what.
    pub object: String,
    /// `started`, `done`, `failed` …
    pub outcome: String,
    /// The entry that began what this one ends.
    pub of: Option<u64>,
    /// More, in words.
    pub detail: serde_json::Value,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// True if a tier has it.
    pub shipped: bool,
}

/// The ledger, newest last. Schema `lifeboat/audit-log`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditLogReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// The entries.
    pub entries: Vec<LoggedEntry>,
    /// Actions that ended without saying so.
    pub interrupted: Vec<super::status::InterruptedAction>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}
