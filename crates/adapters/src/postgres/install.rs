//! Which PostgreSQL servers are installed on this machine.
//!
//! A copy starts with its own major version only. What is missing is a finding with a hint; the
//! data is restored all the same (`--prepare-only`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_recovery::ports::EngineError;

use super::{broken, failed, refused};

/// Folders that hold a folder for each version, and where in that the programs are.
const VERSIONED: [(&str, &str, &str); 3] = [
    // Debian, Ubuntu; the packages of postgresql.org for RPM.
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt", "postgresql", "bin"),
];
/// Folders with programs of whatever version.
const PLAIN: [&str; 4] =
    ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin", "/usr/libexec/postgresql"];

/// One installed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The folder of its programs.
    pub bin: PathBuf,
    /// Its major version: 15.
    pub major: u32,
}

impl Installation {
    /// The installation whose programs are in `bin`, by what its server says of itself.
    pub fn at(bin: &Path) -> Option<Installation> {
        let server = bin.join("postgres");
        if !server.is_file() {
            return None;
        }
        let said = Command::new(server)
            .arg("--version")
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .ok()
            .filter(|done| done.status.success())?;
        let major = major_of(&String::from_utf8_lossy(&said.stdout))?;
        Some(Installation { bin: bin.to_owned(), major })
    }

    /// One of its programs, or what installs it.
    pub fn program(&self, name: &str) -> Result<PathBuf, EngineError> {
        let program = self.bin.join(name);
        if program.is_file() {
            return Ok(program);
        }
        Err(refused(
            format!("{name} of PostgreSQL {} is not in {}", self.major, self.bin.display()),
            hint(self.major),
        ))
    }
}

/// The installed versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installations(BTreeMap<u32, Installation>);

impl Installations {
    /// What stands in the usual places, after what stands in `first`: folders of programs, those of
    /// `PATH` say, or homes of installations.
    pub fn look(first: &[PathBuf]) -> Installations {
        let mut folders = Vec::new();
        for folder in first {
            folders.push(folder.clone());
            folders.push(folder.join("bin"));
        }
        for (folder, stem, bin) in VERSIONED {
            let mut found: Vec<PathBuf> = fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| {
                    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stem))
                })
                .collect();
            found.sort();
            folders.extend(found.into_iter().map(|home| home.join(bin)));
        }
        folders.extend(PLAIN.iter().map(PathBuf::from));
        let mut installed = BTreeMap::new();
        for folder in folders {
            if let Some(found) = Installation::at(&folder) {
                installed.entry(found.major).or_insert(found);
            }
        }
        Installations(installed)
    }

    /// The installation of a major version.
    pub fn of(&self, major: u32) -> Result<&Installation, EngineError> {
        self.0.get(&major).ok_or_else(|| {
            let others: Vec<String> = self.0.keys().map(u32::to_string).collect();
            let others = match others.is_empty() {
                true => "no version is".to_owned(),
                false => format!("only {} is", others.join(", ")),
            };
            refused(
                format!("the copy is of PostgreSQL {major}, which is not installed: {others}"),
                hint(major),
            )
        })
    }
}

/// What installs a version.
pub fn hint(major: u32) -> String {
    format!(
        "`apt-get install postgresql-{major}` (or the package of that version elsewhere); \
         `--prepare-only` restores the data without starting it"
    )
}

/// The major version of a data directory, by its `PG_VERSION`.
pub fn major_of_data(data: &Path) -> Result<u32, EngineError> {
    let path = data.join("PG_VERSION");
    let text = fs::read_to_string(&path).map_err(failed(format!("read {}", path.display())))?;
    let major = text.trim().parse().ok().filter(|major| (13..1000).contains(major));
    major.ok_or_else(|| {
        broken(format!("{} names no version from 13 on: {:?}", path.display(), text.trim()))
    })
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`, `postgres (PostgreSQL) 19beta1`.
fn major_of(said: &str) -> Option<u32> {
    let version = said.strip_prefix("postgres (PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        for (said, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 19beta1\n", Some(19)),
            ("postgres (EnterpriseDB) 15\n", None),
            ("", None),
        ] {
            assert_eq!(major_of(said), major, "{said}");
        }
    }

    #[test]
    fn a_version_that_is_not_installed_names_what_installs_it() {
        let nothing = Installations::default();
        let error = nothing.of(15).unwrap_err();
        assert!(error.to_string().contains("15"), "{error}");
        let EngineError::Refused { hint, .. } = error else { panic!("{error}") };
        assert!(hint.contains("apt-get install postgresql-15"), "{hint}");
    }
}
