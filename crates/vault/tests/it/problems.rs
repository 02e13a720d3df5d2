//! Files that vanish, change or cannot be read while they are captured: named, never left out
//! silently (EDO: a partial backup never looks whole).

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::{
    BackupOptions, BackupSummary, Filter, KeepAll, KeyStrength, Monitor, Root, Stage, Vault,
    WalkSpec,
};

use crate::support::{meta, password, snapshot_of};
use crate::trees::noise;

/// Does something while a file is read.
struct Meddle<F>(F);

impl<F: Fn() + Send + Sync> Monitor for Meddle<F> {
    fn total(&self, _: Stage, _: u64, _: u64) {}
    fn advance(&self, _: Stage, bytes: u64, items: u64) {
        if bytes > 0 && items == 0 {
            self.0();
        }
    }
    fn note(&self, _: &str) {}
}

fn vault(monitor: Arc<dyn Monitor>) -> Vault {
    let store = Arc::new(MemoryStore::default());
    let mut environment = environment(store.clock().clone());
    environment.monitor = monitor;
    let strength = KeyStrength::Generated;
    Vault::init(store.clone(), store, &password(), strength, environment, None).unwrap()
}

/// One capture with one worker; the problems without the folder.
fn capture(vault: &Vault, source: &Path, filter: Arc<dyn Filter>) -> (BackupSummary, Vec<String>) {
    let options = BackupOptions { readers: 1, ..BackupOptions::default() };
    let mut session = vault.backup(options).unwrap();
    let roots = vec![Root { source: source.to_owned(), tree: "all".into() }];
    session.add_paths(&WalkSpec { roots, filter, one_file_system: false }).unwrap();
    let below = |path: &PathBuf| path.strip_prefix(source).unwrap().display().to_string();
    let problems = session.problems().iter();
    let problems = problems.map(|problem| format!("{}: {}", below(&problem.path), problem.what));
    let problems = problems.collect();
    let summary = session.finish(meta(source)).unwrap();
    (summary, problems)
}

fn names(vault: &Vault, summary: &BackupSummary) -> Vec<String> {
    let tree = vault.node(&snapshot_of(vault, summary), "all").unwrap().subtree.unwrap();
    let nodes = vault.tree(&tree).unwrap().nodes;
    nodes.into_iter().map(|node| node.name.into_string().unwrap()).collect()
}

#[test]
fn what_vanishes_after_it_was_listed_is_named() {
    struct RemoveLater(Mutex<Vec<PathBuf>>);
    impl Filter for RemoveLater {
        fn keep(&self, absolute: &Path, _: bool) -> bool {
            if absolute.ends_with("a") {
                for path in self.0.lock().unwrap().drain(..) {
                    if path.is_dir() {
                        fs::remove_dir(path).unwrap();
                    } else {
                        fs::remove_file(path).unwrap();
                    }
                }
            }
            true
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(name), noise(1000, 1)).unwrap();
    }
    fs::create_dir(folder.path().join("folder")).unwrap();
    let vault = vault(Arc::new(lifeboat_vault::NoMonitor));
    let doomed = vec![folder.path().join("b"), folder.path().join("folder")];
    let filter = Arc::new(RemoveLater(Mutex::new(doomed)));
    let (summary, problems) = capture(&vault, folder.path(), filter);
    assert_eq!(problems, ["b: vanished", "folder: vanished"]);
    assert_eq!(summary.problems, 2);
    assert_eq!(names(&vault, &summary), ["a", "c"]);
}

/// The file is read three times, then kept with its problem and a size that fits its content.
#[test]
fn what_keeps_changing_is_kept_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, noise(3 << 20, 1)).unwrap();
    let append = {
        let path = path.clone();
        move || {
            fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        }
    };
    let vault = vault(Arc::new(Meddle(append)));
    let (summary, problems) = capture(&vault, folder.path(), Arc::new(KeepAll));
    assert_eq!(problems, ["log: changed while it was read"]);
    assert!(summary.bytes_read > 9 << 20, "{summary:?}");
    let snapshot = snapshot_of(&vault, &summary);
    let node = vault.node(&snapshot, "all/log").unwrap();
    let content = vault.read_file(&snapshot, "all/log").unwrap();
    assert_eq!(content.len() as u64, node.size);
    assert!(content.starts_with(&noise(3 << 20, 1)));
    // The next capture reads it again.
    assert_eq!(summary.files_new, 1);
}

/// A file that changes once is read once more, and that is no problem.
#[test]
fn what_changes_once_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (name, change) in [
        ("grown", (|path: &Path| fs::write(path, noise(4 << 20, 2)).unwrap()) as fn(&Path)),
        ("shrunk", |path| fs::write(path, noise(2 << 20, 2)).unwrap()),
        ("rewritten", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"changed", 2_500_000).unwrap();
        }),
        ("replaced", |path| {
            let new = path.with_extension("new");
            fs::write(&new, noise(3 << 20, 2)).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("emptied", |path| fs::write(path, b"").unwrap()),
    ] {
        fs::write(&path, noise(3 << 20, 1)).unwrap();
        let once = Mutex::new(Some(change));
        let meddle = {
            let path = path.clone();
            move || {
                if let Some(change) = once.lock().unwrap().take() {
                    change(&path);
                }
            }
        };
        let vault = vault(Arc::new(Meddle(meddle)));
        let (summary, problems) = capture(&vault, folder.path(), Arc::new(KeepAll));
        assert_eq!(problems, [] as [&str; 0], "{name}");
        let content = vault.read_file(&snapshot_of(&vault, &summary), "all/file").unwrap();
        assert!(content == fs::read(&path).unwrap(), "{name}");
    }
}

/// Replaced by something that is no file, or removed: what was read of it is kept, and named.
#[test]
fn what_is_replaced_by_another_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, noise(3 << 20, 1)).unwrap();
    let meddle = {
        let path = path.clone();
        move || {
            if path.is_file() {
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
            }
        }
    };
    let vault = vault(Arc::new(Meddle(meddle)));
    let (summary, problems) = capture(&vault, folder.path(), Arc::new(KeepAll));
    assert_eq!(problems, ["file: changed while it was read"]);
    let content = vault.read_file(&snapshot_of(&vault, &summary), "all/file").unwrap();
    assert!(content == noise(3 << 20, 1));
}

/// Without the right to read all files, which root has: threads may give it up one by one.
#[test]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("locked")).unwrap();
    fs::write(folder.path().join("locked/inside"), b"x").unwrap();
    for name in ["large", "readable", "small"] {
        let size = if name == "large" { 3 << 20 } else { 1000 };
        fs::write(folder.path().join(name), noise(size, 1)).unwrap();
    }
    for name in ["large", "small", "locked"] {
        let path = folder.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let vault = vault(Arc::new(lifeboat_vault::NoMonitor));
    let (summary, problems) = std::thread::scope(|scope| {
        let capture = || {
            give_up_reading_everything();
            capture(&vault, folder.path(), Arc::new(KeepAll))
        };
        scope.spawn(capture).join().unwrap()
    });
    let denied = |verb: &str, name: &str| {
        format!("{name}: cannot {verb} it: Permission denied (os error 13)")
    };
    let folder_denied = "locked: cannot list it: Permission denied (os error 13)";
    assert_eq!(problems, [denied("open", "large"), folder_denied.into(), denied("open", "small")]);
    assert_eq!(names(&vault, &summary), ["readable"]);
}

fn give_up_reading_everything() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    let powers = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    sets.effective.remove(powers);
    set_capabilities(None, sets).unwrap();
}
