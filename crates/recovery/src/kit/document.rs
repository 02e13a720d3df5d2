//! The sealed file: what is in it, how it is sealed and opened.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lifeboat_model::chain::{Hash, PublicKey, Revision};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::env::Secret;
use crate::error::{Error, Result};
use crate::seal::{self, SealError};

/// A secret that is written down nowhere but in a sealed or private file.
#[derive(Debug, Clone)]
pub struct KitSecret(pub Secret);

impl Serialize for KitSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for KitSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(KitSecret(Secret::new(String::deserialize(deserializer)?)))
    }
}

/// Where a chain stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Number of its last entry.
    pub seq: u64,
    /// Hash of that entry.
    pub hash: Hash,
}

/// A tier as it was when the kit was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KitTier {
    /// Its name in the plan.
    pub name: String,
    /// The place as the plan writes it.
    pub url: String,
    /// The place itself: of a folder the whole path.
    pub place: String,
    /// Its vault; nothing if it did not answer or has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// The key object that the vault key opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where the ledgers in it stood, by host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<String, Seen>,
    /// True if the credential in the kit can write there too.
    pub writes: bool,
}

/// Its format alone.
#[derive(Deserialize)]
struct Form {
    format: u32,
}

/// What the sealed file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kit {
    /// Format number.
    pub format: u32,
    /// When it was made.
    pub made: Timestamp,
    /// On which host.
    pub host: String,
    /// By which version.
    pub lifeboat: String,
    /// The plan in force.
    pub plan: Revision,
    /// Fingerprint of the vaults' master key.
    pub master: String,
    /// To what sealed objects are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// What opens them: a line `AGE-SECRET-KEY-1…`, as `age -d -i` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<KitSecret>,
    /// The restic password of every vault.
    pub vault_key: KitSecret,
    /// Signing keys that are believed, by host.
    pub signers: BTreeMap<String, Vec<PublicKey>>,
    /// The tiers, in the plan's order.
    pub tiers: Vec<KitTier>,
    /// What the plan's `*_env`, `*_file` and `*_command` of keys and tiers give, by their names:
    /// `env:NAME`, `file:PATH`, `command:LINE`.
    pub secrets: BTreeMap<String, KitSecret>,
}

impl Kit {
    /// The format that this version writes.
    pub const FORMAT: u32 = 1;

    /// The sealed bytes.
    ///
    /// # Errors
    /// If the system gives no random bytes, say.
    pub fn seal(&self, passphrase: &Secret) -> Result<Vec<u8>> {
        let encode = |source| Error::Encode { what: "the recovery kit", source };
        let plain = Zeroizing::new(serde_json::to_vec_pretty(self).map_err(encode)?);
        Ok(seal::by_passphrase(&plain, passphrase.expose())?)
    }

    /// Opens sealed bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a wrong passphrase or something else than a kit; [`Error::Untrusted`]
    /// for one that was changed; [`Error::Refused`] for one of a newer format.
    pub fn open(sealed: &[u8], passphrase: &Secret) -> Result<Kit> {
        if !sealed.starts_with(b"age-encryption.org/") {
            return Err(Error::Usage {
                what: "the file is no recovery kit".to_owned(),
                hint: "name the sealed file that `lifeboat kit` wrote, `lifeboat-kit.age`"
                    .to_owned(),
            });
        }
        let plain = match seal::of_passphrase(sealed, passphrase.expose()) {
            Ok(plain) => plain,
            Err(SealError::WrongKey) => {
                return Err(Error::Usage {
                    what: "the passphrase does not open the recovery kit".to_owned(),
                    hint: "give the one that was typed when the kit was made; its page names the \
                           kit by SHA-256 and date"
                        .to_owned(),
                });
            }
            Err(_) => return Err(changed("it does not open")),
        };
        let unread = |_| changed("what is in it cannot be read");
        let Form { format } = serde_json::from_slice(&plain).map_err(unread)?;
        if format > Kit::FORMAT {
            return Err(Error::refused(
                format!("the recovery kit has format {format}, this version reads {}", Kit::FORMAT),
                "take the version of lifeboat that the kit's page names, or a newer one",
            ));
        }
        serde_json::from_slice(&plain).map_err(unread)
    }

    /// The tier at a place, as the plan writes it or as it was resolved.
    pub fn tier_at(&self, place: &str) -> Option<&KitTier> {
        let plain = |text: &str| text.trim_end_matches('/').to_owned();
        let wanted = plain(place);
        self.tiers.iter().find(|tier| plain(&tier.url) == wanted || plain(&tier.place) == wanted)
    }
}

/// What is wrong with a kit is not told in detail: the decoder's words may repeat what is in it.
fn changed(how: &str) -> Error {
    Error::Untrusted {
        what: format!("the recovery kit is damaged or was changed: {how}"),
        hint: "compare its SHA-256 with the one on the page, and take another copy".to_owned(),
    }
}
