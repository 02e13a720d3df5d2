//! Staging folders: nothing that stopped half-way looks finished, and nothing stays for good.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lifeboat_recovery::staging::{MARK, Restoring, Staging, sweep, waiting};
use lifeboat_recovery::state::State;

struct Bench {
    _folder: tempfile::TempDir,
    state: State,
    root: std::path::PathBuf,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("place");
    fs::create_dir(&root).unwrap();
    Bench { state: State::new(folder.path().join("state")), root, _folder: folder }
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_target_appears_whole_by_one_rename() {
    let b = bench();
    let target = b.root.join("out");
    let staging = Staging::for_target(&b.state, &target).unwrap();
    assert!(names(&b.root)[0].starts_with(&format!("out{MARK}")));
    let mode = fs::metadata(staging.folder()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "private while it is filled");
    fs::write(staging.data().join("a"), b"1").unwrap();
    assert!(!target.exists());
    staging.deliver(&target).unwrap();
    staging.remove().unwrap();
    assert_eq!(names(&b.root), ["out"]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
    assert_eq!(names(&b.state.path("staging")), ["gate.lock"]);
}

#[test]
fn an_empty_folder_at_the_target_lends_its_mode() {
    let b = bench();
    let target = b.root.join("out");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o710)).unwrap();
    let staging = Staging::for_target(&b.state, &target).unwrap();
    fs::write(staging.data().join("a"), b"1").unwrap();
    staging.deliver(&target).unwrap();
    staging.remove().unwrap();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o710);
    assert_eq!(names(&target), ["a"]);
}

#[test]
fn a_dead_ones_folder_is_swept_and_a_living_ones_is_not() {
    let b = bench();
    let living = Staging::make(&b.state, &b.root, "drill-", "drill").unwrap();
    // What a killed process leaves: the folder and its record, and nobody who holds the lock.
    let left = b.root.join("drill-0badcafe");
    fs::create_dir_all(left.join("data/closed")).unwrap();
    fs::write(left.join("data/closed/a"), b"1").unwrap();
    fs::set_permissions(left.join("data/closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let record = serde_json::json!({"format": 1, "folder": left, "purpose": "drill"});
    fs::write(b.state.path("staging/0badcafe.json"), record.to_string()).unwrap();

    let notes = sweep(&b.state, None).unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("left by a drill"), "{notes:?}");
    assert!(!left.exists());
    assert!(living.folder().exists(), "a living process's folder was removed");
    assert!(sweep(&b.state, None).unwrap().is_empty(), "nothing is said twice");
    living.remove().unwrap();
    assert!(names(&b.root).is_empty());
}

#[test]
fn an_early_return_leaves_nothing() {
    let b = bench();
    drop(Staging::for_target(&b.state, &b.root.join("out")).unwrap());
    assert!(names(&b.root).is_empty());
}

#[test]
fn a_kept_copy_is_no_longer_swept() {
    let b = bench();
    let staging = Staging::for_target(&b.state, &b.root.join("out")).unwrap();
    let kept = staging.keep().unwrap();
    assert!(sweep(&b.state, None).unwrap().is_empty());
    assert!(kept.exists());
}

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

fn restoring<'a>(target: &'a std::path::Path, what: &str, over: bool) -> Restoring<'a> {
    Restoring { target, what: what.to_owned(), now: at("2026-11-21T12:00:00Z"), over }
}

#[test]
fn the_same_restore_goes_on_and_another_begins_anew() {
    let b = bench();
    let target = b.root.join("out");
    let begin =
        |what: &str| Staging::resumable(&b.state, &restoring(&target, what, false)).unwrap();
    let first = begin("media");
    assert!(!first.holds_something());
    fs::write(first.data().join("a"), vec![1; 100_000]).unwrap();
    fs::create_dir(first.aside()).unwrap();
    // A second one beside a living one has a folder of its own.
    let second = begin("media");
    assert_ne!(second.folder(), first.folder());
    second.remove().unwrap();
    let left = first.leave();
    assert!(waiting(&b.state, &target).unwrap() >= 100_000);
    assert_eq!(waiting(&b.state, &b.root.join("other")).unwrap(), 0);
    let again = begin("media");
    assert_eq!(again.folder(), left);
    assert!(again.holds_something() && again.data().join("a").exists());
    assert!(!again.aside().exists(), "nobody asked for what was set aside");
    again.leave();
    // A part of it is laid out otherwise.
    let other = begin("media media/2026");
    assert!(!other.holds_something() && !left.exists());
    other.remove().unwrap();
    assert!(names(&b.root).is_empty());
}

#[test]
fn what_can_be_gone_on_with_waits_for_three_days() {
    let b = bench();
    let target = b.root.join("out");
    let left = Staging::resumable(&b.state, &restoring(&target, "media", false)).unwrap().leave();
    let sweep = |time: &str| sweep(&b.state, Some(at(time))).unwrap();
    assert_eq!(sweep("2026-11-24T11:59:00Z").len(), 0);
    assert!(left.exists());
    assert_eq!(sweep("2026-11-24T12:01:00Z").len(), 1);
    assert!(!left.exists());
}

#[test]
fn what_stood_at_the_target_is_never_swept() {
    let b = bench();
    let target = b.root.join("out");
    fs::create_dir_all(target.join("folder")).unwrap();
    fs::write(target.join("own"), b"mine").unwrap();
    let over = restoring(&target, "media", true);
    let mut staging = Staging::resumable(&b.state, &over).unwrap();
    staging.take_in(&target).unwrap();
    assert!(!target.exists() && staging.is_former() && staging.holds_something());
    fs::create_dir(staging.aside()).unwrap();
    fs::rename(staging.data().join("own"), staging.aside().join("own")).unwrap();
    let left = staging.leave();
    let notes = sweep(&b.state, Some(at("2030-01-01T00:00:00Z"))).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("holds what stood in"), "{notes:?}");
    assert_eq!(sweep(&b.state, None).unwrap().len(), 1);
    assert_eq!(fs::read(left.join("aside/own")).unwrap(), b"mine");
    // Only the same goes on.
    let plain = Staging::resumable(&b.state, &restoring(&target, "media", false));
    assert!(plain.unwrap_err().to_string().contains("holds what stood in"));
    fs::create_dir(&target).unwrap();
    fs::write(target.join("new"), b"2").unwrap();
    let both = Staging::resumable(&b.state, &over);
    assert!(both.unwrap_err().to_string().contains("is there again"));
    fs::remove_dir_all(&target).unwrap();
    let mut again = Staging::resumable(&b.state, &over).unwrap();
    again.take_in(&target).unwrap();
    assert_eq!(again.folder(), left);
    assert_eq!(fs::read(again.data().join("own")).unwrap(), b"mine", "put back first");
    again.deliver(&target).unwrap();
    again.remove().unwrap();
    assert_eq!(names(&b.root), ["out"]);
    assert_eq!(names(&target), ["folder", "own"]);
    assert!(sweep(&b.state, None).unwrap().is_empty());
}
