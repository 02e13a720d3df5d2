//! [`SqliteSource`]: a live database as a component that a backup captures.

use std::io;
use std::path::Path;

use lifeboat_model::manifest::{Content, FORMAT, Manifest};
use lifeboat_recovery::ports::{Capture, CaptureContext, Source, SourceError};
use lifeboat_vault::{BackupSession, Chunking, FileMeta, Stage};

use super::capture::capture;
use super::open::size_of;
use super::{CUT_LIMIT, CaptureError, LARGE_CUT, SMALL_CUT, SqliteOptions};

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
        let path = &self.options.path;
        let size = size_of(path);
        let cut = if size > CUT_LIMIT { LARGE_CUT } else { SMALL_CUT };
        let tree = Path::new("/").join(path.file_name().unwrap_or_default());
        context.monitor.total(Stage::Backup, size, 1);
        let mut vault = None;
        let captured =
            capture(&self.options, context.clock, context.monitor, context.cancel, &mut |pages| {
                FileMeta::of(path)
                    .and_then(|meta| session.add_stream(&tree, meta, Chunking::Fixed(cut), pages))
                    .map(|_| ())
                    .map_err(|error| {
                        vault = Some(error);
                        io::Error::other("the vault failed")
                    })
            });
        let captured = captured.map_err(|error| match (error, vault) {
            (CaptureError::Sink(_), Some(error)) => SourceError::Vault(error),
            (error, _) => error.into(),
        })?;
        let manifest = Manifest {
            format: FORMAT,
            component: self.component.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: context.host.to_owned(),
            started: captured.complete_up_to,
            finished: context.clock.wall(),
            content: Content::Sqlite(captured.content),
        };
        let (complete_up_to, blocked) = (captured.complete_up_to, captured.blocked);
        Ok(Capture { manifest, complete_up_to, blocked })
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
