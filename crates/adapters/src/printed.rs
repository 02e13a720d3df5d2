//! One file of a copy whose content a program printed: how it gets into a snapshot, and how a copy of it
//! is judged.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::PrintedFile;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{CaptureContext, SourceError};
use lifeboat_vault::{BackupSession, Chunking, FileMeta};
use sha2::{Digest, Sha256};

use crate::piped::Piped;

/// What passes is hashed and counted.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// Stores what a program prints at `/NAME`.
///
/// # Errors
/// If the program does not end well: then nothing of it is in the snapshot.
pub(crate) fn store(
    session: &mut BackupSession,
    name: &str,
    printed: Piped<'_>,
    context: &CaptureContext<'_>,
) -> Result<PrintedFile, SourceError> {
    let path = Path::new("/").join(name);
    let mut hashed = Hashed { inner: printed, hash: Sha256::new() };
    let meta = FileMeta::private(context.clock.wall());
    let stored = session.add_stream(&path, meta, Chunking::Content, &mut hashed);
    if let Some(why) = hashed.inner.failure() {
        return Err(why);
    }
    let bytes = stored?.size;
    Ok(PrintedFile { file: name.to_owned(), bytes, sha256: hex::encode(hashed.hash.finalize()) })
}

/// Where it stands in a copy.
pub(crate) fn place(copy: &Path, printed: &PrintedFile) -> PathBuf {
    copy.join(printed.file.trim_start_matches('/'))
}

/// Its size.
pub(crate) fn structure(copy: &Path, printed: &PrintedFile) -> CheckResult {
    match place(copy, printed).symlink_metadata() {
        Ok(found) if found.is_file() => CheckResult::compare("bytes", printed.bytes, found.len()),
        Ok(_) => CheckResult::new("bytes", Verdict::Fail, printed.bytes, "it is no file"),
        Err(error) => CheckResult::new("bytes", Verdict::Fail, printed.bytes, error),
    }
}

/// Its content.
pub(crate) fn content(copy: &Path, printed: &PrintedFile) -> CheckResult {
    const NAME: &str = "content equals manifest";
    match sha256(&place(copy, printed)) {
        Ok(found) => CheckResult::compare(NAME, &printed.sha256, found),
        Err(error) => CheckResult::new(NAME, Verdict::Fail, &printed.sha256, error),
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hashed = Hashed { inner: File::open(path)?, hash: Sha256::new() };
    io::copy(&mut hashed, &mut io::sink())?;
    Ok(hex::encode(hashed.hash.finalize()))
}
