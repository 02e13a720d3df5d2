//! The swap with the live database: proof that nobody writes, the order of steps, the way back, and
//! what a kill after each step leaves.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lifeboat_adapters::sqlite::{FileSystem, Moves, SqliteInPlace};
use lifeboat_model::manifest::Manifest;
use lifeboat_recovery::ports::{EngineError, InPlace, WriterProof};

use crate::nobody;
use crate::sqlite_kit::{Bench, Notes, manifest, stock};
use crate::sqlite_refused::Other;

/// What happens at the step that is hit.
#[derive(Clone, Copy, PartialEq)]
enum Hit {
    /// The process is gone: nothing after it runs.
    Kill,
    /// The call fails.
    Fail,
}

/// The file system until a step, counted from 0, at which it is hit once.
struct Until(Cell<usize>, Hit);

impl Until {
    fn step(&self) -> io::Result<()> {
        let left = self.0.get();
        self.0.set(left.wrapping_sub(1));
        match (left, self.1) {
            (0, Hit::Kill) => std::panic::resume_unwind(Box::new("killed")),
            (0, Hit::Fail) => Err(io::Error::other("the disk says no")),
            _ => Ok(()),
        }
    }
}

impl Moves for Until {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.step().and_then(|()| FileSystem.make_folder(folder))
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.step().and_then(|()| FileSystem.link(file, name))
    }
    fn symlink(&self, target: &Path, name: &Path) -> io::Result<()> {
        self.step().and_then(|()| FileSystem.symlink(target, name))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| FileSystem.rename(from, to))
    }
    fn remove(&self, name: &Path) -> io::Result<()> {
        self.step().and_then(|()| FileSystem.remove(name))
    }
    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.step().and_then(|()| FileSystem.remove_folder(folder))
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        self.step().and_then(|()| FileSystem.sync(folder))
    }
}

/// A live database whose newest rows are in its log only, and an older, restored copy beside it.
struct Scene {
    bench: Bench,
    manifest: Manifest,
}

/// Rows that the restored copy has, and those of the live database with its log.
const RESTORED: &str = "200";
const LIVE: &str = "450";

impl Scene {
    fn new() -> Self {
        let bench = Bench::new();
        drop(bench.open(
            "PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER PRIMARY KEY, b);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             INSERT INTO t SELECT i, randomblob(100) FROM n;",
        ));
        let manifest = manifest(&bench.capture().content);
        let staged = bench.folder.path().join("staging");
        std::fs::create_dir(&staged).expect("folder");
        std::fs::rename(bench.copy(), staged.join("app.db")).expect("stage");
        std::fs::remove_dir(bench.copy().parent().expect("folder")).expect("remove");
        // A crashed application: its last rows are in the -wal, nobody has it open.
        Other::open(
            &bench.live(),
            "PRAGMA wal_autocheckpoint=0;
             WITH RECURSIVE n(i) AS (SELECT 201 UNION ALL SELECT i + 1 FROM n WHERE i < 450)
             INSERT INTO t SELECT i, randomblob(100) FROM n;",
        )
        .kill();
        assert!(std::fs::metadata(bench.live().with_extension("db-wal")).expect("log").len() > 0);
        Scene { bench, manifest }
    }

    fn live(&self) -> PathBuf {
        self.bench.live()
    }

    fn staged(&self) -> PathBuf {
        self.bench.folder.path().join("staging")
    }

    fn in_place(&self) -> SqliteInPlace {
        SqliteInPlace::new(&self.live(), Arc::new(Notes::default())).expect("in place")
    }

    fn hit(&self, step: usize, hit: Hit) -> SqliteInPlace {
        let moves = Box::new(Until(Cell::new(step), hit));
        SqliteInPlace::with_moves(&self.live(), Arc::new(Notes::default()), moves)
            .expect("in place")
    }

    fn swap(&self, in_place: &SqliteInPlace) -> Result<Vec<PathBuf>, EngineError> {
        in_place.swap(&self.staged(), &self.manifest, "20260101T000000Z")
    }

    /// Names in the folder, without the staging folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.bench.folder.path()).expect("folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|name| name != "staging");
        names.sort();
        names
    }

    /// What an application would find, asked of a copy of the whole folder.
    fn rows(&self) -> String {
        let scratch = tempfile::tempdir().expect("folder");
        let copied =
            Command::new("cp").arg("-a").arg(self.bench.folder.path()).arg(scratch.path()).status();
        assert!(copied.expect("cp").success());
        let name = self.bench.folder.path().file_name().expect("name");
        count(&scratch.path().join(name).join("app.db"))
    }
}

fn count(database: &Path) -> String {
    assert_eq!(stock(database, "PRAGMA integrity_check"), "ok");
    stock(database, "SELECT count(*) FROM t")
}

#[test]
fn x18_the_swap_keeps_the_old_state_and_shows_the_new_one() {
    let scene = Scene::new();
    // The trap: the copy put over the old database, the old log left beside it.
    let trap = tempfile::tempdir().expect("folder");
    std::fs::copy(scene.staged().join("app.db"), trap.path().join("app.db")).expect("copy");
    std::fs::copy(scene.live().with_extension("db-wal"), trap.path().join("app.db-wal"))
        .expect("copy");
    assert_ne!(
        stock(&trap.path().join("app.db"), "SELECT count(*) FROM t"),
        RESTORED,
        "the trap is real"
    );

    let restored = std::fs::read(scene.staged().join("app.db")).expect("read");
    std::fs::set_permissions(scene.live(), std::os::unix::fs::PermissionsExt::from_mode(0o640))
        .expect("mode");
    let in_place = scene.in_place();
    assert_eq!(in_place.writers().expect("looked"), WriterProof::Stopped);
    assert_eq!(
        in_place.staging_parent(),
        scene.live().parent().expect("folder").canonicalize().expect("real")
    );
    let kept = scene.swap(&in_place).expect("swapped");
    assert_eq!(scene.names(), ["app.db", "app.db.before-20260101T000000Z"], "nothing else is left");
    assert_eq!(restored, std::fs::read(scene.live()).expect("read"));
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(scene.live()).expect("file"));
    assert_eq!(mode & 0o777, 0o640, "mode as before");
    assert_eq!(kept.len(), 1);
    assert_eq!(count(&scene.live()), RESTORED);
    assert_eq!(count(&kept[0].join("app.db")), LIVE, "the old state opens, with its log");
}

#[test]
fn undo_puts_the_former_state_back_with_its_log() {
    let scene = Scene::new();
    let before = std::fs::read(scene.live()).expect("read");
    let log = std::fs::read(scene.live().with_extension("db-wal")).expect("read");
    let in_place = scene.in_place();
    let kept = scene.swap(&in_place).expect("swapped");
    Other::open(&scene.live(), "INSERT INTO t VALUES (9999, 'by the probe');").kill();
    in_place.undo(&kept).expect("undone");
    assert_eq!(before, std::fs::read(scene.live()).expect("read"));
    assert_eq!(log, std::fs::read(scene.live().with_extension("db-wal")).expect("read"));
    assert_eq!(scene.rows(), LIVE);
    let aside = scene.bench.folder.path().join("app.db.undone-20260101T000000Z/app.db");
    assert_eq!(count(&aside), "201", "what was written meanwhile is not lost");
    assert!(!kept[0].exists());
}

#[test]
fn a_missing_database_is_simply_filled() {
    for with_log in [false, true] {
        let scene = Scene::new();
        std::fs::remove_file(scene.live()).expect("remove");
        if !with_log {
            std::fs::remove_file(scene.live().with_extension("db-wal")).expect("remove");
            std::fs::remove_file(scene.live().with_extension("db-shm")).expect("remove");
        }
        let in_place = scene.in_place();
        assert_eq!(in_place.writers().expect("looked"), WriterProof::Stopped);
        let kept = scene.swap(&in_place).expect("swapped");
        assert_eq!(kept.len(), usize::from(with_log), "an orphaned log is kept");
        assert_eq!(scene.rows(), RESTORED);
        in_place.undo(&kept).expect("undone");
        assert!(!scene.live().exists());
        assert_eq!(scene.live().with_extension("db-wal").exists(), with_log);
    }
}

#[test]
fn a_damaged_database_and_its_log_are_kept_as_they_are() {
    let scene = Scene::new();
    std::fs::write(scene.live(), vec![7; 9000]).expect("garbage");
    let log = std::fs::read(scene.live().with_extension("db-wal")).expect("log");
    let kept = scene.swap(&scene.in_place()).expect("swapped");
    assert_eq!(std::fs::read(kept[0].join("app.db")).expect("kept"), vec![7; 9000]);
    assert_eq!(std::fs::read(kept[0].join("app.db-wal")).expect("kept"), log);
    assert_eq!(scene.rows(), RESTORED);
}

/// Whoever has any of the files open is found, locking or not, and nothing is changed.
#[test]
fn writers_are_found_and_the_swap_refused() {
    for sql in ["SELECT count(*) FROM t;", "BEGIN IMMEDIATE;", "BEGIN; SELECT count(*) FROM t;"] {
        let scene = Scene::new();
        let other = Other::open(&scene.live(), sql);
        let in_place = scene.in_place();
        let WriterProof::Running(who) = in_place.writers().expect("looked") else {
            panic!("{sql}")
        };
        assert!(who[0].starts_with("sqlite3 (process "), "{who:?}");
        let refused = scene.swap(&in_place).expect_err("refused");
        assert!(
            matches!(&refused, EngineError::Refused { what, .. } if what.contains("sqlite3")),
            "{refused:?}"
        );
        assert_eq!(scene.rows(), LIVE);
        other.kill();
        assert_eq!(in_place.writers().expect("looked"), WriterProof::Stopped);
        scene.swap(&in_place).expect("swapped");
    }
    // An idle reader of a rollback-journal database holds no lock at all.
    let bench = Bench::new();
    drop(bench.open("CREATE TABLE t(a);"));
    let _other = Other::open(&bench.live(), "SELECT count(*) FROM t;");
    let in_place = SqliteInPlace::new(&bench.live(), Arc::new(Notes::default())).expect("in place");
    assert!(matches!(in_place.writers().expect("looked"), WriterProof::Running(_)));
}

/// From the proof on nobody gets a lock on the old database.
#[test]
fn nobody_slips_in_between_proof_and_swap() {
    let scene = Scene::new();
    let in_place = scene.in_place();
    assert_eq!(in_place.writers().expect("looked"), WriterProof::Stopped);
    let late = Command::new("sqlite3")
        .args(["-batch", "-cmd", ".timeout 100"])
        .arg(scene.live())
        .arg("INSERT INTO t VALUES (7777, 'late')")
        .output()
        .expect("the sqlite3 program is needed: apt-get install sqlite3");
    assert!(String::from_utf8_lossy(&late.stderr).contains("locked"), "{late:?}");
    drop(in_place);
    assert_eq!(scene.rows(), LIVE);
}

/// Somebody who opened the old file in the last moment, and waits for its lock, would write into
/// what is kept: the swap is undone.
#[test]
fn who_opens_the_old_file_during_the_swap_undoes_it() {
    struct Intruder(PathBuf, std::cell::RefCell<Option<std::process::Child>>);
    impl Moves for Intruder {
        fn make_folder(&self, folder: &Path) -> io::Result<()> {
            let waiting =
                Command::new("sleep").arg("60").stdin(std::fs::File::open(&self.0)?).spawn()?;
            *self.1.borrow_mut() = Some(waiting);
            FileSystem.make_folder(folder)
        }
        fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
            FileSystem.link(file, name)
        }
        fn symlink(&self, target: &Path, name: &Path) -> io::Result<()> {
            FileSystem.symlink(target, name)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            FileSystem.rename(from, to)
        }
        fn remove(&self, name: &Path) -> io::Result<()> {
            FileSystem.remove(name)
        }
        fn remove_folder(&self, folder: &Path) -> io::Result<()> {
            FileSystem.remove_folder(folder)
        }
        fn sync(&self, folder: &Path) -> io::Result<()> {
            FileSystem.sync(folder)
        }
    }
    impl Drop for Intruder {
        fn drop(&mut self) {
            if let Some(mut child) = self.1.take() {
                child.kill().expect("kill");
                child.wait().expect("wait");
            }
        }
    }
    let scene = Scene::new();
    let moves = Box::new(Intruder(scene.live(), None.into()));
    let in_place = SqliteInPlace::with_moves(&scene.live(), Arc::new(Notes::default()), moves)
        .expect("in place");
    let before = scene.names();
    let refused = scene.swap(&in_place).expect_err("refused");
    assert!(refused.to_string().contains("during the swap"), "{refused}");
    assert_eq!(scene.names(), before);
    assert_eq!(scene.rows(), LIVE);
    assert!(scene.staged().join("app.db").exists(), "the copy is where it was staged");
}

/// Runs `act` with a hit at step 0, 1, 2 … until it gets through; hands each cut-off scene to `look`.
fn sweep(hit: Hit, act: impl Fn(&Scene, &SqliteInPlace) -> bool, look: impl Fn(&Scene, usize)) {
    for step in 0..100 {
        let scene = Scene::new();
        let in_place = scene.hit(step, hit);
        let through = catch_unwind(AssertUnwindSafe(|| act(&scene, &in_place)));
        drop(in_place);
        if matches!(through, Ok(true)) {
            assert!(step > 12, "only {step} steps were tried");
            return;
        }
        assert_eq!(through.is_err(), hit == Hit::Kill, "step {step}");
        look(&scene, step);
    }
    panic!("never got through");
}

/// After a kill at any step the name leads to the whole old or the whole new database, an
/// application may go on with it, and the next swap works.
#[test]
fn a_kill_after_any_step_leaves_the_old_state_or_the_new_one() {
    let act = |scene: &Scene, in_place: &SqliteInPlace| scene.swap(in_place).is_ok();
    sweep(Hit::Kill, act, |scene, step| {
        let found = scene.rows();
        assert!(found == LIVE || found == RESTORED, "step {step}: {found} rows");
        let new = found == RESTORED;
        assert_eq!(new, !scene.staged().join("app.db").exists(), "step {step}");
        // The application starts again and writes, knowing nothing of this.
        stock(&scene.live(), "INSERT INTO t VALUES (5000, 'after the crash')");
        let more = if new { "201" } else { "451" };
        assert_eq!(scene.rows(), more, "step {step}");
        if new {
            return;
        }
        let kept = scene.swap(&scene.in_place()).expect("the next swap");
        assert_eq!(scene.rows(), RESTORED, "step {step}");
        assert_eq!(
            count(&kept[0].join("app.db")),
            more,
            "step {step}: the row after the crash is kept"
        );
        let folder = kept[0].file_name().expect("name").to_string_lossy().into_owned();
        assert_eq!(scene.names(), ["app.db".to_owned(), folder], "step {step}");
    });
}

#[test]
fn a_failure_at_any_step_puts_the_former_state_back() {
    let before = |scene: &Scene| {
        (
            std::fs::read(scene.live()).expect("db"),
            std::fs::read(scene.live().with_extension("db-wal")).expect("log"),
        )
    };
    let act = |scene: &Scene, in_place: &SqliteInPlace| {
        let former = (scene.names(), before(scene));
        let done = scene.swap(in_place).is_ok();
        assert!(done || former == (scene.names(), before(scene)), "{:?}", scene.names());
        done
    };
    sweep(Hit::Fail, act, |scene, step| {
        assert_eq!(scene.rows(), LIVE, "step {step}");
        assert!(scene.staged().join("app.db").exists(), "step {step}");
        scene.swap(&scene.in_place()).expect("the next swap");
        assert_eq!(scene.rows(), RESTORED, "step {step}");
    });
}

#[test]
fn a_kill_during_undo_leaves_the_new_state_or_the_old_one() {
    let act = |scene: &Scene, in_place: &SqliteInPlace| {
        let kept = match scene.bench.folder.path().join("app.db.before-20260101T000000Z") {
            kept if kept.exists() => vec![kept],
            _ => scene.swap(&scene.in_place()).expect("swapped"),
        };
        in_place.undo(&kept).is_ok()
    };
    sweep(Hit::Kill, act, |scene, step| {
        let found = scene.rows();
        assert!(found == LIVE || found == RESTORED, "step {step}: {found} rows");
        // Asked again, it ends with the former state.
        if found == RESTORED {
            assert!(act(scene, &scene.in_place()), "step {step}");
        }
        assert_eq!(scene.rows(), LIVE, "step {step}");
    });
}

#[test]
fn a_copy_that_is_not_whole_is_not_swapped_in() {
    let scene = Scene::new();
    let staged = scene.staged().join("app.db");
    let whole = std::fs::read(&staged).expect("read");
    std::fs::write(&staged, &whole[..whole.len() - 4096]).expect("cut");
    let refused = scene.swap(&scene.in_place()).expect_err("refused");
    assert!(matches!(refused, EngineError::Refused { .. }), "{refused:?}");
    std::fs::write(&staged, &whole).expect("whole");
    std::fs::write(staged.with_extension("db-wal"), b"log").expect("write");
    scene.swap(&scene.in_place()).expect_err("a copy with a log of its own");
    std::fs::remove_file(&staged).expect("remove");
    scene.swap(&scene.in_place()).expect_err("no copy");
    assert_eq!(scene.rows(), LIVE);
}

#[test]
fn a_kept_folder_is_never_overwritten_and_links_are_followed() {
    let scene = Scene::new();
    let elsewhere = tempfile::tempdir().expect("folder");
    let link = elsewhere.path().join("current.db");
    std::os::unix::fs::symlink(scene.live(), &link).expect("link");
    std::fs::create_dir(scene.bench.folder.path().join("app.db.before-20260101T000000Z"))
        .expect("folder");
    std::fs::write(scene.bench.folder.path().join("app.db.before-20260101T000000Z/precious"), b"x")
        .expect("write");
    let in_place = SqliteInPlace::new(&link, Arc::new(Notes::default())).expect("in place");
    let kept = scene.swap(&in_place).expect("swapped");
    assert!(kept[0].ends_with("app.db.before-20260101T000000Z-2"), "{kept:?}");
    assert!(
        link.symlink_metadata().expect("link").is_symlink(),
        "the application's own link stays"
    );
    assert_eq!(count(&link), RESTORED);
}

/// What a killed swap or undo left is put in order by whoever looks next, not only by a restore; with
/// somebody in the database it stays, whole, and is said.
#[test]
fn a_swap_that_was_cut_off_is_tidied_up() {
    let act = |scene: &Scene, in_place: &SqliteInPlace| scene.swap(in_place).is_ok();
    sweep(Hit::Kill, act, |scene, step| {
        let found = scene.rows();
        if scene.in_place().unsettled().is_some() {
            let other = Other::open(&scene.live(), "SELECT count(*) FROM t;");
            let said = scene.in_place().tidy().expect("said");
            assert!(said.contains("sqlite3 (process "), "step {step}: {said}");
            assert!(scene.in_place().unsettled().is_some(), "step {step}");
            other.kill();
            scene.in_place().tidy().expect("said");
        }
        assert!(scene.in_place().unsettled().is_none(), "step {step}: {:?}", scene.names());
        assert!(scene.live().symlink_metadata().expect("file").is_file(), "step {step}");
        assert!(!scene.names().iter().any(|name| name.contains("lifeboat")), "step {step}");
        assert_eq!(scene.rows(), found, "step {step}");
    });
}

/// The restored file takes the live one's owner, group, mode, access list and attributes.
#[test]
fn the_live_files_metadata_is_carried_over() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let acl: Vec<u8> = [
        (1u16, 6u16, u32::MAX),
        (2, 4, 1000),
        (4, 0, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ]
    .iter()
    .flat_map(|(tag, rights, id)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    })
    .collect();
    let acl = [&2u32.to_le_bytes()[..], &acl].concat();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).expect("set");
    };
    let get = |path: &Path, name: &str| {
        let mut value = vec![0; 256];
        let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
        Some(value[..length].to_vec())
    };
    let scene = Scene::new();
    let (live, copy) = (scene.live(), scene.staged().join("app.db"));
    set(&copy, "user.snapshot", b"of the capture");
    std::os::unix::fs::chown(&live, Some(1234), Some(4321)).expect("run as root");
    std::fs::set_permissions(&live, std::fs::Permissions::from_mode(0o640)).expect("mode");
    set(&live, "user.app", b"mine");
    set(&live, "system.posix_acl_access", &acl);
    scene.swap(&scene.in_place()).expect("swapped");
    let placed = std::fs::metadata(&live).expect("file");
    assert_eq!((placed.uid(), placed.gid(), placed.mode() & 0o777), (1234, 4321, 0o640));
    assert_eq!(get(&live, "user.app").as_deref(), Some(&b"mine"[..]));
    assert_eq!(get(&live, "system.posix_acl_access"), Some(acl));
    assert_eq!(get(&live, "user.snapshot"), None);
    // Where there is no live file the snapshot's metadata stays.
    let scene = Scene::new();
    set(&scene.staged().join("app.db"), "user.snapshot", b"of the capture");
    std::fs::remove_file(scene.live()).expect("remove");
    scene.swap(&scene.in_place()).expect("swapped");
    assert_eq!(get(&scene.live(), "user.snapshot").as_deref(), Some(&b"of the capture"[..]));
}

/// An idle writer of a rollback-journal database holds no lock, and as another user's it cannot be
/// looked into: the kernel knows of it, or nothing is proven.
#[test]
fn an_idle_writer_of_another_user_is_seen_or_the_swap_is_refused() {
    let name = "sqlite_in_place::an_idle_writer_of_another_user_is_seen_or_the_swap_is_refused";
    let names = ["quiet", "written", "foreign"];
    if let Some(folder) = nobody::folder() {
        let [quiet, written, foreign] = names.map(|name| {
            let path = folder.join(name).join("app.db");
            SqliteInPlace::new(&path, Arc::new(Notes::default())).expect("in place").writers()
        });
        assert_eq!(quiet.expect("proven"), WriterProof::Stopped);
        let WriterProof::Running(who) = written.expect("looked") else { panic!("not seen") };
        assert!(who[0].contains("cannot be seen"), "{who:?}");
        let refused = foreign.expect_err("not proven");
        let EngineError::Refused { what, hint } = &refused else { panic!("{refused:?}") };
        assert!(what.contains("cannot tell") && hint.contains("root"), "{refused:?}");
        nobody::seen();
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777));
    let folder = tempfile::tempdir_in("/var/tmp").expect("folder");
    open(folder.path()).expect("mode");
    for name in names {
        let home = folder.path().join(name);
        std::fs::create_dir(&home).expect("folder");
        open(&home).expect("mode");
        let database = home.join("app.db");
        drop(
            rusqlite::Connection::open(&database).expect("open").execute_batch("CREATE TABLE t(a)"),
        );
        open(&database).expect("mode");
        let owner = if name == "foreign" { 0 } else { nobody::NOBODY };
        std::os::unix::fs::chown(&database, Some(owner), Some(owner)).expect("owner");
    }
    let _idle = rusqlite::Connection::open(folder.path().join("written/app.db")).expect("open");
    nobody::run(name, folder.path());
}

/// Root of a container sees its own processes only; without leases nothing is proven then.
#[test]
fn from_a_container_a_writer_outside_is_not_taken_for_stopped() {
    let name = "sqlite_in_place::from_a_container_a_writer_outside_is_not_taken_for_stopped";
    if let Some(folder) = nobody::folder() {
        let place = SqliteInPlace::new(&folder.join("app.db"), Arc::new(Notes::default()));
        let refused = place.expect("in place").writers().expect_err("not proven");
        let EngineError::Refused { what, hint } = &refused else { panic!("{refused:?}") };
        assert!(what.contains("cannot tell") && hint.contains("container"), "{refused:?}");
        nobody::seen();
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("folder");
    let database = folder.path().join("app.db");
    let idle = rusqlite::Connection::open(&database).expect("open");
    idle.execute_batch("CREATE TABLE t(a)").expect("table");
    std::os::unix::fs::chown(&database, Some(nobody::NOBODY), None).expect("owner");
    nobody::run_in_container(name, folder.path());
}
