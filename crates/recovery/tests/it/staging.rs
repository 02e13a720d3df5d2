//! Staging folders: nothing that stopped half-way looks finished, and nothing stays for good.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lifeboat_recovery::staging::{MARK, Staging, sweep};
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

    let notes = sweep(&b.state).unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("left by a drill"), "{notes:?}");
    assert!(!left.exists());
    assert!(living.folder().exists(), "a living process's folder was removed");
    assert!(sweep(&b.state).unwrap().is_empty(), "nothing is said twice");
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
    assert!(sweep(&b.state).unwrap().is_empty());
    assert!(kept.exists());
}
