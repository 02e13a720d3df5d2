//! [`SqliteSource`]: a live database as a component that a backup captures.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::manifest::{Content, FORMAT, Manifest, SqliteContent};
use lifeboat_recovery::ports::{Capture, CaptureContext, Source, SourceError};
use lifeboat_vault::{BackupSession, Chunking, FileMeta, NoMonitor, Stage};

use super::capture::{Captured, capture};
use super::open::{self, size_of};
use super::stream::follow;
use super::unchanged::{self, Look};
use super::{CUT_LIMIT, CaptureError, LARGE_CUT, SMALL_CUT, SqliteInPlace, SqliteOptions};

/// A live SQLite database.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    component: String,
    options: SqliteOptions,
}

impl SqliteSource {
    /// The database of `component`.
    pub fn new(component: impl Into<String>, options: SqliteOptions) -> Self {
        SqliteSource { component: component.into(), options }
    }
}

impl Source for SqliteSource {
    /// The copy stands at `/FILE-NAME` in the tree, with the owner, mode and times of the live file.
    fn capture(
        &mut self,
        session: &mut BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError> {
        if let Ok(live) = SqliteInPlace::new(&self.options.path, Arc::new(NoMonitor))
            && let Some(said) = live.tidy()
        {
            context.monitor.note(&said);
        }
        let folder = self.options.stream.as_deref();
        let mark = folder.and_then(follow::before);
        let mut capture = self.capture_at(session, context)?;
        capture.manifest.position =
            folder.zip(mark).and_then(|(folder, mark)| follow::after(folder, mark, context.clock));
        Ok(capture)
    }
}

impl SqliteSource {
    fn capture_at(
        &self,
        session: &mut BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError> {
        let tree = Path::new("/").join(self.options.path.file_name().unwrap_or_default());
        let looked = context.clock.wall();
        let before = open::examine(&self.options.path).ok().as_ref().and_then(unchanged::look);
        if let Some(before) = &before
            && let Some(content) = self.unchanged(session, &tree, before, looked)?
        {
            return Ok(self.captured(content, (looked, context.clock.wall()), None, context));
        }
        let mut captured = self.read(session, &tree, context)?;
        // The files are the same on both sides of the reading, or they tell nothing.
        let after = open::examine(&self.options.path).ok().as_ref().and_then(unchanged::look);
        if let (Some(before), Some(after)) = (before, after)
            && before.same_content(&after)
        {
            captured.content.seen = after.seen(looked, self.options.newest_change.as_ref());
        }
        let times = (captured.complete_up_to, context.clock.wall());
        Ok(self.captured(captured.content, times, captured.blocked, context))
    }

    /// Takes the copy over from the parent snapshot, if the database is still that.
    fn unchanged(
        &self,
        session: &mut BackupSession,
        tree: &Path,
        look: &Look,
        now: Timestamp,
    ) -> Result<Option<SqliteContent>, SourceError> {
        let (options, component) = (&self.options, &self.component);
        let Some(content) = unchanged::since_parent(session, look, options, component, now) else {
            return Ok(None);
        };
        let taken = session.add_unchanged(tree, FileMeta::of(&options.path)?)?;
        Ok(taken.then_some(content))
    }

    /// Reads the database into the session.
    fn read(
        &self,
        session: &mut BackupSession,
        tree: &Path,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, SourceError> {
        let path = &self.options.path;
        let size = size_of(path);
        let cut = if size > CUT_LIMIT { LARGE_CUT } else { SMALL_CUT };
        context.monitor.total(Stage::Backup, size, 1);
        let mut vault = None;
        let captured =
            capture(&self.options, context.clock, context.monitor, context.cancel, &mut |pages| {
                FileMeta::of(path)
                    .and_then(|meta| session.add_stream(tree, meta, Chunking::Fixed(cut), pages))
                    .map(|_| ())
                    .map_err(|error| {
                        vault = Some(error);
                        io::Error::other("the vault failed")
                    })
            });
        captured.map_err(|error| match (error, vault) {
            (CaptureError::Sink(_), Some(error)) => SourceError::Vault(error),
            (error, _) => error.into(),
        })
    }

    fn captured(
        &self,
        content: SqliteContent,
        (started, finished): (Timestamp, Timestamp),
        blocked: Option<Duration>,
        context: &CaptureContext<'_>,
    ) -> Capture {
        let manifest = Manifest {
            format: FORMAT,
            component: self.component.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: context.host.to_owned(),
            started,
            finished,
            position: None,
            content: Content::Sqlite(content),
        };
        Capture { manifest, complete_up_to: started, blocked }
    }
}

impl From<CaptureError> for SourceError {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::Missing { what } => SourceError::Missing { what },
            CaptureError::Unfit { what, hint } => SourceError::Unfit { what, hint },
            CaptureError::Busy { what, hint } => SourceError::Busy { what, hint },
            CaptureError::Read { what, source } => SourceError::Read { what, source },
            CaptureError::Sink(source) => {
                SourceError::Read { what: "the copy".to_owned(), source: source.into() }
            }
            CaptureError::Cancelled => SourceError::Vault(lifeboat_vault::Error::Cancelled),
        }
    }
}
