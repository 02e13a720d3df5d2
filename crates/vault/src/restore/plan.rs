//! What is to be restored: folders at once, files in windows of bounded size.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::existing::{self, Aside};
use super::files::{Settled, TargetFile};
use super::finish::Link;
use super::{Existing, RestoreOptions, RestoreReport, compare, fetch};
use crate::backup::Problem;
use crate::error::{Error, NO_PATH, Result};
use crate::id::Id;
use crate::meta;
use crate::monitor::Stage;
use crate::node::{Node, NodeKind, Tree};
use crate::parallel;
use crate::snapshot::Snapshot;
use crate::vault::Vault;

/// Trees that are loaded together.
const TREES_AT_ONCE: usize = 64;
/// Files, and blobs in files, after which the gathered files are written.
const FILES_A_WINDOW: usize = 1 << 15;
const BLOBS_A_WINDOW: usize = 1 << 18;

/// One restore on its way.
pub(super) struct Restore<'a> {
    pub(super) vault: &'a Vault,
    pub(super) options: &'a RestoreOptions,
    pub(super) target: &'a Path,
    pub(super) report: RestoreReport,
    /// Where what is not of the snapshot goes, in a target that held something.
    pub(super) aside: Option<Aside>,
    /// Restored folders, each after the one above it.
    pub(super) folders: Vec<(PathBuf, Node)>,
    pub(super) links: Vec<Link>,
    /// The first path of each file with several hard links.
    firsts: HashMap<(u64, u64), (PathBuf, Node)>,
    window: Vec<TargetFile>,
    window_blobs: usize,
    /// The wanted path's names, of which each folder on the way must be the next.
    wanted: Vec<OsString>,
    wanted_found: bool,
    planned: (u64, u64),
}

/// A folder whose tree is to be read: its path below the target, and its depth.
pub(super) struct Pending {
    pub(super) below: PathBuf,
    tree: Id,
    depth: usize,
    /// The folder was there before.
    stood: bool,
}

impl<'a> Restore<'a> {
    pub(super) fn new(vault: &'a Vault, options: &'a RestoreOptions, target: &'a Path) -> Self {
        Self {
            vault,
            options,
            target,
            report: RestoreReport::default(),
            aside: match &options.existing {
                Existing::Refused => None,
                Existing::Compared { aside } => Some(Aside::new(target, aside)),
            },
            folders: Vec::new(),
            links: Vec::new(),
            firsts: HashMap::new(),
            window: Vec::new(),
            window_blobs: 0,
            wanted: Vec::new(),
            wanted_found: false,
            planned: (0, 0),
        }
    }

    /// Restores everything but hard links and the folders' metadata.
    pub(super) fn run(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.wanted = wanted_names(self.options.subpath.as_deref())?;
        let stood = self.aside.is_some();
        let mut stack =
            vec![Pending { below: PathBuf::new(), tree: snapshot.tree, depth: 0, stood }];
        while !stack.is_empty() {
            let batch = stack.split_off(stack.len().saturating_sub(TREES_AT_ONCE));
            let threads = parallel::io_threads().min(batch.len());
            let trees = parallel::map(&batch, threads, |pending| {
                self.vault.stop_if_cancelled()?;
                match self.vault.tree(&pending.tree) {
                    Ok(tree) => Ok(Ok(tree)),
                    Err(error @ Error::Damaged { .. }) => Ok(Err(error)),
                    Err(error) => Err(error),
                }
            })?;
            for (pending, tree) in batch.iter().zip(trees) {
                match tree {
                    Ok(tree) => self.folder(pending, tree, &mut stack)?,
                    Err(error) => {
                        let path = self.target.join(&pending.below);
                        self.damaged(&path, format!("what is in it is lost: {error}"));
                    }
                }
            }
        }
        self.write_window()?;
        if !self.wanted_found && !self.wanted.is_empty() && self.report.damaged.is_empty() {
            let name = self.options.subpath.as_ref().map(|path| path.display().to_string());
            let name = name.unwrap_or_default();
            return Err(Error::NotFound { what: NO_PATH, name });
        }
        Ok(())
    }

    fn folder(&mut self, pending: &Pending, tree: Tree, stack: &mut Vec<Pending>) -> Result<()> {
        let folder = self.target.join(&pending.below);
        let there = existing::names(&folder, pending.stood)
            .map_err(|error| Error::io("read", &folder, error))?;
        // On the way to the wanted path all others are left alone.
        if pending.depth >= self.wanted.len() {
            self.set_extras_aside(pending, &tree, &there)?;
        }
        for node in tree.nodes {
            let depth = pending.depth + 1;
            if self.wanted.get(pending.depth).is_some_and(|wanted| *wanted != node.name) {
                continue;
            }
            self.wanted_found |= depth >= self.wanted.len();
            let below = pending.below.join(&node.name);
            let is_folder = node.kind == NodeKind::Dir;
            if let Some(filter) = &self.options.filter
                && !filter.keep(&Path::new("/").join(&below), is_folder)
            {
                continue;
            }
            let path = self.target.join(&below);
            let stands = there.contains(&node.name);
            match node.kind {
                NodeKind::Dir => {
                    let Some(tree) = node.subtree else {
                        self.damaged(&path, "it is a folder without a tree".to_owned());
                        continue;
                    };
                    let Some(stood) = self.make_folder(&path, stands)? else { continue };
                    self.report.folders += 1;
                    self.folders.push((path, node));
                    stack.push(Pending { below, tree, depth, stood });
                }
                NodeKind::File => self.file(path, node, stands)?,
                NodeKind::Irregular => self.problem(&path, "is of a kind that is not known"),
                _ => self.special(&path, &node, stands)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, node: Node, stands: bool) -> Result<()> {
        self.planned = (self.planned.0 + node.size, self.planned.1 + 1);
        if node.links > 1 {
            let key = (node.device_id, node.inode);
            match self.firsts.get(&key) {
                // Inode numbers are used again; only the same content is the same file.
                Some((first, other)) if other.content == node.content => {
                    self.links.push(Link { first: first.clone(), path, size: node.size });
                    return Ok(());
                }
                Some(_) => {}
                None => {
                    let kept = Node { extended_attributes: Vec::new(), ..node.clone() };
                    self.firsts.insert(key, (path.clone(), kept));
                }
            }
        }
        self.window_blobs += node.content.as_ref().map_or(0, Vec::len);
        self.window.push(TargetFile::new(path, node, stands));
        if self.window.len() >= FILES_A_WINDOW || self.window_blobs >= BLOBS_A_WINDOW {
            self.write_window()?;
        }
        Ok(())
    }

    fn write_window(&mut self) -> Result<()> {
        let mut files = std::mem::take(&mut self.window);
        self.window_blobs = 0;
        if files.is_empty() {
            return Ok(());
        }
        self.vault.environment().monitor.total(Stage::Restore, self.planned.0, self.planned.1);
        let threads = fetch::threads(self.options.threads);
        if let Some(aside) = &self.aside {
            compare::files(self.vault, aside, threads, &mut files)?;
        }
        fetch::write(self.vault, (threads, self.options.rehash), &files)?;
        for file in files {
            match file.settle(self.aside.as_ref()) {
                Ok(Settled { size, right, mut problems }) => {
                    self.report.files += 1;
                    self.report.bytes += size;
                    self.report.unchanged += right;
                    self.report.problems.append(&mut problems);
                }
                Err(problem) => self.report.damaged.push(problem),
            }
        }
        Ok(())
    }

    fn special(&mut self, path: &Path, node: &Node, stands: bool) -> Result<()> {
        let made = match stands.then(|| self.stands_right(path, node)).transpose() {
            Ok(Some(true)) => Ok(()),
            Ok(_) => meta::create_special(node, path).map_err(std::io::Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            return self.failed_to_create(path, "make it", error);
        }
        self.report.others += 1;
        for (verb, error) in meta::restore_metadata(node, meta::Handle::Path(path)) {
            self.report.problems.push(Problem::failed(path, &verb, error));
        }
        self.vault.environment().monitor.advance(Stage::Restore, 0, 1);
        Ok(())
    }

    /// One path's failure is named; a full or broken disk ends the restore.
    pub(super) fn failed_to_create(
        &mut self,
        path: &Path,
        verb: &'static str,
        error: std::io::Error,
    ) -> Result<()> {
        if is_fatal(&error) {
            return Err(Error::io(verb, path, error));
        }
        self.damaged(path, format!("cannot {verb}: {error}"));
        Ok(())
    }

    pub(super) fn damaged(&mut self, path: &Path, what: String) {
        self.report.damaged.push(Problem { path: path.to_owned(), what });
    }

    fn problem(&mut self, path: &Path, what: &str) {
        self.report.problems.push(Problem { path: path.to_owned(), what: what.to_owned() });
    }
}

/// True for failures that the next path would meet as well.
pub(super) fn is_fatal(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let fatal = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| fatal.contains(&errno))
}

pub(super) fn wanted_names(subpath: Option<&Path>) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for component in subpath.into_iter().flat_map(Path::components) {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::Invalid("a path in a snapshot cannot contain ..".to_owned()));
            }
        }
    }
    Ok(names)
}
