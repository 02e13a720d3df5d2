//! Where the files of a base stand in a snapshot, and how they are cut.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lifeboat_vault::{BackupSession, Chunking, Error, FileMeta};

/// The data directory.
pub(crate) const DATA: &str = "/pgdata";
/// The tablespaces outside it.
pub(crate) const TABLESPACES: &str = "/tablespaces";
/// Configuration that lives outside it.
pub(crate) const CONFIG: &str = "/config";

/// Pages are cut in these pieces, so that an unchanged one is stored once.
const SMALL_CUT: u32 = 64 << 10;
/// The same for large clusters.
const LARGE_CUT: u32 = 256 << 10;
/// From this size on a cluster is large.
const LARGE: u64 = 64 << 30;

/// Who a file belonged to, and since when it is as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
}

/// A snapshot that grows.
pub(crate) struct Tree<'a> {
    pub(crate) session: &'a mut BackupSession,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    cut: u32,
    owner: Option<Owner>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(session: &'a mut BackupSession, expected: u64) -> Tree<'a> {
        let cut = if expected > LARGE { LARGE_CUT } else { SMALL_CUT };
        Tree { session, files: 0, bytes: 0, cut, owner: None }
    }

    /// Who the files belong to.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// The tree path of what an archive calls so.
    pub(crate) fn path(archive: Option<u32>, path: &str) -> PathBuf {
        match archive {
            None => Path::new(DATA).join(path),
            Some(oid) => Path::new(TABLESPACES).join(oid.to_string()).join(path),
        }
    }

    pub(crate) fn folder(&mut self, path: &Path, mode: u32, owner: Owner) -> Result<(), Error> {
        self.owner.get_or_insert(owner);
        self.session.add_folder(path, meta(mode, owner))
    }

    /// A tablespace's link leads to where the tablespace stands beside: wherever the copy is moved.
    pub(crate) fn link(&mut self, oid: u32, owner: Owner) -> Result<(), Error> {
        let path = Path::new(DATA).join("pg_tblspc").join(oid.to_string());
        let target = Path::new("../../tablespaces").join(oid.to_string());
        self.session.add_link(&path, &target, meta(0o777, owner))
    }

    /// Files of pages are cut at pages, all others by their content.
    pub(crate) fn file(
        &mut self,
        path: &Path,
        (mode, owner): (u32, Owner),
        reader: &mut dyn Read,
    ) -> Result<u64, Error> {
        self.owner.get_or_insert(owner);
        let chunking = match is_relation(path) {
            true => Chunking::Fixed(self.cut),
            false => Chunking::Content,
        };
        let stored = self.session.add_stream(path, meta(mode, owner), chunking, reader)?;
        self.files += 1;
        self.bytes += stored.size;
        Ok(stored.size)
    }

    /// The folders that no archive tells of.
    pub(crate) fn finish(&mut self, tablespaces: bool) -> Result<(), Error> {
        let Some(owner) = self.owner else { return Ok(()) };
        self.session.add_folder(Path::new(DATA), meta(0o700, owner))?;
        if tablespaces {
            self.session.add_folder(Path::new(TABLESPACES), meta(0o700, owner))?;
        }
        Ok(())
    }
}

fn meta(mode: u32, owner: Owner) -> FileMeta {
    let mut meta = FileMeta::private(owner.mtime);
    // Names of users here mean nothing to another machine's server: numbers alone.
    (meta.user, meta.group) = (String::new(), String::new());
    (meta.mode, meta.uid, meta.gid) = (mode, owner.uid, owner.gid);
    meta
}

/// True for a file of pages, by its name: `16384`, `16384.1`, `16384_vm`, below a database's folder.
pub(crate) fn is_relation(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let of_database = parent.is_some_and(|name| {
        name == "global" || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    of_database && Relation::read(name).is_some()
}

/// A relation's file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relation<'a> {
    /// Number of the file node.
    pub(crate) node: &'a str,
    /// `fsm`, `vm`, `init`; none for the rows themselves.
    pub(crate) fork: Option<&'a str>,
    /// Which piece of a long one.
    pub(crate) segment: u32,
}

impl<'a> Relation<'a> {
    pub(crate) fn read(name: &'a str) -> Option<Relation<'a>> {
        let (rest, segment) = match name.split_once('.') {
            Some((rest, segment)) => (rest, segment.parse().ok()?),
            None => (name, 0),
        };
        let (node, fork) = match rest.split_once('_') {
            Some((node, fork @ ("fsm" | "vm" | "init"))) => (node, Some(fork)),
            Some(_) => return None,
            None => (rest, None),
        };
        let digits = !node.is_empty() && node.bytes().all(|byte| byte.is_ascii_digit());
        digits.then_some(Relation { node, fork, segment })
    }
}

/// Reads at most so many bytes, and notices fewer.
pub(crate) struct Exactly<'a> {
    pub(crate) reader: &'a mut dyn Read,
    pub(crate) left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..length])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file is cut off"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_known_by_their_names() {
        for (path, is) in [
            ("/pgdata/base/5/16384", true),
            ("/pgdata/base/5/16384.12", true),
            ("/pgdata/base/5/16384_vm", true),
            ("/pgdata/global/1262", true),
            ("/tablespaces/16400/PG_15_202209061/5/16401", true),
            ("/pgdata/base/5/t3_16384", false),
            ("/pgdata/base/5/PG_VERSION", false),
            ("/pgdata/pg_xact/0000", false),
            ("/pgdata/pg_wal/000000010000000000000002", false),
        ] {
            assert_eq!(is_relation(Path::new(path)), is, "{path}");
        }
        let relation = Relation::read("16384_fsm.3").unwrap();
        assert_eq!((relation.node, relation.fork, relation.segment), ("16384", Some("fsm"), 3));
    }
}
