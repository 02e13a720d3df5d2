//! What stands where a tier should be, before anything is opened or made.

use std::io;
use std::path::Path;

use rustix::fs::Access;

/// What a look at a local tier's path found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Nothing there (nor perhaps above it).
    Absent,
    /// A writable folder without content (`lost+found` aside): a new disk, or an unmounted one.
    Empty,
    /// A writable folder with content.
    NotEmpty {
        /// True if a vault is among it.
        vault: bool,
    },
    /// A folder that this process cannot write to; reading may still work.
    NotWritable {
        /// True if a vault was seen in it.
        vault: bool,
    },
    /// Something that is not a folder.
    NotAFolder,
}

/// Looks at a local tier's path; changes nothing. The error is one of reading the folder.
pub fn probe(path: &Path) -> io::Result<Probe> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Probe::Absent),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok(Probe::NotAFolder),
        Err(e) => return Err(e),
        Ok(meta) if !meta.is_dir() => return Ok(Probe::NotAFolder),
        Ok(_) => {}
    }
    let vault = has_vault(path)?;
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    // The effective user decides what a write may do, not the real one.
    let flags = rustix::fs::AtFlags::EACCESS;
    if rustix::fs::accessat(rustix::fs::CWD, path, wanted, flags).is_err() {
        return Ok(Probe::NotWritable { vault });
    }
    for entry in std::fs::read_dir(path)? {
        if entry?.file_name() != "lost+found" {
            return Ok(Probe::NotEmpty { vault });
        }
    }
    Ok(Probe::Empty)
}

/// A vault has a config; one whose making was interrupted has at least a key.
fn has_vault(path: &Path) -> io::Result<bool> {
    let vault = path.join("vault");
    if vault.join("config").try_exists()? {
        return Ok(true);
    }
    match std::fs::read_dir(vault.join("keys")) {
        Ok(mut keys) => Ok(keys.next().transpose()?.is_some()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}
