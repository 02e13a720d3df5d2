//! The one file of a copy that makes it valid, written when everything else stands: what a restore
//! that was killed leaves refuses to start.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_vault::{Filter, RestoreReport};

use super::Subject;
use crate::error::{Error, Result};

/// A server that does not find it does not start.
const CONTROL: &str = "pgdata/global/pg_control";

/// Its place in a copy, where its kind has such a file and all of it is restored. What stands there
/// is taken away: from now on the copy is not a whole one.
pub(super) fn begin(
    manifest: &Manifest,
    folder: &Path,
    subpath: Option<&Path>,
) -> Result<Option<&'static str>> {
    let physical = matches!(&manifest.content, Content::Postgres(c) if c.mode != "logical");
    if !physical || subpath.is_some() {
        return Ok(None);
    }
    let path = folder.join(CONTROL);
    match fs::remove_file(&path) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(Error::io("remove", &path)(error))
        }
        _ => Ok(Some(CONTROL)),
    }
}

/// Leaves out that file.
pub(super) struct Without(pub Option<&'static str>);

impl Filter for Without {
    fn keep(&self, tree_path: &Path, is_folder: bool) -> bool {
        let last = self.0.is_some_and(|last| tree_path == Path::new("/").join(last));
        !last && super::WithoutManifest.keep(tree_path, is_folder)
    }
}

/// Writes that file, if nothing is missing of all the others.
pub(super) fn finish(
    subject: &Subject<'_>,
    folder: &Path,
    last: Option<&str>,
    report: &mut RestoreReport,
) -> Result<()> {
    let Some(last) = last else { return Ok(()) };
    report.aside.retain(|path| path != Path::new(last));
    if report.damaged.is_empty() {
        report.bytes += put(subject, folder, last)?;
        report.files += 1;
    }
    Ok(())
}

/// Writes it, as it was captured; its bytes. Nothing where the snapshot has none: no server starts
/// on such a copy either.
fn put(subject: &Subject<'_>, folder: &Path, last: &str) -> Result<u64> {
    let place = Path::new("/").join(last);
    let (vault, snapshot) = (subject.vault, &subject.snapshot);
    let content = match vault.read_file(snapshot, &place) {
        Err(lifeboat_vault::Error::NotFound { .. }) => return Ok(0),
        content => content?,
    };
    let node = vault.node(snapshot, &place)?;
    let path = folder.join(last);
    let failed = || Error::io("write", &path);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed())?;
    // A cluster may let its group read.
    file.set_permissions(Permissions::from_mode(node.mode & 0o777)).map_err(failed())?;
    file.write_all(&content).map_err(failed())?;
    // The owner of what stands beside it: whoever may not give files away has kept them all.
    let beside = fs::metadata(folder.join("pgdata")).map_err(failed())?;
    if (beside.uid(), beside.gid()) != owner(&file).map_err(failed())? {
        fchown(&file, Some(beside.uid()), Some(beside.gid())).map_err(failed())?;
    }
    let since = Duration::from_nanos(u64::try_from(node.mtime.as_nanosecond()).unwrap_or(0));
    file.set_modified(SystemTime::UNIX_EPOCH + since).map_err(failed())?;
    file.sync_all().map_err(failed())?;
    let folder = path.parent().unwrap_or(folder);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("flush", folder))?;
    Ok(content.len() as u64)
}

fn owner(file: &File) -> std::io::Result<(u32, u32)> {
    file.metadata().map(|found| (found.uid(), found.gid()))
}
