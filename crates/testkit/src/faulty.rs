//! A store that fails or lies when told to; without armed faults it is the store below.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lifeboat_vault::{DeleteStore, Entry, LockStore, Store, StoreError, StoreErrorKind};

/// The calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `get` and `get_range`.
    Get,
    /// `create`.
    Create,
    /// `list`: fails as a listing does whose second page does not arrive.
    List,
    /// `stat`.
    Stat,
    /// `delete`.
    Delete,
    /// `create_lock`.
    CreateLock,
    /// `remove_lock`.
    RemoveLock,
}

impl Verb {
    /// True if the call changes what is stored.
    fn writes(self) -> bool {
        !matches!(self, Verb::Get | Verb::List | Verb::Stat)
    }
}

/// One planned failure.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which call.
    pub verb: Verb,
    /// Only calls whose key begins with this.
    pub prefix: String,
    /// How many such calls succeed first.
    pub after: u64,
    /// How many calls fail then.
    pub times: u64,
    /// What they report.
    pub kind: StoreErrorKind,
    /// The call has its effect all the same, only the answer is lost.
    pub after_effect: bool,
}

impl Fault {
    /// The n-th call (from 1) of a verb fails once.
    pub fn nth(verb: Verb, n: u64, kind: StoreErrorKind) -> Self {
        let prefix = String::new();
        Fault { verb, prefix, after: n - 1, times: 1, kind, after_effect: false }
    }

    /// Every call of a verb on keys under `prefix` fails.
    pub fn always(verb: Verb, prefix: &str, kind: StoreErrorKind) -> Self {
        let prefix = prefix.to_owned();
        Fault { verb, prefix, after: 0, times: u64::MAX, kind, after_effect: false }
    }
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    space_left: Option<u64>,
    writes_left: Option<u64>,
    killer: Option<(Verb, String, u64)>,
    truncated_reads: bool,
}

/// See the module.
pub struct FaultyStore<S> {
    inner: S,
    plan: Mutex<Plan>,
}

impl<S: Store> FaultyStore<S> {
    /// Wraps a store; nothing fails yet.
    pub fn new(inner: S) -> Self {
        FaultyStore { inner, plan: Mutex::default() }
    }

    /// The store below.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a failure.
    pub fn arm(&self, fault: Fault) {
        self.plan().faults.push(fault);
    }

    /// From now on so many bytes can be created, then every create fails for lack of space.
    pub fn no_space_after(&self, bytes: u64) {
        self.plan().space_left = Some(bytes);
    }

    /// The machine dies after so many further writes (locks and deletions count): every call fails
    /// from then on.
    pub fn dies_after(&self, writes: u64) {
        self.plan().writes_left = Some(writes);
    }

    /// The process is killed (it panics) at the call of this verb on a key under `prefix` that comes
    /// after so many others, before the call has any effect.
    pub fn kills_at(&self, verb: Verb, prefix: &str, after: u64) {
        self.plan().killer = Some((verb, prefix.to_owned(), after));
    }

    /// A lie that no store may tell: ranged reads come back one byte short, as a success.
    pub fn truncate_reads(&self) {
        self.plan().truncated_reads = true;
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        *self.plan() = Plan::default();
    }

    /// Counts the call down; `Some` if it shall fail.
    fn due(&self, verb: Verb, key: &str) -> Option<(StoreErrorKind, bool)> {
        let mut plan = self.plan();
        if let Some((_, _, after)) =
            plan.killer.as_mut().filter(|(of, prefix, _)| *of == verb && key.starts_with(&**prefix))
        {
            if *after == 0 {
                drop(plan);
                std::panic::panic_any("killed");
            }
            *after -= 1;
        }
        if let Some(left) = &mut plan.writes_left {
            match *left {
                0 => return Some((StoreErrorKind::Unreachable, false)),
                _ if verb.writes() => *left -= 1,
                _ => {}
            }
        }
        let concerned = |fault: &&mut Fault| {
            fault.verb == verb && key.starts_with(&fault.prefix) && fault.times > 0
        };
        let mut result = None;
        for fault in plan.faults.iter_mut().filter(concerned) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if result.is_none() {
                fault.times -= 1;
                result = Some((fault.kind, fault.after_effect));
            }
        }
        result
    }

    fn run<T>(
        &self,
        verb: Verb,
        name: &'static str,
        key: &str,
        call: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.due(verb, key) {
            None => call(),
            Some((kind, after_effect)) => {
                if after_effect {
                    call()?;
                }
                Err(crate::error(kind, name, key, &self.describe()))
            }
        }
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.run(Verb::Get, "get", key, || self.inner.get(key))
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let bytes = self.run(Verb::Get, "get", key, || self.inner.get_range(key, offset, len))?;
        let lie = self.plan().truncated_reads && !bytes.is_empty();
        Ok(if lie { bytes.slice(..bytes.len() - 1) } else { bytes })
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        let size: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if let Some(left) = &mut self.plan().space_left {
            if size > *left {
                // A full disk stays full until something is freed.
                *left = 0;
                return Err(crate::error(StoreErrorKind::NoSpace, "create", key, &self.describe()));
            }
            *left -= size;
        }
        self.run(Verb::Create, "create", key, || self.inner.create(key, parts))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.run(Verb::List, "list", prefix, || self.inner.list(prefix))
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        self.run(Verb::Stat, "stat", key, || self.inner.stat(key))
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl<S: Store + DeleteStore> DeleteStore for FaultyStore<S> {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.run(Verb::Delete, "delete", key, || self.inner.delete(key))
    }
}

impl<S: Store + LockStore> LockStore for FaultyStore<S> {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.run(Verb::CreateLock, "create", key, || self.inner.create_lock(key, body))
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        self.run(Verb::RemoveLock, "delete", key, || self.inner.remove_lock(key))
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }
}
