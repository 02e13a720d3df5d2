//! Files captured, restored and judged.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use lifeboat_model::check::CheckResult;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{Engine, SourceError};
use lifeboat_vault::RestoreOptions;

use crate::files_kit::Kit;
use crate::mounted::Mounted;

fn passes(checks: &[CheckResult]) -> bool {
    checks.len() == 6 && Verdict::of(checks.iter().map(|check| check.verdict)) == Verdict::Pass
}

fn failed(checks: &[CheckResult]) -> Vec<&CheckResult> {
    checks.iter().filter(|check| check.verdict != Verdict::Pass).collect()
}

/// Every path below a folder, folders with a slash at their end.
fn paths(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let shown = entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
                found.push(shown + "/");
            } else {
                found.push(shown);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_capture_restores_to_a_copy_that_equals_its_manifest() {
    let kit = Kit::new();
    kit.write("media/a.jpg", vec![7; 3_000_000]);
    kit.write("media/sub/b.jpg", b"b");
    kit.write("media/empty", b"");
    fs::create_dir(kit.app("media/empty folder")).unwrap();
    symlink("a.jpg", kit.app("media/link")).unwrap();
    kit.write("config/app.toml", b"x = 1");
    let taken = kit.capture(kit.options(&["media", "config/app.toml"])).unwrap();
    let content = taken.content();
    assert_eq!((content.files, content.folders, content.others), (4, 3, 1));
    assert_eq!(content.bytes, 3_000_006);
    assert!(content.problems.is_empty());
    assert_eq!(content.roots[1].source, kit.app("config/app.toml").to_str().unwrap());
    assert_eq!(content.roots[1].tree, "/config/app.toml");
    let (copy, report) = kit.restore(&taken, "copy");
    assert!(report.damaged.is_empty() && report.problems.is_empty(), "{report:?}");
    assert!(passes(&kit.judge(&taken, &copy)), "{:?}", kit.judge(&taken, &copy));
    assert_eq!(
        paths(&copy),
        [
            "config/",
            "config/app.toml",
            "media/",
            "media/a.jpg",
            "media/empty",
            "media/empty folder/",
            "media/link",
            "media/sub/",
            "media/sub/b.jpg"
        ]
    );
    assert!(kit.engine(&taken).query(&copy, "select 1").is_err());
}

#[test]
fn every_difference_of_a_copy_is_noticed_and_named() {
    let kit = Kit::new();
    kit.write("media/a", vec![7; 5_000_000]);
    kit.write("media/b", b"b");
    kit.write("media/sub/c", b"c");
    symlink("a", kit.app("media/link")).unwrap();
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 8] = [
        ("/media/a differs between bytes ", |copy| {
            let file = File::options().write(true).open(copy.join("a")).unwrap();
            file.write_all_at(b"8", 4_999_999).unwrap();
        }),
        ("/media/b has 2 bytes, captured were 1", |copy| {
            fs::write(copy.join("b"), b"bb").unwrap();
        }),
        ("/media/b is missing", |copy| fs::remove_file(copy.join("b")).unwrap()),
        ("/media/sub is missing", |copy| fs::remove_dir_all(copy.join("sub")).unwrap()),
        ("/media/sub/extra was not captured", |copy| {
            fs::write(copy.join("sub/extra"), b"").unwrap();
        }),
        ("/media/link leads elsewhere", |copy| {
            fs::remove_file(copy.join("link")).unwrap();
            symlink("b", copy.join("link")).unwrap();
        }),
        ("/media/b is of another kind", |copy| {
            fs::remove_file(copy.join("b")).unwrap();
            symlink("a", copy.join("b")).unwrap();
        }),
        ("/media/b is missing; /media/c was not captured", |copy| {
            fs::rename(copy.join("b"), copy.join("c")).unwrap();
        }),
    ];
    for (number, (expected, damage)) in damages.into_iter().enumerate() {
        let (copy, _) = kit.restore(&taken, &format!("copy{number}"));
        assert!(passes(&kit.judge(&taken, &copy)));
        damage(&copy.join("media"));
        let checks = kit.judge(&taken, &copy);
        let content = checks.iter().find(|check| check.name == "content equals manifest").unwrap();
        assert_eq!(content.verdict, Verdict::Fail);
        assert!(content.found.contains(expected), "{expected}: {}", content.found);
    }
}

#[test]
fn many_differences_are_named_up_to_a_limit() {
    let kit = Kit::new();
    for number in 0..50 {
        kit.write(&format!("media/{number}"), format!("{number}"));
    }
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    let (copy, _) = kit.restore(&taken, "copy");
    fs::remove_dir_all(copy.join("media")).unwrap();
    fs::create_dir(copy.join("media")).unwrap();
    let checks = kit.engine(&taken).content(&copy, &taken.manifest);
    assert_eq!(checks[1].found.matches("is missing").count(), 20, "{}", checks[1].found);
    let structure = kit.engine(&taken).structure(&copy, &taken.manifest);
    assert_eq!(failed(&structure).len(), 2, "{structure:?}");
}

#[test]
fn a_manifest_of_another_capture_is_no_pass() {
    let kit = Kit::new();
    kit.write("media/a", b"1");
    let first = kit.capture(kit.options(&["media"])).unwrap();
    kit.write("media/a", b"2");
    let mut second = kit.capture(kit.options(&["media"])).unwrap();
    let (copy, _) = kit.restore(&second, "copy");
    second.manifest = first.manifest;
    let checks = kit.engine(&second).content(&copy, &second.manifest);
    assert_eq!(checks.len(), 2);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Fail), "{checks:?}");
}

#[test]
fn a_missing_copy_fails() {
    let kit = Kit::new();
    kit.write("media/a", b"1");
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    let checks = kit.judge(&taken, &kit.base().join("none"));
    assert!(!checks.is_empty() && failed(&checks).len() >= 2, "{checks:?}");
}

/// X-26: what is excluded is not archived.
#[test]
fn excluded_files_are_in_no_snapshot() {
    let kit = Kit::new();
    for path in ["a.jpg", "a.tmp", "cache/x", "keys/app.key", "keys/public.pem", "x/cache/y"] {
        kit.write(&format!("media/{path}"), path);
    }
    let mut options = kit.options(&["media"]);
    options.exclude = ["*.tmp", "/cache/", "*.key"].map(str::to_owned).to_vec();
    let taken = kit.capture(options).unwrap();
    let (copy, _) = kit.restore(&taken, "copy");
    assert_eq!(
        paths(&copy.join("media")),
        ["a.jpg", "keys/", "keys/public.pem", "x/", "x/cache/", "x/cache/y"]
    );
    assert!(passes(&kit.judge(&taken, &copy)));

    let mut options = kit.options(&["media"]);
    options.include = vec!["*.pem".into()];
    let taken = kit.capture(options).unwrap();
    let (copy, _) = kit.restore(&taken, "copy2");
    let kept = ["cache/", "keys/", "keys/public.pem", "x/", "x/cache/"];
    assert_eq!(paths(&copy.join("media")), kept);
}

#[test]
fn a_bad_pattern_is_told_with_its_text() {
    let kit = Kit::new();
    kit.write("media/a", b"1");
    let mut options = kit.options(&["media"]);
    options.exclude = vec!["a[".into()];
    let Err(SourceError::Unfit { what, .. }) = kit.capture(options) else {
        panic!("it was taken");
    };
    assert!(what.starts_with("pattern 'a[' cannot be read: "), "{what}");
    assert!(kit.vault.snapshots().unwrap().is_empty());
}

#[test]
fn a_tier_and_the_state_folder_are_left_out_and_told() {
    let kit = Kit::new();
    kit.write("a", b"1");
    kit.write(".lifeboat/sign.key", b"secret");
    let mut options = kit.options(&["."]);
    options.roots = vec![(kit.base(), "/all".into())];
    options.keep_out = vec![kit.app(".lifeboat"), kit.base().join("tier"), "/none".into()];
    let taken = kit.capture(options).unwrap();
    let (copy, _) = kit.restore(&taken, "copy");
    assert_eq!(paths(&copy.join("all")), ["app/", "app/a"]);
    let told = kit.notes.all();
    assert!(told.contains(&format!("{} is not captured", kit.app(".lifeboat").display())));
    assert!(told.contains(&format!("{} is not captured", kit.base().join("tier").display())));
}

#[test]
fn a_missing_root_is_an_error_and_no_snapshot() {
    let kit = Kit::new();
    kit.write("media/a", b"1");
    let Err(SourceError::Missing { what }) = kit.capture(kit.options(&["media", "none"])) else {
        panic!("it was taken");
    };
    assert_eq!(what, kit.app("none").to_str().unwrap());
    assert!(kit.vault.snapshots().unwrap().is_empty());
}

#[test]
fn a_root_that_is_a_link_is_captured_where_it_leads() {
    let kit = Kit::new();
    kit.write("disk/photos/a", b"1");
    symlink("disk/photos", kit.app("media")).unwrap();
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    assert_eq!(taken.content().roots[0].source, kit.app("disk/photos").to_str().unwrap());
    let (copy, _) = kit.restore(&taken, "copy");
    assert_eq!(paths(&copy), ["media/", "media/a"]);
    assert!(kit.notes.all().contains("leads to"), "{}", kit.notes.all());
}

#[test]
fn links_in_circles_are_captured_as_links() {
    let kit = Kit::new();
    kit.write("media/a", b"1");
    symlink(".", kit.app("media/self")).unwrap();
    symlink("..", kit.app("media/up")).unwrap();
    symlink("two", kit.app("media/one")).unwrap();
    symlink("one", kit.app("media/two")).unwrap();
    symlink("/nowhere", kit.app("media/broken")).unwrap();
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    assert_eq!((taken.content().files, taken.content().others), (1, 5));
    let (copy, _) = kit.restore(&taken, "copy");
    assert!(passes(&kit.judge(&taken, &copy)));
    assert_eq!(fs::read_link(copy.join("media/up")).unwrap(), Path::new(".."));
}

#[test]
fn other_file_systems_are_left_where_the_plan_says_so() {
    let kit = Kit::new();
    kit.write("media/a", b"1");
    let disk = Mounted::on(kit.app("media/disk"), "size=1m");
    fs::write(disk.path().join("b"), b"2").unwrap();
    let across = kit.capture(kit.options(&["media"])).unwrap();
    assert_eq!(across.content().files, 2);
    let mut options = kit.options(&["media"]);
    options.one_file_system = true;
    let within = kit.capture(options).unwrap();
    assert_eq!(within.content().files, 1);
    let (copy, _) = kit.restore(&within, "copy");
    assert_eq!(paths(&copy), ["media/", "media/a", "media/disk/"]);
    assert!(passes(&kit.judge(&within, &copy)));
}

#[test]
fn a_file_that_grows_while_it_is_read_is_named() {
    let kit = Kit::new();
    let _memory = Mounted::on(kit.app("media"), "size=1g");
    let path = kit.write("media/log", vec![b'x'; 200 << 20]);
    kit.write("media/still", b"1");
    let stop = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            while !stop.load(Ordering::SeqCst) {
                file.write_all(b"one more line\n").unwrap();
            }
        });
        let taken = kit.capture(kit.options(&["media"]));
        stop.store(true, Ordering::SeqCst);
        taken.unwrap()
    });
    let problems = &taken.content().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with(path.to_str().unwrap()), "{problems:?}");
    assert_eq!(taken.summary.problems, 1);
    // What was captured of it is a state that restores, and the manifest speaks of that.
    let (copy, _) = kit.restore(&taken, "copy");
    assert!(passes(&kit.judge(&taken, &copy)), "{:?}", failed(&kit.judge(&taken, &copy)));
}

#[test]
fn files_that_vanish_are_named_or_captured_and_the_rest_is_whole() {
    let kit = Kit::new();
    for number in 0..3_000 {
        kit.write(&format!("media/{}/{number}", number % 50), format!("{number}"));
    }
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (0..3_000).rev() {
                let _ = fs::remove_file(kit.app(&format!("media/{}/{number}", number % 50)));
            }
        });
        kit.capture(kit.options(&["media"])).unwrap()
    });
    let problems = &taken.content().problems;
    assert!(problems.iter().all(|problem| problem.ends_with(": vanished")), "{problems:?}");
    let (copy, _) = kit.restore(&taken, "copy");
    assert!(passes(&kit.judge(&taken, &copy)));
}

/// Root reads everything, so another user captures.
#[test]
fn what_cannot_be_read_is_named() {
    let name = "files::what_cannot_be_read_is_named";
    if let Some(folder) = crate::nobody::folder() {
        let kit = Kit::new();
        let mut options = kit.options(&[]);
        options.roots = vec![(folder.join("open"), "/media".into())];
        let taken = kit.capture(options).unwrap();
        let problems = &taken.content().problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("open/closed: cannot"), "{problems:?}");
        assert!(problems[1].contains("open/secret: cannot"), "{problems:?}");
        assert_eq!(taken.content().files, 1);
        crate::nobody::seen();
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let open = folder.path().join("open");
    fs::create_dir_all(open.join("closed")).unwrap();
    fs::write(open.join("secret"), b"s").unwrap();
    fs::write(open.join("readable"), b"r").unwrap();
    for (path, mode) in
        [("", 0o755), ("open", 0o755), ("open/secret", 0o600), ("open/closed", 0o700)]
    {
        fs::set_permissions(folder.path().join(path), Permissions::from_mode(mode)).unwrap();
    }
    crate::nobody::run(name, folder.path());
}

#[test]
fn metadata_comes_back() {
    let kit = Kit::new();
    let file = kit.write("media/file", b"1");
    fs::hard_link(&file, kit.app("media/twin")).unwrap();
    xattr_set(&file, "user.comment", "kept");
    std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o4751)).unwrap();
    symlink("file", kit.app("media/link")).unwrap();
    std::os::unix::fs::lchown(kit.app("media/link"), Some(1235), Some(4322)).unwrap();
    kit.write("media/folder/x", b"2");
    fs::set_permissions(kit.app("media/folder"), Permissions::from_mode(0o1770)).unwrap();
    let odd = kit.app("media").join(OsStr::from_bytes(b"not \xff utf8\n"));
    fs::write(&odd, b"3").unwrap();
    assert!(Command::new("mkfifo").arg(kit.app("media/pipe")).status().unwrap().success());
    let sparse = File::create(kit.app("media/sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"end", (64 << 20) - 3).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["file", "folder", "sparse"] {
        File::open(kit.app("media").join(path)).unwrap().set_modified(old).unwrap();
    }
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    let (copy, report) = kit.restore(&taken, "copy");
    assert!(report.problems.is_empty(), "{report:?}");
    assert!(passes(&kit.judge(&taken, &copy)));
    for path in paths(&kit.app("media")) {
        let (live, restored) = (kit.app("media").join(&path), copy.join("media").join(&path));
        let (live, restored) = match path.contains('\u{fffd}') {
            true => (odd.clone(), copy.join("media").join(odd.file_name().unwrap())),
            false => (live, restored),
        };
        let (a, b) =
            (fs::symlink_metadata(&live).unwrap(), fs::symlink_metadata(&restored).unwrap());
        assert_eq!((a.mode(), a.uid(), a.gid()), (b.mode(), b.uid(), b.gid()), "{path}");
        assert_eq!((a.mtime(), a.mtime_nsec()), (b.mtime(), b.mtime_nsec()), "{path}");
        let of_a_folder = a.is_dir();
        assert!(of_a_folder || (a.len(), a.nlink()) == (b.len(), b.nlink()), "{path}");
    }
    let twin = |path: &str| fs::metadata(copy.join("media").join(path)).unwrap().ino();
    assert_eq!(twin("file"), twin("twin"));
    assert!(fs::metadata(copy.join("media/sparse")).unwrap().blocks() < 1000);
    assert_eq!(xattr_get(&copy.join("media/file"), "user.comment"), "kept");
}

fn xattr_set(path: &Path, name: &str, value: &str) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, name, value.as_bytes(), flags).unwrap();
}

fn xattr_get(path: &Path, name: &str) -> String {
    let mut value = [0u8; 100];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).unwrap();
    String::from_utf8(value[..length].to_vec()).unwrap()
}

#[test]
fn a_sub_path_is_restored_alone() {
    let kit = Kit::new();
    kit.write("media/2023/a", b"1");
    kit.write("media/2024/b", b"2");
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    let options = RestoreOptions { subpath: Some("media/2024".into()), ..Default::default() };
    let target = kit.base().join("copy");
    kit.vault.restore(&taken.snapshot, &options, &target).unwrap();
    assert_eq!(paths(&target), ["media/", "media/2024/", "media/2024/b"]);
}

/// Paths of a plan may lie in each other, and may be folders, files and links side by side.
#[test]
fn copies_of_several_roots_are_judged_whole() {
    let kit = Kit::new();
    kit.write("media/a", "one");
    kit.write("media/sub/b", "two");
    kit.write("data/deep/config/c.toml", "three");
    std::os::unix::fs::symlink("a", kit.app("media/link")).unwrap();
    for roots in [
        &["media", "data/deep/config"][..],
        &["media", "media/sub"],
        &["media/sub", "media/a", "data/deep/config/c.toml"],
        &["data/deep/config", "data/deep/config/c.toml"],
        &["media", "media"],
    ] {
        let taken = kit.capture(kit.options(roots)).unwrap();
        let (copy, _) = kit.restore(&taken, &format!("copy-{}", roots.join("-").replace('/', "_")));
        let judged = kit.judge(&taken, &copy);
        assert!(passes(&judged), "{roots:?}: {judged:#?}");
        spoil(&copy);
        assert!(!passes(&kit.judge(&taken, &copy)), "{roots:?}");
    }
}

/// One more file beside the first.
fn spoil(copy: &Path) {
    let mut folder = copy.to_owned();
    while let Some(below) = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_type().unwrap().is_dir())
    {
        folder = below.path();
    }
    std::fs::write(folder.join("another"), "more").unwrap();
}

#[test]
fn an_unchanged_tree_has_the_same_fingerprint_and_adds_nothing() {
    let kit = Kit::new();
    kit.write("media/a", vec![1; 2_000_000]);
    // A file that changed in the moment of the first capture would rightly be read again.
    lifeboat_vault::Clock::sleep(
        &lifeboat_adapters::SystemClock::new(),
        std::time::Duration::from_millis(100),
    );
    let first = kit.capture(kit.options(&["media"])).unwrap();
    let second = kit.capture(kit.options(&["media"])).unwrap();
    assert_eq!(first.content().fingerprint, second.content().fingerprint);
    assert_eq!(second.summary.files_unmodified, 1);
    let (copy, _) = kit.restore(&second, "copy");
    assert!(passes(&kit.judge(&second, &copy)));
}

#[test]
fn a_hundred_thousand_files_in_one_folder() {
    let kit = Kit::new();
    let disk = Mounted::on(kit.app("media"), "size=64m,nr_inodes=200000");
    for number in 0..100_000 {
        File::create(disk.path().join(format!("{number:06}"))).unwrap();
    }
    let taken = kit.capture(kit.options(&["media"])).unwrap();
    assert_eq!(taken.content().files, 100_000);
    let copy = Mounted::on(kit.base().join("copy"), "size=64m,nr_inodes=200000");
    let options = RestoreOptions { subpath: Some("media".into()), ..Default::default() };
    kit.vault.restore(&taken.snapshot, &options, &copy.path()).unwrap();
    assert!(passes(&kit.judge(&taken, &copy.path())));
}
