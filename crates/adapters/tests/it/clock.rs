//! The system clock.

use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;

#[test]
fn monotonic_time_advances_by_what_was_slept() {
    let clock = SystemClock::new();
    let before = clock.monotonic();
    clock.sleep(Duration::from_millis(20));
    let slept = clock.monotonic() - before;
    assert!(slept >= Duration::from_millis(20), "{slept:?}");
    assert!(slept < Duration::from_secs(10), "{slept:?}");
}

#[test]
fn wall_time_is_that_of_the_file_system() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let modified = file.as_file().metadata().unwrap().modified().unwrap();
    let modified = jiff::Timestamp::try_from(modified).unwrap();
    let apart = SystemClock::new().wall().duration_since(modified).as_secs();
    assert!((-2..60).contains(&apart), "{apart} s apart");
}
