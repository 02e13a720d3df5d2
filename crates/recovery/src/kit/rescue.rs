//! `.lifeboat/kit.json` in a folder that `bootstrap` made: where its commands find what the plan
//! names and this machine does not have. Private (0600): remove it once the plan's own sources are
//! in place.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::KitSecret;
use crate::env::Secret;
use crate::error::{Error, Result};
use crate::state::{State, create_new, read_optional};

/// Its name in the state folder.
pub const RESCUE: &str = "kit.json";

/// What commands in such a folder go by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rescue {
    /// Format number.
    pub format: u32,
    /// The tier that everything came from: it comes first.
    pub tier: String,
    /// Where tiers are, by name: the plan's words may say it relative to another folder.
    pub places: BTreeMap<String, String>,
    /// The kit's secrets, as [`super::Kit::secrets`]: they count before the plan's own sources.
    pub secrets: BTreeMap<String, KitSecret>,
    /// This is a rehearsal: nothing is recorded, no tier is written to.
    #[serde(default)]
    pub rehearsal: bool,
}

impl Rescue {
    /// The format that this version writes.
    pub const FORMAT: u32 = 1;

    /// What the kit has for a source of the plan.
    pub fn secret(&self, source: &str) -> Option<&Secret> {
        self.secrets.get(source).map(|secret| &secret.0)
    }

    /// Reads it from the state folder beside a plan, if `bootstrap` made that folder.
    ///
    /// # Errors
    /// Others can read it, or it is unreadable.
    pub fn read(folder: &Path) -> Result<Option<Rescue>> {
        let path = folder.join(".lifeboat").join(RESCUE);
        let Some(body) = read_optional(&path)?.map(Zeroizing::new) else { return Ok(None) };
        let mode = std::fs::metadata(&path).map_err(Error::io("look at", &path))?;
        if mode.permissions().mode() & 0o077 != 0 {
            let place = path.display();
            return Err(Error::refused(
                format!("others can read {place}, which holds the kit's secrets"),
                format!("chmod 600 {place}"),
            ));
        }
        let read = serde_json::from_slice::<Rescue>(&body).ok();
        let known = read.filter(|rescue| rescue.format == Rescue::FORMAT);
        known.map(Some).ok_or_else(|| {
            Error::refused(
                format!("{} cannot be read", path.display()),
                "run `lifeboat bootstrap` again, into another folder",
            )
        })
    }

    /// Writes it into a new state folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, state: &State) -> Result<()> {
        let encode = |source| Error::Encode { what: "the kit's secrets", source };
        let body = Zeroizing::new(serde_json::to_vec_pretty(self).map_err(encode)?);
        create_new(&state.make("")?.join(RESCUE), &body)?;
        Ok(())
    }
}
