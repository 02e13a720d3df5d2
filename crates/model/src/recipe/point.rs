//! Which snapshot is restored, and why that one: never by a name, never by a listing's order.
//!
//! The order of one host's backups is its ledger's sequence; wall times may have been set back in
//! between, and where the two disagree the choice says so. Between hosts there is no such order: this
//! host's own snapshots come before those of others, and a choice that this decides says so. A
//! snapshot that no ledger knows is foreign and never chosen unless it is named.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A snapshot that could be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Its id, hexadecimal.
    pub snapshot: String,
    /// Start of its capture, wall time.
    pub time: Timestamp,
    /// The instant at which reading its source ended: it holds nothing newer. `None` if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_until: Option<Timestamp>,
    /// Why it cannot be read though the ledger records it: missing, damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Its place in the order of restore points, the newest highest: the sequence number of the
    /// ledger entry that records it, or its place among several ledgers. `None` if none records it:
    /// it is foreign.
    pub seq: Option<u64>,
    /// The other host that took it; `None` if it is this host's own, or foreign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// Highest level at which it was verified, 1 to 5.
    pub verified_level: Option<u8>,
    /// Its last verification failed.
    pub verification_failed: bool,
    /// Something was skipped when it was made.
    pub partial: bool,
    /// Why it must not be removed.
    pub hold: Option<String>,
}

impl Candidate {
    /// The ledger does not know it.
    pub fn foreign(&self) -> bool {
        self.seq.is_none()
    }

    /// Whether it was made after another one, as far as that can be told: by the ledger where one
    /// host made both, by the clock where not.
    fn newer_than(&self, other: &Candidate) -> bool {
        match self.elsewhere == other.elsewhere {
            true => self.seq > other.seq,
            false => self.time > other.time,
        }
    }

    fn short(&self) -> &str {
        self.snapshot.get(..8).unwrap_or(&self.snapshot)
    }
}

/// Which restore point is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// The newest.
    Newest,
    /// The newest that holds nothing later than an instant.
    At(Timestamp),
    /// This one, by its id or the beginning of it.
    Snapshot(String),
}

/// The snapshot that is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// The snapshot.
    pub chosen: Candidate,
    /// Why this one, in words.
    pub why: String,
    /// Newer ones that were passed over, newest first.
    pub skipped: Vec<Skipped>,
    /// What must be said aloud.
    pub warnings: Vec<String>,
}

/// A snapshot that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Its id.
    pub snapshot: String,
    /// Start of its capture.
    pub time: Timestamp,
    /// Why it was passed over.
    pub why: String,
}

/// Why nothing can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// There are none at all.
    #[error("there is no snapshot to restore")]
    None,
    /// There are some, but none that fits.
    #[error("none of the {} can be restored", count(.0.len()))]
    NoneFits(Vec<Skipped>),
    /// The snapshot is known, and cannot be read.
    #[error("snapshot {} cannot be read: {}", short(.0), .0.why)]
    Lost(Skipped),
    /// No snapshot has this id.
    #[error("there is no snapshot `{0}`")]
    Unknown(String),
    /// Several ids begin like this.
    #[error("`{prefix}` is the beginning of {} snapshot ids", .ids.len())]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The ids.
        ids: Vec<String>,
    },
}

fn short(skipped: &Skipped) -> &str {
    skipped.snapshot.get(..8).unwrap_or(&skipped.snapshot)
}

fn count(n: usize) -> String {
    if n == 1 { "1 snapshot".to_owned() } else { format!("{n} snapshots") }
}

/// Chooses among the snapshots of one component in one tier. The given order does not matter.
///
/// # Errors
/// If none is there, none fits, or an id is unknown or ambiguous.
pub fn choose_restore_point(
    candidates: &[Candidate],
    wanted: &Wanted,
    verified_only: bool,
) -> Result<Choice, PointError> {
    if let Wanted::Snapshot(prefix) = wanted {
        return by_id(candidates, prefix, verified_only);
    }
    if candidates.is_empty() {
        return Err(PointError::None);
    }
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    // Newest first; foreign ones have no place in the order and come by time, last.
    ordered.sort_by(|a, b| (b.seq, b.time, &b.snapshot).cmp(&(a.seq, a.time, &a.snapshot)));
    let mut skipped = Vec::new();
    for candidate in &ordered {
        if let Some(why) = unfit(candidate, wanted, verified_only) {
            skipped.push(skip(candidate, why));
            continue;
        }
        let why = reason(candidate, wanted, verified_only);
        let warnings = warnings(candidate, &ordered, wanted);
        return Ok(Choice { chosen: (*candidate).clone(), why, skipped, warnings });
    }
    Err(PointError::NoneFits(skipped))
}

fn skip(candidate: &Candidate, why: String) -> Skipped {
    Skipped { snapshot: candidate.snapshot.clone(), time: candidate.time, why }
}

/// Why a snapshot is not chosen by itself.
fn unfit(candidate: &Candidate, wanted: &Wanted, verified_only: bool) -> Option<String> {
    if candidate.foreign() {
        return Some("the ledger does not know it (foreign)".to_owned());
    }
    if let Some(why) = &candidate.lost {
        return Some(why.clone());
    }
    if candidate.verification_failed {
        return Some("its verification failed".to_owned());
    }
    if let Wanted::At(at) = wanted {
        match candidate.read_until {
            Some(until) if until <= *at => {}
            Some(until) => return Some(format!("it holds data up to {until}, later than {at}")),
            None => return Some(format!("it is not known whether it holds data later than {at}")),
        }
    }
    (verified_only && candidate.verified_level.is_none()).then(|| {
        let why = if candidate.partial { "it is partial" } else { "it was not verified yet" };
        why.to_owned()
    })
}

fn by_id(
    candidates: &[Candidate],
    prefix: &str,
    verified_only: bool,
) -> Result<Choice, PointError> {
    let wanted = prefix.to_ascii_lowercase();
    let mut found: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| !wanted.is_empty() && candidate.snapshot.starts_with(&wanted))
        .collect();
    found.sort_by(|a, b| a.snapshot.cmp(&b.snapshot));
    found.dedup_by(|a, b| a.snapshot == b.snapshot);
    let chosen = match found[..] {
        [one] => one,
        [] => return Err(PointError::Unknown(prefix.to_owned())),
        _ => {
            return Err(PointError::Ambiguous {
                prefix: prefix.to_owned(),
                ids: found.iter().map(|candidate| candidate.snapshot.clone()).collect(),
            });
        }
    };
    if let Some(why) = &chosen.lost {
        return Err(PointError::Lost(skip(chosen, why.clone())));
    }
    if verified_only && (chosen.verified_level.is_none() || chosen.verification_failed) {
        let why = "it is not verified".to_owned();
        return Err(PointError::NoneFits(vec![skip(chosen, why)]));
    }
    let mut warnings = state_warnings(chosen);
    if chosen.foreign() {
        warnings.insert(0, "the ledger does not know this snapshot (foreign)".to_owned());
    }
    if chosen.verification_failed {
        warnings.insert(0, "the last verification of this snapshot failed".to_owned());
    }
    let why = "named by its id".to_owned();
    Ok(Choice { chosen: chosen.clone(), why, skipped: Vec::new(), warnings })
}

fn reason(chosen: &Candidate, wanted: &Wanted, verified_only: bool) -> String {
    let which = if verified_only { "newest verified snapshot" } else { "newest snapshot" };
    let upto = match wanted {
        Wanted::At(at) => format!(" with nothing later than {at}"),
        _ => String::new(),
    };
    let level = match chosen.verified_level {
        Some(level) => format!(", verified at V{level}"),
        None => ", not verified yet".to_owned(),
    };
    format!("{which}{upto}{level}")
}

fn state_warnings(chosen: &Candidate) -> Vec<String> {
    let mut warnings = Vec::new();
    if chosen.partial {
        warnings
            .push("something was skipped when this snapshot was made: it is partial".to_owned());
    }
    warnings
}

fn warnings(chosen: &Candidate, newest_first: &[&Candidate], wanted: &Wanted) -> Vec<String> {
    let mut warnings = state_warnings(chosen);
    // An older point is taken only when that is said.
    for lost in newest_first.iter().filter(|c| c.lost.is_some() && c.newer_than(chosen)) {
        let why = lost.lost.as_deref().unwrap_or_default();
        warnings.push(format!("snapshot {} of {} is newer, and {why}", lost.short(), lost.time));
    }
    let known = newest_first.iter().filter(|c| !c.foreign() && c.lost.is_none());
    if chosen.partial {
        let whole =
            known.clone().find(|c| !c.partial && !c.verification_failed && c.seq < chosen.seq);
        warnings.push(match whole {
            Some(whole) => format!("the newest whole one is {} of {}", whole.short(), whole.time),
            None => "there is no older whole one".to_owned(),
        });
    }
    warnings.extend(other_hosts(chosen, newest_first, wanted));
    // Of two hosts nothing but the clocks tells which came first.
    let known = known.filter(|c| c.elsewhere == chosen.elsewhere);
    // Made before the chosen one, yet dated after it: a clock was set back in between.
    let earlier_but_later_dated =
        known.clone().find(|c| c.seq < chosen.seq && c.time > chosen.time);
    // For an instant, one made later but dated before it may be meant as well.
    let later_but_earlier_dated = known
        .clone()
        .find(|c| c.seq > chosen.seq && c.time < chosen.time && matches!(wanted, Wanted::At(_)));
    for other in [earlier_but_later_dated, later_but_earlier_dated].into_iter().flatten() {
        warnings.push(format!(
            "the clock was set back between backups: {} is dated {}, this one {}, though by the \
             ledger it was made {}; the ledger's order counts",
            other.short(),
            other.time,
            chosen.time,
            if other.seq < chosen.seq { "before it" } else { "after it" },
        ));
    }
    warnings
}

/// What is said where several hosts took snapshots of one component.
fn other_hosts(chosen: &Candidate, newest_first: &[&Candidate], wanted: &Wanted) -> Option<String> {
    if let Some(host) = &chosen.elsewhere {
        return Some(format!(
            "this snapshot was taken on host {host}: there is none of this host that fits"
        ));
    }
    let newer = newest_first
        .iter()
        .filter(|c| c.elsewhere.is_some() && c.newer_than(chosen))
        .filter(|c| unfit(c, wanted, false).is_none())
        .max_by_key(|c| c.time)?;
    Some(format!(
        "host {} took a newer one, {} of {}; this host's own newest was chosen: name that one by its \
         id if it is meant",
        newer.elsewhere.as_deref().unwrap_or_default(),
        newer.short(),
        newer.time,
    ))
}
