//! A copy's own server, started for a while and always ended.
//!
//! It reads nothing of the copy's configuration. Its settings are ours:
//!
//! - no TCP, a socket in a private folder; archiving, replication, scheduled work and logical
//!   workers off; the user is not root;
//! - what replay needs is as large as where the log was written, by `pg_control`;
//! - **no library is preloaded**, for what is preloaded can start work of its own (`pg_cron`,
//!   TimescaleDB's scheduler, …). Data whose replay needs one (custom resource managers) names it in
//!   [`Start::preload`]; the server's refusal without it says which;
//! - it writes without `fsync`, and the copy's file system is flushed after it ended: until then the
//!   copy is worth nothing anyhow.
//!
//! It dies with this process: a shell that waits for the end of a pipe from us ends it then.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lifeboat_recovery::ports::EngineError;
use rustix::process::{Pid, Signal, kill_process};

use super::account::Account;
use super::install::Installation;
use super::tool::Tools;
use super::{broken, failed};

/// Where private folders are made: their names must be short, for a socket's name has 107 bytes.
const PLACES: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
/// How their names begin; the number of our process follows.
const PRIVATE: &str = ".lifeboat-pg-";
/// Between two looks at a server.
const LOOK: Duration = Duration::from_millis(10);
/// How long a server may take to end in order, and then to end at all.
const FAST: Duration = Duration::from_secs(600);
const QUICK: Duration = Duration::from_secs(10);
/// Lines of its log that an error names.
const NAMED: usize = 4;

/// What keeps every copy to itself, whatever its own configuration says.
const ALONE: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("ssl", "off"),
    ("archive_mode", "off"),
    ("archive_command", ""),
    ("archive_cleanup_command", ""),
    ("recovery_end_command", ""),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("synchronous_standby_names", ""),
    ("max_logical_replication_workers", "0"),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
];
/// The same, from a major version on.
const ALONE_SINCE: &[(u32, &str, &str)] =
    &[(15, "archive_library", ""), (17, "sync_replication_slots", "off")];
/// What every copy has besides that we start.
const SETTINGS: &[(&str, &str)] = &[
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("max_replication_slots", "100"),
    ("wal_level", "replica"),
    ("hot_standby", "on"),
    ("autovacuum", "off"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "on"),
    ("shared_buffers", "256MB"),
    // In the copy's own folder, and gone with it, if this process is killed.
    ("dynamic_shared_memory_type", "mmap"),
    ("max_wal_size", "1GB"),
    ("checkpoint_timeout", "1h"),
    ("wal_retrieve_retry_interval", "100ms"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_min_messages", "warning"),
    ("log_line_prefix", ""),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
    ("lc_messages", "C"),
    ("cluster_name", "lifeboat"),
    ("restart_after_crash", "off"),
    ("jit", "off"),
];
/// The same, from a major version on.
const SINCE: &[(u32, &str, &str)] = &[
    (17, "summarize_wal", "off"),
    (17, "event_triggers", "off"),
    (18, "max_active_replication_origins", "100"),
];

/// What is to be started.
pub(super) struct Start<'a> {
    pub installed: &'a Installation,
    /// The data directory.
    pub data: &'a Path,
    /// Beyond [`SETTINGS`], and stronger.
    pub settings: Vec<(String, String)>,
    /// Libraries without which the log cannot be replayed.
    pub preload: &'a [String],
}

/// A private folder, removed when dropped.
#[derive(Debug)]
pub(super) struct Private(PathBuf);

impl Private {
    pub fn make(account: Account) -> Result<Private, EngineError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let mut last = None;
        for place in PLACES {
            for _ in 0..16 {
                let number = COUNT.fetch_add(1, Ordering::Relaxed);
                let name = format!("{PRIVATE}{}-{number}", std::process::id());
                let path = Path::new(place).join(name);
                match DirBuilder::new().mode(0o700).create(&path) {
                    Ok(()) => {
                        let made = Private(path);
                        account.own(&made.0).map_err(failed("make a private folder"))?;
                        return Ok(made);
                    }
                    Err(error) => last = Some(error),
                }
            }
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::NotFound.into());
        Err(failed("make a private folder for a server")(error))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Removes the folders of processes that were killed. Whose process lives is not touched, nor is what
/// belongs to somebody else.
fn sweep() {
    let places = PLACES.iter().filter_map(|place| fs::read_dir(place).ok());
    for entry in places.flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PRIVATE)?.split_once('-'));
        let Some(pid) = number.and_then(|(pid, _)| pid.parse::<u32>().ok()) else { continue };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server.
pub(super) struct Instance {
    tools: Tools,
    pub installed: Installation,
    pub data: PathBuf,
    child: Child,
    watch: Child,
    folder: Private,
    ended: bool,
}

impl Instance {
    /// Starts a server; it need not answer yet.
    pub fn start(tools: &Tools, start: &Start<'_>) -> Result<Instance, EngineError> {
        tools.account.let_pass(start.data)?;
        let folder = Private::make(tools.account)?;
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text)?;
            tools.account.own(&path)
        };
        let config = configuration(start, folder.path());
        write("postgresql.conf", &config)
            .and_then(|()| write("pg_hba.conf", "local all all trust\n"))
            .and_then(|()| write("pg_ident.conf", ""))
            .map_err(failed("write a server's configuration"))?;
        let log = File::create(folder.path().join("log")).map_err(failed("make a server's log"))?;
        let mut command = tools.command(&start.installed.program("postgres")?, folder.path());
        command.arg("-D").arg(start.data);
        for name in
            ["config_file=postgresql.conf", "hba_file=pg_hba.conf", "ident_file=pg_ident.conf"]
        {
            let (name, file) = name.split_once('=').unwrap_or_default();
            command.arg("-c").arg(format!("{name}={}", folder.path().join(file).display()));
        }
        // On the command line they win over whatever stands in the copy.
        for (name, value) in all_settings(start, folder.path()) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let log_too = log.try_clone().map_err(failed("make a server's log"))?;
        command.stdout(log_too).stderr(log);
        let mut child = command.spawn().map_err(failed("start the copy's server"))?;
        let watch = match watch(tools, child.id()) {
            Ok(watch) => watch,
            Err(error) => {
                end(tools, &mut child, Signal::QUIT, QUICK);
                return Err(failed("watch the copy's server")(error));
            }
        };
        let (installed, data) = (start.installed.clone(), start.data.to_owned());
        Ok(Instance { tools: tools.clone(), installed, data, child, watch, folder, ended: false })
    }

    /// The folder of its socket.
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// What it needs to have programs run.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// True while it runs.
    pub fn runs(&mut self) -> Result<bool, EngineError> {
        let status = self.child.try_wait().map_err(failed("ask for the copy's server"))?;
        self.ended |= status.is_some();
        Ok(status.is_none())
    }

    /// Waits until `is` finds in its log what it looks for.
    pub fn wait_until(
        &mut self,
        limit: Option<Duration>,
        is: &mut dyn FnMut(&str) -> Result<bool, EngineError>,
    ) -> Result<(), EngineError> {
        let begun = self.tools.clock.monotonic();
        loop {
            // Asked first: what it wrote before it ended is in the log by then.
            let runs = self.runs()?;
            if is(&self.log())? {
                return Ok(());
            }
            if !runs {
                return Err(broken(format!("the copy's server ended: {}", self.cause())));
            }
            if self.tools.cancel.is_cancelled() {
                return Err(broken("somebody asked to stop"));
            }
            let waited = self.tools.clock.monotonic().saturating_sub(begun);
            if limit.is_some_and(|limit| waited > limit) {
                return Err(broken(format!("the copy's server is not ready: {}", self.cause())));
            }
            self.tools.clock.sleep(LOOK);
        }
    }

    /// Waits until it takes connections for reading and writing.
    pub fn wait_ready(&mut self) -> Result<(), EngineError> {
        self.wait_until(None, &mut |log| {
            Ok(log.contains("database system is ready to accept connections"))
        })
    }

    /// Why it ended or does not go on, in its own words.
    pub fn cause(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().map(str::trim).collect();
        let is_bad = |line: &&str| ["FATAL:", "PANIC:"].iter().any(|word| line.starts_with(word));
        let at = lines.iter().position(is_bad).unwrap_or(lines.len().saturating_sub(1));
        // The warning before it is often the reason (a restore_command's status, say).
        let from = match at.checked_sub(1).and_then(|before| lines.get(before)) {
            Some(line) if line.starts_with("WARNING:") => at - 1,
            _ => at,
        };
        let named = lines[from.min(lines.len())..].iter().take(NAMED);
        let words: Vec<String> =
            named.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect();
        if words.is_empty() { "it said nothing".to_owned() } else { words.join("; ") }
    }

    /// Ends it in order and flushes what it wrote.
    pub fn stop(mut self) -> Result<(), EngineError> {
        let done = end(&self.tools, &mut self.child, Signal::INT, FAST);
        self.ended = true;
        self.unwatch();
        let control =
            super::control::Control::read(&self.tools, &self.installed, &self.data.clone())?;
        if !done || !control.is_shut_down() {
            return Err(broken(format!(
                "the copy's server did not end in order: {}",
                self.cause()
            )));
        }
        let folder = File::open(&self.data).map_err(failed("flush the copy"))?;
        rustix::fs::syncfs(folder).map_err(|error| failed("flush the copy")(error.into()))
    }

    fn unwatch(&mut self) {
        // Before our end of its pipe is closed, so that it signals nobody.
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.ended {
            end(&self.tools, &mut self.child, Signal::QUIT, QUICK);
            self.ended = true;
        }
        self.unwatch();
    }
}

/// A shell that ends the server once our end of its input is closed, by our death too.
fn watch(tools: &Tools, server: u32) -> io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    tools.account.become_by(&mut command);
    command
        .args(["-c", "read -r _; kill -QUIT \"$1\"", "sh"])
        .arg(server.to_string())
        .env_clear()
        .env("PATH", crate::runner::DEFAULT_PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn()
}

/// Ends a server by a signal; by force where it takes longer. True if it ended by itself.
fn end(tools: &Tools, child: &mut Child, signal: Signal, limit: Duration) -> bool {
    let _ = kill_process(Pid::from_child(child), signal);
    let begun = tools.clock.monotonic();
    let mut asked_again = false;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return !asked_again,
            Ok(None) => {}
            Err(_) => return false,
        }
        let waited = tools.clock.monotonic().saturating_sub(begun);
        if waited > limit && !asked_again {
            // Its children end when they see that it is gone.
            asked_again = true;
            let _ = kill_process(Pid::from_child(child), Signal::QUIT);
        }
        if waited > limit + QUICK {
            let _ = child.kill();
        }
        tools.clock.sleep(LOOK);
    }
}

/// Settings by name that a server of this version knows.
fn known(
    always: &[(&str, &str)],
    since: &[(u32, &str, &str)],
    major: u32,
) -> Vec<(String, String)> {
    let since = since.iter().filter(|(from, _, _)| *from <= major);
    let all = always.iter().copied().chain(since.map(|(_, name, value)| (*name, *value)));
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The settings that keep a copy of this version to itself, but for libraries that its replay needs.
pub(super) fn alone(major: u32, preload: &[String]) -> Vec<(String, String)> {
    let mut all = known(ALONE, ALONE_SINCE, major);
    if !preload.is_empty() {
        all.push(("shared_preload_libraries".to_owned(), preload.join(",")));
    }
    all
}

fn all_settings(start: &Start<'_>, folder: &Path) -> Vec<(String, String)> {
    let mut all = known(SETTINGS, SINCE, start.installed.major);
    all.extend(alone(start.installed.major, start.preload));
    all.push(("unix_socket_directories".to_owned(), folder.display().to_string()));
    all.push(("data_directory".to_owned(), start.data.display().to_string()));
    all.extend(start.settings.iter().cloned());
    all
}

/// The same as a file, for whoever looks: the command line has it too.
fn configuration(start: &Start<'_>, folder: &Path) -> String {
    let line = |(name, value): (String, String)| {
        format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''"))
    };
    all_settings(start, folder).into_iter().map(line).collect()
}
