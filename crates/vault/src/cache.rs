//! A local cache of what is read again and again from a store that is far away: index objects,
//! snapshot objects, and packs that hold trees. What it keeps are the stored bytes, sealed as they
//! are there.
//!
//! It is never needed and never believed. Whether an object exists, and how long it is, the store's
//! listing says; a cached object counts only if it has that length and its SHA-256 is its name, a
//! tree out of a cached pack only if its content has the tree's SHA-256. What does not is thrown
//! away and read from the store. [`crate::Vault::check`] does not look at it.
//!
//! Several processes share it: a file appears whole, by being renamed, or not at all. It may be
//! deleted at any moment. Where it cannot be read or written, the vault works without it and says
//! so once.

mod room;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use self::room::Room;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::monitor::Monitor;
use crate::sync::lock;

/// Bytes that a cache takes at most if nobody says otherwise.
pub const DEFAULT_LIMIT: u64 = 2 << 30;
/// Larger packs are read piece by piece and not kept.
pub(crate) const LARGEST_PACK: u64 = 64 << 20;
/// Marks a folder that other backup programs shall leave out (bford.info/cachedir).
const TAG: (&str, &[u8]) = ("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n");
/// So often the folder is made again while somebody deletes it.
const TRIES: u32 = 10;
/// Files that are being written.
const UNFINISHED: &str = ".new-";

/// A cache folder, which holds the objects of any number of vaults.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    /// None if nothing may be written.
    room: Option<Room>,
    number: AtomicU64,
    clock: Arc<dyn Clock>,
    /// Packs that a thread is reading from the store, and word of one that is done.
    fetching: Mutex<HashSet<Id>>,
    fetched: Condvar,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cache").field(&self.0.folder).finish()
    }
}

/// What is kept, by folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Index,
    Snapshots,
    /// Packs of trees.
    Trees,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Kept::Index => "index",
            Kept::Snapshots => "snapshots",
            Kept::Trees => "trees",
        }
    }
}

impl Cache {
    /// The cache in `folder`, which is made (mode 0700) if it is not there, of at most about
    /// `limit` bytes: what was not used for longest goes first.
    pub fn open(folder: &Path, limit: u64, clock: Arc<dyn Clock>) -> Result<Cache> {
        for _ in 0..TRIES {
            match make_private(folder).and_then(|()| fs::write(folder.join(TAG.0), TAG.1)) {
                // Somebody deletes it at this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                made => {
                    made.map_err(|error| Error::io("make", folder, error))?;
                    break;
                }
            }
        }
        Ok(Cache::new(folder, Some(Room::new(limit)), clock))
    }

    /// The cache in `folder`, if it is there, read and left as it is.
    pub fn open_to_read(folder: &Path, clock: Arc<dyn Clock>) -> Cache {
        Cache::new(folder, None, clock)
    }

    fn new(folder: &Path, room: Option<Room>, clock: Arc<dyn Clock>) -> Cache {
        Cache(Arc::new(Shared {
            folder: folder.to_owned(),
            room,
            number: AtomicU64::new(0),
            clock,
            fetching: Mutex::default(),
            fetched: Condvar::new(),
        }))
    }
}

/// A folder for this user alone.
fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The part of a cache that belongs to one vault.
#[derive(Clone)]
pub(crate) struct VaultCache {
    cache: Cache,
    folder: PathBuf,
    monitor: Arc<dyn Monitor>,
    complained: Arc<AtomicBool>,
}

impl VaultCache {
    /// None if the vault has no proper id.
    pub fn new(cache: &Cache, vault: &str, monitor: Arc<dyn Monitor>) -> Option<VaultCache> {
        let id: Id = vault.parse().ok()?;
        let folder = cache.0.folder.join(id.to_string());
        Some(VaultCache { cache: cache.clone(), folder, monitor, complained: Arc::default() })
    }

    fn path(&self, kept: Kept, id: &Id) -> PathBuf {
        self.folder.join(kept.name()).join(id.to_string())
    }

    /// An object that the store lists with this size, if it is here and is the one of its name.
    pub fn get(&self, kept: Kept, id: &Id, listed: u64) -> Option<Bytes> {
        let path = self.path(kept, id);
        let found = self.try_to("read", &path, || {
            let mut file = File::open(&path)?;
            if file.metadata()?.len() != listed {
                return Ok(None);
            }
            let mut body = Vec::with_capacity(listed as usize);
            file.read_to_end(&mut body)?;
            self.touch(&file)?;
            Ok(Some(body))
        });
        match found? {
            Some(body) if Id::of(&body) == *id => Some(body.into()),
            _ => {
                self.remove(kept, id);
                None
            }
        }
    }

    /// Part of a pack of trees, if it is here. What is in it the caller must prove, and
    /// [`VaultCache::remove`] the pack if it is not right.
    pub fn get_range(&self, pack: &Id, offset: u64, length: u64) -> Option<Bytes> {
        let path = self.path(Kept::Trees, pack);
        let found = self.try_to("read", &path, || {
            let file = File::open(&path)?;
            if offset
                .checked_add(length)
                .is_none_or(|end| end > file.metadata().map_or(0, |data| data.len()))
            {
                return Ok(None);
            }
            let mut body = vec![0; length as usize];
            file.read_exact_at(&mut body, offset)?;
            self.touch(&file)?;
            Ok(Some(body))
        });
        match found? {
            Some(body) => Some(body.into()),
            None => {
                self.remove(Kept::Trees, pack);
                None
            }
        }
    }

    /// Keeps the stored bytes of an object.
    pub fn put(&self, kept: Kept, id: &Id, body: &[u8]) {
        let Some(room) = &self.cache.0.room else { return };
        let path = self.path(kept, id);
        let Some(folder) = path.parent() else { return };
        self.try_to("write", &path, || {
            if !room.make(&self.cache.0.folder, body.len() as u64, &*self.cache.0.clock)? {
                return Ok(());
            }
            make_private(folder)?;
            let number = self.cache.0.number.fetch_add(1, Ordering::Relaxed);
            let unfinished = folder.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
            let written = write_private(&unfinished, body, self.cache.0.clock.wall().into())
                .and_then(|()| fs::rename(&unfinished, &path));
            if written.is_err() {
                // What cannot be removed either goes when its time has come.
                let _ = fs::remove_file(&unfinished);
            }
            written
        });
    }

    /// Throws an object away.
    pub fn remove(&self, kept: Kept, id: &Id) {
        let path = self.path(kept, id);
        if self.cache.0.room.is_some() {
            self.try_to("remove", &path, || fs::remove_file(&path));
        }
    }

    /// Throws away what the store does not list any more.
    pub fn retain(&self, kept: Kept, is_listed: impl Fn(&Id) -> bool) {
        let folder = self.folder.join(kept.name());
        let names = self.try_to("read", &folder, || {
            fs::read_dir(&folder)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        });
        for name in names.into_iter().flatten() {
            // What is being written has another sort of name.
            let id = name.to_str().and_then(|name| name.parse::<Id>().ok());
            if let Some(id) = id.filter(|id| !is_listed(id)) {
                self.remove(kept, &id);
            }
        }
    }

    /// Lets one thread at a time read a pack from the store; the others wait for it and look again.
    pub fn one_at_a_time<T>(&self, pack: &Id, read: impl FnOnce() -> T) -> T {
        let shared = &self.cache.0;
        let mut fetching = lock(&shared.fetching);
        while !fetching.insert(*pack) {
            fetching = shared.fetched.wait(fetching).unwrap_or_else(PoisonError::into_inner);
        }
        drop(fetching);
        let _turn = Turn(shared, *pack);
        read()
    }

    /// False if nothing is ever added.
    pub fn is_filled(&self) -> bool {
        self.cache.0.room.is_some()
    }

    /// Used now: what was not for longest goes first.
    fn touch(&self, file: &File) -> io::Result<()> {
        if self.cache.0.room.is_none() {
            return Ok(());
        }
        file.set_modified(self.cache.0.clock.wall().into())
    }

    /// A cache that does not work is no failure of the vault; one that is not there is nothing.
    fn try_to<T>(
        &self,
        verb: &str,
        path: &Path,
        work: impl FnOnce() -> io::Result<T>,
    ) -> Option<T> {
        match work() {
            Ok(result) => Some(result),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                if !self.complained.swap(true, Ordering::Relaxed) {
                    let path = path.display();
                    self.monitor.note(&format!(
                        "going on without the cache: cannot {verb} {path}: {error}"
                    ));
                }
                None
            }
        }
    }
}

/// A thread's turn with one pack; ends however the reading ends.
struct Turn<'a>(&'a Shared, Id);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.fetching).remove(&self.1);
        self.0.fetched.notify_all();
    }
}

fn write_private(path: &Path, body: &[u8], now: SystemTime) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(body)?;
    file.set_modified(now)
}
