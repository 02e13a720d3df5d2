//! Real PostgreSQL servers for tests: small, private, gone with the value.
//!
//! - Each server has a folder of its own (in `TMPDIR`) for data, sockets and log, listens on no TCP
//!   port unless asked to, and runs as `postgres` or `nobody` where the tests run as root.
//! - [`Server::kill`] is what a power cut looks like to clients: postmaster and all of its children
//!   by SIGKILL. Nothing but a server's own processes is ever signalled.
//! - What is not installed panics with the hint.

mod build;
mod home;
mod load;
pub(crate) mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub use build::Builder;
pub use home::Version;
pub use load::Load;
use process::Account;

/// A PostgreSQL server, stopped and removed when dropped.
pub struct Server {
    version: Version,
    account: Account,
    /// `data`, `run` and `log` are in it.
    folder: TempDir,
    data: PathBuf,
    port: u16,
    tcp: bool,
    postmaster: Option<Child>,
}

impl Server {
    /// A running server with settings of `postgresql.conf`.
    pub fn start(version: Version, settings: &[(&str, &str)]) -> Server {
        settings
            .iter()
            .fold(Server::build(version), |to, (name, value)| to.set(name, value))
            .start()
    }

    /// A server to be described further.
    pub fn build(version: Version) -> Builder {
        Builder::new(version)
    }

    /// A server on an existing data directory, not started: a restored copy, say. The directory is
    /// given to the server's account and stays when the server is dropped.
    pub fn on(version: Version, data: &Path) -> Server {
        let mut server = Server::empty(version, false);
        server.account.give(data);
        data.clone_into(&mut server.data);
        server
    }

    /// A running streaming standby of this server, by `pg_basebackup`.
    pub fn standby(&self, settings: &[(&str, &str)]) -> Server {
        let mut standby = Server::empty(self.version, self.tcp);
        let mut copy = self.client("pg_basebackup");
        run(copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"]).arg(standby.data()));
        standby.configure(settings);
        standby.start_again();
        standby
    }

    fn empty(version: Version, tcp: bool) -> Server {
        version.home();
        let account = Account::for_servers();
        let folder = tempfile::Builder::new().prefix("lifeboat-pg-").tempdir().unwrap();
        account.open(folder.path());
        for name in ["run", "log"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            account.give(&folder.path().join(name));
        }
        let port = if tcp { process::free_port() } else { 5432 };
        let data = folder.path().join("data");
        Server { version, account, folder, data, port, tcp, postmaster: None }
    }

    /// Appends to `postgresql.conf`; takes effect at the next start (or [`Server::reload`]).
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let path = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&path).unwrap();
        for (name, value) in settings {
            text.push_str(&format!("\n{name} = '{}'", value.replace('\'', "''")));
        }
        text.push('\n');
        fs::write(path, text).unwrap();
    }

    /// Writes a file of the data directory, for the server's account.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        self.account.give(&path);
    }

    /// Reads the configuration files again.
    pub fn reload(&self) {
        self.psql("select pg_reload_conf()");
    }

    /// Starts it where it is stopped or was killed, and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up; with its log.
    pub fn start_again(&mut self) {
        if let Err(why) = self.try_start() {
            panic!("{why}");
        }
    }

    /// Starts it; the error has its log.
    pub fn try_start(&mut self) -> Result<(), String> {
        assert!(self.postmaster.is_none(), "it runs");
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.tool("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.socket());
        command.args(["-p", &self.port.to_string(), "-c", "fsync=off", "-c", "autovacuum=off"]);
        // Servers are killed here: nothing of them is to stay behind in the machine's memory.
        command.args(["-c", "dynamic_shared_memory_type=mmap"]);
        let address = if self.tcp { "127.0.0.1" } else { "" };
        command.args(["-c", &format!("listen_addresses={address}")]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        for _ in 0..1200 {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("postgres ended ({status}):\n{}", self.log()));
            }
            let mut probe = self.client("psql");
            probe.args(["-X", "-q", "-d", "postgres", "-c", "select 1"]);
            if probe.output().unwrap().status.success() {
                self.postmaster = Some(child);
                return Ok(());
            }
            process::pause(Duration::from_millis(25));
        }
        process::end(child, "KILL");
        Err(format!("postgres did not answer within 30 s:\n{}", self.log()))
    }

    /// An orderly end: `fast`, with a checkpoint. Clients are thrown out.
    pub fn stop(&mut self) {
        if let Some(child) = self.postmaster.take() {
            process::end(child, "INT");
        }
    }

    /// Ends the postmaster and every child of it by SIGKILL, at once.
    pub fn kill(&mut self) {
        if let Some(child) = self.postmaster.take() {
            process::kill_all(child);
        }
    }

    /// Ends by SIGKILL the one process of the server; for a walsender or a backend by its pid.
    ///
    /// # Panics
    /// If `pid` is none of this server's.
    pub fn kill_backend(&self, pid: u32) {
        let postmaster = self.postmaster.as_ref().expect("it runs");
        assert!(process::children(postmaster.id()).contains(&pid), "{pid} is not its child");
        process::signal(pid, "KILL");
    }

    /// Stops in order and starts again.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// True while its postmaster lives.
    pub fn runs(&mut self) -> bool {
        self.postmaster.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Makes a standby the primary, and waits until it is.
    pub fn promote(&self) {
        self.psql("select pg_promote(true, 60)");
    }

    /// Runs SQL as superuser in database `postgres`; unaligned rows, columns split by `|`.
    ///
    /// # Panics
    /// If it fails.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// The same in another database.
    pub fn psql_in(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|said| panic!("{sql}: {said}"))
    }

    /// The same; what psql said where it failed.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.client("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        let Output { status, stdout, stderr } = psql.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
    }

    /// `pgbench -i` into database `postgres`.
    pub fn pgbench_init(&self, scale: u32) {
        run(self.client("pgbench").args(["-i", "-q", "-s", &scale.to_string(), "postgres"]));
    }

    /// Starts pgbench with these arguments on database `postgres`; ended when dropped.
    pub fn pgbench(&self, arguments: &[&str]) -> Load {
        let mut pgbench = self.client("pgbench");
        pgbench.args(["-n"]).args(arguments).arg("postgres");
        pgbench.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Load(Some(pgbench.spawn().unwrap()))
    }

    /// Where to connect: through its socket, as superuser, without a password.
    pub fn dsn(&self) -> String {
        self.dsn_as("postgres", "postgres")
    }

    /// The same for another user and database.
    pub fn dsn_as(&self, user: &str, database: &str) -> String {
        let socket = self.socket();
        format!("host={} port={} user={user} dbname={database}", socket.display(), self.port)
    }

    /// The port on its socket, and of 127.0.0.1 where it listens there.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A folder that the server's account may write to, gone with the server: for tablespaces.
    pub fn make_folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        self.account.give(&path);
        path
    }

    /// The pid of the postmaster.
    pub fn pid(&self) -> u32 {
        self.postmaster.as_ref().expect("it runs").id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log/postgres.log")
    }

    /// A program of its version, to be run as its account.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.version.program(name));
        self.account.become_by(&mut command);
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        for variable in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSERVICE"] {
            command.env_remove(variable);
        }
        command
    }

    /// The same for a client: connects here, as superuser.
    pub fn client(&self, name: &str) -> Command {
        let mut command = self.tool(name);
        command.arg("-h").arg(self.socket()).args(["-p", &self.port.to_string(), "-U", "postgres"]);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}
