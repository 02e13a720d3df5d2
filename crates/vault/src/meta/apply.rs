//! Gives a restored object the metadata of its node.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Handle;
use crate::node::{Node, NodeKind};

/// Makes a symbolic link, pipe, socket or device. Devices need root.
pub fn create_special(node: &Node, path: &Path) -> Result<(), Errno> {
    let private = Mode::RUSR | Mode::WUSR;
    let make = |kind, device| rustix::fs::mknodat(CWD, path, kind, private, device);
    match node.kind {
        NodeKind::Symlink => {
            rustix::fs::symlinkat(OsStr::from_bytes(node.link_target()), CWD, path)
        }
        NodeKind::Fifo => make(FileType::Fifo, 0),
        NodeKind::Socket => make(FileType::Socket, 0),
        NodeKind::Dev => make(FileType::BlockDevice, node.device),
        NodeKind::Chardev => make(FileType::CharacterDevice, node.device),
        NodeKind::File | NodeKind::Dir | NodeKind::Irregular => Err(Errno::NOTSUP),
    }
}

/// Sets owner, mode, attributes and times, in the order in which none undoes another. Everything is
/// tried; what failed is returned, with the verb. Ownership is left to whoever restores when that
/// is not root.
pub fn restore_metadata(node: &Node, handle: Handle<'_>) -> Vec<(String, Errno)> {
    let mut failed = Vec::new();
    let mut note = |verb: &str, result: Result<(), Errno>| {
        if let Err(error) = result {
            failed.push((verb.to_owned(), error));
        }
    };
    if rustix::process::geteuid().is_root() {
        note("set the owner", chown(node, handle));
    }
    // A symbolic link has no mode of its own.
    if node.kind != NodeKind::Symlink {
        note("set the mode", chmod(node, handle));
    }
    // After the owner: a change of owner drops file capabilities.
    for attribute in &node.extended_attributes {
        let (name, value) = (attribute.name.as_str(), &attribute.value);
        let result = match handle {
            Handle::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Handle::Path(path) => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()),
        };
        note(&format!("set the attribute {name}"), result);
    }
    note("set the times", set_times(node, handle));
    failed
}

/// Removes the extended attributes that the node does not have, access lists and capabilities among
/// them. What the system itself labels files with stays. What failed is returned, with the verb.
pub fn clear_other_attributes(node: &Node, handle: Handle<'_>) -> Vec<(String, Errno)> {
    let mut failed = Vec::new();
    let there = match super::read_xattrs(handle) {
        Ok(there) => there,
        Err(error) => return vec![("read the attributes".to_owned(), error)],
    };
    let known = |name: &str| node.extended_attributes.iter().any(|kept| kept.name == name);
    for attribute in there.iter().filter(|it| is_users(&it.name) && !known(&it.name)) {
        let name = attribute.name.as_str();
        let removed = match handle {
            Handle::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Handle::Path(path) => rustix::fs::lremovexattr(path, name),
        };
        match removed {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(error) => failed.push((format!("remove the attribute {name}"), error)),
        }
    }
    failed
}

fn is_users(name: &str) -> bool {
    name.starts_with("user.")
        || name.starts_with("system.posix_acl_")
        || name == "security.capability"
}

/// True if mode, owner (where it would be set), time and attributes are those of the node.
pub fn is_as(node: &Node, found: &Metadata, handle: Handle<'_>) -> bool {
    let modified = node.mtime.as_nanosecond();
    let owner =
        !rustix::process::geteuid().is_root() || (found.uid(), found.gid()) == (node.uid, node.gid);
    let attributes = super::read_xattrs(handle).is_ok_and(|mut there| {
        there.retain(|it| is_users(&it.name));
        let kept = node.extended_attributes.iter().filter(|it| is_users(&it.name));
        kept.eq(there.iter())
    });
    owner
        && attributes
        && found.mode() & 0o7777 == node.unix_mode()
        && i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()) == modified
}

fn chown(node: &Node, handle: Handle<'_>) -> Result<(), Errno> {
    let (owner, group) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
    match handle {
        Handle::Open(fd) => rustix::fs::fchown(fd, owner, group),
        Handle::Path(path) => {
            rustix::fs::chownat(CWD, path, owner, group, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

fn chmod(node: &Node, handle: Handle<'_>) -> Result<(), Errno> {
    let own = rustix::process::geteuid();
    let mut bits = node.unix_mode();
    // A program that runs as its owner must not run as whoever restores it instead.
    if !own.is_root() && own.as_raw() != node.uid {
        bits &= !0o6000;
    }
    let mode = Mode::from_raw_mode(bits);
    match handle {
        Handle::Open(fd) => rustix::fs::fchmod(fd, mode),
        Handle::Path(path) => rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()),
    }
}

fn set_times(node: &Node, handle: Handle<'_>) -> Result<(), Errno> {
    let spec = |time: jiff::Timestamp| {
        let nanoseconds = time.as_nanosecond();
        Timespec {
            tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
        }
    };
    let times = Timestamps { last_access: spec(node.atime), last_modification: spec(node.mtime) };
    match handle {
        Handle::Open(fd) => rustix::fs::futimens(fd, &times),
        Handle::Path(path) => rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW),
    }
}
