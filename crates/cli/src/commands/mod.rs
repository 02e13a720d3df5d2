//! One file a command or a family of them: it parses what was typed, calls a flow and renders what
//! came back.

pub mod bootstrap;
pub mod doctor;
pub mod export;
pub mod keys;
pub mod kit;
pub mod kit_drill;
pub mod lint;
pub mod maintain;
pub mod manuals;
pub mod plan;
pub mod protect;
pub mod prove;
pub mod restore;
pub mod status;
pub mod stream;
pub mod wal;
