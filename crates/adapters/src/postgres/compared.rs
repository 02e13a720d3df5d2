//! The tables of a recovered copy beside the fingerprints that were taken of production at the place
//! to which it was brought.

use std::time::Duration;

use indexmap::IndexMap;
use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{PostgresContent, TableContent};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{EngineError, RecoverTo};
use lifeboat_vault::Cancel;

use super::dsn::{Address, Dsn, TlsMode};
use super::error::Result;
use super::fingerprint::{DATABASES, fingerprint, named, tables};
use super::instance::Instance;
use super::lsn;
use super::sql::Session;
use super::wire::{Connection, Login, Purpose};

/// Name of the check.
pub const FINGERPRINTS: &str = "fingerprints";
/// How many tables that differ are named.
const NAMED: usize = 5;
/// What production loads into each session does not run on a copy.
const PLAIN: &str = "-c session_preload_libraries= -c local_preload_libraries= \
    -c default_transaction_read_only=on -c row_security=off -c statement_timeout=0 -c lock_timeout=0 \
    -c idle_in_transaction_session_timeout=0";

type Tables = IndexMap<String, TableContent>;

/// Is that the place at which the fingerprints were taken?
pub(super) fn is_theirs(to: &RecoverTo, content: &PostgresContent) -> bool {
    let taken = content.fingerprint_lsn.as_deref().and_then(lsn::parse);
    matches!((to, taken), (RecoverTo::Position(at), Some(taken))
        if at.offset == taken && at.line == content.timeline)
}

/// Fingerprints every table of the copy and compares. Never a pass where none was taken.
pub(super) fn compare(
    instance: &Instance,
    content: &PostgresContent,
    cancel: &Cancel,
) -> std::result::Result<CheckResult, EngineError> {
    let user = instance.superuser()?;
    let session = Session { user: &user, database: "template1", limit: None, writes: false };
    let rows = instance.ask(&session, DATABASES)?;
    let databases = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    let found = of_copy(instance, (&user, databases), cancel).map_err(|error| {
        super::failed("read the tables of the copy")(std::io::Error::other(error))
    })?;
    Ok(judge(&content.tables, &found))
}

fn of_copy(
    instance: &Instance,
    (user, databases): (&str, Vec<String>),
    cancel: &Cancel,
) -> Result<Tables> {
    let mut all = Tables::new();
    for database in databases {
        let dsn = Dsn {
            addresses: vec![Address::Socket(instance.socket().to_owned(), 5432)],
            user: user.to_owned(),
            password: None,
            database: database.clone(),
            tls: TlsMode::Disable,
            root: None,
            connect_timeout: Duration::from_secs(30),
            passfile: None,
            primary: false,
            options: Some(PLAIN.to_owned()),
        };
        let mut sql = Connection::open(&Login {
            dsn: &dsn,
            name: "lifeboat",
            purpose: Purpose::Sql,
            database: None,
            passfile: None,
            cancel,
        })?;
        for (schema, table) in tables(&mut sql)? {
            let content = fingerprint(&mut sql, &schema, &table)?;
            all.insert(named(&database, &schema, &table), content);
        }
    }
    Ok(all)
}

fn judge(expected: &Tables, found: &Tables) -> CheckResult {
    let wanted = format!("{} tables as when they were captured", expected.len());
    let mut other: Vec<String> = expected
        .iter()
        .filter_map(|(name, content)| match found.get(name) {
            None => Some(format!("{name} is not there")),
            Some(copy) if copy.rows != content.rows => {
                Some(format!("{name} has {} rows instead of {}", copy.rows, content.rows))
            }
            Some(copy) if copy != content => Some(format!("{name} has other content")),
            Some(_) => None,
        })
        .collect();
    let more = found.keys().filter(|name| !expected.contains_key(*name));
    other.extend(more.map(|name| format!("{name} was not there")));
    let count = other.len();
    let (verdict, said) = match count {
        0 if expected.is_empty() => {
            (Verdict::Inconclusive, "no table was fingerprinted".to_owned())
        }
        0 => (Verdict::Pass, format!("{} equal", found.len())),
        _ => {
            other.truncate(NAMED);
            let rest = match count.saturating_sub(NAMED) {
                0 => String::new(),
                rest => format!("; and {rest} more"),
            };
            (Verdict::Fail, format!("{}{rest}", other.join("; ")))
        }
    };
    CheckResult::new(FINGERPRINTS, verdict, wanted, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(of: &[(&str, u64, &str)]) -> Tables {
        let one = |(name, rows, mark): &(&str, u64, &str)| {
            ((*name).to_owned(), TableContent { rows: *rows, fingerprint: (*mark).to_owned() })
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn what_differs_is_named_and_nothing_is_no_pass() {
        let expected = tables(&[("a", 1, "x"), ("b", 2, "y")]);
        assert_eq!(judge(&expected, &expected).verdict, Verdict::Pass);
        for (found, said) in [
            (tables(&[("a", 1, "x")]), "b is not there"),
            (tables(&[("a", 1, "x"), ("b", 3, "y")]), "b has 3 rows instead of 2"),
            (tables(&[("a", 1, "x"), ("b", 2, "z")]), "b has other content"),
            (tables(&[("a", 1, "x"), ("b", 2, "y"), ("c", 0, "")]), "c was not there"),
        ] {
            let judged = judge(&expected, &found);
            assert_eq!((judged.verdict, &judged.found[..]), (Verdict::Fail, said));
        }
        assert_eq!(judge(&tables(&[]), &tables(&[])).verdict, Verdict::Inconclusive);
        let many: Vec<(String, u64, &str)> = (0..7).map(|n| (format!("t{n}"), 1, "x")).collect();
        let many: Vec<(&str, u64, &str)> = many.iter().map(|(n, r, m)| (&n[..], *r, *m)).collect();
        assert!(judge(&tables(&many), &tables(&[])).found.ends_with("; and 2 more"));
    }
}
