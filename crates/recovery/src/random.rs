//! Randomness, in one place.

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], crate::error::Error> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(crate::error::Error::Random)?;
    Ok(bytes)
}
