//! Swaps a recovered copy with the live data directory and its tablespaces, and back.
//!
//! The folders are exchanged as those of a file tree are ([`FilesInPlace`]): all or none, with a
//! journal that the next call settles. What is PostgreSQL's own: no server may run on the directory,
//! the copy gets the owner and mode that the live one has, and its links lead to where the live
//! tablespaces are.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::manifest::{
    Content, FilesContent, FilesRoot, Manifest, PostgresContent, Tablespace,
};
use lifeboat_recovery::ports::{EngineError, InPlace, WriterProof};
use lifeboat_vault::Monitor;

use super::layout::running;
use super::{failed, refused};
use crate::files::FilesInPlace;

/// Where the copy of the data directory stands in a restored component.
const DATA: &str = "/pgdata";

/// A live server's data that may be replaced.
pub struct PostgresInPlace {
    files: FilesInPlace,
    roots: Vec<FilesRoot>,
    data: PathBuf,
    tablespaces: Vec<Tablespace>,
}

impl PostgresInPlace {
    /// The data directory and the tablespaces that the capture found.
    ///
    /// # Errors
    /// If it found none: a dump, or a server that does not tell where its data is.
    pub fn new(content: &PostgresContent, monitor: Arc<dyn Monitor>) -> Result<Self, EngineError> {
        let beside = "restore it with `--to DIR`";
        if content.mode == "logical" {
            return Err(refused("a dump does not replace a data directory", beside));
        }
        let Some(data) = &content.data_directory else {
            return Err(refused("the capture does not tell where the data directory is", beside));
        };
        let root = |source: &String, tree: &str| FilesRoot {
            source: source.clone(),
            tree: tree.to_owned(),
        };
        let mut roots = vec![root(data, DATA)];
        roots.extend(content.tablespaces.iter().map(|it| root(&it.location, &it.tree)));
        let data = fs::canonicalize(data).unwrap_or_else(|_| PathBuf::from(data));
        let tablespaces = content.tablespaces.clone();
        Ok(PostgresInPlace { files: FilesInPlace::new(&roots, monitor)?, roots, data, tablespaces })
    }

    /// What may not go with the old state, as of file trees.
    pub fn keep_out(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.files = self.files.keep_out(paths);
        self
    }

    /// What a swap that was cut off has left half done, in words. Changes nothing.
    pub fn unsettled(&self) -> Option<String> {
        self.files.unsettled()
    }

    fn server(&self) -> Option<String> {
        running(&self.data).map(|pid| format!("postgres (process {pid})"))
    }

    fn prove_stopped(&self) -> Result<(), EngineError> {
        match self.server() {
            None => Ok(()),
            Some(who) => Err(refused(
                format!("{who} runs on {}", self.data.display()),
                "stop the server, then run the same command again",
            )),
        }
    }

    /// The copy as the live directory is: owner, mode, links.
    fn dress(&self, copy: &Path) -> io::Result<()> {
        let staged = copy.join(DATA.trim_start_matches('/'));
        if let Ok(live) = fs::metadata(&self.data) {
            for root in &self.roots {
                give(&copy.join(root.tree.trim_start_matches('/')), live.uid(), live.gid())?;
            }
            fs::set_permissions(&staged, fs::Permissions::from_mode(live.mode() & 0o7777))?;
        }
        let places = self.tablespaces.iter().map(|it| (it, PathBuf::from(&it.location)));
        relink(&staged, places)
    }
}

/// Gives a tree to a user. Links are not followed.
fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if (found.uid(), found.gid()) != (user, group) {
        lchown(path, Some(user), Some(group))?;
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}

fn relink<'a>(
    data: &Path,
    places: impl Iterator<Item = (&'a Tablespace, PathBuf)>,
) -> io::Result<()> {
    for (tablespace, place) in places {
        let link = data.join("pg_tblspc").join(tablespace.oid.to_string());
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::os::unix::fs::symlink(place, link)?,
        }
    }
    Ok(())
}

impl InPlace for PostgresInPlace {
    fn writers(&self) -> Result<WriterProof, EngineError> {
        match self.server() {
            Some(who) => Ok(WriterProof::Running(vec![who])),
            None => self.files.writers(),
        }
    }

    fn staging_parent(&self) -> PathBuf {
        self.files.staging_parent()
    }

    fn swap(
        &self,
        copy: &Path,
        manifest: &Manifest,
        keep_as: &str,
    ) -> Result<Vec<PathBuf>, EngineError> {
        self.prove_stopped()?;
        let data = copy.join(DATA.trim_start_matches('/'));
        if data.join("backup_label").exists() || !data.join("global/pg_control").exists() {
            return Err(refused(
                "the copy was not recovered: it is no data directory to go on with",
                "restore it with `--to DIR` and look at it",
            ));
        }
        self.dress(copy)
            .map_err(failed("give the copy the live directory's owner, mode and links"))?;
        let as_files = Manifest { content: self.content(), ..manifest.clone() };
        let swapped = self.files.swap(copy, &as_files, keep_as);
        if swapped.is_err() && data.is_dir() {
            // A copy beside the live data must not write to the live tablespaces.
            let beside = |it: &Tablespace| Path::new("../../tablespaces").join(it.oid.to_string());
            let places = self.tablespaces.iter().map(|it| (it, beside(it)));
            relink(&data, places).map_err(failed("take the copy's links from the live data"))?;
        }
        swapped
    }

    fn live(&self) -> Result<String, EngineError> {
        self.files.live()
    }

    fn kept(&self, keep_as: &str) -> Vec<PathBuf> {
        self.files.kept(keep_as)
    }

    fn mend(&self) -> Result<(), EngineError> {
        self.prove_stopped()?;
        self.files.mend()
    }

    fn undo(&self, kept: &[PathBuf]) -> Result<(), EngineError> {
        self.prove_stopped()?;
        self.files.undo(kept)
    }
}

impl PostgresInPlace {
    /// The folders as a file tree's manifest names them.
    fn content(&self) -> Content {
        Content::Files(FilesContent {
            roots: self.roots.clone(),
            files: 0,
            folders: 0,
            others: 0,
            bytes: 0,
            allocated: None,
            fingerprint: String::new(),
            problems: Vec::new(),
        })
    }
}
