//! What a running stream tells the captures of the same database: how far the journal has it, and
//! whether the stream missed nothing meanwhile.
//!
//! A base leads into the journal from `txid` on if every page that changed since is in
//! the ranges after it. A stream that follows the log ships each of them. One that compares pages ships
//! those that differ, and a page that was changed and changed back is in the base only: then the
//! rolling checksum refuses the base at the restore. So a base gets a position only if the
//! stream was alive around it and had to compare nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::position::{LogPosition, Position};
use lifeboat_vault::Clock;
use serde_json::{Value, json};

use super::map;

/// Held locked by a living stream.
const LOCK: &str = "stream.lock";
const FILE: &str = "position.json";
/// Between two signs of life.
const BEAT: Duration = Duration::from_millis(250);
/// The longest that a capture waits for one.
const WAIT: Duration = Duration::from_secs(3);

/// The stream's side.
pub(super) struct Beacon {
    folder: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    state: Mark,
    beat: Duration,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sqlite) struct Mark {
    at: LogPosition,
    /// Another one after each comparison that had to be made.
    epoch: u64,
    /// Counts looks at the log.
    beat: u64,
}

impl Beacon {
    /// Locks the state; `None` if another stream has it.
    pub fn light(folder: &Path, clock: &dyn Clock) -> io::Result<Option<Beacon>> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        // A capture that asks whether it is locked holds it for a moment.
        for _ in 0..50 {
            match lock.try_lock() {
                Ok(()) => {
                    let beat = read(folder).map_or(0, |mark| mark.beat);
                    let epoch = read(folder).map_or(0, |mark| mark.epoch);
                    let at = LogPosition { lineage: String::new(), position: Position::default() };
                    let state = Mark { at, epoch, beat };
                    let folder = folder.to_owned();
                    return Ok(Some(Beacon { folder, _lock: lock, state, beat: Duration::ZERO }));
                }
                Err(TryLockError::WouldBlock) => clock.sleep(Duration::from_millis(4)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// From here on the stream cannot vouch for what it did not see.
    pub fn doubt(&mut self) -> io::Result<()> {
        self.state.epoch += 1;
        self.write()
    }

    /// The journal has everything up to here.
    pub fn durable(&mut self, at: LogPosition) -> io::Result<()> {
        self.state.at = at;
        self.write()
    }

    /// The log was looked at, and nothing is missing.
    pub fn beat(&mut self, clock: &dyn Clock) -> io::Result<()> {
        let now = clock.monotonic();
        if now.saturating_sub(self.beat) < BEAT && self.beat != Duration::ZERO {
            return Ok(());
        }
        self.beat = now;
        self.state.beat += 1;
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let value = json!({
            "format": 1,
            "lineage": self.state.at.lineage,
            "position": self.state.at.position,
            "epoch": self.state.epoch,
            "beat": self.state.beat,
        });
        map::replace(&self.folder, FILE, value.to_string().as_bytes(), false)
    }
}

fn read(folder: &Path) -> Option<Mark> {
    let value: Value = serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()?;
    let number = |name: &str| value[name].as_u64();
    (number("format")? == 1).then_some(())?;
    let position = value["position"].as_str()?.parse().ok()?;
    let at = LogPosition { lineage: value["lineage"].as_str()?.to_owned(), position };
    Some(Mark { at, epoch: number("epoch")?, beat: number("beat")? })
}

/// True if a stream holds the lock.
fn is_alive(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Before a capture's first read: how far the journal has the database. `None` where no stream is
/// alive.
pub(in crate::sqlite) fn before(folder: &Path) -> Option<Mark> {
    let mark = is_alive(folder).then(|| read(folder))??;
    (!mark.at.lineage.is_empty()).then_some(mark)
}

/// After it: the position of the base, if the stream missed nothing meanwhile.
pub(in crate::sqlite) fn after(
    folder: &Path,
    before: Mark,
    clock: &dyn Clock,
) -> Option<LogPosition> {
    let start = clock.monotonic();
    let first = read(folder)?.beat;
    loop {
        let now = read(folder)?;
        if !is_alive(folder) || now.epoch != before.epoch || now.at.lineage != before.at.lineage {
            return None;
        }
        // The second look from now on began after the capture's transaction did. One that is busy
        // with an upload holds its own transaction, and looks later.
        if now.beat >= first + 2 || clock.monotonic().saturating_sub(start) > WAIT {
            return Some(before.at);
        }
        clock.sleep(Duration::from_millis(20));
    }
}
