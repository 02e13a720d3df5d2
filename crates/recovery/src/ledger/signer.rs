//! The host's signing key: `.lifeboat/sign.key`, mode 0600, 32 secret bytes in hexadecimal.

use lifeboat_model::chain::MemorySigner;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::random::random;
use crate::state::{State, create_new, read_optional};

const NAME: &str = "sign.key";

/// The host's key, if it has one.
pub fn existing(state: &State) -> Result<Option<MemorySigner>> {
    let path = state.path(NAME);
    let Some(text) = read_optional(&path)?.map(Zeroizing::new) else { return Ok(None) };
    let mut seed = Zeroizing::new([0u8; 32]);
    let line = text.trim_ascii();
    hex::decode_to_slice(line, &mut *seed)
        .map_err(|_| Error::SignKey { path, why: "it is not 64 hexadecimal digits" })?;
    Ok(Some(MemorySigner::from_seed(&seed)))
}

/// The host's key; first use makes it.
pub fn existing_or_new(state: &State) -> Result<MemorySigner> {
    if let Some(signer) = existing(state)? {
        return Ok(signer);
    }
    let seed = Zeroizing::new(random::<32>()?);
    state.make("")?;
    let text = Zeroizing::new(format!("{}\n", hex::encode(*seed)));
    if create_new(&state.path(NAME), text.as_bytes())? {
        return Ok(MemorySigner::from_seed(&seed));
    }
    // Another process was first.
    existing(state)?.ok_or(Error::SignKey { path: state.path(NAME), why: "it vanished" })
}
