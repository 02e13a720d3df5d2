//! Tells that a database was not written to since an earlier capture read it, so that it need not
//! be read again.
//!
//! SQLite writes its files through the file system, not through a mapping (unless somebody builds it
//! with `SQLITE_MMAP_READWRITE`), so every commit moves
//! the times of the file or of its `-wal`. Inode, size and both times of the two must be as they
//! were before *and* after the earlier reading, and that reading must have begun well after the
//! last change, because time stamps move in steps. A rollback journal that stands beside the file
//! means a writer under way: then the database is read. So it is after a boot, because a power cut
//! may keep content and lose the times that go with it. And once a day it is read whatever its
//! times say: trust in them is for hours, not for ever.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::manifest::{Content, FORMAT, FileState, Manifest, Seen, SqliteContent};
use lifeboat_vault::BackupSession;

use super::open::{Live, beside, size_of};
use super::{NewestChange, SqliteOptions};

/// The coarsest steps of time stamps that file systems in use have (FAT: two seconds).
const STEP: SignedDuration = SignedDuration::from_secs(2);
/// The longest that a reading is relied on.
const TRUST: SignedDuration = SignedDuration::from_hours(24);
/// Name of this way in the manifest.
pub(super) const METHOD: &str = "unchanged";

/// The database's files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    file: FileState,
    log: Option<FileState>,
}

/// Looks at the files, and opens none; `None` where a writer is under way or one cannot be seen.
pub(super) fn look(live: &Live) -> Option<Look> {
    if size_of(&beside(&live.real, "-journal")) > 0 {
        return None;
    }
    let file = state(&live.real).ok()?;
    let log = match state(&beside(&live.real, "-wal")) {
        Ok(log) => Some(log).filter(|log| log.size > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => return None,
    };
    Some(Look { file, log })
}

/// Which boot this is; `None` where the system does not say.
fn boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn state(path: &Path) -> std::io::Result<FileState> {
    let found = std::fs::metadata(path)?;
    let nanoseconds = |seconds: i64, rest: i64| -> String {
        (i128::from(seconds) * 1_000_000_000 + i128::from(rest)).to_string()
    };
    Ok(FileState {
        device: found.dev(),
        inode: found.ino(),
        size: found.len(),
        mtime: nanoseconds(found.mtime(), found.mtime_nsec()),
        ctime: nanoseconds(found.ctime(), found.ctime_nsec()),
    })
}

impl Look {
    /// True if nobody wrote between the two looks. SQLite, run by root, sets the log's owner when
    /// it opens it, to read too: that moves the time of its inode, not that of its content.
    pub fn same_content(&self, later: &Look) -> bool {
        let content = |log: &Option<FileState>| {
            log.as_ref().map(|log| (log.device, log.inode, log.size, log.mtime.clone()))
        };
        self.file == later.file && content(&self.log) == content(&later.log)
    }

    /// What a manifest keeps of a reading that began at `began`, if it can be relied on later.
    pub fn seen(self, began: Timestamp, newest: Option<&NewestChange>) -> Option<Seen> {
        let limit = began.saturating_sub(STEP).ok()?.as_nanosecond();
        let earlier = |time: &String| time.parse::<i128>().is_ok_and(|time| time < limit);
        let all = earlier(&self.file.mtime)
            && earlier(&self.file.ctime)
            && self.log.as_ref().is_none_or(|log| earlier(&log.mtime));
        let newest_of = newest.map(|newest| (newest.table.clone(), newest.column.clone()));
        let boot = boot().filter(|_| all)?;
        Some(Seen { read: began, boot, file: self.file, log: self.log, newest_of })
    }
}

/// The content of the parent snapshot, if the database is still that.
pub(super) fn since_parent(
    session: &BackupSession,
    look: &Look,
    options: &SqliteOptions,
    component: &str,
    now: Timestamp,
) -> Option<SqliteContent> {
    // Whatever is wrong with the parent: then the database is read.
    let bytes = session.parent_file(lifeboat_model::manifest::NAME).ok()??;
    let parent: Manifest = serde_json::from_slice(&bytes).ok()?;
    if parent.format != FORMAT || parent.component != component {
        return None;
    }
    let Content::Sqlite(content) = parent.content else { return None };
    let seen = content.seen.as_ref()?;
    let newest = options.newest_change.as_ref();
    let same = boot().as_ref() == Some(&seen.boot)
        && seen.file == look.file
        && seen.log == look.log
        && seen.newest_of == newest.map(|newest| (newest.table.clone(), newest.column.clone()))
        && content.source == std::path::absolute(&options.path).ok()?.display().to_string();
    let age = now.duration_since(seen.read);
    let trusted = !age.is_negative() && age < TRUST;
    (same && trusted).then(|| SqliteContent { method: METHOD.to_owned(), blocked_ms: 0, ..content })
}
