//! The signing keys that this host accepted, by host: its own, those of a chain of its own that it
//! took over from a tier after it lost its state, and those of other hosts that it saw first.

use lifeboat_model::chain::PublicKey;
use serde::{Deserialize, Serialize};

use super::remote::safe_name;
use crate::error::{Error, Result};
use crate::state::{FileLock, State, read_optional, replace};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Keys {
    format: u32,
    keys: Vec<PublicKey>,
}

fn path(state: &State, host: &str) -> std::path::PathBuf {
    state.path(format!("ledger/{}.keys", safe_name(host)))
}

/// The accepted keys, in the order in which they were accepted.
pub fn accepted(state: &State, host: &str) -> Result<Vec<PublicKey>> {
    let path = path(state, host);
    let Some(body) = read_optional(&path)? else { return Ok(Vec::new()) };
    // What cannot be understood is passed over: the state folder sets it aside and says so.
    let keys: Keys = serde_json::from_slice(&body).unwrap_or_default();
    Ok(keys.keys)
}

/// True for the content of a file of accepted keys.
pub fn is_readable(body: &[u8]) -> bool {
    serde_json::from_slice::<Keys>(body).is_ok()
}

/// Accepts further keys.
pub fn accept(state: &State, host: &str, more: &[PublicKey]) -> Result<()> {
    state.make("ledger")?;
    let _lock = FileLock::exclusive(&state.path("ledger/keys.lock"))?;
    let mut keys = accepted(state, host)?;
    let before = keys.len();
    for key in more {
        if !keys.contains(key) {
            keys.push(*key);
        }
    }
    if keys.len() == before {
        return Ok(());
    }
    let body = serde_json::to_vec(&Keys { format: 1, keys })
        .map_err(|source| Error::Encode { what: "the accepted keys", source })?;
    Ok(replace(&path(state, host), &body)?)
}
