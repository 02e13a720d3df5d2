//! Reads production. Changes no row and no schema.

use super::capture::{Capture, CaptureContext, SourceError};

/// One component's live data.
pub trait Source: Send {
    /// Writes one consistent capture into the session. Files that could not be read are problems
    /// of the session; they never vanish silently.
    fn capture(
        &mut self,
        session: &mut lifeboat_vault::BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError>;
}
