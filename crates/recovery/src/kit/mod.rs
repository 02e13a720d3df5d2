//! The recovery kit: what a bare machine needs besides the binary and one tier.
//!
//! One small file, sealed by a passphrase (age, scrypt), with the vault key, the identity, credentials
//! of tiers, the plan and the keys that are believed. `age -d FILE` prints it: it is JSON. A folder
//! that `bootstrap` made keeps what its commands need of it in `.lifeboat/kit.json` ([`Rescue`]).

mod document;
mod rescue;
mod standing;

pub use document::{Kit, KitSecret, KitTier, Seen};
pub use rescue::{RESCUE, Rescue};
pub use standing::{ACTION, DRILLED, KitNag, matters, nags};
