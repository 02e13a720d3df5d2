//! A tier in a local folder, on `object_store`'s local backend with file and folder syncs.
//!
//! Promises beyond those of [`Store`]:
//! - Objects have mode 0600 and the folders that are made for them 0700. `object_store` creates
//!   files under the process's umask, so the folder is closed before the first byte is written and
//!   the object's mode is set once it is there.
//! - A tier whose root folder was removed, or whose disk was unmounted, is *unreachable*. It is
//!   never made anew by a write, and never listed as empty: the root is compared with the folder
//!   that was opened.
//! - Nothing is deleted through a [`LocalTier`] itself; [`LocalTier::deleter`] gives that right to
//!   pruning, [`Locks`] gives it for `locks/` only, [`KeyDeleter`] for keys and identities only,
//!   [`JournalDeleter`] for objects of journals only.
//!
//! Two duties are not left to `object_store` 0.14:
//! - *Listing.* Its local backend passes over entries that it cannot stat and over a missing root;
//!   a partial listing must be an error. It also converts each path through a URL (`listing`).
//! - *Reading.* It clamps a range to the end of the object; here a short object is an error.
//!
//! An upload that was killed leaves `NAME#NUMBER` beside the object. Such a file is no object, is
//! never listed, and [`LocalTier::sweep`] removes it once it is a day old.

pub mod cloud;
mod error;
mod journal;
mod keys;
mod listing;
mod locks;
mod place;
mod prefixed;

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use lifeboat_vault::{DeleteStore, Entry, Store, StoreError, StoreErrorKind};
use object_store::local::LocalFileSystem;
use object_store::{
    GetOptions, GetResultPayload, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};

pub use journal::JournalDeleter;
pub use keys::KeyDeleter;
pub use locks::Locks;
pub use place::{LocalPlace, is_writable};
pub use prefixed::Prefixed;

/// Mode of every object.
const OBJECT_MODE: u32 = 0o600;
/// Mode of every folder made here.
const FOLDER_MODE: u32 = 0o700;
/// A leftover of an upload is swept when it is older than this.
pub const LEFTOVER_AGE: SignedDuration = SignedDuration::from_hours(24);

/// An opened tier in a local folder.
#[derive(Debug)]
pub struct LocalTier {
    root: PathBuf,
    /// Device and inode of the root as it was opened.
    identity: (u64, u64),
    /// Keeps the root's inode: some FUSE file systems number a folder anew once nobody holds it.
    _pin: File,
    files: LocalFileSystem,
    /// Folders (relative) that are known to be there.
    folders: Mutex<HashSet<String>>,
}

impl LocalTier {
    /// Opens the tier in an existing folder. A missing folder is
    /// [`StoreErrorKind::Unreachable`]: a disk that is not mounted looks like that.
    pub fn open(path: &Path) -> Result<LocalTier, StoreError> {
        let failed = |source: io::Error| {
            let kind = match error::kind_of_io(&source) {
                StoreErrorKind::NotFound => StoreErrorKind::Unreachable,
                kind => kind,
            };
            error::new(kind, "open", "", &path.display().to_string(), source)
        };
        let root = std::fs::canonicalize(path).map_err(failed)?;
        if !root.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        let pin = File::open(&root).map_err(failed)?;
        let identity = identity(&root).map_err(failed)?;
        let files = LocalFileSystem::new_with_prefix(&root)
            .map_err(|e| failed(io::Error::other(e)))?
            .with_fsync(true);
        Ok(LocalTier { root, identity, _pin: pin, files, folders: Mutex::default() })
    }

    /// Makes the folder (mode 0700) and what is missing above it, and opens it. An existing folder
    /// is opened as it is.
    pub fn create(path: &Path) -> Result<LocalTier, StoreError> {
        make_folders(path).map_err(|source| {
            let kind = error::kind_of_io(&source);
            error::new(kind, "create", "", &path.display().to_string(), source)
        })?;
        LocalTier::open(path)
    }

    /// The root folder, absolute and without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The right to delete, for pruning (and for [`Locks`]) only.
    pub fn deleter(self: &Arc<Self>) -> LocalDeleter {
        LocalDeleter(self.clone())
    }

    /// The locks of the part below `prefix` (`"vault"`, or `""` for the tier itself).
    pub fn locks(self: &Arc<Self>, prefix: &str) -> Locks {
        let (deleter, root) = (Arc::new(self.deleter()), Some(self.root.clone()));
        Locks::new(self.clone(), deleter, prefix, root)
    }

    /// Removes what killed uploads left, if older than [`LEFTOVER_AGE`] at `now`; returns how many.
    /// Called before writing (a backup), never by a reader. Only names of our own objects in our
    /// own folders go, and what cannot be looked at or removed stays: tidying fails no backup.
    pub fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.reachable("list", "")?;
        let old = |modified| now.duration_since(modified) > LEFTOVER_AGE;
        let leftovers = listing::leftovers(&self.root).into_iter();
        let swept = leftovers
            .filter(|(path, modified)| old(*modified) && std::fs::remove_file(path).is_ok());
        Ok(swept.count() as u64)
    }

    /// An error unless the root is still the folder that was opened.
    fn reachable(&self, verb: &'static str, key: &str) -> Result<(), StoreError> {
        let gone =
            |source| error::new(StoreErrorKind::Unreachable, verb, key, &self.describe(), source);
        match identity(&self.root) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_) => Err(gone(io::Error::other(
                "another folder stands there now: was the disk unmounted?",
            ))),
            Err(source) => Err(gone(source)),
        }
    }

    /// Maps a failure of `object_store`; "not found" under a vanished root is "unreachable".
    fn failed(&self, verb: &'static str, key: &str, source: object_store::Error) -> StoreError {
        let kind = error::kind_of(&source);
        if kind == StoreErrorKind::NotFound
            && let Err(gone) = self.reachable(verb, key)
        {
            return gone;
        }
        error::of_object_store(kind, verb, key, &self.describe(), source)
    }

    fn location(
        &self,
        verb: &'static str,
        key: &str,
    ) -> Result<object_store::path::Path, StoreError> {
        let parsed = object_store::path::Path::parse(key)
            .map_err(|e| error::new(StoreErrorKind::Other, verb, key, &self.describe(), e))?;
        if parsed.as_ref() != key || key.is_empty() || listing::is_leftover(key) {
            let cause = io::Error::other("this is not a key of an object");
            return Err(error::new(StoreErrorKind::Other, verb, key, &self.describe(), cause));
        }
        Ok(parsed)
    }

    /// Opens an object; returns its file and size.
    fn open_object(&self, key: &str) -> Result<(File, u64), StoreError> {
        let location = self.location("get", key)?;
        let found = ready(self.files.get_opts(&location, GetOptions::default()))
            .map_err(|e| self.failed("get", key, e))?;
        match found.payload {
            GetResultPayload::File(file, _) => Ok((file, found.meta.size)),
            GetResultPayload::Stream(_) => {
                let cause = io::Error::other("the local backend answered with a stream");
                Err(error::new(StoreErrorKind::Other, "get", key, &self.describe(), cause))
            }
        }
    }

    fn read(&self, key: &str, file: File, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let failed = |source| error::from_io("get", key, &self.describe(), source);
        let capacity = usize::try_from(len).map_err(|e| failed(io::Error::other(e)))?;
        let mut file = file;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        }
        let mut body = Vec::with_capacity(capacity);
        file.take(len).read_to_end(&mut body).map_err(failed)?;
        if body.len() < capacity {
            return Err(self.short(key, offset + len, offset + body.len() as u64));
        }
        Ok(Bytes::from(body))
    }

    fn short(&self, key: &str, wanted: u64, size: u64) -> StoreError {
        let cause = io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it has {size} bytes where {wanted} were expected"),
        );
        error::new(StoreErrorKind::Short, "get", key, &self.describe(), cause)
    }

    /// Makes the folders above `key`, closed to others, so that the staged upload in them is too.
    fn make_parent(&self, key: &str) -> io::Result<()> {
        let Some((folder, _)) = key.rsplit_once('/') else { return Ok(()) };
        if self.folders.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        make_folders(&self.root.join(folder))?;
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }
}

impl Store for LocalTier {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let (file, size) = self.open_object(key)?;
        self.read(key, file, 0, size)
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let (file, size) = self.open_object(key)?;
        match offset.checked_add(len) {
            Some(end) if end <= size => self.read(key, file, offset, len),
            end => Err(self.short(key, end.unwrap_or(u64::MAX), size)),
        }
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let location = self.location("create", key)?;
        self.reachable("create", key)?;
        let io_failed = |source| error::from_io("create", key, &self.describe(), source);
        self.make_parent(key).map_err(io_failed)?;
        let payload = parts.iter().cloned().collect::<PutPayload>();
        ready(self.files.put_opts(&location, payload, PutMode::Create.into()))
            .map_err(|e| self.failed("create", key, e))?;
        let mode = std::fs::Permissions::from_mode(OBJECT_MODE);
        std::fs::set_permissions(self.root.join(key), mode).map_err(io_failed)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.reachable("list", prefix)?;
        let entries = listing::list(&self.root, prefix)
            .map_err(|e| error::from_io("list", prefix, &self.describe(), e))?;
        // A disk unmounted in the middle would have ended the walk early.
        self.reachable("list", prefix)?;
        Ok(entries)
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        let location = self.location("stat", key)?;
        let meta = ready(self.files.head(&location)).map_err(|e| self.failed("stat", key, e))?;
        let modified = Timestamp::new(
            meta.last_modified.timestamp(),
            meta.last_modified.timestamp_subsec_nanos() as i32,
        )
        .map_err(|e| error::new(StoreErrorKind::Other, "stat", key, &self.describe(), e))?;
        Ok(Entry { key: key.to_owned(), size: meta.size, modified })
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

/// The right to delete from a local tier.
#[derive(Debug, Clone)]
pub struct LocalDeleter(Arc<LocalTier>);

impl DeleteStore for LocalDeleter {
    /// Durable when it returns, so that the order of a prune (index first, packs after it) also
    /// holds over a power cut.
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        let tier = &self.0;
        let location = tier.location("delete", key)?;
        ready(tier.files.delete(&location)).map_err(|e| tier.failed("delete", key, e))?;
        let path = tier.root.join(key);
        sync_folder(path.parent().unwrap_or(&tier.root))
            .map_err(|e| error::from_io("delete", key, &tier.describe(), e))
    }
}

/// Makes a folder and what is missing above it, each of mode 0700 and durable.
fn make_folders(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_folders(path.parent().ok_or(e)?)?;
            return make_folders(path);
        }
        Err(e) => return Err(e),
    }
    path.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::stat(path)?;
    Ok((found.st_dev, found.st_ino))
}

/// Drives a future to its end on this thread. Outside an async runtime the local backend does its
/// work in the first poll, so no runtime is needed; inside one it hands over to a blocking thread,
/// which wakes this one.
fn ready<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
