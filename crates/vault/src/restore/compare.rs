//! Files that stand in the target: hashed blob by blob, so that only what differs is fetched.
//!
//! What is right stays as it is. A file that has other names as well is never changed through them:
//! it gets an inode of its own, unless everything about it is right already.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::existing::{Aside, look};
use super::files::{Standing, TargetFile, write_data};
use super::plan::is_fatal;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::meta;
use crate::monitor::Stage;
use crate::pack::BlobKind;
use crate::parallel;
use crate::pieces::{self, Zeros};
use crate::sync::lock;
use crate::vault::Vault;

/// A regular file at a place where one belongs.
struct Found {
    file: usize,
    metadata: Metadata,
    /// Lengths of the content's blobs, as far as they are known.
    lengths: Vec<u64>,
    /// How many of them the file reaches.
    within: usize,
}

/// Finds out of each file what is right, and makes what is not ready for writing.
pub(super) fn files(
    vault: &Vault,
    aside: &Aside,
    threads: usize,
    files: &mut [TargetFile],
) -> Result<()> {
    let numbers: Vec<usize> = (0..files.len()).filter(|at| files[*at].stands).collect();
    let found = parallel::map(&numbers, threads, |at| find(vault, aside, &files[*at], *at))?;
    let found: Vec<Found> = found.into_iter().flatten().collect();
    let mut shares = Vec::new();
    let mut of = Vec::new();
    for (number, one) in found.iter().enumerate() {
        shares.extend(pieces::shares(&files[one.file].path, &one.lengths[..one.within]));
        of.resize(shares.len(), number);
    }
    let mut ids: Vec<Option<Vec<Id>>> = found.iter().map(|_| Some(Vec::new())).collect();
    let hashed = pieces::hash(vault, &shares, threads, &Zeros::default())?;
    for (number, hashed) in of.into_iter().zip(hashed) {
        // What cannot be read is not right.
        ids[number] = ids[number].take().zip(hashed.ok()).map(|(mut ids, more)| {
            ids.extend(more);
            ids
        });
    }
    let work: Vec<(&Found, Option<Vec<Id>>)> = found.iter().zip(ids).collect();
    let standing = parallel::map(&work, threads, |(found, ids)| {
        vault.stop_if_cancelled()?;
        let file = &files[found.file];
        match take_over(aside, file, found, ids.as_deref()) {
            Ok(standing) => Ok(standing),
            Err(error) if is_fatal(&error) => Err(Error::io("write", &file.path, error)),
            Err(error) => {
                file.fail(&format!("cannot replace what stands there: {error}"));
                Ok(Standing::default())
            }
        }
    })?;
    for (found, standing) in found.iter().zip(standing) {
        let bytes = standing.bytes(&found.lengths);
        let counted = standing.right.first().copied().unwrap_or(standing.done);
        vault.environment().monitor.advance(Stage::Restore, bytes, u64::from(counted));
        files[found.file].stand(standing, bytes);
    }
    Ok(())
}

/// What stands at the place of a file. What is no regular file is set aside.
fn find(vault: &Vault, aside: &Aside, file: &TargetFile, at: usize) -> Result<Option<Found>> {
    vault.stop_if_cancelled()?;
    let regular = || match look(&file.path)? {
        Some(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Some(_) => aside.take(&file.path).map(|()| None),
        None => Ok(None),
    };
    let metadata = match regular() {
        Ok(Some(metadata)) => metadata,
        Ok(None) => return Ok(None),
        Err(error) if is_fatal(&error) => return Err(Error::io("look at", &file.path, error)),
        Err(error) => {
            file.fail(&format!("cannot set aside what stands there: {error}"));
            return Ok(None);
        }
    };
    let index = vault.index()?;
    let mut lengths = Vec::new();
    for id in file.node.content.iter().flatten() {
        let location = match index.lookup(BlobKind::Data, id) {
            Some(location) => Some(location),
            None => vault.locate(BlobKind::Data, id)?.first().copied(),
        };
        let Some(location) = location else { break };
        lengths.push(u64::from(location.content_length()));
    }
    let mut end = 0u64;
    let reached = |length: &&u64| {
        end = end.saturating_add(**length);
        **length > 0 && end <= metadata.len()
    };
    let within = lengths.iter().take_while(reached).count();
    Ok(Some(Found { file: at, metadata, lengths, within }))
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Decides what becomes of a file whose pieces have these ids (`None`: it cannot be read).
fn take_over(
    aside: &Aside,
    file: &TargetFile,
    found: &Found,
    ids: Option<&[Id]>,
) -> io::Result<Standing> {
    let content = file.node.content.as_deref().unwrap_or_default();
    let known = ids.filter(|_| found.lengths.len() == content.len());
    let (Some(ids), Ok(old)) = (known, open(&file.path)) else {
        aside.take(&file.path)?;
        return Ok(Standing::default());
    };
    let right: Vec<bool> =
        content.iter().enumerate().map(|(at, id)| ids.get(at) == Some(id)).collect();
    let length = found.lengths.iter().sum();
    let whole = found.metadata.len() == length && right.iter().all(|right| *right);
    if found.metadata.nlink() > 1 {
        let place = (found.metadata.dev(), found.metadata.ino());
        let stays = whole
            && file.node.links > 1
            && meta::is_as(&file.node, &found.metadata, meta::open_handle(&old))
            && lock(&aside.shared).insert(place);
        if stays {
            return Ok(Standing { right, done: true, ..Standing::default() });
        }
        return own_inode(file, found, &old, right, length);
    }
    if whole {
        file.set_metadata(&old);
        return Ok(Standing { right, done: true, ..Standing::default() });
    }
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let new = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&file.path);
    let Ok(new) = new else {
        // A program that runs, for one.
        return own_inode(file, found, &old, right, length);
    };
    let done = right.iter().all(|right| *right);
    if done {
        new.set_len(length)?;
        file.set_metadata(&new);
    }
    // Else it is left as it is until the first blob has come.
    Ok(Standing { right, done, created: true, patch: Some(length) })
}

/// Takes one name off an inode with several, and gives it what is right of the content.
fn own_inode(
    file: &TargetFile,
    found: &Found,
    old: &File,
    mut right: Vec<bool>,
    length: u64,
) -> io::Result<Standing> {
    std::fs::remove_file(&file.path)?;
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.path)?;
    new.set_len(length)?;
    let mut bytes = Vec::new();
    let mut offset = 0;
    let content = file.node.content.as_deref().unwrap_or_default();
    for ((id, right), length) in content.iter().zip(&mut right).zip(&found.lengths) {
        if *right {
            bytes.resize(usize::try_from(*length).map_err(io::Error::other)?, 0);
            old.read_exact_at(&mut bytes, offset)?;
            *right = Id::of(&bytes) == *id;
            if *right {
                write_data(&new, &bytes, offset)?;
            }
        }
        offset += length;
    }
    let done = right.iter().all(|right| *right);
    if done {
        file.set_metadata(&new);
    }
    Ok(Standing { right, done, created: true, patch: None })
}
