//! Recipes: what will be done, computed before anything is done, so that it can be shown
//! (`--dry-run`), tested, hashed into evidence, and executed in a drill exactly as in anger.

mod backup;
mod point;
mod restore;

pub use backup::{BackupItem, BackupRecipe, BackupRequest, CaptureRoot, LeftOut, backup_recipe};
pub use point::{Candidate, Choice, PointError, Skipped, Wanted, choose_restore_point};
pub use restore::{
    Binding, LogStep, RestoreItem, RestoreRecipe, RestoreRequest, RestoreStep, restore_recipe,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Location, Plan, nearest};

/// A tier that a recipe uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TierChoice {
    /// Its name.
    pub name: String,
    /// Where it is, absolute.
    pub path: String,
}

/// Why no recipe can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The plan has no such component.
    #[error("the plan has no component `{name}`")]
    UnknownComponent {
        /// What was asked for.
        name: String,
        /// The nearest name that there is.
        nearest: Option<String>,
    },
    /// The plan has no such schedule.
    #[error("the plan has no schedule `{name}`")]
    UnknownSchedule {
        /// What was asked for.
        name: String,
        /// The nearest name that there is.
        nearest: Option<String>,
    },
    /// The plan has no such tier.
    #[error("the plan has no tier `{name}`")]
    UnknownTier {
        /// What was asked for.
        name: String,
        /// The nearest name that there is.
        nearest: Option<String>,
    },
    /// There is nowhere to put copies.
    #[error("the plan has no tier that this version uses")]
    NoTier,
    /// The tier is of a kind that this version does not use yet.
    #[error("tier `{name}` is not used by this version: {what}")]
    TierNotCarriedOut {
        /// The tier.
        name: String,
        /// What of it is not carried out.
        what: String,
    },
    /// There is nothing to do.
    #[error("the plan has no component that this version can back up")]
    NothingToDo,
    /// Two captured paths would stand at one place of the snapshot.
    #[error("component `{component}`: {what}")]
    Tree {
        /// The component.
        component: String,
        /// One clause.
        what: String,
    },
}

impl RecipeError {
    /// What mends it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RecipeError::UnknownComponent { nearest: Some(name), .. }
            | RecipeError::UnknownSchedule { nearest: Some(name), .. }
            | RecipeError::UnknownTier { nearest: Some(name), .. } => {
                Some(format!("did you mean `{name}`?"))
            }
            RecipeError::UnknownComponent { .. } => {
                Some("`lifeboat status` lists the components".to_owned())
            }
            RecipeError::UnknownSchedule { .. } | RecipeError::UnknownTier { .. } => {
                Some("`lifeboat lint` reads the plan's tables".to_owned())
            }
            RecipeError::NoTier => {
                Some("add `[tier.local]` with `url = \"/path\"` to the plan".to_owned())
            }
            RecipeError::TierNotCarriedOut { .. } => {
                Some("`lifeboat lint` says what is missing".to_owned())
            }
            RecipeError::NothingToDo => {
                Some("add a component with `sqlite`, `postgres` or `files` to the plan".to_owned())
            }
            RecipeError::Tree { .. } => Some("run `lifeboat lint`".to_owned()),
        }
    }
}

/// The tier to use: the one asked for, else the one to which backups go.
///
/// # Errors
/// If there is none, or this version does not carry it out.
pub fn choose_tier(
    plan: &Plan,
    folder: &std::path::Path,
    asked: Option<&str>,
) -> Result<TierChoice, RecipeError> {
    let (name, tier) = match asked {
        None => plan.first_tier().ok_or(RecipeError::NoTier)?,
        Some(name) => {
            let (name, tier) =
                plan.tier.get_key_value(name).ok_or_else(|| RecipeError::UnknownTier {
                    name: name.to_owned(),
                    nearest: near(name, plan.tier.keys()),
                })?;
            if let Some((what, _)) = tier.not_carried_out() {
                return Err(RecipeError::TierNotCarriedOut { name: name.clone(), what });
            }
            (name.as_str(), tier)
        }
    };
    let path = match tier.location() {
        Location::Local(path) => plan.path(folder, path).display().to_string(),
        Location::Remote { .. } => {
            tier.url.as_ref().map_or_else(String::new, |url| url.to_string())
        }
        Location::FromEnvironment => "the environment's place".to_owned(),
    };
    Ok(TierChoice { name: name.to_owned(), path })
}

/// The components asked for, in the order of recovery; none asked for means all.
fn choose_components<'a>(
    plan: &'a Plan,
    asked: &[String],
) -> Result<Vec<(&'a str, &'a crate::span::At<crate::plan::Component>)>, RecipeError> {
    for name in asked {
        if name != "*" && !plan.component.contains_key(name) {
            return Err(RecipeError::UnknownComponent {
                name: name.clone(),
                nearest: near(name, plan.component.keys()),
            });
        }
    }
    let all = asked.is_empty() || asked.iter().any(|name| name == "*");
    let wanted = |name: &str| all || asked.iter().any(|asked| asked == name);
    Ok(plan.in_recovery_order().into_iter().filter(|(name, _)| wanted(name)).collect())
}

fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a String>) -> Option<String> {
    nearest(name, known.into_iter().map(String::as_str)).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests;
