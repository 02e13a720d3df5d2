//! V3 of a physical copy: every database answers, no library that the data calls is missing, the
//! structure of tables and indexes holds (`pg_amcheck`), every page has its checksum.
//!
//! What this installation or this cluster does not have (the `amcheck` extension, checksums) is said
//! beside the databases, for it tells nothing of the copy.

use std::path::{Path, PathBuf};

use lifeboat_model::check::CheckResult;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::EngineError;

use super::broken;
use super::control::Control;
use super::install::Installation;
use super::instance::Instance;
use super::sql::{QUIET, Rows, Session};
use super::tool::Tools;

/// Names of the checks.
pub const DATABASES: &str = "databases";
/// Libraries of C functions that the data calls.
pub const LIBRARIES: &str = "extension libraries";
/// Structure of tables and B-tree indexes.
pub const AMCHECK: &str = "pg_amcheck";
/// Checksums of pages.
pub const CHECKSUMS: &str = "page checksums";

/// Relations with storage of their own that are not of one session alone, and those that `pg_amcheck`
/// looks at; it skips the others without a word.
const COVERAGE: &str = "select count(*), count(*) filter (where \
    c.relkind in ('r', 'm', 't') and a.amname = 'heap' \
    or c.relkind = 'i' and a.amname = 'btree' and i.indisvalid and i.indisready) \
    from pg_class c left join pg_am a on a.oid = c.relam left join pg_index i on i.indexrelid = c.oid \
    where c.relkind in ('r', 'm', 't', 'i') and c.relpersistence <> 't'";

/// The checks that a running server answers.
pub(super) fn running(instance: &Instance) -> Result<Vec<CheckResult>, EngineError> {
    let user = instance.superuser()?;
    let databases = databases(instance, &user)?;
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for database in &databases {
        let session = session(&user, database);
        let rows = instance.ask(&session, "select count(*) from pg_class")?;
        if cell(&rows, 0).is_none() {
            found.push(format!("{database} does not answer"));
        }
        missing.extend(missing_libraries(instance, &session)?);
    }
    let mut beside = String::new();
    let amcheck = amcheck(instance, &user, &databases)?;
    if amcheck.is_none() {
        beside = format!(
            "; structure not looked at: no amcheck (`apt-get install postgresql-contrib`, or the \
             package with contributed modules of version {})",
            instance.installed.major
        );
    }
    let verdict = match (found.is_empty(), databases.is_empty()) {
        (true, false) => Verdict::Pass,
        _ => Verdict::Fail,
    };
    found.insert(0, format!("{} answer{beside}", count(databases.len() as u64, "database")));
    let mut checks =
        vec![CheckResult::new(DATABASES, verdict, "every database answers", found.join("; "))];
    checks.push(libraries(instance, missing));
    checks.extend(amcheck);
    Ok(checks)
}

/// The checks of a copy whose server is stopped.
pub(super) fn stopped(
    tools: &Tools,
    installed: &Installation,
    data: &Path,
) -> Result<Vec<CheckResult>, EngineError> {
    if !Control::read(tools, installed, data)?.has_checksums() {
        return Ok(Vec::new());
    }
    let program = installed.program("pg_checksums")?;
    let said =
        tools.run(tools.command(&program, Path::new("/")).arg("--check").arg("-D").arg(data))?;
    let out = String::from_utf8_lossy(&said.out).into_owned();
    let line = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name))?;
        line.rsplit(':').next()?.trim().parse::<u64>().ok()
    };
    let (blocks, bad) = (line("Blocks scanned"), line("Bad checksums"));
    let verdict = match (said.status.success(), blocks, bad) {
        (true, Some(blocks), Some(0)) if blocks > 0 => Verdict::Pass,
        _ => Verdict::Fail,
    };
    let found = match (blocks, bad) {
        (Some(blocks), Some(bad)) if bad == 0 || said.error.trim().is_empty() => {
            format!("{blocks} pages, {bad} of them bad")
        }
        _ => said.why(),
    };
    Ok(vec![CheckResult::new(CHECKSUMS, verdict, "every page as its checksum says", found)])
}

/// Databases that take connections, in name order.
pub(super) fn databases(instance: &Instance, user: &str) -> Result<Vec<String>, EngineError> {
    let rows = instance.ask(
        &session(user, "template1"),
        "select datname from pg_database where datallowconn and not datistemplate order by datname",
    )?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

fn session<'a>(user: &'a str, database: &'a str) -> Session<'a> {
    Session { user, database, limit: None, writes: false }
}

fn cell(rows: &Rows, at: usize) -> Option<u64> {
    rows.first()?.get(at)?.as_ref()?.parse().ok()
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Libraries of functions in a database that are not where this installation has its own.
fn missing_libraries(
    instance: &Instance,
    session: &Session<'_>,
) -> Result<Vec<String>, EngineError> {
    let rows = instance.ask(
        session,
        "select distinct p.probin, (select setting from pg_config where name = 'PKGLIBDIR') \
         from pg_proc p where p.probin is not null",
    )?;
    let mut missing = Vec::new();
    for row in rows {
        let (Some(Some(library)), Some(Some(folder))) = (row.first(), row.get(1)) else { continue };
        let place = match library.strip_prefix("$libdir/") {
            Some(name) => Path::new(folder).join(name),
            None if library.contains('/') => PathBuf::from(library),
            None => Path::new(folder).join(library),
        };
        if !place.exists() && !place.with_extension("so").exists() {
            missing.push(format!("{library} (database {})", session.database));
        }
    }
    Ok(missing)
}

fn libraries(instance: &Instance, missing: Vec<String>) -> CheckResult {
    let expected = "every library that a function is in is installed";
    if missing.is_empty() {
        return CheckResult::new(LIBRARIES, Verdict::Pass, expected, "they are");
    }
    let found = format!(
        "missing: {}; install the extensions' packages (`apt-cache search postgresql-{}`)",
        missing.join(", "),
        instance.installed.major
    );
    CheckResult::new(LIBRARIES, Verdict::Inconclusive, expected, found)
}

/// Has a database event triggers that fire in every session? From version 17 on none do.
fn always_fires(instance: &Instance, session: &Session<'_>) -> Result<bool, EngineError> {
    if instance.installed.major >= 17 {
        return Ok(false);
    }
    let sql = "select count(*) from pg_event_trigger where evtenabled in ('A', 'R')";
    Ok(cell(&instance.ask(session, sql)?, 0) != Some(0))
}

/// `pg_amcheck` of all databases; nothing where its extension is not installed.
fn amcheck(
    instance: &Instance,
    user: &str,
    databases: &[String],
) -> Result<Option<CheckResult>, EngineError> {
    let available = instance.ask(
        &session(user, "template1"),
        "select count(*) from pg_available_extensions where name = 'amcheck'",
    )?;
    let program = instance.installed.bin.join("pg_amcheck");
    if cell(&available, 0) != Some(1) || !program.is_file() {
        return Ok(None);
    }
    let (mut all, mut covered) = (0, 0);
    let (mut had, mut looked, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for database in databases {
        let session = session(user, database);
        let is = "select count(*) from pg_extension where extname = 'amcheck'";
        let has = cell(&instance.ask(&session, is)?, 0) == Some(1);
        if !has && always_fires(instance, &session)? {
            left.push(database.as_str());
            continue;
        }
        looked.push(database);
        let rows = instance.ask(&session, COVERAGE)?;
        let unknown = || broken(format!("{database} does not tell its relations"));
        all += cell(&rows, 0).ok_or_else(unknown)?;
        covered += cell(&rows, 1).ok_or_else(unknown)?;
        if has {
            had.push(database.as_str());
        }
    }
    let left = match left.is_empty() {
        true => String::new(),
        false => format!(
            "; not looked at: {}, whose event triggers fire always; `create extension amcheck` there",
            left.join(", ")
        ),
    };
    let expected = "tables and B-trees hold together";
    if looked.is_empty() {
        let found = format!("nothing{left}");
        return Ok(Some(CheckResult::new(AMCHECK, Verdict::Inconclusive, expected, found)));
    }
    let mut command = instance.tools().command(&program, instance.socket());
    command.arg("-h").arg(instance.socket()).args(["-p", "5432", "-U", user, "-w"]);
    command.args(["--install-missing", "--heapallindexed", "--parent-check", "-j", "2"]);
    for database in &looked {
        command.arg("-d").arg(database);
    }
    // Making the extension is DDL: production's event triggers do not fire for it.
    command.env("PGOPTIONS", format!("-c session_preload_libraries= {QUIET}"));
    let said = instance.tools().run(&mut command)?;
    for database in looked.into_iter().filter(|database| !had.contains(&database.as_str())) {
        let session = Session { writes: true, ..session(user, database) };
        instance.execute(&session, "drop extension if exists amcheck")?;
    }
    let beside = match all.saturating_sub(covered) {
        0 => String::new(),
        others => format!("; {} of other kinds it does not look at", count(others, "relation")),
    };
    let coverage = format!("{covered} of {} checked{beside}{left}", count(all, "relation"));
    let (verdict, found) = match said.status.success() && covered > 0 {
        true => (Verdict::Pass, coverage),
        false => (Verdict::Fail, format!("{}; {coverage}", said.why())),
    };
    Ok(Some(CheckResult::new(AMCHECK, verdict, expected, found)))
}
