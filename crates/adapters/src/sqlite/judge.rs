//! Judges a restored copy: is it sound, and is it what the manifest says?
//!
//! The copy is opened as a file that nothing changes (`immutable`): no lock, `-wal` or `-shm` is
//! made beside it and not a byte of it changes, so that it stays equal to what was captured.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, Manifest, SqliteContent, TableContent};
use lifeboat_model::verdict::Verdict;
use rusqlite::Connection;

use super::fingerprint::Method;
use super::open::{self, beside};
use super::survey::{Findings, Gate, Step, Survey};

/// Lines of `integrity_check` that a result repeats.
const LINES: usize = 5;

/// V3: the file has its length, stands alone, and SQLite's own checks find what they found at the
/// source. `moved` is the length of a copy that was brought along a journal: it is the source as it was
/// later, byte for byte, so what it then lacked of parents the source lacked too.
pub(super) fn structure(copy: &Path, manifest: &Manifest, moved: Option<u64>) -> Vec<CheckResult> {
    let content = match sqlite(manifest) {
        Ok(content) => content,
        Err(check) => return vec![check],
    };
    let file = locate(copy, &content.file);
    let length = u64::from(content.page_size) * u64::from(content.page_count);
    let length = moved.unwrap_or(length);
    let found = match std::fs::metadata(&file) {
        Ok(found) => format!("{} bytes", found.len()),
        Err(error) => format!("{}: {error}", file.display()),
    };
    let mut checks = vec![
        CheckResult::compare("file size", format!("{length} bytes"), found),
        CheckResult::compare("nothing beside the file", "none", companions(&file)),
    ];
    let expected = references(content.foreign_key_violations);
    match open::open_immutable(&file) {
        Ok(connection) => {
            checks.push(integrity(&connection));
            let found = match foreign_keys(&connection) {
                Ok(count) => references(count),
                Err(error) => error.to_string(),
            };
            checks.push(match moved {
                None => CheckResult::compare("foreign_key_check", expected, found),
                Some(_) => {
                    let as_live = "what the live database had at that point";
                    CheckResult::new("foreign_key_check", Verdict::Pass, as_live, found)
                }
            });
        }
        Err(error) => {
            let found = format!("cannot be opened: {error}");
            checks.push(CheckResult::new("integrity_check", Verdict::Fail, "ok", &found));
            checks.push(CheckResult::new("foreign_key_check", Verdict::Fail, expected, found));
        }
    }
    checks
}

/// V4: everything that the manifest says of the source, asked of the copy.
pub(super) fn content(copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
    let expected = match sqlite(manifest) {
        Ok(content) => content,
        Err(check) => return vec![check],
    };
    let found = match survey(&locate(copy, &expected.file), Method::of(manifest)) {
        Ok(found) => found,
        Err(error) => {
            let found = format!("cannot be read: {error}");
            return vec![CheckResult::new(
                "content",
                Verdict::Fail,
                "equal to the manifest",
                found,
            )];
        }
    };
    let mut checks = vec![
        CheckResult::compare("page size", expected.page_size, found.page_size),
        CheckResult::compare("page count", expected.page_count, found.page_count),
        CheckResult::compare("encoding", &expected.encoding, &found.encoding),
        CheckResult::compare("user_version", expected.user_version, found.user_version),
        CheckResult::compare("application_id", expected.application_id, found.application_id),
        CheckResult::compare("schema", &expected.schema_sha256, &found.schema_sha256),
        tables(&expected.tables, &found.tables),
    ];
    for (name, expected) in &expected.tables {
        let found = found.tables.get(name).map_or("no such table".to_owned(), words);
        checks.push(CheckResult::compare(format!("table {name}"), words(expected), found));
    }
    checks
}

/// The database's file in a folder that holds a restored copy, or the file itself.
pub(super) fn locate(copy: &Path, file: &str) -> PathBuf {
    let named = copy.join(file);
    if copy.is_file() {
        return copy.to_owned();
    }
    if named.exists() {
        return named;
    }
    // A name that is not UTF-8 stands in the manifest in its readable form, and a plan may call the
    // database otherwise than when it was captured: a file that stands there alone is meant.
    let entries = std::fs::read_dir(copy).into_iter().flatten().flatten();
    let mut files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
    match (files.next(), files.next()) {
        (Some(only), None) => only,
        _ => named,
    }
}

/// The manifest's SQLite part, or the check that says it has none.
pub(super) fn sqlite(manifest: &Manifest) -> Result<&SqliteContent, CheckResult> {
    match &manifest.content {
        Content::Sqlite(content) => Ok(content),
        other => Err(CheckResult::compare("engine", "sqlite", other.engine())),
    }
}

fn companions(file: &Path) -> String {
    let there = |suffix: &&str| beside(file, suffix).symlink_metadata().is_ok();
    let names: Vec<&str> = ["-wal", "-shm", "-journal"].into_iter().filter(there).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn references(violations: Option<u64>) -> String {
    match violations {
        Some(count) => format!("{count} rows without their parent"),
        None => "not checkable: a declaration does not fit its parent".to_owned(),
    }
}

fn integrity(connection: &Connection) -> CheckResult {
    let lines = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare("PRAGMA main.integrity_check")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    let (verdict, found) = match lines() {
        Ok(lines) if lines == ["ok"] => (Verdict::Pass, "ok".to_owned()),
        Ok(lines) => {
            let more = lines.len().saturating_sub(LINES);
            let shown = lines[..lines.len().min(LINES)].join("; ");
            (Verdict::Fail, if more > 0 { format!("{shown}; {more} more") } else { shown })
        }
        // What the application brings along itself is not here to be asked.
        Err(error) if needs_the_application(&error) => (Verdict::Inconclusive, error.to_string()),
        Err(error) => (Verdict::Fail, error.to_string()),
    };
    CheckResult::new("integrity_check", verdict, "ok", found)
}

fn needs_the_application(error: &rusqlite::Error) -> bool {
    let text = error.to_string();
    ["no such collation sequence", "no such function", "no such module"]
        .iter()
        .any(|known| text.contains(known))
}

fn foreign_keys(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    open::stand_in_collations(connection)?;
    super::survey::all_foreign_key_violations(connection)
}

fn survey(file: &Path, method: Method) -> rusqlite::Result<Findings> {
    let connection = open::open_immutable(file)?;
    open::stand_in_collations(&connection)?;
    let mut survey = Survey::new(None).with(method);
    match survey.step(&connection, &mut || Gate::Go)? {
        Step::Done => Ok(survey.finish()),
        Step::Paused | Step::Stopped => Err(rusqlite::Error::QueryReturnedNoRows),
    }
}

fn tables(
    expected: &IndexMap<String, TableContent>,
    found: &IndexMap<String, TableContent>,
) -> CheckResult {
    let lacking = |from: &IndexMap<String, TableContent>, of: &IndexMap<String, TableContent>| {
        let names: Vec<&str> =
            of.keys().filter(|name| !from.contains_key(*name)).map(String::as_str).collect();
        names.join(", ")
    };
    let count = |tables: &IndexMap<String, TableContent>| format!("{} tables", tables.len());
    let (missing, foreign) = (lacking(found, expected), lacking(expected, found));
    let mut words = count(found);
    if !missing.is_empty() {
        words += &format!(", missing: {missing}");
    }
    if !foreign.is_empty() {
        words += &format!(", not in the manifest: {foreign}");
    }
    CheckResult::compare("tables", count(expected), words)
}

fn words(table: &TableContent) -> String {
    format!("{} rows, fingerprint {}", table.rows, table.fingerprint)
}
