//! The folder of a restored physical base: `pgdata`, `tablespaces/OID`.
//!
//! - Links to tablespaces lead to the folders beside, relatively: wherever the copy is moved, and
//!   never to where production has them. The base's own list of places (`tablespace_map`), by which
//!   a server would make links to production's, goes once the base was verified.
//! - As long as the copy is being worked on, its `postgresql.auto.conf` is one that stops a recovery
//!   at its first step: whoever starts it by hand in between gets an error, not a shorter database.
//! - A copy that could not be brought to its point loses its `pg_control`: no server starts it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lifeboat_model::manifest::PostgresContent;
use lifeboat_recovery::ports::EngineError;

use super::account::Account;
use super::{failed, refused};

/// What `postgresql.auto.conf` is kept as meanwhile, and what it says.
const KEPT: &str = "postgresql.auto.conf.lifeboat";
const AUTO: &str = "postgresql.auto.conf";
const BARRED: &str = "# Lifeboat is at work on this copy.\nrestore_command = 'exit 255'\n";
/// What `pg_control` is called in a copy that is not to be started.
const UNFINISHED: &str = "global/pg_control.unfinished";
const CONTROL: &str = "global/pg_control";
/// Of a copy that had its configuration elsewhere.
const OWN_CONFIGURATION: &str = "# Written by Lifeboat: the server's own configuration was outside \
    its data directory.\nlisten_addresses = 'localhost'\n";
const OWN_RULES: &str = "# Written by Lifeboat.\nlocal all all peer\n\
    host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n";
/// Of the server that was captured, not of this copy.
const FOREIGN: [&str; 4] =
    ["postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal"];

/// A copy's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    copy: PathBuf,
    /// The data directory.
    pub data: PathBuf,
}

impl Layout {
    /// Of a copy that has a data directory.
    pub fn of(copy: &Path) -> Result<Layout, EngineError> {
        let data = copy.join("pgdata");
        if !data.join("PG_VERSION").is_file() {
            return Err(refused(
                format!("{} holds no data directory of PostgreSQL", copy.display()),
                "name the folder to which the component was restored: it holds `pgdata`",
            ));
        }
        // A server is told an absolute path.
        let copy = fs::canonicalize(copy).map_err(failed("find the copy"))?;
        Ok(Layout { data: copy.join("pgdata"), copy })
    }

    /// Makes the copy one for a server of ours: its owner, its mode, its links; nothing left of the
    /// server that was captured.
    pub fn prepare(&self, content: &PostgresContent, account: Account) -> Result<(), EngineError> {
        let live = self.data.join("postmaster.pid");
        if let Some(pid) = running(&self.data) {
            return Err(refused(
                format!(
                    "{} is the data directory of a running server (process {pid})",
                    live.display()
                ),
                "restore to another folder",
            ));
        }
        for name in FOREIGN {
            remove(&self.data.join(name))?;
        }
        self.link(content)?;
        let made = failed(format!("make {} the server's own", self.copy.display()));
        account
            .own(&self.copy)
            .and_then(|()| account.own_all(&self.data))
            .and_then(|()| match self.tablespaces().is_dir() {
                true => account.own_all(&self.tablespaces()),
                false => Ok(()),
            })
            .and_then(|()| fs::set_permissions(&self.data, fs::Permissions::from_mode(0o700)))
            .map_err(made)
    }

    fn tablespaces(&self) -> PathBuf {
        self.copy.join("tablespaces")
    }

    /// Every tablespace's link leads to its folder beside.
    fn link(&self, content: &PostgresContent) -> Result<(), EngineError> {
        let links = self.data.join("pg_tblspc");
        let look = || failed(format!("read {}", links.display()));
        let mut all: Vec<String> =
            content.tablespaces.iter().map(|it| it.oid.to_string()).collect();
        if links.is_dir() {
            for entry in fs::read_dir(&links).map_err(look())? {
                let entry = entry.map_err(look())?;
                // A folder is a tablespace in its place, as tests of PostgreSQL itself have.
                if !entry.file_type().map_err(look())?.is_dir() {
                    all.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        all.sort();
        all.dedup();
        for number in all {
            let folder = self.tablespaces().join(&number);
            if !folder.is_dir() {
                return Err(super::broken(format!(
                    "the copy lacks tablespace {number}: {} is missing",
                    folder.display()
                )));
            }
            let link = links.join(&number);
            remove(&link)?;
            let to = Path::new("../../tablespaces").join(&number);
            std::os::unix::fs::symlink(to, &link)
                .map_err(failed(format!("make {}", link.display())))?;
        }
        Ok(())
    }

    /// Is it a base that was not replayed?
    pub fn is_base(&self) -> bool {
        self.data.join("backup_label").is_file()
    }

    /// Sets the copy up for a recovery that is told its settings on the command line.
    pub fn begin(&self, account: Account) -> Result<(), EngineError> {
        remove(&self.data.join("tablespace_map"))?;
        self.bar(account)?;
        self.write("recovery.signal", "", account)
    }

    /// Keeps everybody else from recovering the copy, and its own settings from being read.
    pub fn bar(&self, account: Account) -> Result<(), EngineError> {
        let (auto, kept) = (self.data.join(AUTO), self.data.join(KEPT));
        if kept.exists() {
            return Ok(());
        }
        // Renamed, not copied: at no instant is there none of the two.
        match fs::rename(&auto, &kept) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.write(KEPT, "", account)?;
            }
            other => other.map_err(failed(format!("move {}", auto.display())))?,
        }
        self.write(AUTO, BARRED, account)
    }

    /// The copy's own settings are back.
    pub fn unbar(&self) -> Result<(), EngineError> {
        let (auto, kept) = (self.data.join(AUTO), self.data.join(KEPT));
        match fs::rename(&kept, &auto) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(format!("put {} back", auto.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Gives a copy whose server had its configuration elsewhere (Debian: in `/etc`) one with which
    /// the plain server starts it: on this machine alone, without archiving.
    pub fn make_startable(&self, account: Account) -> Result<(), EngineError> {
        for (name, text) in [
            ("postgresql.conf", OWN_CONFIGURATION),
            ("pg_hba.conf", OWN_RULES),
            ("pg_ident.conf", ""),
        ] {
            if !self.data.join(name).exists() {
                self.write(name, text, account)?;
            }
        }
        Ok(())
    }

    /// The settings that are kept meanwhile, or are there.
    pub fn own_settings(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.data.join(name)).unwrap_or_default();
        let auto = if self.data.join(KEPT).exists() { KEPT } else { AUTO };
        format!("{}\n{}", read("postgresql.conf"), read(auto))
    }

    /// Takes the copy from every server.
    pub fn disable(&self) {
        let _ = fs::rename(self.data.join(CONTROL), self.data.join(UNFINISHED));
    }

    /// Writes a file of the data directory for its server.
    pub fn write(&self, name: &str, text: &str, account: Account) -> Result<(), EngineError> {
        let path = self.data.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .and_then(|()| account.own(&path))
            .map_err(failed(format!("write {}", path.display())))
    }
}

/// The process of the server that runs on a data directory, by its `postmaster.pid`.
pub fn running(data: &Path) -> Option<u32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    // Its folder tells a postmaster from whoever has its number now.
    let process = PathBuf::from(format!("/proc/{pid}"));
    let name = fs::read_to_string(process.join("comm")).ok()?;
    let is_server = matches!(name.trim(), "postgres" | "postmaster");
    let here = || fs::canonicalize(data).ok();
    let there = fs::read_link(process.join("cwd")).ok();
    (is_server && there.is_none_or(|there| Some(there) == here())).then_some(pid)
}

/// The server that runs on a data directory at this folder, around it or anywhere below, in words.
pub fn server_around(folder: &Path) -> Option<String> {
    let around =
        folder.ancestors().find_map(|place| running(place).map(|pid| (place.to_owned(), pid)));
    let (data, pid) = around.or_else(|| running_below(folder))?;
    Some(format!("a server of PostgreSQL runs on {} (process {pid})", data.display()))
}

/// A server whose data directory lies below: its processes work there.
fn running_below(folder: &Path) -> Option<(PathBuf, u32)> {
    let folder = fs::canonicalize(folder).ok()?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let data = fs::read_link(entry.path().join("cwd")).ok()?;
        let is_server = matches!(name.trim(), "postgres" | "postmaster");
        let below = is_server && data.starts_with(&folder);
        below.then(|| (data.clone(), running(&data).unwrap_or(pid)))
    })
}

/// Removes a file that may be missing.
fn remove(path: &Path) -> Result<(), EngineError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
