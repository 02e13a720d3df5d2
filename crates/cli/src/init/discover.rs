//! Looks at an application's folder: which SQLite databases, which media, which configuration.
//!
//! Databases are known by their first bytes, not by their name. The walk is bounded in depth and
//! number, follows no link and does not descend into what can be made again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How deep the walk goes.
const DEPTH: usize = 6;
/// After so many entries the walk stops and says so.
const ENTRIES: usize = 50_000;
/// Folders that hold nothing worth protecting: history, what a build makes, our own state.
const SKIPPED: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".lifeboat",
    "node_modules",
    "target",
    "vendor",
    "venv",
    ".venv",
    "__pycache__",
    ".cache",
    "cache",
    "tmp",
    "temp",
    "dist",
    "build",
    ".next",
    ".idea",
    ".vscode",
];
/// Folders that applications keep uploaded or generated media in.
const MEDIA: &[&str] = &[
    "media",
    "uploads",
    "upload",
    "static",
    "storage",
    "assets",
    "images",
    "photos",
    "files",
    "attachments",
    "avatars",
    "documents",
    "user-content",
    "user_content",
];
/// Folders that hold configuration or certificates.
const CONFIG: &[&str] = &["config", "conf", "etc", "nginx", "certs", "certificates", "ssl", "tls"];
/// The first bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What was found; all paths are relative to the folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// SQLite databases.
    pub databases: Vec<PathBuf>,
    /// Media folders.
    pub media: Vec<PathBuf>,
    /// Configuration files and folders.
    pub config: Vec<PathBuf>,
    /// Everything else at the top, for a folder in which nothing was recognised.
    pub rest: Vec<PathBuf>,
    /// What would be protected if its name could stand in a plan.
    pub unnamed: Vec<PathBuf>,
    /// What could not be read, and whether the walk was cut short.
    pub notes: Vec<String>,
}

impl Found {
    /// A plan is TOML, which is UTF-8: a path that is not cannot stand there.
    fn set_unnamed_apart(&mut self) {
        // Only where nothing else was recognised the rest is wanted.
        let recognised =
            !(self.databases.is_empty() && self.media.is_empty() && self.config.is_empty());
        for list in [&mut self.databases, &mut self.media, &mut self.config] {
            self.unnamed.extend(list.extract_if(.., |path| path.to_str().is_none()));
        }
        let rest: Vec<PathBuf> = self.rest.extract_if(.., |path| path.to_str().is_none()).collect();
        if !recognised {
            self.unnamed.extend(rest);
        }
        self.unnamed.sort();
    }
}

/// Walks `root`; paths in `skip` (the tier, say) are passed over.
///
/// # Errors
/// If `root` itself cannot be read.
pub fn discover(root: &Path, skip: &[PathBuf]) -> io::Result<Found> {
    let mut walk = Walk { root, skip, found: Found::default(), seen: 0 };
    let mut entries = read_sorted(root)?;
    entries.retain(|entry| !walk.passes_over(entry));
    let known = |found: &Found, path: &PathBuf| {
        let under = |list: &[PathBuf]| list.iter().any(|it| it.starts_with(path));
        under(&found.databases) || under(&found.media) || under(&found.config)
    };
    walk.entries(&entries, 0, Place::Anywhere);
    walk.found.rest = entries
        .iter()
        .filter_map(|path| path.strip_prefix(root).ok().map(Path::to_path_buf))
        .filter(|path| !known(&walk.found, path))
        .collect();
    walk.found.set_unnamed_apart();
    if walk.seen >= ENTRIES {
        walk.found.notes.push(format!("looked at the first {ENTRIES} entries only"));
    }
    Ok(walk.found)
}

/// What an enclosing folder was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    Media,
    Config,
}

struct Walk<'a> {
    root: &'a Path,
    skip: &'a [PathBuf],
    found: Found,
    seen: usize,
}

impl Walk<'_> {
    fn passes_over(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.skip.iter().any(|it| it == path)
            || (SKIPPED.contains(&name) && path.is_dir() && !path.is_symlink())
    }

    fn entries(&mut self, entries: &[PathBuf], depth: usize, place: Place) {
        for path in entries {
            self.seen += 1;
            if self.seen >= ENTRIES {
                return;
            }
            match fs::symlink_metadata(path) {
                Ok(meta) if meta.is_dir() => self.folder(path, depth, place),
                Ok(meta) if meta.is_file() => self.file(path, meta.len(), place),
                Ok(_) => {}
                Err(error) => self.cannot(path, &error),
            }
        }
    }

    fn folder(&mut self, path: &Path, depth: usize, place: Place) {
        if depth > 0 && self.passes_over(path) {
            return;
        }
        let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase());
        let name = name.as_deref().unwrap_or_default();
        let below = match place {
            Place::Anywhere if MEDIA.contains(&name) => {
                let relative = self.relative(path);
                self.found.media.push(relative);
                Place::Media
            }
            Place::Anywhere if CONFIG.contains(&name) => {
                let relative = self.relative(path);
                self.found.config.push(relative);
                Place::Config
            }
            other => other,
        };
        if depth + 1 >= DEPTH {
            return;
        }
        match read_sorted(path) {
            Ok(entries) => self.entries(&entries, depth + 1, below),
            Err(error) => self.cannot(path, &error),
        }
    }

    fn file(&mut self, path: &Path, size: u64, place: Place) {
        match is_database(path, size) {
            Ok(true) => {
                let relative = self.relative(path);
                self.found.databases.push(relative);
            }
            Ok(false) if place == Place::Anywhere && is_config(path) => {
                let relative = self.relative(path);
                self.found.config.push(relative);
            }
            Ok(false) => {}
            Err(error) => self.cannot(path, &error),
        }
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root).unwrap_or(path).to_path_buf()
    }

    fn cannot(&mut self, path: &Path, error: &io::Error) {
        self.found.notes.push(format!("cannot read {}: {error}", path.display()));
    }
}

fn read_sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths: BTreeSet<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    Ok(paths.into_iter().collect())
}

/// A SQLite database is at least one page of 512 bytes that begins with the magic.
fn is_database(path: &Path, size: u64) -> io::Result<bool> {
    if size < 512 {
        return Ok(false);
    }
    let mut head = [0u8; 16];
    File::open(path)?.read_exact(&mut head)?;
    Ok(&head == MAGIC)
}

fn is_config(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let known = ["Caddyfile", "Dockerfile", ".env", "nginx.conf", "crontab"];
    // What the tool chain can fetch again is no configuration of the application.
    let locks = ["package-lock.json", "pnpm-lock.yaml", "composer.lock"];
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    known.contains(&name)
        || name.starts_with(".env.")
        || (!locks.contains(&name)
            && ends(&[".env", ".toml", ".yaml", ".yml", ".ini", ".conf", ".cnf", ".service"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, content: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn database() -> Vec<u8> {
        let mut page = vec![0u8; 4096];
        page[..16].copy_from_slice(MAGIC);
        page
    }

    #[test]
    fn databases_are_known_by_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(root, "data/shop", &database());
        put(root, "data/fake.db", &[b'x'; 4096]);
        put(root, "data/short.db", b"SQLite format 3\0");
        put(root, ".git/index.db", &database());
        put(root, ".lifeboat/catalog.db", &database());
        put(root, "backups/old.db", &database());
        let found = discover(root, &[root.join("backups")]).unwrap();
        assert_eq!(found.databases, [PathBuf::from("data/shop")]);
    }

    #[test]
    fn a_name_that_no_plan_can_hold_is_set_apart() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"data/b\xff.db")).to_path_buf();
        put(root, "data/a.db", &database());
        fs::write(root.join(&odd), database()).unwrap();
        let found = discover(root, &[]).unwrap();
        assert_eq!(found.databases, [PathBuf::from("data/a.db")]);
        assert_eq!(found.unnamed, [odd]);
        assert!(found.rest.is_empty());
    }

    #[test]
    fn media_and_configuration_are_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(root, "public/uploads/images/a.png", b"png");
        put(root, "config/app.toml", b"a = 1");
        put(root, "docker-compose.yml", b"services: {}");
        put(root, ".env", b"KEY=1");
        put(root, "src/main.py", b"print()");
        put(root, "node_modules/x/config/y.yaml", b"");
        std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
        let found = discover(root, &[]).unwrap();
        assert_eq!(found.media, [PathBuf::from("public/uploads")]);
        let config = [".env", "config", "docker-compose.yml"].map(PathBuf::from);
        assert_eq!(found.config, config);
        assert_eq!(found.rest, ["loop", "src"].map(PathBuf::from));
        assert!(found.notes.is_empty());
    }
}
