//! Room on the disks of this machine.

use std::path::{Path, PathBuf};

use lifeboat_recovery::ports::Disk;

/// The disks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn free(&self, path: &Path) -> Option<u64> {
        let absolute: PathBuf = std::path::absolute(path).ok()?;
        let there = absolute.ancestors().find(|path| path.exists())?;
        let stat = rustix::fs::statvfs(there).ok()?;
        // What is left to everybody; the reserve of root is no place for a restore.
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
}
