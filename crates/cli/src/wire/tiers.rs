//! The plan's tiers as places: what it says of each, with the credentials from where it says.
//!
//! Nothing else of the environment is read, and a tier that cannot be used as it is described is no
//! reason not to use the others: it fails, with its reason, when it is asked for something. That of
//! the tier to which backups go is told at once.

mod environment;
pub mod retention;

use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_adapters::LocalPlace;
use lifeboat_adapters::store::cloud::{
    AzureKey, CloudOptions, CloudPlace, Credentials, Patience, Service, Unusable,
};
use lifeboat_model::plan::{self, Location, Plan, SecretSource, paths};
use lifeboat_recovery::env::Tier;
use lifeboat_recovery::ports::{KeyRights, Opened, Place, Presence};
use lifeboat_vault::{Advice, DeleteStore, StoreError, StoreErrorKind};
use zeroize::Zeroizing;

use super::secrets::Secrets;
use crate::fault::{Fault, Outcome};

/// The tiers of a plan.
pub(super) struct Tiers {
    /// The one to which backups go.
    pub(super) first: Tier,
    /// All that are carried out: that one, then the others in the plan's order.
    pub(super) all: Vec<Tier>,
    /// The names of those that are not.
    pub(super) others: Vec<String>,
}

impl Tiers {
    /// Those of a plan.
    ///
    /// # Errors
    /// Exit 2 or 4 if there is none, or the first cannot be used as it is described.
    pub(super) fn of(plan: &Plan, secrets: &Secrets) -> Outcome<Tiers> {
        // After a bootstrap, the tier that answered.
        let rescued = secrets.rescue.as_ref().and_then(|rescue| {
            let (name, tier) = plan.tier.get_key_value(&rescue.tier)?;
            Some((name.as_str(), tier))
        });
        let (chosen, described) = rescued.or_else(|| plan.first_tier()).ok_or_else(no_tier)?;
        let first = tier(chosen, &secrets.described(chosen, described), secrets)?;
        let mut all = vec![first.clone()];
        let mut others = Vec::new();
        for (name, described) in plan.tier.iter().filter(|(name, _)| name.as_str() != chosen) {
            if described.not_carried_out().is_some() {
                others.push(name.clone());
                continue;
            }
            let used = secrets.described(name, described);
            all.push(tier(name, &used, secrets).unwrap_or_else(|why| unfit(name, &used, why)));
        }
        Ok(Tiers { first, all, others })
    }
}

fn no_tier() -> Fault {
    Fault::usage("the plan has no tier that this version uses")
        .hint("add `[tier.local]` with `url = \"/path/on/another/disk\"`, or one with `s3://`")
}

/// Where copies go.
enum Where {
    Folder(PathBuf),
    Cloud { service: Service, bucket: String, prefix: String, place: String },
}

pub(super) fn tier(name: &str, described: &plan::Tier, secrets: &Secrets) -> Outcome<Tier> {
    let get = |name: &str| secrets.variable(name);
    let at = match described.location() {
        Location::Local(path) => Where::Folder(paths::resolve(&secrets.base, path)),
        Location::Remote { scheme, rest } => remote(name, scheme, rest)?,
        Location::FromEnvironment => environment::place(name, &secrets.base, &get)?,
    };
    let written = described.url.as_ref().map(|url| url.to_string());
    Ok(match at {
        Where::Folder(path) => Tier {
            name: name.to_owned(),
            url: match described.location() {
                Location::Local(path) => path.to_owned(),
                _ => path.display().to_string(),
            },
            place: Arc::new(LocalPlace::new(path, Arc::clone(&secrets.clock))),
        },
        Where::Cloud { service, bucket, prefix, place } => {
            let text = |value: &Option<lifeboat_model::span::At<String>>| {
                value.as_ref().map(|text| text.to_string())
            };
            let from_env = |names: &[&str]| match *described.from_env {
                true => names.iter().find_map(|name| environment::value(&get, name)),
                false => None,
            };
            let options = CloudOptions {
                service,
                bucket,
                prefix,
                place: written.clone().unwrap_or(place),
                endpoint: text(&described.endpoint).or_else(|| match service {
                    Service::S3 => from_env(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
                    _ => None,
                }),
                region: text(&described.region).or_else(|| match service {
                    Service::S3 => from_env(&["AWS_REGION", "AWS_DEFAULT_REGION"]),
                    _ => None,
                }),
                storage_class: text(&described.storage_class),
                credentials: credentials(name, service, described, secrets)?,
                patience: Patience::default(),
            };
            let url = options.place.clone();
            let place = CloudPlace::new(&options, Arc::clone(&secrets.clock));
            let place = place.map_err(|why| unusable(name, why))?;
            Tier { name: name.to_owned(), url, place: Arc::new(place) }
        }
    })
}

fn remote(name: &str, scheme: &str, rest: &str) -> Outcome<Where> {
    let service = Service::of_scheme(scheme).ok_or_else(|| {
        Fault::usage(format!("tier {name}: `{scheme}://` comes in a later version"))
    })?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let (bucket, prefix) = (bucket.to_owned(), prefix.trim_matches('/').to_owned());
    Ok(Where::Cloud { service, bucket, prefix, place: format!("{scheme}://{rest}") })
}

/// The credential from where the plan says. Nothing is looked for elsewhere.
fn credentials(
    name: &str,
    service: Service,
    described: &plan::Tier,
    secrets: &Secrets,
) -> Outcome<Credentials> {
    let what = format!("the credential of tier {name}");
    let read = |source: SecretSource<'_>| {
        secrets.read(&what, &source).map_err(|fault| match source {
            SecretSource::Env(variable) => {
                fault.hint(format!("export {variable}: tier {name} names it"))
            }
            _ => fault,
        })
    };
    let understood =
        |parsed: Result<Credentials, Unusable>| parsed.map_err(|why| unusable(name, why));
    if let Some(variable) = &described.connection_env {
        return understood(Credentials::from_connection_string(&read(SecretSource::Env(
            variable,
        ))?));
    }
    if let (Some(id), Some(secret)) = (&described.access_key_env, &described.secret_key_env) {
        let (id, secret) = (read(SecretSource::Env(id))?, read(SecretSource::Env(secret))?);
        return Ok(match service {
            Service::Azure => {
                let name = id.to_string();
                Credentials::Account { name, key: AzureKey::Key(secret), endpoint: None }
            }
            _ => Credentials::Pair { id, secret, token: None },
        });
    }
    if let Some(file) = &described.credentials_file {
        let text = read(SecretSource::File(file))?;
        return understood(match service {
            Service::S3 => Credentials::from_aws_file(&text),
            Service::Azure => Credentials::from_connection_string(&text),
            Service::Google => Credentials::from_google_file(&text),
        });
    }
    let get = |name: &str| secrets.variable(name);
    let variable = |variable: &str| {
        environment::value(&get, variable).map(Zeroizing::new).ok_or_else(|| {
            Fault::usage(format!(
                "tier {name} takes its credential from the environment, and {variable} is not set"
            ))
            .hint(format!("export {variable}"))
        })
    };
    match service {
        Service::S3 => Ok(Credentials::Pair {
            id: variable("AWS_ACCESS_KEY_ID")?,
            secret: variable("AWS_SECRET_ACCESS_KEY")?,
            token: environment::value(&get, "AWS_SESSION_TOKEN").map(Zeroizing::new),
        }),
        Service::Azure => understood(Credentials::from_connection_string(&variable(
            "AZURE_STORAGE_CONNECTION_STRING",
        )?)),
        Service::Google => {
            let file = variable("GOOGLE_APPLICATION_CREDENTIALS")?;
            understood(Credentials::from_google_file(&read(SecretSource::File(&file))?))
        }
    }
}

fn unusable(name: &str, why: Unusable) -> Fault {
    Fault::usage(format!("tier {name} cannot be used: {}", why.what)).hint(why.hint)
}

/// A tier that cannot be used as it is described.
fn unfit(name: &str, described: &plan::Tier, why: Fault) -> Tier {
    let url = described
        .url
        .as_ref()
        .map_or_else(|| "the environment's place".to_owned(), |url| url.to_string());
    let causes = why.causes.iter().map(|cause| format!(": {cause}"));
    let advice = Advice {
        what: causes.fold(why.message, |what, cause| what + &cause),
        hint: why.hint.unwrap_or_else(|| format!("look at [tier.{name}] of the plan")),
    };
    Tier { name: name.to_owned(), url: url.clone(), place: Arc::new(Unfit { url, advice }) }
}

/// The place of such a tier: whatever is asked of it, it says why not.
struct Unfit {
    url: String,
    advice: Advice,
}

impl Unfit {
    fn error(&self) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Denied,
            verb: "open",
            key: String::new(),
            place: self.url.clone(),
            source: Some(Box::new(self.advice.clone())),
        }
    }
}

impl Place for Unfit {
    fn look(&self) -> Result<Presence, StoreError> {
        Err(self.error())
    }

    fn open(&self, _make: bool) -> Result<Opened, StoreError> {
        Err(self.error())
    }

    fn deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        Err(self.error())
    }

    fn journal_deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        Err(self.error())
    }

    fn key_rights(&self) -> Result<KeyRights, StoreError> {
        Err(self.error())
    }

    fn folder(&self) -> Option<PathBuf> {
        None
    }
}
