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

/// Every object under the folder `prefix`, in key order. A missing folder has none.
pub(super) fn list(root: &Path, prefix: &str) -> io::Result<Vec<Entry>> {
    let folder = prefix.trim_end_matches('/');
    let mut entries = Vec::new();
    walk(root, folder, &mut |key, meta, _| {
        if !is_leftover(&key) {
            let modified = modified(meta)?;
            entries.push(Entry { key, size: meta.len(), modified });
        }
        Ok(())
    })?;
    entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(entries)
}

/// What killed uploads left, with its time.
pub(super) fn leftovers(root: &Path) -> io::Result<Vec<(PathBuf, Timestamp)>> {
    let mut found = Vec::new();
    walk(root, "", &mut |key, meta, path| {
        if is_leftover(&key) {
            found.push((path, modified(meta)?));
        }
        Ok(())
    })?;
    Ok(found)
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

type Visit<'a> = dyn FnMut(String, &Metadata, PathBuf) -> io::Result<()> + 'a;

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
            Some(meta) if meta.is_file() => visit(key, &meta, entry.path())?,
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
    use super::is_leftover;

    #[test]
    fn a_leftover_is_a_name_with_a_number_sign_and_digits() {
        assert!(is_leftover("data/ab/abcd#1"));
        assert!(is_leftover("config#12"));
        for object in ["data/ab/abcd", "a#", "a#1b", "a#1/b", "#x", "1"] {
            assert!(!is_leftover(object), "{object}");
        }
    }
}
