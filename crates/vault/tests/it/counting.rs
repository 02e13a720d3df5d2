//! Memory counted by the allocator itself: what a thread holds, and the most that it ever held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The same of all threads together.
static HELD_BY_ALL: AtomicIsize = AtomicIsize::new(0);
static MOST_OF_ALL: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, a count for each thread and one of all.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(change: isize) {
    let held = HELD_BY_ALL.fetch_add(change, Ordering::Relaxed) + change;
    if held > MOST_OF_ALL.load(Ordering::Relaxed) {
        MOST_OF_ALL.fetch_max(held, Ordering::Relaxed);
    }
    // At a thread's end there may be nothing left to count in.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is handed to the system's allocator as it is; counting allocates nothing,
// because the cells need neither initialisation nor destruction.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What `work` leaves allocated with its result, and the most that it held on the way, in bytes.
/// Only this thread counts.
pub fn bytes_of<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    let held = HELD.get() - before;
    (result, held.max(0) as usize, (MOST.get() - before).max(0) as usize)
}

/// The most that all threads together held while `work` ran, beside what they held before, in bytes.
/// Other tests of the same process would count too: nextest gives each its own.
pub fn most_of_all<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD_BY_ALL.load(Ordering::Relaxed);
    MOST_OF_ALL.store(before, Ordering::Relaxed);
    let result = work();
    (result, (MOST_OF_ALL.load(Ordering::Relaxed) - before).max(0) as usize)
}

#[test]
fn what_is_held_and_what_was_held_is_counted() {
    let (kept, held, most) = bytes_of(|| {
        drop(std::hint::black_box(vec![0u8; 50_000]));
        let mut kept = vec![1u8; 1000];
        kept.resize(3000, 2);
        kept.shrink_to_fit();
        kept
    });
    assert_eq!((kept.len(), held, most), (3000, 3000, 50_000));
    let big = 30 << 20;
    let ((), most) = most_of_all(|| {
        let other = std::thread::spawn(move || drop(std::hint::black_box(vec![0u8; big])));
        other.join().unwrap();
    });
    assert!((big..big + (4 << 20)).contains(&most), "{most}");
}
