//! What a manifest says of a server: databases, settings, newest change.

use lifeboat_model::manifest::{PostgresContent, PostgresDatabase};
use lifeboat_vault::{Cancel, Monitor};

use super::dsn::Dsn;
use super::error::Result;
use super::facts::Facts;
use super::options::PostgresOptions;
use super::wire::{Connection, Purpose};

/// All but what the way of capture decides.
pub(crate) fn describe(
    options: &PostgresOptions,
    component: &str,
    sql: &mut Connection,
    facts: &Facts,
    (monitor, cancel): (&dyn Monitor, &Cancel),
) -> Result<PostgresContent> {
    let databases = databases(options, component, sql, (monitor, cancel))?;
    Ok(PostgresContent {
        source: sql.address().to_string(),
        mode: String::new(),
        server_version: facts.version,
        server_version_text: facts.version_text.clone(),
        system_identifier: facts.system_identifier.to_string(),
        timeline: 0,
        start_lsn: String::new(),
        stop_lsn: String::new(),
        wal_segment_size: facts.segment_size,
        checksums: facts.setting("data_checksums") == Some("on"),
        bytes: 0,
        files: 0,
        data_directory: facts.setting("data_directory").map(str::to_owned),
        tablespaces: Vec::new(),
        databases,
        settings: facts.settings.clone(),
        tables: Default::default(),
        fingerprint_lsn: None,
        newest_change: newest(options, sql, monitor)?,
        method: String::new(),
    })
}

fn databases(
    options: &PostgresOptions,
    component: &str,
    sql: &mut Connection,
    (monitor, cancel): (&dyn Monitor, &Cancel),
) -> Result<Vec<PostgresDatabase>> {
    let rows = sql.query(
        "select datname, case when has_database_privilege(oid, 'connect') \
         then pg_database_size(oid) else 0 end, datallowconn \
         from pg_database order by datname collate \"C\"",
    )?;
    let beside = Dsn { addresses: vec![sql.address().clone()], ..options.dsn.clone() };
    let mut all = Vec::new();
    for row in rows {
        let cell = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        let mut database = PostgresDatabase {
            name: cell(0).to_owned(),
            bytes: cell(1).parse().unwrap_or(0),
            dump: None,
            extensions: Vec::new(),
        };
        if cell(2) == "t" {
            let name = Some(&database.name[..]);
            let opened = options.open(&beside, component, Purpose::Sql, name, cancel);
            let found = opened.and_then(|mut other| {
                other.query("select extname || ' ' || extversion from pg_extension order by 1")
            });
            match found {
                Ok(rows) => database.extensions = rows.into_iter().flatten().flatten().collect(),
                Err(error) => monitor.note(&format!(
                    "the extensions of database {} are not known: {error}",
                    database.name
                )),
            }
        }
        all.push(database);
    }
    Ok(all)
}

/// The newest change by the column that the plan names.
fn newest(
    options: &PostgresOptions,
    sql: &mut Connection,
    monitor: &dyn Monitor,
) -> Result<Option<String>> {
    let Some((table, column)) = &options.newest else { return Ok(None) };
    let table = table.split('.').map(quoted).collect::<Vec<_>>().join(".");
    match sql.value(&format!("select max({})::text from {table}", quoted(column))) {
        Err(error @ super::error::PgError::Refused { .. }) => {
            monitor.note(&format!("the newest change is not known: {error}"));
            Ok(None)
        }
        found => found,
    }
}

/// A name as SQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
