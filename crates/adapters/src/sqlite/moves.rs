//! The file system's part in a swap, one call a step, so that a test can end the program after
//! each of them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Changes of names in a folder. Each is atomic; all are durable after [`Moves::sync`].
pub trait Moves: Send {
    /// Makes a folder with the owner and mode of the one that it stands in.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// Gives a file a second name.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;
    /// Makes a symbolic link at `name`.
    fn symlink(&self, target: &Path, name: &Path) -> io::Result<()>;
    /// Renames; replaces what stands at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, name: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync(&self, folder: &Path) -> io::Result<()>;
}

/// The file system itself.
#[derive(Debug, Default, Clone, Copy)]
pub struct FileSystem;

impl Moves for FileSystem {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)?;
        let model = fs::metadata(folder.parent().unwrap_or(Path::new("/")))?;
        let made = fs::metadata(folder)?;
        if (made.uid(), made.gid()) != (model.uid(), model.gid()) {
            // Without the right to, the folder stays ours, which is no worse than before.
            let _ = std::os::unix::fs::chown(folder, Some(model.uid()), Some(model.gid()));
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(model.mode() & 0o777))
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(file, name)
    }
    fn symlink(&self, target: &Path, name: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, name)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn remove(&self, name: &Path) -> io::Result<()> {
        fs::remove_file(name)
    }
    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }
}
