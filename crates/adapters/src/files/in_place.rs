//! Swaps a verified copy of a file tree with the live one, and back.
//!
//! Before anything is touched, nobody may have a file below the roots open for writing, everything
//! that takes a live root's place must be there, and it must be on the root's file system: for a
//! root on another one than the staging folder the copy is brought beside it first. Then root by
//! root is exchanged ([`exchange`](super::exchange)); if one fails, those before it are put back.
//! What is to be done is written down first ([`journal`](super::journal)), and the next call
//! settles what a killed process left. After the last, writers are looked for once more in the old state: whoever opened a file in
//! between would write into what is kept; then, too, everything is put back.
//!
//! The old state is kept as `NAME.before-KEEPAS` beside each root (in it, if it is a mount point).
//! A copy that [`InPlace::undo`] takes away is kept as `NAME.undone-KEEPAS`: somebody may have
//! written to it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::manifest::{Content, FilesRoot, Manifest};
use lifeboat_recovery::ports::{EngineError, InPlace, WriterProof};
use lifeboat_vault::Monitor;

use super::bring::Brought;
use super::exchange::{Entry, Step, exists, folder, inode, is_mount_point};
use super::journal;
use super::left_out;
use super::renames::{FileSystem, Renames};
use super::rules::Rules;
use super::writers;

/// Stands between the name of a root and what its old state is kept as.
const BEFORE: &str = ".before-";
/// What to do where the live data cannot be replaced as a whole.
const BESIDE: &str = "restore it beside the live data with `lifeboat restore … --to DIR`";
/// Stands between the name of a root and the tail of a copy that was taken away again.
const UNDONE: &str = ".undone-";

/// Live file trees that may be replaced.
pub struct FilesInPlace {
    roots: Vec<Target>,
    monitor: Arc<dyn Monitor>,
    renames: Box<dyn Renames>,
    rules: Rules,
    keep_out: Vec<PathBuf>,
}

/// Makes an error of a file system call out of what was tried, an infinitive.
pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> EngineError {
    let what = format!("cannot {}", what.into());
    |source| EngineError::Failed { what, source: Some(source.into()) }
}

fn refused(what: String, hint: &str) -> EngineError {
    EngineError::Refused { what, hint: hint.to_owned() }
}

impl InPlace for FilesInPlace {
    /// With nobody writing, what an earlier swap left half done is settled.
    fn writers(&self) -> Result<WriterProof, EngineError> {
        let proof = writers::prove(&self.live())?;
        if proof == WriterProof::Stopped {
            self.settle()?;
            self.refuse_company()?;
        }
        Ok(proof)
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
        self.settle()?;
        self.refuse_company()?;
        let mut brought = Brought::default();
        let mut staged = Vec::new();
        for (root, copy) in self.roots.iter().zip(self.staged(copy, manifest)?) {
            staged.push(brought.bring(&root.live, copy)?);
        }
        let steps = self.plan(&staged, &keep_as.replace('/', "_"))?;
        sync_all(&staged).map_err(failed("make the copy durable"))?;
        journal::write(&*self.renames, &steps).map_err(failed("write down what is to be done"))?;
        self.carry_out(&steps, &staged)?;
        self.forget(&steps)?;
        Ok(steps.into_iter().map(|step| step.kept).filter(|kept| kept.exists()).collect())
    }

    fn live(&self) -> Result<String, EngineError> {
        let words = self
            .roots
            .iter()
            .map(|root| root.word().map_err(failed(format!("look at {}", root.live.display()))));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        Ok(if words.iter().all(String::is_empty) { String::new() } else { words.join(" ") })
    }

    fn kept(&self, keep_as: &str) -> Vec<PathBuf> {
        let tail = keep_as.replace('/', "_");
        let kept = self.roots.iter().map(|root| place(&root.live, BEFORE, &tail));
        kept.filter(|kept| kept.symlink_metadata().is_ok()).collect()
    }

    fn mend(&self) -> Result<(), EngineError> {
        prove_stopped(&self.live())?;
        self.settle()
    }

    fn undo(&self, kept: &[PathBuf]) -> Result<(), EngineError> {
        prove_stopped(&self.live())?;
        let tail = kept.first().map_or_else(|| "swap".to_owned(), |path| tail(path));
        let aside = self.unused_tail(&[UNDONE], &tail);
        let mut steps = Vec::new();
        for root in &self.roots {
            let mut step = root.step(&tail, &aside);
            step.carried = self.carried(&step, &step.live, &step.kept)?;
            let look = failed(format!("look at {}", root.live.display()));
            steps.push(step.undoing().map_err(look)?);
        }
        journal::write(&*self.renames, &steps).map_err(failed("write down what is to be done"))?;
        self.take_back(&steps, &spares(&steps))?;
        for step in steps.iter().filter(|step| step.spare.exists()) {
            let (live, spare) = (step.live.display(), step.spare.display());
            self.monitor.note(&format!("the restored copy of {live} is kept in {spare}"));
        }
        self.forget(&steps)
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
        let roots = roots.iter().map(Target::of).collect::<Result<Vec<_>, _>>()?;
        let rules = rules(&roots, &[], &[])?;
        Ok(FilesInPlace { roots, monitor, renames, rules, keep_out: Vec::new() })
    }

    /// What captures leave out, by the component's gitignore patterns: no copy has it, so a swap
    /// carries it over from the old state to the new one.
    pub fn leaving_out(
        mut self,
        include: &[String],
        exclude: &[String],
    ) -> Result<Self, EngineError> {
        self.rules = rules(&self.roots, include, exclude)?;
        Ok(self)
    }

    /// What may not go with an old state: tiers, the state folder, the plan, key files, the sources
    /// of other components. With one of them below a root, the swap is refused.
    pub fn keep_out(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.keep_out.extend(paths);
        self
    }

    fn live(&self) -> Vec<PathBuf> {
        self.roots.iter().map(|root| root.live.clone()).collect()
    }

    /// Where the copy of each root is.
    fn staged(&self, copy: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>, EngineError> {
        let captured = match &manifest.content {
            Content::Files(content) => content.roots.as_slice(),
            _ => &[],
        };
        if self.roots.is_empty() {
            return Err(refused("the snapshot names no folder".to_owned(), "`lifeboat list`"));
        }
        let staged = |root: &Target| {
            let staged = copy.join(&root.tree);
            let known = captured.iter().any(|known| relative(&known.tree) == root.tree);
            if known && exists(&staged).map_err(failed("look at the copy"))? {
                return Ok(staged);
            }
            let live = root.live.display();
            Err(refused(format!("the restored copy has nothing for {live}"), BESIDE))
        };
        self.roots.iter().map(staged).collect()
    }

    /// What goes where. Nothing has been touched yet.
    fn plan(&self, staged: &[PathBuf], tail: &str) -> Result<Vec<Step>, EngineError> {
        let tail = self.unused_tail(&[BEFORE, UNDONE], tail);
        let mut steps = Vec::new();
        for (root, staged) in self.roots.iter().zip(staged) {
            let mut step = root.step(&tail, &tail);
            step.carried = self.carried(&step, &step.live, staged)?;
            let look = failed(format!("look at {}", root.live.display()));
            steps.push(step.swapping(staged).map_err(look)?);
        }
        Ok(steps)
    }

    /// What captures leave out and `to` has a place for.
    fn carried(&self, step: &Step, from: &Path, to: &Path) -> Result<Vec<Entry>, EngineError> {
        let look = |path: &Path| failed(format!("look at {}", path.display()));
        let mut carried = Vec::new();
        for entry in left_out::look(from, &self.rules).map_err(look(from))?.entries {
            let place = to.join(&entry.path);
            let home = fs::symlink_metadata(folder(&place)).is_ok_and(|meta| meta.is_dir());
            let stays = step.within && entry.path.components().count() == 1;
            if !exists(&place).map_err(look(&place))? && (home || stays) {
                carried.push(entry);
                continue;
            }
            let path = from.join(&entry.path);
            self.monitor.note(&format!(
                "{}, which captures leave out, has no place in the other state and goes with the \
                 folder that it is in",
                path.display()
            ));
        }
        Ok(carried)
    }

    /// Refuses if something is below a root that must not leave with it.
    fn refuse_company(&self) -> Result<(), EngineError> {
        for root in &self.roots {
            let live = root.live.display();
            let inside = |path: &&PathBuf| resolve(path).starts_with(&root.live);
            if let Some(path) = self.keep_out.iter().find(inside) {
                let what = format!(
                    "{} is below {live}, which would be replaced, and is no part of the copy",
                    path.display()
                );
                return Err(refused(what, BESIDE));
            }
            let found = left_out::look(&root.live, &self.rules);
            let found = found.map_err(failed(format!("look through {live}")))?;
            if let Some(mount) = found.mounts.first() {
                let what = format!(
                    "another file system is mounted at {}, below {live}, which would be replaced",
                    mount.display()
                );
                return Err(refused(what, BESIDE));
            }
        }
        Ok(())
    }

    fn forget(&self, steps: &[Step]) -> Result<(), EngineError> {
        journal::remove(&*self.renames, steps)
            .map_err(failed("remove the note of what was to be done"))
    }

    /// All steps or none.
    fn carry_out(&self, steps: &[Step], staged: &[PathBuf]) -> Result<(), EngineError> {
        let back = |done: usize| {
            self.take_back(&steps[..done], &staged[..done])?;
            self.forget(steps)
        };
        for (at, (step, staged)) in steps.iter().zip(staged).enumerate() {
            if let Err(error) = step.forward(&*self.renames, staged) {
                back(at + 1)?;
                let what = format!("put the copy of {} in place", step.live.display());
                return Err(failed(what)(error));
            }
        }
        let kept: Vec<_> = steps.iter().map(|step| step.kept.clone()).collect();
        if let Err(error) = prove_stopped(&kept) {
            back(steps.len())?;
            return Err(error);
        }
        Ok(())
    }

    /// The journals stay if this fails, so that it can be tried again.
    fn take_back(&self, steps: &[Step], aside: &[PathBuf]) -> Result<(), EngineError> {
        for (step, aside) in steps.iter().zip(aside).rev() {
            step.backward(&*self.renames, aside).map_err(failed(format!(
                "put the former state of {} back; look for it in {}",
                step.live.display(),
                step.kept.display()
            )))?;
        }
        Ok(())
    }

    /// What a swap that was cut off has left half done, in words. Changes nothing.
    pub fn unsettled(&self) -> Option<String> {
        let left = |root: &&Target| journal::path(&root.live).symlink_metadata().is_ok();
        let root = self.roots.iter().find(left)?;
        Some(format!("a restore in place of {} was cut off", root.live.display()))
    }

    /// Settles it, if nobody writes, and says what was done; if somebody does, an error unless one
    /// state is whole.
    pub fn tidy(&self) -> Result<Vec<String>, EngineError> {
        let Some(left) = self.unsettled() else { return Ok(Vec::new()) };
        match prove_stopped(&self.live()) {
            Ok(()) => self.settled(),
            Err(error) if self.is_whole()? => {
                Ok(vec![format!("{left}; what it left is removed once nobody writes ({error})")])
            }
            Err(error) => Err(error),
        }
    }

    fn is_whole(&self) -> Result<bool, EngineError> {
        let whole = |whole: bool, root: &Target| {
            let steps = journal::read(&root.live)?;
            Ok(whole && steps.as_deref().map_or(Ok(true), journal::is_whole)?)
        };
        let whole = self.roots.iter().try_fold(true, whole);
        whole.map_err(failed("read the note of what was to be done"))
    }

    fn settle(&self) -> Result<(), EngineError> {
        for line in self.settled()? {
            self.monitor.note(&line);
        }
        Ok(())
    }

    /// After a swap that was cut off the former state is put back, unless all was done.
    fn settled(&self) -> Result<Vec<String>, EngineError> {
        let mut said = Vec::new();
        for root in &self.roots {
            let path = journal::path(&root.live);
            let read = journal::read(&root.live);
            let Some(steps) = read.map_err(failed(format!("read {}", path.display())))? else {
                continue;
            };
            let places = steps.iter().flat_map(|step| [step.live.clone(), step.kept.clone()]);
            prove_stopped(&places.collect::<Vec<_>>())?;
            let live = root.live.display();
            let look = || failed(format!("look at {live}"));
            let undone = |whole: bool, step: &Step| Ok(whole && step.is_done()?);
            let found = if steps.iter().try_fold(true, undone).map_err(look())? {
                "had been finished"
            } else {
                self.take_back(&steps, &spares(&steps))?;
                "was undone; the former state is in place"
            };
            self.forget(&steps)?;
            said.push(format!("a swap of {live} that was cut off {found}"));
        }
        Ok(said)
    }

    /// `tail`, or with a number, so that no root has anything of those names yet.
    fn unused_tail(&self, words: &[&str], tail: &str) -> String {
        let free = |tail: &String| {
            let mut places = self
                .roots
                .iter()
                .flat_map(|root| words.iter().map(|word| place(&root.live, word, tail)));
            places.all(|path| path.symlink_metadata().is_err())
        };
        let numbered = (2..).map(|number: u32| format!("{tail}-{number}"));
        std::iter::once(tail.to_owned()).chain(numbered).find(free).unwrap_or_default()
    }
}

fn rules(roots: &[Target], include: &[String], exclude: &[String]) -> Result<Rules, EngineError> {
    let live = roots.iter().map(|root| root.live.clone()).collect();
    Rules::new(live, include, exclude, Vec::new())
        .map_err(|error| refused(error.to_string(), "mend `include` or `exclude` of the component"))
}

fn spares(steps: &[Step]) -> Vec<PathBuf> {
    steps.iter().map(|step| step.spare.clone()).collect()
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
        let live = resolve(named);
        let tree = relative(&root.tree);
        let plain = tree.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || live.file_name().is_none() || !live.is_absolute() {
            return Err(refused(format!("{} cannot be replaced as a whole", root.source), BESIDE));
        }
        Ok(Target { live, tree })
    }

    /// What is live: the root by its inode. A mount point stays; what a swap has kept in it tells.
    fn word(&self) -> io::Result<String> {
        let Some(root) = inode(&self.live)? else { return Ok(String::new()) };
        if !is_mount_point(&self.live) {
            return Ok(root.to_string());
        }
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.live)? {
            let name = entry?.file_name();
            if name.to_string_lossy().contains(BEFORE) {
                kept.push(name.to_string_lossy().into_owned());
            }
        }
        kept.sort();
        Ok(format!("{root}:{}", hex::encode(kept.join("/"))))
    }

    fn step(&self, before: &str, undone: &str) -> Step {
        Step {
            live: self.live.clone(),
            kept: place(&self.live, BEFORE, before),
            spare: place(&self.live, UNDONE, undone),
            within: is_mount_point(&self.live),
            old: Vec::new(),
            new: Vec::new(),
            carried: Vec::new(),
        }
    }
}

/// Where a path leads to, also if nothing is there (any more).
pub(super) fn resolve(named: &Path) -> PathBuf {
    let mut path = named.to_owned();
    for _ in 0..40 {
        if let Ok(found) = path.canonicalize() {
            return found;
        }
        let home = folder(&path).canonicalize().unwrap_or_else(|_| folder(&path).to_owned());
        match fs::read_link(&path) {
            Ok(target) => path = home.join(target),
            Err(_) => return home.join(path.file_name().unwrap_or_default()),
        }
    }
    named.to_owned()
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

fn sync_all(staged: &[PathBuf]) -> io::Result<()> {
    for path in staged {
        // The file system as a whole: a tree has thousands of files, and the renames come after.
        rustix::fs::syncfs(File::open(folder(path))?)?;
    }
    Ok(())
}
