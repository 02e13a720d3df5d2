//! Why a chain does not lead on from a base: it begins later, it was pruned, its stream recorded a
//! break; or something is wrong with it, which is told apart.

use lifeboat_model::position::{LogPosition, Position};

use super::JournalError;
use super::fault::Fault;
use super::walk::{Ended, Path};

/// The chains that do not lead on from a base, and why.
#[derive(Default)]
pub(super) struct Passed {
    /// In words.
    pub instead: Vec<String>,
    /// What is wrong there, if it is that.
    pub broken: Option<String>,
}

impl Passed {
    pub(super) fn add(&mut self, (instead, broken): (String, Option<String>)) {
        self.instead.push(instead);
        self.broken = self.broken.take().or(broken);
    }

    pub(super) fn join(&mut self, other: Passed) {
        self.instead.extend(other.instead);
        self.broken = self.broken.take().or(other.broken);
    }

    /// None of them does.
    pub(super) fn refusal(mut self, base: &LogPosition) -> JournalError {
        self.instead.dedup();
        let instead = self.instead.join("; ");
        JournalError::NotCovered {
            base: base.clone(),
            instead,
            broken: self.broken.map(String::into_boxed_str),
        }
    }
}

/// The first thing that is wrong and may have taken records away.
pub(super) fn first_fault(faults: &[Fault], above: u32) -> Option<&Fault> {
    let above = faults.iter().filter(|fault| fault.takes_away() && fault.seq.1 > above);
    above.min_by_key(|fault| fault.seq)
}

/// Why a path does not reach down (or up) to a base, in words; and what is wrong there, if it is
/// that.
pub(super) fn below(path: &Path, base: Position, faults: &[Fault]) -> (String, Option<String>) {
    let from = path.bottom.from;
    if base > path.top.to {
        let end = path.top.to;
        return match first_fault(faults, path.top.seq) {
            Some(Fault { why, .. }) => {
                (format!("after {end} it is broken: {why}"), Some(why.clone()))
            }
            None => (format!("it ends at {end}, before the base"), None),
        };
    }
    match &path.ended {
        Some(Ended::Broken(Fault { why, .. })) => {
            (format!("before {from} it is broken: {why}"), Some(why.clone()))
        }
        Some(Ended::Pruned) => (format!("it was pruned up to {from}: take a newer snapshot"), None),
        _ => (format!("it begins at {from}: take a newer snapshot"), None),
    }
}

/// Of a chain in which nothing is believed.
pub(super) fn nothing(lineage: &str, faults: &[Fault]) -> (String, Option<String>) {
    match first_fault(faults, 0) {
        Some(Fault { why, .. }) => {
            (format!("nothing of {lineage} can be used: {why}"), Some(why.clone()))
        }
        None => (format!("{lineage} holds no record"), None),
    }
}
