//! The proof that nobody writes to a file tree.
//!
//! Two witnesses: the processes that can be looked into, which gives names, and the kernel, asked
//! of each file ([`lease`](crate::lease)), which sees everybody. Where the kernel cannot answer, the processes
//! must all have been looked into. It is a proof of one moment: what starts later is found by the
//! same look after the swap.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lifeboat_recovery::ports::{EngineError, WriterProof};

use super::holders::{self, Writers};
use crate::lease;

/// How many open files are named.
const NAMED: usize = 10;

/// Looks for writers below `roots`; a root that is missing has none.
pub(super) fn prove(roots: &[PathBuf]) -> Result<WriterProof, EngineError> {
    let writers = holders::look().map_err(|source| EngineError::Failed {
        what: "cannot look through the processes".to_owned(),
        source: Some(source.into()),
    })?;
    let mut look = Look { writers, found: Vec::new(), untold: None };
    for root in roots {
        look.below(root).map_err(|source| EngineError::Failed {
            what: format!("cannot look for writers below {}", root.display()),
            source: Some(source.into()),
        })?;
    }
    match look {
        Look { found, .. } if !found.is_empty() => Ok(WriterProof::Running(found)),
        Look { untold: Some(path), .. } => Err(EngineError::Refused {
            what: format!(
                "cannot tell whether a process that is not seen here writes to {}",
                path.display()
            ),
            hint: lease::HINT.to_owned(),
        }),
        Look { .. } => Ok(WriterProof::Stopped),
    }
}

struct Look {
    writers: Writers,
    found: Vec<String>,
    /// A file on which there is no word from anybody.
    untold: Option<PathBuf>,
}

impl Look {
    fn below(&mut self, path: &Path) -> io::Result<()> {
        let Some(meta) = there(fs::symlink_metadata(path))? else { return Ok(()) };
        if meta.is_dir() {
            let Some(entries) = there(fs::read_dir(path))? else { return Ok(()) };
            for entry in entries {
                if self.found.len() >= NAMED {
                    return Ok(());
                }
                self.below(&entry?.path())?;
            }
        } else if meta.is_file() {
            self.file(path, &meta)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, meta: &fs::Metadata) -> io::Result<()> {
        if let Some(who) = self.writers.files.get(&(meta.dev(), meta.ino())) {
            self.found.push(format!("{who} has {} open for writing", path.display()));
            return Ok(());
        }
        match lease::path_has_writer(path)? {
            Some(true) => {
                let who = "a process that cannot be seen here";
                self.found.push(format!("{who} has {} open for writing", path.display()));
            }
            None if self.writers.blind || lease::is_shared(path) => {
                self.untold = Some(path.to_owned())
            }
            Some(false) | None => {}
        }
        Ok(())
    }
}

/// What vanished meanwhile is not there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
