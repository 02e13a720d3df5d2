//! What a path names in a restored copy, such as a path that a database's row holds.

use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

/// What stands at a path of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A folder.
    Folder,
    /// A file (or a device, a pipe …).
    File,
}

/// Looks `path` up in the folder `copy`. A leading `/` counts as the copy's root. Neither `..` nor a
/// symbolic link leads out of the copy: what lies outside was not restored, so it is not there.
pub fn lookup(copy: &Path, path: &str) -> io::Result<Found> {
    let relative = path.trim_start_matches('/');
    if relative.is_empty() || relative.contains('\0') {
        return Ok(Found::Nothing);
    }
    // `.` says nothing; `..` is for the system to judge, after the links before it.
    let parts = Path::new(relative).components();
    let relative: PathBuf = parts.filter(|part| *part != Component::CurDir).collect();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat2(CWD, copy, flags | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::empty())?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = loop {
        match openat2(&root, &relative, flags, Mode::empty(), within) {
            // Something was renamed on the way.
            Err(Errno::AGAIN) => {}
            Ok(found) => break found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG) => {
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(error.into()),
        }
    };
    let stat = statat(&found, "", AtFlags::EMPTY_PATH)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Found::Folder),
        _ => Ok(Found::File),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_named_file_is_found_only_inside_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy");
        fs::create_dir_all(copy.join("media/2024")).unwrap();
        fs::write(copy.join("media/2024/ä b.jpg"), b"").unwrap();
        fs::write(folder.path().join("outside"), b"").unwrap();
        symlink("2024/ä b.jpg", copy.join("media/link")).unwrap();
        symlink("/etc/passwd", copy.join("media/absolute")).unwrap();
        symlink("../../outside", copy.join("media/upward")).unwrap();
        symlink("circle", copy.join("media/circle")).unwrap();
        for there in [
            "media/2024/ä b.jpg",
            "/media/2024/ä b.jpg",
            "//media/./2024//ä b.jpg",
            "media/2024/../2024/ä b.jpg",
            "media/link",
        ] {
            assert_eq!(lookup(&copy, there).unwrap(), Found::File, "{there}");
        }
        assert_eq!(lookup(&copy, "media/2024/").unwrap(), Found::Folder);
        let long = "x".repeat(300);
        for absent in [
            "",
            "/",
            "media/2024/none.jpg",
            "../outside",
            "media/../../outside",
            "/../outside",
            "/etc/passwd",
            "media/absolute",
            "media/upward",
            "media/circle",
            "media/link/x",
            "a\0b",
            &long,
        ] {
            assert_eq!(lookup(&copy, absent).unwrap(), Found::Nothing, "{absent:?}");
        }
        assert!(lookup(&folder.path().join("none"), "media").is_err());
    }
}
