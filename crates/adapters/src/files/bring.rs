//! Brings a restored copy to the file system of the root whose place it takes.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_recovery::ports::EngineError;

use super::exchange::is_mount_point;
use super::in_place::failed;
use crate::runner::DEFAULT_PATH;

/// Stands in the name of a copy that is being brought to another file system.
const PARTIAL: &str = ".lifeboat-partial-";

/// Copies that were brought to the file system of their root; those that were not used go with it.
#[derive(Debug, Default)]
pub(super) struct Brought(Vec<PathBuf>);

impl Brought {
    /// Where the copy of a root is to be taken from: `staged`, or a copy of it beside `live`.
    pub(super) fn bring(&mut self, live: &Path, staged: PathBuf) -> Result<PathBuf, EngineError> {
        let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev());
        let look = |path: &Path| failed(format!("look at {}", path.display()));
        let into = if is_mount_point(live) {
            live.to_owned()
        } else {
            let there = live.ancestors().skip(1).find(|folder| folder.is_dir());
            there.unwrap_or(Path::new("/")).to_owned()
        };
        let home = device(&into).map_err(look(&into))?;
        if device(&staged).map_err(look(&staged))? == home {
            return Ok(staged);
        }
        let mut name = OsString::from(live.file_name().unwrap_or_default());
        name.push(format!("{PARTIAL}{}", std::process::id()));
        let beside = into.join(name);
        self.0.push(beside.clone());
        copy_tree(&staged, &beside)
            .map_err(failed(format!("bring the copy to {}", into.display())))?;
        Ok(beside)
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        for path in &self.0 {
            // Gone if it was used. Its name tells what it is if it cannot be removed.
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        }
    }
}

/// A copy with all metadata, links and holes, by the system's own tool.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let done = Command::new("/bin/cp")
        .args(["-a", "--sparse=auto", "-T", "--"])
        .args([from, to])
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .stdin(Stdio::null())
        .output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(said.lines().next().unwrap_or("cp failed").to_owned()))
}
