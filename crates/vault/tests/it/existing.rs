//! Restores over what stands in the target: only what differs is written, links are not followed,
//! and what is not of the snapshot is set aside.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{
    BlobKind, Existing, Id, RestoreOptions, RestoreReport, Snapshot, StoreErrorKind, Vault,
};

use crate::support::{init, open, open_on, snapshot_of};
use crate::trees::{allocated, assert_same, gnarly, noise, set_time};

struct Scene {
    folder: tempfile::TempDir,
    store: Arc<MemoryStore>,
    vault: Vault,
    snapshot: Snapshot,
}

impl Scene {
    /// A snapshot of what `fill` makes, restored to the target.
    fn new(fill: impl FnOnce(&Path)) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        fill(&source);
        let store = Arc::new(MemoryStore::default());
        let vault = init(&store);
        let mut session = vault.backup(<_>::default()).unwrap();
        let mut spec = crate::support::walk(&source);
        spec.roots[0].tree = "all".into();
        session.add_paths(&spec).unwrap();
        let summary = session.finish(crate::support::meta(&source)).unwrap();
        let snapshot = snapshot_of(&vault, &summary);
        let scene = Scene { folder, store, vault, snapshot };
        let fresh = RestoreOptions::default();
        scene.vault.restore(&scene.snapshot, &fresh, &scene.target()).unwrap();
        scene
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.target().join("all").join(name)
    }

    fn aside(&self) -> PathBuf {
        self.folder.path().join("aside")
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self) -> RestoreOptions {
        let existing = Existing::Compared { aside: self.aside() };
        RestoreOptions { existing, ..<_>::default() }
    }

    fn again(&self) -> RestoreReport {
        self.vault.restore(&self.snapshot, &self.options(), &self.target()).unwrap()
    }

    /// Everything is as captured, by its metadata and by its fingerprint.
    fn assert_restored(&self, report: &RestoreReport) {
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.problems, [], "{report:?}");
        assert_same(&self.source(), &self.target().join("all"));
        let printed = self.vault.fingerprint_restored(&self.snapshot, &self.target()).unwrap();
        assert_eq!(printed, self.vault.fingerprint(&self.snapshot).unwrap());
    }

    fn location(&self, id: &Id) -> (String, lifeboat_vault::Location) {
        let location = self.vault.locate(BlobKind::Data, id).unwrap()[0];
        let pack = location.pack.to_string();
        (format!("data/{}/{pack}", &pack[..2]), location)
    }
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// Every path with its inode and the time of its last change.
fn inodes(root: &Path) -> Vec<(PathBuf, u64)> {
    let paths: Vec<PathBuf> = crate::trees::describe(root).into_keys().collect();
    let inode = |path: &PathBuf| fs::symlink_metadata(root.join(path)).unwrap().ino();
    paths.iter().map(|path| (path.clone(), inode(path))).collect()
}

#[test]
fn what_is_right_stays_as_it_is() {
    let scene = Scene::new(gnarly);
    let before = inodes(&scene.target());
    // Nothing of the data is needed.
    let mut packs = std::collections::BTreeSet::new();
    for name in ["noise", "text", "one", "links/first"] {
        let node = scene.vault.node(&scene.snapshot, Path::new("all").join(name)).unwrap();
        packs.extend(node.content.unwrap().iter().map(|id| scene.location(id).0));
    }
    packs.iter().for_each(|pack| scene.store.tamper(pack, |_| None));
    let report = scene.again();
    scene.assert_restored(&report);
    assert_eq!(report.unchanged, report.bytes, "{report:?}");
    assert_eq!(report.aside, [] as [PathBuf; 0]);
    assert!(inodes(&scene.target()) == before, "something was made anew");
}

#[test]
fn only_what_differs_is_written() {
    let scene = Scene::new(gnarly);
    let before = fs::metadata(scene.at("noise")).unwrap().ino();
    overwrite(&scene.at("noise"), 1_500_000, b"another page");
    overwrite(&scene.at("sparse"), 30 << 20, b"in a hole");
    overwrite(&scene.at("zeros"), 4 << 20, &noise(100_000, 8));
    fs::write(scene.at("text"), b"short").unwrap();
    fs::write(scene.at("empty"), b"no longer").unwrap();
    fs::OpenOptions::new().append(true).open(scene.at("one")).unwrap().set_len(900_000).unwrap();
    fs::remove_file(scene.at("it's")).unwrap();
    fs::remove_file(scene.at("links/second")).unwrap();
    fs::copy(scene.at("links/first"), scene.at("links/second")).unwrap();
    fs::remove_dir(scene.at("empty folder")).unwrap();
    let report = scene.again();
    scene.assert_restored(&report);
    assert_eq!(report.aside, [] as [PathBuf; 0]);
    let written = report.bytes - report.unchanged;
    // The text, one blob each of the three large files, the link's other name, and the small ones.
    assert!(written > 500_000 && written < 30 << 20, "{written} of {}", report.bytes);
    assert!(report.unchanged > 180 << 20, "{report:?}");
    assert_eq!(fs::metadata(scene.at("noise")).unwrap().ino(), before, "patched where it stands");
    assert!(allocated(&scene.at("sparse")) < 1 << 20, "the hole is one again");
    assert_eq!(allocated(&scene.at("zeros")), 0);
}

#[test]
fn metadata_is_set_and_what_is_too_much_taken_away() {
    let scene = Scene::new(gnarly);
    xattr::set(scene.at("text"), "user.more", b"1").unwrap();
    xattr::set(scene.at("text"), "user.comment", b"changed").unwrap();
    xattr::set(scene.at("links"), "user.more", b"1").unwrap();
    fs::set_permissions(scene.at("noise"), fs::Permissions::from_mode(0o4777)).unwrap();
    fs::set_permissions(scene.at("links"), fs::Permissions::from_mode(0o000)).unwrap();
    std::os::unix::fs::chown(scene.at("one"), Some(77), Some(77)).unwrap();
    std::os::unix::fs::lchown(scene.at("link"), Some(77), Some(77)).unwrap();
    set_time(&scene.at("zeros"), 5, 5);
    set_time(&scene.at("deep"), 5, 5);
    let report = scene.again();
    scene.assert_restored(&report);
    assert_eq!(report.unchanged, report.bytes);
}

/// Nothing is written through a link: not through one in place of a file, not through one in place
/// of a folder.
#[test]
fn links_are_replaced_and_never_followed() {
    let scene = Scene::new(gnarly);
    let precious = scene.outside("precious");
    fs::write(&precious, b"precious").unwrap();
    let elsewhere = scene.outside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("first"), b"mine").unwrap();
    for name in ["noise", "empty", "text"] {
        fs::remove_file(scene.at(name)).unwrap();
        symlink(&precious, scene.at(name)).unwrap();
    }
    fs::remove_dir_all(scene.at("links")).unwrap();
    symlink(&elsewhere, scene.at("links")).unwrap();
    // And the other way round.
    fs::remove_file(scene.at("link")).unwrap();
    fs::write(scene.at("link"), b"a file").unwrap();
    fs::remove_file(scene.at("dangling")).unwrap();
    symlink("/somewhere/else", scene.at("dangling")).unwrap();
    fs::remove_file(scene.at("pipe")).unwrap();
    fs::create_dir(scene.at("pipe")).unwrap();
    fs::write(scene.at("pipe/inside"), b"x").unwrap();
    fs::remove_file(scene.at("one")).unwrap();
    fs::create_dir(scene.at("one")).unwrap();
    let report = scene.again();
    scene.assert_restored(&report);
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    assert_eq!(fs::read(elsewhere.join("first")).unwrap(), b"mine");
    let aside = ["dangling", "empty", "link", "links", "noise", "one", "pipe", "text"];
    assert_eq!(report.aside, aside.map(|name| Path::new("all").join(name)));
    assert_eq!(fs::read(scene.aside().join("all/pipe/inside")).unwrap(), b"x");
}

/// A file that has a name outside the target is not changed through it, neither its content nor its
/// metadata.
#[test]
fn a_name_outside_keeps_its_content() {
    let scene = Scene::new(gnarly);
    let names = ["noise", "one", "text", "links/first", "zeros"];
    for name in names {
        fs::hard_link(scene.at(name), scene.outside(&name.replace('/', "-"))).unwrap();
    }
    overwrite(&scene.at("noise"), 1_500_000, b"another page");
    fs::set_permissions(scene.at("one"), fs::Permissions::from_mode(0o600)).unwrap();
    // Two files of the snapshot that are one here.
    fs::remove_file(scene.at("tab\t")).unwrap();
    fs::hard_link(scene.at(" "), scene.at("tab\t")).unwrap();
    let content = |name: &str| fs::read(scene.outside(&name.replace('/', "-"))).unwrap();
    let before: Vec<Vec<u8>> = names.map(content).into();
    let report = scene.again();
    scene.assert_restored(&report);
    assert!(before == names.map(content), "a file outside was changed");
    assert_eq!(fs::metadata(scene.outside("one")).unwrap().mode() & 0o7777, 0o600);
    for name in ["noise", "one", "text", "zeros", "tab\t", " "] {
        assert_eq!(fs::metadata(scene.at(name)).unwrap().nlink(), 1, "{name}");
    }
    // What is right in every respect, and has several names in the snapshot, needs no other inode.
    assert_eq!(fs::metadata(scene.at("links/first")).unwrap().nlink(), 4);
}

#[test]
fn what_is_not_of_the_snapshot_is_set_aside() {
    let scene = Scene::new(gnarly);
    fs::write(scene.target().join("beside"), b"1").unwrap();
    fs::create_dir(scene.at("links/more")).unwrap();
    fs::write(scene.at("links/more/file"), b"2").unwrap();
    symlink("/etc", scene.at("to etc")).unwrap();
    fs::create_dir_all(scene.aside().join("all")).unwrap();
    fs::write(scene.aside().join("all/to etc"), b"of an earlier run").unwrap();
    let part = RestoreOptions { subpath: Some("all/deep".into()), ..scene.options() };
    let report = scene.vault.restore(&scene.snapshot, &part, &scene.target()).unwrap();
    assert_eq!(report.aside, [] as [PathBuf; 0], "beside a part nothing is too much");
    let report = scene.again();
    scene.assert_restored(&report);
    assert_eq!(report.aside, ["all/links/more", "all/to etc", "beside"].map(PathBuf::from));
    let kept = |name: &str| fs::read(scene.aside().join(name)).unwrap();
    assert_eq!(kept("beside"), b"1");
    assert_eq!(kept("all/links/more/file"), b"2");
    assert_eq!(kept("all/to etc"), b"of an earlier run");
    assert_eq!(fs::read_link(scene.aside().join("all/to etc.1")).unwrap(), Path::new("/etc"));
}

/// What the vault has lost, the target may still have; what neither has is not half there.
#[test]
fn damage_costs_what_is_wrong_in_both() {
    let fill = |root: &Path| {
        for (name, seed) in [("kept", 1), ("patched", 2), ("lost", 3), ("whole", 4)] {
            fs::write(root.join(name), noise(30 << 20, seed)).unwrap();
        }
    };
    let scene = Scene::new(fill);
    let blobs = |name: &str| scene.vault.node(&scene.snapshot, name).unwrap().content.unwrap();
    for id in [blobs("all/kept")[2], blobs("all/lost")[2]] {
        let (key, location) = scene.location(&id);
        scene.store.tamper(&key, |mut body| {
            body[(location.offset + location.length / 2) as usize] ^= 1;
            Some(body)
        });
    }
    overwrite(&scene.at("patched"), 29 << 20, b"x");
    overwrite(&scene.at("lost"), 0, b"x");
    let length = |id: &Id| u64::from(scene.location(id).1.content_length());
    let middle: u64 = blobs("all/lost")[..2].iter().map(length).sum();
    overwrite(&scene.at("lost"), middle, b"x");
    let vault = open(&scene.store).unwrap();
    let report = vault.restore(&scene.snapshot, &scene.options(), &scene.target()).unwrap();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(report.damaged[0].path, scene.at("lost"));
    assert!(!scene.at("lost").exists(), "half old and half new");
    assert!(scene.aside().join("all/lost").exists(), "what stood there is gone");
    for (name, seed) in [("kept", 1), ("patched", 2), ("whole", 4)] {
        assert!(fs::read(scene.at(name)).unwrap() == noise(30 << 20, seed), "{name}");
    }
    assert_eq!(report.files, 3);
}

/// Stopped in the middle, the same restore goes on: what came is not fetched again.
#[test]
fn a_restore_that_stopped_goes_on() {
    let fill = |root: &Path| {
        for number in 0..40 {
            fs::write(root.join(format!("file{number}")), noise(3 << 20, number)).unwrap();
        }
    };
    let scene = Scene::new(fill);
    fs::remove_dir_all(scene.target()).unwrap();
    // The store goes away after some reads.
    let faulty = Arc::new(FaultyStore::new(scene.store.image()));
    let (environment, _) = crate::support::noting(&scene.store);
    let vault = open_on(faulty.clone(), faulty.clone(), environment).unwrap();
    let fault = Fault::always(Verb::Get, "data/", StoreErrorKind::Unreachable);
    faulty.arm(Fault { after: 20, ..fault });
    let failed = vault.restore(&scene.snapshot, &scene.options(), &scene.target());
    assert!(failed.is_err());
    let report = scene.again();
    scene.assert_restored(&report);
    assert!(report.unchanged > 0, "nothing of the first try was used");
    assert!(report.unchanged < report.bytes, "the first try was not cut off");
}
