//! A revision of the plan, as a signed document: what a machine that has nothing else recovers by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Document;
use crate::plan::{Plan, PlanErrors};

/// The plan's files as they were written, so that every comment and every place is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Format number.
    pub format: u32,
    /// The plan's name.
    pub name: String,
    /// SHA-256 of its canonical form, hexadecimal, by the version that signed it.
    pub revision: String,
    /// The plan file, then what it includes.
    pub files: Vec<PlanText>,
}

/// One file of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanText {
    /// Its name; of an included one the path that the plan names, relative to the plan's folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Revision {
    /// The plan that the files say.
    ///
    /// # Errors
    /// What this version cannot read in it.
    pub fn plan(&self) -> Result<Plan, PlanErrors> {
        let texts: Vec<(&str, &str)> =
            self.files.iter().map(|file| (file.name.as_str(), file.text.as_str())).collect();
        Plan::parse(&texts)
    }
}

impl Document for Revision {
    const DOMAIN: &'static str = "lifeboat plan 1";
    const FORMAT: u32 = 1;
}
