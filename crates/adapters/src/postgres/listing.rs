//! Which files of a data directory belong into a copy: the choice of `pg_basebackup`.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::tree::{Owner, Relation, Tree};

/// Their content means nothing to another start of the server.
const EMPTIED: [&str; 8] = [
    "pg_stat_tmp",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
    "pg_wal",
];
/// Not part of a copy, wherever they stand.
const LEFT_OUT: [&str; 7] = [
    "postmaster.pid",
    "postmaster.opts",
    "backup_label",
    "tablespace_map",
    "backup_manifest",
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
];
/// Read when all else has been.
pub(crate) const CONTROL: &str = "global/pg_control";

/// Something to copy.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where it is now.
    pub(crate) source: PathBuf,
    /// Where it stands in the snapshot.
    pub(crate) tree: PathBuf,
    /// What the manifest calls it.
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
}

/// All of a data directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) folders: Vec<Found>,
    /// In order; the control file is the last.
    pub(crate) files: Vec<Found>,
    /// Tablespaces: number, where its link leads, whose it is.
    pub(crate) tablespaces: Vec<(u32, PathBuf, Owner)>,
    /// Neither file nor folder.
    pub(crate) strange: Vec<PathBuf>,
}

impl Listing {
    /// Lists it. What vanishes meanwhile is not there.
    pub(crate) fn of(data: &Path, major: u32) -> io::Result<Listing> {
        let mut listing = Listing::default();
        listing.folder(data, None, "")?;
        for name in ["archive_status", "summaries"] {
            let source = data.join("pg_wal").join(name);
            if let Ok(meta) = source.symlink_metadata()
                && meta.is_dir()
            {
                let found = found(&source, &meta, None, format!("pg_wal/{name}"));
                listing.folders.push(found);
            }
        }
        for (oid, place, owner) in listing.tablespaces.clone() {
            listing.folders.push(Found {
                source: place.clone(),
                tree: Tree::path(Some(oid), ""),
                name: String::new(),
                size: 0,
                mode: 0o700,
                owner,
            });
            // Other versions of the server may keep theirs beside.
            let own = format!("PG_{major}_");
            for entry in entries(&place)? {
                let name = entry.file_name().to_string_lossy().into_owned();
                let meta = entry.metadata();
                if let Some(meta) = meta.ok().filter(|meta| meta.is_dir() && name.starts_with(&own))
                {
                    let found = found(&entry.path(), &meta, Some(oid), name.clone());
                    listing.folders.push(found);
                    listing.folder(&entry.path(), Some(oid), &name)?;
                }
            }
        }
        let control = listing.files.iter().position(|file| file.name == CONTROL);
        if let Some(control) = control.map(|at| listing.files.remove(at)) {
            listing.files.push(control);
        }
        Ok(listing)
    }

    fn folder(&mut self, folder: &Path, archive: Option<u32>, at: &str) -> io::Result<()> {
        let entries = entries(folder)?;
        let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let unlogged: BTreeSet<String> = names
            .filter_map(|name| match Relation::read(&name) {
                Some(Relation { node, fork: Some("init"), .. }) => Some(node.to_owned()),
                _ => None,
            })
            .collect();
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else {
                self.strange.push(entry.path());
                continue;
            };
            if is_left_out(&name, &unlogged) {
                continue;
            }
            // Vanished since: nothing that replay would miss.
            let Ok(meta) = entry.metadata() else { continue };
            let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
            if archive.is_none() && at == "pg_tblspc" && meta.is_symlink() {
                self.tablespace(&entry, &name, &meta)?;
            } else if archive.is_none() && at.is_empty() && EMPTIED.contains(&&name[..]) {
                let found = found(&entry.path(), &meta, None, path);
                self.folders.push(Found { mode: 0o700, ..found });
            } else if meta.is_dir() {
                self.folders.push(found(&entry.path(), &meta, archive, path.clone()));
                self.folder(&entry.path(), archive, &path)?;
            } else if meta.is_file() {
                self.files.push(found(&entry.path(), &meta, archive, path));
            } else {
                self.strange.push(entry.path());
            }
        }
        Ok(())
    }

    fn tablespace(&mut self, entry: &DirEntry, name: &str, meta: &Metadata) -> io::Result<()> {
        match name.parse() {
            Ok(oid) => {
                let place = fs::read_link(entry.path())?;
                self.tablespaces.push((oid, place, owner(meta)));
            }
            Err(_) => self.strange.push(entry.path()),
        }
        Ok(())
    }
}

/// True for what is temporary, the server's own, or made again from an `_init` file.
fn is_left_out(name: &str, unlogged: &BTreeSet<String>) -> bool {
    let temporary = name.strip_prefix('t').and_then(|rest| rest.split_once('_'));
    let temporary = temporary.is_some_and(|(session, rest)| {
        !session.is_empty()
            && session.bytes().all(|byte| byte.is_ascii_digit())
            && Relation::read(rest).is_some()
    });
    let emptied = Relation::read(name)
        .is_some_and(|relation| relation.fork != Some("init") && unlogged.contains(relation.node));
    LEFT_OUT.contains(&name)
        || name.starts_with("pgsql_tmp")
        || name.starts_with("pg_internal.init")
        || temporary
        || emptied
}

/// In order of their names; none if the folder has vanished.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let mut all: Vec<DirEntry> = match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    all.sort_by_key(DirEntry::file_name);
    Ok(all)
}

fn found(source: &Path, meta: &Metadata, archive: Option<u32>, path: String) -> Found {
    let tree = Tree::path(archive, &path);
    let name = match archive {
        None => path,
        Some(oid) => format!("pg_tblspc/{oid}/{path}"),
    };
    let (size, mode) = (meta.len(), meta.mode() & 0o7777);
    Found { source: source.to_owned(), tree, name, size, mode, owner: owner(meta) }
}

fn owner(meta: &Metadata) -> Owner {
    let mtime = Timestamp::new(meta.mtime(), i32::try_from(meta.mtime_nsec()).unwrap_or(0));
    let mtime = mtime.unwrap_or(Timestamp::UNIX_EPOCH);
    Owner { uid: meta.uid(), gid: meta.gid(), mtime }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_must_not_have_is_left_out() {
        let unlogged = BTreeSet::from(["16400".to_owned()]);
        for name in [
            "postmaster.pid",
            "pgsql_tmp12.0",
            "pg_internal.init.77",
            "t3_16385",
            "t12_16385_fsm.1",
            "16400",
            "16400.1",
            "16400_vm",
        ] {
            assert!(is_left_out(name, &unlogged), "{name}");
        }
        for name in ["16400_init", "16401", "PG_VERSION", "t3", "pg_filenode.map", "tables"] {
            assert!(!is_left_out(name, &unlogged), "{name}");
        }
    }
}
