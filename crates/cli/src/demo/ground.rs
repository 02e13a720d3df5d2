//! The folder of a demonstration: a place of its own, removed afterwards but for the page.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lifeboat_model::exit::Exit;

use crate::args::Demo;
use crate::fault::{Fault, Outcome};

/// The plan of the example application.
pub const PLAN: &str = include_str!("plan.toml");

/// Where everything of a demonstration is.
#[derive(Debug)]
pub struct Ground {
    folder: PathBuf,
    /// Leave everything where it is.
    pub keep: bool,
}

impl Ground {
    /// Makes the folder, the key and the plan.
    ///
    /// # Errors
    /// Exit 4 if the folder has content; exit 1 if it cannot be written.
    pub fn make(args: &Demo, plan: &str) -> Outcome<Ground> {
        let folder = match &args.dir {
            Some(dir) => empty(dir)?,
            None => tempfile::Builder::new()
                .prefix("lifeboat-demo-")
                .tempdir()
                .map_err(|error| {
                    Fault::caused(Exit::Failed, "cannot make a temporary folder", &error)
                        .hint("`--dir DIR` names another place")
                })?
                .keep(),
        };
        let ground = Ground { folder, keep: args.keep };
        let key = crate::key::generate()?;
        ground.secret("vault.key", &key)?;
        let file = ground.plan();
        fs::write(&file, plan).map_err(|error| cannot(&file, &error))?;
        Ok(ground)
    }

    /// Writes a file that nobody else may read.
    pub fn secret(&self, name: &str, body: &str) -> Outcome<()> {
        let path = self.path(name);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(body.as_bytes()))
            .map_err(|error| cannot(&path, &error))
    }

    /// A path in it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.join(below)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The plan file.
    pub fn plan(&self) -> PathBuf {
        self.path("lifeboat.toml")
    }

    /// The application's folder.
    pub fn shop(&self) -> PathBuf {
        self.path("shop")
    }

    /// The page.
    pub fn page(&self) -> PathBuf {
        self.path("lifeboat-demo.html")
    }
}

impl Drop for Ground {
    /// Removes what it made, and only that, unless it is kept. The page stays if it was written.
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for folder in ["shop", "server", "restored", "tier", ".lifeboat"] {
            let _ = fs::remove_dir_all(self.path(folder));
        }
        for file in ["vault.key", "lifeboat.toml", "accounts.dsn"] {
            let _ = fs::remove_file(self.path(file));
        }
        if !self.page().exists() {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

fn empty(dir: &Path) -> Outcome<PathBuf> {
    fs::create_dir_all(dir).map_err(|error| cannot(dir, &error))?;
    let dir = fs::canonicalize(dir).map_err(|error| cannot(dir, &error))?;
    let mut entries = fs::read_dir(&dir).map_err(|error| cannot(&dir, &error))?;
    if entries.next().is_some() {
        return Err(Fault::refused(format!("{} is not empty", dir.display()))
            .hint("the demonstration wants a folder of its own"));
    }
    Ok(dir)
}

/// A file of the demonstration that cannot be written.
pub fn cannot(path: &Path, error: &std::io::Error) -> Fault {
    Fault::caused(Exit::Failed, format!("cannot write {}", path.display()), error)
}
