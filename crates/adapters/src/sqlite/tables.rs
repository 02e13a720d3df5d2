//! The tables of a database and the statements that read them in key order.

use rusqlite::{Connection, Error, OptionalExtension, Result};

/// How a table's rows can be named, so that a reading can stop and go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// By rowid, under this name.
    Rowid(&'static str),
    /// By the primary key of a `WITHOUT ROWID` table: expressions with their collation.
    Primary(Vec<String>),
    /// Not at all; such a table is read in one piece.
    None,
}

/// A table with a b-tree of its own.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Name as the schema writes it.
    pub name: String,
    /// Ordinary and stored generated columns in declared order.
    pub columns: Vec<String>,
    /// How rows are named.
    pub key: Key,
    /// True if it declares foreign keys.
    pub has_foreign_keys: bool,
}

/// All tables that hold data, in byte order of their names.
pub(super) fn list(connection: &Connection) -> Result<Vec<Table>> {
    let encoding: String = connection.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    let mut statement = connection.prepare(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name",
    )?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>>>()?;
    names.into_iter().map(|name| describe(connection, name, encoding == "UTF-8")).collect()
}

fn describe(connection: &Connection, name: String, utf8: bool) -> Result<Table> {
    let mut statement = connection
        .prepare("SELECT name, hidden FROM pragma_table_xinfo(?1, 'main') ORDER BY cid")?;
    let all = statement
        .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, i64)>>>()?;
    // hidden: 0 ordinary, 1 of a virtual table, 2 virtual generated, 3 stored generated.
    let columns = all.iter().filter(|(_, hidden)| matches!(hidden, 0 | 3));
    let columns: Vec<String> = columns.map(|(column, _)| column.clone()).collect();
    let without_rowid = connection
        .query_row("SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main'", [&name], |row| {
            row.get::<_, bool>(0)
        })
        .optional()?
        .ok_or(Error::QueryReturnedNoRows)?;
    let key = if without_rowid {
        primary_key(connection, &name, utf8)?
    } else {
        let hidden =
            |candidate: &str| all.iter().any(|(name, _)| name.eq_ignore_ascii_case(candidate));
        let mut names = ["rowid", "_rowid_", "oid"].into_iter();
        names.find(|candidate| !hidden(candidate)).map_or(Key::None, Key::Rowid)
    };
    let has_foreign_keys =
        connection.prepare("SELECT 1 FROM pragma_foreign_key_list(?1, 'main')")?.exists([&name])?;
    Ok(Table { name, columns, key, has_foreign_keys })
}

/// The key of a `WITHOUT ROWID` table, where rows can be sought by it: ascending, by collations that
/// SQLite brings itself, in an encoding in which bytes go in as they came out.
fn primary_key(connection: &Connection, table: &str, utf8: bool) -> Result<Key> {
    let index: String = connection.query_row(
        "SELECT name FROM pragma_index_list(?1, 'main') WHERE origin = 'pk'",
        [table],
        |row| row.get(0),
    )?;
    let mut statement = connection.prepare(
        "SELECT name, desc, coll FROM pragma_index_xinfo(?1, 'main') WHERE key = 1 ORDER BY seqno",
    )?;
    let parts = statement
        .query_map([&index], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(String, bool, String)>>>()?;
    let built_in = |name: &str| {
        ["BINARY", "NOCASE", "RTRIM"].iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    if !utf8 || parts.iter().any(|(_, descending, collation)| *descending || !built_in(collation)) {
        return Ok(Key::None);
    }
    let expression = |(name, _, collation): &(String, bool, String)| {
        format!("{} COLLATE {}", quote(name), quote(collation))
    };
    Ok(Key::Primary(parts.iter().map(expression).collect()))
}

impl Table {
    /// True if the rowid is part of the fingerprint.
    pub fn with_rowid(&self) -> bool {
        matches!(self.key, Key::Rowid(_))
    }

    /// Number of leading cells that are the key and not part of the fingerprint.
    pub fn key_cells(&self) -> usize {
        match &self.key {
            Key::Primary(parts) => parts.len(),
            Key::Rowid(_) | Key::None => 0,
        }
    }

    /// Reads all rows in the b-tree's order, or those after a key given by parameters: the cells of
    /// [`Table::key_cells`], then the rowid if it is part of the fingerprint, then the columns.
    ///
    /// `NOT INDEXED` keeps SQLite from walking a covering index, whose order would differ.
    pub fn select(&self, after_key: bool) -> String {
        let mut cells: Vec<String> = match &self.key {
            Key::Rowid(name) => vec![(*name).to_owned()],
            Key::Primary(parts) => parts.clone(),
            Key::None => Vec::new(),
        };
        let key = cells.join(", ");
        cells.extend(self.columns.iter().map(|name| quote(name)));
        let mut sql =
            format!("SELECT {} FROM main.{} NOT INDEXED", cells.join(", "), quote(&self.name));
        if after_key {
            let marks = vec!["?"; self.key_width()].join(", ");
            sql += &format!(" WHERE ({key}) > ({marks})");
        }
        if !matches!(self.key, Key::None) {
            sql += &format!(" ORDER BY {key}");
        }
        sql
    }

    /// Number of cells that [`Table::select`] gives.
    pub fn cells(&self) -> usize {
        self.key_width() + self.columns.len()
    }

    /// Number of cells that name a row.
    pub fn key_width(&self) -> usize {
        match &self.key {
            Key::Rowid(_) => 1,
            Key::Primary(parts) => parts.len(),
            Key::None => 0,
        }
    }
}

/// A name as an SQL identifier.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
