//! What a plan asks for that this version reads but does not yet carry out. Said aloud, so that
//! nobody relies on it.

use super::{Kind, Location, Plan, Tier};
use crate::span::{At, Span};

/// Something that is read but not yet carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCarriedOut {
    /// What, in words: component `logs`: `files.follow`.
    pub what: String,
    /// What happens instead.
    pub instead: String,
    /// Where it stands.
    pub span: Span,
}

struct List(Vec<NotCarriedOut>);

impl List {
    fn add(&mut self, span: Span, what: impl Into<String>, instead: &str) {
        self.0.push(NotCarriedOut { what: what.into(), instead: instead.to_owned(), span });
    }

    fn each<'a, T: 'a>(
        &mut self,
        table: &str,
        entries: impl IntoIterator<Item = (&'a String, &'a At<T>)>,
    ) {
        for (name, entry) in entries {
            self.add(entry.span(), format!("{table} `{name}`"), "it is read and shown only");
        }
    }
}

impl Plan {
    /// What this version reads but does not yet carry out, in the order of the text.
    pub fn not_carried_out(&self) -> Vec<NotCarriedOut> {
        let mut list = List(Vec::new());
        self.components_not_carried_out(&mut list);
        self.tiers_not_carried_out(&mut list);
        for (name, schedule) in &self.schedule {
            list.add(
                schedule.span(),
                format!("schedule `{name}`: running by itself and pruning"),
                "run `lifeboat backup` from cron or a timer; nothing is removed",
            );
        }
        for (name, drill) in &self.drill {
            if let Some(scenario) = &drill.scenario {
                list.add(
                    scenario.span(),
                    format!("drill `{name}`: rehearsing a scenario"),
                    "only drills of components run",
                );
            }
            if let Some(cron) = &drill.cron {
                list.add(
                    cron.span(),
                    format!("drill `{name}`: running by itself"),
                    "run `lifeboat drill run` from cron or a timer",
                );
            }
        }
        list.each("scenario", &self.scenario);
        list.each("detector", &self.detector);
        list.each("contact", &self.contact);
        list.each("vendor", &self.vendor);
        list.each("escalation", &self.escalation);
        list.each("channel", &self.channel);
        list.each("alert", &self.alert);
        list.each("template", &self.template);
        list.each("prevention", &self.prevention);
        list.each("price", &self.price);
        list.0.sort_by_key(|item| item.span);
        list.0
    }

    fn components_not_carried_out(&self, list: &mut List) {
        for (name, component) in &self.component {
            let at = component.span();
            match &component.kind {
                Kind::Sqlite(_) | Kind::Postgres(_) | Kind::Git(_) => {}
                Kind::Command(command) => {
                    if let Some(load) = &command.load {
                        list.add(
                            load.span(),
                            format!("component `{name}`: `command.load`"),
                            "`restore --to DIR` gives the dump; load it by hand",
                        );
                    }
                }
                Kind::Files(files) => {
                    if *files.follow {
                        list.add(
                            files.follow.span(),
                            format!("component `{name}`: `files.follow`"),
                            "files are captured when a backup runs",
                        );
                    }
                    if *files.secret {
                        list.add(
                            files.secret.span(),
                            format!("component `{name}`: `files.secret`"),
                            "the files are encrypted with the vault key like all others",
                        );
                    }
                }
                other => list.add(
                    at,
                    format!("component `{name}`: kind `{}`", other.key()),
                    "it is not backed up",
                ),
            }
            if let Some(host) = &component.host {
                list.add(
                    host.span(),
                    format!("component `{name}`: `host`"),
                    "the machine that runs `lifeboat` captures it",
                );
            }
            for check in &component.checks {
                if let Some(live) = check.http.as_ref().or(check.command.as_ref()) {
                    list.add(
                        live.span(),
                        format!("component `{name}`: check `{}` of a running service", check.name),
                        "it is inconclusive in verifications and drills",
                    );
                }
            }
        }
    }

    fn tiers_not_carried_out(&self, list: &mut List) {
        let first = self.first_tier().map(|(name, _)| name);
        for (name, tier) in &self.tier {
            if let Some(immutable) = &tier.immutable {
                list.add(
                    immutable.span(),
                    format!("tier `{name}`: `immutable`"),
                    "whether the place keeps objects unchangeable is neither set nor tried",
                );
            }
            match tier.not_carried_out() {
                Some((what, instead)) => {
                    list.add(tier.span(), format!("tier `{name}`: {what}"), instead);
                }
                None if first == Some(name.as_str()) => {}
                None => list.add(
                    tier.span(),
                    format!("tier `{name}`: backups to a second tier"),
                    &format!(
                        "they go to tier `{}`; `lifeboat copy` copies them here",
                        first.unwrap_or_default()
                    ),
                ),
            }
        }
    }

    /// The tier to which backups go: the first on a local path, else the first that is carried out.
    pub fn first_tier(&self) -> Option<(&str, &At<Tier>)> {
        let carried = || self.tier.iter().filter(|(_, tier)| tier.not_carried_out().is_none());
        let local = carried().find(|(_, tier)| matches!(tier.location(), Location::Local(_)));
        local.or_else(|| carried().next()).map(|(name, tier)| (name.as_str(), tier))
    }
}

impl Tier {
    /// The same tier with the credential that can only read, if the plan names one.
    pub fn for_reading(&self) -> Option<Tier> {
        let named = [
            &self.read_access_key_env,
            &self.read_secret_key_env,
            &self.read_connection_env,
            &self.read_credentials_file,
        ];
        named.iter().any(|source| source.is_some()).then(|| Tier {
            access_key_env: self.read_access_key_env.clone(),
            secret_key_env: self.read_secret_key_env.clone(),
            connection_env: self.read_connection_env.clone(),
            credentials_file: self.read_credentials_file.clone(),
            ..self.clone()
        })
    }

    /// What of it this version does not carry out, and what happens instead.
    pub fn not_carried_out(&self) -> Option<(String, &'static str)> {
        let Location::Remote { scheme, .. } = self.location() else { return None };
        let pair = self.access_key_env.is_some() && self.secret_key_env.is_some();
        let file = self.credentials_file.is_some() || *self.from_env;
        let (named, instead) = match scheme {
            "s3" => (
                pair || file,
                "nothing is stored there; name `access_key_env` and `secret_key_env`, or a \
                 `credentials_file`",
            ),
            "az" => (
                pair || file || self.connection_env.is_some(),
                "nothing is stored there; name a `connection_env`, or `access_key_env` (the \
                 account) and `secret_key_env`",
            ),
            "gs" => (file, "nothing is stored there; name a `credentials_file`"),
            _ => return Some((format!("`{scheme}://`"), "nothing is stored there")),
        };
        (!named).then(|| (format!("`{scheme}://` without a credential"), instead))
    }
}
