//! Segments without a server: the header that says whose they are, and some log.

use std::fs;
use std::path::PathBuf;

use crate::kit::{App, Ran};

/// Bytes of a segment.
pub const SIZE: u64 = 1 << 20;
/// The system identifier of the servers of these tests.
pub const SYSTEM: u64 = 0x6A5B_4C3D_2E1F_0A0B;
/// The same, as journals name it.
pub const LOG: &str = "6a5b4c3d2e1f0a0b";

/// An application with a PostgreSQL server that nobody can reach, and a vault.
pub fn archived() -> App {
    let app = App::bare();
    app.write_plan(&plan(&app));
    app.run(&["backup", "config"]).ends(0);
    app
}

pub fn plan(app: &App) -> String {
    let text = app.plan_text().replace("components = [\"*\"]", "components = [\"config\"]");
    format!("{text}\n[component.accounts]\npostgres = {{ dsn_env = \"NOBODY\" }}\n")
}

/// The name of a segment.
pub fn name(line: u32, number: u64) -> String {
    format!("{line:08X}{:08X}{:08X}", number >> 12, number & 0xFFF)
}

/// A segment: its header, and bytes of which it is full.
pub fn segment(line: u32, number: u64, system: u64, fill: u8) -> Vec<u8> {
    let mut bytes = vec![0x10, 0xD1, 2, 0];
    bytes.extend(line.to_le_bytes());
    bytes.extend((number * SIZE).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(system.to_le_bytes());
    bytes.extend((SIZE as u32).to_le_bytes());
    bytes.extend(8192_u32.to_le_bytes());
    bytes.resize(SIZE as usize, fill);
    bytes
}

pub trait Wal {
    fn file(&self, name: &str, content: &[u8]) -> PathBuf;
    fn push(&self, name: &str, content: &[u8]) -> Ran;
    fn fetch(&self, name: &str) -> Ran;
    fn fetched(&self) -> Vec<u8>;
}

impl Wal for App {
    /// A file as a server would have it.
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let folder = self.root.join("pg_wal");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn push(&self, name: &str, content: &[u8]) -> Ran {
        let path = self.file(name, content);
        self.run(&["wal", "push", path.to_str().unwrap()])
    }

    fn fetch(&self, name: &str) -> Ran {
        let _ = fs::remove_file(self.root.join("wanted"));
        self.run(&["wal", "fetch", name, "wanted"])
    }

    fn fetched(&self) -> Vec<u8> {
        fs::read(self.root.join("wanted")).unwrap()
    }
}
