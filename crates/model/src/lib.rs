//! Floor 0: the nouns and rules of a disaster-recovery plan.
//!
//! No files, no network, no clock, no async, no random: every function is pure, so every decision
//! can be shown, tested and rehearsed.

pub mod artefact;
pub mod canonical;
pub mod chain;
pub mod check;
pub mod duration;
pub mod exit;
pub mod journal;
pub mod lint;
pub mod manifest;
pub mod measure;
pub mod objective;
pub mod plan;
pub mod position;
pub mod recipe;
pub mod report;
pub mod retention;
pub mod schedule;
pub mod schema;
pub mod size;
pub mod span;
pub mod verdict;
