//! A store in memory that is stricter than reality.
//!
//! It refuses what some real store would quietly accept or bend: keys with empty, `.` or `..`
//! parts, capitals and odd characters, a folder prefix with a slash at its end, a key that is also
//! a folder. Its state can be copied (an *image*), saved to a folder where the stock `restic` opens
//! it, loaded back, and damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_vault::{Clock, DeleteStore, Entry, LockStore, Store, StoreError, StoreErrorKind};

use crate::{SimClock, error};

type Objects = BTreeMap<String, (Bytes, Timestamp)>;

/// See the module.
pub struct MemoryStore {
    clock: Arc<SimClock>,
    objects: Mutex<Objects>,
}

const PLACE: &str = "memory";

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new(Arc::default())
    }
}

impl MemoryStore {
    /// An empty store whose modification times come from `clock`.
    pub fn new(clock: Arc<SimClock>) -> Self {
        MemoryStore { clock, objects: Mutex::default() }
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the present state; it shares the clock and nothing else.
    pub fn image(&self) -> MemoryStore {
        let objects = Mutex::new(self.objects().clone());
        MemoryStore { clock: self.clock.clone(), objects }
    }

    /// The clock that stamps the objects.
    pub fn clock(&self) -> &Arc<SimClock> {
        &self.clock
    }

    /// All keys under a folder ("" for all), in order.
    pub fn keys(&self, folder: &str) -> Vec<String> {
        let inside = |key: &&String| in_folder(key, folder);
        self.objects().keys().filter(inside).cloned().collect()
    }

    /// Sum of all sizes, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.objects().values().map(|(body, _)| body.len() as u64).sum()
    }

    /// Damage from outside: replaces an object's bytes by what `change` makes of them, or removes
    /// it where that is `None`. The store's duties do not hold for this call.
    pub fn tamper(&self, key: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut objects = self.objects();
        let (body, modified) = objects.remove(key).unwrap_or_else(|| panic!("no object {key}"));
        if let Some(body) = change(body.to_vec()) {
            objects.insert(key.to_owned(), (body.into(), modified));
        }
    }

    /// Puts an object as it is, replacing an older one.
    pub fn plant(&self, key: &str, body: impl Into<Bytes>) {
        let modified = self.clock.wall();
        self.objects().insert(key.to_owned(), (body.into(), modified));
    }

    /// Writes every object to a file below `folder`, with restic's folders.
    pub fn save_to(&self, folder: &Path) -> std::io::Result<()> {
        for name in ["data", "index", "keys", "locks", "snapshots"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        for (key, (body, _)) in &*self.objects() {
            let path = folder.join(key);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, body)?;
        }
        Ok(())
    }

    /// Reads every file below `folder`. Unlike [`Store::create`] it takes any name.
    pub fn load_from(folder: &Path) -> std::io::Result<Self> {
        fn walk(root: &Path, folder: &Path, objects: &mut Objects) -> std::io::Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    walk(root, &entry.path(), objects)?;
                    continue;
                }
                let path = entry.path();
                let name = path.strip_prefix(root).map_err(std::io::Error::other)?;
                let key = name.to_string_lossy().into_owned();
                let modified = Timestamp::try_from(entry.metadata()?.modified()?)
                    .map_err(std::io::Error::other)?;
                objects.insert(key, (std::fs::read(&path)?.into(), modified));
            }
            Ok(())
        }
        let store = MemoryStore::default();
        walk(folder, folder, &mut store.objects())?;
        Ok(store)
    }

    fn read(&self, verb: &'static str, key: &str) -> Result<(Bytes, Timestamp), StoreError> {
        check_key(verb, key)?;
        let found = self.objects().get(key).cloned();
        found.ok_or_else(|| error(StoreErrorKind::NotFound, verb, key, PLACE))
    }

    fn write(&self, verb: &'static str, key: &str, body: Bytes) -> Result<(), StoreError> {
        check_key(verb, key)?;
        let modified = self.clock.wall();
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Err(error(StoreErrorKind::Exists, verb, key, PLACE));
        }
        // By the order of keys: a look at each would make long tests quadratic.
        let inside = format!("{key}/");
        let next = objects.range(inside.clone()..).next();
        let is_folder = next.is_some_and(|(other, _)| other.starts_with(&inside));
        let mut folders = key.match_indices('/').map(|(end, _)| &key[..end]);
        let below_object = folders.any(|folder| objects.contains_key(folder));
        if is_folder || below_object {
            return Err(error(StoreErrorKind::Other, verb, key, PLACE));
        }
        objects.insert(key.to_owned(), (body, modified));
        Ok(())
    }

    fn remove(&self, verb: &'static str, key: &str) -> Result<(), StoreError> {
        check_key(verb, key)?;
        let found = self.objects().remove(key);
        found.map(drop).ok_or_else(|| error(StoreErrorKind::NotFound, verb, key, PLACE))
    }
}

fn in_folder(key: &str, folder: &str) -> bool {
    folder.is_empty() || key.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn check_key(verb: &'static str, key: &str) -> Result<(), StoreError> {
    let good_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.+".contains(c);
    let good_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 255
            && !part.starts_with('.')
            && part.chars().all(good_char)
    };
    // Capitals are legal nowhere but in the names of hosts and components.
    let lower = key.to_ascii_lowercase();
    let named = key.starts_with("ledger/") || key.starts_with("journal/");
    if lower.split('/').all(good_part) && (key == lower || named) {
        Ok(())
    } else {
        Err(error(StoreErrorKind::Other, verb, key, PLACE))
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.read("get", key).map(|(body, _)| body)
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let (body, _) = self.read("get", key)?;
        match offset.checked_add(len) {
            Some(end) if end <= body.len() as u64 => Ok(body.slice(offset as usize..end as usize)),
            _ => Err(error(StoreErrorKind::Short, "get", key, PLACE)),
        }
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        // Some real stores take locks by the same door; this one does not.
        if in_folder(key, "locks") {
            return Err(error(StoreErrorKind::Denied, "create", key, PLACE));
        }
        self.write("create", key, parts.concat().into())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        if !prefix.is_empty() {
            check_key("list", prefix)?;
        }
        let objects = self.objects();
        let inside = objects.iter().filter(|(key, _)| in_folder(key, prefix));
        Ok(inside
            .map(|(key, (body, modified))| Entry {
                key: key.clone(),
                size: body.len() as u64,
                modified: *modified,
            })
            .collect())
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        let (body, modified) = self.read("stat", key)?;
        Ok(Entry { key: key.to_owned(), size: body.len() as u64, modified })
    }

    fn describe(&self) -> String {
        PLACE.to_owned()
    }
}

impl DeleteStore for MemoryStore {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.remove("delete", key)
    }
}

impl LockStore for MemoryStore {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        if !in_folder(key, "locks") {
            return Err(error(StoreErrorKind::Denied, "create", key, PLACE));
        }
        self.write("create", key, body)
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        if !in_folder(key, "locks") {
            return Err(error(StoreErrorKind::Denied, "delete", key, PLACE));
        }
        self.remove("delete", key)
    }
}
