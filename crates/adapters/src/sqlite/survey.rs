//! Reads from a database what its manifest says of it: schema, settings, rows, fingerprints.
//!
//! A survey runs inside transactions that its caller opens. It goes to the end in one piece, or
//! stops wherever a [`Gate`] says so and goes on in the next transaction; the caller answers for it
//! that the database did not change between the two.

use indexmap::IndexMap;
use lifeboat_model::manifest::{SqliteContent, TableContent};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Result, Row, ToSql, params_from_iter};

use super::NewestChange;
use super::fingerprint::{Method, RowHasher};
use super::tables::{self, Key, Table, quote};

/// Rows between two questions to the gate.
const ROWS_A_LOOK: u32 = 64;

/// What a survey shall do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Go on.
    Go,
    /// Stop here; another step follows.
    Pause,
    /// Give up.
    Stop,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Everything is read.
    Done,
    /// The gate said pause.
    Paused,
    /// The gate said stop.
    Stopped,
}

/// What a survey found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub page_size: u32,
    pub page_count: u32,
    pub user_version: i64,
    pub application_id: i64,
    pub encoding: String,
    pub schema_sha256: String,
    pub tables: IndexMap<String, TableContent>,
    /// `None` where SQLite itself cannot check, because a declaration does not fit its parent.
    pub foreign_key_violations: Option<u64>,
    pub newest_change: Option<String>,
}

/// A reading in progress.
pub(super) struct Survey {
    method: Method,
    newest: Option<NewestChange>,
    found: Findings,
    tables: Option<Vec<Table>>,
    next: usize,
    cursor: Option<Cursor>,
    bytes: u64,
}

/// Where the reading of one table stands.
struct Cursor {
    hasher: RowHasher,
    after: Option<Vec<KeyCell>>,
    rows_done: bool,
}

impl Survey {
    /// Nothing read yet.
    pub fn new(newest: Option<NewestChange>) -> Self {
        Survey {
            method: Method::Blake3,
            newest,
            found: Findings { foreign_key_violations: Some(0), ..Findings::default() },
            tables: None,
            next: 0,
            cursor: None,
            bytes: 0,
        }
    }

    /// With the fingerprints that an older manifest has.
    pub fn with(self, method: Method) -> Self {
        Survey { method, ..self }
    }

    /// Bytes of cells hashed so far, for rates.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.cursor.as_ref().map_or(0, |cursor| cursor.hasher.bytes())
    }

    /// Reads on, inside the connection's present transaction.
    pub fn step(
        &mut self,
        connection: &Connection,
        gate: &mut dyn FnMut() -> Gate,
    ) -> Result<Step> {
        if self.tables.is_none() {
            self.settings(connection)?;
            self.tables = Some(tables::list(connection)?);
        }
        let tables = self.tables.take().unwrap_or_default();
        let outcome = self.tables(connection, &tables, gate);
        self.tables = Some(tables);
        match outcome? {
            Step::Done => {}
            other => return Ok(other),
        }
        if let Some(newest) = &self.newest {
            self.found.newest_change = newest_change(connection, newest)?;
        }
        Ok(Step::Done)
    }

    /// What was found, once a step said [`Step::Done`].
    pub fn finish(self) -> Findings {
        self.found
    }

    fn settings(&mut self, connection: &Connection) -> Result<()> {
        let number = |name: &str| -> Result<i64> {
            connection.query_row(&format!("PRAGMA main.{name}"), [], |row| row.get(0))
        };
        self.found.page_size = number("page_size")? as u32;
        self.found.page_count = number("page_count")? as u32;
        self.found.user_version = number("user_version")?;
        self.found.application_id = number("application_id")?;
        self.found.encoding = connection.query_row("PRAGMA main.encoding", [], |row| row.get(0))?;
        self.found.schema_sha256 = schema_sha256(connection)?;
        Ok(())
    }

    fn tables(
        &mut self,
        connection: &Connection,
        tables: &[Table],
        gate: &mut dyn FnMut() -> Gate,
    ) -> Result<Step> {
        while let Some(table) = tables.get(self.next) {
            match gate() {
                Gate::Go => {}
                Gate::Pause => return Ok(Step::Paused),
                Gate::Stop => return Ok(Step::Stopped),
            }
            let method = self.method;
            let cursor = self.cursor.get_or_insert_with(|| Cursor {
                hasher: RowHasher::table(method, &table.name, &table.columns, table.with_rowid()),
                after: None,
                rows_done: false,
            });
            if !cursor.rows_done {
                match read_rows(connection, table, cursor, gate)? {
                    Step::Done => cursor.rows_done = true,
                    other => return Ok(other),
                }
                if table.has_foreign_keys && gate() == Gate::Pause {
                    return Ok(Step::Paused);
                }
            }
            if table.has_foreign_keys {
                let more = foreign_key_violations(connection, table)?;
                let sum = self.found.foreign_key_violations;
                self.found.foreign_key_violations = sum.zip(more).map(|(sum, more)| sum + more);
            }
            if let Some(cursor) = self.cursor.take() {
                self.bytes += cursor.hasher.bytes();
                let (rows, fingerprint) = cursor.hasher.finish();
                self.found.tables.insert(table.name.clone(), TableContent { rows, fingerprint });
            }
            self.next += 1;
        }
        Ok(Step::Done)
    }
}

impl Findings {
    /// Fills what was found into the form that the manifest keeps; the rest is the capture's.
    pub fn into_content(self, rest: SqliteContent) -> SqliteContent {
        SqliteContent {
            page_size: self.page_size,
            page_count: self.page_count,
            user_version: self.user_version,
            application_id: self.application_id,
            encoding: self.encoding,
            schema_sha256: self.schema_sha256,
            tables: self.tables,
            foreign_key_violations: self.foreign_key_violations,
            newest_change: self.newest_change,
            ..rest
        }
    }
}

fn read_rows(
    connection: &Connection,
    table: &Table,
    cursor: &mut Cursor,
    gate: &mut dyn FnMut() -> Gate,
) -> Result<Step> {
    let mut statement = connection.prepare(&table.select(cursor.after.is_some()))?;
    let after = cursor.after.take().unwrap_or_default();
    let mut rows = statement.query(params_from_iter(after.iter()))?;
    let cells = table.key_cells()..table.cells();
    let mut since = 0;
    while let Some(row) = rows.next()? {
        for index in cells.clone() {
            cursor.hasher.cell(row.get_ref(index)?);
        }
        cursor.hasher.end_row();
        since += 1;
        if since < ROWS_A_LOOK {
            continue;
        }
        since = 0;
        match gate() {
            Gate::Pause if table.key != Key::None => {
                cursor.after = Some(key_of(row, table)?);
                return Ok(Step::Paused);
            }
            Gate::Go | Gate::Pause => {}
            Gate::Stop => return Ok(Step::Stopped),
        }
    }
    Ok(Step::Done)
}

fn key_of(row: &Row<'_>, table: &Table) -> Result<Vec<KeyCell>> {
    (0..table.key_width()).map(|index| Ok(row.get_ref(index)?.into())).collect()
}

/// A key's cell. Text is kept as bytes, valid or not, and goes back in as they came out.
enum KeyCell {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl From<ValueRef<'_>> for KeyCell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => KeyCell::Null,
            ValueRef::Integer(number) => KeyCell::Integer(number),
            ValueRef::Real(number) => KeyCell::Real(number),
            ValueRef::Text(text) => KeyCell::Text(text.to_vec()),
            ValueRef::Blob(blob) => KeyCell::Blob(blob.to_vec()),
        }
    }
}

impl ToSql for KeyCell {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            KeyCell::Null => ValueRef::Null,
            KeyCell::Integer(number) => ValueRef::Integer(*number),
            KeyCell::Real(number) => ValueRef::Real(*number),
            KeyCell::Text(text) => ValueRef::Text(text),
            KeyCell::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

/// SHA-256 of the schema, hexadecimal; the definition stands in [`super::fingerprint`].
fn schema_sha256(connection: &Connection) -> Result<String> {
    let mut hasher = RowHasher::schema();
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY type, name, tbl_name",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for index in 0..4 {
            hasher.cell(row.get_ref(index)?);
        }
        hasher.end_row();
    }
    Ok(hasher.finish().1)
}

/// Rows of one table that point to no parent, or `None` if SQLite refuses to check them.
fn foreign_key_violations(connection: &Connection, table: &Table) -> Result<Option<u64>> {
    let count = || -> Result<u64> {
        let sql = format!("PRAGMA main.foreign_key_check({})", quote(&table.name));
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    match count() {
        Ok(count) => Ok(Some(count)),
        // The parent's columns are not unique; SQLite has no code of its own for it.
        Err(rusqlite::Error::SqliteFailure(_, Some(text)))
            if text.starts_with("foreign key mismatch") =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The same over all tables.
pub(super) fn all_foreign_key_violations(connection: &Connection) -> Result<Option<u64>> {
    let mut sum = Some(0);
    for table in tables::list(connection)?.iter().filter(|table| table.has_foreign_keys) {
        let more = foreign_key_violations(connection, table)?;
        sum = sum.zip(more).map(|(sum, more)| sum + more);
    }
    Ok(sum)
}

fn newest_change(connection: &Connection, newest: &NewestChange) -> Result<Option<String>> {
    let sql = format!(
        "SELECT CAST(max(t.{}) AS TEXT) FROM main.{} AS t",
        quote(&newest.column),
        quote(&newest.table)
    );
    connection.query_row(&sql, [], |row| row.get(0))
}
