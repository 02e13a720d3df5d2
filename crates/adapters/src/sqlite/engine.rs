//! [`SqliteEngine`]: what can be asked of a restored copy, and how it is brought along a journal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::Manifest;
use lifeboat_recovery::ports::{
    Answer, Engine, EngineError, LogReader, RecoverContext, RecoverTo, Recovered,
};
use lifeboat_vault::Clock;

use super::judge;
use super::query::{self, QueryError};
use super::recover::{self, Moved};

/// How long a question may take, unless told otherwise.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(30);

/// Looks at restored copies of SQLite databases, and changes none but where it recovers one.
pub struct SqliteEngine {
    file: String,
    clock: Arc<dyn Clock>,
    limit: Duration,
    /// Copies that are newer than their manifests.
    moved: Moved,
}

impl SqliteEngine {
    /// For copies whose database has the name `file` in its folder, or stands there alone; a
    /// question may take `limit`, [`QUESTION_LIMIT`] by default.
    pub fn new(file: impl Into<String>, clock: Arc<dyn Clock>, limit: Duration) -> Self {
        SqliteEngine { file: file.into(), clock, limit, moved: Moved::default() }
    }
}

impl Engine for SqliteEngine {
    fn recover(
        &self,
        copy: &Path,
        manifest: &Manifest,
        log: Option<&dyn LogReader>,
        to: &RecoverTo,
        context: &RecoverContext<'_>,
    ) -> Result<Option<Recovered>, EngineError> {
        recover::recover((copy, &self.file), manifest, log, to, context, &self.moved)
    }

    /// A copy that this engine recovered has the length that the journal states.
    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        judge::structure(copy, manifest, self.moved.length(copy))
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
