//! The same work on many items, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::sync::lock;

/// Threads for work that computes.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Threads for work that mostly waits for a store.
pub(crate) fn io_threads() -> usize {
    threads().max(8)
}

/// Results in the order of the items; the first error stops the rest.
pub(crate) fn map<T, R>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>>
where
    T: Sync,
    R: Send,
{
    let threads = threads.min(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    match work(item) {
                        Ok(result) => *lock(&results[at]) = Some(result),
                        Err(error) => {
                            next.store(items.len(), Ordering::Relaxed);
                            lock(&failure).get_or_insert(error);
                            return;
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    // Without a failure every slot was filled.
    Ok(results.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn order_is_kept_and_an_error_stops() {
        let items: Vec<u32> = (0..1000).collect();
        for threads in [1, 2, 8] {
            let doubled = map(&items, threads, |n| Ok(n * 2)).unwrap();
            assert_eq!(doubled, items.iter().map(|n| n * 2).collect::<Vec<_>>());
            let failed = map(&items, threads, |n| match n {
                500 => Err(Error::Cancelled),
                _ => Ok(()),
            });
            assert!(matches!(failed, Err(Error::Cancelled)));
        }
        assert!(map(&[] as &[u32], 4, |_| Ok(())).unwrap().is_empty());
    }
}
