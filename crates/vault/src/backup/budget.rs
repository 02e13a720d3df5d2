//! One budget of bytes for everything that waits in memory, so that a backup of any size stays
//! within a fixed amount.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that may be held at a time. Clones share the budget.
#[derive(Debug, Clone)]
pub struct ByteBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    peak: usize,
    closed: bool,
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub struct Permit {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Shared { total, state, freed: Condvar::new() }))
    }

    /// Waits until `bytes` are free. A demand above the whole budget waits until all of it is free,
    /// so that it is served alone. `None` after [`ByteBudget::close`].
    pub fn acquire(&self, bytes: usize) -> Option<Permit> {
        let mut state = self.lock();
        while !state.closed && state.used > 0 && state.used.saturating_add(bytes) > self.0.total {
            state = self.0.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.used += bytes;
        state.peak = state.peak.max(state.used);
        Some(Permit { budget: self.clone(), bytes })
    }

    /// Lets every waiting and future demand fail: the work was given up.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.freed.notify_all();
    }

    /// The most bytes that were ever held together.
    pub fn peak(&self) -> usize {
        self.lock().peak
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.lock().used -= self.bytes;
        self.budget.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn many_threads_never_hold_more_than_the_budget() {
        let budget = ByteBudget::new(1000);
        let held = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let (budget, held) = (&budget, &held);
                scope.spawn(move || {
                    for round in 0..500 {
                        let bytes = (worker * 97 + round * 31) % 400 + 1;
                        let permit = budget.acquire(bytes).unwrap();
                        assert!(held.fetch_add(bytes, Ordering::SeqCst) + bytes <= 1000);
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert!((1..=1000).contains(&budget.peak()));
    }

    #[test]
    fn a_demand_above_the_budget_is_served_alone() {
        let budget = ByteBudget::new(10);
        let large = budget.acquire(50).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(budget.acquire(1).unwrap()));
            drop(large);
            waiting.join().unwrap();
        });
        assert_eq!(budget.peak(), 50);
    }

    #[test]
    fn a_closed_budget_lets_waiters_go() {
        let budget = ByteBudget::new(10);
        let _all = budget.acquire(10).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.acquire(1).is_none());
            budget.close();
            assert!(waiting.join().unwrap());
        });
    }
}
