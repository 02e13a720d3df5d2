//! Object stores for tests, on the loopback interface, each gone with its value:
//!
//! - [`Moto`]: a simulated S3 (PyPI `moto`), which `restic` speaks with too;
//! - [`Azurite`]: a simulated Azure Blob Storage (npm `azurite`), which checks signatures;
//! - [`Front`]: a small server of our own in this process, in the dialects of S3 and of Google, which
//!   misbehaves when told to. It is evidence about our client, not about Google.
//!
//! What is not installed panics with the hint. A server dies with the thread that started it, also
//! when the test is killed.

mod front;
mod http;
mod sign;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub use front::{Dialect, Front, Trouble};

use crate::postgres::process::{free_port, pause};

/// What installs them.
const HINT: &str = "scripts/check installs it (moto 5.2.5 from PyPI, azurite 3.35.0 from npm)";
/// How often a server is started anew: its port may be taken in between.
const STARTS: usize = 3;

/// A folder of the caches in which `scripts/check` keeps what it installs.
#[allow(clippy::disallowed_methods)] // Where a test finds its tools.
fn installed(name: &str, file: &str) -> PathBuf {
    let own = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let caches = [Some(PathBuf::from("/var/cache")), own];
    let places: Vec<PathBuf> =
        caches.into_iter().flatten().map(|cache| cache.join("lifeboat-check").join(name)).collect();
    let found = places.iter().find(|place| place.join(file).exists());
    found.cloned().unwrap_or_else(|| panic!("{file} is not in {places:?}: {HINT}"))
}

/// A process that serves HTTP, ended when dropped.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(name: &str, command: impl Fn(u16) -> Command) -> Process {
        for _ in 0..STARTS {
            let port = free_port();
            let inner = command(port);
            // Its parent is a thread of the test: with it, it ends.
            let mut outer = Command::new("setpriv");
            outer.args(["--pdeathsig", "KILL"]).arg(inner.get_program()).args(inner.get_args());
            for (key, value) in inner.get_envs() {
                outer.env(key, value.unwrap_or_default());
            }
            outer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = outer.spawn().unwrap_or_else(|e| panic!("{name}: {e}: {HINT}"));
            let mut process = Process { child, port };
            if process.answers() {
                return process;
            }
        }
        panic!("{name} does not come up: {HINT}");
    }

    fn answers(&mut self) -> bool {
        for _ in 0..600 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
            if ask(self.port, request).starts_with("HTTP/") {
                return true;
            }
            pause(Duration::from_millis(50));
        }
        false
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to a request; empty if there is none.
fn ask(port: u16, request: &[u8]) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer).map(drop));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A simulated S3. It takes every signature.
pub struct Moto(Process);

impl Moto {
    /// Any pair of keys will do.
    pub const KEYS: (&str, &str) = ("test-id", "test-secret");

    /// A running server that lists in pages of `page` keys.
    pub fn start(page: usize) -> Moto {
        let packages = installed("moto-5.2.5", "moto/server.py");
        Moto(Process::start("moto", |port| {
            let mut command = Command::new("python3");
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
            command.env("PYTHONPATH", &packages).env("MOTO_S3_DEFAULT_MAX_KEYS", page.to_string());
            command
        }))
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Makes a bucket.
    pub fn bucket(&self, name: &str) {
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = ask(self.0.port, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// A simulated Azure Blob Storage with one account.
pub struct Azurite {
    process: Process,
    _folder: TempDir,
}

impl Azurite {
    /// Its account.
    pub const ACCOUNT: &str = "shop";
    /// The account's key.
    pub const KEY: &str = "bm90IGEgc2VjcmV0OiBhIGtleSBmb3IgdGVzdHM=";

    /// A running server.
    pub fn start() -> Azurite {
        let program = "node_modules/azurite/dist/src/blob/main.js";
        let place = installed("azurite-3.35.0", program);
        let folder = tempfile::Builder::new().prefix("lifeboat-azurite-").tempdir().unwrap();
        let process = Process::start("azurite", |port| {
            let mut command = Command::new("node");
            command.arg(place.join(program)).args(["--blobHost", "127.0.0.1", "--blobPort"]);
            command.arg(port.to_string()).arg("--location").arg(folder.path());
            command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
            command.env("AZURITE_ACCOUNTS", format!("{}:{}", Self::ACCOUNT, Self::KEY));
            command
        });
        Azurite { process, _folder: folder }
    }

    /// What the plan's variable holds.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol=http;AccountName={0};AccountKey={1};BlobEndpoint={2}/{0};",
            Self::ACCOUNT,
            Self::KEY,
            self.process.url(),
        )
    }

    /// Makes a container.
    pub fn container(&self, name: &str) {
        let request = sign::make_container(Self::ACCOUNT, Self::KEY, name);
        let answer = ask(self.process.port, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}
