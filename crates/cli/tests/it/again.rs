//! Restores over what stands there, restores that go on after a kill, and restores to a stream.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;
use serde_json::Value;

use crate::kit::{App, Ran, contents, count_orders, noise};

fn partials(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".lifeboat-partial-")).collect()
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// An application with more media, saved.
fn saved() -> App {
    let app = App::new();
    fs::write(app.root.join("media/large.bin"), noise(12 << 20)).unwrap();
    app.run(&["backup"]).ends(0);
    app
}

fn numbers(report: &Value) -> (u64, u64) {
    let one = &report["components"][0];
    (one["bytes"].as_u64().unwrap(), one["unchanged"].as_u64().unwrap())
}

#[test]
fn only_what_differs_is_written_and_the_rest_is_named() {
    let app = saved();
    let back = app.dir.path().join("back");
    let media = back.join("media");
    let over = ["restore", "media", "--to", "../back", "--verify-existing"];
    // Into an absent folder it is a restore like any other.
    let (code, report) = app.json(&over);
    assert_eq!((code, numbers(&report).1), (0, 0), "{report:#}");
    let inode = fs::metadata(media.join("large.bin")).unwrap().ino();
    overwrite(&media.join("large.bin"), 6 << 20, b"changed");
    fs::remove_file(media.join("2026/3.bin")).unwrap();
    fs::write(media.join("2026/own.txt"), b"of the user").unwrap();
    fs::write(back.join("beside.txt"), b"of the user").unwrap();
    let live = app.root.join("media/large.bin");
    fs::remove_file(media.join("2026/4.bin")).unwrap();
    fs::create_dir(media.join("2026/4.bin")).unwrap();
    fs::write(media.join("2026/4.bin/inside"), b"of the user").unwrap();
    fs::remove_file(media.join("2026/5.bin")).unwrap();
    symlink(&live, media.join("2026/5.bin")).unwrap();
    let before = fs::read(&live).unwrap();

    app.run(&["restore", "media", "--to", "../back"]).ends(4).says("is not empty", "empty folder");
    app.run(&over).ends(4).says("wants a confirmation", "--yes");
    let yes = [&over[..], &["--yes"]].concat();
    let (code, report) = app.json(&yes);
    assert_eq!(code, 3, "what is not of the snapshot is said: {report:#}");
    let (bytes, unchanged) = numbers(&report);
    assert!(unchanged > 6 << 20 && unchanged < bytes, "{unchanged} of {bytes}");
    let one = &report["components"][0];
    let beside = ["beside.txt", "media/2026/4.bin.former", "media/2026/own.txt"];
    assert_eq!(one["beside"], serde_json::json!(beside));
    assert_eq!(one["beside_removed"], false);
    assert_eq!(fs::read(media.join("2026/own.txt")).unwrap(), b"of the user");
    assert!(fs::read(&live).unwrap() == before, "written through a link");
    assert_eq!(fs::metadata(media.join("large.bin")).unwrap().ino(), inode);

    let (code, report) = app.json(&[&yes[..], &["--delete"]].concat());
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(numbers(&report).0, numbers(&report).1);
    assert!(contents(&back.join("media")) == contents(&app.root.join("media")));
    assert_eq!(contents(&back).len(), contents(&media).len());
    assert!(partials(app.dir.path()).is_empty());
    app.run(&["audit", "verify"]).ends(0);
}

/// A journal beside a database belongs to the one that was there: it would change the restored one.
#[test]
fn the_journal_of_a_former_database_goes_with_it() {
    let app = saved();
    let back = app.dir.path().join("back");
    app.run(&["restore", "orders", "--to", "../back"]).ends(0);
    let connection = rusqlite::Connection::open(back.join("orders.db")).unwrap();
    connection.execute("delete from orders where id % 2 = 0", []).unwrap();
    // As after a kill: the changes stand in the journal alone.
    let wal = fs::read(back.join("orders.db-wal")).unwrap();
    drop(connection);
    fs::write(back.join("orders.db-wal"), wal).unwrap();
    fs::write(back.join("notes.txt"), b"mine").unwrap();
    let (code, report) =
        app.json(&["restore", "orders", "--to", "../back", "--verify-existing", "--yes"]);
    assert_eq!(code, 3, "{report:#}");
    assert_eq!(report["components"][0]["beside"], serde_json::json!(["notes.txt"]));
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("orders.db-wal was removed"), "{warnings}");
    assert!(!back.join("orders.db-wal").exists());
    assert_eq!(count_orders(&back.join("orders.db")), 500);
}

#[test]
fn all_components_over_what_stands_there() {
    let app = saved();
    let over = ["restore", "--all", "--to", "../back", "--verify-existing", "--yes"];
    app.run(&["restore", "--all", "--to", "../back"]).ends(0);
    let back = app.dir.path().join("back");
    let expected = contents(&back);
    overwrite(&back.join("media/media/large.bin"), 100, b"changed");
    fs::remove_file(back.join("config/config/app.ini")).unwrap();
    fs::write(back.join("other"), b"no component").unwrap();
    app.run(&over).ends(0);
    fs::remove_file(back.join("other")).unwrap();
    assert!(contents(&back) == expected);
}

/// Moments spread over the run of an unharmed command.
fn kill_at(app: &App, args: &[&str], whole: std::time::Duration, part: (u32, u32)) {
    let clock = SystemClock::new();
    let quiet = || Stdio::null();
    let mut child = app.command(args).stdout(quiet()).stderr(quiet()).spawn().unwrap();
    clock.sleep(whole * part.0 / part.1);
    let _ = child.kill();
    child.wait().unwrap();
}

fn time(app: &App, args: &[&str]) -> std::time::Duration {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    app.run(args).ends(0);
    clock.monotonic() - began
}

/// A killed restore goes on where it was, and what came is not written again.
#[test]
fn a_killed_restore_goes_on() {
    let app = saved();
    for number in 0..40 {
        fs::write(app.root.join(format!("media/more-{number}.bin")), noise(1 << 20)).unwrap();
    }
    app.run(&["backup", "media"]).ends(0);
    let whole = time(&app, &["restore", "media", "--to", "../whole"]);
    let expected = contents(&app.root.join("media"));
    let mut used = 0;
    // As the machine is now slow and now fast, moments are tried until some hit.
    for (number, turn) in (1..8).cycle().take(40).enumerate() {
        if used > 0 && turn == 1 {
            break;
        }
        let name = format!("../cut-{number}");
        kill_at(&app, &["restore", "media", "--to", &name], whole, (turn, 8));
        let target = app.root.join(&name);
        let left = partials(app.dir.path());
        if target.exists() {
            // Killed after the last rename.
            assert!(contents(&target.join("media")) == expected, "{name} is half there");
            left.iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
            continue;
        }
        // Another run in between takes nothing away.
        app.run(&["backup", "config"]).ends(0);
        assert_eq!(partials(app.dir.path()), left);
        let (code, report) = app.json(&["restore", "media", "--to", &name]);
        assert_eq!(code, 0, "{report:#}");
        used += numbers(&report).1;
        assert!(contents(&target.join("media")) == expected);
        assert_eq!(partials(app.dir.path()), [] as [PathBuf; 0], "{name}");
    }
    assert!(used > 0, "nothing of the killed runs was used");
    app.run(&["audit", "verify"]).ends(0);
}

/// Killed over what stands there, the user's own entries are never lost, the target is whole or not
/// there, and only the same command goes on.
#[test]
fn a_killed_restore_over_something_goes_on() {
    let app = saved();
    let back = app.dir.path().join("back");
    let over = ["restore", "media", "--to", "../back", "--verify-existing", "--yes"];
    let spoil = || {
        overwrite(&back.join("media/large.bin"), 1 << 20, &noise(5 << 20));
        fs::write(back.join("media/own.txt"), b"mine").unwrap();
    };
    app.run(&["restore", "media", "--to", "../back"]).ends(0);
    spoil();
    let clock = SystemClock::new();
    let began = clock.monotonic();
    app.run(&over).ends(3);
    let whole = clock.monotonic() - began;
    let mut cut = 0;
    for turn in (1..10).cycle().take(40) {
        if cut > 0 && turn == 1 {
            break;
        }
        spoil();
        kill_at(&app, &over, whole, (turn, 10));
        if !back.exists() {
            cut += 1;
            app.run(&["restore", "media", "--to", "../back"])
                .ends(4)
                .says("holds what stood in", "--verify-existing");
            // No other run takes it away.
            let said = app.run(&["backup", "config"]).ends(0);
            assert!(format!("{}{}", said.out, said.err).contains("holds what stood in"));
        }
        app.run(&over).ends(3);
        assert_eq!(fs::read(back.join("media/own.txt")).unwrap(), b"mine");
        fs::remove_file(back.join("media/own.txt")).unwrap();
        assert!(contents(&back.join("media")) == contents(&app.root.join("media")));
        assert_eq!(partials(app.dir.path()), [] as [PathBuf; 0]);
    }
    assert!(cut > 0, "no kill hit the time between taking in and putting back");
}

/// Flips a bit in the pack that holds most of a component.
fn damage_largest_pack(app: &App) {
    let mut packs = contents(&app.tier.join("vault/data"));
    packs.sort_by_key(|(_, body)| std::cmp::Reverse(body.len()));
    let path = app.tier.join("vault/data").join(&packs[0].0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let middle = fs::metadata(&path).unwrap().len() / 2;
    overwrite(&path, middle, b"damage in the middle of a pack");
}

/// Every file concerned is named with its cause; the others come back; what stood there before is
/// not lost, and nothing half-written stands under the target's name.
#[test]
fn each_file_that_cannot_be_had_is_named() {
    let app = App::new();
    for number in 0..20 {
        fs::write(app.root.join(format!("media/more-{number}.bin")), noise(300_000)).unwrap();
    }
    app.run(&["backup"]).ends(0);
    app.run(&["restore", "media", "--to", "../before"]).ends(0);
    damage_largest_pack(&app);
    let (code, report) = app.json(&["restore", "media", "--to", "../back", "--keep-failed"]);
    assert_eq!(code, 9, "{report:#}");
    let one = &report["components"][0];
    let damaged = one["damaged"].as_array().unwrap();
    assert!(!damaged.is_empty() && damaged.len() < 4, "{one:#}");
    let copy = PathBuf::from(one["failed_copy"].as_str().unwrap());
    assert!(!app.dir.path().join("back").exists());
    let source = app.root.join("media");
    let mut there = 0;
    for (below, body) in contents(&source) {
        let name = format!("/media/{}", below.display());
        let entry = damaged.iter().find(|entry| entry["path"] == name.as_str());
        let restored = copy.join("media").join(&below);
        match entry {
            Some(entry) => {
                assert!(entry["what"].as_str().unwrap().contains("damaged"), "{entry}");
                assert!(!restored.exists(), "{name} is half there");
            }
            None => {
                assert!(fs::read(restored).unwrap() == body, "{name}");
                there += 1;
            }
        }
    }
    assert_eq!(there + damaged.len(), contents(&source).len());

    // What the vault has lost stands in an older restore: it is all that is needed.
    let id = one["snapshot"].as_str().unwrap();
    let over = ["restore", "media", "--to", "../before", "--verify-existing", "--yes", "--at", id];
    app.run(&over).ends(0);
    // Where it is changed as well it is lost: the rest is as it should be, and nothing is delivered.
    let lost = damaged[0]["path"].as_str().unwrap().trim_start_matches('/');
    let before = app.dir.path().join("before");
    fs::write(before.join(lost), b"changed").unwrap();
    let (code, report) = app.json(&over);
    assert_eq!(code, 9, "{report:#}");
    assert!(!before.exists(), "what is not whole has no name");
    let kept = PathBuf::from(report["components"][0]["failed_copy"].as_str().unwrap());
    let aside = kept.parent().unwrap().join("aside").join(lost);
    assert_eq!(fs::read(aside).unwrap(), b"changed");
    let text = app.run(&over).ends(9);
    assert!(text.out.contains("not restored") && text.out.contains(lost), "{}", text.out);
}

/// Runs with standard output to a file.
fn stream(app: &App, args: &[&str], to: &Path) -> Ran {
    let output = app.command(args).stdout(fs::File::create(to).unwrap()).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::new(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn untar(tar: &Path, to: &Path) -> std::process::Output {
    fs::create_dir_all(to).unwrap();
    Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(tar)
        .arg("-C")
        .arg(to)
        .output()
        .unwrap_or_else(|e| panic!("tar: {e}; apt-get install tar"))
}

/// Kind, mode, owner, time, link count, attributes and content of each path.
fn described(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut lines = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = match found.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
            kind if kind.is_file() => lifeboat_vault::Id::of(&fs::read(&path).unwrap()).to_string(),
            _ => String::new(),
        };
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let mut attributes: Vec<_> = xattr::list(&path).unwrap().collect();
        attributes.sort();
        let values: Vec<_> =
            attributes.iter().map(|name| xattr::get(&path, name).unwrap()).collect();
        let names = if found.is_dir() { 0 } else { found.nlink() };
        let line = format!(
            "{:o} {}:{} {}.{} {names} {} {attributes:?} {values:?} {content}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec(),
            found.rdev()
        );
        lines.insert(path.strip_prefix(root).unwrap().to_path_buf(), line);
    }
    lines
}

/// Everything that a tar holds, made difficult.
fn difficult(root: &Path) {
    let deep = (0..12).fold(root.join("deep"), |path, _| path.join("d".repeat(40)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("n".repeat(255)), b"long path").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"latin1 \xe9\xff")), b"not UTF-8").unwrap();
    fs::write(root.join("gr\u{fc}n \u{1f980}\nline"), b"odd").unwrap();
    fs::write(root.join("x".repeat(99)), b"99").unwrap();
    fs::write(root.join("y".repeat(101)), b"101").unwrap();
    symlink("target/".repeat(40), root.join("long link")).unwrap();
    symlink(std::ffi::OsStr::from_bytes(b"caf\xe9"), root.join("latin1 link")).unwrap();
    fs::hard_link(root.join("x".repeat(99)), root.join("a further name")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 20 << 20).unwrap();
    fs::write(root.join("large"), noise(40 << 20)).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("attributes"), b"x").unwrap();
    xattr::set(root.join("attributes"), "user.a=b%c", b"binary\0\xff\n").unwrap();
    xattr::set(root.join("attributes"), "user.long", &noise(2000)).unwrap();
    xattr::set(&deep, "user.folder", b"1").unwrap();
    std::os::unix::fs::chown(root.join("attributes"), Some(3_000_000), Some(4_000_000_000))
        .unwrap();
    fs::set_permissions(root.join("attributes"), fs::Permissions::from_mode(0o6751)).unwrap();
    for (name, kind, device) in [
        ("pipe", rustix::fs::FileType::Fifo, 0),
        ("null", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("loop", rustix::fs::FileType::BlockDevice, rustix::fs::makedev(7, 200)),
    ] {
        let mode = rustix::fs::Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(rustix::fs::CWD, root.join(name), kind, mode, device).unwrap();
    }
    let touch = |name: &str, time: &str| {
        let done = Command::new("touch").args(["-h", "-d", time]).arg(root.join(name)).status();
        assert!(done.unwrap().success());
    };
    touch("empty", "1950-01-01T00:00:00.25Z");
    touch("large", "2243-01-01T00:00:00.123456789Z");
    touch("long link", "2001-02-03T04:05:06.000000007Z");
}

#[test]
fn a_stream_is_what_stock_tar_reads() {
    let app = App::new();
    difficult(&app.root.join("media"));
    app.run(&["backup"]).ends(0);
    let tar = app.dir.path().join("media.tar");
    let ran = stream(&app, &["restore", "media", "--to", "-"], &tar);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("standard output"), "the report goes to the log: {}", ran.err);
    let out = app.dir.path().join("out");
    let done = untar(&tar, &out);
    let said = String::from_utf8_lossy(&done.stderr);
    // It says of two files that their times are odd.
    let odd = said.lines().filter(|line| !line.contains("time stamp")).count();
    assert!(done.status.success() && odd == 0, "{said}");
    let (left, right) = (described(&app.root.join("media")), described(&out.join("media")));
    for (path, line) in &left {
        assert_eq!(right.get(path), Some(line), "{path:?}");
    }
    assert_eq!(left.len(), right.len());

    // All components, each in its folder; a part; one file alone.
    let all = app.dir.path().join("all.tar");
    assert_eq!(stream(&app, &["-q", "restore", "--all", "--to", "-"], &all).err, "");
    let every = app.dir.path().join("every");
    assert!(untar(&all, &every).status.success());
    assert_eq!(count_orders(&every.join("orders/orders.db")), 500);
    assert_eq!(described(&every.join("media/media")), left);
    let part = app.dir.path().join("part.tar");
    stream(&app, &["restore", "media", "--path", "media/2026", "--to", "-"], &part).ends(0);
    let some = app.dir.path().join("some");
    assert!(untar(&part, &some).status.success());
    assert!(
        contents(&some.join("media"))
            == contents(&app.root.join("media/2026"))
                .into_iter()
                .map(|(path, body)| (Path::new("2026").join(path), body))
                .collect::<Vec<_>>()
    );
    let file = app.dir.path().join("file");
    stream(&app, &["restore", "media", "--path", "media/large", "--to", "-"], &file).ends(0);
    assert!(fs::read(&file).unwrap() == fs::read(app.root.join("media/large")).unwrap());
    stream(&app, &["restore", "media", "--path", "media/none", "--to", "-"], &file).ends(6);
    assert_eq!(fs::metadata(&file).unwrap().len(), 0);
    app.run(&["restore", "media", "--to", "-", "--json"]).ends(2);
    app.run(&["restore", "media", "--to", "-", "--verify-existing"]).ends(2);
}

/// What cannot be had is left out of the stream and named; in the middle of a large file the stream
/// ends, and its reader knows.
#[test]
fn a_stream_never_looks_whole_when_it_is_not() {
    let app = App::new();
    for number in 0..20 {
        fs::write(app.root.join(format!("media/more-{number}.bin")), noise(300_000)).unwrap();
    }
    app.run(&["backup", "media"]).ends(0);
    damage_largest_pack(&app);
    let tar = app.dir.path().join("media.tar");
    let ran = stream(&app, &["restore", "media", "--to", "-"], &tar);
    assert_eq!(ran.code, 9, "{}", ran.err);
    assert!(ran.err.contains("not restored"), "{}", ran.err);
    let out = app.dir.path().join("out");
    assert!(untar(&tar, &out).status.success());
    let (whole, there) = (contents(&app.root.join("media")), contents(&out.join("media")));
    assert!(there.len() < whole.len() && there.len() + 4 > whole.len());
    assert!(there.iter().all(|one| whole.contains(one)), "something is half there");

    let app = App::new();
    fs::write(app.root.join("media/large"), noise(90 << 20)).unwrap();
    app.run(&["backup", "media"]).ends(0);
    damage_largest_pack(&app);
    let ran = stream(&app, &["restore", "media", "--to", "-"], &tar);
    assert_eq!(ran.code, 9, "{}", ran.err);
    let done = untar(&tar, &app.dir.path().join("cut"));
    assert!(!done.status.success(), "tar takes a stream that was cut off for whole");
}

/// A reader that goes away ends it.
#[test]
fn a_closed_pipe_is_a_failure() {
    let app = saved();
    let mut child = app
        .command(&["restore", "media", "--to", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    std::io::stderr().flush().unwrap();
}
