//! restic's locks, taken and honoured.
//!
//! A lock is an object under `locks/`. A new one is made only where none conflicts; after that the
//! others are looked at again, because somebody may have done the same at the same time: a moment
//! later, or at once where the store lists what was made at once ([`LockStore::lists_at_once`]). Only
//! then it counts as held, be it shared or exclusive, and only then its holder reads what he relies
//! on: somebody may have held an exclusive lock while ours came to be, and what he removed is read by
//! nobody who reads after he is gone. Every five minutes a lock is replaced by a new one. Before what
//! cannot be taken back ([`LockGuard::confirm`]) the store is asked whether ours is still there.
//!
//! A lock left by a dead process of this host is removed by whoever comes next, and so is one older
//! than 30 minutes whose process cannot be seen from here: by our clock and by the times of the store
//! too, which has stamped ours just now. A lock of this host whose process lives is never left
//! behind, whatever any clock says: clocks jump. Ours name the start of their process beside its
//! number (`process`, which restic passes over), so that a number that was given away does not keep a
//! lock alive; restic's do not, and count as its own while the process of that number is a restic.
//! What cannot be read is respected until it is old.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, LockedBy, Result};
use crate::flaw::ReadFailure;
use crate::id::Id;
use crate::process::{self, Holder};
use crate::store::{LockStore, StoreErrorKind};
use crate::sync::lock as guard_of;
use crate::vault::{Folder, Stored, Vault};

/// Age at which a lock counts as left behind.
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// Age at which ours is replaced.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Without a successful replacement for so long, others may soon take ours for left behind.
const LOST: Duration = Duration::from_secs(22 * 60 + 30);
/// Between making our lock and looking again for others, where a listing may be older than that.
const SETTLE: Duration = Duration::from_millis(200);
/// Between tries to read a lock that cannot be read.
const RETRY: Duration = Duration::from_secs(1);
const TRIES: usize = 3;

/// A lock object's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockFile {
    #[serde(with = "crate::node::time")]
    time: Timestamp,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    uid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    gid: u32,
    /// Tells the process from others of its number, see [`crate::process`]. Not restic's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<String>,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl LockFile {
    fn new(vault: &Vault, exclusive: bool) -> Self {
        let environment = vault.environment();
        LockFile {
            time: environment.clock.wall(),
            exclusive,
            hostname: environment.host.clone(),
            username: environment.user.clone(),
            pid: i64::from(environment.pid),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            process: process::birth(environment.pid),
        }
    }

    /// Whether somebody holds this lock, which the store says was made at `modified`.
    fn standing(&self, now: &Now, modified: Timestamp, host: &str) -> Standing {
        let ours = self.hostname == host && !host.is_empty();
        let holder = match ours {
            true => process::holder(self.pid, self.process.as_deref()),
            false => Holder::Unseen,
        };
        match holder {
            Holder::Lives => Standing::Held,
            Holder::Gone => Standing::Left("its process is gone"),
            Holder::Unseen => now.judge(self.time, modified),
        }
    }

    fn holder(&self) -> LockedBy {
        LockedBy {
            host: self.hostname.clone(),
            user: self.username.clone(),
            pid: u32::try_from(self.pid).unwrap_or_default(),
            since: self.time,
            exclusive: self.exclusive,
        }
    }
}

/// Whether somebody holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Yes, or it cannot be told.
    Held,
    /// Old by our clock; by the store's it is not known yet.
    Doubtful,
    /// No, and why.
    Left(&'static str),
}

/// The time by our clock, and by the store's if it has just stamped a lock of ours.
struct Now {
    wall: Timestamp,
    store: Option<Timestamp>,
}

impl Now {
    /// Of a lock of which only the age tells: it must be old by both clocks.
    fn judge(&self, time: Timestamp, modified: Timestamp) -> Standing {
        if self.wall.duration_since(time) <= STALE {
            return Standing::Held;
        }
        match self.store {
            None => Standing::Doubtful,
            Some(now) if now.duration_since(modified) > STALE => {
                Standing::Left("it is older than 30 minutes")
            }
            Some(_) => Standing::Held,
        }
    }
}

/// A held lock; dropping it removes the lock object.
#[derive(Debug)]
pub struct LockGuard(Option<Held>);

struct Held {
    state: Arc<State>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

struct State {
    vault: Vault,
    locks: Arc<dyn LockStore>,
    exclusive: bool,
    current: Mutex<Current>,
}

struct Current {
    id: Id,
    /// Monotonic and wall time of the last replacement.
    refreshed: (Duration, Timestamp),
    lost: Option<String>,
}

impl LockGuard {
    /// A guard of nothing.
    pub(crate) fn none() -> LockGuard {
        LockGuard(None)
    }

    /// Takes a lock. On return no conflicting one is held beside it: what is read from now on is
    /// removed by nobody.
    pub(crate) fn acquire(vault: &Vault, exclusive: bool) -> Result<LockGuard> {
        let Some(locks) = vault.lock_store().cloned() else { return Ok(LockGuard::none()) };
        look_for_others(vault, &*locks, None, exclusive)?;
        let state = State::create(vault, locks, exclusive)?;
        if let Err(conflict) = state.settle() {
            state.remove();
            return Err(conflict);
        }
        let state = Arc::new(state);
        let (stop, stopped) = mpsc::channel::<()>();
        let refresher = state.clone();
        let thread = std::thread::Builder::new()
            .name("vault lock".into())
            .spawn(move || {
                // Real time decides only how often we look; the clock decides what is due.
                while stopped.recv_timeout(Duration::from_millis(500))
                    == Err(RecvTimeoutError::Timeout)
                {
                    refresher.refresh_if_due();
                }
            })
            .map_err(|source| {
                state.remove();
                Error::io("start a thread for", "the vault's lock", source)
            })?;
        Ok(LockGuard(Some(Held { state, stop: Some(stop), thread: Some(thread) })))
    }

    /// Fails if the lock is known not to be ours any more: then nothing may be written that others
    /// rely on. To be called before index objects are written; asks nobody.
    pub fn verify(&self) -> Result<()> {
        let Some(held) = &self.0 else { return Ok(()) };
        held.state.verify(&guard_of(&held.state.current))
    }

    /// As [`LockGuard::verify`], and asks the store: whether the lock is there, and beside an
    /// exclusive one no other. To be called before a snapshot is written or anything is removed.
    pub fn confirm(&self) -> Result<()> {
        let Some(held) = &self.0 else { return Ok(()) };
        held.state.confirm()
    }

    /// Key of the lock object at the moment; none on a vault that is only read.
    pub fn key(&self) -> Option<String> {
        self.0.as_ref().map(|held| Folder::Locks.key(&guard_of(&held.state.current).id))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.state.vault.note("the thread that renews the lock failed");
        }
        self.state.remove();
    }
}

impl State {
    fn create(vault: &Vault, locks: Arc<dyn LockStore>, exclusive: bool) -> Result<State> {
        let clock = &vault.environment().clock;
        let refreshed = (clock.monotonic(), clock.wall());
        let id = write(vault, &*locks, exclusive)?;
        let current = Mutex::new(Current { id, refreshed, lost: None });
        Ok(State { vault: vault.clone(), locks, exclusive, current })
    }

    /// Looks again for others, a moment after the lock was made.
    fn settle(&self) -> Result<()> {
        let wait = if self.locks.lists_at_once() { Duration::ZERO } else { SETTLE };
        if !wait.is_zero() {
            self.vault.environment().clock.sleep(wait);
        }
        self.look_again(&guard_of(&self.current))
    }

    fn look_again(&self, current: &Current) -> Result<()> {
        look_for_others(&self.vault, &*self.locks, Some(&current.id), self.exclusive)
    }

    /// Time since the last replacement; the wall clock counts where the machine slept.
    fn age(&self, current: &Current) -> Duration {
        let clock = &self.vault.environment().clock;
        let (monotonic, wall) = current.refreshed;
        let by_wall = clock.wall().duration_since(wall);
        let by_wall = Duration::try_from(by_wall).unwrap_or_default();
        clock.monotonic().saturating_sub(monotonic).max(by_wall)
    }

    fn verify(&self, current: &Current) -> Result<()> {
        if let Some(why) = &current.lost {
            return Err(Error::LockLost { why: why.clone() });
        }
        if self.age(current) > LOST {
            return Err(Error::LockLost { why: "it could not be renewed in time".into() });
        }
        Ok(())
    }

    /// While ours is there nobody can have held a conflicting one since it was made.
    fn confirm(&self) -> Result<()> {
        // Not renewed meanwhile: what is looked for is what is there.
        let current = guard_of(&self.current);
        self.verify(&current)?;
        if self.exclusive {
            return self.look_again(&current);
        }
        made_at(&self.vault, &current.id).map(drop)
    }

    fn refresh_if_due(&self) {
        let mut current = guard_of(&self.current);
        if current.lost.is_some() || self.age(&current) < REFRESH {
            return;
        }
        match self.refresh(&mut current) {
            Ok(()) => {}
            Err(Error::LockLost { why }) => {
                self.vault.note(&format!("the lock on the vault was lost: {why}"));
                current.lost = Some(why);
            }
            // Tried again at the next look; `verify` fails when it takes too long.
            Err(error) => self.vault.note(&format!("cannot renew the lock on the vault: {error}")),
        }
    }

    /// Makes the new lock before it removes the old one. If the old one is gone, somebody took us
    /// for dead, and may hold an exclusive lock since.
    fn refresh(&self, current: &mut Current) -> Result<()> {
        let clock = &self.vault.environment().clock;
        let old = Folder::Locks.key(&current.id);
        made_at(&self.vault, &current.id)?;
        let refreshed = (clock.monotonic(), clock.wall());
        let id = write(&self.vault, &*self.locks, self.exclusive)?;
        current.id = id;
        match self.locks.remove_lock(&old) {
            Ok(()) => {
                current.refreshed = refreshed;
                Ok(())
            }
            Err(error) if error.kind == StoreErrorKind::NotFound => Err(removed()),
            // The new one holds; the old one goes stale by itself.
            Err(error) => {
                current.refreshed = refreshed;
                Err(error.into())
            }
        }
    }

    fn remove(&self) {
        let current = guard_of(&self.current);
        match self.locks.remove_lock(&Folder::Locks.key(&current.id)) {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => self.vault.note(&format!("cannot remove our lock: {error}")),
        }
    }
}

fn write(vault: &Vault, locks: &dyn LockStore, exclusive: bool) -> Result<Id> {
    let (id, body) = vault.seal_document(Folder::Locks, &LockFile::new(vault, exclusive))?;
    locks.create_lock(&Folder::Locks.key(&id), body)?;
    Ok(id)
}

fn removed() -> Error {
    Error::LockLost { why: "somebody removed it".into() }
}

/// When the store says that our lock was made.
fn made_at(vault: &Vault, own: &Id) -> Result<Timestamp> {
    match vault.store().stat(&Folder::Locks.key(own)) {
        Ok(entry) => Ok(entry.modified),
        Err(error) if error.kind == StoreErrorKind::NotFound => Err(removed()),
        Err(error) => Err(error.into()),
    }
}

/// Removes what dead processes left and fails if a living one holds a conflicting lock, or if ours
/// is gone. Where we have none yet, what only the store's clock can tell is left to the second look.
fn look_for_others(
    vault: &Vault,
    locks: &dyn LockStore,
    own: Option<&Id>,
    exclusive: bool,
) -> Result<()> {
    let listed = vault.list(Folder::Locks)?;
    let store = match own.map(|own| (own, listed.iter().find(|one| one.id == *own))) {
        None => None,
        Some((_, Some(found))) => Some(found.modified),
        // A listing may be late.
        Some((own, None)) => Some(made_at(vault, own)?),
    };
    for stored in listed.iter().filter(|stored| own != Some(&stored.id)) {
        let now = Now { wall: vault.environment().clock.wall(), store };
        let why = match read_patiently(vault, stored)? {
            None => continue,
            Some(Ok(file)) => {
                match file.standing(&now, stored.modified, &vault.environment().host) {
                    Standing::Left(why) => why,
                    Standing::Held if exclusive || file.exclusive => {
                        return Err(Error::Locked(Box::new(file.holder())));
                    }
                    Standing::Held | Standing::Doubtful => continue,
                }
            }
            // An object of no bytes is what an interrupted upload leaves in some stores; restic
            // passes over it as well.
            Some(Err(_)) if stored.size == 0 => continue,
            Some(Err(why)) => match now.judge(stored.modified, stored.modified) {
                Standing::Left(why) => why,
                Standing::Doubtful => continue,
                Standing::Held => {
                    return Err(Error::UnreadableLock { key: Folder::Locks.key(&stored.id), why });
                }
            },
        };
        match locks.remove_lock(&Folder::Locks.key(&stored.id)) {
            Ok(()) => vault.note(&format!("removed lock {}: {why}", stored.id.short())),
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The lock, why it cannot be read, or nothing if it went away meanwhile.
fn read_patiently(
    vault: &Vault,
    stored: &Stored,
) -> Result<Option<std::result::Result<LockFile, String>>> {
    let mut failure = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            vault.environment().clock.sleep(RETRY);
        }
        match vault.load_document(Folder::Locks, &stored.id, None) {
            Ok(json) => match serde_json::from_slice(&json) {
                Ok(file) => return Ok(Some(Ok(file))),
                Err(error) => failure = format!("not a lock: {error}"),
            },
            Err(ReadFailure::Damaged(flaw)) => failure = flaw.why,
            Err(ReadFailure::Store(error)) => failure = error.to_string(),
        }
        match vault.store().stat(&Folder::Locks.key(&stored.id)) {
            Ok(_) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if stored.size == 0 {
            break;
        }
    }
    Ok(Some(Err(failure)))
}
