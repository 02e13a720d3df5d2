//! Evidence against the ledger: what an entry names must be here or in the tier, byte for byte; and
//! what is in the tier remembers how long the chain was when it was made.

use std::collections::BTreeMap;

use lifeboat_model::chain::{Entry, Evidence, Hash, Link, PublicKey, Signed};

use super::audit::{HERE, There};
use super::evidence;
use crate::env::World;
use crate::report::{AuditFinding, FindingKind};
use crate::state::read_optional;

/// What came of it.
pub(super) struct Compared {
    pub findings: Vec<AuditFinding>,
    /// How much was compared where; nothing if the ledger names none.
    pub statement: Option<String>,
}

/// A piece of evidence that an entry names.
struct Named {
    seq: u64,
    sha256: String,
    /// The entry was shipped, and its evidence before it.
    shipped: bool,
}

/// What a place has of a piece of evidence.
enum State {
    Same,
    Absent,
    Wrong(String),
}

/// Compares all evidence that is named, and all that is in the tier (if it answered).
pub(super) fn compare(
    world: &World,
    host: &str,
    here: &[Link],
    there: Option<&There>,
    trusted: &[PublicKey],
) -> Compared {
    let mut named = BTreeMap::new();
    collect(here, false, &mut named);
    if let Some(there) = there {
        collect(&there.links, true, &mut named);
    }
    let tier = world.tier.name.as_str();
    let mut findings = Vec::new();
    let (mut in_tier, mut only_here) = (0, 0);
    for (id, one) in &named {
        let mut add = |place: &str, what: String| {
            let (kind, place) = (FindingKind::Evidence, place.to_owned());
            findings.push(AuditFinding { kind, seq: Some(one.seq), place, what });
        };
        // Another host's evidence never lay in this state folder.
        let local = if host == world.host { local(world, id, one) } else { State::Absent };
        if let State::Wrong(what) = &local {
            add(HERE, what.clone());
        }
        let is_here = matches!(local, State::Same);
        let Some(there) = there else { continue };
        match stored(there, id, one) {
            State::Same => in_tier += 1,
            State::Wrong(what) => add(tier, what),
            State::Absent if one.shipped => add(tier, format!("evidence {id} was removed")),
            State::Absent if is_here => only_here += 1,
            State::Absent => add(HERE, format!("evidence {id} is gone and was never shipped")),
        }
    }
    if let Some(there) = there {
        for (id, body) in &there.evidence {
            let known = named.contains_key(id);
            findings.extend(remembered(there, id, body, known, trusted, tier));
        }
    }
    let statement = match (named.len(), there) {
        (0, _) => None,
        (all, Some(_)) => Some(format!(
            "of {all} pieces of evidence that the ledger names, {in_tier} in tier {tier} are \
             unchanged, {only_here} are on this host alone"
        )),
        (all, None) => Some(format!(
            "of {all} pieces of evidence that the ledger names, none could be compared in tier \
             {tier}"
        )),
    };
    Compared { findings, statement }
}

fn collect(links: &[Link], shipped: bool, named: &mut BTreeMap<String, Named>) {
    for link in links {
        let Link::Read(entry) = link else { continue };
        let Some((id, sha256)) = evidence::named(entry) else { continue };
        let seq = entry.seq;
        named.entry(id.to_owned()).and_modify(|known| known.shipped |= shipped).or_insert(Named {
            seq,
            sha256: sha256.to_owned(),
            shipped,
        });
    }
}

fn local(world: &World, id: &str, one: &Named) -> State {
    let path = world.state.path(format!("evidence/{id}.json"));
    match read_optional(&path) {
        Ok(Some(body)) if Hash::of(&body).to_string() == one.sha256 => State::Same,
        Ok(Some(_)) => State::Wrong(format!("evidence {id} is not what the ledger recorded")),
        // A state folder that was lost took its copy along; the tier's stays.
        Ok(None) => State::Absent,
        Err(error) => State::Wrong(format!("evidence {id} cannot be read: {error}")),
    }
}

fn stored(there: &There, id: &str, one: &Named) -> State {
    match there.evidence.get(id) {
        None => State::Absent,
        Some(Ok(body)) if Hash::of(body).to_string() == one.sha256 => State::Same,
        Some(Ok(_)) => State::Wrong(format!("evidence {id} is not what the ledger recorded")),
        Some(Err(why)) => State::Wrong(format!("evidence {id} cannot be read: {why}")),
    }
}

/// Evidence tells where the chain stood when it was made, and so anchors it like a checkpoint.
fn remembered(
    there: &There,
    id: &str,
    body: &super::remote::StoredEvidence,
    known: bool,
    trusted: &[PublicKey],
    tier: &str,
) -> Option<AuditFinding> {
    let found = |kind, seq, what| AuditFinding { kind, seq, place: tier.to_owned(), what };
    let signed = match body {
        Ok(body) => Signed::<Evidence>::read(body).map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    };
    let signed = signed.and_then(|signed| match signed.verify(trusted) {
        Ok(()) => Ok(signed),
        Err(error) => Err(error.to_string()),
    });
    let signed = match signed {
        Ok(signed) => signed,
        // What an entry names was compared by its hash.
        Err(_) if known => return None,
        Err(why) => {
            let what = format!("evidence {id}, which no entry names, is not genuine: {why}");
            return Some(found(FindingKind::Evidence, None, what));
        }
    };
    let (seq, head) = signed.document.ledger?;
    let entries = || {
        there.links.iter().filter_map(|link| match link {
            Link::Read(entry) => Some(&**entry),
            Link::Broken(_) => None,
        })
    };
    let last = entries().map(|entry: &Entry| entry.seq).max().unwrap_or(0);
    match entries().find(|entry| entry.seq == seq) {
        Some(entry) if entry.hash() == head => {}
        Some(_) => {
            let what = format!("evidence {id} knows another entry {seq}: it was rewritten");
            return Some(found(FindingKind::Edited, Some(seq), what));
        }
        None if seq > last => {
            let what = format!(
                "evidence {id} was made after entry {seq}, the tier's ledger ends at entry {last}"
            );
            return Some(found(FindingKind::Truncated, Some(last + 1), what));
        }
        None => {}
    }
    (!known).then(|| {
        let what = format!("no entry names evidence {id}: its drill did not come to its end");
        found(FindingKind::Note, None, what)
    })
}
