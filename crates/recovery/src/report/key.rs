//! The report of a further key, a rotation, or a successor of a vault whose key leaked.

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use serde::Serialize;

use super::{Head, LeftOut, TierRef};

/// A key object of a vault. Its password is nowhere in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedKey {
    /// Its name.
    pub key: String,
    /// When it was made, if it says.
    pub created: Option<Timestamp>,
    /// Who made it.
    pub user: String,
    /// Where.
    pub host: String,
    /// What is wrong with it, if it cannot be read.
    pub damage: Option<String>,
}

/// What became of the keys of one tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyTier {
    /// The tier.
    pub tier: TierRef,
    /// The key object of the new password; nothing where none was made yet.
    pub key: Option<String>,
    /// The new password opened the vault already: added before, or by a run that was broken off.
    pub already: bool,
    /// Key objects of the old password, which are gone (or would go).
    pub removed: Vec<String>,
    /// Key objects of other passwords: those still open the vault.
    pub others: Vec<ListedKey>,
}

/// The vault that takes the place of one whose master key may be known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Successor {
    /// Its tier.
    pub tier: TierRef,
    /// Its repository id; nothing where none was made yet.
    pub vault: Option<String>,
    /// Snapshots that were copied into it.
    pub copied: u64,
    /// Snapshots that it had already.
    pub present: u64,
    /// Snapshots that are not whole and were not copied.
    pub left_out: Vec<LeftOut>,
    /// Stored bytes that went over.
    pub bytes: u64,
    /// Tiers that are on hold now: nothing is written to them or removed from them any more.
    pub on_hold: Vec<TierRef>,
}

/// The report of `key add` and `key rotate`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyReport {
    /// What every report begins with.
    #[serde(flatten)]
    pub head: Head,
    /// `add` or `rotate`.
    pub action: &'static str,
    /// Nothing was changed: this is what would be done.
    pub dry_run: bool,
    /// The tiers.
    pub tiers: Vec<KeyTier>,
    /// The new vault, where the old one's master key may be known.
    pub successor: Option<Successor>,
    /// What is to be done by hand.
    pub next: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl KeyReport {
    /// The exit code that the report means.
    pub fn exit(&self) -> Exit {
        let whole = self.successor.as_ref().is_none_or(|new| new.left_out.is_empty());
        if whole { Exit::Done } else { Exit::Problems }
    }
}
