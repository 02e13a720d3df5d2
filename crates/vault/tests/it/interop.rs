//! Trees that we and the stock restic hand to each other (design: "recoverable without Lifeboat").

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{BackupOptions, RestoreOptions};

use crate::support::{backup, backup_with, init, open, restic_check, restic_ok, snapshot_of};
use crate::trees::{assert_same, gnarly, latin1_link, noise};

/// Where a captured folder stands below a restore's target.
fn inside(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap())
}

#[test]
fn restic_restores_what_we_captured() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (summary, problems) = backup(&vault, &source, None);
    assert_eq!(problems, []);
    assert!(summary.files_new > 20 && summary.others == 5, "{summary:?}");
    restic_check(&store);
    let repository = folder.path().join("repository");
    store.save_to(&repository).unwrap();
    let target = folder.path().join("target");
    let id = summary.snapshot.to_string();
    restic_ok(&repository, &["restore", &id, "--target", target.to_str().unwrap()]);
    assert_same(&source, &inside(&target, &source));
    // Tools that re-encode trees check that nothing was lost on them.
    let listed = restic_ok(&repository, &["ls", "--json", &id]);
    assert!(listed.contains("\"hostname\":\"testhost\""), "{listed}");
}

#[test]
fn we_restore_what_restic_captured() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    let repository = folder.path().join("repository");
    restic_ok(&repository, &["init", "--repository-version", "2"]);
    restic_ok(&repository, &["backup", source.to_str().unwrap()]);
    let store = Arc::new(MemoryStore::load_from(&repository).unwrap());
    let vault = open(&store).unwrap();
    let (_, snapshot) = vault.snapshots().unwrap().pop().unwrap();
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(report.is_complete() && report.problems.is_empty(), "{report:?}");
    assert_same(&source, &inside(&target, &source));
}

#[test]
fn we_restore_what_we_captured() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    latin1_link(&source);
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (summary, _) = backup(&vault, &source, None);
    let target = folder.path().join("target");
    let snapshot = snapshot_of(&vault, &summary);
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(report.is_complete() && report.problems.is_empty(), "{report:?}");
    assert_eq!(report.files, summary.files_new);
    assert_eq!(report.bytes, summary.bytes_processed);
    assert_same(&source, &inside(&target, &source));
    assert_eq!(
        vault.fingerprint_restored(&snapshot, &target).unwrap(),
        vault.fingerprint(&snapshot).unwrap()
    );
}

/// Each continues the other's chain: unchanged files are not read, changed ones are.
#[test]
fn we_continue_restics_chain_and_it_ours() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    let path = source.to_str().unwrap();
    let repository = folder.path().join("repository");
    restic_ok(&repository, &["init", "--repository-version", "2"]);
    restic_ok(&repository, &["backup", "--host", "testhost", path]);

    let store = Arc::new(MemoryStore::load_from(&repository).unwrap());
    let vault = open(&store).unwrap();
    let (parent, _) = vault.snapshots().unwrap().pop().unwrap();
    fs::write(source.join("changed"), noise(2_000_000, 9)).unwrap();
    let (summary, problems) = backup(&vault, &source, Some(parent));
    assert_eq!(problems, []);
    assert_eq!(summary.bytes_read, 2_000_000);
    assert_eq!(summary.files_new, 1);
    restic_check(&store);

    let ours = folder.path().join("ours");
    store.save_to(&ours).unwrap();
    fs::write(source.join("changed again"), noise(1_000_000, 10)).unwrap();
    let parent = summary.snapshot.to_string();
    let said = restic_ok(&ours, &["backup", "--host", "testhost", "--parent", &parent, path]);
    assert!(said.contains("1 new,     0 changed,"), "{said}");
    let target = folder.path().join("target");
    restic_ok(&ours, &["restore", "latest", "--target", target.to_str().unwrap()]);
    assert_same(&source, &inside(&target, &source));
    assert!(restic_ok(&ours, &["check", "--read-data"]).contains("no errors were found"));
}

/// The same tree captured by both has the same entries, field by field, times and device apart.
#[test]
fn our_nodes_are_restics() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    let repository = folder.path().join("repository");
    restic_ok(&repository, &["init", "--repository-version", "2"]);
    restic_ok(&repository, &["backup", source.to_str().unwrap()]);
    let store = Arc::new(MemoryStore::load_from(&repository).unwrap());
    let vault = open(&store).unwrap();
    let (_, theirs) = vault.snapshots().unwrap().pop().unwrap();
    let (summary, _) = backup(&vault, &source, None);
    let ours = snapshot_of(&vault, &summary);
    let mut stack = vec![(theirs.tree, ours.tree)];
    let mut seen = 0;
    while let Some((theirs, ours)) = stack.pop() {
        let (theirs, ours) = (vault.tree(&theirs).unwrap(), vault.tree(&ours).unwrap());
        assert_eq!(theirs.nodes.len(), ours.nodes.len());
        for (mut theirs, mut ours) in theirs.nodes.into_iter().zip(ours.nodes) {
            if let (Some(theirs), Some(ours)) = (theirs.subtree.take(), ours.subtree.take()) {
                stack.push((theirs, ours));
            }
            // Cuts differ, and the device is kept only where it tells hard links apart.
            (theirs.content, ours.content) = (None, None);
            if ours.links < 2 {
                theirs.device_id = 0;
            }
            // We sort them; restic takes the kernel's order.
            theirs.extended_attributes.sort_by(|left, right| left.name.cmp(&right.name));
            // The folders above the source change while the tests run.
            if source.ancestors().skip(1).any(|above| above.file_name() == Some(&*ours.name)) {
                (theirs.mtime, theirs.atime, theirs.ctime) = (ours.mtime, ours.atime, ours.ctime);
            }
            assert_eq!(theirs, ours);
            seen += 1;
        }
    }
    assert!(seen > 60);
}

/// A pack with only uncompressible data is stored as it is, and restic agrees.
#[test]
fn incompressible_data_is_stored_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let content = noise(20 << 20, 77);
    fs::write(source.join("noise"), &content).unwrap();
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (summary, _) = backup(&vault, &source, None);
    let overhead = summary.bytes_added - content.len() as u64;
    assert!(overhead < 40_000, "{summary:?}");
    restic_check(&store);
    let snapshot = snapshot_of(&vault, &summary);
    let mut dumped = Vec::new();
    let path = source.join("noise");
    assert_eq!(vault.dump(&snapshot, &path, &mut dumped).unwrap(), content.len() as u64);
    assert!(dumped == content);
}

#[test]
fn format_1_is_read_but_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("text"), "words ".repeat(1000)).unwrap();
    let repository = folder.path().join("repository");
    restic_ok(&repository, &["init", "--repository-version", "1"]);
    restic_ok(&repository, &["backup", source.to_str().unwrap()]);
    let store = Arc::new(MemoryStore::load_from(&repository).unwrap());
    let vault = open(&store).unwrap();
    let (_, snapshot) = vault.snapshots().unwrap().pop().unwrap();
    let target = folder.path().join("target");
    vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert_same(&source, &inside(&target, &source));
    let refused = vault.backup(BackupOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("format 1"), "{refused}");
}

/// Snapshot fields that restic shows and selects by.
#[test]
fn restic_shows_our_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let (first, _) = backup(&vault, &source, None);
    let (second, _) = backup_with(
        &vault,
        &source,
        BackupOptions { parent: Some(first.snapshot), ..<_>::default() },
    );
    let repository = folder.path().join("repository");
    store.save_to(&repository).unwrap();
    let tagged = ["snapshots", "--tag", "component=test", "--host", "testhost", "--json"];
    let text = restic_ok(&repository, &tagged);
    assert!(text.contains(&second.snapshot.to_string()), "{text}");
    assert!(text.contains(&format!("\"parent\":\"{}\"", first.snapshot)), "{text}");
    assert!(text.contains(&format!("\"paths\":[{:?}]", source)), "{text}");
    assert!(text.contains("\"username\":\"tester\""), "{text}");
}
