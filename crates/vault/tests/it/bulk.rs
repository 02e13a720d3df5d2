//! Size: many files in one folder, a huge sparse file, a small budget.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{BackupOptions, RestoreOptions};
use tempfile::TempDir;

use crate::support::{backup, backup_with, init, restic_check, snapshot_of};
use crate::trees::{allocated, noise};

/// In memory, where the system has such a place.
fn quick_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

#[test]
fn a_hundred_thousand_files_in_one_folder() {
    const FILES: usize = 100_000;
    let folder = quick_folder();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for number in 0..FILES {
        File::create(source.join(format!("{number:06}"))).unwrap();
    }
    fs::write(source.join("one with content"), b"content").unwrap();
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (first, problems) = backup(&vault, &source, None);
    assert_eq!(problems, []);
    assert_eq!(first.files_new as usize, FILES + 1);
    let (second, _) = backup(&vault, &source, Some(first.snapshot));
    assert_eq!(second.files_unmodified as usize, FILES + 1);
    let snapshot = snapshot_of(&vault, &second);
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert_eq!(report.files as usize, FILES + 1);
    assert!(report.is_complete() && report.problems.is_empty());
    let restored = target.join(source.strip_prefix("/").unwrap());
    assert_eq!(fs::read_dir(&restored).unwrap().count(), FILES + 1);
    assert_eq!(fs::read(restored.join("one with content")).unwrap(), b"content");
    restic_check(&store);
}

#[test]
fn thirty_gigabytes_of_holes() {
    let folder = quick_folder();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let file = File::create(source.join("disk")).unwrap();
    file.set_len(30 << 30).unwrap();
    for at in [5 << 30, (17 << 30) + 12_345, (30 << 30) - 10] {
        file.write_all_at(b"some data", at).unwrap();
    }
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (summary, problems) = backup(&vault, &source, None);
    assert_eq!(problems, []);
    assert_eq!(summary.bytes_processed, 30 << 30);
    assert!(summary.bytes_read < 100 << 20, "{summary:?}");
    let snapshot = snapshot_of(&vault, &summary);
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let restored = target.join(source.strip_prefix("/").unwrap()).join("disk");
    assert_eq!(restored.metadata().unwrap().len(), 30 << 30);
    assert!(allocated(&restored) < 10 << 20);
    let mut found = [0; 9];
    File::open(&restored).unwrap().read_exact_at(&mut found, (17 << 30) + 12_345).unwrap();
    assert_eq!(&found, b"some data");
}

/// A budget that is far too small makes it slow, not stuck.
#[test]
fn the_smallest_budget_still_works() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("large"), noise(70 << 20, 4)).unwrap();
    for number in 0..100 {
        fs::write(folder.path().join(number.to_string()), noise(50_000, number)).unwrap();
    }
    for (budget_bytes, pack_bytes) in [(1, 16 << 20), (1 << 20, 1 << 20), (64 << 20, 4 << 20)] {
        let store = Arc::new(MemoryStore::default());
        let vault = init(&store);
        let options = BackupOptions { budget_bytes, pack_bytes, readers: 4, ..<_>::default() };
        let (summary, _) = backup_with(&vault, folder.path(), options);
        assert_eq!(summary.bytes_processed, (70 << 20) + 100 * 50_000);
        restic_check(&store);
    }
}
