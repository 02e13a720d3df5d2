//! The journal of a database: what its stored objects say of themselves, how they are named and
//! chained, and which may go. Bytes and places are the business of the floor above.
//!
//! An object is one line of canonical JSON, the [`Header`], a line feed, and the log's own bytes. The
//! headers of one lineage are one signed hash chain: `prev` is the SHA-256 of the header line before,
//! and each header holds the SHA-256 of its own payload, so that the last one vouches for all.

mod cadence;
mod header;
pub mod keep;
mod link;
mod name;
mod wal;

pub use cadence::{keepalive_due, keepalive_every};
pub use header::{Draft, HISTORY, HISTORY_OF, Head, Header, Kind, Mistrust, StreamKey, WHY, seal};
pub use keep::START_EVERY;
pub use link::{Break, follows};
pub use name::{Name, PackName, chain_of, is_lineage, native, next_lineage, turn};
pub use wal::{WalHeader, WalKind, WalName, is_segment_size};

/// The format that this version writes. A newer one is refused, an older one is read for ever.
pub const FORMAT: u32 = 1;

#[cfg(test)]
mod keep_tests;
#[cfg(test)]
mod tests;
