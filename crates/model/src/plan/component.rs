//! `[component.NAME]`: one thing that must survive.

use crate::duration::Duration;
use crate::plan::base::{SecretSource, source};
use crate::plan::check::Check;
use crate::plan::paths;
use crate::plan::read::{Many, Reader, one_of, table, words};
use crate::span::{At, Span};

table! {
    /// One thing that must survive: a database, a file tree, code, a bucket.
    "a component" pub struct Component {
        /// The class that gives its objectives and its place in the order of recovery.
        class: Option<At<String>>,
        /// Longest time until it is back.
        rto: Option<At<Duration>>,
        /// Most work, in time, that may be lost.
        rpo: Option<At<Duration>>,
        /// Place in the order of recovery, before the class's; lower comes first.
        order: Option<At<u32>>,
        /// Questions asked of each restored copy.
        #[serde(default)]
        checks: Vec<At<Check>>,
        /// Command that stops the writers before an in-place restore.
        stop: Option<At<String>>,
        /// Command that starts them again.
        start: Option<At<String>>,
        /// Command that tells, by its status, whether the service works after an in-place restore.
        probe: Option<At<String>>,
        /// Who answers for it.
        owner: Option<At<String>>,
        /// Host that captures it, in a fleet.
        host: Option<At<String>>,
        /// What it is, for documents.
        description: Option<At<String>>,
    }
    one kind: Kind;
}

one_of! {
    /// What kind of thing a component is.
    pub enum Kind {
        /// A SQLite database file.
        Sqlite(Sqlite) = "sqlite",
        /// A PostgreSQL server.
        Postgres(Postgres) = "postgres",
        /// A MariaDB or MySQL server.
        Mysql(Mysql) = "mysql",
        /// Files and folders.
        Files(Files) = "files",
        /// A Git repository.
        Git(Git) = "git",
        /// Anything that a command can dump and another can load.
        Command(Command) = "command",
        /// The application's own objects in an object store.
        Bucket(Bucket) = "bucket",
    }
}

table! {
    /// A SQLite database file.
    "sqlite" pub struct Sqlite {
        /// The database file.
        path: At<String>,
        /// Ship every committed page as it happens, so that any instant can be restored.
        #[serde(default)]
        stream: At<bool>,
        /// How far back any second can be restored.
        window: Option<At<Duration>>,
        /// Longest time for which writers may be held up while copying; 5 seconds if not given.
        max_block: Option<At<Duration>>,
        /// `table.column` that holds the time of the newest change: a cross-check of the RPO.
        newest: Option<At<String>>,
    }
    validate Sqlite::validate;
}

impl Kind {
    /// True if the plan wants every change shipped as it happens.
    pub fn streams(&self) -> bool {
        match self {
            Kind::Sqlite(sqlite) => *sqlite.stream,
            Kind::Postgres(postgres) => *postgres.stream,
            Kind::Mysql(mysql) => *mysql.stream,
            _ => false,
        }
    }

    /// How far back any second can be restored; nothing without a stream, or where all of the
    /// journal is kept as long as its bases.
    pub fn window(&self) -> Option<Duration> {
        let window = match self {
            Kind::Sqlite(sqlite) => &sqlite.window,
            Kind::Postgres(postgres) => &postgres.window,
            Kind::Mysql(mysql) => &mysql.window,
            _ => return None,
        };
        window.as_deref().copied().filter(|_| self.streams())
    }
}

impl Sqlite {
    /// Longest time for which writers may be held up, if the plan does not say.
    pub const MAX_BLOCK: Duration = Duration::from_secs(5);

    /// Longest time for which writers may be held up.
    pub fn max_block(&self) -> Duration {
        self.max_block.as_deref().copied().unwrap_or(Self::MAX_BLOCK)
    }

    /// Table and column of the newest change.
    pub fn newest(&self) -> Option<(&str, &str)> {
        self.newest.as_ref()?.rsplit_once('.')
    }

    fn validate(&self, _: Span, reader: &mut Reader) {
        if let Some(newest) = &self.newest
            && !self.newest().is_some_and(|(table, column)| !table.is_empty() && !column.is_empty())
        {
            reader.error_with(
                newest.span(),
                format!("`{newest}` does not name a column"),
                "write `table.column`",
            );
        }
        let name = std::path::Path::new(self.path.as_str()).file_name();
        if name.is_none() {
            reader.error(self.path.span(), format!("`{}` does not name a file", self.path));
        }
        if name.is_some_and(|name| name == crate::manifest::NAME) {
            manifest_taken(self.path.span(), reader);
        }
        if let (Some(window), false) = (&self.window, *self.stream) {
            reader.error_with(window.span(), "`window` without `stream`", "add `stream = true`");
        }
    }
}

fn manifest_taken(span: Span, reader: &mut Reader) {
    reader.error_with(
        span,
        format!("the path would stand at `/{}` in a snapshot", crate::manifest::NAME),
        "Lifeboat writes its own file there: capture the folder around it, or rename it",
    );
}

words! {
    /// How a database server is captured.
    "capture mode" pub enum Mode {
        /// Its files, by its own backup protocol; the base of point-in-time recovery.
        Physical = "physical",
        /// A dump of its contents.
        Logical = "logical",
    }
}

table! {
    /// A PostgreSQL server.
    "postgres" pub struct Postgres {
        /// Environment variable that holds the connection string.
        dsn_env: Option<At<String>>,
        /// File that holds the connection string.
        dsn_file: Option<At<String>>,
        /// Command that prints the connection string.
        dsn_command: Option<At<String>>,
        /// `physical` (the default) or `logical`.
        mode: Option<At<Mode>>,
        /// Ship the log as it is written.
        #[serde(default)]
        stream: At<bool>,
        /// How far back any second can be restored.
        window: Option<At<Duration>>,
        /// Data directory, where it can be read from here.
        data_dir: Option<At<String>>,
        /// Databases to dump; all if not given. Of `mode = "logical"` only.
        #[serde(default)]
        databases: Vec<At<String>>,
        /// `locked`: fingerprints of the contents are taken under a short lock that keeps writers out.
        /// `verify` brings a copy to that place in the log, for which it needs `stream`, and compares.
        fingerprint: Option<At<Fingerprint>>,
        /// Longest time for which that lock may keep writers out; 5 seconds if not given.
        max_block: Option<At<Duration>>,
        /// `table.column` that holds the time of the newest change: a cross-check of the RPO.
        newest: Option<At<String>>,
    }
    validate Postgres::validate;
}

words! {
    /// How the contents of a server are fingerprinted.
    "way to fingerprint" pub enum Fingerprint {
        /// Under a short lock that keeps writers out.
        Locked = "locked",
    }
}

impl Postgres {
    /// Longest time for which a lock may keep writers out, if the plan does not say.
    pub const MAX_BLOCK: Duration = Duration::from_secs(5);

    /// How it is captured.
    pub fn mode(&self) -> Mode {
        self.mode.as_deref().copied().unwrap_or(Mode::Physical)
    }

    /// Longest time for which a lock may keep writers out.
    pub fn max_block(&self) -> Duration {
        self.max_block.as_deref().copied().unwrap_or(Self::MAX_BLOCK)
    }

    /// Where the connection string comes from.
    pub fn dsn(&self) -> Option<SecretSource<'_>> {
        source(&self.dsn_env, &self.dsn_file, &self.dsn_command)
    }

    /// Table and column of the newest change.
    pub fn newest(&self) -> Option<(&str, &str)> {
        self.newest.as_ref()?.rsplit_once('.')
    }

    fn validate(&self, span: Span, reader: &mut Reader) {
        one_secret("dsn", [&self.dsn_env, &self.dsn_file, &self.dsn_command], span, reader);
        if let (Some(window), false) = (&self.window, *self.stream) {
            reader.error_with(window.span(), "`window` without `stream`", "add `stream = true`");
        }
        if let (Some(block), None) = (&self.max_block, &self.fingerprint) {
            let help = "add `fingerprint = \"locked\"`, or leave it out";
            reader.error_with(block.span(), "`max_block` without `fingerprint`", help);
        }
        if let Some(newest) = &self.newest
            && !self.newest().is_some_and(|(table, column)| !table.is_empty() && !column.is_empty())
        {
            let message = format!("`{newest}` does not name a column");
            reader.error_with(newest.span(), message, "write `table.column`");
        }
    }
}

table! {
    /// A MariaDB or MySQL server.
    "mysql" pub struct Mysql {
        /// Environment variable that holds the connection string.
        dsn_env: Option<At<String>>,
        /// File that holds the connection string.
        dsn_file: Option<At<String>>,
        /// Command that prints the connection string.
        dsn_command: Option<At<String>>,
        /// `physical` (the default) or `logical`.
        mode: Option<At<Mode>>,
        /// Ship the binary log as it is written.
        #[serde(default)]
        stream: At<bool>,
        /// How far back any second can be restored.
        window: Option<At<Duration>>,
        /// Data directory, where it can be read from here.
        data_dir: Option<At<String>>,
        /// Databases to dump; all if not given.
        #[serde(default)]
        databases: Vec<At<String>>,
        /// Tables whose contents are fingerprinted; all if not given.
        #[serde(default)]
        fingerprint: Vec<At<String>>,
        /// `table.column` that holds the time of the newest change.
        newest: Option<At<String>>,
    }
    validate Mysql::validate;
}

impl Mysql {
    fn validate(&self, span: Span, reader: &mut Reader) {
        one_secret("dsn", [&self.dsn_env, &self.dsn_file, &self.dsn_command], span, reader);
    }
}

/// A secret comes from exactly one place and is never a literal.
pub(crate) fn one_secret(
    name: &str,
    sources: [&Option<At<String>>; 3],
    span: Span,
    reader: &mut Reader,
) {
    let given: Vec<_> = sources.into_iter().flatten().collect();
    let help = format!("give exactly one of `{name}_env`, `{name}_file`, `{name}_command`");
    match given[..] {
        [_] => {}
        [] => reader.error_with(span, format!("`{name}` is not given"), help),
        [_, second, ..] => {
            reader.error_with(second.span(), format!("`{name}` comes from two places"), help);
        }
    }
}

table! {
    /// Files and folders.
    "files" pub struct Files {
        /// What is captured.
        paths: Many<At<String>>,
        /// What is left out, by the rules of gitignore.
        #[serde(default)]
        exclude: Many<At<String>>,
        /// If given, only what matches one of these is captured, by the rules of gitignore.
        #[serde(default)]
        include: Many<At<String>>,
        /// Do not cross into other file systems.
        #[serde(default)]
        one_file_system: bool,
        /// Ship what is appended as it is written: for logs.
        #[serde(default)]
        follow: At<bool>,
        /// Seal to the recipient of `[key]` only: for secrets.
        #[serde(default)]
        secret: At<bool>,
    }
    validate Files::validate;
}

impl Files {
    fn validate(&self, span: Span, reader: &mut Reader) {
        if self.paths.is_empty() {
            reader.error_with(
                span,
                "files without `paths`",
                "name at least one, as in `[\"media\"]`",
            );
        }
        for path in self.paths.iter() {
            let lands = paths::inside(path.trim_start_matches('/'));
            if lands.is_some_and(|tree| tree.as_os_str() == crate::manifest::NAME) {
                manifest_taken(path.span(), reader);
            }
            if path.as_str() == "~" || path.starts_with("~/") {
                reader.error_with(path.span(), "`~` is not expanded", "write the whole path");
            }
        }
    }
}

table! {
    /// A Git repository.
    "git" pub struct Git {
        /// Address or path of the repository.
        url: At<String>,
        /// Environment variable that holds the credential.
        token_env: Option<At<String>>,
    }
}

table! {
    /// Anything that a command can dump and another can load.
    "command" pub struct Command {
        /// Prints the data.
        dump: At<String>,
        /// Reads the data back.
        load: Option<At<String>>,
        /// Environment variables that the commands receive.
        #[serde(default)]
        env: Many<At<String>>,
        /// Stopped after so long.
        timeout: Option<At<Duration>>,
    }
}

table! {
    /// The application's own objects in an object store.
    "bucket" pub struct Bucket {
        /// Address: `s3://bucket/prefix`, `gs://…`, `az://…`.
        url: At<String>,
        /// Region.
        region: Option<At<String>>,
        /// Address of the service, where it is not the provider's own.
        endpoint: Option<At<String>>,
        /// Environment variable that holds the access key id.
        access_key_env: Option<At<String>>,
        /// Environment variable that holds the secret access key.
        secret_key_env: Option<At<String>>,
    }
}
