//! The bound of a cache: what was not used for longest makes room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

use super::{TAG, UNFINISHED};
use crate::clock::Clock;
use crate::sync::lock;

/// A file that somebody began to write so long ago is nobody's any more.
const ABANDONED: SignedDuration = SignedDuration::from_hours(24);
/// After this part of the limit was added, what others added meanwhile is looked up.
const LOOK_AGAIN: u64 = 16;
/// What is longer than this part of the limit is not kept.
const LARGEST: u64 = 4;

pub(super) struct Room {
    limit: u64,
    used: Mutex<Option<Used>>,
}

/// As far as this process knows.
struct Used {
    bytes: u64,
    /// Of these, added since the folder was looked at.
    added: u64,
}

struct Found {
    modified: Timestamp,
    size: u64,
    path: PathBuf,
}

impl Room {
    pub fn new(limit: u64) -> Self {
        Room { limit, used: Mutex::default() }
    }

    /// Makes room for so many bytes more; false if they are too many to be kept at all.
    pub fn make(&self, folder: &Path, more: u64, clock: &dyn Clock) -> io::Result<bool> {
        if more > self.limit / LARGEST {
            return Ok(false);
        }
        let mut used = lock(&self.used);
        match &mut *used {
            Some(used)
                if used.bytes + more <= self.limit
                    && used.added + more <= self.limit / LOOK_AGAIN =>
            {
                used.bytes += more;
                used.added += more;
            }
            slot => {
                let kept = self.look_and_evict(folder, more, clock)?;
                *slot = Some(Used { bytes: kept + more, added: more });
            }
        }
        Ok(true)
    }

    /// Returns the bytes that stay. If there are too many, a tenth of the limit is freed besides,
    /// so that this is not to be done again at once.
    fn look_and_evict(&self, folder: &Path, more: u64, clock: &dyn Clock) -> io::Result<u64> {
        let mut found = Vec::new();
        collect(folder, &mut found)?;
        let now = clock.wall();
        found.retain(|file| !is_abandoned(file, now) || !removed(&file.path));
        let mut bytes: u64 = found.iter().map(|file| file.size).sum();
        if bytes + more <= self.limit {
            return Ok(bytes);
        }
        found.sort_unstable_by_key(|file| file.modified);
        for file in &found {
            if bytes + more <= self.limit - self.limit / 10 {
                break;
            }
            if removed(&file.path) {
                bytes -= file.size;
            }
        }
        Ok(bytes)
    }
}

fn is_abandoned(file: &Found, now: Timestamp) -> bool {
    let name = file.path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with(UNFINISHED))
        && now.duration_since(file.modified) > ABANDONED
}

/// Gone, by us or by another.
fn removed(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// All files below, whoever put them there. What vanishes meanwhile is no matter.
fn collect(folder: &Path, found: &mut Vec<Found>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let data = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            data => data?,
        };
        if data.is_dir() {
            collect(&entry.path(), found)?;
        } else if entry.file_name() != TAG.0 {
            let modified = Timestamp::try_from(data.modified()?).unwrap_or(Timestamp::MIN);
            found.push(Found { modified, size: data.len(), path: entry.path() });
        }
    }
    Ok(())
}
