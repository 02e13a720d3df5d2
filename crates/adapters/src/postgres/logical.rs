//! Dumps: every database by `pg_dump`, roles and other globals by `pg_dumpall`.
//!
//! A dump counts when its program has ended well, and not before. Passwords reach the programs
//! through a private file that is gone afterwards, never through arguments; the hashes of roles'
//! passwords go into the vault and nowhere else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_model::manifest::PostgresContent;
use lifeboat_recovery::ports::{CaptureContext, SourceError};
use lifeboat_vault::{BackupSession, Cancel, Chunking, Clock, FileMeta, Problem};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::dsn::{Address, Dsn, TlsMode};
use super::facts::Facts;
use super::options::PostgresOptions;
use super::passfile;
use super::wire::Connection;
use crate::piped::{Piped, Run};

/// Where dumps stand in a snapshot.
const DUMPS: &str = "/dump";

/// Dumps what the plan names.
pub(crate) fn capture(
    options: &PostgresOptions,
    sql: &Connection,
    facts: &Facts,
    session: &mut BackupSession,
    content: &mut PostgresContent,
    context: &CaptureContext<'_>,
) -> Result<(), SourceError> {
    let dumper = Dumper::new(options, sql, facts, (context.clock, context.cancel))?;
    choose(options, content)?;
    "logical".clone_into(&mut content.mode);
    "dump".clone_into(&mut content.method);
    let globals = format!("{DUMPS}/globals.sql");
    let size = match add(session, &globals, dumper.globals(true)?, context) {
        // Without a superuser roles come without their passwords.
        Err(SourceError::Unfit { what, .. }) if what.contains("pg_authid") => {
            let size = add(session, &globals, dumper.globals(false)?, context)?;
            session.add_problem(Problem {
                path: PathBuf::from(&globals),
                what: "roles are dumped without their passwords: only a superuser may read them"
                    .to_owned(),
            });
            size
        }
        size => size?,
    };
    let mut total = (1, size);
    for database in content.databases.iter_mut().filter(|database| database.dump.is_some()) {
        let path = database.dump.clone().unwrap_or_default();
        let size = add(session, &path, dumper.database(&database.name)?, context)?;
        total = (total.0 + 1, total.1 + size);
    }
    (content.files, content.bytes) = total;
    Ok(())
}

/// Stores a dump; its length.
fn add(
    session: &mut BackupSession,
    path: &str,
    mut dump: Piped<'_>,
    context: &CaptureContext<'_>,
) -> Result<u64, SourceError> {
    let meta = FileMeta::private(context.clock.wall());
    let stored = session.add_stream(Path::new(path), meta, Chunking::Content, &mut dump);
    match dump.failure() {
        Some(why) => Err(why),
        None => Ok(stored?.size),
    }
}

/// Gives each database that is dumped its place.
fn choose(options: &PostgresOptions, content: &mut PostgresContent) -> Result<(), SourceError> {
    for wanted in &options.databases {
        if !content.databases.iter().any(|database| database.name == *wanted) {
            return Err(SourceError::Missing { what: format!("database `{wanted}`") });
        }
    }
    for database in &mut content.databases {
        let name = &database.name;
        let dumped = match options.databases.is_empty() {
            true => !matches!(&name[..], "template0" | "template1"),
            false => options.databases.contains(name),
        };
        database.dump = dumped.then(|| format!("{DUMPS}/{}.dump", file_name(name)));
    }
    // What is not dumped is not in the copy.
    content.databases.retain(|database| database.dump.is_some());
    if content.databases.is_empty() {
        return Err(SourceError::Missing { what: "a database to dump".to_owned() });
    }
    Ok(())
}

/// A database's name as that of a file.
fn file_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The programs, and how they get in.
struct Dumper<'a> {
    programs: PathBuf,
    /// Gone with its file when dropped.
    private: TempDir,
    passfile: Option<PathBuf>,
    dsn: &'a Dsn,
    address: Address,
    clock: &'a dyn Clock,
    cancel: &'a Cancel,
}

impl<'a> Dumper<'a> {
    fn new(
        options: &'a PostgresOptions,
        sql: &Connection,
        facts: &Facts,
        (clock, cancel): (&'a dyn Clock, &'a Cancel),
    ) -> Result<Self, SourceError> {
        let programs = programs(facts.version / 10_000)?;
        let failed = |error: io::Error| SourceError::Read {
            what: "the file of the password".to_owned(),
            source: error.into(),
        };
        let private = tempfile::Builder::new().prefix("lifeboat-").tempdir().map_err(failed)?;
        let (dsn, address) = (&options.dsn, sql.address().clone());
        let file = match &dsn.password {
            Some(password) => {
                let file = private.path().join("pgpass");
                let mut options = OpenOptions::new();
                let made = options.write(true).create_new(true).mode(0o600).open(&file);
                let line = passfile::line(&address, &dsn.user, password);
                made.and_then(|mut made| made.write_all(line.as_bytes())).map_err(failed)?;
                Some(file)
            }
            None => dsn.passfile.clone().or_else(|| options.passfile.clone()),
        };
        Ok(Dumper { programs, private, passfile: file, dsn, address, clock, cancel })
    }

    fn database(&self, name: &str) -> Result<Piped<'_>, SourceError> {
        self.run("pg_dump", name, &["--format=custom", "--compress=0"])
    }

    fn globals(&self, passwords: bool) -> Result<Piped<'_>, SourceError> {
        let without: &[&str] = if passwords { &[] } else { &["--no-role-passwords"] };
        let all = [&["--globals-only"], without].concat();
        self.run("pg_dumpall", &self.dsn.database, &all)
    }

    fn run(
        &self,
        program: &str,
        database: &str,
        arguments: &[&str],
    ) -> Result<Piped<'_>, SourceError> {
        let mut command = Command::new(self.programs.join(program));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command.current_dir(self.private.path());
        command.envs(self.passfile.iter().map(|file| ("PGPASSFILE", file)));
        command.args(arguments).args(["--no-password", "--lock-wait-timeout=600000"]);
        if program == "pg_dumpall" {
            command.args(["-l", database]);
        }
        command.arg("--dbname").arg(self.words(database));
        command.stdin(Stdio::null());
        let secret = self.dsn.password.iter();
        let run = Run {
            what: format!("{program} of {database}"),
            hint: "let the role read everything: `grant pg_read_all_data to NAME`".to_owned(),
            secrets: secret.map(|it| Zeroizing::new(it.reveal().to_owned())).collect(),
            timeout: None,
            clock: self.clock,
            cancel: self.cancel,
        };
        Piped::start(command, run)
    }

    /// A connection string without the password.
    fn words(&self, database: &str) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let (host, port) = match &self.address {
            Address::Socket(folder, port) => (folder.to_string_lossy().into_owned(), port),
            Address::Tcp(host, port) => (host.clone(), port),
        };
        let tls = match self.dsn.tls {
            TlsMode::Disable => "disable",
            TlsMode::Prefer => "prefer",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        };
        let mut words = format!(
            "host={} port={port} user={} dbname={} sslmode={tls} application_name=lifeboat",
            quoted(&host),
            quoted(&self.dsn.user),
            quoted(database)
        );
        if let Some(root) = &self.dsn.root {
            words.push_str(&format!(" sslrootcert={}", quoted(&root.to_string_lossy())));
        }
        words
    }
}

/// The folder with the programs of the oldest installed version that can dump this server.
fn programs(major: u32) -> Result<PathBuf, SourceError> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (home, stem) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-"), ("/opt", "postgresql")] {
        for entry in fs::read_dir(home).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name
                .strip_prefix(stem)
                .and_then(|number| number.trim_start_matches('@').parse().ok());
            let bin = entry.path().join("bin");
            if let Some(number) = number.filter(|_| bin.join("pg_dump").is_file()) {
                found.push((number, bin));
            }
        }
    }
    for bin in ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from) {
        // Debian's own picks a version by clusters of this machine: only the above say which.
        if let Some(number) = version_of(&bin.join("pg_dump")) {
            found.push((number, bin));
        }
    }
    found.retain(|(number, _)| *number >= major);
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().next().map(|(_, bin)| bin).ok_or_else(|| SourceError::Unfit {
        what: format!("pg_dump for PostgreSQL {major} is not installed"),
        hint: format!("`apt-get install postgresql-client-{major}`"),
    })
}

fn version_of(program: &Path) -> Option<u32> {
    if program.symlink_metadata().ok()?.is_symlink() {
        return None;
    }
    let said = Command::new(program).arg("--version").env_clear().output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let version = text
        .split_whitespace()
        .find(|word| word.starts_with(|char: char| char.is_ascii_digit()))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_harmless() {
        assert_eq!(file_name("orders_1-a"), "orders_1-a");
        assert_eq!(file_name("../x y"), "%2E%2E%2Fx%20y");
    }
}
