//! Whose entries are believed.
//!
//! A chain that is found in a tier proves nothing by agreeing with itself: whoever can write there
//! can write such a chain. What it says is believed where a key signed it that this host accepted
//! before, or that the plan's `[key] signers` names, or that such a key announced. Where neither
//! names any key, the key of the first entry is believed on first sight: that is said with its
//! fingerprint, and kept, so that another one is noticed from then on. That the first sight was of
//! the true chain cannot be proven here; the fingerprint from outside proves it.

use std::fs;

use lifeboat_model::chain::{Entry, FaultKind, Hash, PublicKey, Report};

use lifeboat_vault::Store;

use super::remote::Fetched;
use super::{keys, remote, signer};
use crate::env::World;
use crate::error::{Error, Result};
use crate::seal::Sealer;

/// The keys that a chain's entries are believed by.
#[derive(Debug, Default)]
pub struct Trusted {
    /// The keys; none if the chain has no readable entry.
    pub keys: Vec<PublicKey>,
    /// The one that nothing but the chain itself vouches for.
    pub first_sight: Option<PublicKey>,
}

/// What a chain says, told apart by who says it.
#[derive(Debug, Default)]
pub struct Told<'a> {
    /// Entries of trusted keys, in order.
    pub believed: Vec<&'a Entry>,
    /// Numbers of the first and last entry of other keys, and the key that the first one names.
    pub refused: Option<(u64, u64, Option<PublicKey>)>,
}

/// Keys that are trusted for `host`, without a look at any chain but for those that the plan names
/// by fingerprint among `candidates`.
pub fn known(
    world: &World,
    host: &str,
    candidates: impl Iterator<Item = PublicKey>,
) -> Result<Vec<PublicKey>> {
    let mut keys = keys::accepted(&world.state, host)?;
    let signers = &world.plan.key.signers;
    for key in candidates {
        let print = key.fingerprint();
        let named = signers.iter().any(|signer| print == signer.trim().to_ascii_lowercase());
        if named && !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The keys that the chain of `host` is believed by.
pub fn of(world: &World, host: &str, entries: &[Entry]) -> Result<Trusted> {
    let named = entries.iter().flat_map(|entry| [entry.key, entry.next_key]).flatten();
    let keys = known(world, host, named)?;
    if !keys.is_empty() || !world.plan.key.signers.is_empty() {
        return Ok(Trusted { keys, first_sight: None });
    }
    let first = entries.iter().find_map(|entry| entry.key);
    Ok(Trusted { keys: first.into_iter().collect(), first_sight: first })
}

/// The keys of this host's own local chain: those that it accepted, and the one that it signs with.
pub fn own(world: &World, entries: &[Entry]) -> Result<Vec<PublicKey>> {
    let named = entries.iter().flat_map(|entry| [entry.key, entry.next_key]).flatten();
    let mut keys = known(world, &world.host, named)?;
    keys.extend(signer::public_keys(world)?);
    Ok(keys)
}

/// True if a chain from a tier holds together, but for entries of keys that are not trusted.
pub fn sound(report: &Report, entries: &[Entry], fetched: &Fetched, name: &str) -> bool {
    let faults = &mut report.faults.iter();
    faults.all(|fault| matches!(fault.kind, FaultKind::ForeignKey(_) | FaultKind::BadCheckpoint))
        && entries.iter().all(|entry| remote::safe_name(&entry.host) == name)
        && fetched.unreadable.is_empty()
}

/// The keys that this host's own chain vouches for by the key that it signs with: that key, the first
/// one unless the plan names others, and those that it noted as believed when it went on from a tier.
pub fn vouched(world: &World, entries: &[Entry], own: &PublicKey) -> Vec<PublicKey> {
    let mut keys = vec![*own];
    if world.plan.key.signers.is_empty() {
        keys.extend(entries.iter().find_map(|entry| entry.key));
    }
    let noted = entries.iter().filter(|e| e.detail.contains_key("believed") && e.signed_by(own));
    let prints: Vec<&str> = noted
        .filter_map(|entry| entry.detail.get("believed")?.as_array())
        .flatten()
        .filter_map(|print| print.as_str())
        .collect();
    let named = entries.iter().flat_map(|entry| [entry.key, entry.next_key]).flatten();
    keys.extend(named.filter(|key| prints.contains(&key.fingerprint().as_str())));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Tells entries of trusted keys from others. A key that a believed entry announces is trusted
/// from there on.
pub fn tell<'a>(entries: &'a [Entry], trusted: &[PublicKey]) -> Told<'a> {
    let mut keys = trusted.to_vec();
    let mut told = Told::default();
    for entry in entries {
        let Some(at) = keys.iter().position(|key| entry.signed_by(key)) else {
            let (from, _, key) = told.refused.unwrap_or((entry.seq, entry.seq, entry.key));
            told.refused = Some((from.min(entry.seq), entry.seq, key));
            continue;
        };
        // The next one is likely signed by the same.
        keys.swap(0, at);
        if let Some(next) = entry.next_key
            && !keys.contains(&next)
        {
            keys.push(next);
        }
        told.believed.push(entry);
    }
    told
}

/// The names that believed entries of the chains in the tier give their plan, each once; where no
/// entry is believed, those that the first entries give.
pub fn plans(world: &World, store: &dyn Store, sealer: &Sealer) -> Result<Vec<String>> {
    let (mut believed, mut first) = (Vec::new(), Vec::new());
    for name in remote::hosts(store)? {
        let lines = remote::lines(store, sealer, &name)?.lines;
        let entries: Vec<Entry> = lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
        let Some(host) = entries.first().map(|entry| entry.host.clone()) else { continue };
        let plan_of = |entry: &Entry| entry.plan.as_ref().map(|plan| plan.name.clone());
        let trusted = of(world, &host, &entries)?;
        believed.extend(tell(&entries, &trusted.keys).believed.into_iter().filter_map(plan_of));
        first.extend(entries.first().and_then(plan_of));
    }
    let mut plans = if believed.is_empty() { first } else { believed };
    plans.sort();
    plans.dedup();
    Ok(plans)
}

/// The sentence about entries that are not believed.
pub fn refusal(name: &str, refused: (u64, u64, Option<PublicKey>)) -> String {
    let (from, to, key) = refused;
    let by =
        key.map_or_else(|| "another key".to_owned(), |key| format!("key {}", key.fingerprint()));
    format!(
        "entries {from} to {to} of the ledger of {name} are signed by {by}, which nobody \
         announced: what they say is not believed; if that host lost its state and you know the \
         key, name its fingerprint in `[key] signers`"
    )
}

/// The sentence about a key that is believed on first sight.
pub fn first_sight(name: &str, key: &PublicKey) -> String {
    format!(
        "the ledger of {name} in the tier is seen for the first time; its signing key {} was \
         compared with nothing: compare it with the fingerprint that you noted, or name that in \
         `[key] signers`",
        key.fingerprint()
    )
}

/// Changes whenever other keys are trusted: what was taken over under the old ones is taken over
/// anew.
pub fn digest(world: &World) -> Result<String> {
    let mut text: Vec<String> = Vec::new();
    let folder = world.state.path("ledger");
    match fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(Error::io("read", &folder))?.path();
                if path.extension().is_some_and(|kind| kind == "keys") {
                    let body = crate::state::read_optional(&path)?.unwrap_or_default();
                    text.push(format!("{} {}", path.display(), Hash::of(&body)));
                }
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("read", &folder)(e)),
    }
    text.extend(world.plan.key.signers.iter().map(|signer| signer.to_string()));
    text.extend(signer::public_keys(world)?.iter().map(ToString::to_string));
    text.sort();
    Ok(Hash::of(text.join("\n").as_bytes()).to_string())
}
