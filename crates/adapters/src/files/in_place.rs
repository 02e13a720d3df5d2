//! Swaps a verified copy of a file tree with the live one, and back.
//!
//! Before anything is touched, nobody may have a file below the roots open for writing, everything
//! that takes a live root's place must be there, and it must be on the root's file system: for a
//! root on another one than the staging folder the copy is brought beside it first. Then root by
//! root is exchanged ([`exchange`](super::exchange)); if one fails, those before it are put back.
//! After the last, writers are looked for once more in the old state: whoever opened a file in
//! between would write into what is kept; then, too, everything is put back.
//!
//! The old state is kept as `NAME.before-KEEPAS` beside each root (in it, if it is a mount point).
//! A copy that [`InPlace::undo`] takes away is kept as `NAME.undone-KEEPAS`: somebody may have
//! written to it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use lifeboat_model::manifest::{Content, FilesRoot, Manifest};
use lifeboat_recovery::ports::{EngineError, InPlace, WriterProof};
use lifeboat_vault::Monitor;

use super::exchange::{Step, exists, folder, is_mount_point};
use super::renames::{FileSystem, Renames};
use super::writers;
use crate::runner::DEFAULT_PATH;

/// Stands between the name of a root and what its old state is kept as.
const BEFORE: &str = ".before-";
/// Stands between the name of a root and the tail of a copy that was taken away again.
const UNDONE: &str = ".undone-";
/// Stands in the name of a copy that is being brought to another file system.
const PARTIAL: &str = ".lifeboat-partial-";

/// Live file trees that may be replaced.
pub struct FilesInPlace {
    roots: Vec<Target>,
    monitor: Arc<dyn Monitor>,
    renames: Box<dyn Renames>,
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> EngineError {
    let what = format!("cannot {}", what.into());
    |source| EngineError::Failed { what, source: Some(source.into()) }
}

fn refused(what: String, hint: &str) -> EngineError {
    EngineError::Refused { what, hint: hint.to_owned() }
}

impl InPlace for FilesInPlace {
    fn writers(&self) -> Result<WriterProof, EngineError> {
        writers::prove(&self.live())
    }

    /// The folder of the first root, or the root itself where it is a mount point.
    fn staging_parent(&self) -> PathBuf {
        let Some(first) = self.roots.first() else { return PathBuf::from("/") };
        if is_mount_point(&first.live) {
            return first.live.clone();
        }
        // Of a whole application that is gone, the nearest folder that is left.
        let there = first.live.ancestors().skip(1).find(|folder| folder.is_dir());
        there.unwrap_or(Path::new("/")).to_owned()
    }

    fn swap(
        &self,
        copy: &Path,
        manifest: &Manifest,
        keep_as: &str,
    ) -> Result<Vec<PathBuf>, EngineError> {
        prove_stopped(&self.live())?;
        let mut steps = self.plan(copy, manifest, keep_as)?;
        let mut brought = Brought::default();
        for step in &mut steps {
            brought.bring(step)?;
        }
        sync_all(&steps).map_err(failed("make the copy durable"))?;
        self.carry_out(&steps)?;
        Ok(steps.into_iter().map(|step| step.kept).filter(|kept| kept.exists()).collect())
    }

    fn undo(&self, kept: &[PathBuf]) -> Result<(), EngineError> {
        prove_stopped(&self.live())?;
        let tail = kept.first().map_or_else(|| "swap".to_owned(), |path| tail(path));
        let aside = self.unused_tail(UNDONE, &tail);
        for root in self.roots.iter().rev() {
            let step = Step {
                renames: &*self.renames,
                live: root.live.clone(),
                staged: place(&root.live, UNDONE, &aside),
                kept: place(&root.live, BEFORE, &tail),
            };
            let (live, staged) = (step.live.display(), step.staged.display());
            step.backward().map_err(failed(format!("put the former state of {live} back")))?;
            self.monitor.note(&format!("the restored copy of {live} is kept in {staged}"));
        }
        Ok(())
    }
}

impl FilesInPlace {
    /// The live trees of a manifest, which may be missing; symbolic links to them are followed.
    pub fn new(roots: &[FilesRoot], monitor: Arc<dyn Monitor>) -> Result<Self, EngineError> {
        Self::with_renames(roots, monitor, Box::new(FileSystem))
    }

    /// The same with the file system behind another front.
    pub fn with_renames(
        roots: &[FilesRoot],
        monitor: Arc<dyn Monitor>,
        renames: Box<dyn Renames>,
    ) -> Result<Self, EngineError> {
        let roots = roots.iter().map(Target::of).collect::<Result<_, _>>()?;
        Ok(FilesInPlace { roots, monitor, renames })
    }

    fn live(&self) -> Vec<PathBuf> {
        self.roots.iter().map(|root| root.live.clone()).collect()
    }

    /// What goes where. Nothing has been touched yet.
    fn plan(
        &self,
        copy: &Path,
        manifest: &Manifest,
        keep_as: &str,
    ) -> Result<Vec<Step<'_>>, EngineError> {
        let captured = match &manifest.content {
            Content::Files(content) => content.roots.as_slice(),
            Content::Sqlite(_) => &[],
        };
        let tail = self.unused_tail(BEFORE, &keep_as.replace('/', "_"));
        let mut steps = Vec::new();
        for root in &self.roots {
            let staged = copy.join(&root.tree);
            let known = captured.iter().any(|known| relative(&known.tree) == root.tree);
            if !known || !exists(&staged).map_err(failed("look at the copy"))? {
                return Err(refused(
                    format!("the restored copy has nothing for {}", root.live.display()),
                    "restore beside it with `lifeboat restore … --to DIR`",
                ));
            }
            let (live, kept) = (root.live.clone(), place(&root.live, BEFORE, &tail));
            steps.push(Step { renames: &*self.renames, live, staged, kept });
        }
        match steps.is_empty() {
            true => Err(refused("the snapshot names no folder".to_owned(), "`lifeboat list`")),
            false => Ok(steps),
        }
    }

    /// All steps or none.
    fn carry_out(&self, steps: &[Step<'_>]) -> Result<(), EngineError> {
        for (done, step) in steps.iter().enumerate() {
            if let Err(error) = step.forward() {
                self.take_back(&steps[..done])?;
                let what = format!("put the copy of {} in place", step.live.display());
                return Err(failed(what)(error));
            }
        }
        let kept: Vec<_> = steps.iter().map(|step| step.kept.clone()).collect();
        if let Err(error) = prove_stopped(&kept) {
            self.take_back(steps)?;
            return Err(error);
        }
        Ok(())
    }

    fn take_back(&self, steps: &[Step<'_>]) -> Result<(), EngineError> {
        for step in steps.iter().rev() {
            step.backward().map_err(failed(format!(
                "put the former state of {} back; it is in {}",
                step.live.display(),
                step.kept.display()
            )))?;
        }
        Ok(())
    }

    /// `tail`, or with a number, so that no root has anything of that name yet.
    fn unused_tail(&self, word: &str, tail: &str) -> String {
        let free = |tail: &String| {
            self.roots.iter().all(|root| place(&root.live, word, tail).symlink_metadata().is_err())
        };
        let numbered = (2..).map(|number: u32| format!("{tail}-{number}"));
        std::iter::once(tail.to_owned()).chain(numbered).find(free).unwrap_or_default()
    }
}

/// A live tree and where it stands in a snapshot.
#[derive(Debug)]
struct Target {
    live: PathBuf,
    tree: PathBuf,
}

impl Target {
    fn of(root: &FilesRoot) -> Result<Target, EngineError> {
        let named = Path::new(&root.source);
        let live = match named.canonicalize() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => named.to_owned(),
            other => other.map_err(failed(format!("find {}", named.display())))?,
        };
        let tree = relative(&root.tree);
        let plain = tree.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || live.file_name().is_none() || !live.is_absolute() {
            return Err(refused(
                format!("{} cannot be replaced as a whole", root.source),
                "restore it beside the live data with `lifeboat restore … --to DIR`",
            ));
        }
        Ok(Target { live, tree })
    }
}

/// A path of a snapshot's tree without the leading slash.
fn relative(tree: &str) -> PathBuf {
    PathBuf::from(tree.trim_start_matches('/'))
}

/// `NAME.WORD-TAIL` beside a root, or in it if it is a mount point.
fn place(live: &Path, word: &str, tail: &str) -> PathBuf {
    let mut name = OsString::from(live.file_name().unwrap_or_default());
    name.push(word);
    name.push(tail);
    if is_mount_point(live) { live.join(name) } else { folder(live).join(name) }
}

/// What the old state was kept as.
fn tail(kept: &Path) -> String {
    let name = kept.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once(BEFORE).map_or("swap", |(_, tail)| tail).to_owned()
}

fn prove_stopped(trees: &[PathBuf]) -> Result<(), EngineError> {
    match writers::prove(trees)? {
        WriterProof::Stopped => Ok(()),
        WriterProof::Running(who) => {
            Err(refused(who.join(", "), "stop the application, then run the same command again"))
        }
    }
}

fn sync_all(steps: &[Step<'_>]) -> io::Result<()> {
    for step in steps {
        // The file system as a whole: a tree has thousands of files, and the renames come after.
        rustix::fs::syncfs(File::open(folder(&step.staged))?)?;
    }
    Ok(())
}

/// Copies that were brought to the file system of their root; those that were not used go with it.
#[derive(Debug, Default)]
struct Brought(Vec<PathBuf>);

impl Brought {
    fn bring(&mut self, step: &mut Step<'_>) -> Result<(), EngineError> {
        let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev());
        let look = |path: &Path| failed(format!("look at {}", path.display()));
        let into = if is_mount_point(&step.live) {
            step.live.clone()
        } else {
            let there = step.live.ancestors().skip(1).find(|folder| folder.is_dir());
            there.unwrap_or(Path::new("/")).to_owned()
        };
        let home = device(&into).map_err(look(&into))?;
        if device(&step.staged).map_err(look(&step.staged))? == home {
            return Ok(());
        }
        let mut name = OsString::from(step.live.file_name().unwrap_or_default());
        name.push(format!("{PARTIAL}{}", std::process::id()));
        let beside = into.join(name);
        self.0.push(beside.clone());
        copy_tree(&step.staged, &beside)
            .map_err(failed(format!("bring the copy to {}", into.display())))?;
        step.staged = beside;
        Ok(())
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        for path in &self.0 {
            // Gone if it was used. Its name tells what it is if it cannot be removed.
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        }
    }
}

/// A copy with all metadata, links and holes, by the system's own tool.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let done = Command::new("/bin/cp")
        .args(["-a", "--sparse=auto", "-T", "--"])
        .args([from, to])
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .stdin(Stdio::null())
        .output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(said.lines().next().unwrap_or("cp failed").to_owned()))
}
