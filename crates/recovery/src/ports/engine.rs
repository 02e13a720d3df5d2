//! The restore side of a kind of component: works on a restored copy, never on production, except
//! through [`InPlace`], which only `restore --in-place` receives.

use std::path::{Path, PathBuf};

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::Manifest;

use super::log::{LogReader, RecoverContext, RecoverTo, Recovered};

/// Failure of an engine call.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The call could not be carried out.
    #[error("{what}")]
    Failed {
        /// One sentence.
        what: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Refused; nothing was changed.
    #[error("{what}")]
    Refused {
        /// One sentence.
        what: String,
        /// The command or change that mends it.
        hint: String,
    },
}

/// The answer to a query asked of a restored copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Rows of text cells; `None` is SQL NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// A restored copy in a folder. Its two examinations only read, and may run side by side.
pub trait Engine: Send + Sync {
    /// Brings a restored base to a point, before anything is asked of it: by its own log where
    /// `log` is nothing, else along the journal. `None` where a copy needs no recovery and none is
    /// asked for; [`Engine::content`] is then asked as ever. Whatever goes wrong, the copy must not
    /// look finished: a server refuses to start it.
    ///
    /// # Errors
    /// If the point cannot be reached: never a shorter copy instead.
    fn recover(
        &self,
        copy: &Path,
        manifest: &Manifest,
        log: Option<&dyn LogReader>,
        to: &RecoverTo,
        context: &RecoverContext<'_>,
    ) -> Result<Option<Recovered>, EngineError> {
        let _ = (copy, manifest, context);
        match (log, to) {
            (None, RecoverTo::Newest | RecoverTo::Base) => Ok(None),
            _ => Err(EngineError::Refused {
                what: "this kind of component has no log to replay".to_owned(),
                hint: "name a snapshot".to_owned(),
            }),
        }
    }
    /// After the last question: stops what was started on the copy, cleanly, and leaves it so that
    /// its plain server starts it, wherever it is moved.
    ///
    /// # Errors
    /// If it did not stop cleanly.
    fn settle(&self, copy: &Path) -> Result<(), EngineError> {
        let _ = copy;
        Ok(())
    }
    /// V3: the engine's own structural checks (`integrity_check`, `foreign_key_check`; for files:
    /// every recorded file is there with its size). Never an empty list.
    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult>;
    /// V4: equality of the copy with the manifest taken at capture. Never an empty list. Of a file
    /// tree every byte is read and hashed against the snapshot's ids: it may not have been before.
    fn content(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult>;
    /// Both, side by side.
    fn examine(&self, copy: &Path, manifest: &Manifest) -> (Vec<CheckResult>, Vec<CheckResult>) {
        std::thread::scope(|scope| {
            let structure = scope.spawn(|| self.structure(copy, manifest));
            let content = self.content(copy, manifest);
            let structure = structure.join();
            (structure.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), content)
        })
    }
    /// Asks the copy a read-only question (SQL); files have none and say so.
    fn query(&self, copy: &Path, sql: &str) -> Result<Answer, EngineError>;
}

/// What was found out about writers before a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterProof {
    /// Nobody has the data open, and an exclusive lock was had.
    Stopped,
    /// Somebody has: process ids and names.
    Running(Vec<String>),
}

/// Swaps a verified copy with the live data.
pub trait InPlace: Send {
    /// Proves that no other process has the live data open.
    fn writers(&self) -> Result<WriterProof, EngineError>;
    /// The folder, on the live data's own file system, where the copy must be staged so that the
    /// swap is a rename.
    fn staging_parent(&self) -> PathBuf;
    /// Moves the present state aside and the copy into place; returns where the old state is kept.
    /// On failure the former state is back.
    fn swap(
        &self,
        copy: &Path,
        manifest: &Manifest,
        keep_as: &str,
    ) -> Result<Vec<PathBuf>, EngineError>;
    /// What is live, as a word: another one after a swap, the same again after the former state is
    /// back, whoever brought it. Empty where nothing is. Changes nothing.
    fn live(&self) -> Result<String, EngineError>;
    /// Where a swap with this `keep_as` has kept the old state, as far as it is there.
    fn kept(&self, keep_as: &str) -> Vec<PathBuf>;
    /// Puts in order what a swap or undo that was killed in itself has left, if nobody writes: one
    /// whole state in its own place.
    fn mend(&self) -> Result<(), EngineError>;
    /// Puts the former state back after a swap whose probe failed.
    fn undo(&self, kept: &[PathBuf]) -> Result<(), EngineError>;
}
