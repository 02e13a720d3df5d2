//! The journal of a database in the tiers: written by a stream, read by a restore.
//!
//! Objects are sealed, signed, chained, created once and never changed. A [`Writer`] records what it
//! is about to store before it stores it, so that it knows its own object again after a kill or a
//! lost answer, and stops where somebody else's is in its place. A [`Journal`] reads: every object
//! that it gives out was proven by its signature, its place in the chain and the hash of its payload.
//! What is missing, damaged, foreign or beside the way is named, and nothing leads across a gap.

mod believed;
mod catch_up;
mod check;
mod covering;
mod error;
mod fault;
mod handed;
mod head;
mod keys;
mod leg;
mod local;
mod object;
mod pack;
mod packing;
mod passed;
mod place;
mod prune;
mod push;
mod queue;
mod reader;
mod records;
mod shelf;
mod standing;
mod storing;
mod tiers;
mod walk;
mod way;
mod whole;
mod writer;

pub use catch_up::{CaughtUp, Copier};
pub use check::{Checked, Depth};
pub use covering::Held;
pub use error::{Break, JournalError};
pub use fault::{Fault, FaultKind, Gap, Window};
pub use handed::Handed;
pub use keys::{StreamSigner, stream_signer, trusted_keys};
pub use local::local_folder;
pub use packing::{PackPolicy, Packed, Packer};
pub use place::{Listing, folder_of, list};
pub use prune::{JournalFate, Pruning, prune};
pub use push::{Away, Opens, PushTier, Pushed, Pushing, WalFile, handed_logs, push};
pub use reader::{HandedOver, Journal, ReadFrom, Survey};
pub use standing::{Standing, standing};
pub use tiers::JournalTier;
pub use way::{Reach, Way};
pub use writer::{Appended, Pending, Settings, Writer};

/// Result of the journal.
pub type Result<T, E = JournalError> = std::result::Result<T, E>;
