//! Where secrets come from: from the plan's sources, and in a folder that `bootstrap` made from the
//! recovery kit first, so that nothing that happens to be on this machine stands in for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::plan::{SecretSource, Tier, paths};
use lifeboat_model::span::At;
use lifeboat_recovery::env::Secret;
use lifeboat_recovery::kit::Rescue;
use lifeboat_vault::Clock;
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::fault::Outcome;
use crate::hands::Hands;
use crate::key;
use crate::plan_file::PlanFile;

/// Every secret that was read, by its source.
pub type Noted = Arc<Mutex<BTreeMap<String, Secret>>>;

/// Where secrets are read.
#[derive(Clone)]
pub struct Secrets {
    pub(super) base: PathBuf,
    pub(super) environment: Environment,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rescue: Option<Arc<Rescue>>,
    noted: Option<Noted>,
}

impl Secrets {
    /// Those of a plan.
    pub fn of(file: &PlanFile, hands: &Hands<'_>) -> Secrets {
        Secrets {
            base: file.base(),
            environment: hands.environment,
            clock: hands.clock.clone(),
            rescue: file.rescue.clone(),
            noted: None,
        }
    }

    /// The same, with a note of all that is read.
    pub fn noting(self) -> (Secrets, Noted) {
        let noted = Noted::default();
        (Secrets { noted: Some(noted.clone()), ..self }, noted)
    }

    /// A secret; `what` names it in messages.
    ///
    /// # Errors
    /// As [`key::read`].
    pub fn read(&self, what: &str, source: &SecretSource<'_>) -> Outcome<key::Secret> {
        let name = name_of(source);
        if let Some(secret) = self.rescue.as_ref().and_then(|rescue| rescue.secret(&name)) {
            return Ok(Zeroizing::new(secret.expose().to_owned()));
        }
        let resolve = |path: &str| paths::resolve(&self.base, path);
        let secret = key::read(what, source, resolve, self.environment, self.clock.as_ref())?;
        self.note(name, &secret);
        Ok(secret)
    }

    /// A variable of a tier with `from_env = true`.
    pub fn variable(&self, name: &str) -> Option<String> {
        let source = name_of(&SecretSource::Env(name));
        if let Some(secret) = self.rescue.as_ref().and_then(|rescue| rescue.secret(&source)) {
            return Some(secret.expose().to_owned());
        }
        let value = self.environment.text(name)?;
        self.note(source, &value);
        Some(value)
    }

    /// A tier as it is used here: after a bootstrap with the credential that the kit holds, at the
    /// place that the kit or the person named.
    pub fn described(&self, name: &str, described: &At<Tier>) -> At<Tier> {
        let Some(rescue) = &self.rescue else { return described.clone() };
        let mut tier = described.for_reading().unwrap_or_else(|| Tier::clone(described));
        if let Some(place) = rescue.places.get(name) {
            tier.url = Some(At::new(place.clone(), described.span()));
        }
        At::new(tier, described.span())
    }

    fn note(&self, source: String, secret: &str) {
        if let Some(noted) = &self.noted {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.insert(source, Secret::new(secret));
        }
    }
}

/// A source's name in a kit.
fn name_of(source: &SecretSource<'_>) -> String {
    match source {
        SecretSource::Env(name) => format!("env:{name}"),
        SecretSource::File(path) => format!("file:{path}"),
        SecretSource::Command(line) => format!("command:{line}"),
    }
}
