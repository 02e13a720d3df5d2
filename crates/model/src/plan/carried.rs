//! What a plan asks for that this version reads but does not yet carry out. Said aloud, so that
//! nobody relies on it.

use super::{Kind, Location, Plan};
use crate::span::Span;

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
        entries: impl IntoIterator<Item = (&'a String, &'a crate::span::At<T>)>,
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
                Kind::Sqlite(_) | Kind::Postgres(_) => {}
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
        let mut used = None;
        for (name, tier) in &self.tier {
            match tier.location() {
                Location::Remote { scheme, .. } => list.add(
                    tier.span(),
                    format!("tier `{name}`: `{scheme}://`"),
                    "nothing is stored there",
                ),
                Location::FromEnvironment => list.add(
                    tier.from_env.span(),
                    format!("tier `{name}`: `from_env`"),
                    "nothing is stored there",
                ),
                Location::Local(_) => match &used {
                    None => used = Some(name),
                    Some(first) => list.add(
                        tier.span(),
                        format!("tier `{name}`: backups to a second tier"),
                        &format!("they go to tier `{first}`; `lifeboat copy` copies them here"),
                    ),
                },
            }
        }
    }

    /// The tier that this version uses: the first on a local path.
    pub fn first_local_tier(&self) -> Option<(&str, &str)> {
        self.tier.iter().find_map(|(name, tier)| match tier.location() {
            Location::Local(path) => Some((name.as_str(), path)),
            _ => None,
        })
    }
}
