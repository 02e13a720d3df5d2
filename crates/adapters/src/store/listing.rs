//! Listing of a local tier: whole or an error.
//!
//! Symbolic links are followed (a tier may spread over disks); a broken one is an error, for what
//! it stood for cannot be listed. A file whose name is not UTF-8 is no object: no key names it. At
//! the root of a file system `lost+found` is passed over.

use std::ffi::OsStr;
use std::fs::{DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lifeboat_vault::Entry;

/// The folders of a tier in which this program makes objects.
const OURS: [&str; 4] = ["vault", "journal", "ledger", "plan"];
/// How the names of sealed objects end.
const SEALED: &str = ".age";

/// Every object under the folder `prefix`, in key order. A missing folder has none.
pub(super) fn list(root: &Path, prefix: &str) -> io::Result<Vec<Entry>> {
    let folder = prefix.trim_end_matches('/');
    let mut entries = Vec::new();
    walk(root, folder, &mut |key, meta| {
        if !is_leftover(&key) {
            let modified = modified(meta)?;
            entries.push(Entry { key, size: meta.len(), modified });
        }
        Ok(())
    })?;
    entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(entries)
}

/// What killed uploads of our own objects left, with its time.
///
/// The tier may be a folder with other things in it, and `NAME#DIGITS` is a name that others give
/// too: only the folders and names that this program makes are looked at, no symbolic link is
/// followed, and what cannot be read is passed over, for a leftover does no harm.
pub(super) fn leftovers(root: &Path) -> Vec<(PathBuf, Timestamp)> {
    let mut found = Vec::new();
    for folder in OURS {
        look_below(root, folder, &mut found);
    }
    found
}

fn look_below(root: &Path, folder: &str, found: &mut Vec<(PathBuf, Timestamp)>) {
    let path = root.join(folder);
    if !std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
        return;
    }
    let Ok(reader) = std::fs::read_dir(&path) else { return };
    for entry in reader.flatten() {
        let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else {
            continue;
        };
        let key = format!("{folder}/{name}");
        if kind.is_dir() {
            look_below(root, &key, found);
        } else if kind.is_file()
            && is_our_leftover(&key)
            && let Ok(time) = entry.metadata().and_then(|meta| modified(&meta))
        {
            found.push((entry.path(), time));
        }
    }
}

/// True for a leftover beside a key of ours: an object of the vault, or a sealed one.
fn is_our_leftover(key: &str) -> bool {
    let Some((object, _)) = key.rsplit_once('#').filter(|_| is_leftover(key)) else {
        return false;
    };
    let is_id = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = object.split('/').collect();
    match parts[..] {
        ["vault", "config"] => true,
        ["vault", "keys" | "index" | "snapshots" | "locks", name] => is_id(name),
        ["vault", "data", folder, name] => is_id(name) && name.get(..2) == Some(folder),
        ["journal" | "plan", name] => name.ends_with(SEALED),
        ["ledger", _, "entries" | "checkpoints" | "evidence", name] => name.ends_with(SEALED),
        _ => false,
    }
}

/// True for `NAME#DIGITS`, the name under which `object_store` stages an upload.
pub(super) fn is_leftover(key: &str) -> bool {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    name.split_once('#')
        .is_some_and(|(_, tail)| !tail.is_empty() && tail.bytes().all(|b| b.is_ascii_digit()))
}

fn modified(meta: &Metadata) -> io::Result<Timestamp> {
    Timestamp::try_from(meta.modified()?).map_err(io::Error::other)
}

type Visit<'a> = dyn FnMut(String, &Metadata) -> io::Result<()> + 'a;

fn walk(root: &Path, folder: &str, visit: &mut Visit<'_>) -> io::Result<()> {
    let reader = match std::fs::read_dir(root.join(folder)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in reader {
        let entry = entry?;
        let name = entry.file_name();
        if folder.is_empty() && name == OsStr::new("lost+found") {
            continue;
        }
        let Some(name) = name.to_str() else { continue };
        let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        match metadata(&entry)? {
            None => {}
            Some(meta) if meta.is_dir() => walk(root, &key, visit)?,
            Some(meta) if meta.is_file() => visit(key, &meta)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Follows links. `None` if the entry was removed since it was read.
fn metadata(entry: &DirEntry) -> io::Result<Option<Metadata>> {
    // `DirEntry::metadata` stats relative to the open folder: no path is walked again.
    let meta = match entry.metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if meta.is_symlink() { std::fs::metadata(entry.path()).map(Some) } else { Ok(Some(meta)) }
}

#[cfg(test)]
mod tests {
    use super::{is_leftover, is_our_leftover};

    #[test]
    fn a_leftover_is_a_name_with_a_number_sign_and_digits() {
        assert!(is_leftover("data/ab/abcd#1"));
        assert!(is_leftover("config#12"));
        for object in ["data/ab/abcd", "a#", "a#1b", "a#1/b", "#x", "1"] {
            assert!(!is_leftover(object), "{object}");
        }
    }

    #[test]
    fn only_names_of_our_objects_are_swept() {
        let id = "ab".repeat(32);
        for ours in [
            "vault/config#1".to_owned(),
            format!("vault/index/{id}#12"),
            format!("vault/data/ab/{id}#1"),
            "journal/identity.age#3".to_owned(),
            "ledger/a.host/entries/1-2.jsonl.zst.age#1".to_owned(),
        ] {
            assert!(is_our_leftover(&ours), "{ours}");
        }
        for other in [
            "vault/notes#1".to_owned(),
            format!("vault/data/cd/{id}#1"),
            format!("vault/other/{id}#1"),
            format!("vault/index/{id}"),
            format!("index/{id}#1"),
            "ledger/song#1".to_owned(),
            "journal/2024#1".to_owned(),
        ] {
            assert!(!is_our_leftover(&other), "{other}");
        }
    }
}
