//! A physical copy over the replication protocol.

use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use lifeboat_model::manifest::Tablespace;
use lifeboat_recovery::ports::SourceError;
use lifeboat_vault::{Monitor, Stage};

use super::base::{Base, Part};
use super::error::PgError;
use super::tar::{self, Entry, Kind};
use super::tree::{DATA, Exactly, Owner, TABLESPACES, Tree};
use super::wire::Connection;

/// What a physical copy is.
#[derive(Debug)]
pub(crate) struct Copied {
    /// Where replay begins, and on which timeline.
    pub(crate) start: (u64, u32),
    /// Where it is consistent at the earliest.
    pub(crate) stop: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) tablespaces: Vec<Tablespace>,
}

/// Takes one.
pub(crate) fn copy(
    stream: &mut Connection,
    session: &mut lifeboat_vault::BackupSession,
    (component, version): (&str, u32),
    monitor: &dyn Monitor,
) -> Result<Copied, SourceError> {
    stream.notices();
    let mut base = Base::begin(stream, &format!("lifeboat {component}"), version)?;
    let expected = base.archives.iter().map(|archive| archive.size).sum();
    monitor.total(Stage::Backup, expected, 1);
    let start = base.start;
    let tablespaces = base
        .archives
        .iter()
        .filter_map(|archive| {
            let oid = archive.oid?;
            let location = archive.location.clone();
            let tree = format!("{TABLESPACES}/{oid}");
            Some(Tablespace { oid, name: String::new(), location, tree })
        })
        .collect::<Vec<_>>();
    let mut tree = Tree::new(session, expected);
    let read = read_parts(&mut base, &mut tree);
    // What the server said is the cause, not what it did to the reader.
    if let Some(failure) = base.failure() {
        return Err(failure.into());
    }
    read?;
    tree.finish(!tablespaces.is_empty())?;
    let ((stop, _), bad) = base.finish()?;
    let (files, bytes) = (tree.files, tree.bytes);
    let notices = stream.notices();
    let mut named = 0;
    for said in
        notices.iter().filter(|said| said.code == "XX001" || said.message.contains("checksum"))
    {
        session.add_problem(lifeboat_vault::Problem {
            path: Path::new(DATA).to_owned(),
            what: said.message.clone(),
        });
        named += 1;
    }
    if let (Some(bad), 0) = (bad, named) {
        return Err(bad.into());
    }
    Ok(Copied { start, stop, files, bytes, tablespaces })
}

fn read_parts(base: &mut Base<'_>, tree: &mut Tree<'_>) -> Result<(), SourceError> {
    let mut whole = (false, false);
    while let Some(part) = base.part()? {
        match part {
            Part::Archive(oid) => {
                read_archive(base, oid, tree)?;
                whole.0 |= oid.is_none();
            }
            Part::Manifest => {
                let mtime = Timestamp::UNIX_EPOCH;
                let owner = tree.owner().unwrap_or(Owner { uid: 0, gid: 0, mtime });
                tree.file(&Path::new(DATA).join("backup_manifest"), (0o600, owner), base)?;
                whole.1 = true;
            }
        }
    }
    if whole != (true, true) {
        return Err(PgError::protocol("the backup lacks its data directory or its manifest").into());
    }
    Ok(())
}

fn read_archive(
    base: &mut Base<'_>,
    oid: Option<u32>,
    tree: &mut Tree<'_>,
) -> Result<(), SourceError> {
    let cut = |error: io::Error| SourceError::Read {
        what: "the base backup".to_owned(),
        source: error.into(),
    };
    while let Some(entry) = tar::next(base).map_err(cut)? {
        let Entry { path, kind, size, mode, uid, gid, mtime } = entry;
        let owner = Owner { uid, gid, mtime };
        let place = Tree::path(oid, &path);
        match kind {
            Kind::Folder => tree.folder(&place, mode, owner)?,
            Kind::Link(_) => {
                let number = path.strip_prefix("pg_tblspc/").and_then(|oid| oid.parse().ok());
                match number {
                    Some(number) => tree.link(number, owner)?,
                    // `pg_wal` on another disk: a folder again in the copy.
                    None => tree.folder(&place, 0o700, owner)?,
                }
            }
            Kind::File => {
                let mut content = Exactly { reader: base, left: size };
                tree.file(&place, (mode, owner), &mut content)?;
                let mut rest = Read::take(&mut *base, tar::padding(size));
                io::copy(&mut rest, &mut io::sink()).map_err(cut)?;
            }
        }
    }
    Ok(())
}
