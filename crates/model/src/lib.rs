//! Floor 0: the nouns and rules of a disaster-recovery plan.
//!
//! No files, no network, no clock, no async, no random: every function is pure, so every decision
//! can be shown, tested and rehearsed.

pub mod check;
pub mod exit;
pub mod manifest;
pub mod verdict;
