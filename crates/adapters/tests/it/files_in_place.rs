//! Live file trees replaced in place, and every way in which that can fail.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use lifeboat_adapters::files::{FileSystem, FilesInPlace, Renames};
use lifeboat_model::manifest::{Content, FORMAT, FilesContent, FilesRoot, Manifest};
use lifeboat_recovery::ports::{EngineError, InPlace, WriterProof};
use lifeboat_vault::NoMonitor;
use tempfile::TempDir;

use crate::mounted::Mounted;
use crate::nobody;

/// A live application with two roots and a restored copy of both.
struct Scene {
    base: PathBuf,
    roots: Vec<FilesRoot>,
    _guard: Option<TempDir>,
}

const ROOTS: [&str; 2] = ["data/media", "etc"];

impl Scene {
    fn new() -> Scene {
        let guard = TempDir::new().unwrap();
        let base = guard.path().canonicalize().unwrap();
        for tree in ROOTS {
            fill(&base.join("live").join(tree), "old");
            fill(&base.join("staging/copy").join(tree), "new");
        }
        Scene { _guard: Some(guard), ..Scene::at(&base) }
    }

    /// The scene that somebody else made.
    fn at(base: &Path) -> Scene {
        let root = |tree: &str| FilesRoot {
            source: base.join("live").join(tree).to_str().unwrap().to_owned(),
            tree: format!("/{tree}"),
        };
        Scene { base: base.to_owned(), roots: ROOTS.map(root).to_vec(), _guard: None }
    }

    fn base(&self) -> PathBuf {
        self.base.clone()
    }

    fn live(&self, tree: &str) -> PathBuf {
        self.base().join("live").join(tree)
    }

    fn copy(&self) -> PathBuf {
        self.base().join("staging/copy")
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            format: FORMAT,
            component: "media".into(),
            version: "0".into(),
            host: "testhost".into(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            position: None,
            content: Content::Files(FilesContent {
                roots: self.roots.clone(),
                files: 4,
                folders: 4,
                others: 2,
                bytes: 12,
                allocated: None,
                fingerprint: String::new(),
                problems: Vec::new(),
            }),
        }
    }

    fn in_place(&self) -> FilesInPlace {
        self.with(Box::new(FileSystem))
    }

    fn with(&self, renames: Box<dyn Renames>) -> FilesInPlace {
        FilesInPlace::with_renames(&self.roots, Arc::new(NoMonitor), renames).unwrap()
    }

    fn swap(&self) -> Result<Vec<PathBuf>, EngineError> {
        self.in_place().swap(&self.copy(), &self.manifest(), "T")
    }

    /// What stands in live and copy: the whole state that a failure must not have changed.
    fn state(&self) -> BTreeMap<String, String> {
        tree(&self.base())
    }
}

/// A small tree whose every file says what it is.
fn fill(root: &Path, what: &str) {
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("a"), what).unwrap();
    fs::write(root.join("sub/b"), what).unwrap();
    fs::write(root.join(format!("only-{what}")), "").unwrap();
    symlink(what, root.join("link")).unwrap();
    let mode = if what == "old" { 0o750 } else { 0o711 };
    fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every path with its mode and content.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_dir() {
                open.push(path.clone());
                String::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().to_str().unwrap().to_owned()
            } else {
                fs::read_to_string(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, format!("{:o} {content}", meta.mode()));
        }
    }
    found
}

fn says(root: &Path, what: &str) -> bool {
    let other = if what == "old" { "new" } else { "old" };
    let mode = if what == "old" { 0o750 } else { 0o711 };
    fs::read_to_string(root.join("a")).unwrap() == what
        && fs::read_to_string(root.join("sub/b")).unwrap() == what
        && fs::read_link(root.join("link")).unwrap() == Path::new(what)
        && root.join(format!("only-{what}")).exists()
        && !root.join(format!("only-{other}")).exists()
        && fs::metadata(root).unwrap().mode() & 0o7777 == mode
}

#[test]
fn a_swap_keeps_the_old_state_and_undo_brings_it_back() {
    let scene = Scene::new();
    let in_place = scene.in_place();
    assert_eq!(in_place.staging_parent(), scene.live("data"));
    assert_eq!(in_place.writers().unwrap(), WriterProof::Stopped);
    let kept = in_place.swap(&scene.copy(), &scene.manifest(), "T").unwrap();
    assert_eq!(kept, [scene.live("data/media.before-T"), scene.live("etc.before-T")]);
    for (root, kept) in ROOTS.iter().zip(&kept) {
        assert!(says(&scene.live(root), "new"));
        assert!(says(kept, "old"));
    }
    in_place.undo(&kept).unwrap();
    for (root, kept) in ROOTS.iter().zip(&kept) {
        assert!(says(&scene.live(root), "old"));
        assert!(!kept.exists());
    }
    // The copy may have been written to: it is kept as well.
    assert!(says(&scene.live("data/media.undone-T"), "new"));
    assert!(says(&scene.live("etc.undone-T"), "new"));
}

#[test]
fn a_second_swap_of_the_same_name_keeps_both_old_states() {
    let scene = Scene::new();
    scene.swap().unwrap();
    for root in ROOTS {
        fill(&scene.copy().join(root), "new");
    }
    let kept = scene.swap().unwrap();
    assert_eq!(kept, [scene.live("data/media.before-T-2"), scene.live("etc.before-T-2")]);
    assert!(says(&scene.live("etc.before-T"), "old") && says(&kept[1], "new"));
}

#[test]
fn what_is_gone_altogether_comes_back() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.base().join("live")).unwrap();
    let in_place = scene.in_place();
    assert_eq!(in_place.staging_parent(), scene.base());
    assert_eq!(in_place.writers().unwrap(), WriterProof::Stopped);
    let kept = in_place.swap(&scene.copy(), &scene.manifest(), "T").unwrap();
    assert!(kept.is_empty());
    assert!(ROOTS.iter().all(|root| says(&scene.live(root), "new")));
    in_place.undo(&kept).unwrap();
    assert!(ROOTS.iter().all(|root| !scene.live(root).exists()));
}

#[test]
fn a_root_that_is_a_symbolic_link_is_replaced_where_it_leads_to() {
    let scene = Scene::new();
    let elsewhere = scene.base().join("elsewhere");
    fs::rename(scene.live("etc"), &elsewhere).unwrap();
    symlink(&elsewhere, scene.live("etc")).unwrap();
    let kept = scene.swap().unwrap();
    assert_eq!(kept[1], scene.base().join("elsewhere.before-T"));
    assert!(says(&elsewhere, "new") && scene.live("etc").is_symlink());
}

/// Fails at the n-th change, once; may not know how to exchange.
struct Failing {
    left: AtomicUsize,
    exchanges: bool,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            0 => Err(io::Error::other("planted failure")),
            _ => Ok(()),
        }
    }
}

impl Renames for Failing {
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool> {
        if !self.exchanges {
            return Ok(false);
        }
        self.step()?;
        FileSystem.exchange(one, other)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        FileSystem.rename(from, to)
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        FileSystem.sync(folder)
    }
}

/// Lets each change fail in turn; returns after how many the swap succeeds.
fn fail_everywhere(exchanges: bool, scene: impl Fn() -> Scene) -> usize {
    for step in 0..100 {
        let scene = scene();
        let before = scene.state();
        let renames = Failing { left: AtomicUsize::new(step), exchanges };
        match scene.with(Box::new(renames)).swap(&scene.copy(), &scene.manifest(), "T") {
            Ok(kept) => {
                assert!(ROOTS.iter().all(|root| says(&scene.live(root), "new")));
                assert!(kept.iter().all(|kept| says(kept, "old")));
                return step;
            }
            Err(EngineError::Failed { .. }) => assert_eq!(scene.state(), before, "step {step}"),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it never succeeds");
}

#[test]
fn a_failure_at_any_step_leaves_the_former_state() {
    assert_eq!(fail_everywhere(true, Scene::new), 4);
}

#[test]
fn a_failure_at_any_step_without_exchange_leaves_the_former_state() {
    assert_eq!(fail_everywhere(false, Scene::new), 8);
}

/// The first root is a mount point, and the copy is staged in it.
fn mounted_scene() -> (Scene, Mounted) {
    let mut scene = Scene::new();
    let media = scene.live("data/media");
    fs::remove_dir_all(&media).unwrap();
    let disk = Mounted::on(media.clone(), "size=1m");
    fill(&media, "old");
    fs::create_dir(media.join("lost+found")).unwrap();
    scene.roots.truncate(1);
    let staging = media.join("x.lifeboat-partial-1/data/data");
    fs::create_dir_all(&staging).unwrap();
    fill(&staging.join("media"), "new");
    (scene, disk)
}

#[test]
fn a_mount_point_is_swapped_one_level_down() {
    let (scene, _disk) = mounted_scene();
    let media = scene.live("data/media");
    let in_place = scene.in_place();
    assert_eq!(in_place.staging_parent(), media);
    let copy = media.join("x.lifeboat-partial-1/data");
    let kept = in_place.swap(&copy, &scene.manifest(), "T").unwrap();
    assert_eq!(kept, [media.join("media.before-T")]);
    assert!(says(&media, "new") && says(&kept[0], "old"));
    assert!(media.join("lost+found").exists());
    in_place.undo(&kept).unwrap();
    assert!(says(&media, "old") && says(&media.join("media.undone-T"), "new"));
    assert!(!kept[0].exists());
}

#[test]
fn a_failure_at_any_step_in_a_mount_point_leaves_the_former_state() {
    for step in 0..100 {
        let (scene, _disk) = mounted_scene();
        let before = scene.state();
        let copy = scene.live("data/media/x.lifeboat-partial-1/data");
        let renames = Failing { left: AtomicUsize::new(step), exchanges: true };
        match scene.with(Box::new(renames)).swap(&copy, &scene.manifest(), "T") {
            Ok(_) => {
                assert!(says(&scene.live("data/media"), "new"));
                assert_eq!(step, 9);
                return;
            }
            Err(_) => assert_eq!(scene.state(), before, "step {step}"),
        }
    }
}

#[test]
fn a_root_on_another_disk_gets_its_copy_brought_beside_it() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.live("etc")).unwrap();
    // The folder of the second root is a disk; the root itself is a folder on it.
    let disk = Mounted::on(scene.base().join("disk"), "size=1m");
    fill(&disk.path().join("etc"), "old");
    symlink(disk.path().join("etc"), scene.live("etc")).unwrap();
    let file = scene.copy().join("etc/a");
    std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
    fs::hard_link(&file, scene.copy().join("etc/a2")).unwrap();
    let stamp = fs::metadata(&file).unwrap().modified().unwrap();
    let kept = scene.swap().unwrap();
    assert_eq!(kept[1], disk.path().join("etc.before-T"));
    assert!(says(&disk.path().join("etc"), "new") && says(&kept[1], "old"));
    let placed = fs::metadata(disk.path().join("etc/a")).unwrap();
    assert_eq!((placed.uid(), placed.gid(), placed.nlink()), (1234, 4321, 2));
    assert_eq!(placed.modified().unwrap(), stamp);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 2, "something was left behind");
}

#[test]
fn a_disk_too_small_for_the_copy_changes_nothing() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.live("etc")).unwrap();
    let disk = Mounted::on(scene.base().join("disk"), "size=64k");
    fill(&disk.path().join("etc"), "old");
    symlink(disk.path().join("etc"), scene.live("etc")).unwrap();
    fs::write(scene.copy().join("etc/large"), "x".repeat(200_000)).unwrap();
    let before = scene.state();
    assert!(matches!(scene.swap().unwrap_err(), EngineError::Failed { .. }));
    assert_eq!(scene.state(), before);
}

#[test]
fn a_copy_without_one_of_the_roots_is_refused() {
    let scene = Scene::new();
    fs::rename(scene.copy().join("etc"), scene.copy().join("other")).unwrap();
    let before = scene.state();
    assert!(matches!(scene.swap().unwrap_err(), EngineError::Refused { .. }));
    assert_eq!(scene.state(), before);
}

/// A process that holds something until it is dropped.
struct Holder(Child);

impl Holder {
    /// `command` must print a line when it holds what it should.
    fn new(command: &mut Command) -> Holder {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
            .unwrap();
        assert_eq!(line, "held\n");
        Holder(child)
    }

    fn shell(script: &str, file: &Path) -> Holder {
        Holder::new(Command::new("sh").args(["-c", script, "sh"]).arg(file))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_writer_is_named_and_nothing_is_changed() {
    let scene = Scene::new();
    let before = scene.state();
    let file = scene.live("etc/sub/b");
    let holder = Holder::shell("exec 3>>\"$1\"; echo held; exec sleep 300", &file);
    let WriterProof::Running(who) = scene.in_place().writers().unwrap() else {
        panic!("the writer was not seen");
    };
    let expected = format!("(process {}) has {} open for writing", holder.0.id(), file.display());
    assert!(who.len() == 1 && who[0].ends_with(&expected), "{who:?}");
    assert!(matches!(scene.swap().unwrap_err(), EngineError::Refused { .. }));
    assert_eq!(scene.state(), before);
    drop(holder);
    assert_eq!(scene.in_place().writers().unwrap(), WriterProof::Stopped);
    assert_eq!(scene.swap().unwrap().len(), 2);
}

#[test]
fn a_reader_is_no_writer() {
    let scene = Scene::new();
    let script = "exec 3<\"$1\"; echo held; exec sleep 300";
    let _holder = Holder::shell(script, &scene.live("etc/sub/b"));
    assert_eq!(scene.in_place().writers().unwrap(), WriterProof::Stopped);
}

#[test]
fn a_writer_under_another_path_is_named() {
    let scene = Scene::new();
    let script = "mount --bind \"${1%/*}\" /mnt && exec 3>>/mnt/b; echo held; exec sleep 300";
    let command = ["-m", "sh", "-c", script, "sh"];
    let _holder = Holder::new(Command::new("unshare").args(command).arg(scene.live("etc/sub/b")));
    assert!(matches!(scene.in_place().writers().unwrap(), WriterProof::Running(_)));
}

#[test]
fn a_mapping_without_a_descriptor_is_a_writer() {
    let scene = Scene::new();
    let script = "import mmap,os,sys,time\n\
        f=os.open(sys.argv[1],os.O_RDWR); m=mmap.mmap(f,3); os.close(f)\n\
        print('held',flush=True); time.sleep(300)";
    let file = scene.live("etc/a");
    let _holder = Holder::new(Command::new("python3").args(["-c", script]).arg(file));
    assert!(matches!(scene.in_place().writers().unwrap(), WriterProof::Running(_)));
}

#[test]
fn a_writer_that_no_process_list_shows_is_seen_by_the_kernel() {
    let scene = Scene::new();
    // The look passes over its own process; the lease does not.
    let _open = File::options().append(true).open(scene.live("data/media/a")).unwrap();
    let WriterProof::Running(who) = scene.in_place().writers().unwrap() else {
        panic!("the writer was not seen");
    };
    assert!(who[0].starts_with("a process that cannot be seen here has "), "{who:?}");
}

/// Without root's eyes the kernel's word stands for the processes that cannot be looked into.
#[test]
fn another_user_proves_it_by_the_kernel_or_is_refused() {
    let name = "files_in_place::another_user_proves_it_by_the_kernel_or_is_refused";
    let roots = |folder: &Path| {
        ["quiet", "written", "foreign"].map(|tree| FilesRoot {
            source: folder.join(tree).to_str().unwrap().to_owned(),
            tree: format!("/{tree}"),
        })
    };
    if let Some(folder) = nobody::folder() {
        let [quiet, written, foreign] = roots(&folder)
            .map(|root| FilesInPlace::new(&[root], Arc::new(NoMonitor)).unwrap().writers());
        assert_eq!(quiet.unwrap(), WriterProof::Stopped);
        assert!(matches!(written.unwrap(), WriterProof::Running(_)));
        assert!(matches!(foreign.unwrap_err(), EngineError::Refused { .. }));
        nobody::seen();
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for root in roots(folder.path()) {
        fs::create_dir(&root.source).unwrap();
        let file = Path::new(&root.source).join("file");
        fs::write(&file, "x").unwrap();
        let owner = if root.tree == "/foreign" { 0 } else { nobody::NOBODY };
        std::os::unix::fs::chown(&file, Some(owner), Some(owner)).unwrap();
    }
    let _open = File::options().append(true).open(folder.path().join("written/file")).unwrap();
    nobody::run(name, folder.path());
}

/// Opens a file for writing in the middle of the swap.
struct SlipsIn(PathBuf, std::sync::Mutex<Option<File>>);

impl Renames for SlipsIn {
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool> {
        if let Ok(file) = File::options().append(true).open(&self.0) {
            *self.1.lock().unwrap() = Some(file);
        }
        FileSystem.exchange(one, other)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        FileSystem.sync(folder)
    }
}

#[test]
fn a_writer_that_slips_in_during_the_swap_undoes_it() {
    let scene = Scene::new();
    let before = scene.state();
    let renames = SlipsIn(scene.live("etc/a"), std::sync::Mutex::new(None));
    let in_place = scene.with(Box::new(renames));
    let error = in_place.swap(&scene.copy(), &scene.manifest(), "T").unwrap_err();
    assert!(matches!(error, EngineError::Refused { .. }), "{error}");
    assert_eq!(scene.state(), before);
}

/// Ends the process, as far as the swap can tell, before the n-th change.
struct Dying(Failing);

impl Renames for Dying {
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.0.exchange(one, other).or_else(|_| std::panic::resume_unwind(Box::new("killed")))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to).or_else(|_| std::panic::resume_unwind(Box::new("killed")))
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        FileSystem.sync(folder)
    }
}

/// Kills the swap before each change, removes the staging folder as a later start does, and lets
/// the next look settle it: everything is old, or everything is new.
fn kill_everywhere(exchanges: bool, scene: impl Fn() -> (Scene, PathBuf, Option<Mounted>)) {
    for step in 0..100 {
        let (scene, staging, _disk) = scene();
        let dying = Dying(Failing { left: AtomicUsize::new(step), exchanges });
        let in_place = scene.with(Box::new(dying));
        let copy = staging.join(if staging.ends_with("staging") { "copy" } else { "data" });
        let swap = || in_place.swap(&copy, &scene.manifest(), "T").map(|_| ());
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(swap)).is_err();
        fs::remove_dir_all(&staging).unwrap();
        assert_eq!(scene.in_place().writers().unwrap(), WriterProof::Stopped, "step {step}");
        let what = if killed { "old" } else { "new" };
        for root in &scene.roots {
            assert!(says(Path::new(&root.source), what), "step {step}: {:#?}", scene.state());
        }
        let left: Vec<_> = scene.state().into_keys().filter(|p| p.contains("lifeboat-")).collect();
        assert!(left.is_empty(), "step {step}: {left:?}");
        // And the next restore works.
        if !killed {
            assert!(step >= 4);
            return;
        }
    }
    panic!("it never succeeds");
}

fn plain_scene() -> (Scene, PathBuf, Option<Mounted>) {
    let scene = Scene::new();
    let staging = scene.base().join("staging");
    (scene, staging, None)
}

#[test]
fn a_swap_killed_at_any_step_is_settled() {
    kill_everywhere(true, plain_scene);
}

#[test]
fn a_swap_killed_at_any_step_without_exchange_is_settled() {
    kill_everywhere(false, plain_scene);
}

#[test]
fn a_swap_of_a_mount_point_killed_at_any_step_is_settled() {
    kill_everywhere(true, || {
        let (scene, disk) = mounted_scene();
        let staging = scene.live("data/media/x.lifeboat-partial-1");
        (scene, staging, Some(disk))
    });
}

/// Fails at the n-th change and ever after: not even the way back works.
struct Dead(AtomicUsize);

impl Renames for Dead {
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.rename(one, other).and_then(|()| FileSystem.exchange(one, other))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            0 => Err(io::Error::other("planted failure")),
            _ => {
                self.0.fetch_sub(1, Ordering::SeqCst);
                if to.exists() { Ok(()) } else { FileSystem.rename(from, to) }
            }
        }
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        FileSystem.sync(folder)
    }
}

#[test]
fn the_old_state_is_never_in_the_staging_folder() {
    for step in 0..4 {
        let scene = Scene::new();
        let dead = Dead(AtomicUsize::new(step));
        scene.with(Box::new(dead)).swap(&scene.copy(), &scene.manifest(), "T").unwrap_err();
        assert!(ROOTS.iter().all(|root| !scene.copy().join(root).join("only-old").exists()));
        fs::remove_dir_all(scene.base().join("staging")).unwrap();
        scene.in_place().writers().unwrap();
        assert!(ROOTS.iter().all(|root| says(&scene.live(root), "old")), "step {step}");
    }
}

#[test]
fn what_captures_leave_out_goes_over_and_back() {
    let scene = Scene::new();
    let media = scene.live("data/media");
    fs::write(media.join("sub/x.tmp"), "mine").unwrap();
    fs::create_dir(media.join("cache")).unwrap();
    fs::write(media.join("cache/y"), "mine").unwrap();
    let exclude = ["*.tmp", "cache/"].map(str::to_owned);
    let in_place = scene.in_place().leaving_out(&[], &exclude).unwrap();
    let kept = in_place.swap(&scene.copy(), &scene.manifest(), "T").unwrap();
    let mine = |root: &Path| root.join("sub/x.tmp").exists() && root.join("cache/y").exists();
    assert!(says(&media, "new") && mine(&media));
    assert!(!kept[0].join("sub/x.tmp").exists() && !kept[0].join("cache").exists());
    in_place.undo(&kept).unwrap();
    assert!(says(&media, "old") && mine(&media));
}

#[test]
fn a_failure_at_any_step_leaves_what_captures_leave_out_where_it_was() {
    for step in 0..10 {
        let scene = Scene::new();
        fs::write(scene.live("etc/sub/x.tmp"), "mine").unwrap();
        fs::write(scene.live("data/media/y.tmp"), "mine").unwrap();
        let before = scene.state();
        let renames = Failing { left: AtomicUsize::new(step), exchanges: true };
        let in_place =
            scene.with(Box::new(renames)).leaving_out(&[], &["*.tmp".to_owned()]).unwrap();
        match in_place.swap(&scene.copy(), &scene.manifest(), "T") {
            Ok(_) => return assert_eq!(step, 6),
            Err(_) => assert_eq!(scene.state(), before, "step {step}"),
        }
    }
}

#[test]
fn what_must_not_leave_with_the_old_state_refuses_the_swap() {
    let scene = Scene::new();
    let tier = scene.live("data/media/tier");
    fs::create_dir(&tier).unwrap();
    let before = scene.state();
    let in_place = scene.in_place().keep_out([tier.clone(), scene.base().join("elsewhere")]);
    let refused = |error: EngineError| match error {
        EngineError::Refused { what, hint } => {
            assert!(hint.contains("--to"), "{hint}");
            what
        }
        other => panic!("{other}"),
    };
    assert!(refused(in_place.writers().unwrap_err()).contains(tier.to_str().unwrap()));
    refused(in_place.swap(&scene.copy(), &scene.manifest(), "T").unwrap_err());
    assert_eq!(scene.state(), before);
    // Another file system in a root would leave with it as well.
    let _disk = Mounted::on(tier, "size=64k");
    assert!(refused(scene.swap().unwrap_err()).contains("mounted"));
}

#[test]
fn half_a_swap_is_not_captured() {
    let kit = crate::files_kit::Kit::new();
    for (tree, what) in [("one", "old"), ("two", "old"), ("copy/one", "new"), ("copy/two", "new")] {
        fill(&kit.app(tree), what);
    }
    let taken = kit.capture(kit.options(&["one", "two"])).unwrap();
    let roots = taken.content().roots.clone();
    let in_place = |renames: Box<dyn Renames>| {
        FilesInPlace::with_renames(&roots, Arc::new(NoMonitor), renames).unwrap()
    };
    let dead = in_place(Box::new(Dead(AtomicUsize::new(2))));
    let error = dead.swap(&kit.app("copy"), &taken.manifest, "T").unwrap_err();
    assert!(matches!(error, EngineError::Failed { .. }), "{error}");
    assert!(in_place(Box::new(FileSystem)).unsettled().is_some());
    let writing = File::options().append(true).open(kit.app("two/a")).unwrap();
    let error = kit.capture(kit.options(&["two"])).map(|_| ()).unwrap_err();
    assert!(matches!(error, lifeboat_recovery::ports::SourceError::Unfit { .. }), "{error}");
    drop(writing);
    // With nobody writing the backup itself puts the former state back first.
    kit.capture(kit.options(&["one", "two"])).map(|_| ()).unwrap();
    assert!(in_place(Box::new(FileSystem)).unsettled().is_none());
    assert!(["one", "two"].iter().all(|root| says(&kit.app(root), "old")));
}

/// Ends this process, by the signal that nothing can catch, before the n-th change, notes and syncs
/// included.
struct Killing(AtomicUsize, bool);

impl Killing {
    fn step(&self) {
        use rustix::process::{Signal, getpid, kill_process};
        if self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }
}

impl Renames for Killing {
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.step();
        if self.1 { FileSystem.exchange(one, other) } else { Ok(false) }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step();
        FileSystem.rename(from, to)
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        self.step();
        FileSystem.sync(folder)
    }
    fn write_down(&self, unfinished: &Path, path: &Path, body: &[u8]) -> io::Result<()> {
        self.step();
        FileSystem.write_down(unfinished, path, body)
    }
    fn strike_out(&self, path: &Path) -> io::Result<()> {
        self.step();
        FileSystem.strike_out(path)
    }
}

const KILLED: &str = "LIFEBOAT_TEST_KILLED_AT";
const EXCLUDE: &str = "*.tmp";

/// The part of the test that is killed: `swap|undo`, whether names can be exchanged, the step and
/// the scene, in one variable.
#[allow(clippy::disallowed_methods)] // How a test talks to itself in a child process.
fn victim() -> Option<String> {
    std::env::var(KILLED).ok()
}

fn be_killed(order: &str) {
    let words: Vec<&str> = order.splitn(4, ' ').collect();
    let [act, exchanges, step, base] = words[..] else { panic!("{order}") };
    let scene = Scene::at(Path::new(base));
    let killing = Killing(AtomicUsize::new(step.parse().unwrap()), exchanges == "true");
    let in_place = scene.with(Box::new(killing)).leaving_out(&[], &[EXCLUDE.to_owned()]).unwrap();
    if act == "swap" {
        in_place.swap(&scene.copy(), &scene.manifest(), "T").unwrap();
    } else {
        in_place.undo(&ROOTS.map(|root| kept(&scene, root))).unwrap();
    }
}

fn kept(scene: &Scene, root: &str) -> PathBuf {
    let live = scene.live(root);
    live.with_file_name(format!("{}.before-T", live.file_name().unwrap().to_str().unwrap()))
}

/// True if the process got through before the n-th change.
fn run_victim(name: &str, act: &str, exchanges: bool, step: usize, scene: &Scene) -> bool {
    let order = format!("{act} {exchanges} {step} {}", scene.base().display());
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(KILLED, order)
        .output()
        .unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&done.status) == Some(9);
    assert!(killed || done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.status.success()
}

/// Whatever the step: the former state or the restored one, whole, in all roots; the other one is
/// kept; what captures leave out is with the live one; and the next call can go on.
fn sweep_with_kills(name: &str, act: &str, exchanges: bool) {
    for step in 0..100 {
        let scene = Scene::new();
        let mine = ["data/media/sub/x.tmp", "etc/y.tmp"];
        mine.iter().for_each(|path| fs::write(scene.live(path), "mine").unwrap());
        let whole = || scene.in_place().leaving_out(&[], &[EXCLUDE.to_owned()]).unwrap();
        if act == "undo" {
            whole().swap(&scene.copy(), &scene.manifest(), "T").unwrap();
        }
        let through = run_victim(name, act, exchanges, step, &scene);
        fs::remove_dir_all(scene.base().join("staging")).unwrap();
        whole().tidy().unwrap();
        let at = || format!("step {step}: {:#?}", scene.state());
        assert!(whole().unsettled().is_none(), "{}", at());
        let what = if says(&scene.live("etc"), "old") { "old" } else { "new" };
        assert!(ROOTS.iter().all(|root| says(&scene.live(root), what)), "{}", at());
        assert!(mine.iter().all(|path| scene.live(path).exists()), "{}", at());
        let state = scene.state();
        assert!(!state.keys().any(|path| path.contains("lifeboat-")), "{}", at());
        assert_eq!(state.keys().filter(|path| path.ends_with(".tmp")).count(), 2, "{}", at());
        if what == "new" {
            assert!(ROOTS.iter().all(|root| says(&kept(&scene, root), "old")), "{}", at());
            whole().undo(&ROOTS.map(|root| kept(&scene, root))).unwrap();
            assert!(ROOTS.iter().all(|root| says(&scene.live(root), "old")), "{}", at());
        } else if act == "undo" {
            let undone =
                |root: &&str| PathBuf::from(format!("{}.undone-T", scene.live(root).display()));
            assert!(ROOTS.iter().all(|root| says(&undone(root), "new")), "{}", at());
        }
        if through {
            assert_eq!(what, if act == "swap" { "new" } else { "old" });
            assert!(step > 15, "only {step} steps");
            return;
        }
    }
    panic!("it never succeeds");
}

#[test]
fn a_process_killed_at_any_step_of_a_swap_loses_nothing() {
    let name = "files_in_place::a_process_killed_at_any_step_of_a_swap_loses_nothing";
    match victim() {
        Some(order) => be_killed(&order),
        None => [true, false].iter().for_each(|it| sweep_with_kills(name, "swap", *it)),
    }
}

#[test]
fn a_process_killed_at_any_step_of_an_undo_loses_nothing() {
    let name = "files_in_place::a_process_killed_at_any_step_of_an_undo_loses_nothing";
    match victim() {
        Some(order) => be_killed(&order),
        None => [true, false].iter().for_each(|it| sweep_with_kills(name, "undo", *it)),
    }
}
