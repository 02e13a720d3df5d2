//! Loads a verified dump into the live system, and the former state back.
//!
//! The former state is dumped into a file before anything is loaded. A mark that stands while `load`
//! runs tells the next call that it was killed in the middle: then the former state is loaded back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_recovery::ports::{EngineError, InPlace, SourceError, WriterProof};
use lifeboat_vault::{Cancel, Clock, Monitor};

use super::CommandOptions;
use crate::piped::Piped;
use crate::printed;

/// Names the kept dump that is to be loaded back, while a load runs.
const LOADING: &str = "loading";
/// Names what was loaded last.
const LIVE: &str = "live";
/// Extension of the file that names what was loaded before, beside the kept dump.
const WAS: &str = "was";

/// What a load that was cut off has left of component `name`, in words, by what it had to remember in
/// `folder`. Changes nothing.
pub fn unsettled(name: &str, folder: &Path) -> Option<String> {
    let kept = fs::read_to_string(folder.join(LOADING)).ok()?;
    Some(match kept.is_empty() {
        true => format!("{name} was being loaded; its former state could not be dumped"),
        false => format!("{name} was being loaded; its former state is in {kept}"),
    })
}

/// A live system that a command loads.
pub struct CommandInPlace {
    options: CommandOptions,
    folder: PathBuf,
    /// The plan says how the application is stopped.
    stops: bool,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
    monitor: Arc<dyn Monitor>,
}

impl CommandInPlace {
    /// Loads by `options`; what it has to remember stands in `folder`, which is made private.
    ///
    /// # Errors
    /// If the plan names no `load`, or the folder cannot be made.
    pub fn new(
        options: CommandOptions,
        folder: PathBuf,
        stops: bool,
        (clock, cancel, monitor): (Arc<dyn Clock>, Cancel, Arc<dyn Monitor>),
    ) -> Result<Self, EngineError> {
        if options.load.is_none() {
            return Err(refused(
                format!("component {} has no `load`", options.component),
                "restore the dump with `--to DIR` and load it by hand",
            ));
        }
        fs::create_dir_all(&folder).map_err(failed("make the folder of the former state"))?;
        Ok(CommandInPlace { options, folder, stops, clock, cancel, monitor })
    }

    fn kept_at(&self, keep_as: &str) -> PathBuf {
        self.folder.join(format!("{keep_as}.dump"))
    }

    /// Dumps the present state; nothing where that cannot be done: what is restored may be dead.
    fn keep(&self, place: &Path) -> Result<Option<PathBuf>, EngineError> {
        let part = place.with_extension("part");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
        let mut file = file.map_err(failed("keep the former state"))?;
        match self.dump(&mut file) {
            Ok(()) => {
                file.sync_all().map_err(failed("keep the former state"))?;
                fs::rename(&part, place).map_err(failed("keep the former state"))?;
                Ok(Some(place.to_owned()))
            }
            Err(why) => {
                let name = &self.options.component;
                self.monitor.note(&format!(
                    "the former state of {name} cannot be dumped, and there is no way back to it: \
                     {why}"
                ));
                let _ = fs::remove_file(&part);
                match self.cancel.is_cancelled() {
                    true => Err(failed("dump the former state")(io::Error::other("interrupted"))),
                    false => Ok(None),
                }
            }
        }
    }

    fn dump(&self, file: &mut File) -> Result<(), SourceError> {
        let mut command = self.options.command(&self.options.dump)?;
        command.stdin(Stdio::null());
        let run = self.options.run("dump", &*self.clock, &self.cancel);
        let mut running = Piped::start(command, run)?;
        let copied = io::copy(&mut running, file);
        match (running.failure(), copied) {
            (Some(why), _) => Err(why),
            (None, Ok(_)) => Ok(()),
            (None, Err(source)) => Err(SourceError::Read {
                what: "what `dump` prints".to_owned(),
                source: source.into(),
            }),
        }
    }

    fn load(&self, from: &Path) -> Result<(), EngineError> {
        let component = &self.options.component;
        let what = || format!("`load` of {component} failed");
        let wrong = |source: SourceError| EngineError::Failed {
            what: what(),
            source: Some(Box::new(source)),
        };
        let file = File::open(from).map_err(failed("open the dump"))?;
        let line = self.options.load.as_deref().unwrap_or_default();
        let mut command = self.options.command(line).map_err(wrong)?;
        command.stdin(Stdio::piped());
        let run = self.options.run("load", &*self.clock, &self.cancel);
        Piped::start(command, run).and_then(|running| running.feed(file)).map_err(wrong)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), EngineError> {
        let write = || -> io::Result<()> {
            let part = self.folder.join(format!("{name}.part"));
            let mut file = File::create(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, self.folder.join(name))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(failed("remember what is loaded"))
    }

    fn forget(&self, name: &str) -> Result<(), EngineError> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remember what is loaded")(error))
            }
            _ => Ok(()),
        }
    }

    /// Loads the former state back.
    fn back(&self, kept: &Path) -> Result<(), EngineError> {
        self.load(kept)?;
        let was = fs::read_to_string(kept.with_extension(WAS)).unwrap_or_default();
        match was.is_empty() {
            true => self.forget(LIVE)?,
            false => self.write(LIVE, &was)?,
        }
        self.forget(LOADING)
    }
}

impl InPlace for CommandInPlace {
    /// Nobody but its own programs can see who writes to such a system: it counts as stopped where the
    /// plan says how it is stopped, which was done before this is asked.
    fn writers(&self) -> Result<WriterProof, EngineError> {
        match self.stops {
            true => Ok(WriterProof::Stopped),
            false => Err(refused(
                format!("whether something writes to {} cannot be seen", self.options.component),
                "name `stop` and `start` of the component: they are run around the restore",
            )),
        }
    }

    fn staging_parent(&self) -> PathBuf {
        self.folder.clone()
    }

    fn swap(
        &self,
        copy: &Path,
        manifest: &Manifest,
        keep_as: &str,
    ) -> Result<Vec<PathBuf>, EngineError> {
        let Content::Command(content) = &manifest.content else {
            return Err(refused("the snapshot is of another kind", "name another component"));
        };
        self.mend()?;
        let kept = self.keep(&self.kept_at(keep_as))?;
        let was = fs::read_to_string(self.folder.join(LIVE)).unwrap_or_default();
        self.write(&format!("{keep_as}.{WAS}"), &was)?;
        let named = kept.as_ref().map(|path| path.to_string_lossy().into_owned());
        self.write(LOADING, named.as_deref().unwrap_or_default())?;
        if let Err(why) = self.load(&printed::place(copy, &content.printed)) {
            return Err(match &kept {
                None => why,
                Some(kept) => match self.back(kept) {
                    Ok(()) => why,
                    Err(worse) => EngineError::Failed {
                        what: format!("{why}, and the former state cannot be loaded back"),
                        source: Some(Box::new(worse)),
                    },
                },
            });
        }
        self.write(LIVE, keep_as)?;
        self.forget(LOADING)?;
        Ok(kept.into_iter().collect())
    }

    fn live(&self) -> Result<String, EngineError> {
        match fs::read_to_string(self.folder.join(LIVE)) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("as it was".to_owned()),
            Err(error) => Err(failed("see what is loaded")(error)),
        }
    }

    fn kept(&self, keep_as: &str) -> Vec<PathBuf> {
        Some(self.kept_at(keep_as)).into_iter().filter(|path| path.exists()).collect()
    }

    fn mend(&self) -> Result<(), EngineError> {
        match fs::read_to_string(self.folder.join(LOADING)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("see what was being loaded")(error)),
            // Nothing to go back to: what comes is loaded over it.
            Ok(kept) if kept.is_empty() => self.forget(LOADING),
            Ok(kept) => self.back(Path::new(&kept)),
        }
    }

    fn undo(&self, kept: &[PathBuf]) -> Result<(), EngineError> {
        match kept {
            [kept] => self.back(kept),
            _ => Err(refused(
                format!("the former state of {} was not kept", self.options.component),
                "restore an older snapshot",
            )),
        }
    }
}

fn refused(what: impl Into<String>, hint: &str) -> EngineError {
    EngineError::Refused { what: what.into(), hint: hint.to_owned() }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> EngineError {
    move |source| EngineError::Failed {
        what: format!("cannot {what}"),
        source: Some(Box::new(source)),
    }
}
