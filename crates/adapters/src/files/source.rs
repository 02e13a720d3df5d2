//! Reads live file trees into a backup.
//!
//! A root that is a symbolic link is followed: the plan names what must survive, not a pointer to
//! it. Links below a root are captured as links. What cannot be read, vanishes or changes while it
//! is read is a problem of the session and stands in the manifest. Tiers and the state folder that
//! lie below a root are left out and told.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::manifest::{Content, FORMAT, FilesContent, FilesRoot, Manifest};
use lifeboat_recovery::ports::{Capture, CaptureContext, EngineError, Source, SourceError};
use lifeboat_vault::{BackupSession, Filter, NoMonitor, Root, WalkSpec};

use super::in_place::FilesInPlace;
use super::rules::Rules;

/// A component of files.
#[derive(Debug, Clone)]
pub struct FilesOptions {
    /// Name in the plan.
    pub component: String,
    /// What is captured (absolute), and where it stands in the snapshot's tree.
    pub roots: Vec<(PathBuf, PathBuf)>,
    /// Gitignore patterns; if any, only what matches one is captured.
    pub include: Vec<String>,
    /// Gitignore patterns of what is left out.
    pub exclude: Vec<String>,
    /// Do not go into other file systems.
    pub one_file_system: bool,
    /// Tiers and the state folder: left out wherever they lie.
    pub keep_out: Vec<PathBuf>,
}

/// Live file trees.
#[derive(Debug)]
pub struct FilesSource {
    options: FilesOptions,
}

impl FilesSource {
    /// Reads what `options` names.
    pub fn new(options: FilesOptions) -> FilesSource {
        FilesSource { options }
    }

    /// Where the roots lead to. Each must be there before anything is read.
    fn roots(&self, context: &CaptureContext<'_>) -> Result<Vec<Root>, SourceError> {
        let mut roots = Vec::new();
        for (named, tree) in &self.options.roots {
            let source = named.canonicalize().map_err(|error| unreadable(named, error))?;
            if source.file_name() != named.file_name() || named.is_symlink() {
                let (named, source) = (named.display(), source.display());
                context.monitor.note(&format!("{named} leads to {source}, which is captured"));
            }
            roots.push(Root { source, tree: tree.clone() });
        }
        Ok(roots)
    }

    /// Settles what a restore in place that was cut off left half swapped, or refuses to read it.
    fn settle(&self, context: &CaptureContext<'_>) -> Result<(), SourceError> {
        let unfit = |error: EngineError| SourceError::Unfit {
            what: format!(
                "a restore in place was cut off between the former state and the restored one, \
                 and the former one cannot be put back: {error}"
            ),
            hint: format!(
                "stop the application, then run the same command again, or `lifeboat restore … \
                 --in-place` for {}",
                self.options.component
            ),
        };
        let roots: Vec<_> = self
            .options
            .roots
            .iter()
            .map(|(source, tree)| recorded(&Root { source: source.clone(), tree: tree.clone() }))
            .collect();
        let (include, exclude) = (&self.options.include, &self.options.exclude);
        let live = FilesInPlace::new(&roots, Arc::new(NoMonitor))
            .and_then(|live| live.leaving_out(include, exclude));
        // Roots that can never be replaced have nothing to be settled.
        let Ok(live) = live else { return Ok(()) };
        for line in live.tidy().map_err(unfit)? {
            context.monitor.note(&line);
        }
        Ok(())
    }

    fn rules(&self, roots: &[Root]) -> Result<Rules, SourceError> {
        let options = &self.options;
        let sources = roots.iter().map(|root| root.source.clone()).collect();
        // What is not there cannot be met on the way.
        let keep_out = options.keep_out.iter().filter_map(|path| path.canonicalize().ok());
        Rules::new(sources, &options.include, &options.exclude, keep_out.collect()).map_err(
            |error| {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                SourceError::Unfit {
                    what: format!("{error}{cause}"),
                    hint: "mend `include` or `exclude` of the component: gitignore patterns"
                        .to_owned(),
                }
            },
        )
    }
}

impl Source for FilesSource {
    fn capture(
        &mut self,
        session: &mut BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError> {
        let started = context.clock.wall();
        self.settle(context)?;
        let roots = self.roots(context)?;
        let rules = Arc::new(self.rules(&roots)?);
        let walked = session.add_paths(&WalkSpec {
            roots: roots.clone(),
            filter: rules.clone(),
            one_file_system: self.options.one_file_system,
        })?;
        for path in rules.kept_out() {
            context.monitor.note(&format!("{} is not captured", path.display()));
        }
        let manifest = Manifest {
            format: FORMAT,
            component: self.options.component.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: context.host.to_owned(),
            started,
            finished: context.clock.wall(),
            position: None,
            content: Content::Files(FilesContent {
                roots: roots.iter().map(recorded).collect(),
                files: walked.files,
                folders: walked.folders,
                others: walked.others,
                bytes: walked.bytes,
                allocated: Some(walked.allocated),
                fingerprint: session.fingerprint().to_string(),
                problems: session.problems().iter().map(ToString::to_string).collect(),
            }),
        };
        Ok(Capture { manifest, complete_up_to: started, blocked: None })
    }
}

impl Filter for Rules {
    fn keep(&self, absolute: &Path, is_folder: bool) -> bool {
        self.keeps(absolute, is_folder)
    }
}

fn recorded(root: &Root) -> FilesRoot {
    FilesRoot {
        source: root.source.to_string_lossy().into_owned(),
        tree: root.tree.to_string_lossy().into_owned(),
    }
}

fn unreadable(path: &Path, source: io::Error) -> SourceError {
    let what = path.display().to_string();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceError::Missing { what },
        _ => SourceError::Read { what, source: source.into() },
    }
}
