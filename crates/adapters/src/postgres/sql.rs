//! Questions to a copy's server, through the `psql` of its version.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lifeboat_recovery::ports::EngineError;

use super::instance::Instance;
use super::{broken, refused};

/// Number of the role that `initdb` made, of `pg_authid`, and where its name stands in a row.
const FIRST_ROLE: u32 = 10;
const ROLES: u32 = 1260;
const NAME: usize = 64;

/// Of a session that writes: triggers of the copy do not fire.
pub(super) const QUIET: &str = "-c session_replication_role=replica";

/// Rows of cells.
pub(super) type Rows = Vec<Vec<Option<String>>>;

/// A session's rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session<'a> {
    /// The role.
    pub user: &'a str,
    /// The database.
    pub database: &'a str,
    /// How long a statement may take.
    pub limit: Option<Duration>,
    /// May it write?
    pub writes: bool,
}

impl Session<'_> {
    fn options(&self) -> String {
        let limit = self.limit.map_or(0, |limit| limit.as_millis());
        let read_only = if self.writes { "off" } else { "on" };
        let quiet = if self.writes { QUIET } else { "" };
        format!(
            "-c session_preload_libraries= -c local_preload_libraries= \
             -c default_transaction_read_only={read_only} -c statement_timeout={limit} \
             -c client_encoding=UTF8 -c row_security=off {quiet}"
        )
    }
}

impl Instance {
    /// Answers one query: its rows, NULL apart from an empty text.
    pub fn ask(&self, session: &Session<'_>, sql: &str) -> Result<Rows, EngineError> {
        let query = sql.trim().trim_end_matches(';').trim_end();
        let copy = format!("copy ({query}\n) to stdout with (format csv, force_quote *)");
        let said = self.psql(session, &copy)?;
        csv(&said).ok_or_else(|| broken("psql answered in another form than CSV"))
    }

    /// Runs statements; what they say is lost.
    pub fn execute(&self, session: &Session<'_>, sql: &str) -> Result<(), EngineError> {
        self.psql(session, sql).map(drop)
    }

    fn psql(&self, session: &Session<'_>, sql: &str) -> Result<String, EngineError> {
        let program = self.installed.program("psql")?;
        let mut command = self.tools().command(&program, self.socket());
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"]);
        command.arg("-h").arg(self.socket()).args(["-p", "5432", "-U", session.user, "-w"]);
        command.args(["-d", &conninfo(session.database), "-c", sql]);
        command.env("PGOPTIONS", session.options()).env("PGCONNECT_TIMEOUT", "30");
        let said = self.tools().run(&mut command)?;
        if said.status.success() {
            return String::from_utf8(said.out).map_err(|_| broken("an answer is not UTF-8"));
        }
        Err(broken(format!("the copy's server answers: {}", said.why())))
    }

    /// The role that may do everything: the one that `initdb` made.
    pub fn superuser(&self) -> Result<String, EngineError> {
        let mut last = None;
        for user in superusers(&self.data) {
            let session =
                Session { user: &user, database: "template1", limit: None, writes: false };
            match self.ask(&session, "select rolname from pg_roles where oid = 10") {
                Ok(rows) => {
                    if let Some(Some(name)) = rows.first().and_then(|row| row.first()) {
                        return Ok(name.clone());
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            refused("the copy names no superuser", "name the role that `initdb` made")
        }))
    }
}

/// A database's name as a connection string: one that holds a `=` is none.
fn conninfo(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Names that the first role may have: those that stand in the file of roles, then the usual one.
fn superusers(data: &Path) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(number) = fs::read(data.join("global/pg_filenode.map")).ok().and_then(|map| {
        let number = |at: usize| Some(u32::from_le_bytes(map.get(at..at + 4)?.try_into().ok()?));
        (0..62).find_map(|entry| {
            (number(8 + entry * 8)? == ROLES).then(|| number(12 + entry * 8)).flatten()
        })
    }) {
        let file = fs::read(data.join(format!("global/{number}"))).unwrap_or_default();
        names = file.chunks(8192).flat_map(roles).collect();
        names.reverse();
    }
    names.push("postgres".to_owned());
    names.dedup();
    names
}

/// Names of the first role on a page of roles.
fn roles(page: &[u8]) -> Vec<String> {
    let short = |at: usize| Some(u16::from_le_bytes(page.get(at..at + 2)?.try_into().ok()?));
    let lower = usize::from(short(12).unwrap_or(0));
    let mut names = Vec::new();
    for at in (24..lower.min(page.len())).step_by(4) {
        let name = (|| {
            let pointer = u32::from_le_bytes(page.get(at..at + 4)?.try_into().ok()?);
            let tuple = (pointer & 0x7FFF) as usize;
            let data = tuple + usize::from(*page.get(tuple + 22)?);
            let number = u32::from_le_bytes(page.get(data..data + 4)?.try_into().ok()?);
            let name = page.get(data + 4..data + 4 + NAME)?;
            let end = name.iter().position(|byte| *byte == 0)?;
            (number == FIRST_ROLE && pointer >> 15 & 3 == 1)
                .then(|| String::from_utf8(name[..end].to_vec()).ok())
                .flatten()
        })();
        names.extend(name.filter(|name| !name.is_empty()));
    }
    names
}

/// Rows of CSV in which every cell that is not NULL is quoted.
fn csv(text: &str) -> Option<Rows> {
    let mut rows = Vec::new();
    let mut left = text;
    while !left.is_empty() {
        let mut row = Vec::new();
        loop {
            let mut cell = None;
            if let Some(mut rest) = left.strip_prefix('"') {
                let mut value = String::new();
                loop {
                    let (part, after) = rest.split_once('"')?;
                    value.push_str(part);
                    match after.strip_prefix('"') {
                        Some(more) => {
                            value.push('"');
                            rest = more;
                        }
                        None => {
                            left = after;
                            break;
                        }
                    }
                }
                cell = Some(value);
            }
            row.push(cell);
            if let Some(rest) = left.strip_prefix(',') {
                left = rest;
                continue;
            }
            left = left.strip_prefix('\n')?;
            break;
        }
        rows.push(row);
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_an_empty_text_are_two_things() {
        let cell = |text: &str| Some(text.to_owned());
        let rows = csv("\"a\",,\"\"\n\"say \"\"x\"\"\n,\",\"1\",\"2\"\n").unwrap();
        assert_eq!(rows[0], [cell("a"), None, cell("")]);
        assert_eq!(rows[1], [cell("say \"x\"\n,"), cell("1"), cell("2")]);
        assert_eq!(csv("").unwrap().len(), 0);
        // One column, NULL.
        assert_eq!(csv("\n").unwrap(), [[None]]);
        assert_eq!(csv("\"a"), None);
        assert_eq!(csv("a\n"), None);
    }
}
