//! The reading end of a component's journal in one tier.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_model::chain::PublicKey;
use lifeboat_model::journal::{WalKind, native, turn};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_vault::{Cancel, Store};
use serde::Serialize;

use super::fault::{Fault, FaultKind, Gap, Window};
use super::passed::Passed;
use super::place::list;
use super::records::{Headers, Inner, Records};
use super::walk::{Gather, Path, Walked, walk};
use super::way::{Way, lay};
use super::{JournalError, Result};
use crate::ports::RecoverTo;
use crate::seal::Sealer;

/// What a journal is read from.
pub struct ReadFrom {
    /// The tier's objects.
    pub store: Arc<dyn Store>,
    /// Opens them.
    pub sealer: Arc<Sealer>,
    /// The component.
    pub component: String,
    /// Whose objects are believed ([`super::trusted_keys`]).
    pub trusted: Vec<PublicKey>,
    /// The folder of the component's local state ([`super::local_folder`]), where there is one: it
    /// saves opening what was written here.
    pub local: Option<PathBuf>,
    /// Stop request.
    pub cancel: Cancel,
}

/// See the module.
pub struct Journal {
    pub(super) inner: Arc<Inner>,
}

/// What servers handed over of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HandedOver {
    /// The log, as its source names it.
    pub lineage: String,
    /// Files.
    pub files: u64,
    /// Bytes that they take in the tier.
    pub bytes: u64,
    /// The newest whole segment.
    pub newest: Option<String>,
}

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Parts without a break, oldest lineage first, each in order.
    pub windows: Vec<Window>,
    /// Breaks that the streams recorded.
    pub gaps: Vec<Gap>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Files that servers handed over: they stand for what the windows lack, where they cover it.
    pub handed: Vec<HandedOver>,
    /// What should be said.
    pub notes: Vec<String>,
}

impl Journal {
    /// Lists the component's journal, whole; opens nothing.
    ///
    /// # Errors
    /// If the store cannot list all of it.
    pub fn open(from: ReadFrom) -> Result<Journal> {
        let listing = list(&*from.store, &from.component)?;
        Ok(Journal {
            inner: Arc::new(Inner {
                store: from.store,
                sealer: from.sealer,
                component: from.component,
                trusted: from.trusted,
                listing,
                local: from.local,
                cancel: from.cancel,
            }),
        })
    }

    /// The lineages that there are.
    pub fn lineages(&self) -> impl Iterator<Item = &str> {
        self.inner.listing.lineages.keys().map(String::as_str)
    }

    /// How many records lie by themselves.
    pub fn loose(&self) -> usize {
        self.inner.listing.lineages.values().map(|objects| objects.ranges.len()).sum()
    }

    /// Windows, gaps and faults of all lineages. Reads the indexes of packs, and the headers of
    /// records in none that were not written on this host.
    ///
    /// # Errors
    /// If the store fails: that says nothing about what is there.
    pub fn survey(&self) -> Result<Survey> {
        self.surveyed(Headers::Known)
    }

    pub(super) fn surveyed(&self, headers: Headers) -> Result<Survey> {
        let mut survey = Survey::default();
        for key in &self.inner.listing.strange {
            survey.faults.push(Fault {
                lineage: String::new(),
                seq: (0, 0),
                object: key.clone(),
                kind: FaultKind::Strange,
                why: format!("{key} is no object of a journal"),
            });
        }
        for lineage in self.lineages() {
            let mut records = Records::of(&self.inner, lineage, headers)?;
            let walked = walk(&mut records, lineage, Gather::default())?;
            let mut paths = walked.paths;
            paths.sort_by_key(|path| path.bottom.seq);
            for path in paths {
                survey.windows.extend(path.windows.into_iter().rev());
                survey.gaps.extend(path.gaps.into_iter().rev());
                survey.notes.extend(path.notes.into_iter().rev());
            }
            survey.faults.extend(walked.faults);
        }
        for (lineage, names) in &self.inner.listing.handed {
            let segments = names.keys().rev().filter(|name| name.kind == WalKind::Segment);
            survey.handed.push(HandedOver {
                lineage: lineage.clone(),
                files: names.len() as u64,
                bytes: names.values().sum(),
                newest: segments.map(ToString::to_string).next(),
            });
        }
        survey.windows.sort_by_key(|window| window.since);
        Ok(survey)
    }

    /// The way from a base to a point: verified, without a gap.
    ///
    /// # Errors
    /// If no journal reaches the base, if the point lies before it, beyond the end or behind a gap
    /// (with what can be had instead), or if the store fails.
    pub fn way(&self, base: &LogPosition, to: &RecoverTo) -> Result<Way> {
        self.way_since(base, Timestamp::MAX, to)
    }

    /// The same for a base whose reading ended at an instant. A chain that goes on after another one
    /// (`LINEAGE+2`) and was begun later does not lead from it: at the base's place it may have
    /// another log, of a server that was set back.
    ///
    /// # Errors
    /// As above.
    pub fn way_since(
        &self,
        base: &LogPosition,
        finished: Timestamp,
        to: &RecoverTo,
    ) -> Result<Way> {
        let wanted = native(&base.lineage);
        let mut lineages: Vec<&str> =
            self.lineages().filter(|lineage| native(lineage) == wanted).collect();
        if lineages.is_empty() && self.inner.listing.handed.contains_key(wanted) {
            lineages.push(wanted);
        }
        if lineages.is_empty() {
            return Err(match self.lineages().next() {
                None => JournalError::None { component: self.inner.component.clone() },
                Some(_) => {
                    let there: Vec<&str> = self.lineages().collect();
                    let instead = format!("it has the lineages {}", there.join(", "));
                    JournalError::NotCovered { base: base.clone(), instead, broken: None }
                }
            });
        }
        // The newest chain that reaches the base.
        lineages.sort_by_key(|lineage| turn(lineage));
        let mut passed = Passed::default();
        while let Some(lineage) = lineages.pop() {
            let there = (turn(lineage) > 1).then_some(finished);
            let walked = self.walked(lineage, base, there, to)?;
            if let Some(way) = lay(&self.inner, lineage, base, to, walked, &mut passed)? {
                return Ok(way);
            }
        }
        Err(passed.refusal(base))
    }

    fn walked(
        &self,
        lineage: &str,
        base: &LogPosition,
        there: Option<Timestamp>,
        to: &RecoverTo,
    ) -> Result<Walked> {
        let gather = Gather {
            there,
            from: Some(base.position),
            until: match to {
                RecoverTo::Time(time) => Some(*time),
                _ => None,
            },
            through: match to {
                RecoverTo::Position(place) => Some(*place),
                _ => None,
            },
        };
        if !self.inner.listing.lineages.contains_key(lineage) {
            // Segments were handed over, and nothing was streamed.
            return Ok(Walked { paths: Vec::new(), faults: Vec::new() });
        }
        let mut records = Records::of(&self.inner, lineage, Headers::Known)?;
        walk(&mut records, lineage, gather)
    }

    /// What it is read from.
    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The logs of which servers handed over files.
    pub fn handed(&self) -> impl Iterator<Item = &str> {
        self.inner.listing.handed.keys().map(String::as_str)
    }
}

/// The newest end of some paths: place and proven instant.
pub(super) fn end_of(path: &Path) -> Option<(Position, Timestamp)> {
    let window = path.windows.first()?;
    Some((window.to, window.until.unwrap_or(window.since)))
}
