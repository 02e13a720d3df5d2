//! Is a file that a database names in the restored copy?

use std::io;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

/// True if `path` names a file in the folder `copy`. A leading `/` counts as the copy's root.
/// Neither `..` nor a symbolic link leads out of the copy: what lies outside was not restored, so
/// it is not there. A folder is not a file.
pub fn exists(copy: &Path, path: &str) -> io::Result<bool> {
    let relative = path.trim_start_matches('/');
    if relative.is_empty() || relative.contains('\0') {
        return Ok(false);
    }
    // What the kernel then resolves has no `.`; `..` it judges itself, after the links.
    let relative: std::path::PathBuf =
        Path::new(relative).components().filter(|c| *c != Component::CurDir).collect();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat2(CWD, copy, flags | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::empty())?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = loop {
        match openat2(&root, &relative, flags, Mode::empty(), within) {
            // A rename elsewhere in the system at the same time.
            Err(Errno::AGAIN) => {}
            Ok(found) => break found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    };
    let stat = statat(&found, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::exists;

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
            assert!(exists(&copy, there).unwrap(), "{there}");
        }
        let long = "x".repeat(300);
        for absent in [
            "",
            "/",
            "media",
            "media/2024/",
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
            assert!(!exists(&copy, absent).unwrap(), "{absent:?}");
        }
        assert!(exists(&folder.path().join("none"), "media").is_err());
    }
}
