//! Asks a restored copy one read-only question, in limited time and space.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_vault::Clock;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode, Row, Statement};

use super::open::open_immutable;

/// The largest answer, bytes of text.
const LARGEST: usize = 64 << 20;
/// Steps of SQLite's virtual machine between two looks at the clock.
const STEPS: i32 = 10_000;
/// Pragmas that only tell something.
const TELLING: [&str; 16] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "integrity_check",
    "quick_check",
    "user_version",
    "application_id",
    "page_count",
    "encoding",
    // Full-text search asks these when it is opened.
    "data_version",
    "page_size",
];

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    /// Not a question.
    #[error("{0}")]
    Refused(String),
    /// SQLite could not answer.
    #[error("the question cannot be answered")]
    Sqlite(#[from] rusqlite::Error),
    /// It took too long.
    #[error("the question was not answered within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
}

/// The rows of an answer; `None` is NULL, a blob is hexadecimal.
pub(super) type Rows = Vec<Vec<Option<String>>>;

/// Asks `sql` of the database in `file`.
pub(super) fn ask(
    file: &Path,
    sql: &str,
    clock: &Arc<dyn Clock>,
    limit: Duration,
) -> Result<Rows, QueryError> {
    // A file that is not there would be an answer too: "no rows".
    if !file.is_file() {
        return Err(QueryError::Refused(format!("there is no database at {}", file.display())));
    }
    let mut connection = open_immutable(file)?;
    restrict(&mut connection, clock, limit)?;
    let mut batch = Batch::new(&connection, sql);
    let Some(mut statement) = batch.next()? else {
        return Err(QueryError::Refused("there is no question in the query".to_owned()));
    };
    if !statement.readonly() {
        return Err(QueryError::Refused("a query must not write".to_owned()));
    }
    if !matches!(batch.next(), Ok(None)) {
        return Err(QueryError::Refused("a query is one statement".to_owned()));
    }
    read(&mut statement).map_err(|error| match error {
        QueryError::Sqlite(error)
            if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
        {
            QueryError::TimedOut(limit)
        }
        other => other,
    })
}

fn restrict(
    connection: &mut Connection,
    clock: &Arc<dyn Clock>,
    limit: Duration,
) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
        AuthAction::Pragma { pragma_name, .. } if !TELLING.contains(&pragma_name) => {
            Authorization::Deny
        }
        AuthAction::Function { function_name: "load_extension" } => Authorization::Deny,
        _ => Authorization::Allow,
    }))?;
    let clock = Arc::clone(clock);
    let start = clock.monotonic();
    let late = move || clock.monotonic().saturating_sub(start) > limit;
    connection.progress_handler(STEPS, Some(late))
}

fn read(statement: &mut Statement<'_>) -> Result<Rows, QueryError> {
    let width = statement.column_count();
    let mut rows = statement.query([])?;
    let (mut answer, mut size) = (Rows::new(), 0);
    while let Some(row) = rows.next()? {
        let cells =
            (0..width).map(|index| cell(row, index)).collect::<rusqlite::Result<Vec<_>>>()?;
        size += cells.iter().map(|cell| 32 + cell.as_ref().map_or(0, String::len)).sum::<usize>();
        if size > LARGEST {
            return Err(QueryError::Refused(format!(
                "the answer is larger than {} MiB",
                LARGEST >> 20
            )));
        }
        answer.push(cells);
    }
    Ok(answer)
}

fn cell(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(format!("{number:?}")),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => Some(hex::encode(blob)),
    })
}
