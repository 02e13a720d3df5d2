//! A small file system of its own for a test, taken away at the end.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A mounted tmpfs.
pub struct Mounted {
    folder: PathBuf,
    guard: Option<TempDir>,
}

impl Mounted {
    /// A tmpfs on a folder of its own.
    pub fn new(options: &str) -> Mounted {
        let guard = TempDir::new().unwrap();
        let mut mounted = Mounted::on(guard.path().to_owned(), options);
        mounted.guard = Some(guard);
        mounted
    }

    /// A tmpfs on the folder `folder`, which is made if it is missing.
    pub fn on(folder: PathBuf, options: &str) -> Mounted {
        fs::create_dir_all(&folder).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(&folder)
            .output()
            .expect("mount is missing: apt-get install mount");
        assert!(
            done.status.success(),
            "this test mounts a small tmpfs; run it as root (sudo) or in a user namespace \
             (unshare -rm): {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Mounted { folder, guard: None }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.clone()
    }

    /// Mounts it again with other options.
    pub fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", options]).arg(&self.folder).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.folder).status();
        assert!(status.is_ok_and(|s| s.success()) || std::thread::panicking());
        drop(self.guard.take());
    }
}
