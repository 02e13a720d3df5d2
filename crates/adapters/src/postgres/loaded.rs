//! V3 and V4 of a logical copy: its dumps are loaded into a cluster made for that, and counted.
//!
//! Roles and databases come back. Tablespaces are made in folders of that cluster, for `globals.sql`
//! would make them where production has its own. The cluster is removed afterwards, on every path.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::PostgresContent;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::EngineError;

use super::install::Installation;
use super::instance::{Instance, Start};
use super::sql::{QUIET, Session};
use super::tool::Tools;
use super::{broken, failed};

/// The check that every dump was loaded.
pub const LOADED: &str = "dumps loaded";
/// The check that every database of the capture is there.
pub const CONTENT: &str = "databases of the capture";

/// A cluster with the dumps in it.
pub(super) struct Loaded {
    instance: Option<Instance>,
    folder: PathBuf,
    content: PostgresContent,
    tables: u64,
    problems: Vec<String>,
}

/// The folder of a logical copy's dumps, if it is one.
pub(super) fn dumps(copy: &Path) -> Option<PathBuf> {
    Some(copy.join("dump")).filter(|folder| folder.is_dir() && !copy.join("pgdata").exists())
}

/// Loads all dumps of a copy.
pub(super) fn load(
    tools: &Tools,
    installed: &Installation,
    copy: &Path,
    content: &PostgresContent,
) -> Result<Loaded, EngineError> {
    let mut loaded = Loaded {
        instance: None,
        folder: make_folder(copy, tools)?,
        content: content.clone(),
        tables: 0,
        problems: Vec::new(),
    };
    let data = loaded.folder.join("data");
    tools.account.let_pass(&data)?;
    let mut initdb = tools.command(&installed.program("initdb")?, &loaded.folder);
    initdb.args(["-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"]);
    let said = tools.run(initdb.arg(&data))?;
    if !said.status.success() {
        return Err(broken(format!("initdb: {}", said.why())));
    }
    let settings = vec![("max_prepared_transactions".to_owned(), "0".to_owned())];
    let start = Start { installed, data: &data, settings, preload: &[] };
    let mut instance = Instance::start(tools, &start)?;
    instance.wait_ready()?;
    loaded.globals(&instance, copy)?;
    for database in &content.databases {
        let Some(dump) = &database.dump else {
            loaded.problems.push(format!("{} has no dump", database.name));
            continue;
        };
        let file = copy.join(dump.trim_start_matches('/'));
        loaded.database(&instance, &database.name, &file)?;
    }
    loaded.instance = Some(instance);
    Ok(loaded)
}

/// Beside the copy, where there is room for one.
fn make_folder(copy: &Path, tools: &Tools) -> Result<PathBuf, EngineError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}{}-{number}", lifeboat_recovery::staging::MARK, std::process::id());
    let copy = fs::canonicalize(copy).map_err(failed("find the copy"))?;
    let folder = copy.parent().unwrap_or(Path::new("/")).join(name);
    fs::create_dir(&folder)
        .and_then(|()| tools.account.own(&folder))
        .map_err(failed(format!("make {}", folder.display())))?;
    Ok(folder)
}

impl Loaded {
    /// What the dumps were taken of.
    pub fn of(&self) -> &PostgresContent {
        &self.content
    }

    /// Its server.
    pub fn instance(&self) -> Result<&Instance, EngineError> {
        self.instance.as_ref().ok_or_else(|| broken("the dumps were not loaded"))
    }

    /// Roles and what belongs to them.
    fn globals(&mut self, instance: &Instance, copy: &Path) -> Result<(), EngineError> {
        let path = copy.join("dump/globals.sql");
        let text = fs::read_to_string(&path).map_err(failed(format!("read {}", path.display())))?;
        let safe = self.folder.join("globals.sql");
        let account = instance.tools().account;
        let (text, places) = with_own_tablespaces(&text, &self.folder);
        for place in &places {
            fs::create_dir(place)
                .and_then(|()| account.own(place))
                .map_err(failed("make a folder for a tablespace"))?;
        }
        fs::write(&safe, text)
            .and_then(|()| account.own(&safe))
            .map_err(failed("write down the roles"))?;
        let mut psql = self.client(instance, "psql")?;
        psql.args(["-X", "-q", "-d", "postgres", "-f"]).arg(&safe);
        let said = instance.tools().run(&mut psql)?;
        // The cluster's own first role is there already.
        let is_new = |line: &&str| line.contains("ERROR:") && !line.contains("already exists");
        self.problems.extend(said.error.lines().filter(is_new).map(str::to_owned));
        if !said.status.success() {
            self.problems.push(format!("globals.sql: {}", said.why()));
        }
        Ok(())
    }

    fn database(
        &mut self,
        instance: &Instance,
        name: &str,
        dump: &Path,
    ) -> Result<(), EngineError> {
        let open = || File::open(dump).map_err(failed(format!("read {}", dump.display())));
        let mut list = self.client(instance, "pg_restore")?;
        let listed = instance.tools().run_with(list.arg("-l"), open()?)?;
        if !listed.status.success() {
            self.problems.push(format!("{name}: {}", listed.why()));
            return Ok(());
        }
        let entries = String::from_utf8_lossy(&listed.out).into_owned();
        let tables = entries.lines().filter(|line| is_table(line)).count() as u64;
        let mut load = self.client(instance, "pg_restore")?;
        load.args(["--clean", "--if-exists", "--create", "--no-tablespaces"]);
        load.args(["--no-subscriptions", "-d", "template1"]);
        let said = instance.tools().run_with(&mut load, open()?)?;
        if !said.status.success() {
            self.problems.push(format!("{name}: {}", said.why()));
            return Ok(());
        }
        let session = session(name);
        let rows = instance.ask(
            &session,
            "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't' \
             and n.nspname not in ('pg_catalog', 'information_schema')",
        )?;
        let there = rows.first().and_then(|row| row.first()?.as_ref()?.parse::<u64>().ok());
        // An extension makes tables that are no entries of their own.
        if there.is_none_or(|there| there < tables) {
            self.problems.push(format!(
                "{name}: {tables} tables in the dump, {} loaded",
                there.unwrap_or_default()
            ));
        }
        self.tables += tables;
        Ok(())
    }

    fn client(&self, instance: &Instance, name: &str) -> Result<Command, EngineError> {
        let program = instance.installed.program(name)?;
        let mut command = instance.tools().command(&program, &self.folder);
        if name == "psql" {
            command.arg("-w");
        }
        command.env("PGHOST", instance.socket()).env("PGPORT", "5432").env("PGUSER", "postgres");
        // Stronger than what the dumped roles and databases are set to; and production's event
        // triggers do not fire, which a dump makes before it fills materialized views.
        let options = "-c default_transaction_read_only=off -c statement_timeout=0";
        command.env("PGOPTIONS", format!("{options} {QUIET}"));
        Ok(command)
    }

    /// Was everything loaded?
    pub fn structure(&self) -> Result<Vec<CheckResult>, EngineError> {
        let expected = "every dump loads into an empty cluster";
        let check = match self.problems.first() {
            Some(first) => {
                let more = match self.problems.len() - 1 {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                CheckResult::new(LOADED, Verdict::Fail, expected, format!("{first}{more}"))
            }
            None if self.content.databases.is_empty() => {
                CheckResult::new(LOADED, Verdict::Fail, expected, "there is no dump")
            }
            None => CheckResult::new(
                LOADED,
                Verdict::Pass,
                expected,
                format!("{} databases, {} tables", self.content.databases.len(), self.tables),
            ),
        };
        Ok(vec![check])
    }

    /// Is everything that the capture counted there?
    pub fn content(&self, content: &PostgresContent) -> Result<Vec<CheckResult>, EngineError> {
        let instance = self.instance()?;
        let there = super::structure::databases(instance, "postgres")?;
        let captured: Vec<&str> = content.databases.iter().map(|it| it.name.as_str()).collect();
        let missing: Vec<&str> =
            captured.iter().copied().filter(|name| !there.iter().any(|it| it == name)).collect();
        let verdict = match missing.is_empty() && !captured.is_empty() {
            true => Verdict::Pass,
            false => Verdict::Fail,
        };
        let found = match missing.is_empty() {
            true => format!("{} of {}", captured.len(), captured.len()),
            false => format!("missing: {}", missing.join(", ")),
        };
        let mut checks = vec![CheckResult::new(CONTENT, verdict, captured.join(", "), found)];
        for (name, table) in &content.tables {
            checks.push(self.rows(instance, name, table.rows)?);
        }
        Ok(checks)
    }

    /// Rows of `database.schema.table`.
    fn rows(&self, instance: &Instance, name: &str, rows: u64) -> Result<CheckResult, EngineError> {
        let mut parts = name.splitn(3, '.');
        let (Some(database), Some(schema), Some(table)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(broken(format!("{name} is not database.schema.table")));
        };
        let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
        let sql = format!("select count(*) from only {}.{}", quoted(schema), quoted(table));
        let answer = instance.ask(&session(database), &sql)?;
        let found = answer.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(CheckResult::compare(format!("rows of {name}"), rows, found.unwrap_or_default()))
    }

    /// Ends the server and removes the cluster.
    pub fn end(mut self) -> Result<(), EngineError> {
        match self.instance.take() {
            Some(instance) => instance.stop(),
            None => Ok(()),
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        drop(self.instance.take());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn session(database: &str) -> Session<'_> {
    Session { user: "postgres", database, limit: None, writes: false }
}

/// A line of `pg_restore -l` that makes a table: `215; 1259 16385 TABLE public orders postgres`.
fn is_table(line: &str) -> bool {
    let mut words = line.split(' ').skip(3);
    !line.starts_with(';')
        && words.next() == Some("TABLE")
        && !matches!(words.next(), Some("DATA" | "ATTACH") | None)
}

/// The globals with every tablespace in a folder of its own below `folder`, and those folders: statements
/// of `pg_dumpall --globals-only` are a line each.
fn with_own_tablespaces(globals: &str, folder: &Path) -> (String, Vec<PathBuf>) {
    const PLACE: &str = " LOCATION ";
    let mut places = Vec::new();
    let mut text = String::with_capacity(globals.len());
    for line in globals.lines() {
        let makes = line.trim_start().starts_with("CREATE TABLESPACE");
        match line.rfind(PLACE).filter(|_| makes) {
            Some(at) => {
                let place = folder.join(format!("tablespace-{}", places.len()));
                let quoted = place.to_string_lossy().replace('\'', "''");
                text.push_str(&format!("{}{PLACE}'{quoted}';\n", &line[..at]));
                places.push(place);
            }
            // Without a place it is none that can be made here.
            None if makes => {}
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    (text, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tablespace_is_made_where_production_has_it() {
        let globals = "CREATE ROLE app;\nCREATE TABLESPACE fast OWNER app LOCATION '/srv/fast';\n\
            GRANT ALL ON TABLESPACE fast TO app;\nCREATE TABLESPACE odd;\n";
        let (text, places) = with_own_tablespaces(globals, Path::new("/own"));
        assert_eq!(
            text,
            "CREATE ROLE app;\nCREATE TABLESPACE fast OWNER app LOCATION '/own/tablespace-0';\n\
             GRANT ALL ON TABLESPACE fast TO app;\n"
        );
        assert_eq!(places, [PathBuf::from("/own/tablespace-0")]);
    }

    #[test]
    fn tables_are_told_from_their_data() {
        assert!(is_table("215; 1259 16385 TABLE public orders postgres"));
        assert!(!is_table("3340; 0 16385 TABLE DATA public orders postgres"));
        assert!(!is_table("; 215; 1259 16385 TABLE public orders postgres"));
        assert!(!is_table("216; 1259 16385 SEQUENCE public s postgres"));
    }
}
