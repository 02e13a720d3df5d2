//! The local state folder `.lifeboat/` (mode 0700) and what keeps processes apart in it.
//!
//! Nothing here is the truth but `vault.key`, where `init` put one: without a second copy of that key
//! losing the folder loses every backup, and `status` says so. Losing the rest loses no data. The
//! folder is made at the first write, so that a dry run leaves no trace.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::ledger::signer;

/// What is known of the tiers.
const TIERS: &str = "tiers.json";

/// Ends the name of a file that was set aside.
const DAMAGED: &str = ".damaged";

/// Which plan's state this is.
const PLAN: &str = "plan.json";

/// A failed access to the state folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct StateError {
    /// What was tried.
    pub verb: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

impl StateError {
    /// True where owner, mode, file system or a full disk forbid writing.
    pub fn forbids_writing(&self) -> bool {
        forbids_writing(&self.source)
    }
}

/// True where owner, mode, file system or a full disk forbid writing.
pub(crate) fn forbids_writing(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded)
}

impl crate::error::Error {
    /// True where owner, mode, file system or a full disk keep the state folder from being written.
    pub(crate) fn forbids_writing(&self) -> bool {
        use crate::error::Error;
        match self {
            Error::State(why) => why.forbids_writing(),
            Error::Io { source, .. } => forbids_writing(source),
            Error::Catalog(error) => crate::catalog::forbids_writing(error),
            _ => false,
        }
    }
}

/// Adds verb and path to an I/O error.
pub(crate) fn at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError { verb, path, source }
}

/// The state folder.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
    /// The folder of the state that this one is a copy of.
    stands_for: Option<PathBuf>,
}

/// What is known of a tier's vault since it was first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTier {
    /// The vault's repository id.
    pub vault: String,
    /// Fingerprint of its master key.
    pub master: String,
    /// The tier's place when it was seen.
    pub url: String,
    /// Recipient of its sealed objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// SHA-256 of the identity of that recipient as the tier has it, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What took its place, because its master key may be known: it is on hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<KnownSuccessor>,
}

/// The vault that took the place of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSuccessor {
    /// Its tier.
    pub tier: String,
    /// Its repository id.
    pub vault: String,
    /// Since when.
    pub time: Timestamp,
}

/// The plan whose state this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPlan {
    /// Number of the file's format.
    pub format: u32,
    /// The plan's name.
    pub name: String,
    /// Its file, absolute.
    pub file: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Tiers {
    format: u32,
    tiers: BTreeMap<String, KnownTier>,
}

impl State {
    /// The state in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> State {
        State { folder: folder.into(), stands_for: None }
    }

    /// A copy in `folder` of this state, for as long as a flow runs: it has no cache of its own.
    pub fn stand_in(&self, folder: impl Into<PathBuf>) -> State {
        State { folder: folder.into(), stands_for: Some(self.folder.clone()) }
    }

    /// True for a copy of another state.
    pub fn is_stand_in(&self) -> bool {
        self.stands_for.is_some()
    }

    /// The folder of the cache, which may be deleted at any moment.
    pub fn cache(&self) -> PathBuf {
        self.stands_for.as_ref().unwrap_or(&self.folder).join("cache")
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path below the folder.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.join(below)
    }

    /// Makes a folder below the state folder (both 0700) and returns it.
    pub fn make(&self, below: &str) -> Result<PathBuf, StateError> {
        let path = if below.is_empty() { self.folder.clone() } else { self.folder.join(below) };
        private_folder(&self.folder)?;
        private_folder(&path)?;
        Ok(path)
    }

    /// Why nothing can be written here, if owner, mode or file system forbid it. Writes nothing.
    pub fn unwritable(&self) -> Result<Option<StateError>, StateError> {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        let mut places = vec![self.path("ledger"), self.path("ledger/begin.lock")];
        // A folder that is not there yet would be made in the nearest one that is.
        places.extend(self.folder.ancestors().find(|place| place.exists()).map(Path::to_owned));
        for place in places {
            let wanted = match place.is_dir() {
                true => Access::WRITE_OK | Access::EXEC_OK,
                false => Access::WRITE_OK,
            };
            match accessat(CWD, &place, wanted, AtFlags::EACCESS).map_err(io::Error::from) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                    ) =>
                {
                    return Ok(Some(at("write to", &place)(e)));
                }
                Err(e) => return Err(at("look at", &place)(e)),
            }
        }
        Ok(None)
    }

    /// Files that cannot be understood, and are passed over until they are set aside.
    pub fn unreadable(&self) -> Result<Vec<PathBuf>, StateError> {
        let mut found = Vec::new();
        let mut look = |path: PathBuf, fine: fn(&[u8]) -> bool| -> Result<(), StateError> {
            if read_optional(&path)?.is_some_and(|body| !fine(&body)) {
                found.push(path);
            }
            Ok(())
        };
        look(self.path(TIERS), |body| serde_json::from_slice::<Tiers>(body).is_ok())?;
        look(self.path(PLAN), |body| serde_json::from_slice::<KnownPlan>(body).is_ok())?;
        look(self.path(signer::NAME), signer::is_readable)?;
        look(self.path(signer::PUBLIC), signer::is_readable)?;
        let folder = self.path("ledger");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(at("read", &folder)(e)),
        };
        for entry in entries {
            let path = entry.map_err(at("read", &folder))?.path();
            if path.extension().is_some_and(|kind| kind == "keys") {
                look(path, crate::ledger::keys::is_readable)?;
            }
        }
        Ok(found)
    }

    /// Sets such files aside, so that they are made anew; a sentence for each. What cannot be read
    /// must not stop a backup.
    pub fn set_aside_unreadable(&self) -> Result<Vec<String>, StateError> {
        let mut notes = Vec::new();
        for path in self.unreadable()? {
            let mut aside = path.clone().into_os_string();
            aside.push(DAMAGED);
            let aside = PathBuf::from(aside);
            fs::rename(&path, &aside).map_err(at("set aside", &path))?;
            notes.push(format!(
                "{} could not be read; it was set aside as {} and is made anew",
                path.display(),
                aside.display()
            ));
        }
        Ok(notes)
    }

    /// True if what was known of the tiers was lost: a place that looks new may be an unmounted one.
    pub fn tiers_were_lost(&self) -> Result<bool, StateError> {
        let path = self.path(TIERS);
        Ok(self.path(format!("{TIERS}{DAMAGED}")).exists() || self.unreadable()?.contains(&path))
    }

    /// What is known of a tier.
    pub fn known_tier(&self, name: &str) -> Result<Option<KnownTier>, StateError> {
        Ok(self.tiers()?.tiers.remove(name))
    }

    /// The plan whose state this is, as far as that can be read: a file that cannot is made anew.
    pub fn known_plan(&self) -> Result<Option<KnownPlan>, StateError> {
        let body = read_optional(&self.path(PLAN))?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Remembers it.
    pub fn remember_plan(&self, name: &str, file: &Path) -> Result<(), StateError> {
        let now = KnownPlan { format: 1, name: name.to_owned(), file: file.to_owned() };
        if self.known_plan()?.as_ref() == Some(&now) {
            return Ok(());
        }
        self.make("")?;
        let path = self.path(PLAN);
        let body = serde_json::to_vec_pretty(&now).map_err(|e| StateError {
            verb: "write",
            path: path.clone(),
            source: e.into(),
        })?;
        replace(&path, &body)
    }

    /// Remembers a tier.
    pub fn remember_tier(&self, name: &str, known: &KnownTier) -> Result<(), StateError> {
        self.make("")?;
        let _lock = FileLock::exclusive(&self.path("tiers.lock"))?;
        let mut tiers = self.tiers()?;
        if tiers.tiers.get(name) == Some(known) {
            return Ok(());
        }
        tiers.format = 1;
        tiers.tiers.insert(name.to_owned(), known.clone());
        let path = self.path(TIERS);
        let body = serde_json::to_vec_pretty(&tiers).map_err(|e| StateError {
            verb: "write",
            path: path.clone(),
            source: e.into(),
        })?;
        replace(&path, &body)
    }

    fn tiers(&self) -> Result<Tiers, StateError> {
        // What cannot be understood is passed over, and said where it is set aside.
        let body = read_optional(&self.path(TIERS))?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default())
    }
}

fn private_folder(path: &Path) -> Result<(), StateError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("create", path))
}

/// The content of a file, or nothing if there is none.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(body) => Ok(Some(body)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at("read", path)(e)),
    }
}

/// A name beside `path` that no other thread or process uses.
fn part_of(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("part-{}-{count}", std::process::id()))
}

/// Replaces a file (mode 0600) by rename, durably.
pub fn replace(path: &Path, body: &[u8]) -> Result<(), StateError> {
    let part = part_of(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(at("write", &part))?;
    file.write_all(body).and_then(|()| file.sync_all()).map_err(at("write", &part))?;
    fs::rename(&part, path).map_err(at("replace", path))?;
    sync_parent(path)
}

/// Makes a file (mode 0600) that must not exist, durably. False if it exists.
pub fn create_new(path: &Path, body: &[u8]) -> Result<bool, StateError> {
    let part = part_of(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(at("write", &part))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(at("write", &part))?;
    file.write_all(body).and_then(|()| file.sync_all()).map_err(at("write", &part))?;
    let linked = fs::hard_link(&part, path);
    fs::remove_file(&part).map_err(at("remove", &part))?;
    match linked {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(at("create", path)(e)),
    }
}

/// Makes the entry of a file in its folder durable.
pub fn sync_parent(path: &Path) -> Result<(), StateError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|f| f.sync_all()).map_err(at("sync", parent))
}

/// An exclusive lock on a file or folder, gone with the process that holds it.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock; makes the file.
    pub fn exclusive(path: &Path) -> Result<FileLock, StateError> {
        let file = lock_file(path)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| at("lock", path)(e.into()))?;
        Ok(FileLock { _file: file })
    }

    /// Takes the lock if it is free; makes the file.
    pub fn try_exclusive(path: &Path) -> Result<Option<FileLock>, StateError> {
        FileLock::try_on(lock_file(path)?, path)
    }

    /// Takes the lock of an existing folder or file if it is free; writes nothing.
    pub fn try_folder(path: &Path) -> Result<Option<FileLock>, StateError> {
        FileLock::try_on(File::open(path).map_err(at("open", path))?, path)
    }

    fn try_on(file: File, path: &Path) -> Result<Option<FileLock>, StateError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(FileLock { _file: file })),
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(e) => Err(at("lock", path)(e.into())),
        }
    }
}

fn lock_file(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(at("open", path))
}
