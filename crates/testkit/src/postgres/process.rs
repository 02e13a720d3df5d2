//! Processes of a test's own servers: under which account, and how they end.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// The account of a server: PostgreSQL refuses to run as root.
pub struct Account(Option<(u32, u32)>);

impl Account {
    /// `postgres` if we are root and there is such a user, else `nobody`; else we ourselves.
    pub fn for_servers() -> Account {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return Account(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let named = users.lines().find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        Account(Some(named.unwrap_or((65534, 65534))))
    }

    /// Gives a path, and all below it, to the account.
    pub fn give(&self, path: &Path) {
        let Some((user, group)) = self.0 else { return };
        lchown(path, Some(user), Some(group)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.give(&entry.unwrap().path());
            }
        }
    }

    /// Makes a folder its own and lets others pass.
    pub fn open(&self, folder: &Path) {
        self.give(folder);
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }

    /// Lets a command run under it.
    pub fn become_by(&self, command: &mut Command) {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
    }
}

/// A port of 127.0.0.1 on which nobody listens now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Waits for other processes: no clock of a test moves them.
#[allow(clippy::disallowed_methods)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).output();
}

/// Signals our child and waits for its end; after half a minute by SIGKILL.
pub fn end(mut child: Child, name: &str) {
    signal(child.id(), name);
    for _ in 0..3000 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        pause(Duration::from_millis(10));
    }
    kill_all(child);
}

/// Ends our child and its children by SIGKILL, and waits until none of them is left.
pub fn kill_all(mut child: Child) {
    // Halted first, so that it starts no further ones meanwhile.
    signal(child.id(), "STOP");
    let family = children(child.id());
    let _ = child.kill();
    for pid in &family {
        signal(*pid, "KILL");
    }
    child.wait().unwrap();
    for _ in 0..1000 {
        if !family.iter().any(|pid| lives(*pid)) {
            return;
        }
        pause(Duration::from_millis(10));
    }
    panic!("children of the server outlive SIGKILL: {family:?}");
}

/// The children of a process.
pub fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn lives(pid: u32) -> bool {
    status(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process.
fn status(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
