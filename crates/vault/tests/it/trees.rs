//! File trees that tests capture, and what they look like afterwards.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lifeboat_vault::Id;
use rustix::fs::{CWD, FileType, Mode};

/// Bytes without structure, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sets both times of an object, without following it.
pub fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every kind of thing that a file system holds, sockets apart (restic knows none).
pub fn gnarly(root: &Path) {
    fs::create_dir_all(root).unwrap();
    let at = |name: &str| root.join(name);
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("one"), b"1").unwrap();
    fs::write(at("text"), "the same words again and again\n".repeat(20_000)).unwrap();
    fs::write(at("noise"), noise(3_000_000, 1)).unwrap();
    fs::write(at("zeros"), vec![0; 9 << 20]).unwrap();
    for (number, name) in ["it's", "say \"hi\"", "back\\slash", "new\nline", "tab\t", " ", "-rf"]
        .iter()
        .chain(&[
            "grün",
            "漢字 🦀",
            "a\u{301}",
            "\u{200b}zero width",
            "\u{a0}",
            "<&>",
            "\u{1}\u{7f}",
        ])
        .enumerate()
    {
        fs::write(at(name), format!("name {number}")).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"latin1 \xe9\xff")), b"not UTF-8").unwrap();
    fs::write(at(&"n".repeat(255)), b"long name").unwrap();
    let deep = (0..40).fold(at("deep"), |path, _| path.join("d".repeat(60)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"deep down").unwrap();
    fs::create_dir(at("empty folder")).unwrap();

    symlink("text", at("link")).unwrap();
    symlink("/nowhere/at all", at("dangling")).unwrap();
    fs::create_dir(at("links")).unwrap();
    fs::write(at("links/first"), noise(700_000, 2)).unwrap();
    fs::hard_link(at("links/first"), at("links/second")).unwrap();
    fs::hard_link(at("links/first"), at("another")).unwrap();

    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(200 << 20).unwrap();
    sparse.write_all_at(&noise(100_000, 3), 70 << 20).unwrap();
    sparse.write_all_at(b"near the end", (200 << 20) - 100).unwrap();

    for (name, kind, device) in [
        ("pipe", FileType::Fifo, 0),
        ("block", FileType::BlockDevice, rustix::fs::makedev(7, 200)),
        ("character", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
    ] {
        rustix::fs::mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    attributes_owners_and_times(root);
}

/// A link that restic below 0.17 does not keep byte for byte.
pub fn latin1_link(root: &Path) {
    symlink(OsStr::from_bytes(b"caf\xe9"), root.join("latin1 link")).unwrap();
}

fn attributes_owners_and_times(root: &Path) {
    let at = |name: &str| root.join(name);
    xattr::set(at("text"), "user.comment", b"hello").unwrap();
    xattr::set(at("text"), "user.binary", &[0, 255, 1]).unwrap();
    xattr::set(at("text"), "user.empty", b"").unwrap();
    xattr::set(at("empty"), "user.on.empty", b"x").unwrap();
    xattr::set(at("links"), "user.on.folder", b"y").unwrap();
    // cap_net_raw+ep, and a POSIX ACL (user 1234: r--).
    xattr::set(at("one"), "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
        .unwrap();
    let acl = [
        &b"\x02\0\0\0"[..],
        b"\x01\0\x06\0\xff\xff\xff\xff",
        b"\x02\0\x04\0\xd2\x04\0\0",
        b"\x04\0\x04\0\xff\xff\xff\xff",
        b"\x10\0\x04\0\xff\xff\xff\xff",
        b"\x20\0\0\0\xff\xff\xff\xff",
    ]
    .concat();
    xattr::set(at("noise"), "system.posix_acl_access", &acl).unwrap();
    std::os::unix::fs::chown(at("text"), Some(1234), Some(4321)).unwrap();
    std::os::unix::fs::lchown(at("link"), Some(1), Some(2)).unwrap();
    std::os::unix::fs::chown(at("links"), Some(33), Some(33)).unwrap();
    mode(&at("text"), 0o6755);
    mode(&at("links"), 0o3771);
    mode(&at("zeros"), 0o000);
    for (name, seconds, nanoseconds) in [
        ("empty", -1, 1),
        ("text", -2_000_000_000, 999_999_999),
        ("noise", 4_102_444_800, 123_456_789),
        ("link", 86_400, 5),
        ("pipe", 1, 0),
        ("links", 1_000_000_000, 7),
        ("empty folder", 0, 0),
    ] {
        set_time(&at(name), seconds, nanoseconds);
    }
    set_time(root, 1_234_567_890, 42);
}

/// One line for each path: everything that a restore must bring back. Access and inode times and
/// link counts from outside are left out.
pub fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut lines = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    visit(root, root, &mut inodes, &mut lines);
    lines
}

fn visit(
    root: &Path,
    path: &Path,
    inodes: &mut BTreeMap<u64, PathBuf>,
    lines: &mut BTreeMap<PathBuf, String>,
) {
    let stat = path.symlink_metadata().unwrap();
    let below = path.strip_prefix(root).unwrap().to_owned();
    let mut line = format!(
        "mode {:o} owner {}:{} mtime {}.{:09}",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.mtime(),
        stat.mtime_nsec()
    );
    if stat.is_file() {
        let content = fs::read(path).unwrap();
        line += &format!(" size {} content {}", stat.size(), Id::of(&content).short());
        if stat.nlink() > 1 {
            let first = inodes.entry(stat.ino()).or_insert_with(|| below.clone());
            line += &format!(" same as {first:?}");
        }
    } else if stat.is_symlink() {
        line += &format!(" to {:?}", fs::read_link(path).unwrap());
    } else {
        line += &format!(" device {}", stat.rdev());
    }
    let mut names: Vec<_> = xattr::list(path).unwrap().collect();
    names.sort();
    for name in names {
        line += &format!(" {name:?}={:?}", xattr::get(path, &name).unwrap());
    }
    lines.insert(below, line);
    if stat.is_dir() {
        let mut children: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        children.sort();
        for child in children {
            visit(root, &child, inodes, lines);
        }
    }
}

/// Fails with the first differing paths, not with two whole trees.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (describe(left), describe(right));
    let mut differences = Vec::new();
    for path in left.keys().chain(right.keys()) {
        if left.get(path) != right.get(path) {
            differences.push(format!("{path:?}\n  {:?}\n  {:?}", left.get(path), right.get(path)));
        }
    }
    differences.dedup();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Bytes that a file takes on its disk.
pub fn allocated(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().blocks() * 512
}
