//! The file system's part in a swap, one call a step, so that a test can let each of them fail.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Changes of names. Each is atomic; all are durable after [`Renames::sync`].
pub trait Renames: Send {
    /// Exchanges two names; `false` if the file system cannot.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool>;
    /// Renames to a name that nothing has.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync(&self, folder: &Path) -> io::Result<()>;
    /// Makes the small file `path`, by way of `unfinished` in the same folder: whole and durable, or
    /// not there under its name.
    fn write_down(&self, unfinished: &Path, path: &Path, body: &[u8]) -> io::Result<()> {
        let mut file = File::create(unfinished)?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(unfinished, path)?;
        self.sync(path.parent().unwrap_or(Path::new("/")))
    }
    /// Removes a small file.
    fn strike_out(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// The file system itself.
#[derive(Debug, Default, Clone, Copy)]
pub struct FileSystem;

/// What a file system answers that does not know a flag of `renameat2`.
fn is_unknown(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}

impl Renames for FileSystem {
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool> {
        match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(error) if is_unknown(error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(error) if is_unknown(error) => match fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(from, to),
            },
            result => Ok(result?),
        }
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}
