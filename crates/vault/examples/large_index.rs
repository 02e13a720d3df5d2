//! A vault with a large index and nothing else, and what it costs to open it.
//!
//! `large_index make FOLDER BLOBS` writes a vault whose index objects name so many random blobs, as
//! many an object and a pack as restic has; there are no packs. Its password is `large`.
//! `large_index open FOLDER BLOBS` opens it, loads the index, looks each blob up and prints
//! seconds and peak memory (MiB) as JSON. Status 1 if a
//! blob is not found where it was put.
//! `large_index backup FOLDER BLOBS SOURCE` says of the packs that they are there, saves a folder
//! into it and plans a pruning, which looks at everything; it prints the same of each.
//!
//! `scripts/bench --only index` runs all beside restic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lifeboat_testkit::{SimClock, environment};
use lifeboat_vault::clock::Clock;
use lifeboat_vault::crypto::Key;
use lifeboat_vault::index::IndexFile;
use lifeboat_vault::pack::{pack_key, pack_size};
use lifeboat_vault::{
    BackupOptions, BlobKind, Entry, Id, KeepAll, KeyStrength, LockStore, PackedBlob, Password,
    PruneOptions, Root, SnapshotMeta, Store, StoreError, StoreErrorKind, Vault, WalkSpec, compress,
};

const BLOBS_A_PACK: u64 = 16;
const BLOBS_AN_OBJECT: u64 = 50_000;
const LENGTH: u32 = 1 << 20;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["make", folder, blobs] => make(Path::new(folder), blobs.parse()?),
        ["open", folder, blobs] => open(Path::new(folder), blobs.parse()?),
        ["backup", folder, blobs, source] => backup(Path::new(folder), blobs.parse()?, source),
        _ => Err("usage: large_index make|open FOLDER BLOBS | backup FOLDER BLOBS SOURCE".into()),
    }
}

fn make(folder: &Path, blobs: u64) -> Fallible<()> {
    let store = Arc::new(Folder(folder.to_owned()));
    let environment = environment(Arc::new(SimClock::default()));
    let strength = KeyStrength::Generated;
    let password = Password::new("large");
    let vault = Vault::init(store.clone(), store.clone(), &password, strength, environment, None)?;
    let key = Key::from_bytes(vault.seed()?.to_bytes()[..64].try_into()?);
    let mut file = IndexFile::default();
    let mut content = Vec::new();
    for number in 0..blobs {
        content.push(blob(number));
        let last = number + 1 == blobs;
        if content.len() as u64 == BLOBS_A_PACK || last {
            file.push(pack_of(number), &content);
            content.clear();
        }
        if (number + 1) % BLOBS_AN_OBJECT == 0 || last {
            let json = serde_json::to_vec(&std::mem::take(&mut file))?;
            let mut plain = vec![2];
            plain.extend(compress::compress(&json, compress::DEFAULT_LEVEL)?);
            let sealed = key.seal(&plain)?;
            store.create(&format!("index/{}", Id::of(&sealed)), &[sealed.into()])?;
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods)] // It measures.
fn open(folder: &Path, blobs: u64) -> Fallible<()> {
    let store = Arc::new(Folder(folder.to_owned()));
    let start = Instant::now();
    let environment = environment(Arc::new(SimClock::default()));
    let vault = Vault::open(store, None, &Password::new("large"), environment)?;
    let opened = start.elapsed();
    vault.load_index()?;
    let loaded = start.elapsed();
    for number in 0..blobs {
        let wanted = blob(number);
        let found = vault.locate(wanted.kind, &wanted.id)?;
        let right = found.iter().any(|found| {
            found.pack == pack_of(number)
                && (found.offset, found.length) == (wanted.offset, wanted.length)
        });
        if !right {
            return Err(format!("blob {number} is not found where it was put").into());
        }
    }
    let looked_up = start.elapsed();
    println!(
        "{{\"open\": {:.3}, \"load\": {:.3}, \"lookups\": {:.3}, \"peak_mib\": {}}}",
        opened.as_secs_f64(),
        (loaded - opened).as_secs_f64(),
        (looked_up - loaded).as_secs_f64(),
        peak_mib()?,
    );
    Ok(())
}

#[allow(clippy::disallowed_methods)] // It measures.
fn backup(folder: &Path, blobs: u64, source: &str) -> Fallible<()> {
    let store = Arc::new(Full { folder: Folder(folder.to_owned()), blobs });
    let start = Instant::now();
    let environment = environment(Arc::new(SimClock::default()));
    let password = Password::new("large");
    let vault = Vault::open(store.clone(), Some(store), &password, environment)?;
    let mut session = vault.backup(BackupOptions::default())?;
    let roots = vec![Root { source: source.into(), tree: "/source".into() }];
    let filter = Arc::new(KeepAll);
    session.add_paths(&WalkSpec { roots, filter, one_file_system: false })?;
    let time = SimClock::default().wall();
    let saved = session.finish(SnapshotMeta { time, tags: Vec::new(), paths: Vec::new() })?;
    let (backed_up, peak) = (start.elapsed(), peak_mib()?);
    if saved.files_new == 0 {
        return Err("nothing was saved".into());
    }
    let planned = vault.plan_prune(&PruneOptions::default())?;
    println!(
        "{{\"backup\": {:.3}, \"peak_mib\": {peak}, \"plan\": {:.3}, \"peak_with_plan_mib\": {}, \
         \"unneeded_packs\": {}}}",
        backed_up.as_secs_f64(),
        (start.elapsed() - backed_up).as_secs_f64(),
        peak_mib()?,
        planned.marked.packs,
    );
    Ok(())
}

/// The kernel's own high-water mark of resident memory.
fn peak_mib() -> Fallible<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(kib.parse::<u64>()?.div_ceil(1024))
}

/// Blob number n: one in ten is a tree.
fn blob(number: u64) -> PackedBlob {
    let place = (number % BLOBS_A_PACK) as u32;
    PackedBlob {
        kind: if (number / BLOBS_A_PACK).is_multiple_of(10) {
            BlobKind::Tree
        } else {
            BlobKind::Data
        },
        id: random_id(number),
        offset: place * LENGTH,
        length: LENGTH - (number % 1000) as u32,
        uncompressed_length: (number % 2 * 3) as u32 * LENGTH,
    }
}

fn pack_of(number: u64) -> Id {
    random_id(number / BLOBS_A_PACK + (1 << 40))
}

/// Looks like a SHA-256 and is cheaper (splitmix64).
fn random_id(seed: u64) -> Id {
    let mut bytes = [0; 32];
    for (at, part) in bytes.chunks_exact_mut(8).enumerate() {
        let mut z = (seed * 4 + at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        part.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    Id::from_bytes(bytes)
}

/// A folder of plain files, so that what the store holds does not count as memory.
struct Folder(PathBuf);

impl Folder {
    fn error(&self, verb: &'static str, key: &str, source: std::io::Error) -> StoreError {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => StoreErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => StoreErrorKind::Exists,
            _ => StoreErrorKind::Other,
        };
        let source = Some(source.into());
        StoreError { kind, verb, key: key.to_owned(), place: self.describe(), source }
    }
}

impl Store for Folder {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let bytes = std::fs::read(self.0.join(key));
        bytes.map(Bytes::from).map_err(|error| self.error("get", key, error))
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let bytes = self.get(key)?;
        let end = offset.checked_add(len).filter(|end| *end <= bytes.len() as u64);
        let end = end.ok_or_else(|| self.error("get", key, std::io::ErrorKind::Other.into()))?;
        Ok(bytes.slice(offset as usize..end as usize))
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let path = self.0.join(key);
        let parent = path.parent().unwrap_or(&self.0);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, parts.concat()))
            .map_err(|error| self.error("create", key, error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let listed = match std::fs::read_dir(self.0.join(prefix)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(|error| self.error("list", prefix, error))?,
        };
        let mut entries = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|error| self.error("list", prefix, error))?;
            let key = format!("{prefix}/{}", entry.file_name().to_string_lossy());
            entries.push(self.stat(&key)?);
        }
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(entries)
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        let data = std::fs::metadata(self.0.join(key));
        let data = data.map_err(|error| self.error("stat", key, error))?;
        let modified = SimClock::default().wall();
        Ok(Entry { key: key.to_owned(), size: data.len(), modified })
    }

    fn describe(&self) -> String {
        self.0.display().to_string()
    }
}

impl LockStore for Folder {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.create(key, &[body])
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        std::fs::remove_file(self.0.join(key)).map_err(|error| self.error("delete", key, error))
    }
}

/// The same, in which the packs are said to be.
struct Full {
    folder: Folder,
    blobs: u64,
}

impl Full {
    fn packs(&self) -> impl Iterator<Item = Entry> {
        (0..self.blobs).step_by(BLOBS_A_PACK as usize).map(|first| {
            let blobs: Vec<PackedBlob> =
                (first..self.blobs.min(first + BLOBS_A_PACK)).map(blob).collect();
            let modified = SimClock::default().wall();
            Entry { key: pack_key(&pack_of(first)), size: pack_size(&blobs), modified }
        })
    }
}

impl Store for Full {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.folder.get(key)
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.folder.get_range(key, offset, len)
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.folder.create(key, parts)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        if prefix != "data" {
            return self.folder.list(prefix);
        }
        let mut entries: Vec<Entry> = self.packs().collect();
        for folder in self.folder.list(prefix)? {
            entries.extend(self.folder.list(&folder.key)?);
        }
        Ok(entries)
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.folder.stat(key)
    }

    fn describe(&self) -> String {
        self.folder.describe()
    }
}

impl LockStore for Full {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.folder.create_lock(key, body)
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        self.folder.remove_lock(key)
    }
}
