//! Evidence: a signed record of a drill, in the state folder and in the tier; its hash stands in
//! the ledger.

use lifeboat_model::chain::{Document, Entry, Evidence, Signed};

use super::{Ledger, remote};
use crate::env::World;
use crate::error::{Error, Result};
use crate::report::{EvidenceRef, Failure};
use crate::state::{create_new, read_optional};
use crate::tier::OpenTier;

/// What an entry's detail says of its evidence.
pub const DETAIL: &str = "evidence";

/// Id and SHA-256 of the evidence that an entry names.
pub fn named(entry: &Entry) -> Option<(&str, &str)> {
    let detail = entry.detail.get(DETAIL)?;
    let text = |name: &str| detail.get(name).and_then(serde_json::Value::as_str);
    Some((text("id")?, text("sha256")?))
}

/// Signs and keeps evidence. A tier that does not take it now is a warning: the local file stays.
pub fn keep(
    world: &World,
    tier: &OpenTier,
    ledger: &Ledger,
    id: &str,
    evidence: Evidence,
    warnings: &mut Vec<String>,
) -> Result<EvidenceRef> {
    let signed = Signed::new(evidence, ledger.signer())
        .map_err(|source| Error::Sign { what: "evidence", source })?;
    let bytes = signed.bytes();
    let path = world.state.make("evidence")?.join(format!("{id}.json"));
    if !create_new(&path, &bytes)? && read_optional(&path)?.as_deref() != Some(&bytes[..]) {
        return Err(Error::Diverged { key: path.display().to_string() });
    }
    let key = remote::evidence_key(&world.host, id);
    let object = match &tier.sealer {
        Ok(sealer) => match remote::put(&*tier.store, sealer, &key, &bytes) {
            Ok(()) => Some(key),
            Err(error) => {
                let why = Failure::of(&error).line();
                warnings.push(format!("the evidence could not be brought to the tier: {why}"));
                None
            }
        },
        Err(_) => None,
    };
    Ok(EvidenceRef {
        id: id.to_owned(),
        path: path.display().to_string(),
        object,
        sha256: signed.hash().to_string(),
    })
}

/// The format of evidence that is written.
pub const FORMAT: u32 = Evidence::FORMAT;
