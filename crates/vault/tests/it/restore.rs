//! Restores: choosing, damage, holes, and never overwriting.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{
    BlobKind, Error, Filter, Id, Node, NodeKind, RestoreOptions, Snapshot, Tree, Vault,
};

use crate::support::{init, open, plant_tree, snapshot_of};
use crate::trees::{allocated, gnarly, noise};

/// Every path below a folder, in order.
fn paths(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = crate::trees::describe(root)
        .keys()
        .map(|path| path.display().to_string())
        .filter(|path| !path.is_empty())
        .collect();
    found.sort();
    found
}

fn captured(source: &Path) -> (Arc<MemoryStore>, Vault, Snapshot) {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let mut session = vault.backup(<_>::default()).unwrap();
    let mut spec = crate::support::walk(source);
    spec.roots[0].tree = "all".into();
    session.add_paths(&spec).unwrap();
    let summary = session.finish(crate::support::meta(source)).unwrap();
    let snapshot = snapshot_of(&vault, &summary);
    (store, vault, snapshot)
}

#[test]
fn nothing_that_exists_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let (_, vault, snapshot) = captured(&source);
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("precious"), b"data").unwrap();
    let refused = vault.restore(&snapshot, &RestoreOptions::default(), &target);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(paths(&target), ["precious"]);
    fs::remove_file(target.join("precious")).unwrap();
    vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert_eq!(paths(&target), ["all"]);
}

#[test]
fn a_part_keeps_its_place() {
    struct NoManifest;
    impl Filter for NoManifest {
        fn keep(&self, tree_path: &Path, _: bool) -> bool {
            tree_path != Path::new("/all/manifest.json")
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("a/b")).unwrap();
    for path in ["a/b/one", "a/b/two", "a/other", "manifest.json"] {
        fs::write(source.join(path), path).unwrap();
    }
    let (_, vault, snapshot) = captured(&source);
    let restored = |options: RestoreOptions, name: &str| {
        let target = folder.path().join(name);
        let report = vault.restore(&snapshot, &options, &target).unwrap();
        assert!(report.is_complete());
        paths(&target)
    };
    let part = |path: &str| RestoreOptions { subpath: Some(path.into()), ..<_>::default() };
    assert_eq!(
        restored(part("all/a/b"), "1"),
        ["all", "all/a", "all/a/b", "all/a/b/one", "all/a/b/two"]
    );
    assert_eq!(restored(part("/all/a/b/two"), "2"), ["all", "all/a", "all/a/b", "all/a/b/two"]);
    let filtered = RestoreOptions { filter: Some(Arc::new(NoManifest)), ..<_>::default() };
    assert_eq!(restored(filtered, "3").len(), 6);
    let missing = vault.restore(&snapshot, &part("all/b"), &folder.path().join("4"));
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    let outside = vault.restore(&snapshot, &part("../all"), &folder.path().join("5"));
    assert!(matches!(outside, Err(Error::Invalid(_))), "{outside:?}");
}

#[test]
fn holes_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(300 << 20).unwrap();
    sparse.write_all_at(&noise(50_000, 1), 123 << 20).unwrap();
    fs::write(source.join("zeros"), vec![0; 20 << 20]).unwrap();
    fs::write(source.join("few zeros"), vec![0; 300_000]).unwrap();
    let (_, vault, snapshot) = captured(&source);
    let target = folder.path().join("target");
    vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    crate::trees::assert_same(&source, &target.join("all"));
    assert!(allocated(&target.join("all/sparse")) < 1 << 20);
    assert_eq!(allocated(&target.join("all/zeros")), 0);
    assert_eq!(allocated(&target.join("all/few zeros")), 0);
}

/// A damaged blob costs the files that hold it, and these are not there rather than half there.
#[test]
fn damage_costs_only_what_it_hits() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for number in 0..40 {
        fs::write(source.join(format!("small{number:02}")), noise(40_000, number)).unwrap();
    }
    fs::write(source.join("large"), noise(30 << 20, 99)).unwrap();
    fs::hard_link(source.join("large"), source.join("link to large")).unwrap();
    let (store, vault, snapshot) = captured(&source);
    let node = vault.node(&snapshot, "all/large").unwrap();
    let victims = [node.content.unwrap()[3], Id::of(&noise(40_000, 7))];
    for id in victims {
        flip(&store, &vault, &id);
    }
    let vault = open(&store).unwrap();
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(!report.is_complete());
    let names = |problems: &[lifeboat_vault::Problem]| -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        problems.iter().map(|problem| name(&problem.path)).collect()
    };
    assert_eq!(names(&report.damaged), ["large", "link to large", "small07"]);
    assert!(report.damaged[0].what.contains("damaged"), "{report:?}");
    assert_eq!(report.files, 39);
    let restored = paths(&target.join("all"));
    assert_eq!(restored.len(), 39);
    assert!(!restored.contains(&"large".to_owned()));
    for number in (0..40).filter(|number| *number != 7) {
        let content = fs::read(target.join(format!("all/small{number:02}"))).unwrap();
        assert!(content == noise(40_000, number));
    }
    // What stands on disk does not pass for the whole.
    let printed = vault.fingerprint_restored(&snapshot, &target).unwrap();
    assert_ne!(printed, vault.fingerprint(&snapshot).unwrap());
    let dumped = vault.dump(&snapshot, "all/large", &mut Vec::new());
    assert!(matches!(dumped, Err(Error::Damaged { .. })), "{dumped:?}");
}

fn location(vault: &Vault, id: &Id) -> lifeboat_vault::Location {
    vault.locate(BlobKind::Data, id).unwrap()[0]
}

/// Flips one bit in the middle of a stored blob.
fn flip(store: &MemoryStore, vault: &Vault, id: &Id) {
    let location = location(vault, id);
    let pack = location.pack.to_string();
    store.tamper(&format!("data/{}/{pack}", &pack[..2]), |mut body| {
        body[(location.offset + location.length / 2) as usize] ^= 0x10;
        Some(body)
    });
}

#[test]
fn a_missing_pack_or_index_is_named_file_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), noise(100_000, 1)).unwrap();
    fs::write(source.join("empty"), b"").unwrap();
    let (store, vault, snapshot) = captured(&source);
    let pack = location(&vault, &Id::of(&noise(100_000, 1))).pack.to_string();
    store.tamper(&format!("data/{}/{pack}", &pack[..2]), |_| None);
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(paths(&target), ["all", "all/empty"]);
}

#[test]
fn fingerprints_see_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    gnarly(&source);
    let (_, vault, snapshot) = captured(&source);
    let expected = vault.fingerprint(&snapshot).unwrap();
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("content", |root| fs::write(root.join("one"), b"2").unwrap()),
        ("growth", |root| {
            let file = fs::OpenOptions::new().write(true).open(root.join("noise")).unwrap();
            file.write_all_at(b"more", 3_000_000).unwrap();
        }),
        ("loss", |root| fs::remove_file(root.join("empty")).unwrap()),
        ("addition", |root| fs::write(root.join("added"), b"").unwrap()),
        ("name", |root| fs::rename(root.join("one"), root.join("uno")).unwrap()),
        ("kind", |root| {
            fs::remove_file(root.join("link")).unwrap();
            fs::write(root.join("link"), b"text").unwrap();
        }),
        ("target", |root| {
            fs::remove_file(root.join("link")).unwrap();
            std::os::unix::fs::symlink("texT", root.join("link")).unwrap();
        }),
    ];
    for (number, (name, change)) in changes.into_iter().enumerate() {
        let target = folder.path().join(number.to_string());
        vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
        assert_eq!(vault.fingerprint_restored(&snapshot, &target).unwrap(), expected);
        // The manifest does not count, and stands only at the root.
        fs::write(target.join("manifest.json"), b"{}").unwrap();
        assert_eq!(vault.fingerprint_restored(&snapshot, &target).unwrap(), expected);
        change(&target.join("all"));
        assert_ne!(vault.fingerprint_restored(&snapshot, &target).unwrap(), expected, "{name}");
    }
}

/// Holes are not read: what was written into one, and what was punched out, is noticed.
#[test]
fn a_change_in_a_sparse_file_is_another_fingerprint() {
    const SIZE: u64 = 200 << 20;
    const DATA: u64 = 90 << 20;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(SIZE).unwrap();
    sparse.write_all_at(&[7; 5000], DATA).unwrap();
    let (_, vault, snapshot) = captured(&source);
    let expected = vault.fingerprint(&snapshot).unwrap();
    for (byte, at) in [(1, 0), (1, 60 << 20), (1, SIZE - 1), (0, DATA), (0, DATA + 4999)] {
        let target = folder.path().join(format!("{byte}-{at}"));
        vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
        assert_eq!(vault.fingerprint_restored(&snapshot, &target).unwrap(), expected);
        let file = fs::OpenOptions::new().write(true).open(target.join("all/sparse")).unwrap();
        file.write_all_at(&[byte], at).unwrap();
        assert_ne!(vault.fingerprint_restored(&snapshot, &target).unwrap(), expected, "{at}");
    }
}

/// A hostile tree cannot lead a restore out of its target: a folder under a name that is also a
/// link is not entered.
#[test]
fn a_tree_with_a_name_twice_stays_inside() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("inner")).unwrap();
    fs::write(source.join("inner/file"), b"content").unwrap();
    let (store, vault, snapshot) = captured(&source);
    let inner = vault.node(&snapshot, "all/inner").unwrap();
    let mut link = Node::new("inner".as_ref(), NodeKind::Symlink);
    link.set_link_target(outside.as_os_str().as_encoded_bytes());
    let hostile = Tree { nodes: vec![link, inner] };
    let tree = plant_tree(&store, &vault, &hostile);
    let vault = open(&store).unwrap();
    let snapshot = Snapshot { tree, ..snapshot };
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(!report.is_complete(), "{report:?}");
    assert_eq!(paths(&outside), [] as [&str; 0]);
}
