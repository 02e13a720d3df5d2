//! The server of the demonstration: small, private, run by somebody else than root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_adapters::postgres::install::{Installation, Installations};
use lifeboat_model::exit::Exit;

use crate::fault::{Fault, Outcome};

/// The versions that Lifeboat knows, the newest first.
const VERSIONS: std::ops::Range<u32> = 13..40;
/// Its superuser.
const USER: &str = "shop";
/// `nobody` of every Linux.
const NOBODY: u32 = 65534;

/// A PostgreSQL server in folders of its own.
#[derive(Debug)]
pub struct Server {
    installed: Installation,
    /// Socket and log: a short path, for sockets have a limit.
    run: tempfile::TempDir,
    data: PathBuf,
    account: Option<(u32, u32)>,
}

/// The newest installed version.
///
/// # Errors
/// Exit 4 with what installs it.
pub fn newest() -> Outcome<Installation> {
    let all = Installations::look(&[]);
    let newest = VERSIONS.rev().find_map(|major| all.of(major).ok().cloned());
    newest.ok_or_else(|| {
        Fault::refused("PostgreSQL is not installed here")
            .hint("`apt-get install postgresql`, or `lifeboat demo` without `--postgres`")
    })
}

impl Server {
    /// A server whose data directory is, or will be, `data`.
    pub fn new(installed: &Installation, data: &Path) -> Outcome<Server> {
        let run = tempfile::Builder::new().prefix("lifeboat-pg-").tempdir();
        let run = run.map_err(|error| failed("make a folder for the server's socket", &error))?;
        let account = rustix::process::geteuid().is_root().then(other_user);
        let server = Server { installed: installed.clone(), run, data: data.to_owned(), account };
        server.give(server.run.path())?;
        Ok(server)
    }

    /// The folder of its socket.
    pub fn socket(&self) -> &Path {
        self.run.path()
    }

    /// How a client finds it.
    pub fn dsn(&self) -> String {
        format!("host={} user={USER} dbname=postgres", self.socket().display())
    }

    /// Makes an empty cluster and starts it.
    pub fn make(&self) -> Outcome<()> {
        fs::create_dir_all(&self.data).map_err(|error| failed("make a cluster", &error))?;
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&self.data, mode).map_err(|e| failed("make a cluster", &e))?;
        self.give(&self.data)?;
        let data = self.data.display().to_string();
        self.run("initdb", &["-D", &data, "-U", USER, "-A", "trust", "-k", "--no-sync"])?;
        self.start()
    }

    /// Starts it, and waits until it answers.
    pub fn start(&self) -> Outcome<()> {
        let log = self.socket().join("log").display().to_string();
        let data = self.data.display().to_string();
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}'",
            self.socket().display()
        );
        self.run(
            "pg_ctl",
            &["-D", &data, "-w", "-t", "60", "-s", "-l", &log, "-o", &options, "start"],
        )
    }

    /// Kills it and every process of it, as a power cut would. False if it was not there.
    pub fn kill(&self) -> bool {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let Some(first) = text.lines().next().and_then(|line| line.trim().parse().ok()) else {
            return false;
        };
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.unwrap_or_default();
        let all = std::iter::once(first)
            .chain(children.split_whitespace().filter_map(|pid| pid.parse().ok()));
        let mut killed = false;
        for pid in all.filter_map(rustix::process::Pid::from_raw) {
            killed |= rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok();
        }
        killed
    }

    /// Stops it in the ordinary way.
    pub fn stop(&self) -> Outcome<()> {
        let data = self.data.display().to_string();
        self.run("pg_ctl", &["-D", &data, "-w", "-s", "-m", "fast", "stop"])
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// pgbench on this server; nothing where it is not installed.
    pub fn pgbench(&self) -> Option<Command> {
        let program = self.installed.program("pgbench").ok()?;
        let mut command = self.command(&program);
        command.arg("-h").arg(self.socket()).args(["-U", USER]);
        Some(command)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("PATH", &self.installed.bin).current_dir("/");
        command.stdin(Stdio::null());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Outcome<()> {
        let path = self.installed.program(program).map_err(|error| {
            Fault::caused(Exit::Refused, format!("{program} is missing"), &error)
        })?;
        // A server that stays would keep a pipe open for ever.
        let said = self.socket().join(format!("{program}.out"));
        let out = fs::File::create(&said).map_err(|error| failed("start the server", &error))?;
        let twin = out.try_clone().map_err(|error| failed("start the server", &error))?;
        let done = self.command(&path).args(arguments).stdout(out).stderr(twin).status();
        let done = done.map_err(|error| failed(format!("run {program}"), &error))?;
        if done.success() {
            return Ok(());
        }
        let text = fs::read_to_string(&said).unwrap_or_default();
        let log = fs::read_to_string(self.socket().join("log")).unwrap_or_default();
        let last = text.lines().chain(log.lines()).last().unwrap_or_default().to_owned();
        Err(Fault::new(Exit::Failed, format!("{program} ended with {done}: {last}")))
    }

    fn give(&self, path: &Path) -> Outcome<()> {
        let Some((user, group)) = self.account else { return Ok(()) };
        chown(path, Some(user), Some(group)).map_err(|error| failed("prepare the server", &error))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn failed(what: impl std::fmt::Display, error: &std::io::Error) -> Fault {
    Fault::caused(Exit::Failed, format!("cannot {what}"), error)
}

/// `postgres` where there is such a user, else `nobody`: the server refuses to run as root.
fn other_user() -> (u32, u32) {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == "postgres").then_some(())?;
        let mut numbers = fields.skip(1).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    named.unwrap_or((NOBODY, NOBODY))
}
