//! `[plan]`, `[key]`, `[class.NAME]`, `[tier.NAME]`, `[schedule.NAME]`, `[drill.NAME]`.

use crate::duration::Duration;
use crate::plan::component::one_secret;
use crate::plan::read::{Many, Map, Reader, table, words};
use crate::plan::value::{Day, Keep, Review};
use crate::schedule::Cron;
use crate::size::Size;
use crate::span::{At, Span};

table! {
    /// Document control and what holds for the whole plan.
    "[plan]" pub struct Header {
        /// Name of what is protected.
        name: At<String>,
        /// Version of the document.
        version: Option<At<String>>,
        /// Who answers for the plan.
        owner: Option<At<String>>,
        /// Day of the last change.
        updated: Option<At<Day>>,
        /// How often it is reviewed, or the day of the next review.
        review: Option<At<Review>>,
        /// Where it stands: draft, in force …
        status: Option<At<String>>,
        /// What it covers.
        #[serde(default)]
        scope: Many<At<String>>,
        /// Folder against which relative paths are resolved; the plan's own folder if not given.
        base: Option<At<String>>,
        /// Folder of local state; `.lifeboat` in the base folder if not given.
        state: Option<At<String>>,
        /// How much work goes into making data smaller: `fast`, `default` or `best`.
        compression: Option<At<Compression>>,
        /// Longest time until everything is back, where nothing nearer says otherwise.
        rto: Option<At<Duration>>,
        /// Most work, in time, that may be lost, where nothing nearer says otherwise.
        rpo: Option<At<Duration>>,
    }
}

words! {
    /// How much work goes into making data smaller. What does not shrink is stored as it is.
    #[derive(Default, serde::Deserialize)]
    "degree of compression" pub enum Compression {
        /// As little as pays.
        Fast = "fast",
        /// As restic does it.
        #[default]
        Default = "default",
        /// Much: for a slow or costly place, or data that is kept long.
        Best = "best",
    }
}

table! {
    /// Where keys come from. Never the keys themselves.
    "[key]" pub struct Key {
        /// Environment variable that holds the vault key; `LIFEBOAT_VAULT_KEY` if nothing is given.
        vault_env: Option<At<String>>,
        /// File that holds the vault key.
        vault_file: Option<At<String>>,
        /// Command that prints the vault key.
        vault_command: Option<At<String>>,
        /// Public age recipient to which journal, ledger and plan are sealed.
        recipient: Option<At<String>>,
        /// File that holds the identity of that recipient; only where restores run.
        identity_file: Option<At<String>>,
        /// Environment variable that holds it.
        identity_env: Option<At<String>>,
        /// Command that prints it.
        identity_command: Option<At<String>>,
        /// Command that signs standard input with the host's key.
        sign_command: Option<At<String>>,
        /// Fingerprints (SHA-256, hexadecimal) of the signing keys whose ledgers are believed when
        /// they are found in a tier. Without any, the key that is seen first is.
        signers: Many<At<String>>,
    }
    validate Key::validate;
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource<'a> {
    /// An environment variable.
    Env(&'a str),
    /// A file.
    File(&'a str),
    /// A command that prints it.
    Command(&'a str),
}

impl Default for Key {
    fn default() -> Self {
        Key {
            vault_env: Some(At::new(Key::DEFAULT_ENV.to_owned(), Span::default())),
            vault_file: None,
            vault_command: None,
            recipient: None,
            identity_file: None,
            identity_env: None,
            identity_command: None,
            sign_command: None,
            signers: Many::default(),
        }
    }
}

impl Key {
    /// The environment variable of the vault key where the plan names no other source.
    pub const DEFAULT_ENV: &'static str = "LIFEBOAT_VAULT_KEY";

    fn validate(&self, span: Span, reader: &mut Reader) {
        let vault = [&self.vault_env, &self.vault_file, &self.vault_command];
        if vault.iter().any(|source| source.is_some()) {
            one_secret("vault", vault, span, reader);
        }
        let identity = [&self.identity_env, &self.identity_file, &self.identity_command];
        if identity.iter().any(|source| source.is_some()) {
            one_secret("identity", identity, span, reader);
        }
        for signer in self.signers.iter() {
            let text = signer.trim();
            if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                reader.error_with(
                    signer.span(),
                    format!("`{text}` is not the fingerprint of a signing key"),
                    "`lifeboat audit verify` prints it: 64 hexadecimal digits",
                );
            }
        }
    }

    /// Where the vault key comes from.
    pub fn vault(&self) -> SecretSource<'_> {
        source(&self.vault_env, &self.vault_file, &self.vault_command)
            .unwrap_or(SecretSource::Env(Self::DEFAULT_ENV))
    }

    /// Where the identity comes from, if the plan says.
    pub fn identity(&self) -> Option<SecretSource<'_>> {
        source(&self.identity_env, &self.identity_file, &self.identity_command)
    }
}

/// The one of three sources that is given.
pub(crate) fn source<'a>(
    env: &'a Option<At<String>>,
    file: &'a Option<At<String>>,
    command: &'a Option<At<String>>,
) -> Option<SecretSource<'a>> {
    (env.as_ref().map(|name| SecretSource::Env(name)))
        .or_else(|| file.as_ref().map(|path| SecretSource::File(path)))
        .or_else(|| command.as_ref().map(|line| SecretSource::Command(line)))
}

table! {
    /// A group of components with common objectives and a place in the order of recovery.
    "a class" pub struct Class {
        /// Place in the order of recovery; lower comes first.
        order: Option<At<u32>>,
        /// Longest time until its components are back.
        rto: Option<At<Duration>>,
        /// Upper limit of the RTO, where target and maximum differ.
        rto_max: Option<At<Duration>>,
        /// Most work, in time, that may be lost.
        rpo: Option<At<Duration>>,
        /// Label in documents: P0, critical …
        priority: Option<At<String>>,
        /// What belongs to it.
        description: Option<At<String>>,
    }
}

words! {
    /// The place of a tier among the others.
    "role of a tier" pub enum TierRole {
        /// First choice.
        Primary = "primary",
        /// Second.
        Secondary = "secondary",
        /// Third.
        Tertiary = "tertiary",
        /// Kept long, slow to read.
        Archive = "archive",
    }
}

table! {
    /// A place where copies live.
    "a tier" pub struct Tier {
        /// A path, `file://…`, `s3://bucket/prefix`, `gs://…`, `az://…` or `sftp://…`.
        url: Option<At<String>>,
        /// Take place and credentials from the environment variables of the plan's own world.
        #[serde(default)]
        from_env: At<bool>,
        /// Its place among the tiers.
        role: Option<At<TierRole>>,
        /// Region.
        region: Option<At<String>>,
        /// Address of the service, where it is not the provider's own.
        endpoint: Option<At<String>>,
        /// Storage class of data objects.
        storage_class: Option<At<String>>,
        /// How long snapshots are kept here, where a schedule does not say.
        keep: Option<At<Keep>>,
        /// How long it takes until data can be read: counts into the RTO.
        retrieval: Option<At<Duration>>,
        /// The place keeps objects unchangeable for so long.
        immutable: Option<At<Duration>>,
        /// The place keeps older versions of objects.
        #[serde(default)]
        versioned: At<bool>,
        /// Space that may be used.
        capacity: Option<At<Size>>,
        /// Environment variable that holds the access key id.
        access_key_env: Option<At<String>>,
        /// Environment variable that holds the secret access key.
        secret_key_env: Option<At<String>>,
        /// Environment variable that holds a connection string.
        connection_env: Option<At<String>>,
        /// File that holds credentials.
        credentials_file: Option<At<String>>,
        /// Environment variable that holds the access key id of a credential that can only read:
        /// the recovery kit takes it along.
        read_access_key_env: Option<At<String>>,
        /// Environment variable that holds the secret access key of that credential.
        read_secret_key_env: Option<At<String>>,
        /// Environment variable that holds a connection string that can only read.
        read_connection_env: Option<At<String>>,
        /// File that holds credentials that can only read.
        read_credentials_file: Option<At<String>>,
        /// What it is, for documents.
        description: Option<At<String>>,
    }
    validate Tier::validate;
}

/// Where a tier is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location<'a> {
    /// A path on this machine, as written.
    Local(&'a str),
    /// Somewhere else: scheme and the rest of the address.
    Remote {
        /// Before `://`.
        scheme: &'a str,
        /// After it.
        rest: &'a str,
    },
    /// Told by environment variables.
    FromEnvironment,
}

impl Tier {
    /// Schemes that the plan language knows.
    pub const SCHEMES: &'static [&'static str] = &["file", "s3", "gs", "az", "sftp"];

    fn validate(&self, span: Span, reader: &mut Reader) {
        if let (Some(half), None) | (None, Some(half)) =
            (&self.read_access_key_env, &self.read_secret_key_env)
        {
            reader.error_with(
                half.span(),
                "half of a credential that can only read",
                "give both `read_access_key_env` and `read_secret_key_env`",
            );
        }
        let Some(url) = &self.url else {
            if !*self.from_env {
                reader.error_with(
                    span,
                    "a tier does not say where it is",
                    "add `url = \"/path\"` or another address, or `from_env = true`",
                );
            }
            return;
        };
        match self.location() {
            Location::Remote { scheme, .. } if !Self::SCHEMES.contains(&scheme) => {
                let help = crate::plan::error::suggest(
                    scheme,
                    "known schemes",
                    Self::SCHEMES.iter().copied(),
                );
                reader.error_with(url.span(), format!("`{scheme}://` is no kind of tier"), help);
            }
            Location::Remote { rest, .. } if rest.trim_matches('/').is_empty() => {
                reader.error(url.span(), "the address has nothing after its scheme");
            }
            Location::Local(path) if path == "~" || path.starts_with("~/") => {
                reader.error_with(url.span(), "`~` is not expanded", "write the whole path");
            }
            Location::Local("") => {
                reader.error(url.span(), "the address has nothing after its scheme");
            }
            _ => {}
        }
        let secret = url.split_once("://").and_then(|(_, rest)| rest.split('/').next());
        if secret
            .is_some_and(|host| host.split_once('@').is_some_and(|(user, _)| user.contains(':')))
        {
            reader.error_with(
                url.span(),
                "the address holds a password",
                "secrets are never literals: use `secret_key_env` or `credentials_file`",
            );
        }
    }

    /// Where it is.
    pub fn location(&self) -> Location<'_> {
        let Some(url) = &self.url else { return Location::FromEnvironment };
        match url.split_once("://") {
            Some(("file", path)) => Location::Local(path.strip_prefix("localhost").unwrap_or(path)),
            Some((scheme, rest)) => Location::Remote { scheme, rest },
            None => Location::Local(url),
        }
    }
}

words! {
    /// Something that happens, after which a backup runs.
    "event" pub enum Event {
        /// Files of the component changed.
        Change = "change",
        /// A new version was deployed.
        Deploy = "deploy",
    }
}

table! {
    /// When components are backed up and how long the snapshots are kept.
    "a schedule" pub struct Schedule {
        /// Names of components; `*` is all.
        components: Many<At<String>>,
        /// When, five cron fields in UTC.
        cron: Option<At<Cron>>,
        /// After which event.
        on: Option<At<Event>>,
        /// With `on`: not more often than this.
        at_most: Option<At<Duration>>,
        /// Per tier, how long its snapshots are kept there.
        #[serde(default)]
        keep: Map<Keep>,
        /// Stopped after so long.
        timeout: Option<At<Duration>>,
        /// What it is for.
        description: Option<At<String>>,
    }
    validate Schedule::validate;
}

impl Schedule {
    fn validate(&self, span: Span, reader: &mut Reader) {
        if self.components.is_empty() {
            reader.error_with(span, "a schedule without `components`", "`[\"*\"]` is all of them");
        }
        match (&self.cron, &self.on) {
            (None, None) => reader.error_with(
                span,
                "a schedule does not say when",
                "give `cron = \"0 2 * * *\"` or `on = \"change\"`",
            ),
            (Some(_), Some(on)) => reader.error_with(
                on.span(),
                "a schedule cannot have both `cron` and `on`",
                "write two schedules",
            ),
            (Some(_), None) => {
                if let Some(at_most) = &self.at_most {
                    reader.error(at_most.span(), "`at_most` belongs to `on`, not to `cron`");
                }
            }
            (None, Some(_)) => {}
        }
    }

    /// True if it names the component or all.
    pub fn covers(&self, component: &str) -> bool {
        self.components.iter().any(|name| name.as_str() == "*" || name.as_str() == component)
    }
}

words! {
    /// What a drill rehearses.
    "kind of drill" pub enum DrillKind {
        /// A restore beside the live data.
        Restore = "restore",
        /// A restore of configuration.
        Configuration = "configuration",
        /// Verification of stored copies.
        Verification = "verification",
        /// A failover.
        Failover = "failover",
        /// Everything, end to end.
        Full = "full",
        /// Talked through, nothing executed.
        Tabletop = "tabletop",
    }
}

table! {
    /// A rehearsal: components or a scenario, in a sandbox, timed and judged.
    "a drill" pub struct Drill {
        /// Names of components; `*` is all.
        #[serde(default)]
        components: Many<At<String>>,
        /// A scenario instead.
        scenario: Option<At<String>>,
        /// When, five cron fields in UTC.
        cron: Option<At<Cron>>,
        /// What it rehearses; `restore` if not given.
        kind: Option<At<DrillKind>>,
        /// Hours in which it may run, UTC: `02:00-06:00`.
        window: Option<At<String>>,
        /// How long it is planned to take.
        duration: Option<At<Duration>>,
        /// Who does it.
        role: Option<At<String>>,
        /// Folder in which restored copies are made; in the local state if not given.
        sandbox: Option<At<String>>,
        /// Of a component with a journal: to how many older points of its window, chosen at random,
        /// it is restored besides the newest; 1 if not given.
        points: Option<At<u32>>,
        /// Judged instead of the components' RTO.
        rto: Option<At<Duration>>,
        /// Judged instead of the components' RPO.
        rpo: Option<At<Duration>>,
        /// What it is for.
        description: Option<At<String>>,
    }
    validate Drill::validate;
}

impl Drill {
    /// Older points of a component's window that are rehearsed, if the plan does not say.
    pub const POINTS: u32 = 1;

    /// How many older points of a component's window are rehearsed.
    pub fn points(&self) -> u32 {
        self.points.as_deref().copied().unwrap_or(Self::POINTS)
    }

    fn validate(&self, span: Span, reader: &mut Reader) {
        match (self.components.first(), &self.scenario) {
            (None, None) => reader.error_with(
                span,
                "a drill rehearses nothing",
                "give `components = [\"*\"]` or `scenario = \"…\"`",
            ),
            (Some(_), Some(scenario)) => reader.error_with(
                scenario.span(),
                "a drill cannot have both `components` and `scenario`",
                "write two drills",
            ),
            _ => {}
        }
        if let Some(window) = &self.window
            && self.window().is_none()
        {
            reader.error_with(
                window.span(),
                format!("`{window}` is no window of hours"),
                "write it as `02:00-06:00`, UTC",
            );
        }
    }

    /// The window as minutes of the day, UTC; the end may lie before the start, over midnight.
    pub fn window(&self) -> Option<(u16, u16)> {
        let minutes = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
            let whole = hour.checked_mul(60)?.checked_add(minute)?;
            (minute < 60 && whole <= 24 * 60).then_some(whole)
        };
        let (from, to) = self.window.as_ref()?.split_once('-')?;
        Some((minutes(from)?, minutes(to)?))
    }

    /// True if it names the component or all.
    pub fn covers(&self, component: &str) -> bool {
        self.components.iter().any(|name| name.as_str() == "*" || name.as_str() == component)
    }
}
