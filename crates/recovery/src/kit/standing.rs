//! Whether the kit that was made last is worth anything: made, tested, and not older than what it
//! holds. All of it is told by the local ledger.

use lifeboat_model::canonical;
use lifeboat_model::chain::{Entry, Phase};
use lifeboat_model::plan::Plan;
use serde_json::{Value, json};

use crate::env::World;
use crate::error::Result;
use crate::ledger::{Local, public_keys};

/// The action of a kit's making; its `detail.kit` says what it holds.
pub const ACTION: &str = "kit";
/// What a drill that used nothing but the kit was on; its `detail.kit` is the file's SHA-256.
pub const DRILLED: &str = "recovery kit";

/// Settings of a tier that a kit does not hold.
const APART: [&str; 8] = [
    "keep",
    "capacity",
    "description",
    "retrieval",
    "role",
    "immutable",
    "versioned",
    "storage_class",
];

/// What should be done about the kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KitNag {
    /// One sentence.
    pub what: String,
    /// The command that mends it.
    pub fix: &'static str,
}

/// SHA-256 over what a kit holds of the plan: where tiers and keys are. Other changes of the plan come
/// from the tier itself.
pub fn matters(plan: &Plan) -> String {
    let mut tiers = serde_json::to_value(&plan.tier).unwrap_or_default();
    for tier in tiers.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        let Some(tier) = tier.as_object_mut() else { continue };
        APART.iter().for_each(|name| drop(tier.remove(*name)));
    }
    let key = serde_json::to_value(&plan.key).unwrap_or_default();
    let all = canonical::without_absent(json!({ "tier": tiers, "key": key }));
    canonical::sha256_hex(canonical::to_string(&all).as_bytes())
}

/// What should be done about the kit; nothing if it is new enough and was tested.
///
/// # Errors
/// The state folder cannot be read.
pub fn nags(world: &World) -> Result<Vec<KitNag>> {
    let (lines, _) = Local::new(&world.state, &world.host).lines()?;
    let entries: Vec<Entry> = lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
    let Some((made, kit)) = entries.iter().rev().find_map(making) else {
        let what = "no recovery kit was ever made on this host".to_owned();
        return Ok(vec![KitNag { what, fix: "lifeboat kit" }]);
    };
    let mut nags: Vec<KitNag> = stale(world, &entries, made, kit)?
        .into_iter()
        .map(|what| KitNag { what, fix: "lifeboat kit" })
        .collect();
    let sha256 = kit.get("sha256");
    let passed = |entry: &&Entry| {
        entry.object == DRILLED
            && entry.phase == Phase::Finished
            && entry.detail.get("verdict") == Some(&json!("pass"))
            && entry.detail.get("kit") == sha256
    };
    if !entries.iter().any(|entry| passed(&entry)) {
        let what = format!("the recovery kit of {} was never tested", made.time.strftime("%F"));
        nags.push(KitNag { what, fix: "lifeboat drill run --kit FILE" });
    }
    Ok(nags)
}

/// What a finished making says of its kit.
fn making(entry: &Entry) -> Option<(&Entry, &Value)> {
    let made = entry.action == ACTION && entry.phase == Phase::Finished;
    let kit = entry.detail.get("kit").filter(|_| made)?;
    Some((entry, kit))
}

/// Why the kit is older than what it holds.
fn stale(world: &World, entries: &[Entry], made: &Entry, kit: &Value) -> Result<Vec<String>> {
    let day = made.time.strftime("%F");
    let mut why = Vec::new();
    if kit.get("matters") != Some(&json!(matters(&world.plan))) {
        why.push(format!("the plan's tiers or keys changed since the recovery kit of {day}"));
    }
    let changes = |entry: &&Entry| {
        entry.seq > made.seq
            && entry.phase == Phase::Finished
            && entry.action.starts_with("key ")
            && matches!(entry.outcome.as_deref(), Some("done" | "problems"))
    };
    if let Some(change) = entries.iter().find(changes) {
        why.push(format!(
            "the vault key was changed ({} of {}) since the recovery kit of {day}",
            change.action,
            change.time.strftime("%F")
        ));
    }
    let known = |print: &str| {
        kit.get("signers").and_then(Value::as_array).is_some_and(|all| all.contains(&json!(print)))
    };
    if !public_keys(world)?.iter().all(|key| known(&key.fingerprint())) {
        why.push(format!("this host signs with another key since the recovery kit of {day}"));
    }
    Ok(why)
}
