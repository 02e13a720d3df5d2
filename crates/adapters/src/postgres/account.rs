//! The user under which a copy's server runs. PostgreSQL refuses to run as root.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_recovery::ports::EngineError;
use lifeboat_recovery::staging::MARK;

use super::{failed, refused};

/// The folder of the local state, where the plan names no other.
const STATE: &str = ".lifeboat";
/// `nobody` of every Linux.
const NOBODY: u32 = 65534;

/// Who runs a server: somebody else where we are root, else we ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account(Option<(u32, u32)>);

impl Account {
    /// `postgres` if we are root and there is such a user, else `nobody`; else we ourselves.
    pub fn for_servers() -> Account {
        if !rustix::process::geteuid().is_root() {
            return Account(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Account(Some(named(&users, "postgres").unwrap_or((NOBODY, NOBODY))))
    }

    /// Lets a command run under it.
    pub fn become_by(self, command: &mut Command) {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
    }

    /// Gives one thing to the account.
    pub fn own(self, path: &Path) -> io::Result<()> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        let found = fs::symlink_metadata(path)?;
        if (found.uid(), found.gid()) != (user, group) {
            lchown(path, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Gives a tree to the account. Links are not followed.
    pub fn own_all(self, path: &Path) -> io::Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        self.own(path)?;
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own_all(&entry?.path())?;
            }
        }
        Ok(())
    }

    /// Sees to it that the account gets to a folder through all those above it. A staging folder and
    /// what is in it, which are ours, let it pass from then on; so does the local state, for the
    /// account's group alone; anybody else's is not touched.
    pub fn let_pass(self, folder: &Path) -> Result<(), EngineError> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        for above in folder.ancestors().skip(1) {
            let look = failed(format!("look at {}", above.display()));
            let found = fs::metadata(above).map_err(look)?;
            let bit = match (found.uid() == user, found.gid() == group) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if found.mode() & bit != 0 {
                continue;
            }
            let bit = match ours(above) {
                _ if found.uid() != 0 => return Err(no_way(above)),
                Ours::Staging => bit,
                Ours::State => {
                    let give = failed(format!("let the server's group pass {}", above.display()));
                    lchown(above, None, Some(group)).map_err(give)?;
                    0o010
                }
                Ours::Not => return Err(no_way(above)),
            };
            fs::set_permissions(above, Permissions::from_mode(found.mode() & 0o7777 | bit))
                .map_err(failed(format!("let others pass {}", above.display())))?;
        }
        Ok(())
    }
}

/// Whether a folder is one that Lifeboat made.
enum Ours {
    /// A staging folder, or in one.
    Staging,
    /// The local state, or in it.
    State,
    Not,
}

fn ours(folder: &Path) -> Ours {
    let mut names =
        folder.ancestors().filter_map(Path::file_name).map(|name| name.to_string_lossy());
    names
        .find_map(|name| match () {
            () if name.contains(MARK) => Some(Ours::Staging),
            () if name == STATE => Some(Ours::State),
            () => None,
        })
        .unwrap_or(Ours::Not)
}

fn no_way(folder: &Path) -> EngineError {
    let folder: PathBuf = folder.to_owned();
    refused(
        format!(
            "the copy's server, which may not run as root, cannot get through {}",
            folder.display()
        ),
        format!(
            "choose a place that the user `postgres` can reach, or `chmod o+x {}`",
            folder.display()
        ),
    )
}

/// Number and group of a user in `/etc/passwd`.
fn named(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let mut fields = fields.skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "postgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\n";
        assert_eq!(named(users, "postgres"), Some((101, 104)));
        assert_eq!(named(users, "post"), None);
    }
}
