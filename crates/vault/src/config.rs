//! The object `config`: format version, repository id, chunker polynomial.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::polynomial::Polynomial;

/// The newest repository format that this program reads, and the one that it writes.
pub const NEWEST_VERSION: u32 = 2;
/// Key of the config object.
pub const CONFIG_KEY: &str = "config";

/// What `config` says. Fields that others add are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Repository format.
    pub version: u32,
    /// 32 random bytes in hexadecimal digits.
    pub id: String,
    /// Cuts of content-defined chunking depend on it.
    pub chunker_polynomial: Polynomial,
}

impl Config {
    /// A new config with a random id.
    pub fn generate(polynomial: Polynomial) -> Result<Self> {
        let mut id = [0u8; 32];
        getrandom::fill(&mut id)?;
        Ok(Config { version: NEWEST_VERSION, id: hex::encode(id), chunker_polynomial: polynomial })
    }

    /// Reads the decrypted object. The version is looked at first: a newer format may have other
    /// fields.
    pub fn parse(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged =
            |why: serde_json::Error| Error::damaged(CONFIG_KEY, format!("not a config: {why}"));
        let Version { version } = serde_json::from_slice(json).map_err(damaged)?;
        if version > NEWEST_VERSION {
            return Err(Error::NewerFormat { found: version, known: NEWEST_VERSION });
        }
        if version == 0 {
            return Err(Error::damaged(CONFIG_KEY, "format version 0"));
        }
        serde_json::from_slice(json).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_unknown_fields() {
        let new = Config::generate(Polynomial::generate().unwrap()).unwrap();
        let json = serde_json::to_vec(&new).unwrap();
        assert_eq!(Config::parse(&json).unwrap(), new);
        let text = String::from_utf8(json).unwrap();
        let more = text.replace("{", r#"{"treepack_size":5,"#);
        assert_eq!(Config::parse(more.as_bytes()).unwrap(), new);
        let newer = r#"{"version":3,"id":7}"#;
        assert!(matches!(
            Config::parse(newer.as_bytes()),
            Err(Error::NewerFormat { found: 3, known: 2 })
        ));
        for bad in ["", "{}", r#"{"version":0}"#, r#"{"version":2}"#, r#"{"version":-1}"#] {
            assert!(matches!(Config::parse(bad.as_bytes()), Err(Error::Damaged { .. })), "{bad}");
        }
    }
}
