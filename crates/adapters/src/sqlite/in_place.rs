//! Swaps a verified copy with the live database, and back.
//!
//! From the proof that nobody has the old database open until the new one stands in its place, an
//! exclusive lock on the whole old file keeps every SQLite out. It is a lock of the file system, not
//! of SQLite's, so that it can be had of a database that is damaged, and nothing of the old state
//! is read, rolled back or checkpointed. After the swap the processes are looked through once more:
//! whoever opened the old file in between has been waiting for the lock, and would write into what
//! is kept; then everything is put back.
//!
//! The lock alone proves nothing of somebody who has the file open and is idle, as in
//! rollback-journal mode. As root the processes tell; otherwise those of other users cannot be looked
//! into, and the kernel is asked by a lease ([`lease`]), which the owner of the file may. Where it
//! cannot answer either, nothing is proven and the swap is refused.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lifeboat_model::manifest::Manifest;
use lifeboat_recovery::ports::{EngineError, InPlace, WriterProof};
use lifeboat_vault::Monitor;
use lifeboat_vault::meta::{Handle, read_xattrs};
use rustix::fs::{FlockOperation, XattrFlags};
use rustix::io::Errno;

use super::exchange::{self, COMPANIONS, Names};
use super::holders::{self, Identity, identity};
use super::judge;
use super::moves::{FileSystem, Moves};
use super::open::{beside, size_of};
use crate::lease;

/// A live database that may be replaced.
pub struct SqliteInPlace {
    names: Names,
    monitor: Arc<dyn Monitor>,
    moves: Box<dyn Moves>,
    held: Mutex<Option<File>>,
}

/// Makes an error of a file system call out of what was tried, an infinitive.
fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> EngineError {
    let what = format!("cannot {}", what.into());
    |source| EngineError::Failed { what, source: Some(source.into()) }
}

impl InPlace for SqliteInPlace {
    fn writers(&self) -> Result<WriterProof, EngineError> {
        let seen = self.holders()?;
        if !seen.is_empty() {
            return Ok(WriterProof::Running(seen));
        }
        self.tell_remains();
        Ok(WriterProof::Stopped)
    }

    fn staging_parent(&self) -> PathBuf {
        self.names.folder().to_owned()
    }

    fn swap(
        &self,
        copy: &Path,
        manifest: &Manifest,
        keep_as: &str,
    ) -> Result<Vec<PathBuf>, EngineError> {
        let staged = self.fit(copy, manifest)?;
        self.prove()?;
        self.settle()?;
        self.dress(&staged)
            .map_err(failed("give the copy the database's owner, mode and attributes"))?;
        let keep = self.names.unused("before", &keep_as.replace('/', "_"));
        let new = identity(&staged);
        let swapped = self.replace(&keep, &staged);
        if swapped.is_err() {
            self.back_out(&keep, &staged, new).map_err(failed("undo the swap"))?;
        }
        self.held().take();
        swapped
    }

    /// While a swap is under way the name leads to the former state, which is the same file still.
    fn live(&self) -> Result<String, EngineError> {
        let found = identity(&self.names.live);
        Ok(found.map_or_else(String::new, |(device, inode)| format!("{device}:{inode}")))
    }

    fn kept(&self, keep_as: &str) -> Vec<PathBuf> {
        let keep = self.names.named("before", &keep_as.replace('/', "_"));
        Some(keep).into_iter().filter(|keep| keep.is_dir()).collect()
    }

    fn mend(&self) -> Result<(), EngineError> {
        self.prove()?;
        self.settle()?;
        self.held().take();
        Ok(())
    }

    /// The copy that goes is kept beside the database, in `NAME.undone-…`: somebody may have
    /// written to it.
    fn undo(&self, kept: &[PathBuf]) -> Result<(), EngineError> {
        self.prove()?;
        let what = "put the former state back";
        if self.names.diverted().is_some() {
            self.settle()?;
        } else {
            let aside = self.names.unused("undone", &tail(kept));
            exchange::keep_all(&*self.moves, &self.names, &aside).map_err(failed(what))?;
            self.monitor.note(&format!("the restored copy is kept in {}", aside.display()));
            self.leave(kept).map_err(failed(what))?;
        }
        self.held().take();
        Ok(())
    }
}

impl SqliteInPlace {
    /// The database at `path`, which may be missing; symbolic links to it are followed.
    pub fn new(path: &Path, monitor: Arc<dyn Monitor>) -> Result<Self, EngineError> {
        Self::with_moves(path, monitor, Box::new(FileSystem))
    }

    /// The same with the file system behind another front.
    pub fn with_moves(
        path: &Path,
        monitor: Arc<dyn Monitor>,
        moves: Box<dyn Moves>,
    ) -> Result<Self, EngineError> {
        let live = resolve(path).map_err(failed(format!("find {}", path.display())))?;
        Ok(SqliteInPlace { names: Names { live }, monitor, moves, held: Mutex::new(None) })
    }

    /// What a swap that was cut off has left, in words. Changes nothing.
    pub fn unsettled(&self) -> Option<String> {
        exchange::unsettled(&self.names).ok().flatten()
    }

    /// Puts in order what a swap that was cut off has left, if nobody has the database open, and
    /// says what was done or why it was not. Where it was not, the name still leads to a whole state.
    pub fn tidy(&self) -> Option<String> {
        let left = self.unsettled()?;
        let why = match self.holders() {
            Ok(seen) if seen.is_empty() => match exchange::settle(&*self.moves, &self.names) {
                Ok(done) => {
                    self.held().take();
                    return Some(done.unwrap_or(left));
                }
                Err(error) => error.to_string(),
            },
            Ok(seen) => format!("{} has the database open", seen.join(", ")),
            Err(error) => error.to_string(),
        };
        self.held().take();
        Some(format!("{left}; it is put in order once nobody has the database open ({why})"))
    }

    /// Who has the database or its log open; nobody and an exclusive lock, if the list is empty.
    /// The lock is kept until the swap.
    fn holders(&self) -> Result<Vec<String>, EngineError> {
        let mut held = self.held();
        held.take();
        // Before the lock: it takes a descriptor of ours that could write, and closing any other
        // one of the same file gives it back.
        let told = self.ask_kernel(&self.files())?;
        let locked = self.lock();
        let mut seen = self.look(&self.files(), &told)?;
        match locked {
            Ok(lock) if seen.is_empty() => *held = lock,
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::ACCESS) if seen.is_empty() => {
                seen.push("a process that cannot be seen here holds a lock and".to_owned());
            }
            Err(Errno::AGAIN | Errno::ACCESS) => {}
            Err(error) => {
                return Err(failed(format!("lock {}", self.names.live.display()))(error.into()));
            }
        }
        Ok(seen)
    }

    /// The steps, and a last look at who might have slipped in; the folder of the old state.
    fn replace(&self, keep: &Path, staged: &Path) -> Result<Vec<PathBuf>, EngineError> {
        exchange::replace(&*self.moves, &self.names, keep, staged)
            .map_err(failed("put the copy in place"))?;
        // Of our own descriptor the kernel would say that it could write.
        self.held().take();
        let old: Vec<_> =
            [""].iter().chain(&COMPANIONS).map(|it| self.names.kept(keep, it)).collect();
        let told = self.ask_kernel(&old)?;
        let seen = self.look(&old, &told)?;
        if !seen.is_empty() {
            return Err(running(&seen, "opened the database during the swap, which was undone"));
        }
        let what = "look at what was kept";
        if fs::read_dir(keep).map_err(failed(what))?.next().is_some() {
            return Ok(vec![keep.to_owned()]);
        }
        self.moves.remove_folder(keep).map_err(failed("remove an empty folder"))?;
        Ok(Vec::new())
    }

    /// After a swap that failed: the old state is in its place, the copy where it was staged.
    fn back_out(&self, keep: &Path, staged: &Path, new: Option<Identity>) -> io::Result<()> {
        if identity(&self.names.live) == new {
            self.moves.link(&self.names.live, staged)?;
            return self.leave(&[keep.to_owned()]);
        }
        exchange::settle(&*self.moves, &self.names).map(|_| ())
    }

    /// Takes the present files' names away and puts the kept ones in their place.
    fn leave(&self, kept: &[PathBuf]) -> io::Result<()> {
        let (moves, names) = (&*self.moves, &self.names);
        match kept.first() {
            Some(keep) if names.kept(keep, "").exists() => {
                exchange::divert(moves, names, keep)?;
                exchange::put_back(moves, names, keep)
            }
            rest => {
                // There was no database before, at most what was left of its log.
                moves.remove(&names.live)?;
                exchange::remove_companions(moves, names)?;
                let Some(keep) = rest else { return Ok(()) };
                for suffix in COMPANIONS {
                    let file = names.kept(keep, suffix);
                    if file.exists() {
                        moves.rename(&file, &names.companion(suffix))?;
                    }
                }
                moves.remove_folder(keep)?;
                moves.sync(names.folder())
            }
        }
    }

    fn settle(&self) -> Result<(), EngineError> {
        let found = exchange::settle(&*self.moves, &self.names)
            .map_err(failed("put in order what an earlier swap left"))?;
        if let Some(found) = found {
            self.monitor.note(&found);
        }
        Ok(())
    }

    fn prove(&self) -> Result<(), EngineError> {
        match self.holders()? {
            seen if seen.is_empty() => Ok(()),
            seen => Err(running(&seen, "has the database open")),
        }
    }

    /// The staged copy, if it is one that can take the place.
    fn fit(&self, copy: &Path, manifest: &Manifest) -> Result<PathBuf, EngineError> {
        let refused = |what: String| EngineError::Refused {
            what,
            hint: "restore again with `lifeboat restore … --in-place`".to_owned(),
        };
        let content = judge::sqlite(manifest)
            .map_err(|check| refused(format!("the snapshot is {}", check.found)))?;
        let staged = judge::locate(copy, &content.file);
        let found = fs::symlink_metadata(&staged)
            .map_err(failed(format!("find the restored copy {}", staged.display())))?;
        let length = u64::from(content.page_size) * u64::from(content.page_count);
        if !found.is_file() || found.len() != length {
            return Err(refused(format!(
                "the restored copy has {} bytes, not {length}",
                found.len()
            )));
        }
        if COMPANIONS.iter().any(|suffix| beside(&staged, suffix).symlink_metadata().is_ok()) {
            return Err(refused(
                "the restored copy was opened and has a log of its own".to_owned(),
            ));
        }
        let folder = fs::metadata(self.names.folder()).map_err(failed("look at the folder"))?;
        if folder.dev() != found.dev() {
            return Err(refused(format!(
                "the restored copy is not on the file system of {}",
                self.names.live.display()
            )));
        }
        Ok(staged)
    }

    /// Gives the copy the live database's owner, mode and attributes (its access list among them),
    /// and makes it durable. Where there is no live database the snapshot's stay.
    fn dress(&self, staged: &Path) -> io::Result<()> {
        let live = &self.names.live;
        if let Ok(model) = fs::metadata(live) {
            let copy = fs::metadata(staged)?;
            if (copy.uid(), copy.gid()) != (model.uid(), model.gid()) {
                std::os::unix::fs::chown(staged, Some(model.uid()), Some(model.gid()))?;
            }
            // After the owner, whose change drops some of them; the mode has the last word.
            copy_attributes(live, staged)?;
            fs::set_permissions(staged, model.permissions())?;
        }
        File::open(staged)?.sync_all()
    }

    /// A lock on the whole live file, or none where there is no file.
    fn lock(&self) -> Result<Option<File>, Errno> {
        let file = match File::options().read(true).write(true).open(&self.names.live) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Some(file))
    }

    /// The live files, and those to which a swap under way has led their names.
    fn files(&self) -> Vec<PathBuf> {
        let names = &self.names;
        let mut paths: Vec<_> = COMPANIONS.iter().map(|it| names.companion(it)).collect();
        match names.diverted() {
            Some(keep) => {
                paths.extend([""].iter().chain(&COMPANIONS).map(|it| names.kept(&keep, it)));
            }
            None => paths.push(names.live.clone()),
        }
        paths
    }

    /// What the kernel says of writers, whoever they are.
    fn ask_kernel(&self, files: &[PathBuf]) -> Result<Told, EngineError> {
        let mut told = Told::default();
        // The index of the log is no data, and open wherever the database is.
        for file in files.iter().filter(|file| !file.as_os_str().as_bytes().ends_with(b"-shm")) {
            match lease::path_has_writer(file).map_err(failed("ask for writers"))? {
                Some(true) => told.writer = true,
                Some(false) => {}
                None => told.untold = Some(file.clone()),
            }
        }
        Ok(told)
    }

    /// Who has one of the files open; nobody is said only if that is known.
    fn look(&self, files: &[PathBuf], told: &Told) -> Result<Vec<String>, EngineError> {
        let files: Vec<Identity> = files.iter().filter_map(|path| identity(path)).collect();
        let found = holders::find(&files).map_err(failed("look through the processes"))?;
        match &told.untold {
            _ if !found.names.is_empty() => Ok(found.names),
            _ if told.writer => Ok(vec!["a process that cannot be seen here".to_owned()]),
            Some(file) if found.blind || lease::is_shared(file) => Err(EngineError::Refused {
                what: format!(
                    "cannot tell whether a process that is not seen here has {} open",
                    file.display()
                ),
                hint: lease::HINT.to_owned(),
            }),
            _ => Ok(Vec::new()),
        }
    }

    fn tell_remains(&self) {
        for (suffix, word) in
            [("-journal", "the journal of a transaction cut off"), ("-wal", "a write-ahead log")]
        {
            let size = size_of(&self.names.companion(suffix));
            if size > 0 {
                self.monitor.note(&format!("{word} ({size} bytes) goes with the old database"));
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<File>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel said of some files.
#[derive(Debug, Default)]
struct Told {
    /// Somebody has one of them open for writing.
    writer: bool,
    /// One of which it did not tell: it is somebody else's, or the file system has no leases.
    untold: Option<PathBuf>,
}

fn running(seen: &[String], what: &str) -> EngineError {
    EngineError::Refused {
        what: format!("{} {what}", seen.join(", ")),
        hint: "stop the application, then run the same command again".to_owned(),
    }
}

/// Makes the extended attributes of `to` those of `from`.
fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let named = |name: &str, error: Errno| {
        let source = io::Error::from(error);
        io::Error::new(source.kind(), format!("attribute {name}: {source}"))
    };
    let (wanted, found) = (read_xattrs(Handle::Path(from))?, read_xattrs(Handle::Path(to))?);
    for extra in found.iter().filter(|it| wanted.iter().all(|other| other.name != it.name)) {
        rustix::fs::removexattr(to, extra.name.as_str()).map_err(|e| named(&extra.name, e))?;
    }
    for attribute in wanted.iter().filter(|it| !found.contains(it)) {
        let (name, value) = (attribute.name.as_str(), &attribute.value);
        rustix::fs::setxattr(to, name, value, XattrFlags::empty()).map_err(|e| named(name, e))?;
    }
    Ok(())
}

/// What the folder of a kept state was called after.
fn tail(kept: &[PathBuf]) -> String {
    let name = kept.first().and_then(|keep| keep.file_name()).unwrap_or_default().to_string_lossy();
    name.rsplit_once(".before-").map_or("swap", |(_, tail)| tail).to_owned()
}

/// The file itself, symbolic links resolved, but not the one that a swap cut off has left.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..40 {
        let Some((folder, name)) = path.parent().zip(path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = folder.canonicalize()?;
        let names = Names { live: folder.join(name) };
        match fs::read_link(&names.live) {
            Ok(target) if names.diverted().is_none() => path = folder.join(target),
            _ => return Ok(names.live),
        }
    }
    Err(Errno::LOOP.into())
}
