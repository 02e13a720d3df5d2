//! A real PostgreSQL server, and a plan that its own account can use.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lifeboat_testkit::postgres::{Server, Version};
use serde_json::Value;

use crate::kit::{KEY, Ran};

pub fn wait(milliseconds: u64) {
    let clock = lifeboat_adapters::SystemClock::new();
    lifeboat_vault::Clock::sleep(&clock, Duration::from_millis(milliseconds));
}

/// A server with segments of 1 MiB, and a plan that its own account can use.
pub struct Site {
    pub server: Server,
    home: PathBuf,
    pub root: PathBuf,
    binary: PathBuf,
}

impl Site {
    /// `more` is what the plan says of the component besides where it is; a first base is taken.
    pub fn new(version: Version, more: &str) -> Site {
        let server = Server::build(version)
            .initdb("--wal-segsize=1")
            .set("archive_mode", "on")
            .set("archive_command", "")
            .set("wal_level", "replica")
            .set("max_wal_size", "4MB")
            .set("min_wal_size", "2MB")
            .set("wal_keep_size", "0")
            .start();
        let root = server.make_folder("plan");
        // The server's account may not be able to reach the folder of the build.
        let binary = root.join("lifeboat");
        let built = env!("CARGO_BIN_EXE_lifeboat");
        if fs::hard_link(built, &binary).is_err() {
            fs::copy(built, &binary).unwrap();
        }
        server.psql("create table t (n serial, at timestamptz default now())");
        let site = Site { server, home: version.home(), root, binary };
        site.write("vault.key", KEY);
        site.write("dsn", &site.server.dsn());
        let plan = format!(
            "[plan]\nname = \"Accounts\"\nrto = \"1h\"\nrpo = \"5m\"\n\n[key]\nvault_file = \"vault.key\"\n\n\
             [component.accounts]\npostgres = {{ dsn_file = \"dsn\"{more} }}\n\n\
             [tier.local]\nurl = \"tier\"\n"
        );
        site.write("lifeboat.toml", &plan);
        site.run(&["backup"]).ends(0);
        site
    }

    /// A private file of the server's account.
    pub fn write(&self, name: &str, text: &str) {
        let mut tee = self.server.tool("/bin/sh");
        let path = self.root.join(name);
        tee.args(["-c", "umask 077; printf '%s' \"$1\" > \"$2\"", "sh", text]).arg(path);
        assert!(tee.status().unwrap().success());
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.server.tool(self.binary.to_str().unwrap());
        command.args(["--plan", self.root.join("lifeboat.toml").to_str().unwrap()]).args(args);
        command.env_remove("LIFEBOAT_PLAN").env("LIFEBOAT_PG_HOMES", &self.home);
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    pub fn json(&self, args: &[&str]) -> (i32, Value) {
        let ran = self.run(&[args, &["--json"]].concat());
        (ran.code, ran.json())
    }

    pub fn wal(&self, verb: &str) -> String {
        let (binary, root) = (self.binary.display(), self.root.display());
        format!("{binary} --plan {root}/lifeboat.toml wal {verb}")
    }

    pub fn archive(&self, command: &str) {
        self.server.configure(&[("archive_command", command)]);
        self.server.reload();
    }

    /// Ends the segment, and waits until it is archived.
    pub fn archived(&self) -> String {
        self.server.psql("insert into t default values");
        let last = self.server.psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
        self.server.psql("select pg_switch_wal()");
        for _ in 0..600 {
            let done = self.server.psql("select last_archived_wal from pg_stat_archiver");
            if done.len() == 24 && done >= last {
                return last;
            }
            wait(100);
        }
        panic!("{last} was not archived:\n{}", self.server.log());
    }

    pub fn rows(&self) -> String {
        self.server.psql("select count(*), sum(n) from t")
    }
}
