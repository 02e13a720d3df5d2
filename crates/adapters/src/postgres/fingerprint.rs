//! Fingerprints of tables, taken under a short lock that keeps writers out (`fingerprint =
//! "locked"`): what a copy that is brought to the same place in the log must equal.
//!
//! Nothing here may fail a backup: what cannot be had in time is said and left out.

use std::time::Duration;

use indexmap::IndexMap;
use lifeboat_model::manifest::{PostgresContent, TableContent};
use lifeboat_recovery::ports::CaptureContext;
use sha2::{Digest, Sha256};

use super::content::quoted;
use super::dsn::Dsn;
use super::error::{PgError, Result};
use super::options::PostgresOptions;
use super::wire::{Connection, Purpose};

/// What makes the text of a value the same everywhere, besides what every connection asks for; and
/// all rows or an error.
const ALIKE: &str = "set extra_float_digits = 1; set bytea_output = 'hex'; \
    set intervalstyle = 'postgres'; set xmlbinary = 'base64'; set lc_monetary = 'C'; \
    set search_path = pg_catalog; set row_security = off";

/// Rows and fingerprint of a table: the sum of two halves of each row's MD5, in any order of the
/// rows, hashed with their number. Any server of the same content gives the same.
pub fn fingerprint(sql: &mut Connection, schema: &str, table: &str) -> Result<TableContent> {
    sql.query(ALIKE)?;
    // No column has that name, and no cast that somebody made is asked: a row's own output function.
    let half = |from: u8| {
        format!(
            "coalesce(sum(('x' || substr(md5(concat(\"lifeboat's row\".*)), {from}, 16))\
             ::bit(64)::bigint::numeric), 0)"
        )
    };
    let (schema, table) = (quoted(schema), quoted(table));
    let rows = sql.query(&format!(
        "select count(*), {}, {} from only {schema}.{table} \"lifeboat's row\"",
        half(1),
        half(17)
    ))?;
    let row = rows.into_iter().next().unwrap_or_default();
    let [Some(rows), Some(first), Some(second)] = &row[..] else {
        return Err(PgError::protocol("a fingerprint has not three parts"));
    };
    let mark = Sha256::digest(format!("{rows} {first} {second}"));
    let rows = rows.parse().map_err(|_| PgError::protocol("a number of rows cannot be read"))?;
    Ok(TableContent { rows, fingerprint: hex::encode(mark) })
}

/// Databases whose tables are fingerprinted: those that take connections.
pub(super) const DATABASES: &str = "select datname from pg_database where datallowconn and datname \
    not in ('template0', 'template1') order by datname";

/// Takes them if that is possible within `limit`, and says how long writers were kept out.
pub(crate) fn take(
    options: &PostgresOptions,
    component: &str,
    sql: &mut Connection,
    content: &mut PostgresContent,
    (limit, context): (Duration, &CaptureContext<'_>),
) -> Option<Duration> {
    let began = context.clock.monotonic();
    let left = || limit.saturating_sub(context.clock.monotonic().saturating_sub(began));
    let dsn = Dsn { addresses: vec![sql.address().clone()], ..options.dsn.clone() };
    let open = |name: &str| options.open(&dsn, component, Purpose::Sql, Some(name), context.cancel);
    let taken = sql
        .query(DATABASES)
        .and_then(|rows| {
            let names = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
            names.map(|name| Ok((name.clone(), Locked::new(open(&name)?)?))).collect()
        })
        .and_then(|databases: Vec<_>| {
            // From the first request on writers may wait.
            read(databases, sql, &left)
        });
    match taken {
        Ok((lsn, tables)) => {
            content.fingerprint_lsn = Some(lsn);
            content.tables = tables;
        }
        Err(error) => context.monitor.note(&format!(
            "no fingerprints of the tables: they could not be had within `max_block`, or not at \
             all ({error})"
        )),
    }
    Some(context.clock.monotonic().saturating_sub(began).min(limit))
}

/// Schema and name of the tables of a database whose contents the log has.
pub(super) fn tables(sql: &mut Connection) -> Result<Vec<(String, String)>> {
    let rows = sql.query(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_' \
         and n.nspname <> 'information_schema' order by 1, 2",
    )?;
    let tables = rows.into_iter().filter_map(|row| <[_; 2]>::try_from(row).ok());
    Ok(tables.filter_map(|[schema, table]| Some((schema?, table?))).collect())
}

/// The name of a table in a manifest: `database.schema.table`, a part that holds a dot quoted.
pub(super) fn named(database: &str, schema: &str, table: &str) -> String {
    let part = |text: &str| match text.contains(['.', '"']) {
        true => quoted(text),
        false => text.to_owned(),
    };
    format!("{}.{}.{}", part(database), part(schema), part(table))
}

/// A database whose tables are kept as they are; free again when dropped.
struct Locked {
    sql: Connection,
    tables: Vec<(String, String)>,
}

impl Locked {
    /// Lists the tables; locks nothing yet.
    fn new(mut sql: Connection) -> Result<Locked> {
        let tables = tables(&mut sql)?;
        Ok(Locked { sql, tables })
    }

    /// Keeps writers out of all of them.
    fn lock(&mut self, left: Duration) -> Result<()> {
        self.sql.query("begin")?;
        self.limit(left)?;
        if self.tables.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self
            .tables
            .iter()
            .map(|(schema, table)| format!("only {}.{}", quoted(schema), quoted(table)))
            .collect();
        self.sql.query(&format!("lock table {} in share mode", names.join(", "))).map(drop)
    }

    /// The next statement gets no longer than is left.
    fn limit(&mut self, left: Duration) -> Result<()> {
        if left.is_zero() {
            return Err(PgError::lost("the time is up"));
        }
        let left = left.as_millis().max(1);
        self.sql
            .query(&format!(
                "set local statement_timeout = {left}; set local lock_timeout = {left}"
            ))
            .map(drop)
    }
}

type Tables = IndexMap<String, TableContent>;

fn read(
    mut databases: Vec<(String, Locked)>,
    sql: &mut Connection,
    left: &dyn Fn() -> Duration,
) -> Result<(String, Tables)> {
    for (_, locked) in &mut databases {
        locked.lock(left())?;
    }
    // Who wrote to these tables has ended before this place, who will has to wait behind it.
    let lsn = sql.value("select pg_current_wal_insert_lsn()")?;
    let lsn = lsn.ok_or_else(|| PgError::protocol("it does not say where its log is"))?;
    // A commit behind that place: else an idle server keeps the log up to it in its memory.
    if let Some((_, first)) = databases.first_mut() {
        first.sql.query("select pg_current_xact_id()")?;
    }
    // Those that are there at that place, and no others, are locked.
    for (_, locked) in &mut databases {
        if tables(&mut locked.sql)? != locked.tables {
            return Err(PgError::lost("a table came, went or changed its kind meanwhile"));
        }
    }
    let mut all = Tables::new();
    for (name, locked) in &mut databases {
        for (schema, table) in locked.tables.clone() {
            locked.limit(left())?;
            let content = fingerprint(&mut locked.sql, &schema, &table)?;
            all.insert(named(name, &schema, &table), content);
        }
        locked.sql.query("commit")?;
    }
    Ok((lsn, all))
}
