//! Looks into a database for a table that a restored copy must not have lost. Reads only, and
//! leaves no file behind: the main file alone is looked at, as if nobody wrote to it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// The table with the highest row number, if the database can be read as it is.
pub fn fullest(database: &Path) -> Option<String> {
    let path = database.to_str()?;
    if path.contains(['?', '#', '%']) {
        return None;
    }
    let connection = Connection::open_with_flags(
        format!("file:{path}?mode=ro&immutable=1"),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    )
    .ok()?;
    let mut names = connection
        .prepare(
            "select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' \
             escape '\\' order by name",
        )
        .ok()?;
    let names: Vec<String> = names.query_map([], |row| row.get(0)).ok()?.flatten().collect();
    names
        .into_iter()
        .filter_map(|name| {
            let sql = format!("select max(rowid) from {}", identifier(&name));
            let rows =
                connection.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0)).ok()??;
            Some((rows, name))
        })
        .filter(|(rows, _)| *rows > 0)
        .max_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)))
        .map(|(_, name)| name)
}

/// A name as SQL takes it: bare if it may be, else quoted.
pub fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    // `order`, `group` and their like must be quoted; a column list of keywords is not worth it.
    let keyword = ["order", "group", "table", "index", "select", "from", "where", "transaction"];
    if plain && !keyword.contains(&name.to_ascii_lowercase().as_str()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_table_is_found_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "create table a (x); create table \"order\" (x); create table empty (x);
                 create table without (k primary key) without rowid; insert into without values (1);
                 insert into a values (1); insert into \"order\" values (1), (2);",
            )
            .unwrap();
        drop(connection);
        let table = fullest(&path).unwrap();
        assert_eq!(identifier(&table), "\"order\"");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(&path, "no database").unwrap();
        assert_eq!(fullest(&path), None);
    }
}
