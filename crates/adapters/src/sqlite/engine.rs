//! [`SqliteEngine`]: what can be asked of a restored copy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::Manifest;
use lifeboat_recovery::ports::{Answer, Engine, EngineError};
use lifeboat_vault::Clock;

use super::judge;
use super::query::{self, QueryError};

/// How long a question may take, unless told otherwise.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(30);

/// Looks at restored copies of SQLite databases and changes none.
pub struct SqliteEngine {
    file: String,
    clock: Arc<dyn Clock>,
    limit: Duration,
}

impl SqliteEngine {
    /// For copies whose database has the name `file` in its folder, or stands there alone; a
    /// question may take `limit`, [`QUESTION_LIMIT`] by default.
    pub fn new(file: impl Into<String>, clock: Arc<dyn Clock>, limit: Duration) -> Self {
        SqliteEngine { file: file.into(), clock, limit }
    }
}

impl Engine for SqliteEngine {
    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        judge::structure(copy, manifest)
    }

    fn content(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        judge::content(copy, manifest)
    }

    fn query(&self, copy: &Path, sql: &str) -> Result<Answer, EngineError> {
        let file = judge::locate(copy, &self.file);
        match query::ask(&file, sql, &self.clock, self.limit) {
            Ok(rows) => Ok(Answer { rows }),
            Err(QueryError::Refused(what)) => Err(EngineError::Refused {
                what,
                hint: "a check's query is one SELECT on the restored database".to_owned(),
            }),
            Err(QueryError::Sqlite(error)) => Err(EngineError::Failed {
                what: format!("{} cannot answer", file.display()),
                source: Some(error.into()),
            }),
            Err(late @ QueryError::TimedOut(_)) => {
                Err(EngineError::Failed { what: late.to_string(), source: None })
            }
        }
    }
}
