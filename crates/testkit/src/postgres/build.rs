//! What a server is to be like.

use super::{Server, Version, run};

/// Everybody in: passwords are asked for only where a test says so.
const TRUST: &str = "local all all trust\nlocal replication all trust\n\
    host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";

/// What a server is to be like; see [`Server::build`].
pub struct Builder {
    version: Version,
    settings: Vec<(String, String)>,
    initdb: Vec<String>,
    hba: String,
    tcp: bool,
}

impl Builder {
    pub(super) fn new(version: Version) -> Self {
        Builder { version, settings: vec![], initdb: vec![], hba: TRUST.to_owned(), tcp: false }
    }

    /// A line of `postgresql.conf`; the value without quotes.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument of `initdb`: `--wal-segsize=1`, `--data-checksums`.
    pub fn initdb(mut self, argument: &str) -> Self {
        self.initdb.push(argument.to_owned());
        self
    }

    /// The whole of `pg_hba.conf`, instead of trust for everybody.
    pub fn hba(mut self, text: &str) -> Self {
        text.clone_into(&mut self.hba);
        self
    }

    /// Listens on a free port of 127.0.0.1 besides its socket.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Makes the cluster and starts it.
    pub fn start(self) -> Server {
        let mut server = Server::empty(self.version, self.tcp);
        let mut initdb = server.tool("initdb");
        initdb.args(["-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"]);
        run(initdb.arg(server.data()).args(&self.initdb));
        server.write("pg_hba.conf", &self.hba);
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        server.configure(&settings);
        server.start_again();
        server
    }
}
